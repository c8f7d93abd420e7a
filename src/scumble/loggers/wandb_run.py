"""Weights & Biases."""

import logging
import os
import secrets
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch.loggers as lightning_loggers
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from scumble.files import atomic_write, link_or_copy
from scumble.loggers.csv_file import read_metrics
from scumble.loggers.pictures import PICTURES, list_pictures
from scumble.loggers.wandb_file import read_history, truncate, wandb_files

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]
ARTIFACTS = ("none", "last", "all")
# In the run folder: the id of its W&B run, which a resumed run keeps.
ID_FILE = "wandb_id"


class WandbLogger(lightning_loggers.Logger):
    """Weights & Biases, offline unless ``offline=False``: ``wandb sync RUN_DIR/wandb/offline-run-*`` uploads a run.

    W&B's own step is the step of the run. Resumed, it is the same W&B run: steps that its history has already are left
    out, and those that a killed process lost are written again, out of ``metrics.csv`` and the grids of pictures.
    ``artifacts`` says which checkpoints W&B gets: ``none``, the ``last`` of a run that is done, or ``all`` that are
    written. Lightning's logger names another x-axis than the step, keeps no step on a resume, and never ends a run, so
    that the second run of a sweep would go into the first.
    """

    def __init__(
        self,
        run_dir: str | Path,
        project: str = "scumble",
        offline: bool = True,
        group: str | None = None,
        name: str | None = None,
        tags: list[str] | None = None,
        artifacts: str = "none",
    ):
        super().__init__()
        if artifacts not in ARTIFACTS:
            raise ValueError(f"logger.wandb.artifacts must be one of {', '.join(ARTIFACTS)}, got {artifacts!r}")
        self.run_dir, self.offline, self.artifacts = Path(run_dir), offline, artifacts
        self._options: dict[str, Any] = {
            "project": project,
            "group": group,
            "name": name or self.run_dir.name,
            "tags": tags,
        }
        self._run: Any = None
        self._is_cut_off = False
        self._id: str | None = None
        self._newest_checkpoint: tuple[Path, int] | None = None
        # The last step that the history of earlier starts has, and the names of what it has of it.
        self._known_step, self._known_names = -1, frozenset[str]()

    @property
    def name(self) -> str:
        return str(self._options["project"])

    @property
    def version(self) -> str | None:
        """The id of the W&B run, None before it is started."""
        return self._id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; it starts when it is first asked for."""
        if self._run is None:
            self._run = self._start()
        return self._run

    @rank_zero_only
    def start_at(self, step: int) -> None:
        """Resume the W&B run of the run folder after ``step`` steps, or start another one at the first step."""
        self._id = _run_id(self.run_dir, new=step == 0)
        if step == 0:
            return
        for path in wandb_files(self.run_dir, self._id):
            truncate(path)
        run = self.experiment
        if run.offline:
            self._known_step, self._known_names = _end_of_history(self.run_dir, self._id)
        else:
            self._known_step = run.starting_step - 1
        self._write_again(step)

    def _write_again(self, step: int) -> None:
        """Log what the run folder has up to a step; of it, only what the history lacks is written."""
        rows, pictures = read_metrics(self.run_dir), list_pictures(self.run_dir)
        for known in sorted(number for number in rows.keys() | pictures.keys() if number <= step):
            self.log_metrics(rows.get(known, {}), known)
            if known in pictures:
                self._log({PICTURES: _image(pictures[known])}, known)
        last = {name: value for number, row in sorted(rows.items()) if number <= step for name, value in row.items()}
        self.experiment.summary.update(last)  # a part of a run that is uploaded replaces the summary of the others

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Put the resolved config into the config of the W&B run."""
        self.experiment.config.update(params, allow_val_change=True)

    @rank_zero_only
    def log_environment(self, environment: Mapping[str, Any]) -> None:
        """Put what the run runs on into the config of the W&B run, beside the config of the run."""
        self.experiment.config.update({"environment": dict(environment)}, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._log({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def log_picture(self, name: str, picture: Tensor, step: int) -> None:
        """Log a picture (3, H, W) in [0, 1]."""
        from scumble.images import to_uint8

        self._log({name: _image(to_uint8(picture).permute(1, 2, 0).numpy())}, step)

    @rank_zero_only
    def log_checkpoint(self, path: str | Path, step: int) -> None:
        """Take note of a checkpoint that was written, and give it to W&B if all are wanted."""
        self._newest_checkpoint = Path(path), step
        if self.artifacts == "all":
            self._log_artifact(Path(path), step)

    @rank_zero_only
    def add_tag(self, tag: str) -> None:
        """Tag the run, besides the tags that it has."""
        with self._outliving_its_service():
            self.experiment.tags = tuple(dict.fromkeys((*(self.experiment.tags or ()), tag)))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that the next run of a sweep is another one."""
        if self._run is None:
            return
        if status == "success" and self.artifacts == "last" and self._newest_checkpoint is not None:
            self._log_artifact(*self._newest_checkpoint)
        with self._outliving_its_service():
            self._run.finish(exit_code=0 if status == "success" else 1)
        if not (self._run.offline or self._is_cut_off):  # it is uploaded
            for path in self._staging.glob("*"):
                path.unlink()
        self._run = None

    def _start(self) -> Any:
        mode = _mode(self.offline)
        if mode != "online":
            # W&B reports on its own work to its makers at the end of a process, also of an offline one.
            os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        assert self._id is not None, "start_at comes first"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            return wandb.init(
                dir=str(self.run_dir),
                id=self._id,
                mode=mode,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(show_info=mode == "online"),
                **self._options,
            )
        except wandb.errors.Error as error:
            reason = str(error).rstrip(".")
            raise ValueError(
                f"Weights & Biases cannot start the run: {reason}. Log in with `wandb login`, or set WANDB_API_KEY, or "
                "leave logger.wandb.offline=true and upload the run later with `wandb sync`"
            ) from error

    def _log(self, values: Mapping[str, Any], step: int | None) -> None:
        """Log what the history does not have of a step."""
        if step is not None and step <= self._known_step:
            # Of an online run it is not known what the server has of its last step; it takes no more of it.
            known = self._known_names if step == self._known_step and self._known_names else values.keys()
            values = {name: value for name, value in values.items() if name not in known}
        if values:
            with self._outliving_its_service():
                self.experiment.log(values, step=step)

    @contextmanager
    def _outliving_its_service(self) -> Iterator[None]:
        """A scheduler sends SIGTERM to all processes of a job; W&B's ends at once, and the run has a step to finish."""
        try:
            yield
        except ConnectionError as error:
            if not self._is_cut_off:
                log.warning("W&B's process has ended (%s); a resumed run writes again what it lost.", error)
            self._is_cut_off = True

    @property
    def _staging(self) -> Path:
        return self.run_dir / "wandb" / "artifacts"

    def _log_artifact(self, path: Path, step: int) -> None:
        """Give a checkpoint to W&B, by a link that stays when the checkpoint is removed, and takes no space before."""
        import wandb

        staged = self._staging / path.name
        link_or_copy(path, staged)
        artifact = wandb.Artifact(f"checkpoint-{self._id}", type="model", metadata={"step": step})
        artifact.add_file(str(staged), name=path.name, policy="immutable", skip_cache=True)
        self.experiment.log_artifact(artifact, aliases=["latest", f"step-{step}"])


def _mode(offline: bool) -> Mode:
    """Online if the config says so and the environment does not say otherwise: it can only take away."""
    environment = os.environ.get("WANDB_MODE")
    if environment == "disabled":
        return "disabled"
    return "offline" if offline or environment in ("offline", "dryrun") else "online"


def _run_id(run_dir: Path, new: bool) -> str:
    """The id of the W&B run of a run folder, which is made if there is none, or if a new one is asked for."""
    path = run_dir / ID_FILE
    if path.is_file() and not new:
        return path.read_text().strip()
    identity = secrets.token_hex(6)
    with atomic_write(path) as file:
        file.write(identity.encode())
    return identity


def _end_of_history(run_dir: Path, run_id: str) -> tuple[int, frozenset[str]]:
    """The last step in the history of a W&B run on disk, and the names of what it has of it; -1 if there is none."""
    last, names = -1, frozenset[str]()
    for path in wandb_files(run_dir, run_id):
        for step, values in read_history(path):
            found = frozenset(name for name, *_ in values)
            if step >= last:
                last, names = step, found | names if step == last else found
    return last, names


def _image(picture: Any) -> Any:
    """A picture as W&B takes it: the path of a PNG file, or an array (H, W, 3) of bytes."""
    import wandb

    return wandb.Image(str(picture)) if isinstance(picture, Path) else wandb.Image(picture, file_type="png")
