"""Every experiment in the precision of a GPU: a few steps in bf16-mixed, on the CPU."""

import csv
import math
from pathlib import Path

import pytest
from runs import make_images, scumble_here

from scumble.config import CONFIG_FOLDER

SMALL = (
    "debug=tiny",
    "trainer.precision=bf16-mixed",
    "steps=3",
    "val_every_n_steps=3",
    "logger=csv",
)
SIDE = "data.validation_size=32"
FOLDERS = ("data=folders", SIDE, "data.validation_pairs=2")
GENERATOR = ("generator.width=8", "generator.residual_blocks=1")
PAINTER = ("init_from=null", "generator.widths=[4,6,8]", "generator.blocks=1")
DISCRIMINATOR = ("discriminator.width=8", "discriminator.layers=2")
# What makes an experiment small, besides SMALL.
OVERRIDES: dict[str, tuple[str, ...]] = {
    "adain": FOLDERS,
    "cgan": (),
    "channel_swap": FOLDERS,
    "cut": (*FOLDERS, *GENERATOR, *DISCRIMINATOR),
    "cyclegan": (*FOLDERS, *GENERATOR, *DISCRIMINATOR),
    "dcgan": (SIDE,),
    "dcgan_5x5": (SIDE,),
    "distill": (*FOLDERS, "perceptual_encoder=random", "data.load_size=40", "task.lure_steps=1"),
    "dual_encoder": (*FOLDERS, *GENERATOR),
    "enhancement": FOLDERS,
    "fastcut": (*FOLDERS, *GENERATOR, *DISCRIMINATOR),
    "gan_autoencoder": (),
    "gan_mlp": (),
    "gatys": (SIDE,),
    "painter": (SIDE, "data.validation_pairs=2", "perceptual_encoder=random", *PAINTER[1:], *DISCRIMINATOR),
    "real_paintings": (SIDE, "data.validation_pairs=2", "perceptual_encoder=random", *PAINTER, *DISCRIMINATOR),
    "restoration": (SIDE,),
    "style_gan": (*FOLDERS, *DISCRIMINATOR),
    "texture": (SIDE,),
    "vae": (),
    "vgg_fusion": FOLDERS,
    "wgan_gp": (*FOLDERS, *DISCRIMINATOR),
}


def test_every_experiment_is_tried() -> None:
    assert {path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml")} == OVERRIDES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", OVERRIDES)
def test_an_experiment_trains_in_bf16(experiment: str, tmp_path: Path) -> None:
    overrides = [f"experiment={experiment}", *SMALL, *OVERRIDES[experiment]]
    if "data=folders" in overrides or experiment in ("painter", "real_paintings"):
        content, style = make_images(tmp_path / "content", 4, seed=1), make_images(tmp_path / "style", 4, seed=2)
        overrides += [f"data.content={content}", f"data.style={style}"]
    scumble_here("train", *overrides, "run_dir=run", cwd=tmp_path)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert last["step"] == "3"
    measured = {name: float(value) for name, value in last.items() if name.startswith(("train/", "val/")) and value}
    assert any(name.startswith("val/") for name in measured)
    assert all(map(math.isfinite, measured.values())), measured
