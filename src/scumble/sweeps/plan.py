"""``scumble sweep plan``: the runs of a sweep, what is wrong with them, and what they would cost, before any starts."""

import heapq
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from scumble.config import config_hash, instantiate
from scumble.errors import by_message, message_of
from scumble.overrides import compose_run, parse, quoted, runs_of_grid, what_changed, with_lists_of_folders
from scumble.sweeps.commands import in_columns

# Steps trained to measure each distinct run: one checkpoint halfway, one validation at the end.
MEASURED_STEPS = 10


class Costs(NamedTuple):
    """What was measured of a run: seconds (see :class:`~scumble.callbacks.Stopwatch`), and bytes at the peak.

    ``process`` are the seconds until its process is ready to make it; they are spent once for each worker.
    """

    process: float
    start: float
    step: float
    validation: float
    checkpoint: float
    memory: int
    gpu_memory: int

    def seconds(self, config: Mapping[str, Any]) -> float:
        """The time of the whole run of a config, without that of its process."""
        steps = config["steps"]
        validations = steps // config["val_every_n_steps"] * self.validation
        checkpoints = -(-steps // config["checkpoint_every_n_steps"]) * self.checkpoint
        return float(self.start + steps * self.step + validations + checkpoints)


class Planned(NamedTuple):
    """A run as it would be trained: the folder within the sweep's, the overrides, and the config unless it is bad."""

    name: str
    words: list[str]
    config: dict[str, Any]
    workers: int = 1
    parameters: dict[str, int] = {}  # noqa: RUF012
    error: str = ""
    costs: Costs | None = None


def plan(overrides: Sequence[str]) -> int:
    """Print the plan of the sweep that these overrides ask for; returns 1 if a run of it is invalid, else 0.

    Raises: ValueError if the overrides do not say which runs there are.
    """
    overrides = with_lists_of_folders(overrides)
    grid = runs_of_grid(overrides)
    if not grid:
        raise ValueError("only a grid can be planned: a sampler draws the values of its runs one after the other")
    sweep = parse(overrides)
    found: set[str] = set()
    runs = measured([composed(what_changed(words, sweep), words, found) for words in grid])
    print("\n".join(described(runs)))
    invalid = [run for run in runs if run.error]
    if invalid:
        print(f"\n{len(invalid)} of {len(runs)} runs are invalid.")
        print(by_message({run.name: run.error for run in invalid}))
    return int(bool(invalid))


def composed(name: str, words: list[str], found: set[str]) -> Planned:
    """A run of the sweep with its config; what can be made of it without training is made, to see that it can.

    ``found`` has the hashes of the configs whose data was found, so that they are not looked for again.
    """
    from scumble.run import planned

    try:
        config, launcher = planned(compose_run(words), name)
    except Exception as error:  # whatever it is, the plan is there to find it
        return Planned(name, words, {}, error=message_of(error))
    try:
        parameters = _made(config, found)
    except Exception as error:
        return Planned(name, words, config, error=message_of(error))
    return Planned(name, words, config, runs_at_a_time_of(launcher), parameters)


def _made(config: Mapping[str, Any], found: set[str]) -> dict[str, int]:
    """Make the task, the callbacks and the data of a run; returns the number of parameters of each trained network."""
    from scumble.run import check

    check(dict(config))
    task = instantiate(config["task"])
    instantiate(config["callbacks"])
    if (key := config_hash(config["data"])) not in found:
        data = instantiate(config["data"])
        data.prepare_data()
        data.setup("fit")
        found.add(key)
    return {name: sum(p.numel() for p in task.trained_by(name)) for name in task.optimizer_factories}


def runs_at_a_time_of(launcher: Mapping[str, Any]) -> int:
    """How many runs a launcher trains at a time: joblib's and submitit's say so, Hydra's own trains one."""
    jobs = int(launcher.get("n_jobs") or launcher.get("array_parallelism") or 1)
    if jobs > 0:
        return jobs
    from joblib import effective_n_jobs

    return int(effective_n_jobs(jobs))


def measured(runs: Sequence[Planned]) -> list[Planned]:
    """The runs with their costs, of which those are measured once that are the same for several runs.

    A run that cannot be measured on this machine has none; one that ends in an error has the error.
    """
    known: dict[str, Costs | str | None] = {}
    found = []
    for run in runs:
        if run.error:
            found.append(run)
            continue
        key = cost_key(run.config)
        if key not in known:
            print(f"Measuring {run.name}", file=sys.stderr, flush=True)
            known[key] = measure(run)
        costs = known[key]
        found.append(run._replace(error=costs) if isinstance(costs, str) else run._replace(costs=costs))
    return found


def cost_key(config: Mapping[str, Any]) -> str:
    """A hash that runs share whose steps cost the same: weights matter only by being 0, and rates and seeds do not."""
    deciding = {name: config[name] for name in ("task", "data", "metrics", "callbacks", "trainer", "threads")}
    return config_hash(dict(_deciding(deciding, config["run_dir"])))


def _deciding(config: Mapping[str, Any], run_dir: str) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in ("seed", "skip_limit", "gradient_clip_norm", "val_check_interval", "monitors", "checkpoints"):
            continue
        if name.endswith("_weights") and isinstance(value, Mapping):
            yield (
                name,
                {term: weight if isinstance(weight, Mapping) else bool(weight) for term, weight in value.items()},
            )
        elif name in ("optimizers", "lr_schedule"):
            yield name, sorted(_targets(value))
        elif isinstance(value, Mapping):
            yield name, dict(_deciding(value, run_dir))
        elif value != run_dir:
            yield name, value


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        yield from (str(value) for key, value in config.items() if key == "_target_")
        for value in config.values():
            yield from _targets(value)


def measure(run: Planned) -> Costs | str | None:
    """What a run costs, by a few steps in a process of its own; its error if it fails; None without its GPU."""
    import torch

    if run.config["trainer"].get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        return None
    with TemporaryDirectory(prefix="scumble-plan-") as folder:
        report = Path(folder) / "costs.json"
        own = {
            "run_dir": quoted(folder),
            "steps": MEASURED_STEPS,
            "val_every_n_steps": MEASURED_STEPS,
            "checkpoint_every_n_steps": MEASURED_STEPS // 2,
            "checkpoint_every_minutes": "null",
            "logger": "csv",
        }
        kept = [word for word in run.words if word.split("=", 1)[0] not in own and not word.startswith("hydra")]
        stopwatch = f"+callbacks.stopwatch={{_target_: scumble.callbacks.Stopwatch, path: {quoted(report)}}}"
        words = [*kept, *(f"{key}={value}" for key, value in own.items()), stopwatch]
        command = [sys.executable, "-c", "from scumble.cli import main; main()", "train", *words]
        began = time.monotonic()
        result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        if result.returncode or not report.is_file():
            said = result.stderr.strip().rpartition("\nscumble: ")[2].removeprefix("scumble: ")
            return said or f"it ended with the exit status {result.returncode}"
        found = json.loads(report.read_text())
    return Costs(process=seconds - found.pop("total"), **found)


def described(runs: Sequence[Planned]) -> list[str]:
    """The table of the runs, and what the whole sweep would take."""
    networks = list(dict.fromkeys(name for run in runs for name in run.parameters))
    on_gpu = any(run.costs and run.costs.gpu_memory for run in runs)
    rows = [["run", *networks, "time", "memory", *(["GPU memory"] if on_gpu else [])]]
    for run in runs:
        parameters = [_count(run.parameters[name]) if name in run.parameters else "" for name in networks]
        rows.append([run.name, *parameters, *_costs(run, on_gpu)])
    return [*in_columns(rows), "", *_total(runs)]


def _costs(run: Planned, on_gpu: bool) -> list[str]:
    if run.error or not run.costs:
        return ["invalid" if run.error else "not measured", "", *([""] if on_gpu else [])]
    costs = run.costs
    gpu = [_memory(costs.gpu_memory) if costs.gpu_memory else ""] if on_gpu else []
    return [_time(costs.seconds(run.config)), _memory(costs.memory), *gpu]


def _total(runs: Sequence[Planned]) -> list[str]:
    good = [run for run in runs if run.costs]
    if not good:
        return [f"{len(runs)} runs. None could be measured on this machine."]
    workers = max(1, min(len(good), good[0].workers))
    ends = [max(run.costs.process for run in good if run.costs)] * workers
    for run in good:  # each goes to the worker that is free first
        assert run.costs is not None
        heapq.heapreplace(ends, ends[0] + run.costs.seconds(run.config))
    memory = sum(sorted((run.costs.memory for run in good if run.costs), reverse=True)[:workers])
    different = len({run.costs for run in good})
    return [
        f"{len(runs)} runs, {workers} at a time: about {_time(max(ends))}, and up to {_memory(memory)} of memory.",
        f"Measured by {MEASURED_STEPS} steps of {different} of them, each alone here; the others cost the same.",
    ]


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number:,}"


def _memory(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
