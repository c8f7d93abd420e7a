"""Measuring models and pictures under a frozen protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from scumble.cache import cache_directory
from scumble.checkpoint import Checkpoint, find_checkpoint, load_generator
from scumble.protocol.clips import measure_clips
from scumble.protocol.cost import inference_cost
from scumble.protocol.definition import Protocol, ProtocolError, read_protocol
from scumble.protocol.lookup import find_files
from scumble.protocol.metrics import METRICS, OLD_METRICS
from scumble.protocol.networks import make_networks
from scumble.protocol.painters import Model, Painter, Pictures
from scumble.protocol.ranks import ranks
from scumble.protocol.references import References
from scumble.protocol.scores import Scores, scores_file, table
from scumble.protocol.scoring import batches_of, join, measure, sum_up


def evaluate(
    protocol: str | Path,
    models: Sequence[str | Path] = (),
    images: Sequence[str | Path] = (),
    *,
    files: Sequence[str | Path] = (),
    output: str | Path | None = None,
    batch_size: int = 4,
    threads: int = 2,
    trust: Sequence[str] = (),
    device: str = "cpu",
) -> list[Path]:
    """Measure models and folders of pictures, print a table, and return where the scores of each are.

    The scores of a run are written into its folder as ``scores-ID.json`` (ID: the first 8 digits of the protocol's),
    those of pictures into theirs, those of a file beside it; with ``output`` all of them go to that folder, by the
    names of the models. ``files`` are folders where the protocol's files are searched before those where they were.
    Raises: ValueError or OSError about the protocol, its files, a model, or missing pictures.
    """
    if not models and not images:
        raise ValueError("nothing to measure: give --model RUN or --images DIR")
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")
    targets = _targets([*models, *images], output, (frozen := read_protocol(protocol)).id)
    if unknown := [name for name in frozen.metrics if name not in (*METRICS, *OLD_METRICS)]:
        raise ProtocolError(f"{protocol} asks for {unknown[0]}, which this scumble does not measure; use a newer one")
    torch.set_num_threads(threads)
    found = find_files([*frozen.pictures(), *frozen.files()], [*files, *frozen.folders])
    networks = {role: network.to(device) for role, network in make_networks(frozen, found).items()}
    references = References(frozen, found, networks, cache_directory() / "references", device)
    checkpoints = [find_checkpoint(model) if not _is_config(model) else model for model in models]
    painters: list[Painter] = [
        Model(load_generator(checkpoint, trust).to(device), frozen.seed) for checkpoint in checkpoints
    ]
    painters += [Pictures(folder, frozen) for folder in images]
    setting = {"device": device, "threads": threads, "batch_size": batch_size, "torch": torch.__version__}
    scores = []
    with ranks() as processes:
        for painter, source, (name, target) in zip(painters, [*checkpoints, *images], targets.items(), strict=True):
            try:
                own = measure(painter, references, processes.share(batches_of(frozen, batch_size)))
                own = own._replace(clips=measure_clips(painter, references, processes.share(frozen.clip_pairs)))
            except ValueError as error:  # an image that its generator cannot take
                raise ValueError(f"{name}: {error}") from error
            if (parts := processes.gather(own)) is not None:
                details = setting | _origin(source)
                if isinstance(painter, Model):
                    details["inference"] = inference_cost(painter.generator, frozen.size, device)
                scores.append(sum_up(join(parts), references, name, details))
                scores[-1].write(target)
    if scores:
        _report(frozen, scores, targets)
    return list(targets.values())


def _report(protocol: Protocol, scores: Sequence[Scores], targets: Mapping[str, Path]) -> None:
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


def _origin(source: Checkpoint | str | Path) -> dict[str, object]:
    """What was measured."""
    if isinstance(source, Checkpoint):
        return {"checkpoint": source.path.name, "step": source.content.get("global_step")}
    return {"path": str(source)}


def _targets(measured: Sequence[str | Path], output: str | Path | None, protocol: str) -> dict[str, Path]:
    """Where the scores of each model or folder go, by a name for each."""
    file = scores_file(protocol)
    targets: dict[str, Path] = {}
    for path in map(Path, measured):
        name = path.stem if path.is_file() else path.absolute().name
        if name in targets:
            raise ValueError(f"two of what is to be measured are called {name}; measure them one after the other")
        if output is not None:
            targets[name] = Path(output) / f"{name}.{file}"
        else:
            targets[name] = path / file if path.is_dir() else path.with_name(f"{path.stem}.{file}")
    return targets
