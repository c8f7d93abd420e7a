"""`scumble sweep`: what it says of each run, and that it trains what is not done, and nothing else."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from runs import TINY, make_images, scumble_here

from scumble.checkpoint import list_checkpoints
from scumble.ledger import State, is_done, read_status, record, run_key
from scumble.sweep import Run, describe, runs_of


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
    assert lines[0] == "failed loss_weights.style=1,task.accumulate=0 accumulate must be at least 1, got 0"
    assert lines[1] == "done loss_weights.style=1,task.accumulate=1"
    assert lines[2].startswith("failed loss_weights.style=2,task.accumulate=0 ")
    assert lines[3].startswith("pending ")
    assert "loss_weights.style=2 " in lines[3]
    assert "task.accumulate=1" in lines[3]
    assert lines[4] == "1 pending, 1 done, 2 failed"


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


@pytest.mark.parametrize("content", ["", "[]", '{"state": "asleep"}', '{"state": "done"}'])
def test_a_status_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) is None


def test_the_table_of_no_runs() -> None:
    assert describe([]) == ""
    assert describe([Run("a", State.DONE, "")]) == "done       a\n1 done"


def test_another_folder_is_no_sweep(tmp_path: Path) -> None:
    for action in ("status", "resume"):
        result = scumble_here("sweep", action, "nowhere", cwd=tmp_path, check=False)
        assert result.returncode
        assert "nowhere is no folder of a sweep: multirun.yaml cannot be read in it" in result.stderr
