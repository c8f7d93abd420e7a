"""`scumble sweep`: what it says of each run, and that it trains what is not done, and nothing else."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from runs import TINY, make_images, scumble_here

from scumble.checkpoint import list_checkpoints
from scumble.ledger import State, is_done, read_error, read_status, record, run_key, state_of
from scumble.sweeps.commands import _parse, describe
from scumble.sweeps.folder import Run, runs_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of four runs, two of which fail."""
    root = tmp_path_factory.mktemp("sweep")
    images = make_images(root / "images", 4)
    data = [f"data.content={images}", f"data.style={images}"]
    grid = ["loss_weights.style=1,2", "task.accumulate=0,1", "hydra.sweep.dir=sweep"]
    own = [word for word in TINY if word != "logger=csv"]
    result = scumble_here("train", "-m", *own, *data, "logger=wandb", "steps=2", *grid, cwd=root, check=False)
    assert result.returncode == 1, result.stderr
    return root / "sweep"


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> Path:
    """A copy whose second good run is not there yet."""
    shutil.copytree(finished, tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / "loss_weights.style=2,task.accumulate=1")
    return tmp_path / "sweep"


def test_status_knows_what_is_done_failed_and_pending(sweep: Path, tmp_path: Path) -> None:
    result = scumble_here("sweep", "status", "sweep", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "state step content_distance style_distance run"
    assert lines[1] == "failed 0/2 loss_weights.style=1,task.accumulate=0 accumulate must be at least 1, got 0"
    assert re.fullmatch(r"done 2/2 [0-9.e-]+ [0-9.e-]+ loss_weights.style=1,task.accumulate=1", lines[2])
    assert lines[3].startswith("failed 0/2 loss_weights.style=2,task.accumulate=0 ")
    assert lines[4].startswith("pending ")
    assert "loss_weights.style=2 " in lines[4]
    assert "task.accumulate=1" in lines[4]
    assert lines[5] == "1 pending, 1 done, 2 failed"


def test_status_shows_the_metrics_that_are_asked_for(sweep: Path, tmp_path: Path) -> None:
    result = scumble_here("sweep", "status", "--metric", "val/not_finite", "sweep", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "state step not_finite run"
    assert lines[2] == "done 2/2 0 loss_weights.style=1,task.accumulate=1"


def test_resume_trains_what_is_not_done_and_nothing_else(sweep: Path, tmp_path: Path) -> None:
    done = sweep / "loss_weights.style=1,task.accumulate=1"
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file() and ".hydra" not in path.parts}
    result = scumble_here("sweep", "resume", "sweep", cwd=tmp_path, check=False)
    assert result.returncode == 1  # two of the runs cannot be made
    assert "Done already" in result.stdout + result.stderr
    assert {path: path.read_bytes() for path in before if path.name != "scumble.log"} == {
        path: content for path, content in before.items() if path.name != "scumble.log"
    }
    new = sweep / "loss_weights.style=2,task.accumulate=1"
    assert list(list_checkpoints(new)) == [2]
    assert [run.state for run in runs_of(sweep)] == ["failed", "done", "failed", "done"]


def test_retry_trains_what_failed_and_nothing_else(sweep: Path, tmp_path: Path) -> None:
    run = sweep / "loss_weights.style=1,task.accumulate=1"
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"state": "failed"}))
    (run / "error.txt").write_text("the disk was full\n\nTraceback")
    assert [found.state for found in runs_of(sweep)] == ["failed", "failed", "failed", "pending"]

    result = scumble_here("sweep", "retry", "--failed", "sweep", cwd=tmp_path, check=False)
    assert result.returncode == 1  # two of the runs cannot be made
    assert "the disk was full" not in result.stderr
    assert [found.state for found in runs_of(sweep)] == ["failed", "done", "failed", "pending"]
    assert list(list_checkpoints(run)) == [2]
    assert not (run / "error.txt").exists()


def test_a_run_of_another_process_is_left_to_it(sweep: Path, tmp_path: Path) -> None:
    run = sweep / "loss_weights.style=1,task.accumulate=1"
    status = json.loads((run / "status.json").read_text())
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            (run / "status.json").write_text(json.dumps(status | {"state": "running", "process": other.pid}))
            result = scumble_here("train", f"run_dir={run}", "resume=true", "steps=3", cwd=tmp_path, check=False)
        finally:
            other.kill()
    assert result.returncode == 1
    assert f"is being trained by process {other.pid}; wait for it" in result.stderr
    assert list(list_checkpoints(run)) == [2]


def hand_made(folder: Path) -> Path:
    """A run folder in a sweep, with what Hydra writes and nothing else."""
    run = folder / "steps=5"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "overrides.yaml").write_text("- steps=5\n")
    (folder / "multirun.yaml").write_text("hydra: {overrides: {task: [steps=5]}}\n")
    return run


def test_status_of_a_run_on_another_machine_says_where_it_is_and_how_far(tmp_path: Path) -> None:
    run = hand_made(tmp_path)
    record(run, State.RUNNING, {"steps": 5})
    content = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(content | {"host": "another", "process": 1}))
    (run / "metrics.csv").write_text("step,val/style_distance\n2,0.5\n3,\n4,0.2")  # the last row is in writing
    (found,) = runs_of(tmp_path)
    assert found == Run(
        "steps=5",
        State.RUNNING,
        "on another, heard of 0 minutes ago",
        "3/5",
        {"val/style_distance": "0.5"},
    )


def test_an_error_is_that_of_the_last_attempt(tmp_path: Path) -> None:
    run = hand_made(tmp_path)
    (run / "error.txt").write_text("no such folder\n\nTraceback")
    assert runs_of(tmp_path) == [Run("steps=5", State.FAILED, "no such folder")]

    record(run, State.PREEMPTED, {"steps": 5})
    assert state_of(run) == State.PREEMPTED
    assert read_error(run) == ""

    (run / "error.txt").write_text("it cannot go on")  # before it could say that it is running
    assert state_of(run) == State.FAILED
    record(run, State.FAILED, {"steps": 5})
    assert read_error(run) == "it cannot go on"


def test_a_status_of_before_it_had_a_length_is_read(tmp_path: Path) -> None:
    record(tmp_path, State.DONE, {"steps": 5}, step=5)
    content = json.loads((tmp_path / "status.json").read_text())
    assert content.pop("steps") == 5
    (tmp_path / "status.json").write_text(json.dumps(content))
    found = read_status(tmp_path)
    assert found is not None
    assert (found.state, found.step, found.steps) == (State.DONE, 5, 0)


def test_the_runs_of_a_sweep_are_a_group(finished: Path) -> None:
    config = yaml.safe_load((finished / "loss_weights.style=1,task.accumulate=1" / "config.yaml").read_text())
    assert config["logger"]["wandb"]["group"] == "sweep"


def test_a_killed_run_is_preempted(tmp_path: Path) -> None:
    config = {"steps": 5, "run_dir": str(tmp_path)}
    record(tmp_path, State.RUNNING, config)
    found = read_status(tmp_path)
    assert found is not None
    assert found.state == State.RUNNING

    process = subprocess.Popen(["true"])
    process.wait()
    content = json.loads((tmp_path / "status.json").read_text()) | {"process": process.pid}
    (tmp_path / "status.json").write_text(json.dumps(content))
    found = read_status(tmp_path)
    assert found is not None
    assert found.state == State.PREEMPTED


def test_done_holds_for_the_same_config_wherever_it_is(tmp_path: Path) -> None:
    config = {"steps": 5, "run_dir": "/a/b", "data": {"cache": "/a/b/cache"}, "resume": False}
    record(tmp_path, State.DONE, config, metrics={"val/x": 1.5})
    moved = {"steps": 5, "run_dir": "/c", "data": {"cache": "/c/cache"}, "resume": True}
    found = is_done(tmp_path, moved)
    assert found is not None
    assert found.metrics == {"val/x": 1.5}
    assert is_done(tmp_path, moved | {"steps": 6}) is None
    assert run_key(config) != run_key(config | {"data": {}})
    assert run_key(config) == run_key(config | {"logger": {"wandb": {"group": "x"}}})


@pytest.mark.parametrize("content", ["", "[]", '{"state": "asleep"}', '{"state": "done"}'])
def test_a_status_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) is None


def test_the_table_of_no_runs() -> None:
    assert describe([]) == "state  step  run\n"
    assert describe([Run("a", State.DONE)]) == "state  step  run\ndone         a\n1 done"


def test_another_folder_is_no_sweep(tmp_path: Path) -> None:
    for action in ("status", "resume", "retry"):
        result = scumble_here("sweep", action, "nowhere", cwd=tmp_path, check=False)
        assert result.returncode
        assert "nowhere is no folder of a sweep: multirun.yaml cannot be read in it" in result.stderr


@pytest.mark.parametrize(
    "arguments", ["SWEEP --failed threads=1 a.b=2", "--failed SWEEP threads=1 a.b=2", "SWEEP threads=1 --failed a.b=2"]
)
def test_overrides_may_stand_around_the_flags(arguments: str) -> None:
    options = _parse(["retry", *arguments.split()])
    assert (options.folder, options.failed, options.overrides) == ("SWEEP", True, ["threads=1", "a.b=2"])


@pytest.mark.parametrize("arguments", ["retry SWEEP --fialed", "status SWEEP threads=1"])
def test_an_unknown_flag_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parse(arguments.split())
    assert "unrecognized arguments" in capsys.readouterr().err
