"""What may change between a run and its resume, and what is refused with the reason."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from runs import TINY, make_images, scumble_here

from scumble.config import CONFIG_FOLDER
from scumble.resume import ResumeError, changes, check_resumable, copies_of, in_any_folder


def config(*overrides: str, run_dir: str = "/runs/a", resolve: bool = True) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose("train", [f"run_dir={run_dir}", "name=test", *overrides])
    plain = OmegaConf.to_container(composed, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def check(*overrides: str, before: Sequence[str] = ()) -> list[str]:
    """What changes for a run that was started with some overrides, with some more."""
    copies = copies_of(config(*before, *overrides, resolve=False))
    return [str(change) for change in check_resumable(config(*before), config(*before, *overrides), copies)]


def test_a_moved_run_has_not_changed() -> None:
    assert changes(config(), config("resume=true", run_dir="/elsewhere/b")) == []


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        (["loss_weights.style=5"], ["loss_weights.style: 1.0 -> 5"]),
        (["steps=900"], ["steps: 600 -> 900"]),
        (["optimizer.optimizers.generator.lr=0.01"], ["optimizer.optimizers.generator.lr: 0.0001 -> 0.01"]),
        (["threads=1", "trainer.devices=2"], ["trainer.devices: 1 -> 2", "threads: 2 -> 1"]),
        (["adversarial_loss=wasserstein"], ["scumble.losses.adversarial.Hinge -> scumble.losses.adversarial.Wasserst"]),
        (["augmentation=diffaugment"], ["augmentation.policies: (absent) -> ['colour', 'translation', 'cutout']"]),
        (["perceptual_encoder=random"], ["weights: shipped -> (absent)"]),
        (["data.batch_size=8", "trainer=ddp_sim"], ["data.batch_size: 4 -> 8", "trainer.devices: 1 -> 2"]),
        (["data.num_workers=3", "data.validation_pairs=4"], ["data.num_workers: 0 -> 3"]),
        (["logger=csv"], ["logger.wandb."]),
        (
            ["optimizer.optimizers.generator.lr=0.01", "optimizer.optimizers.discriminator.lr=0.01"],
            ["optimizer.optimizers.generator.lr: ", "optimizer.optimizers.discriminator.lr: "],
        ),
    ],
)
def test_what_may_change_is_shown(overrides: list[str], shown: list[str]) -> None:
    found = check(*overrides)
    assert not any(text.startswith("task.") for text in found), "what is interpolated there is shown once"
    assert len(found) == len({text.split(": ")[0] for text in found})
    for text in shown:
        assert any(text in change for change in found), found


@pytest.mark.parametrize(
    ("overrides", "refused", "reason"),
    [
        (["seed=1"], "seed: 0 -> 1", "functions of the seed"),
        (["generator.blocks=4"], "generator.blocks: 3 -> 4", "weights in the checkpoint"),
        (["discriminator=multiscale"], "discriminator._target_: ", "weights in the checkpoint"),
        (["data.validation_fraction=0.2"], "data.validation_fraction: 0.1 -> 0.2", "which images come when"),
        (["data.style_colours=0.5"], "data.style_colours: 0.0 -> 0.5", "which images come when"),
        (["data.trim=0.1"], "data.trim: 0.0 -> 0.1", "which images come when"),
        (["data=digits"], "data._target_: ", "which images come when"),
        (["task.ema_decay=0"], "task.ema_decay: 0.99 -> 0", "average of the generator"),
        (
            ["optimizer.optimizers.generator._target_=torch.optim.SGD", "~optimizer.optimizers.generator.betas"],
            "torch.optim.Adam -> torch.optim.SGD",
            "state of the optimizer",
        ),
    ],
)
def test_what_may_not_change_is_refused_with_the_reason(overrides: list[str], refused: str, reason: str) -> None:
    with pytest.raises(ResumeError, match="leave these as they were, or start a new run") as caught:
        check("steps=900", *overrides)
    assert refused in str(caught.value)
    assert reason in str(caught.value)
    assert "steps" not in str(caught.value).replace("steps are", "")


@pytest.mark.parametrize("key", ["style_colours", "trim"])
def test_a_run_from_before_a_setting_existed_goes_on_without_it(key: str) -> None:
    before = config()
    del before["data"][key]
    check_resumable(before, config())
    with pytest.raises(ResumeError, match=rf"data\.{key}: \(absent\) -> 0.3"):
        check_resumable(before, config(f"data.{key}=0.3"))


def test_a_key_that_networks_take_over_is_refused() -> None:
    with pytest.raises(ResumeError, match=r"generator\.classes: 10 -> 5"):
        check("classes=5", before=["experiment=cgan"])


def test_other_pairs_of_optimized_images_are_refused() -> None:
    with pytest.raises(ResumeError, match="as many pictures as there were pairs"):
        check("data.batch_size=3", before=["experiment=gatys"])


def test_another_damage_is_refused() -> None:
    with pytest.raises(ResumeError, match="the damage of every step depends on it"):
        check("damage=blur", before=["experiment=restoration"])


def test_all_that_may_not_change_is_named_at_once() -> None:
    same = ["generator=residual_attention", "generator.width=8", "discriminator.width=8"]
    with pytest.raises(ResumeError, match=r"generator\.width: 8 -> 16[^:]*discriminator\.width: 8 -> 16") as caught:
        check("generator.width=16", "discriminator.width=16", before=same)
    assert str(caught.value).count(" -> ") == 2


@pytest.mark.parametrize("run_dir", ["/runs/a", None])
def test_only_what_is_in_the_run_folder_moves_with_it(run_dir: str | None) -> None:
    values = {"inside": "/runs/a/x", "itself": "/runs/a", "beside": "/runs/abc/x", "none": "None of these"}
    moved = {"inside": "RUN_DIR/x", "itself": "RUN_DIR"} if run_dir else {}
    assert in_any_folder({"run_dir": run_dir, **values}) == values | moved


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """The overrides of a run of two steps in the folder ``run``."""
    make_images(tmp_path / "content", 4, seed=1)
    make_images(tmp_path / "style", 3, seed=2)
    data = [f"data.content={tmp_path / 'content'}", f"data.style={tmp_path / 'style'}"]
    scumble_here("train", *TINY, *data, "steps=2", "run_dir=run", cwd=tmp_path)
    return ["train", "run_dir=run", "resume=true"]


def test_a_resume_shows_what_changed_and_learns_at_the_new_rate(run: list[str], tmp_path: Path) -> None:
    def loss_moves(name: str, *overrides: str) -> list[float]:
        """The identity-free objective of G after the resume, step by step."""
        (tmp_path / name).mkdir()
        for file in (tmp_path / "run").rglob("*"):
            if file.is_file():
                target = tmp_path / name / file.relative_to(tmp_path / "run")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        result = scumble_here("train", f"run_dir={name}", "resume=true", "steps=4", *overrides, cwd=tmp_path)
        assert "Changed after step 2: steps: 2 -> 4" in result.stdout + result.stderr
        with (tmp_path / name / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["train/content"]]
        return [float(row["train/content"]) for row in rows if int(row["step"]) > 2]

    as_before = loss_moves("a")
    still = loss_moves("b", "optimizer.optimizers.generator.lr=0")
    assert as_before[0] == still[0]  # the first step after the resume starts from the same weights
    assert as_before[1] != still[1]


def test_a_resume_with_another_network_is_refused_and_nothing_is_lost(run: list[str], tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.ckpt")}
    saved = (tmp_path / "run" / "config.yaml").read_text()
    result = scumble_here(*run, "generator.width=12", cwd=tmp_path, check=False)
    assert result.returncode
    assert "generator.width: 8 -> 12" in result.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.ckpt")} == before
    assert (tmp_path / "run" / "config.yaml").read_text() == saved


def test_a_resume_with_other_images_is_refused(run: list[str], tmp_path: Path) -> None:
    make_images(tmp_path / "content", 9, seed=5)
    result = scumble_here(*run, "steps=4", cwd=tmp_path, check=False)
    assert "the training images are not those that the run was started with" in result.stderr


def test_moved_images_are_the_same_images(run: list[str], tmp_path: Path) -> None:
    (tmp_path / "content").rename(tmp_path / "photographs")
    scumble_here(*run, "steps=4", f"data.content={tmp_path / 'photographs'}", cwd=tmp_path)


def test_a_checkpoint_of_another_version_is_refused_without_a_traceback(run: list[str], tmp_path: Path) -> None:
    (path,) = (tmp_path / "run").rglob("*.ckpt")
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {
        name.replace("to_rgb", "to_pixels"): value for name, value in content["state_dict"].items()
    }
    torch.save(content, path)
    metrics = path.parents[1] / "metrics.csv"
    with metrics.open("a") as file:
        file.write("3\n")  # a step past the checkpoint
    before = path.read_bytes(), metrics.read_bytes()
    result = scumble_here(*run, "steps=4", cwd=tmp_path, check=False)
    assert result.returncode
    assert f"scumble: {path}: its weights do not fit the networks of its own config" in result.stderr
    assert "of another version of scumble" in result.stderr
    assert "Traceback" not in result.stderr
    assert (path.read_bytes(), metrics.read_bytes()) == before
