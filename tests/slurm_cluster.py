"""A SLURM cluster of this machine alone: its daemons in a temporary folder, two nodes, two partitions.

Jobs of the partition ``high`` preempt those of ``low``, which are then requeued. It needs Debian's ``slurm-wlm`` and
``munge``, and root. ``python tests/slurm_cluster.py`` keeps one up to play with until Ctrl-C.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")

CONFIG = """
ClusterName=scumble
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=20
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=8000
PartitionName=low Nodes=n[1-2] Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=20 PreemptMode=REQUEUE
PartitionName=high Nodes=n[1-2] MaxTime=60 State=UP PriorityTier=10
"""


class Job(NamedTuple):
    """A job in the queue; ``name`` is ARRAY_INDEX for an element of an array."""

    name: str
    state: str
    node: str


class Cluster:
    """The commands of a running cluster."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def __call__(self, *command: str) -> str:
        """What a SLURM command prints.

        Raises: AssertionError with what it says, if it fails.
        """
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")
        return result.stdout

    def jobs(self) -> list[Job]:
        """All jobs that are in the queue, the elements of an array one by one."""
        lines = self("squeue", "--noheader", "--array", "--format=%i|%T|%N").splitlines()
        return [Job(*line.split("|")) for line in lines]

    def start_held(self) -> None:
        """Start requeued jobs now: SLURM lets them wait for two minutes."""
        for job in self.jobs():
            if job.state == "PENDING":
                with suppress(AssertionError):  # it has just started
                    self("scontrol", "update", f"JobId={job.name}", "StartTime=now")

    def end_jobs(self) -> None:
        """Cancel what is in the queue, and wait until its processes are gone."""
        if names := [job.name for job in self.jobs()]:
            self("scancel", *names)
        wait_until(lambda: not self.jobs(), "an empty queue", 60)

    def log(self) -> str:
        """What the daemons wrote, for the message of a test that fails."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


def missing() -> str | None:
    """Why there can be no cluster here, or None."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "the daemons run as root"


@contextmanager
def slurm_cluster() -> Iterator[Cluster]:
    """A cluster that is ready for jobs; its daemons and its jobs end with the block, however that ends."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scumble-slurm-")))
        for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(mode=0o700)
        (folder / "slurm.conf").write_text(
            CONFIG.format(folder=folder, host=socket.gethostname().split(".")[0], ports=_free_ports(3))
        )
        cluster = Cluster(folder)

        def start(*command: str) -> None:
            stack.enter_context(_daemon(command, cluster))

        munge = folder / "munge"
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o400)
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "seed")]
        # munged wants the folders above its own to be nobody else's, which a temporary folder is not: --force.
        start("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *files)
        wait_until((munge / "socket").exists, "munged", 20)
        start("slurmctld", "-D", "-c")
        for node in NODES:
            start("slurmd", "-D", "-N", node)
        wait_until(lambda: _is_ready(cluster), "idle nodes", 60)
        stack.callback(cluster.end_jobs)
        yield cluster


def wait_until(condition: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Raises: AssertionError if the condition does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.2)


@contextmanager
def _daemon(command: tuple[str, ...], cluster: Cluster) -> Iterator[None]:
    """A process that ends with the block; in a session of its own, so that Ctrl-C is ours and not its."""
    with (cluster.folder / f"{command[0]}.log").open("a") as log:
        process = subprocess.Popen(
            command, env=cluster.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(cluster: Cluster) -> bool:
    try:
        return cluster("sinfo", "--noheader", "--Node", "--format=%T", "--partition=low").split() == ["idle"] * 2
    except AssertionError:  # the controller does not answer yet
        return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    with slurm_cluster() as cluster:
        print(f"export SLURM_CONF={cluster.folder / 'slurm.conf'}\n{cluster('sinfo')}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
