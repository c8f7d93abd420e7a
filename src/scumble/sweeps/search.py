"""A search for the trade-off front: Optuna draws the parameters of runs, the ledger says what the runs reached.

A search is kept in the folder of its sweep: in the journal what was drawn and reached, one line for each event, and in
``front.json`` the runs that no other one beats in all objectives.
"""

import fcntl
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from scumble.files import atomic_write
from scumble.ledger import State, read_error, read_status
from scumble.seeding import SEARCH, mix

JOURNAL_FILE, FRONT_FILE, LOCK_FILE = "search.journal", "front.json", ".search.lock"
STUDY = "search"
SAMPLERS: dict[str, Callable[..., BaseSampler]] = {"tpe": TPESampler, "nsga2": NSGAIISampler, "random": RandomSampler}
# Optuna's population of NSGA-II, and the largest that is chosen here.
POPULATION = 50
# What a trial is, in the words of the ledger.
WORDS = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}

Value = str | int | float


class Parameter(NamedTuple):
    """What a search may choose: its values as they were asked for, and how one is drawn for a trial, by its name."""

    asked: str
    draw: Callable[[Trial, str], Value]


class Drawn(NamedTuple):
    """A trial, and the values of its parameters."""

    trial: Trial
    values: dict[str, Value]

    @property
    def folder(self) -> str:
        """The folder of its run, within that of the sweep."""
        return folder_of(self.trial)


class Outcome(NamedTuple):
    """What a study is told of a run: values of the objectives if it is complete, else the reason why it has none."""

    state: TrialState
    values: list[float] | None
    reason: str

    @property
    def word(self) -> str:
        """The state in the words of the ledger."""
        return WORDS[self.state]


class Search:
    """The trials of a study: each is a run, whose folder has the number of the trial as its name.

    What is drawn for a trial is a function of the seed, of its number and of what the trials before it reached. So a
    search that was killed and goes on draws what it would have drawn. ``objectives`` are names of metrics, each with
    ``minimize`` or ``maximize``; ``options`` go to Optuna's sampler. ``trials`` is how many there will be:
    NSGA-II draws a whole population at random before it learns, so by default that is a quarter of them. A search keeps
    the population that it began with.

    Raises: ValueError if a sampler, an option or an objective is wrong, or if the study in the folder is of another
    search.
    """

    def __init__(
        self,
        folder: str | Path,
        parameters: Mapping[str, Parameter],
        objectives: Mapping[str, str],
        sampler: str = "tpe",
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        trials: int = 4 * POPULATION,
    ):
        if not objectives:
            raise ValueError("a search needs an objective, the name of a metric: hydra.sweeper.minimize=[METRIC]")
        self.folder, self.parameters, self.objectives = Path(folder), dict(parameters), dict(objectives)
        self.sampler, self.options, self.seed = sampler, dict(options or {}), seed
        self._new_sampler(0)
        self.folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = _open(self.folder / JOURNAL_FILE, list(self.objectives.values()))
        self._check_same_search()
        if sampler == "nsga2" and "population_size" not in self.options:
            self.options["population_size"] = self._population(trials)

    def batches(self, trials: int, size: int) -> Iterator[list[Drawn]]:
        """All that is to be run until there are so many trials, in batches that can run at the same time.

        First come the trials that an earlier process left unfinished. Batches end at multiples of ``size``, so that
        each trial knows of the same trials before it, however often the search was killed.
        """
        unfinished = self._trials(TrialState.RUNNING)
        while True:
            batch = [self._draw(trial.number, trial._trial_id) for trial in unfinished[:size]]
            unfinished = unfinished[size:]
            while (count := len(self._trials())) < trials and len(batch) < size and (not batch or count % size):
                batch.append(self._draw(count))
            if not batch:
                return
            yield batch

    def tell(self, drawn: Drawn) -> Outcome | None:
        """Tell the study what the run of a trial reached; None if it is not finished, which leaves the trial open."""
        outcome = outcome_of(self.folder / drawn.folder, list(self.objectives))
        if outcome is not None:
            drawn.trial.set_user_attr("reason", outcome.reason)
            self.study.tell(drawn.trial, outcome.values, outcome.state)
        return outcome

    def write_front(self) -> dict[str, Any]:
        """Write the runs that no other one beats in all objectives into the folder, and return what was written."""
        best = sorted(self.study.best_trials, key=lambda trial: (trial.values, trial.number))
        counted = Counter(trial.state for trial in self._trials())
        report = {
            "objectives": self.objectives,
            "trials": {word: counted[state] for state, word in WORDS.items() if counted[state]},
            "front": [
                {
                    "run": folder_of(trial),
                    "objectives": dict(zip(self.objectives, trial.values, strict=True)),
                    "parameters": trial.params,
                }
                for trial in best
            ],
        }
        with atomic_write(self.folder / FRONT_FILE) as file:
            file.write(json.dumps(report, indent=2).encode())
        return report

    def _draw(self, number: int, identity: int | None = None) -> Drawn:
        """A new trial, or one that there is already: what was drawn for it before stays."""
        self.study.sampler = self._new_sampler(number)
        trial = self.study.ask() if identity is None else Trial(self.study, identity)
        values = {}
        for index, (name, parameter) in enumerate(self.parameters.items(), start=1):
            self.study.sampler = self._new_sampler(number, index)
            values[name] = parameter.draw(trial, name)
        return Drawn(trial, values)

    def _new_sampler(self, number: int, parameter: int = 0) -> BaseSampler:
        """A sampler for one value of one trial; what it knows of other trials it reads from the study."""
        if self.sampler not in SAMPLERS:
            raise ValueError(f"the sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}")
        seed = mix(self.seed, SEARCH, number, parameter) % 2**32
        try:
            return SAMPLERS[self.sampler](**self.options, seed=seed)
        except (TypeError, ValueError) as error:
            raise ValueError(f"hydra.sweeper.sampler_options of {self.sampler}: {error}") from error

    def _population(self, trials: int) -> int:
        """The population of this search: chosen by its number of trials when it is new, and kept."""
        if "population" not in self.study.user_attrs:
            is_old = bool(self._trials())  # it began with Optuna's
            self.study.set_user_attr("population", POPULATION if is_old else max(2, min(POPULATION, trials // 4)))
        return int(self.study.user_attrs["population"])

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _check_same_search(self) -> None:
        """Compare with what the study was made for, or note it in a new one."""
        own = {
            "parameters": {name: parameter.asked for name, parameter in self.parameters.items()},
            "objectives": [f"{direction} {metric}" for metric, direction in self.objectives.items()],  # in their order
            "seed": self.seed,
        }
        before = self.study.user_attrs.get("search")
        if before is None:
            self.study.set_user_attr("search", own)
            return
        if changed := [f"{key}: {before.get(key)} -> {own[key]}" for key in own if before.get(key) != own[key]]:
            raise ValueError(
                f"the search in {self.folder} cannot be resumed with these changes:\n  "
                + "\n  ".join(changed)
                + "\nleave these as they were, or start a new search with another hydra.sweep.dir"
            )


def folder_of(trial: Trial | FrozenTrial) -> str:
    """The folder of a trial's run within that of the sweep; folders are in the order of the trials."""
    return f"{trial.number:04d}"


def outcome_of(run_dir: Path, metrics: Sequence[str]) -> Outcome | None:
    """What the folder of a run says that it reached of the metrics; None if the run is not finished."""
    status, error = read_status(run_dir), read_error(run_dir)
    if error or (status and status.state == State.FAILED):
        return Outcome(TrialState.FAIL, None, error or "the run failed")
    if status is None or status.state not in (State.DONE, State.STOPPED):
        return None
    if status.state == State.STOPPED:
        return Outcome(TrialState.PRUNED, None, status.reason)
    if missing := [metric for metric in metrics if metric not in status.metrics]:
        found = ", ".join(sorted(status.metrics)) or "nothing"
        return Outcome(TrialState.FAIL, None, f"the run measured no {', '.join(missing)}; it measured {found}")
    values = [status.metrics[metric] for metric in metrics]
    if not all(map(math.isfinite, values)):
        listed = ", ".join(f"{metric} is {value}" for metric, value in zip(metrics, values, strict=True))
        return Outcome(TrialState.FAIL, None, listed)
    return Outcome(TrialState.COMPLETE, values, "")


def read_front(folder: str | Path) -> dict[str, Any] | None:
    """What :meth:`Search.write_front` wrote last; None if the folder is of no search, or of one that just began."""
    try:
        found: dict[str, Any] = json.loads((Path(folder) / FRONT_FILE).read_text())
    except (OSError, ValueError):
        return None
    return found


def describe_front(report: Mapping[str, Any]) -> str:
    """A table of the runs of the front: their folders, objectives and parameters."""
    counted = ", ".join(f"{number} {state}" for state, number in report["trials"].items())
    rows = [{"run": run["run"], **run["objectives"], **run["parameters"]} for run in report["front"]]
    head = f"The trade-off front has {len(rows)} runs ({counted}):"
    if not rows:
        return f"No run is done that measured the objectives ({counted})."
    cells = [list(rows[0]), *([_short(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([head, *lines])


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def only_search_in(folder: Path) -> Iterator[None]:
    """The block during which no other process searches in the folder; the lock ends with the process.

    Raises: ValueError if another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(f"another process is searching in {folder}; end it, or wait for its end") from error
        _repair(folder / JOURNAL_FILE)
        yield


def _repair(journal: Path) -> None:
    """Remove what a process that was killed while it wrote left behind: Optuna's lock, and a line without an end."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file() and not (content := journal.read_bytes()).endswith(b"\n"):
        with atomic_write(journal) as file:
            file.write(content[: content.rfind(b"\n") + 1])


def _open(journal: Path, directions: Sequence[str]) -> Study:
    """The study of a journal, or a new one."""
    try:
        return optuna.create_study(
            storage=storage(journal),
            study_name=STUDY,
            directions=[StudyDirection[direction.upper()] for direction in directions],
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise ValueError(
            f"{journal} cannot be read: {error!r}; start a new search with another hydra.sweep.dir"
        ) from error


def storage(journal: Path) -> JournalStorage:
    """Optuna's storage in a file, to which every event is appended."""
    path = str(journal.absolute())
    return JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))


def check_ranks(trainer: Mapping[str, Any], launcher: str) -> None:
    """Raise ValueError if each rank of a run would draw parameters of its own.

    Lightning starts the other ranks of a run on several devices with the command line of the first, ``-m`` and the
    sweeper among it, so each would be a search. Only SLURM's launcher starts all ranks of a run with what was drawn.
    """
    devices = trainer.get("devices", "auto")
    is_one = str(devices) == "1" if isinstance(devices, int | str) else len(devices) == 1
    if (is_one and int(trainer.get("num_nodes", 1)) == 1) or launcher.endswith(".SlurmLauncher"):
        return
    raise ValueError(
        f"a sweeper that draws parameters cannot train a run on several devices (trainer.devices={devices}): each rank "
        "would be started as a search of its own and draw others, so the ranks would train different models. Use a "
        "trainer with one device (trainer=cpu, trainer=gpu), hydra/launcher=slurm, or the grid "
        "(hydra/sweeper=basic)"
    )
