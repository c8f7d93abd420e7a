"""Several runs at a time on one machine: the launchers of conf/hydra, and what a process of theirs has to itself."""

import os
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import joblib
import pytest
from joblib.externals.loky import get_reusable_executor
from runs import TINY, make_images, scumble

from scumble.callbacks import StepProgressBar
from scumble.checkpoint import list_checkpoints
from scumble.config import CONFIG_FOLDER, instantiate
from scumble.ledger import read_status
from scumble.overrides import compose_run
from scumble.sweeps.folder import runs_of
from scumble.workers import prepare_worker, runs_at_a_time, shares_of, visible_gpus

LAUNCHERS = sorted(path.stem for path in (CONFIG_FOLDER / "hydra" / "launcher").glob("*.yaml"))
OF_WORKSTATIONS = {"workstation": "hydra_joblib_launcher", "ray_workstation": "hydra_ray_launcher"}


@pytest.mark.parametrize("launcher", OF_WORKSTATIONS)
def test_a_launcher_extends_its_plugins_own(launcher: str) -> None:
    assert launcher in LAUNCHERS
    if find_spec(f"hydra_plugins.{OF_WORKSTATIONS[launcher]}") is None:
        pytest.skip("its plugin is an extra, which is not installed")
    composed = compose_run([f"hydra/launcher={launcher}", "threads=1"]).hydra.launcher
    assert type(instantiate(composed)).__module__.startswith(f"hydra_plugins.{OF_WORKSTATIONS[launcher]}")


def test_a_workstation_trains_as_many_runs_as_it_has_cores_for() -> None:
    for threads in (1, 2, 1000):
        jobs = compose_run(["hydra/launcher=workstation", f"threads={threads}"]).hydra.launcher.n_jobs
        assert jobs == max(1, joblib.cpu_count() // threads)
    assert compose_run(["hydra/launcher=workstation", "hydra.launcher.n_jobs=7"]).hydra.launcher.n_jobs == 7


@pytest.mark.parametrize(("visible", "devices", "runs"), [("0,1,2", 1, 3), ("a,b,c", 2, 1), ("0,1", -1, 1), ("", 1, 1)])
def test_a_workstation_trains_as_many_runs_as_it_has_gpus_for(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: int, runs: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launcher = compose_run(["hydra/launcher=workstation", "trainer=gpu", f"trainer.devices={devices}"]).hydra.launcher
    assert launcher.n_jobs == runs
    assert runs_at_a_time(1, "gpu", "auto") == 1


def test_shares_of_gpus() -> None:
    assert shares_of(["a", "b", "c"], 1) == [["a"], ["b"], ["c"]]
    assert shares_of(["a", "b", "c"], 2) == [["a", "b"]]
    assert shares_of(["a", "b"], -1) == shares_of(["a", "b"], "auto") == [["a", "b"]]
    assert shares_of([], 1) == shares_of([], -1) == shares_of(["a"], 2) == []


@pytest.mark.parametrize(
    ("visible", "devices", "workers", "shares"),
    [
        ("3,GPU-b,5", 1, 3, [["3"], ["5"], ["GPU-b"]]),
        ("0,1,2,3", 2, 2, [["0", "1"], ["2", "3"]]),
        ("0", 1, 2, [["0"], ["0"]]),
        ("0,1", 1, 3, [["0"], ["0"], ["1"]]),
    ],
)
def test_every_process_of_joblib_has_gpus_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, devices: int, workers: int, shares: list[list[str]]
) -> None:
    def gpus_of_worker() -> tuple[int, list[str]]:
        (tmp_path / str(os.getpid())).touch()
        deadline = time.monotonic() + 300
        while len(list(tmp_path.iterdir())) < workers and time.monotonic() < deadline:
            time.sleep(0.05)  # leave work for processes that are slow to start
        for _ in range(2):  # the next run in the same process keeps what it has
            prepare_worker(devices)
        return os.getpid(), visible_gpus()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    get_reusable_executor().shutdown(wait=True)  # processes of other tests would be used again
    try:
        parallel = joblib.Parallel(n_jobs=workers, backend="loky", batch_size=1)
        found = dict(parallel(joblib.delayed(gpus_of_worker)() for _ in range(workers)))
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert sorted(found.values()) == shares
    assert visible_gpus() == visible.split(",")


def test_tqdms_own_variable_hides_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert StepProgressBar().is_enabled
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert not StepProgressBar().is_enabled


@pytest.mark.slow
def test_a_sweep_through_joblib_with_data_workers_is_resumed_where_it_is_not_done(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 4)
    data = [f"data.content={images}", f"data.style={images}", "data.num_workers=1"]
    launcher = ["hydra/launcher=workstation", "hydra.launcher.n_jobs=2"]
    grid = ["task.accumulate=0,1,2", "hydra.sweep.dir=sweep", "steps=2"]
    result = scumble("train", "-m", *TINY, *data, *grid, *launcher, cwd=tmp_path, check=False)
    assert result.returncode == 1, result.stderr
    assert "task.accumulate=0: accumulate must be at least 1, got 0" in result.stderr
    assert [run.state for run in runs_of(tmp_path / "sweep")] == ["failed", "done", "done"]

    statuses = [read_status(path) for path in (tmp_path / "sweep").iterdir() if path.is_dir()]
    assert len({status.process for status in statuses if status}) <= 2, "a process trains one run after the other"

    kept, again = (tmp_path / "sweep" / f"task.accumulate={number}" for number in (1, 2))
    before = (kept / "status.json").stat().st_mtime_ns
    shutil.rmtree(again)
    result = scumble("sweep", "resume", "sweep", *launcher, cwd=tmp_path, check=False)
    assert result.returncode == 1  # one of the runs cannot be made
    assert [run.state for run in runs_of(tmp_path / "sweep")] == ["failed", "done", "done"]
    assert list(list_checkpoints(again)) == [2]
    assert (kept / "status.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_sweep_through_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    images = make_images(tmp_path / "images", 4)
    data = [f"data.content={images}", f"data.style={images}", "data.num_workers=1"]
    grid = ["task.accumulate=0,1", "hydra.sweep.dir=sweep", "steps=2", "hydra/launcher=ray_workstation"]
    result = scumble("train", "-m", *TINY, *data, *grid, cwd=tmp_path, check=False)
    assert result.returncode == 1, result.stderr
    assert [run.state for run in runs_of(tmp_path / "sweep")] == ["failed", "done"]
