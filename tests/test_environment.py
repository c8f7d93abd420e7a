"""What a run ran on, in its folder."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from scumble.environment import describe_environment, git_state, read_environments, record_environment


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "inside").mkdir(parents=True)
    git(folder, "init")
    (folder / "code.py").write_text("1")
    git(folder, "add", "code.py")
    git(folder, "commit", "-m", "First")
    return folder


def test_the_commit_is_that_of_the_checkout_and_changes_make_it_dirty(checkout: Path):
    commit = git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_state(checkout) == git_state(checkout / "inside") == {"commit": commit, "dirty": False}
    (checkout / "runs").write_text("a result")
    assert git_state(checkout) == {"commit": commit, "dirty": False}, "untracked files are not looked for"
    (checkout / "code.py").write_text("2")
    assert git_state(checkout) == {"commit": commit, "dirty": True}


def test_outside_of_a_checkout_before_a_commit_and_without_git_there_is_no_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "nowhere") is None
    git(tmp_path, "init", "empty")
    assert git_state(tmp_path / "empty") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout) is None


def test_an_environment_names_the_versions_and_the_device(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(checkout)
    found = describe_environment(torch.device("cpu"), devices=2)
    assert found["git"] == git_state(checkout)
    assert (found["device"], found["devices"], found["threads"]) == ("cpu", 2, torch.get_num_threads())
    assert {"python", "scumble", "torch", "lightning", "hydra-core", "wandb"} <= found["versions"].keys()
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert json.loads(json.dumps(found)) == found


def test_every_start_of_a_run_is_kept(tmp_path: Path):
    assert read_environments(tmp_path) == []
    for step in (0, 40):
        record_environment(tmp_path, {"step": step})
    assert read_environments(tmp_path) == [{"step": 0}, {"step": 40}]


@pytest.mark.parametrize("content", ["", "[", "{}", "\x00"])
def test_a_file_that_cannot_be_read_is_begun_again(content: str, tmp_path: Path):
    (tmp_path / "environment.json").write_text(content)
    record_environment(tmp_path, {"step": 3})
    assert read_environments(tmp_path) == [{"step": 3}]
