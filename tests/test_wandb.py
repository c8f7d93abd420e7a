"""Weights & Biases: what is in the files of offline runs is what a dashboard will show of them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from runs import TINY, make_images, scumble_here, scumble_killed_at
from wandb_server import wandb_server

from scumble.environment import read_environments
from scumble.images import read_image
from scumble.loggers import LogsPictures, WandbLogger
from scumble.loggers.csv_file import CSVLogger, read_metrics
from scumble.loggers.wandb_file import _whole_records, read_history, read_records, wandb_files

OWN = {"_step", "_timestamp", "_runtime", "_wandb"}


def files(run_dir: Path) -> list[Path]:
    return wandb_files(run_dir, (run_dir / "wandb_id").read_text())


def settled(run_dir: Path) -> Path:
    """The last file of a run, when W&B's own process has written its end, which is a moment after finish()."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = files(run_dir)[-1]
        if any(record.HasField("exit") for record in read_records(path)):
            return path
        time.sleep(0.01)
    raise AssertionError(f"{path} has no end")


def records(run_dir: Path, kind: str) -> list[Any]:
    """The records of one kind of all files of a run, in the order in which `wandb sync` uploads them."""
    found = [record for path in files(run_dir) for record in read_records(path)]
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def nested(values: dict[tuple[str, ...], str]) -> dict[str, Any]:
    """The values of a record by name, those of a picture as a dict."""
    made: dict[str, Any] = {}
    for (name, *rest), text in values.items():
        if rest:
            made.setdefault(name, {})[".".join(rest)] = json.loads(text)
        else:
            made[name] = json.loads(text)
    return made


def updates(run_dir: Path, kind: str) -> dict[str, Any]:
    """The config or the summary of a run after all updates."""
    found: dict[str, Any] = {}
    for record in records(run_dir, kind):
        found |= nested({tuple(item.nested_key) or (item.key,): item.value_json for item in record.update})
    return found


def history(run_dir: Path) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a run in the order in which they are uploaded, without what W&B itself adds."""
    rows = [row for path in files(run_dir) for row in read_history(path)]
    return [(step, {k: v for k, v in nested(values).items() if k not in OWN}) for step, values in rows]


def numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "pictures"}


# A run


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("images")
    make_images(root / "content", 4, seed=1)
    make_images(root / "style", 3, seed=2)
    return [*TINY[:-1], f"data.content={root / 'content'}", f"data.style={root / 'style'}", "logger=[csv,wandb]"]


@pytest.fixture(scope="module")
def finished(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    scumble_here("train", *given, "logger.wandb.artifacts=last", f"run_dir={root / 'run'}", cwd=root)
    settled(root / "run")
    return root / "run"


def test_the_config_is_the_resolved_config_and_the_environment(finished: Path):
    config = updates(finished, "config")
    environment = config.pop("environment")
    assert config == yaml.safe_load((finished / "config.yaml").read_text())
    assert [environment] == read_environments(finished)
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert (environment["device"], environment["threads"], environment["step"]) == ("cpu", 1, 0)


def test_each_step_is_there_once_with_the_numbers_of_metrics_csv(finished: Path):
    rows, known = history(finished), read_metrics(finished)
    assert [step for step, _ in rows] == [1, 2, 3, 4]
    for step, row in rows:
        assert {name: np.float32(value) for name, value in numbers(row).items()} == known[step]


def test_losses_raw_and_weighted_and_gradient_norms_are_logged(finished: Path):
    for _, row in history(finished):
        for term in ("adversarial", "content", "style", "total_variation", "cycle"):
            assert row[f"train/weighted/{term}"] == pytest.approx(row[f"train/{term}"] * row[f"train/weight/{term}"])
        assert row["train/generator_gradient_norm"] > 0
        assert row["train/discriminator_gradient_norm"] > 0


def test_pictures_are_there_at_the_steps_of_validations_under_one_name(finished: Path):
    pictures = {step: row["pictures"] for step, row in history(finished) if "pictures" in row}
    assert list(pictures) == [2, 4]
    for step, picture in pictures.items():
        assert picture["_type"] == "image-file"
        logged = files(finished)[0].parent / "files" / picture["path"]
        assert torch.equal(read_image(logged), read_image(finished / "grids" / f"step={step:08d}.png"))


def test_the_x_axis_is_the_step(finished: Path):
    """W&B's own step is the run's; a metric that names another x-axis would be drawn against that."""
    assert [metric for metric in records(finished, "metric") if metric.step_metric] == []


def test_the_summary_has_the_last_of_all_metrics(finished: Path):
    summary, last = updates(finished, "summary"), read_metrics(finished)[4]
    assert {name: np.float32(summary[name]) for name in last} == last
    assert {"val/content_distance", "val/style_distance"} <= last.keys()


def test_the_run_has_its_names(finished: Path):
    (first, *_) = records(finished, "run")
    assert (first.run_id, first.project, first.display_name) == ((finished / "wandb_id").read_text(), "scumble", "run")
    assert first.run_group == "style_transfer"
    (end,) = records(finished, "exit")
    assert end.exit_code == 0


def test_the_last_checkpoint_is_an_artifact_that_stays_when_the_checkpoint_goes(finished: Path, tmp_path: Path):
    (artifact,) = records(finished, "artifact")
    assert (artifact.type, sorted(artifact.aliases)) == ("model", ["latest", "step-4"])
    (entry,) = artifact.manifest.contents
    checkpoint = finished / "checkpoints" / "step=00000004.ckpt"
    content = checkpoint.read_bytes()
    checkpoint.rename(tmp_path / "gone")
    (tmp_path / "gone").write_bytes(b"")
    try:
        assert hashlib.md5(Path(entry.local_path).read_bytes()).digest() != b64decode(entry.digest)
        (tmp_path / "gone").write_bytes(content)
        (tmp_path / "gone").rename(tmp_path / "copy")
        assert hashlib.md5(Path(entry.local_path).read_bytes()).digest() == b64decode(entry.digest)
    finally:
        (tmp_path / "copy").rename(checkpoint)


def test_wandbs_own_reader_finds_the_same(finished: Path):
    wandb = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(files(finished)[0].parent)]
    result = subprocess.run(wandb, capture_output=True, text=True, check=True, timeout=300)
    read = [json.loads(line) for line in result.stdout.splitlines()]
    rows = [record["history"]["item"] for record in read if record["type"] == "history"]
    assert [(row["_step"], row["train/style"]) for row in rows] == [(s, r["train/style"]) for s, r in history(finished)]


# Resumed


def test_a_resumed_run_is_one_run_with_each_step_once(finished: Path, given: list[str], tmp_path: Path):
    run_dir = shutil.copytree(finished, tmp_path / "run")
    scumble_here("train", f"run_dir={run_dir}", "resume=true", "steps=6", "val_every_n_steps=4", cwd=tmp_path)
    settled(run_dir)
    assert len(files(run_dir)) == 2
    rows = history(run_dir)
    assert [step for step, _ in rows] == [1, 2, 3, 4, 5, 6]
    assert [record.run_id for record in records(run_dir, "run")].count((finished / "wandb_id").read_text()) >= 2
    # No validation came after the resume, yet the part that is uploaded last has the metrics in its summary.
    last: dict[str, Any] = {}
    for record in read_records(files(run_dir)[1]):
        if record.WhichOneof("record_type") == "summary":
            last |= nested({tuple(item.nested_key) or (item.key,): item.value_json for item in record.summary.update})
    assert last["val/content_distance"] == pytest.approx(read_metrics(run_dir)[4]["val/content_distance"])
    assert [environment["step"] for environment in read_environments(run_dir)] == [0, 4]


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_one_run_with_each_step_once(given: list[str], tmp_path: Path):
    run_dir = tmp_path / "run"
    arguments = ["train", *given, f"run_dir={run_dir}", "steps=12"]
    scumble_killed_at(7, *arguments, cwd=tmp_path, run_dir=run_dir)
    scumble_here(*arguments, "resume=true", cwd=tmp_path)
    settled(run_dir)
    rows, known = history(run_dir), read_metrics(run_dir)
    assert [step for step, _ in rows] == list(range(1, 13))
    assert [step for step, row in rows if "pictures" in row] == [2, 4, 6, 8, 10, 12]
    for step, row in rows:
        assert {name: np.float32(value) for name, value in numbers(row).items()} == known[step]


class Run:
    """The loggers of a run without its training: both get the same numbers."""

    def __init__(self, run_dir: Path, start: int, **options: Any):
        self.run_dir = run_dir
        self.loggers = [CSVLogger(run_dir), WandbLogger(run_dir, **options)]
        for logger in self.loggers:
            logger.start_at(start)

    def log(self, steps: range, scale: float = 1.0) -> "Run":
        for step in steps:
            for logger in self.loggers:
                logger.log_metrics({"train/style": scale * step / 8, "epoch": 0}, step)
                if step % 3 == 0:
                    logger.log_metrics({"val/style_distance": step / 4}, step)
        return self

    def end(self, status: str = "success") -> None:
        for logger in self.loggers:
            logger.finalize(status)
        if os.environ.get("WANDB_MODE") != "disabled":
            settled(self.run_dir)


def expected(last: int) -> list[tuple[int, dict[str, float]]]:
    return [
        (step, {"train/style": step / 8} | ({"val/style_distance": step / 4} if step % 3 == 0 else {}))
        for step in range(1, last + 1)
    ]


def test_steps_that_come_again_are_left_out(tmp_path: Path):
    Run(tmp_path, 0).log(range(1, 9)).end()
    Run(tmp_path, 6).log(range(7, 11)).end()
    assert history(tmp_path) == expected(10)


@pytest.mark.parametrize("kept", [0, 3, 7, 200, 0.3, 0.5, 0.7, 0.9, -1])
def test_what_a_kill_tore_off_is_written_again(kept: float, tmp_path: Path):
    """W&B writes to the disk every few seconds; what was not written is in the run folder."""
    Run(tmp_path, 0).log(range(1, 9)).end()
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    Run(tmp_path, 6).log(range(7, 11)).end()
    assert history(tmp_path) == expected(10)
    # What is left of the file is whole, since W&B goes no further than a torn record; an empty file is gone.
    assert len(files(tmp_path)) == (1 if kept in (0, 3, 7, 200) else 2)
    assert all(list(_whole_records(path.read_bytes()))[-1][0] == path.stat().st_size for path in files(tmp_path))


def test_a_step_that_was_interrupted_before_its_validation_is_completed(tmp_path: Path):
    interrupted = Run(tmp_path, 0).log(range(1, 9))
    for logger in interrupted.loggers:
        logger.log_metrics({"train/style": 9 / 8}, 9)
    interrupted.end("failed")
    Run(tmp_path, 6).log(range(7, 11)).end()
    rows = history(tmp_path)
    assert rows[8:10] == [(9, {"train/style": 9 / 8}), (9, {"val/style_distance": 9 / 4})]
    assert [step for step, _ in rows] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10]


def test_a_run_that_had_no_wandb_before_it_was_resumed_gets_its_whole_history(tmp_path: Path):
    made = CSVLogger(tmp_path)
    made.start_at(0)
    for step, metrics in expected(6):
        made.log_metrics(metrics, step)
    Run(tmp_path, 6).log(range(7, 9)).end()
    assert history(tmp_path) == expected(8)


def test_a_run_that_starts_from_nothing_again_is_another_run(tmp_path: Path):
    Run(tmp_path, 0).log(range(1, 9)).end("failed")
    (before,) = files(tmp_path)
    assert [record.exit.exit_code for record in read_records(before) if record.HasField("exit")] == [1]
    Run(tmp_path, 0).log(range(1, 4)).end()
    assert before not in files(tmp_path)
    assert history(tmp_path) == expected(3)


# Sweeps, modes, artifacts


def test_the_runs_of_a_sweep_are_runs_of_their_own_in_one_group(given: list[str], tmp_path: Path):
    grid = ["loss_weights.style=1,2", "hydra.sweep.dir=lambdas", "steps=2"]
    scumble_here("train", "-m", *given, *grid, cwd=tmp_path)
    runs = [tmp_path / "lambdas" / f"loss_weights.style={weight}" for weight in (1, 2)]
    assert len({(run / "wandb_id").read_text() for run in runs}) == 2
    for run, weight in zip(runs, (1, 2), strict=True):
        settled(run)
        assert [step for step, _ in history(run)] == [1, 2]
        assert updates(run, "config")["loss_weights"]["style"] == weight
        assert records(run, "run")[0].run_group == "lambdas"
        assert [step for step, row in history(run) if "pictures" in row] == [2]


@pytest.mark.parametrize(
    ("offline", "environment", "mode"),
    [
        (True, None, "offline"),
        (True, "online", "offline"),
        (True, "disabled", "disabled"),
        (False, None, "online"),
        (False, "online", "online"),
        (False, "offline", "offline"),
        (False, "dryrun", "offline"),
        (False, "disabled", "disabled"),
    ],
)
def test_the_config_decides_and_the_environment_can_only_take_away(
    offline: bool, environment: str | None, mode: str, monkeypatch: pytest.MonkeyPatch
):
    from scumble.loggers.wandb_run import _mode

    monkeypatch.delenv("WANDB_MODE", raising=False)
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert _mode(offline) == mode


def test_a_disabled_run_takes_everything_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    made = Run(tmp_path, 0, artifacts="all").log(range(1, 4))
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    logger = made.loggers[1]
    assert isinstance(logger, WandbLogger)
    logger.log_checkpoint(tmp_path / "model.ckpt", 3)
    logger.log_picture("pictures", torch.rand(3, 8, 8), 3)
    logger.add_tag("tag")
    made.end()
    assert files(tmp_path) == []


def test_all_checkpoints_are_artifacts_by_choice(tmp_path: Path):
    made = Run(tmp_path, 0, artifacts="all")
    logger = made.loggers[1]
    assert isinstance(logger, WandbLogger)
    for step in (2, 4):
        made.log(range(step - 1, step + 1))
        path = tmp_path / f"step={step:08d}.ckpt"
        path.write_bytes(bytes([step]) * 1000)
        logger.log_checkpoint(path, step)
        path.unlink()
    made.end("failed")
    artifacts = records(tmp_path, "artifact")
    assert [sorted(artifact.aliases) for artifact in artifacts] == [["latest", "step-2"], ["latest", "step-4"]]
    kept = [Path(artifact.manifest.contents[0].local_path).read_bytes() for artifact in artifacts]
    assert kept == [bytes([2]) * 1000, bytes([4]) * 1000]


def test_the_last_checkpoint_of_a_run_that_failed_is_no_artifact(tmp_path: Path):
    made = Run(tmp_path, 0, artifacts="last").log(range(1, 3))
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    logger = made.loggers[1]
    assert isinstance(logger, WandbLogger)
    logger.log_checkpoint(tmp_path / "model.ckpt", 2)
    made.end("failed")
    assert records(tmp_path, "artifact") == []


def test_an_unknown_choice_of_artifacts_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="must be one of none, last, all, got 'some'"):
        WandbLogger(tmp_path, artifacts="some")


def test_tags_are_added(tmp_path: Path):
    logger = WandbLogger(tmp_path, tags=["first"])
    assert isinstance(logger, LogsPictures)
    logger.start_at(0)
    logger.add_tag("second")
    logger.add_tag("second")
    logger.finalize("success")
    settled(tmp_path)
    assert list(records(tmp_path, "run")[-1].tags) == ["first", "second"]


# Uploaded


@pytest.mark.slow
def test_wandb_sync_uploads_a_killed_and_resumed_run_with_nothing_missing(tmp_path: Path):
    run_dir = tmp_path / "run"
    killed = Run(run_dir, 0, tags=["tag"], group="lambdas")
    killed.loggers[1].log_hyperparams({"loss_weights": {"style": 5.0}})
    killed.log(range(1, 4))
    killed.loggers[1].log_picture("pictures", torch.rand(3, 8, 8), 3)
    killed.log(range(4, 9)).end("failed")
    (path,) = files(run_dir)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    resumed = Run(run_dir, 6, tags=["tag"], group="lambdas")
    resumed.loggers[1].log_hyperparams({"loss_weights": {"style": 5.0}})
    resumed.log(range(7, 11)).end()
    expected_rows = history(run_dir)
    with wandb_server() as server:
        command = [sys.executable, "-m", "wandb", "sync", *(str(path.parent) for path in files(run_dir))]
        environment = server.environment(tmp_path)
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, result.stdout + result.stderr
        identity = (run_dir / "wandb_id").read_text()
        assert server.history(identity) == expected_rows
        assert [(step, numbers(row)) for step, row in expected_rows] == expected(10)
        found = server.runs[identity]
        assert (found["groupName"], found["tags"], found["displayName"]) == ("lambdas", ["tag"], "run")
        summary = json.loads(server.lines[identity]["wandb-summary.json"][-1])
        assert (summary["train/style"], summary["val/style_distance"]) == (10 / 8, 9 / 4)
        assert yaml.safe_load(server.files["config.yaml"])["loss_weights"]["value"] == {"style": 5.0}
        (picture,) = [row["pictures"]["path"] for _, row in expected_rows if "pictures" in row]
        assert picture in server.files


@pytest.mark.slow
def test_an_online_run_that_is_resumed_has_each_step_once(tmp_path: Path):
    with wandb_server() as server:
        for start, last in ((0, 8), (6, 10)):
            program = GOES_ON.format(tests=str(Path(__file__).parent), start=start, last=last)
            command = [sys.executable, "-c", program]
            environment = server.environment(tmp_path)
            result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
            assert result.returncode == 0, result.stderr
        assert server.history((tmp_path / "run" / "wandb_id").read_text()) == expected(10)


GOES_ON = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_wandb import Run
run = Run(Path("run"), {start}, offline=False)
run.log(range({start} + 1, {last} + 1))
for logger in run.loggers:
    logger.finalize("success")
"""
OFFLINE = """
import socketserver, threading, os, sys
calls = []
class Listener(socketserver.BaseRequestHandler):
    def handle(self):
        calls.append(self.request.recv(100))
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
import atexit
atexit.register(lambda: print(calls))  # after all that is registered later
from scumble.loggers import WandbLogger
logger = WandbLogger("run")
logger.start_at(0)
logger.log_metrics({"train/style": 1.0}, 1)
logger.finalize("success")
"""
ONLINE = """
from scumble.loggers import WandbLogger
logger = WandbLogger("run", offline=False)
logger.start_at(0)
try:
    logger.log_hyperparams({})
except ValueError as error:
    print(error)
"""


def python(program: str, cwd: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-c", program]
    own = {"HOME": str(cwd), "NETRC": str(cwd / "netrc")}
    result = subprocess.run(
        command, cwd=cwd, env=kept | own | environment, capture_output=True, text=True, check=True, timeout=600
    )
    return result.stdout.strip()


@pytest.mark.slow
def test_an_offline_run_calls_nobody(tmp_path: Path):
    assert python(OFFLINE, tmp_path) == "[]"


@pytest.mark.slow
def test_a_run_that_should_be_online_without_an_account_says_what_to_do(tmp_path: Path):
    message = python(ONLINE, tmp_path, WANDB_BASE_URL="http://127.0.0.1:9")
    assert message.startswith("Weights & Biases cannot start the run: ")
    assert "wandb login" in message
    assert "logger.wandb.offline=true" in message


def test_only_the_first_rank_chooses_the_id_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that a cluster starts at the same moment would each write one of their own."""
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    WandbLogger(tmp_path).start_at(0)
    assert not (tmp_path / "wandb_id").exists()
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 0)
    WandbLogger(tmp_path).start_at(0)
    assert (tmp_path / "wandb_id").read_text()
