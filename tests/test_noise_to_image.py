"""Images out of noise and the variational autoencoder: every experiment runs, resumes exactly, and learns."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import difference, make_images, scumble_here
from torch import Tensor, nn

from scumble.checkpoint import CheckpointError, checkpoint_path, load_generator, read_checkpoint
from scumble.images import read_image
from scumble.losses.adversarial import BCE, Relativistic
from scumble.losses.perceptual import moment_style_loss
from scumble.networks.image_discriminators import DenseDiscriminator
from scumble.networks.noise_generators import DenseGenerator
from scumble.networks.perceptual_encoders import DistilledEncoder
from scumble.networks.variational import VariationalAutoencoder
from scumble.statistics import channel_moments
from scumble.tasks.averaging import update_average
from scumble.tasks.noise_to_image import NoiseToImage
from scumble.tasks.vae import VAE

RUN = ("threads=1", "logger=csv", "trainer.log_every_n_steps=1", "data.batch_size=4")
SHORT = (*RUN, "steps=4", "val_every_n_steps=2", "checkpoint_every_n_steps=2", "data.validation_batch_size=4")
DIGITS = ("data.image_size=16", "data.validation_images=4")
NARROW = ("generator.width=4", "discriminator.width=4")
PAINTINGS = ("data.image_size=32", "data.validation_size=32", *NARROW)
EXPERIMENTS = {
    "gan_mlp": ("gan_mlp", *DIGITS),
    "dcgan": ("dcgan", *PAINTINGS),
    "dcgan dense": ("dcgan", "discriminator=dense", *PAINTINGS[:-1]),
    "dcgan_5x5": ("dcgan_5x5", *PAINTINGS),
    "gan_autoencoder": ("gan_autoencoder", *DIGITS, *NARROW),
    "cgan": ("cgan", *DIGITS, *NARROW),
    "gan_mlp with labels": ("gan_mlp", "classes=10", *DIGITS),
    "vae": ("vae", *DIGITS, "task.autoencoder.width=4"),
    "texture": ("texture", *PAINTINGS[:2], "generator.width=2", "data.load_size=40"),
    "texture with a discriminator": (
        "texture", *PAINTINGS[:2], "generator.width=2", "discriminator.width=4", "loss_weights.adversarial=0.1",
        "task.penalty_weights.r1=0.1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("paintings"), 6, seed=1)


def arguments(name: str, paintings: Path) -> list[str]:
    experiment, *rest = EXPERIMENTS[name]
    if experiment.startswith("dcgan"):
        rest.append(f"data.image={paintings}")
    if experiment == "texture":
        rest.append(f"data.image={paintings / '000.png'}")
    return ["train", f"experiment={experiment}", *rest]


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(name: str, paintings: Path, tmp_path: Path) -> None:
    scumble_here(*arguments(name, paintings), *SHORT, f"run_dir={tmp_path / 'run'}", cwd=tmp_path)
    logged = rows(tmp_path / "run")
    assert [int(row["step"]) for row in logged] == [1, 2, 3, 4]
    assert all(np.isfinite(float(value)) for row in logged for value in row.values() if value)
    picture = read_image(tmp_path / "run" / "grids" / "step=00000004.png")
    assert picture.shape[2] >= 8 * 16
    state = read_checkpoint(checkpoint_path(tmp_path / "run", 4))["state_dict"]
    assert not any("perceptual" in key for key in state), "a frozen encoder is in no checkpoint"


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("cgan", ("task.ema_decay=0.5", "task.accumulate=2", "task.penalty_weights.gradient_penalty=1")),
        ("dcgan", ("task.discriminator_steps=2",)),
        ("texture with a discriminator", ()),
        ("vae", ("task.gradient_clip_norm=1", "optimizer.optimizers.autoencoder.lr=0.01")),
    ],
)
def test_a_resumed_run_is_the_run_that_never_stopped(
    name: str, extra: tuple[str, ...], paintings: Path, tmp_path: Path
) -> None:
    overrides = [*arguments(name, paintings), *RUN, *extra, "steps=6", "checkpoint_every_n_steps=3"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    scumble_here(*overrides, "val_every_n_steps=2", f"run_dir={whole}", cwd=tmp_path)
    shutil.copytree(whole, stopped)
    checkpoint_path(stopped, 6).unlink()

    scumble_here("train", f"run_dir={stopped}", "resume=true", cwd=tmp_path)

    first, second = (read_checkpoint(checkpoint_path(run, 6)) for run in (whole, stopped))
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert difference(first[key], second[key]) == [], key
    before = read_checkpoint(checkpoint_path(whole, 3))["state_dict"]
    assert difference(first["state_dict"], before), "the three steps between did something"
    assert (whole / "metrics.csv").read_text() == (stopped / "metrics.csv").read_text()


# The task by itself


def gan(**options: Any) -> NoiseToImage:
    classes = options.get("classes", 0)
    defaults: dict[str, Any] = {
        "generator": DenseGenerator(8, 1, (6,), noise=3, classes=classes),
        "discriminator": DenseDiscriminator(8, 1, (6,), classes=classes),
        "adversarial_loss": BCE(),
        "loss_weights": {"adversarial": 1.0},
        "seed": 0,
        "optimizers": {},
    }
    return NoiseToImage(**defaults | options)


def test_the_losses_of_both_players_are_those_of_the_paper() -> None:
    task = gan(classes=3)
    real, generated, labels = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])

    def probability(images: Tensor) -> Tensor:
        return task.discriminator(images, labels).sigmoid()

    expected = -probability(real).log().mean() - (1 - probability(generated)).log().mean()
    loss, logs = task.discriminator_loss(real, generated, labels)
    torch.testing.assert_close(loss, expected)
    assert logs.keys() == {"discriminator", "accuracy_real", "accuracy_fake"}
    found = task.generator_losses(real, generated, labels, {"adversarial": 1.0})
    torch.testing.assert_close(found["adversarial"], -probability(generated).log().mean())
    task.adversarial_loss = BCE(saturating=True)
    found = task.generator_losses(real, generated, labels, {"adversarial": 1.0})
    torch.testing.assert_close(found["adversarial"], (1 - probability(generated)).log().mean())


def test_a_relativistic_generator_is_judged_beside_real_images_of_its_labels() -> None:
    task = gan(classes=3, adversarial_loss=Relativistic())
    real, generated, labels = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    margins = task.discriminator(real, labels) - task.discriminator(generated, labels)
    loss, logs = task.discriminator_loss(real, generated, labels)
    torch.testing.assert_close(loss, -margins.sigmoid().log().mean())
    assert logs.keys() == {"discriminator"}, "no logit alone calls an image real"
    found = task.generator_losses(real, generated, labels, {"adversarial": 1.0})
    torch.testing.assert_close(found["adversarial"], -(-margins).sigmoid().log().mean())


def test_the_style_term_is_summed_over_the_scales_and_sees_the_colours() -> None:
    encoder = DistilledEncoder()
    scales = {"loss_weights": {"style": 1.0}, "perceptual_encoder": encoder, "style_statistics": "moments"}
    task, whole = gan(**scales, style_scales=2), gan(**scales)
    generated, images = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    halves = [pictures.reshape(2, 3, 16, 2, 16, 2).mean(dim=(3, 5)) for pictures in (generated, images)]
    expected = 0.0
    for one, other in ((generated, images), halves):
        moments = {layer: channel_moments(maps) for layer, maps in encoder(other).items()}
        expected += moment_style_loss(encoder(one), moments).item()
        expected += moment_style_loss({"colours": one}, {"colours": channel_moments(other)}).item()
    found = task.generator_losses(generated, images, None, {"style": 1.0})["style"].item()
    assert found == pytest.approx(expected, rel=1e-4)
    assert whole.generator_losses(generated, images, None, {"style": 1.0})["style"].item() < found
    with pytest.raises(ValueError, match=r"task\.style_scales=2 would have a side of 6 pixels, at least 8"):
        task.style_term(generated[..., :12, :12], images[..., :12, :12])


def test_samples_depend_on_the_seed_alone() -> None:
    task = gan()
    first = task.sample(3, 8, 8)
    torch.manual_seed(7)
    assert torch.equal(task.sample(3, 8, 8), first)
    assert not torch.equal(task.sample(3, 8, 8, draw=1), first)
    task.seed = 1
    assert not torch.equal(task.sample(3, 8, 8), first)


def test_the_average_follows_the_generator() -> None:
    average, network = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(5.0)  # type: ignore[union-attr]
    update_average(average, network, decay=0.99, updates=1)
    assert average.weight.item() == pytest.approx(3 + 2 / 11 * (1 - 3))
    update_average(average, network, decay=0.5, updates=1000)
    assert average.weight.item() == pytest.approx(3 + 0.5 * 2 / 11 * (1 - 3))
    assert average.running_mean.item() == 5.0  # type: ignore[union-attr]


def test_pictures_of_a_conditional_task_have_a_column_for_each_class() -> None:
    task = gan(classes=3).eval()
    columns = task.pictures({"image": torch.rand(2, 1, 8, 8)})
    assert list(columns) == ["real", "0", "1", "2"]
    noise = torch.equal(columns["1"], task.sample(2, 8, 8, torch.tensor([1, 1])))
    assert noise, "every column shows the same noise"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weights": {"adverserial": 1.0}}, "unknown loss term 'adverserial'"),
        ({"loss_weights": {"style": 1.0}}, r"loss_weights\.style needs an encoder"),
        ({"penalty_weights": {"r3": 1.0}}, "unknown loss term 'r3' .* accepted: r1, r2, gradient_penalty"),
        ({"discriminator_steps": 0}, "must be at least 1, got 1 and 0|must be at least 1, got 0 and 1"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"style_scales": 0}, r"task\.style_scales must be at least 1, got 0"),
        ({"style_statistics": "mean"}, "style_statistics must be one of gram, moments, sliced_wasserstein, got 'mean'"),
    ],
)
def test_impossible_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gan(**options)


def test_classes_need_labels() -> None:
    with pytest.raises(ValueError, match="classes=3 needs data with labels; set data=digits"):
        gan(classes=3).labels_of({"image": torch.rand(1, 1, 8, 8)})


def test_data_without_labels_ends_a_run_in_one_line(paintings: Path, tmp_path: Path) -> None:
    wrong = ["train", "experiment=dcgan", *PAINTINGS, f"data.image={paintings}", "classes=10", *SHORT]
    result = scumble_here(*wrong, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "classes=10 needs data with labels" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_elbo_is_below_the_likelihood_of_a_known_model() -> None:
    """With a decoder that ignores the latent, log p(image) is known, and the gap is the KL divergence."""
    task = VAE(VariationalAutoencoder(8, 1, width=2, latent=3), {"kl": 1.0}, seed=0, optimizers={})
    with torch.no_grad():
        task.autoencoder.decoder.bias.fill_(0.7)
        for parameter in task.autoencoder.decoder.layers[-1].parameters():
            parameter.zero_()
    images = torch.rand(5, 1, 8, 8).round()
    terms = task.losses(images, torch.randn(5, 3), {"reconstruction": 1.0, "kl": 1.0})
    likelihood = torch.distributions.Bernoulli(logits=torch.tensor(0.7)).log_prob(images).sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(-terms["reconstruction"], likelihood)
    mean, log_variance = task.autoencoder.encode(images)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
    torch.testing.assert_close(terms["kl"], expected, atol=1e-6, rtol=1e-4)


def test_a_generator_from_noise_can_be_measured_but_does_not_stylize(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = scumble_here("train", "experiment=gan_mlp", *DIGITS, *SHORT, f"run_dir={run}", cwd=tmp_path)
    assert "measure:  scumble evaluate" in result.stdout
    assert "sweep:    scumble train -m experiment=gan_mlp loss_weights.adversarial=0.5,1,2\n" in result.stdout
    assert "stylize:" not in result.stdout
    with pytest.raises(CheckpointError, match="makes images from noise, and takes no photograph to stylize"):
        load_generator(run)
    measured = scumble_here("evaluate", f"run_dir={run}", "data.validation_images=8", cwd=tmp_path)
    assert "| frechet_relu4_1 |" in measured.stdout
    assert "| diversity_relu4_1 |" in measured.stdout
