"""What is asked of SLURM where there is none, and where its queue is known; tests/test_slurm.py has a real cluster."""

import os
from pathlib import Path
from typing import Any

import hydra
import pytest
from runs import TINY, make_images, scumble_here

from scumble.checkpoint import list_checkpoints
from scumble.comparison.runs import load_sweep
from scumble.config import CONFIG_FOLDER
from scumble.ledger import State, other_job, read_status, record
from scumble.slurm import is_started_again, own_job, queued_jobs
from scumble.sweeps.folder import runs_of


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `squeue` that has two jobs of this user."""
    program = tmp_path / "bin" / "squeue"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '7_0\\n8\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.mark.parametrize(
    ("variables", "again"),
    [
        ({}, False),
        ({"SLURM_RESTART_COUNT": "0"}, False),
        ({"SLURM_RESTART_COUNT": "2"}, True),
        ({"TORCHELASTIC_RESTART_COUNT": "0"}, False),
        ({"TORCHELASTIC_RESTART_COUNT": "1"}, True),
    ],
)
def test_a_scheduler_starts_a_run_again(
    variables: dict[str, str], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_started_again() == again


def test_the_name_of_a_job_is_that_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert own_job() == "9"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert own_job() == "7_3"


def test_a_queue_that_does_not_answer_is_unknown(squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queued_jobs() == {"7_0", "8"}
    squeue.write_text("#!/bin/sh\nexit 1\n")
    assert queued_jobs() is None
    monkeypatch.setenv("PATH", str(squeue.parents[1]))
    assert queued_jobs() is None


@pytest.mark.parametrize(("job", "state"), [("8", State.RUNNING), ("9", State.PREEMPTED), (None, State.RUNNING)])
def test_a_run_whose_job_is_gone_is_preempted(
    job: str | None, state: State, squeue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, whose processes nobody here can see."""
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setattr("socket.gethostname", lambda: "node17")
    record(tmp_path, State.RUNNING, {"steps": 5})
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    found = read_status(tmp_path)
    assert found is not None
    assert (found.state, found.job) == (state, job)


def test_a_run_is_left_to_its_job_in_the_queue(squeue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    record(tmp_path / "run", State.PREEMPTED, {"steps": 5})
    assert other_job(tmp_path / "run") is None  # it is this one
    monkeypatch.delenv("SLURM_JOB_ID")
    assert other_job(tmp_path / "run") == "8"
    result = scumble_here("train", "run_dir=run", "resume=true", cwd=tmp_path, check=False)
    assert result.returncode
    assert "run is trained by job 8 of SLURM; wait until it has ended, or scancel 8 first" in result.stderr
    record(tmp_path / "run", State.DONE, {"steps": 5})
    assert other_job(tmp_path / "run") is None
    assert other_job(tmp_path / "nothing") is None


def test_every_command_asks_for_the_queue_once(squeue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "multirun.yaml").write_text("hydra: {overrides: {hydra: [], task: [seed=0]}}")
    with monkeypatch.context() as elsewhere:  # processes of another machine, of which only the queue tells
        elsewhere.setattr("socket.gethostname", lambda: "node17")
        elsewhere.setenv("SLURM_JOB_ID", "8")
        for name in "ab":
            hydra_folder = tmp_path / "sweep" / name / ".hydra"
            hydra_folder.mkdir(parents=True)
            (hydra_folder / "overrides.yaml").write_text("[seed=0]")
            record(hydra_folder.parent, State.RUNNING, {"steps": 5})
    asked = tmp_path / "asked"
    for look in (lambda: runs_of(tmp_path / "sweep"), lambda: load_sweep(tmp_path / "sweep").runs):
        for job, state in (("8", State.RUNNING), ("9", State.PREEMPTED)):
            squeue.write_text(f"#!/bin/sh\necho >> {asked}\necho {job}\n")
            asked.unlink(missing_ok=True)
            assert [run.state for run in look()] == [state, state]
            assert len(asked.read_text()) == 1


@pytest.mark.parametrize("resume", ["false", "failed"])
def test_a_run_that_was_requeued_goes_on_whatever_was_asked_for(
    resume: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(tmp_path / "images", 4)
    arguments = ["train", *TINY, f"data.content={images}", f"data.style={images}", "run_dir=run"]
    scumble_here(*arguments, "steps=1", cwd=tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    scumble_here(*arguments, "steps=2", f"resume={resume}", cwd=tmp_path)
    assert list(list_checkpoints(tmp_path / "run")) == [2, 1]


def launcher(*overrides: str) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = hydra.compose("train", ["hydra/launcher=slurm", *overrides], return_hydra_config=True)
    keys = ("nodes", "tasks_per_node", "gpus_per_node", "max_num_timeout", "signal_delay_s", "timeout_min")
    return {key: config.hydra.launcher[key] for key in keys}


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [
        (["trainer=gpu"], (1, 1, 1)),
        (["trainer=ddp", "trainer.devices=4"], (1, 4, 4)),
        (["trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2"], (2, 4, 4)),
        (["trainer=cpu", "hydra.launcher.gpus_per_node=null"], (1, 1, None)),
    ],
)
def test_a_job_has_the_shape_of_the_trainer(overrides: list[str], shape: tuple[int | None, ...]) -> None:
    found = launcher(*overrides)
    assert tuple(found.values())[:3] == shape
    assert found["max_num_timeout"] >= 20
    assert 0 < found["signal_delay_s"] < 60 * found["timeout_min"]


@pytest.mark.parametrize(
    ("trainer", "path", "message"),
    [
        ("trainer=ddp", None, "hydra.launcher.tasks_per_node is -1, which SLURM cannot reserve; set trainer.devices"),
        ("trainer=gpu", "/nowhere", 'Could not detect "srun"'),
    ],
)
def test_jobs_that_cannot_be(
    trainer: str, path: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path:
        monkeypatch.setenv("PATH", path)
    command = ["train", "-m", "hydra/launcher=slurm", trainer, "seed=0,1", "hydra.sweep.dir=sweep"]
    result = scumble_here(*command, cwd=tmp_path, check=False)
    assert result.returncode
    assert result.stderr.splitlines()[-1].startswith("scumble: ")
    assert message in result.stderr
