"""The launcher that makes every run of a sweep a job of SLURM.

Hydra imports this module at each start, whatever the launcher, so it imports nothing heavy.
"""

import dataclasses
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

from scumble.files import atomic_write
from scumble.ledger import ERROR_FILE
from scumble.slurm import queued_jobs

# Seconds between two looks, and how long a job may be gone from the queue before its result is taken for lost: a file
# system that many machines share may show a new file late.
LOOK_EVERY, PATIENCE = 5, 60

log = logging.getLogger(__name__)


class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]  # the plugin has no types
    """submitit's launcher; a run whose job is lost is a run that failed.

    A job that is killed, runs out of memory or is cancelled leaves no result. submitit waits for it forever where SLURM
    keeps no accounts; elsewhere it ends the sweep with a traceback. Here the loss is written into the folder of the
    run, as every error of a run is, and the sweep goes on.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Submit the runs, as an array of jobs, and return what they return."""
        overrides = [list(words) for words in job_overrides]
        try:
            jobs = self._submit(overrides, initial_job_idx)
        except (ValueError, RuntimeError, OSError) as error:
            sys.exit(f"scumble: {error}")
        folders = [self._run_dir(words) for words in overrides]
        for job, run_dir in zip(jobs, folders, strict=True):
            log.info("job %s: %s", job.job_id, run_dir)
        log.info("Waiting for the jobs, which run on if this command ends.")
        _wait(jobs)
        return [_outcome(job, run_dir) for job, run_dir in zip(jobs, folders, strict=True)]

    def _submit(self, overrides: list[list[str]], first: int) -> Sequence[Any]:
        """The jobs, each of which calls this launcher for its run.

        Raises: ValueError if the trainer is to take all devices, however many; RuntimeError if SLURM refuses the jobs.
        """
        import submitit

        for key in ("nodes", "tasks_per_node", "gpus_per_node"):
            if (self.params[key] or 1) < 1:
                raise ValueError(
                    f"hydra.launcher.{key} is {self.params[key]}, which SLURM cannot reserve; set trainer.devices to "
                    "the number of devices of each node, and trainer.num_nodes to that of the nodes"
                )
        options = dict(self.params)
        folder, timeouts = options.pop("submitit_folder"), options.pop("max_num_timeout")
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        shared = {field.name for field in dataclasses.fields(BaseQueueConf)}
        executor.update_parameters(**{key if key in shared else f"slurm_{key}": options[key] for key in options})
        numbers = range(first, first + len(overrides))
        ids, singletons = [f"job_id_for_{number}" for number in numbers], [Singleton.get_state() for _ in numbers]
        jobs: Sequence[Any] = executor.map_array(
            self, overrides, ["hydra.sweep.dir" for _ in numbers], numbers, ids, singletons
        )
        return jobs

    def _run_dir(self, overrides: list[str]) -> Path:
        """The folder of the run with these overrides."""
        assert self.hydra_context is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        HydraConfig.instance().set_config(config)  # the name of the folder may be made of what Hydra knows of the run
        return Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)


def _wait(jobs: Sequence[Any]) -> None:
    """Until every job has a result or is lost."""
    seen = dict.fromkeys(jobs, time.monotonic())
    while seen:
        queued, now = queued_jobs(), time.monotonic()
        for job in list(seen):
            if _has_result(job) or now - seen[job] > PATIENCE:
                del seen[job]
            elif queued is None or job.job_id in queued:
                seen[job] = now
        time.sleep(LOOK_EVERY)


def _has_result(job: Any) -> bool:
    """Whether the first rank has written what the run returns."""
    return bool(job.task(0).paths.result_pickle.exists())


def _outcome(job: Any, run_dir: Path) -> JobReturn:
    """What a job returned. If it was lost, that is written down, and this is what a run that failed returns."""
    from submitit.core.utils import UncompletedJobError

    message = f"job {job.job_id} ended without a word: killed, out of memory or cancelled"
    if _has_result(job):
        try:
            returned: JobReturn = job.task(0).result()
            return returned
        except UncompletedJobError as error:
            message = f"job {job.job_id} failed outside of the run\n\n{error}"
    with atomic_write(run_dir / ERROR_FILE) as file:
        file.write(f"{message}\n\nThe log of the job is {job.task(0).paths.stderr}\n".encode())
    log.error("%s: %s", run_dir, message)
    return JobReturn(_return_value={}, status=JobStatus.COMPLETED)
