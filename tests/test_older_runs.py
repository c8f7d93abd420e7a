"""What older versions wrote still works: a run of commit 461c609, whose default generator was another."""

import shutil
from pathlib import Path

import pytest
import torch
from runs import scumble_here

from scumble.checkpoint import load_generator
from scumble.networks.generators import ResidualAttention
from scumble.overrides import saved_generator

FIXTURE = Path(__file__).parent / "fixtures" / "run_of_461c609"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the run and of the images that it was trained on."""
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_its_generator_loads_and_stylizes(folder: Path):
    generator = load_generator(folder / "run")
    assert isinstance(generator, ResidualAttention)
    scumble_here("stylize", "photos", "--style", "paintings/000.png", "--model", "run", "--output", "out", cwd=folder)
    assert len(list((folder / "out").glob("*.png"))) == 3


def test_it_resumes_with_the_generator_that_was_the_default_then(folder: Path):
    result = scumble_here("train", "run_dir=run", "resume=true", "steps=4", cwd=folder)
    assert "resumed at step 2" in result.stdout + result.stderr
    state = torch.load(folder / "run/checkpoints/step=00000004.ckpt", weights_only=True)
    assert state["scumble"]["config"]["generator"]["_target_"].endswith("ResidualAttention")
    assert state["global_step"] == 4


def test_only_a_generator_that_scumble_knows_is_taken_from_a_folder(tmp_path: Path):
    def choice(text: str) -> list[str]:
        (tmp_path / "hydra.yaml").write_text(text)
        return saved_generator(tmp_path, {"steps"})

    assert saved_generator(tmp_path, set()) == []
    assert choice("hydra: {runtime: {choices: {generator: adain}}}") == ["generator=adain"]
    for other in ("../mine", "null", "[adain]", "adain +trust=[os]"):
        assert choice(f"hydra: {{runtime: {{choices: {{generator: '{other}'}}}}}}") == []
    for broken in ("", "hydra: 1", "{", "hydra: {runtime: }"):
        assert choice(broken) == []
    assert saved_generator(FIXTURE / "run/.hydra", {"generator"}) == []
