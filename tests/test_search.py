"""The search for the trade-off front: what is drawn, what is told, and that a search that was killed goes on."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import pytest
from cheap import distances
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from hydra_plugins.scumble_optuna.sweeper import parameter
from scumble.ledger import State, record
from scumble.sweeps.search import (
    FRONT_FILE,
    JOURNAL_FILE,
    Drawn,
    Parameter,
    Search,
    check_ranks,
    describe_front,
    only_search_in,
    outcome_of,
    read_front,
)

OBJECTIVES = {"val/content_distance": "minimize", "val/style_distance": "minimize"}
SPACE = ("x=interval(-1,4)", "y=interval(-2,2)")


def parameters(space: Sequence[str]) -> dict[str, Parameter]:
    overrides = OverridesParser.create().parse_overrides(list(space))
    return {override.get_key_element(): parameter(override) for override in overrides}


def search_in(folder: Path, *space: str, **options: Any) -> Search:
    return Search(folder, parameters(space or SPACE), **{"objectives": OBJECTIVES} | options)


def run(search: Search, drawn: Drawn) -> None:
    metrics = distances(float(drawn.values["x"]), float(drawn.values["y"]))
    record(search.folder / drawn.folder, State.DONE, {}, 1, metrics)


def finish(search: Search, trials: int, size: int = 1) -> list[dict[str, Any]]:
    """All trials, run and told; what was drawn for each."""
    for batch in search.batches(trials, size):
        for drawn in batch:
            run(search, drawn)
        for drawn in batch:
            assert search.tell(drawn)
    return [trial.params for trial in search.study.trials]


# What is drawn


def test_values_are_of_the_ranges() -> None:
    space = ["a=interval(0.5,4)", "b=tag(log,interval(1e-4,1))", "c=int(interval(2,4))", "d=range(1,10,4)"]
    space += ["e=x,'y z'", "+f=choice(1,2)", "g=range(0,1,0.25)", "h=tag(log,int(interval(1,100)))"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(200)]
    drawn = [{name: each.draw(trial, name) for name, each in parameters(space).items()} for trial in trials]

    def column(name: str) -> list[Any]:
        return [values[name] for values in drawn]

    assert 0.5 <= min(column("a")) < 0.7 < 3.8 < max(column("a")) <= 4
    logarithms = [math.log10(value) for value in column("b")]
    assert -4 <= min(logarithms) <= max(logarithms) <= 0
    assert sum(logarithms) / 200 == pytest.approx(-2, abs=0.3)
    assert set(column("c")) == {2, 3, 4}
    assert set(column("d")) == {1, 5, 9}
    assert set(column("e")) == {"x", "'y z'"}
    assert set(column("+f")) == {"1", "2"}
    assert set(column("g")) == {0, 0.25, 0.5, 0.75}
    assert sum(value <= 10 for value in column("h")) == pytest.approx(100, abs=30)
    assert all(isinstance(value, int) for value in column("h"))


@pytest.mark.parametrize(
    "override",
    ["a=interval(2,1)", "a=interval(1,1)", "a=tag(log,interval(0,1))", "a=range(3,3)", "a=tag(log,range(1,9))"],
)
def test_a_range_without_values_is_a_mistake(override: str) -> None:
    with pytest.raises(ValueError, match=r"a=.*(must be less than|needs a number)"):
        parameters([override])


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_the_same_seed_draws_the_same(tmp_path: Path, sampler: str) -> None:
    options = {"sampler": sampler, "options": {"population_size": 3} if sampler == "nsga2" else {}}
    first = finish(search_in(tmp_path / "a", **options), 9, size=2)
    assert finish(search_in(tmp_path / "b", **options), 9, size=2) == first
    assert finish(search_in(tmp_path / "c", seed=1, **options), 9, size=2) != first
    assert len({trial["x"] for trial in first}) > 4


def test_nsga2_learns_after_a_quarter_of_the_trials(tmp_path: Path) -> None:
    def generations(folder: str, **options: Any) -> list[int]:
        search = search_in(tmp_path / folder, sampler="nsga2", **options)
        finish(search, 20)
        trials = search.study.trials
        return [next(v for k, v in each.system_attrs.items() if k.endswith("generation")) for each in trials]

    assert generations("a", trials=20) == [number // 5 for number in range(20)]
    assert search_in(tmp_path / "a", sampler="nsga2", trials=60).options == {"population_size": 5}, "it is kept"
    assert generations("b", trials=20, options={"population_size": 10}) == [number // 10 for number in range(20)]
    assert search_in(tmp_path / "c", sampler="nsga2", trials=4).options == {"population_size": 2}
    assert search_in(tmp_path / "d", sampler="nsga2", trials=999).options == {"population_size": 50}


def test_tpe_comes_nearer_to_the_front_than_chance(tmp_path: Path) -> None:
    def mean_distance(sampler: str) -> float:
        late = finish(search_in(tmp_path / sampler, sampler=sampler), 40)[20:]
        return sum(abs(trial["y"]) + max(0, -trial["x"], trial["x"] - 2) for trial in late) / len(late)

    assert mean_distance("tpe") < 0.7 * mean_distance("random")


# The front


def test_the_front_is_what_no_other_run_beats(tmp_path: Path) -> None:
    search = search_in(tmp_path, sampler="random")
    finish(search, 25)
    points = {f"{i:04d}": tuple(trial.values) for i, trial in enumerate(search.study.trials)}

    def is_beaten(point: tuple[float, ...]) -> bool:
        return any(
            all(a <= b for a, b in zip(other, point, strict=True)) for other in points.values() if other != point
        )

    naive = {run: point for run, point in points.items() if not is_beaten(point)}
    report = search.write_front()
    assert {found["run"]: tuple(found["objectives"].values()) for found in report["front"]} == naive
    assert 1 < len(naive) < 25
    assert report["trials"] == {"done": 25}
    assert read_front(tmp_path) == report == json.loads((tmp_path / FRONT_FILE).read_text())


def test_a_metric_to_maximize(tmp_path: Path) -> None:
    search = search_in(tmp_path, objectives={"val/style_distance": "maximize"}, sampler="random")
    finish(search, 10)
    (best,) = search.write_front()["front"]
    assert best["objectives"]["val/style_distance"] == max(trial.values[0] for trial in search.study.trials)


def test_the_table_of_a_front() -> None:
    rows = [{"run": "0003", "objectives": {"val/a": 0.123456, "val/b": 2.0}, "parameters": {"x": 1, "+y": "adain"}}]
    report = {"objectives": {}, "trials": {"done": 2, "failed": 1}, "front": rows}
    assert describe_front(report).splitlines() == [
        "The trade-off front has 1 runs (2 done, 1 failed):",
        "run   val/a   val/b  x  +y",
        "0003  0.1235  2      1  adain",
    ]
    assert describe_front(report | {"front": []}) == "No run is done that measured the objectives (2 done, 1 failed)."
    assert read_front(Path("nowhere")) is None


# What is told


@pytest.mark.parametrize(
    ("state", "metrics", "expected"),
    [
        (State.DONE, {"a": 1.0, "b": 2.0}, (TrialState.COMPLETE, [2.0, 1.0], "")),
        (State.STOPPED, {"a": 1.0, "b": 2.0}, (TrialState.PRUNED, None, "step 3: it collapsed")),
        (State.DONE, {"a": 1.0}, (TrialState.FAIL, None, "the run measured no b; it measured a")),
        (State.DONE, {}, (TrialState.FAIL, None, "the run measured no b, a; it measured nothing")),
        (State.DONE, {"a": math.nan, "b": 2.0}, (TrialState.FAIL, None, "b is 2.0, a is nan")),
        (State.DONE, {"a": math.inf, "b": 2.0}, (TrialState.FAIL, None, "b is 2.0, a is inf")),
        (State.FAILED, {}, (TrialState.FAIL, None, "the run failed")),
        (State.RUNNING, {}, None),
        (State.PREEMPTED, {}, None),
    ],
)
def test_the_outcome_of_a_run(tmp_path: Path, state: State, metrics: dict[str, float], expected: Any) -> None:
    record(tmp_path, state, {}, 3, metrics, "step 3: it collapsed")
    assert outcome_of(tmp_path, ["b", "a"]) == expected


def test_the_error_of_a_run_is_its_reason(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, ["a"]) is None
    (tmp_path / "error.txt").write_text("width must be at least 2\n\nTraceback ...")
    assert outcome_of(tmp_path, ["a"]) == (TrialState.FAIL, None, "width must be at least 2")


# A search that was killed


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_search_that_ended_anywhere_goes_on_as_if_it_had_not(tmp_path: Path, sampler: str, size: int) -> None:
    options = {"sampler": sampler, "options": {"n_startup_trials": 3} if sampler == "tpe" else {}}
    whole = finish(search_in(tmp_path / "whole", **options), 8, size)
    for ended in (0, 1, 2):
        folder = tmp_path / f"ended {ended}"
        first = search_in(folder, **options)
        for batch in islice(first.batches(8, size), ended):
            for drawn in batch:
                run(first, drawn)
                first.tell(drawn)
        for drawn in next(first.batches(8, size)):  # drawn, not told
            run(first, drawn)
        again = search_in(folder, **options)
        assert finish(again, 8, size) == whole
        assert {trial.state for trial in again.study.trials} == {TrialState.COMPLETE}


def test_a_trial_without_all_its_values_gets_them(tmp_path: Path) -> None:
    whole = finish(search_in(tmp_path / "whole"), 3)
    search = search_in(tmp_path / "killed")
    search.study.sampler = search._new_sampler(0)
    trial = search.study.ask()
    search.study.sampler = search._new_sampler(0, 1)
    search.parameters["x"].draw(trial, "x")  # the kill comes before y
    assert finish(search_in(tmp_path / "killed"), 3) == whole


def test_a_journal_that_a_kill_cut_short_is_mended(tmp_path: Path) -> None:
    finish(search_in(tmp_path / "whole"), 2)
    journal = (tmp_path / "whole" / JOURNAL_FILE).read_bytes()
    start = len(b"".join(journal.splitlines(keepends=True)[:4]))
    for end in range(start, len(journal), 149):
        folder = tmp_path / f"cut {end}"
        folder.mkdir()
        (folder / JOURNAL_FILE).write_bytes(journal[:end])
        (folder / f"{JOURNAL_FILE}.lock").touch()
        with only_search_in(folder):
            assert len(finish(search_in(folder), 3)) == 3


def test_finished_trials_are_kept_and_more_can_follow(tmp_path: Path) -> None:
    five = finish(search_in(tmp_path), 5)
    assert finish(search_in(tmp_path), 5) == five
    assert finish(search_in(tmp_path), 8)[:5] == five
    assert len(search_in(tmp_path).study.trials) == 8


def test_two_processes_do_not_search_in_one_folder(tmp_path: Path) -> None:
    program = "from scumble.sweeps.search import *\nwith only_search_in(Path('.')): print('in', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ValueError, match="another process is searching in"), only_search_in(tmp_path):
            pass
        other.kill()
    with only_search_in(tmp_path):
        pass


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "grid"}, "the sampler must be one of tpe, nsga2, random, got 'grid'"),
        ({"options": {"startup": 3}}, r"sampler_options of tpe: .*startup"),
        ({"objectives": {}}, "a search needs an objective"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_in(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (["x=interval(-1,5)", SPACE[1]], {}, r"parameters: .*interval\(-1,4\).* -> .*interval\(-1,5\)"),
        ([SPACE[0]], {}, "parameters: "),
        (SPACE, {"objectives": {"val/content_distance": "minimize"}}, "objectives: "),
        (SPACE, {"objectives": dict(reversed(OBJECTIVES.items()))}, "objectives: "),
        (SPACE, {"seed": 1}, "seed: 0 -> 1"),
    ],
)
def test_another_search_does_not_go_on_in_the_folder(
    tmp_path: Path, space: list[str], options: dict[str, Any], message: str
) -> None:
    finish(search_in(tmp_path), 2)
    with pytest.raises(ValueError, match=f"(?s)cannot be resumed with these changes.*{message}"):
        search_in(tmp_path, *space, **options)
    assert len(search_in(tmp_path).study.trials) == 2


@pytest.mark.parametrize(
    "content", ["no journal\n" * 2, '{"op_code": 0}\n', '{"op_code": 99, "worker_id": "x"}\n', "[]\n"]
)
def test_a_journal_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / JOURNAL_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"search\.journal cannot be read: "):
        search_in(tmp_path)


# Ranks

SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize("devices", [1, "1", [0], [3]])
def test_a_run_on_one_device_may_be_drawn(devices: Any) -> None:
    check_ranks({"devices": devices}, BASIC)


@pytest.mark.parametrize(
    "trainer",
    [{"devices": 2}, {"devices": -1}, {"devices": "auto"}, {}, {"devices": [0, 1]}, {"devices": 1, "num_nodes": 2}],
)
def test_a_run_whose_ranks_lightning_starts_may_not(trainer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="each rank would be started as a search of its own"):
        check_ranks(trainer, BASIC)
    check_ranks(trainer, SLURM)
