"""Kills and signals at chosen moments: nothing is lost, and the resumed run is the uninterrupted one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import TINY, last_step, make_images, scumble, scumble_here

from scumble.callbacks.preemption import Preempted
from scumble.check_resume import differences
from scumble.checkpoint import list_checkpoints

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("images")
    content, style = make_images(root / "content", 6, seed=1), make_images(root / "style", 4, seed=2)
    return [*TINY, f"data.content={content}", f"data.style={style}", "steps=9", "val_every_n_steps=3",
            "checkpoint_every_n_steps=3"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    root = tmp_path_factory.mktemp("whole")
    scumble("train", *arguments, "run_dir=whole", cwd=root)
    return root / "whole"


def interrupted(
    arguments: list[str], cwd: Path, hook: str, step: int, signum: int, *more: str, killer: str = "Kill"
) -> int:
    """Train in the folder ``run`` until the signal comes; the exit status."""
    kill = f"+callbacks.kill={{_target_: killer.{killer}, hook: {hook}, step: {step}, signum: {signum}}}"
    result = scumble("train", *arguments, *more, kill, "run_dir=run", cwd=cwd, check=False, PYTHONPATH=str(HERE))
    return result.returncode


def resumed(cwd: Path) -> Path:
    scumble("train", "run_dir=run", "resume=true", "+callbacks.kill=null", cwd=cwd)
    return cwd / "run"


@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_validation_start", 6),  # between the step of a validation and its metrics
        pytest.param("on_validation_end", 6, marks=pytest.mark.slow),  # between these and the checkpoint
        pytest.param("on_train_batch_start", 6, marks=pytest.mark.slow),
        pytest.param("on_train_batch_end", 8, marks=pytest.mark.slow),
    ],
)
def test_a_kill_around_a_validation_loses_no_metrics(
    tmp_path: Path, arguments: list[str], whole: Path, hook: str, step: int
) -> None:
    assert interrupted(arguments, tmp_path, hook, step, signal.SIGKILL) == -signal.SIGKILL
    assert list(differences(whole, resumed(tmp_path))) == []


@pytest.mark.parametrize(
    ("hook", "step", "signum", "written"),
    [
        ("on_train_batch_start", 4, signal.SIGTERM, 5),
        pytest.param("on_train_batch_start", 5, signal.SIGTERM, 6, marks=pytest.mark.slow),  # a validation follows
        pytest.param("on_validation_start", 3, signal.SIGUSR2, 3, marks=pytest.mark.slow),
    ],
)
def test_a_signal_becomes_a_checkpoint_at_the_next_step(
    tmp_path: Path, arguments: list[str], whole: Path, hook: str, step: int, signum: int, written: int
) -> None:
    assert interrupted(arguments, tmp_path, hook, step, signum) == 128 + signum
    assert next(iter(list_checkpoints(tmp_path / "run"))) == written
    assert list(differences(whole, resumed(tmp_path))) == []


@pytest.mark.slow
def test_all_ranks_give_way_together(tmp_path: Path, arguments: list[str]) -> None:
    """The signal reaches the first rank alone, as `kill PID` does."""
    scumble("train", *arguments, "trainer=ddp_sim", "run_dir=whole", cwd=tmp_path)
    assert interrupted(arguments, tmp_path, "on_train_batch_start", 4, signal.SIGTERM, "trainer=ddp_sim") == 143
    assert next(iter(list_checkpoints(tmp_path / "run"))) == 5
    assert list(differences(tmp_path / "whole", resumed(tmp_path))) == []


@pytest.mark.slow
def test_a_signal_to_all_processes_ends_those_of_wandb_first(tmp_path: Path, arguments: list[str], whole: Path) -> None:
    hook, loggers = ("on_train_batch_start", 4, signal.SIGTERM), "logger=[csv,wandb]"
    assert interrupted(arguments, tmp_path, *hook, loggers, killer="KillAll") == 128 + signal.SIGTERM
    assert next(iter(list_checkpoints(tmp_path / "run"))) == 5
    assert list(differences(whole, resumed(tmp_path))) == []


def test_submitits_handler_decides_what_comes_after_its_signal() -> None:
    called: list[int] = []
    with pytest.raises(SystemExit, match="140"):
        Preempted(signal.SIGUSR2, lambda signum, frame: called.append(signum)).give_way()
    assert called == [signal.SIGUSR2]


def test_under_slurm_a_run_waits_to_be_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(SystemExit, match="143"):
        Preempted(signal.SIGTERM, signal.SIG_DFL).give_way()
    assert waited
    assert "waiting for SLURM" in capsys.readouterr().out


def test_checkpoints_come_by_the_clock_as_well(tmp_path: Path, arguments: list[str]) -> None:
    often = ("checkpoint_every_minutes=0.00001", "checkpoint_every_n_steps=100", "callbacks.checkpoints.keep=9")
    scumble_here("train", *arguments[:-3], "steps=3", "val_every_n_steps=3", *often, "run_dir=run", cwd=tmp_path)
    assert list(list_checkpoints(tmp_path / "run")) == [3, 2, 1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("checkpoint_every_minutes=0", "every_minutes of more than 0, or null, got 0"),
        ("callbacks.checkpoints=null", "set callbacks.preemption=null as well"),
    ],
)
def test_checkpoints_that_cannot_be(tmp_path: Path, arguments: list[str], override: str, message: str) -> None:
    result = scumble_here("train", *arguments, override, "run_dir=run", cwd=tmp_path, check=False)
    assert result.returncode
    assert message in result.stderr


def test_ctrl_c_says_so_and_the_run_can_be_resumed(tmp_path: Path, arguments: list[str]) -> None:
    # A shell starts what runs in its background deaf to Ctrl-C.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from scumble.cli import main; main()"
    command = [sys.executable, "-c", program, "train", *arguments, "steps=100000"]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen([*command, "run_dir=run"], cwd=tmp_path, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 300
            while last_step(tmp_path / "run") < 2 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=120) == 1
        finally:
            process.kill()
    said = (tmp_path / "output").read_text()
    assert said.splitlines()[-1] == "scumble: interrupted", said[-500:]
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "preempted"
    assert "- state: ended by KeyboardInterrupt, step" in (tmp_path / "run" / "report.md").read_text()
