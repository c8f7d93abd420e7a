"""`scumble check-resume`: it proves what is exact, and finds what is not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from runs import TINY, make_images, scumble, scumble_here

from scumble.check_resume import _train, differences
from scumble.checkpoint import checkpoint_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    images = make_images(root / "images", 4)
    data = [f"data.content={images}", f"data.style={images}"]
    scumble_here("train", *TINY, *data, "steps=2", "run_dir=run", cwd=root)
    return root / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_copy_is_no_difference(run: Path, copy: Path) -> None:
    assert list(differences(run, copy)) == []


def test_a_kill_waits_for_a_step_and_not_for_the_rows_that_a_resume_drops(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step,loss\n1,0.5\n2,0.5\n3,0.5\n")
    (tmp_path / "checkpoints").mkdir()
    checkpoint_path(tmp_path, 2).touch()
    script = """
import sys, time
def write(steps):
    with open(sys.argv[1], "w") as file:
        file.write("step,loss\\n" + "".join(f"{step},0.5\\n" for step in steps))
write([1, 2])
time.sleep(0.5)
write([1, 2, 3])
time.sleep(60)
"""

    def start(arguments: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, metrics], start_new_session=True)

    killed, _ = _train([], tmp_path, start, kill_after=0)
    assert killed
    assert metrics.read_text().endswith("\n3,0.5\n")


def test_one_bit_of_a_weight_is_a_difference(run: Path, copy: Path) -> None:
    path = checkpoint_path(copy, 2)
    content = torch.load(path, weights_only=True)
    name, weight = next((name, value) for name, value in content["state_dict"].items() if value.is_floating_point())
    weight.view(torch.int32).view(-1)[0] ^= 1
    torch.save(content, path)
    [found] = differences(run, copy)
    assert re.fullmatch(rf"state_dict\.{re.escape(name)}: differs by up to \S+e-\d+", found)


def test_not_a_number_is_equal_to_itself(run: Path, copy: Path, tmp_path: Path) -> None:
    for folder in (shutil.copytree(run, tmp_path / "other"), copy):
        content = torch.load(checkpoint_path(folder, 2), weights_only=True)
        next(iter(content["state_dict"].values())).fill_(torch.nan)
        torch.save(content, checkpoint_path(folder, 2))
    assert list(differences(tmp_path / "other", copy)) == []


def test_missing_entries_and_metrics_are_differences(run: Path, copy: Path) -> None:
    content = torch.load(checkpoint_path(copy, 2), weights_only=True)
    removed = next(iter(content["state_dict"]))
    del content["state_dict"][removed]
    torch.save(content, checkpoint_path(copy, 2))
    metrics = copy / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("\n2,", "\n2,9", 1))
    found = list(differences(run, copy))
    assert found[0] == f"state_dict.{removed}: only in the uninterrupted run"
    assert found[1].startswith("metrics.csv, line ")


def test_another_last_step_is_a_difference(run: Path, copy: Path) -> None:
    checkpoint_path(copy, 2).rename(checkpoint_path(copy, 3))
    assert list(differences(run, copy)) == ["the last checkpoints are step=00000002.ckpt and step=00000003.ckpt"]


@pytest.mark.slow
def test_the_command_proves_an_exact_config(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 5)
    result = scumble(
        "check-resume", *TINY[1:], f"data.content={images}", f"data.style={images}", "data.image_size=32",
        "data.batch_size=2", "threads=1", "--steps", "12", "--seed", "3", cwd=tmp_path,
    )  # fmt: skip
    assert "killed" in result.stdout
    assert "bit for bit" in result.stdout
    assert not list(tmp_path.glob("runs"))


@pytest.mark.slow
def test_the_command_finds_a_config_that_is_not_exact(tmp_path: Path) -> None:
    """A generator that counts its own calls outside of its state: what a user's own module may do."""
    (tmp_path / "forgetful.py").write_text(
        "import torch\nfrom scumble.networks.generators import ResidualAttention\n\n\n"
        "class Forgetful(ResidualAttention):\n    calls = 0\n\n"
        "    def forward(self, content, style):\n        self.calls += 1\n"
        "        return super().forward(content, style) * (1 - 0.001 * (self.calls % 7))\n"
    )
    images = make_images(tmp_path / "images", 5)
    result = scumble(
        "check-resume", *TINY[1:], f"data.content={images}", f"data.style={images}", "data.image_size=32",
        "data.batch_size=2", "threads=1", "generator._target_=forgetful.Forgetful", "trust=[forgetful]", "--steps",
        "12", "--seed", "3", cwd=tmp_path, check=False, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert result.returncode == 1
    assert "NOT exact. The first difference: optimizer_states" in result.stderr


@pytest.mark.slow
def test_random_configurations_survive_kills(tmp_path: Path) -> None:
    """`benchmarks/hundred_kills.py` for a few kills, stopped and continued."""
    script = Path(__file__).parents[1] / "benchmarks" / "hundred_kills.py"
    for kills in (2, 4):
        command = [
            sys.executable,
            script,
            "--output",
            tmp_path,
            f"--kills={kills}",
            "--each=3",
            "--steps=10",
            "--seed=7",
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    rows = [json.loads(line) for line in (tmp_path / "kills.jsonl").read_text().splitlines()]
    assert sum(len(row["killed_at"]) for row in rows) >= 4
    assert {row["result"] for row in rows} == {"identical"}
    assert len({tuple(row["overrides"]) for row in rows}) == len(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["kills.jsonl"]


@pytest.mark.slow
def test_a_run_that_fails_by_itself_says_why(tmp_path: Path) -> None:
    result = scumble("check-resume", "data=folders", "data.content=nowhere", "data.style=x", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "the run itself failed" in result.stderr
    assert "nowhere" in result.stderr
