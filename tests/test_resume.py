"""A run that was killed and resumed ends as the run that was never killed, bit for bit."""

from pathlib import Path

import pytest
from runs import TINY, difference, make_images, scumble, scumble_here, scumble_killed_at

from scumble.checkpoint import checkpoint_path, read_checkpoint

STEPS = 24


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("images")
    content, style = make_images(root / "content", 7, seed=1), make_images(root / "style", 5, seed=2)
    return f"data.content={content}", f"data.style={style}"


VARIANTS = {
    "default": (),
    # Everything that has state or draws noise at once: several D steps, accumulation across checkpoints, penalties.
    "all": (
        "task.discriminator_steps=2",
        "task.accumulate=3",
        "task.penalty_weights.gradient_penalty=1",
        "task.penalty_weights.r1=1",
        "adversarial_loss=wasserstein",
        "discriminator=multiscale",
        "discriminator.scales=2",
        "discriminator.conditional=true",
        "data.num_workers=1",
    ),
}


@pytest.mark.parametrize("variant", ["default", pytest.param("all", marks=pytest.mark.slow)])
def test_resume_after_sigkill_is_exact(tmp_path: Path, images: tuple[str, str], variant: str) -> None:
    arguments = [*TINY, *images, *VARIANTS[variant], f"steps={STEPS}", "checkpoint_every_n_steps=5"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    scumble("train", *arguments, f"run_dir={whole}", cwd=tmp_path)

    scumble_killed_at(8, "train", *arguments, f"run_dir={killed}", cwd=tmp_path, run_dir=killed)
    scumble_killed_at(17, "train", f"run_dir={killed}", "resume=true", cwd=tmp_path, run_dir=killed)
    scumble("train", f"run_dir={killed}", "resume=true", cwd=tmp_path)

    first, second = (read_checkpoint(checkpoint_path(run, STEPS)) for run in (whole, killed))
    for key in ("state_dict", "optimizer_states", "global_step", "scumble"):
        a, b = first[key], second[key]
        if key == "scumble":
            a, b = ({k: v for k, v in part.items() if k != "config"} for part in (a, b))
        assert difference(a, b) == [], key
    assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()


def test_the_learning_rate_of_a_network_that_waits_for_its_turn_is_resumed_too(
    tmp_path: Path, images: tuple[str, str]
) -> None:
    # The generator's turn comes at step 4 alone: before the stop, and not again after it.
    arguments = [*TINY, *images, "task.accumulate=2", "task.discriminator_steps=2", "optimizer.lr_schedule.steps=20"]
    scumble_here("train", *arguments, "steps=6", "run_dir=whole", cwd=tmp_path)
    scumble_here("train", *arguments, "steps=5", "run_dir=stopped", cwd=tmp_path)
    scumble_here("train", "run_dir=stopped", "resume=true", "steps=6", cwd=tmp_path)
    first, second = (read_checkpoint(checkpoint_path(tmp_path / run, 6)) for run in ("whole", "stopped"))
    assert difference(first["optimizer_states"], second["optimizer_states"]) == []


def test_resume_goes_past_a_damaged_checkpoint(tmp_path: Path, images: tuple[str, str]) -> None:
    arguments = [*TINY, *images, "checkpoint_every_n_steps=4", "optimizer.lr_schedule.steps=20"]
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    scumble_here("train", *arguments, "steps=12", f"run_dir={whole}", cwd=tmp_path)
    scumble_here("train", *arguments, "steps=8", f"run_dir={damaged}", cwd=tmp_path)
    newest = checkpoint_path(damaged, 8)
    newest.write_bytes(newest.read_bytes()[:-1000])

    result = scumble_here("train", f"run_dir={damaged}", "resume=true", "steps=12", cwd=tmp_path)

    assert "step=00000008.ckpt: torn" in result.stdout + result.stderr
    first, second = (read_checkpoint(checkpoint_path(run, 12)) for run in (whole, damaged))
    for part in ("state_dict", "optimizer_states"):
        assert difference(first[part], second[part]) == []


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, images: tuple[str, str]) -> None:
    arguments = [*TINY, *images, "steps=2", f"run_dir={tmp_path / 'run'}"]
    scumble_here("train", *arguments, cwd=tmp_path)
    again = scumble_here("train", *arguments, cwd=tmp_path, check=False)
    assert again.returncode != 0
    assert "has a run already; set resume=true" in again.stderr
