"""How a protocol is made: images, pairs and networks are chosen, checked and frozen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scumble.data.folders import find_images
from scumble.protocol.clips import freeze_clips
from scumble.protocol.definition import FrozenFile, FrozenNetwork, Protocol, ProtocolError, choose_pairs, shuffled
from scumble.protocol.lookup import freeze
from scumble.protocol.metrics import CLIP_METRIC, METRICS, MODEL_METRICS, PAIR_METRICS, SET_METRICS, SetMetric
from scumble.protocol.networks import freeze_network
from scumble.protocol.references import prepare

# The smallest side at which every metric says something: the deepest layer of LPIPS needs it.
SMALLEST = 32
# A clip is painted in so many of the styles, or in all if they are fewer: a hundred frames in 40 would take a day.
CLIP_STYLES = 5


def make_protocol(
    content: Sequence[str | Path],
    style: Sequence[str | Path],
    pairs: str = "grid",
    size: int = 256,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    encoder: Sequence[str] = ("distilled",),
    lpips: Sequence[str] | None = None,
    inception: str | Path | None = None,
    clips: Sequence[str | Path] = (),
    clip_styles: int | None = None,
) -> Protocol:
    """The protocol over the images of some folders.

    ``pairs`` is as :func:`scumble.protocol.definition.choose_pairs` takes it. ``metrics`` are names of
    ``METRICS``; by default all that the networks and the number of pairs allow without further pictures of a model.
    ``encoder`` is a kind and its weight file, ``lpips`` a kind, its backbone and its heads. Of several copies of an
    image one is taken; images that are in no pair are left out. ``clips`` are folders of frames, each painted in
    ``clip_styles`` of the styles of the pairs (by default 5, or all if they are fewer), which the seed chooses.
    Raises: ValueError or OSError about an image that cannot be read, the pairs, the clips, a network, or a metric that
    cannot be measured.
    """
    if size < SMALLEST or seed < 0:
        raise ProtocolError(f"--size must be at least {SMALLEST} and --seed at least 0, got {size} and {seed}")
    networks = _networks(encoder, lpips, inception)
    contents, styles = (_freeze_images(folders, flag) for folders, flag in ((content, "--content"), (style, "--style")))
    chosen = choose_pairs(list(contents), list(styles), pairs, seed)
    kept = [list(dict.fromkeys(digests)) for digests in zip(*chosen, strict=True)]
    places = [{digest: index for index, digest in enumerate(digests)} for digests in kept]
    frozen = [tuple(files[d][0] for d in digests) for files, digests in ((contents, kept[0]), (styles, kept[1]))]
    for files, digests in ((contents, kept[0]), (styles, kept[1])):
        for digest in digests:
            prepare(files[digest][1], size)  # an image that cannot be read must not come up in the evaluation
    frozen_clips = freeze_clips(clips, size)
    if clip_styles is None:
        clip_styles = min(CLIP_STYLES, len(kept[1]))
    if not 1 <= clip_styles <= len(kept[1]):
        raise ProtocolError(
            f"--clip-styles must be from 1 to {len(kept[1])}, the styles of the pairs, got {clip_styles}"
        )
    weights = [str(path) for path in ([*encoder[1:], *(lpips or ())[1:], *([inception] if inception else [])])]
    return Protocol(
        size=size,
        seed=seed,
        content=frozen[0],
        style=frozen[1],
        pairs=tuple((places[0][c], places[1][s]) for c, s in chosen),
        metrics=_metrics(metrics, networks, len(chosen), bool(clips)),
        networks=networks,
        clips=frozen_clips,
        clip_styles=tuple(places[1][digest] for digest in shuffled(kept[1], seed)[:clip_styles]) if clips else (),
        folders=tuple(dict.fromkeys([*map(str, content), *map(str, style), *map(str, clips), *weights])),
    )


def _networks(
    encoder: Sequence[str], lpips: Sequence[str] | None, inception: str | Path | None
) -> dict[str, FrozenNetwork]:
    if len(encoder) > 2:
        raise ProtocolError(f"--encoder takes a kind and one file, got {' '.join(encoder)}")
    made = {"perceptual_encoder": freeze_network("perceptual_encoder", *encoder[:1], **_named("weights", encoder[1:]))}
    if lpips:
        made["lpips"] = freeze_network("lpips", lpips[0], backbone=lpips[1], heads=lpips[2])
    if inception:
        made["inception"] = freeze_network("inception", "fid", weights=inception)
    return made


def _named(name: str, given: Sequence[str]) -> dict[str, str]:
    return {name: given[0]} if given else {}


def _freeze_images(folders: Sequence[str | Path], flag: str) -> dict[str, tuple[FrozenFile, Path]]:
    """The images of some folders by hash, each called by its path within its folder."""
    frozen: dict[str, tuple[FrozenFile, Path]] = {}
    names: dict[str, str] = {}
    for root in map(Path, folders):
        for path in find_images([root], flag):
            file = freeze(path, path.relative_to(root).as_posix() if root.is_dir() else path.name)
            if file.sha256 in frozen:
                continue
            if file.name in names:
                raise ProtocolError(f"{flag}: two images are called {file.name}; give each a name of its own")
            names[file.name] = file.sha256
            frozen[file.sha256] = (file, path)
    return frozen


def _metrics(
    wanted: Sequence[str] | None, networks: Mapping[str, FrozenNetwork], pairs: int, has_clips: bool
) -> tuple[str, ...]:
    """The metrics to measure, in the order of the tables; those that need the model's time only if they are named."""
    refused = {name: reason for name in METRICS if (reason := _reason_against(name, networks, pairs, has_clips))}
    if wanted is None:
        return tuple(name for name in METRICS if name not in refused and name not in MODEL_METRICS)
    if unknown := [name for name in wanted if name not in METRICS]:
        raise ProtocolError(f"--metrics: no metric {unknown[0]}; there are {', '.join(METRICS)}")
    if has_clips and CLIP_METRIC not in wanted:
        raise ProtocolError(f"--clip: clips are there for {CLIP_METRIC} alone; name it after --metrics as well")
    for name in wanted:
        if name in refused:
            raise ProtocolError(f"--metrics {name}: {refused[name]}")
        partner = SET_METRICS[name].with_metric if name in SET_METRICS else None
        if partner and partner not in wanted:
            raise ProtocolError(f"--metrics {name}: it is made of {partner} as well; name that too")
    return tuple(name for name in METRICS if name in wanted)


def _reason_against(name: str, networks: Mapping[str, FrozenNetwork], pairs: int, has_clips: bool) -> str:
    """Why a metric cannot be measured, empty if it can."""
    if name == CLIP_METRIC:
        return "" if has_clips else "it needs a clip, --clip with a folder of frames"
    if name in MODEL_METRICS:
        return ""
    metric = (PAIR_METRICS | SET_METRICS)[name]
    partner = metric.with_metric if isinstance(metric, SetMetric) else None
    for role in (metric.needs, PAIR_METRICS[partner].needs if partner else None):
        if role and role not in networks:
            return f"it needs a network, --{role.removeprefix('perceptual_')} with its weights"
    if isinstance(metric, SetMetric) and pairs < metric.fewest:
        return f"it needs at least {metric.fewest} pairs, there are {pairs}"
    return ""
