"""Runs on a SLURM cluster: whatever happens to their jobs, they end as if nothing had happened."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import TINY, last_step, make_images, scumble, scumble_here
from slurm_cluster import Cluster, Job, missing, slurm_cluster, wait_until
from test_readme import COMMANDS_OF_DOCUMENTS, scumble_arguments

from scumble.check_resume import differences
from scumble.ledger import State, Status, read_status
from scumble.loggers.csv_file import read_metrics
from scumble.loggers.wandb_file import read_history, wandb_files

HERE = Path(__file__).parent
ON_THIS_CLUSTER = ("hydra.launcher.gpus_per_node=null", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=10",
                   "hydra.launcher.signal_delay_s=30")  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with slurm_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("images")
    content, style = make_images(root / "content", 6, seed=1), make_images(root / "style", 4, seed=2)
    return [*TINY, f"data.content={content}", f"data.style={style}", "steps=40", "val_every_n_steps=10",
            "checkpoint_every_n_steps=3"]  # fmt: skip


class Sweep:
    """A sweep on the cluster, in a folder, and the states that its runs went through.

    Its runs are slow until they are let go, so that what happens to them happens in the middle.
    """

    def __init__(self, cluster: Cluster, folder: Path):
        self.cluster, self.folder = cluster, folder
        self.states: dict[str, list[State]] = {}
        self.lost_steps: dict[str, int] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.hold = folder.with_suffix(".hold")
        self.hold.touch()

    @property
    def slowly(self) -> str:
        """The override that holds its runs."""
        return f"+callbacks.throttle={{_target_: throttle.Throttle, file: {self.hold}, seconds: 3}}"

    def start(self, *command: str) -> None:
        """`scumble COMMAND` in the background; what it prints goes to ``log``."""
        environment = self.cluster.environment | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scumble", *command],
                cwd=self.folder.parent, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait, watch the runs, and start requeued jobs at once."""

        def is_so() -> object:
            self._look()
            self.cluster.start_held()
            is_met = condition()
            assert is_met or not (self.process and self.process.poll()), "the command has failed"
            return is_met

        try:
            wait_until(is_so, what, 1200)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.states}\n{self.cluster.jobs()}\n{self.words()}") from error

    def end(self) -> int:
        """Wait for the command; its exit status."""
        process = self.process
        assert process is not None
        self.until(lambda: process.poll() is not None, "the end of the sweep")
        return process.returncode

    def words(self) -> str:
        """What the command and its jobs printed."""
        logs = [self.log, *sorted(self.folder.glob(".submitit/*/*_log.*"))]
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in logs)

    def gave_way(self, run: str) -> bool:
        return State.PREEMPTED in self.states.get(run, [])

    def left_to(self, run: str) -> str:
        """The job to which another process would leave the run."""
        program = f"from scumble.ledger import other_job; print(other_job({str(self.folder / run)!r}))"
        return self.cluster(sys.executable, "-c", program).strip()

    def job(self, run: str) -> Job:
        name = self.status(run).job
        return next(job for job in self.cluster.jobs() if job.name == name)

    def status(self, run: str) -> Status:
        found = read_status(self.folder / run)
        assert found is not None, run
        return found

    def _look(self) -> None:
        for path in self.folder.glob("*/status.json"):
            run = path.parent.name
            status, states = self.status(run), self.states.setdefault(run, [])
            if [status.state] != states[-1:]:
                states.append(status.state)
            if status.state == State.PREEMPTED:
                self.lost_steps[run] = last_step(path.parent) - status.step


@pytest.fixture
def new_sweep(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[str], Sweep]]:
    """Makes sweeps in folders of their own, and ends them."""
    made: list[Sweep] = []

    def new(name: str) -> Sweep:
        made.append(Sweep(cluster, tmp_path / name))
        return made[-1]

    yield new
    cluster.end_jobs()
    for sweep in made:
        if sweep.process:
            sweep.process.kill()
            sweep.process.wait()


def documented_sweep() -> list[str]:
    """The first sweep of docs/clusters.md: four of its runs, on the CPU."""
    commands = [scumble_arguments(command) for command in COMMANDS_OF_DOCUMENTS if command.document == "clusters.md"]
    words = next(parsed[1] for parsed in commands if parsed and "hydra/launcher=slurm" in parsed[1])
    kept = iter((2, 1, 2))  # values of each key
    words = [",".join(word.split(",")[: next(kept)]) if "," in word else word for word in words]
    return [word for word in words if not word.startswith(("trainer=", "hydra.sweep.dir="))]


@pytest.mark.slurm
def test_a_sweep_outlives_all_that_a_cluster_does_to_it(
    cluster: Cluster, new_sweep: Callable[[str], Sweep], arguments: list[str], tmp_path: Path
) -> None:
    documented = documented_sweep()
    here = [word for word in documented if word != "hydra/launcher=slurm"]
    scumble_here(*here, *arguments, "hydra.sweep.dir=whole", cwd=tmp_path)
    runs = sorted(path.name for path in (tmp_path / "whole").glob("*seed=*"))
    assert len(runs) == 4

    sweep = new_sweep("sweep")
    two_on_a_node = [*ON_THIS_CLUSTER, "hydra.launcher.cpus_per_task=2"]
    loggers = "logger=[csv,wandb]"
    sweep.start(*documented, *arguments, sweep.slowly, loggers, *two_on_a_node, "hydra.sweep.dir=sweep")
    # A run that has no checkpoint yet starts from nothing, as another W&B run.
    sweep.until(lambda: all(last_step(sweep.folder / run) > 3 for run in runs), "the first checkpoints of all runs")
    nodes = {run: sweep.job(run).node for run in runs}
    killed, late = (run for run in runs if nodes[run] == "n1")
    others = [run for run in runs if nodes[run] == "n2"]

    os.kill(sweep.status(killed).process, signal.SIGKILL)
    cluster("scontrol", "update", f"JobId={sweep.job(late).name}", "EndTime=now+60seconds")
    urgent = ["--partition=high", "--nodelist=n2", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1"]
    cluster("sbatch", *urgent)
    sweep.until(lambda: any(map(sweep.gave_way, others)), "a run that gives way to a higher partition")
    (requeued,) = (run for run in others if not sweep.gave_way(run))
    cluster("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    cluster("scontrol", "requeue", sweep.job(requeued).name)
    sweep.until(lambda: all(map(sweep.gave_way, runs)), "all runs to give way")
    sweep.until(lambda: any(sweep.job(run).node == "n1" for run in others), "the other node to take over")
    assert sweep.left_to(requeued) == sweep.job(requeued).name
    cluster("scontrol", "update", "NodeName=n2", "State=RESUME")
    sweep.hold.unlink()

    assert sweep.end() == 1, sweep.words()
    assert f"{killed}: job" in sweep.log.read_text().split("these runs of the sweep failed")[1]
    assert "this job is timed-out" in sweep.words()
    sweep.start("sweep", "resume", "sweep", "hydra/launcher=slurm", *two_on_a_node, "trust=[throttle]")
    assert sweep.end() == 0, sweep.words()

    for run in runs:
        assert list(differences(tmp_path / "whole" / run, sweep.folder / run)) == []
        assert sweep.states[run] == [State.RUNNING, State.PREEMPTED, State.RUNNING, State.DONE]
        assert sweep.lost_steps[run] == 0 or run == killed
        folder = sweep.folder / run
        parts = [path.name for path in (folder / "wandb").glob("offline-run-*")]
        identity = (folder / "wandb_id").read_text()
        assert parts
        assert all(name.endswith(f"-{identity}") for name in parts)
        # A signal may leave nothing of a part that could be uploaded: its steps are then in the next one.
        uploaded = {step for part in wandb_files(folder, identity) for step, _ in read_history(part)}
        assert uploaded == read_metrics(folder).keys()


@pytest.mark.slurm
def test_two_tasks_equal_two_processes_without_slurm(
    cluster: Cluster, new_sweep: Callable[[str], Sweep], arguments: list[str], tmp_path: Path
) -> None:
    """On one node and on two; the run on two is requeued in the middle, so both ranks give way together."""
    scumble("train", *arguments, "trainer=ddp_sim", "run_dir=whole", cwd=tmp_path)

    address = 'hydra.launcher.setup=["export MASTER_ADDR=127.0.0.1", "export SLURM_KILL_BAD_EXIT=1"]'
    launcher = ["hydra/launcher=slurm", *ON_THIS_CLUSTER, "hydra.launcher.cpus_per_task=1", address]
    common = ["train", "-m", *arguments, "trainer=ddp_sim", *launcher]
    one, two = new_sweep("one_node"), new_sweep("two_nodes")
    one.start(*common, "hydra.sweep.dir=one_node", "hydra.sweep.subdir=run")
    shape = ["trainer.devices=1", "+trainer.num_nodes=2"]
    two.start(*common, two.slowly, *shape, "hydra.sweep.dir=two_nodes", "hydra.sweep.subdir=run")
    two.until(lambda: last_step(two.folder / "run") > 0, "the first steps on two nodes")
    assert two.job("run").node == "n[1-2]"
    cluster("scontrol", "requeue", two.job("run").name)
    two.until(lambda: two.gave_way("run"), "both ranks to give way")
    two.hold.unlink()
    assert (two.end(), one.end()) == (0, 0), two.words() + one.words()

    for sweep in (one, two):
        assert list(differences(tmp_path / "whole", sweep.folder / "run")) == []
    assert two.states["run"] == [State.RUNNING, State.PREEMPTED, State.RUNNING, State.DONE]
    assert two.lost_steps["run"] == 0
