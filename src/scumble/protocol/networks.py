"""The networks that a protocol measures with, made from its frozen weight files and nothing else."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from scumble.metrics.inception import Inception
from scumble.metrics.lpips import BACKBONES, LPIPS
from scumble.networks.perceptual_encoders import DISTILLED_WEIGHTS, DistilledEncoder, vgg16, vgg19, vgg19_normalised
from scumble.protocol.definition import FrozenNetwork, Protocol, ProtocolError
from scumble.protocol.lookup import freeze

# The files of a network are the keyword arguments that it is made with, and all of them.
PARTS = {"perceptual_encoder": {"weights"}, "lpips": {"backbone", "heads"}, "inception": {"weights"}}
# By role and kind.
NETWORKS: dict[str, dict[str, Callable[..., nn.Module]]] = {
    "perceptual_encoder": {
        "distilled": DistilledEncoder,
        "vgg19_normalised": vgg19_normalised,
        "vgg19": vgg19,
        "vgg16": vgg16,
    },
    "lpips": {name: partial(LPIPS, network=name) for name in BACKBONES},
    "inception": {"fid": Inception},
}


def freeze_network(role: str, kind: str, **files: str | Path) -> FrozenNetwork:
    """A network as a protocol holds it.

    Raises: ProtocolError for an unknown kind or a missing file.
    """
    if kind not in NETWORKS[role]:
        raise ProtocolError(f"{role}: must be one of {', '.join(NETWORKS[role])}, got {kind!r}")
    paths = {part: Path(path) for part, path in files.items()}
    if (role, kind) == ("perceptual_encoder", "distilled"):
        paths.setdefault("weights", DISTILLED_WEIGHTS)
    if missing := PARTS[role] - paths.keys():
        raise ProtocolError(f"{role} {kind} needs a weight file ({', '.join(sorted(missing))}), by its path")
    for part, path in paths.items():
        if not path.is_file():
            raise ProtocolError(
                f"{role} {kind}: no file {path} for its {part}; give the path of the file on this machine"
            )
    return FrozenNetwork(kind, {part: freeze(path, path.name) for part, path in paths.items()})


def make_networks(protocol: Protocol, found: Mapping[str, Path]) -> dict[str, nn.Module]:
    """The networks of a protocol by role, in evaluation mode; ``found`` is where each hash is.

    Raises: ProtocolError for a kind that this scumble does not know; ValueError for weights that do not fit.
    """
    made = {}
    for role, network in protocol.networks.items():
        if network.kind not in NETWORKS.get(role, {}) or network.files.keys() != PARTS[role]:
            raise ProtocolError(f"the protocol measures with {role} {network.kind}, which this scumble does not have")
        files = {part: found[file.sha256] for part, file in network.files.items()}
        judge = NETWORKS[role][network.kind](**files).eval().requires_grad_(False)
        # In channels_last VGG-19 takes a quarter less CPU time, mainly in pooling.
        made[role] = judge.to(memory_format=torch.channels_last)
    return made
