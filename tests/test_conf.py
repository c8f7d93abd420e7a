"""Every config composes, and what it describes can be made."""

from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from runs import make_images
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from scumble.config import CONFIG_FOLDER, check_trust, instantiate
from scumble.networks.perceptual_encoders import random_encoder

ROOT = Path(__file__).parents[1]
GROUPS = {
    path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in CONFIG_FOLDER.iterdir() if path.is_dir()
}
FROM_NOISE = {("generator", name) for name in ("dense", "dcgan", "autoencoder", "texture")}
FROM_NOISE |= {("discriminator", name) for name in ("dense", "dcgan", "encoder")}
INHERITED = {"data": ["pairs", "images"]}  # a part of others, no choice of its own


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a config asks the user for."""
    root = tmp_path_factory.mktemp("files")
    state = random_encoder().state_dict()
    weights = {name.replace("input.", "conv0.").removeprefix("convolutions."): t.clone() for name, t in state.items()}
    save_file(weights, root / "vgg.safetensors")
    make_images(root / "content", 3, seed=1)
    make_images(root / "style", 3, seed=2)
    save_file(squeezenet1_1(weights=None).state_dict(), root / "backbone.safetensors")
    widths = (64, 128, 256, 384, 384, 512, 512)
    heads = {f"lin{index}.model.1.weight": torch.ones(1, width, 1, 1) for index, width in enumerate(widths)}
    save_file(heads, root / "heads.safetensors")
    return {
        "root": str(root),
        "weights": str(root / "vgg.safetensors"),
        "backbone": str(root / "backbone.safetensors"),
        "heads": str(root / "heads.safetensors"),
    }


def compose(*overrides: str) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = hydra.compose("train", ["name=test", *overrides])
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def required(group: str, option: str, files: dict[str, str]) -> list[str]:
    """The values that this choice leaves to the user."""
    given = []
    if option in ("vgg19_normalised", "distill", "real_paintings") or (group, option) == ("experiment", "painter"):
        given.append(f"perceptual_encoder.weights={files['weights']}")
    if option in ("folders", "distill", "real_paintings") or (group, option) == ("experiment", "painter"):
        given += [f"data.content={files['root']}/content", f"data.style={files['root']}/style"]
    if option == "distill":
        given.append("data=folders")
    if option == "lpips":
        given += [f"metrics.lpips.{part}={files[part]}" for part in ("backbone", "heads")]
    if option == "distillation":
        given.append("perceptual_encoder=random")
    if (group, option) == ("task", "restoration"):
        given.append("damage=noise")
    if (group, option) == ("task", "enhancement"):
        given.append("damage=low_light")
    if (group, option) == ("task", "contrastive_translation"):
        given.append("generator=resnet")
    if option == "image_optimization":
        given.append("optimizer=adam_images")
    return given


@pytest.mark.parametrize(
    ("group", "option"),
    [
        (group, option)
        for group, options in GROUPS.items()
        for option in options
        if option not in INHERITED.get(group, [])
    ],
)
def test_config_composes_and_can_be_made(group: str, option: str, files: dict[str, str], tmp_path: Path) -> None:
    choice = f"{group}=[{option}]" if group == "logger" else f"{group}={option}"
    if option == "adam_student":
        choice = "task=distillation optimizer=adam_student perceptual_encoder=random"
    if option == "adam_autoencoder":
        choice = "task=vae optimizer=adam_autoencoder"
    if (group, option) in FROM_NOISE:
        choice = f"task=noise_to_image {choice}"
    if option in ("adam_images", "lbfgs_images"):
        choice = f"task=image_optimization data=fixed_pairs optimizer={option}"
    if group == "fusion":
        choice = f"generator=fusion fusion={option}"
    config = compose(*choice.split(), *required(group, option, files), f"run_dir={tmp_path}", "steps=20")
    check_trust(config)
    if group in ("trainer", "debug") or option in ("vgg16", "vgg19"):  # need devices, or weights that are not here
        return
    made = instantiate(config["task"] if group in ("task", "experiment", "optimizer") else config[group])
    assert made is not None


def test_the_groups_are_those_of_the_design() -> None:
    assert {
        "task",
        "generator",
        "discriminator",
        "perceptual_encoder",
        "adversarial_loss",
        "optimizer",
    } <= GROUPS.keys()
    assert {"data", "callbacks", "logger", "trainer", "debug", "experiment"} <= GROUPS.keys()


def test_every_experiment_is_in_the_documents() -> None:
    pages = " ".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    assert [name for name in GROUPS["experiment"] if f"experiment={name}" not in pages] == []
