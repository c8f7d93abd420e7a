"""Measuring models and pictures under a frozen protocol."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from scumble.cache import cache_directory
from scumble.checkpoint import SHIPPED, Checkpoint, find_checkpoint, load_generator
from scumble.distributed import ranks
from scumble.flags import check_share, choose_strength
from scumble.networks.strength import takes_strength
from scumble.protocol.clips import measure_clips
from scumble.protocol.cost import inference_cost
from scumble.protocol.definition import Protocol, ProtocolError, read_protocol
from scumble.protocol.lookup import find_files
from scumble.protocol.metrics import METRICS, OLD_METRICS
from scumble.protocol.networks import make_networks
from scumble.protocol.painters import Model, Painter, Pictures
from scumble.protocol.references import References
from scumble.protocol.scores import Scores, at_strength, scores_file, table
from scumble.protocol.scoring import batches_of, join, measure, sum_up


class System(NamedTuple):
    """One column of the table: who paints, where it came from, and where its scores go."""

    name: str
    painter: Painter
    origin: dict[str, object]
    target: Path


def evaluate(
    protocol: str | Path,
    models: Sequence[str | Path] = (),
    images: Sequence[str | Path] = (),
    *,
    strengths: Sequence[float] = (),
    files: Sequence[str | Path] = (),
    output: str | Path | None = None,
    batch_size: int = 4,
    threads: int = 2,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> list[Path]:
    """Measure models and folders of pictures, print a table, and return where the scores of each are.

    The scores of a run are written into its folder as ``scores-ID.json`` (ID: the first 8 digits of the protocol's),
    the scores of pictures into the pictures' folder, of a file beside it, of the shipped painter into the current
    folder; with ``output`` all of them go to that folder, by the names of the models. With ``strengths`` each model is
    measured at each of them, and ``@STRENGTH`` follows its name and the ID. ``files`` are folders that are searched
    before the folders where the protocol's files were.
    Raises: ValueError or OSError about the protocol, its files, a model, or missing pictures.
    """
    if not models and not images:
        raise ValueError("nothing to measure: give --model RUN or --images DIR")
    if strengths and not models:
        raise ValueError("--strength is an input of models, and none is given; give --model RUN")
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")
    for given in strengths:
        check_share("--strength", given)
    asked: Sequence[float | None] = strengths or [None]
    targets = _targets(models, asked, images, output, (frozen := read_protocol(protocol)).id)
    if unknown := [name for name in frozen.metrics if name not in (*METRICS, *OLD_METRICS)]:
        raise ProtocolError(f"{protocol} asks for {unknown[0]}, which this scumble does not measure; use a newer one")
    torch.set_num_threads(threads)
    found = find_files([*frozen.pictures(), *frozen.files()], [*files, *frozen.folders])
    networks = {role: network.to(device) for role, network in make_networks(frozen, found).items()}
    references = References(frozen, found, networks, cache_directory() / "references", device)
    painters = [*_models(models, asked, frozen.seed, trust, device)]
    painters += [(Pictures(folder, frozen), {"path": str(folder)}) for folder in images]
    systems = [
        System(name, painter, origin, target)
        for (name, target), (painter, origin) in zip(targets.items(), painters, strict=True)
    ]
    setting = {"device": device, "threads": threads, "batch_size": batch_size, "torch": torch.__version__}
    scores = []
    with ranks() as processes:
        for name, painter, origin, target in systems:
            try:
                own = measure(painter, references, processes.share(batches_of(frozen, batch_size)))
                own = own._replace(clips=measure_clips(painter, references, processes.share(frozen.clip_pairs)))
            except ValueError as error:  # an image that its generator cannot take
                raise ValueError(f"{name}: {error}") from error
            if (parts := processes.gather(own)) is not None:
                details = setting | origin
                if isinstance(painter, Model):
                    details["inference"] = inference_cost(painter.generator, frozen.size, device)
                strength = painter.strength if isinstance(painter, Model) else None
                scores.append(sum_up(join(parts), references, name, details, strength))
                scores[-1].write(target)
    if scores:
        _report(frozen, scores, targets)
    return list(targets.values())


def _models(
    models: Sequence[str | Path], strengths: Sequence[float | None], seed: int, trust: Sequence[str], device: str
) -> Iterator[tuple[Painter, dict[str, object]]]:
    """Each model at each strength, where None is its default, and where it came from."""
    for model in models:
        source = model if model == SHIPPED or _is_config(model) else find_checkpoint(model)
        generator = load_generator(source, trust).to(device)
        for given in strengths:
            strength = choose_strength(generator, given, f"measure {model} without --strength")
            yield Model(generator, seed, strength), _origin(source, generator)


def _report(protocol: Protocol, scores: Sequence[Scores], targets: dict[str, Path]) -> None:
    """Print a table of the scores, what to beware of, and where they are."""
    size = f"{protocol.size}x{protocol.size}"
    clips = f" and {len(protocol.clip_pairs)} stylized clips" if protocol.clips else ""
    print(f"{len(protocol.pairs)} pairs{clips} at {size}, protocol {protocol.id[:8]}\n\n{table(scores)}\n")
    for each in scores:
        for metric, note in each.notes.items():
            print(f"{each.model}, {metric}: {note}")
        if cost := each.details.get("inference"):
            print(
                f"{each.model}: {cost['seconds']:.3g} s and {cost['peak_bytes'] / 1e6:.3g} MB for a picture of {size}"
            )
    print("\n".join(f"{name}: {path}" for name, path in targets.items()))


def _is_config(model: str | Path) -> bool:
    return Path(model).suffix in (".yaml", ".yml")


def _origin(source: Checkpoint | str | Path, generator: nn.Module) -> dict[str, object]:
    """What was measured."""
    origin: dict[str, object] = {"path": str(source)}
    if isinstance(source, Checkpoint):
        origin = {"checkpoint": source.path.name, "step": source.content.get("global_step")}
    if takes_strength(generator):
        origin["default_strength"] = generator.default_strength
    return origin


def _targets(
    models: Sequence[str | Path],
    strengths: Sequence[float | None],
    images: Sequence[str | Path],
    output: str | Path | None,
    protocol: str,
) -> dict[str, Path]:
    """Where the scores of each model at each strength, or of each folder, go, by a name for each."""
    file = scores_file(protocol)
    targets: dict[str, Path] = {}
    measured = [(model, strength) for model in models for strength in strengths]
    for source, strength in [*measured, *((Path(folder), None) for folder in images)]:
        path = Path(source)
        name = f"{path.stem if path.is_file() else path.absolute().name}{at_strength(strength)}"
        if name in targets:
            raise ValueError(f"two of what is to be measured are called {name}; measure them one after the other")
        if output is not None:
            targets[name] = Path(output) / f"{name}.{file}"
        elif path.is_dir() and source != SHIPPED:
            targets[name] = path / scores_file(protocol, strength)
        else:
            targets[name] = path.with_name(f"{name}.{file}")
    return targets
