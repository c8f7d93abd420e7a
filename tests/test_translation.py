"""The tasks from image to image: small real runs, exact resume, and what their terms are."""

import csv
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from runs import difference, make_images, scumble_here
from torch import Tensor, nn

from scumble.checkpoint import checkpoint_path, load_generator, load_task, read_checkpoint
from scumble.data.damage import Holes, LowLight, Noise
from scumble.data.sample import SamplePhotographs
from scumble.images import read_image
from scumble.losses.adversarial import LeastSquares, Relativistic
from scumble.losses.contrastive import patch_nce_loss
from scumble.metrics import ImageMetrics
from scumble.networks.discriminators import PatchDiscriminator
from scumble.networks.image_to_image import ResNet, UNet
from scumble.networks.light_curves import LightCurves
from scumble.networks.perceptual_encoders import DistilledEncoder
from scumble.tasks.contrastive_translation import ContrastiveTranslation
from scumble.tasks.cycle_gan import CycleGAN
from scumble.tasks.enhancement import Enhancement
from scumble.tasks.measures import fixed_damage, perceptual_distances, psnr, ssim, style_distance
from scumble.tasks.restoration import Restoration

SMALL = (
    "steps=6",
    "checkpoint_every_n_steps=3",
    "val_every_n_steps=3",
    "threads=1",
    "logger=csv",
    "data.image_size=24",
    "data.batch_size=2",
    "data.validation_size=24",
    "trainer.log_every_n_steps=1",
    "discriminator.width=4",
    "discriminator.layers=2",
    "perceptual_encoder.weights=null",
)
RESNET = ("generator.width=4", "generator.residual_blocks=1")
PAIRS = ("data=folders", "data.validation_pairs=2", "data.content={content}", "data.style={style}")
SINGLES = ("data=images", "data.validation_images=2", "data.image={content}")
RUNS = {
    # A pool that is full after two steps, so that the resumed steps exchange images.
    "cyclegan": (*PAIRS, *RESNET, "task.pool_size=3", "seed=1"),
    "cut": (*PAIRS, *RESNET, "task.code=8", "task.patches=16"),
    "fastcut": (*PAIRS, *RESNET, "task.code=8", "task.patches=16", "task.ema_decay=0.5", "task.discriminator_steps=2"),
    "restoration": (*SINGLES, "generator.width=4", "generator.levels=3", "loss_weights.adversarial=0.1"),
    "enhancement": (*PAIRS, "generator.width=4", "task.ema_decay=0.5", "task.penalty_weights.r1=1"),
}
MEASURED = {
    "cyclegan": {"val/cycle", "val/content_distance", "val/style_distance"},
    "cut": {"val/content_distance", "val/style_distance"},
    "fastcut": {"val/content_distance", "val/style_distance"},
    "restoration": {"val/psnr", "val/psnr_damaged"},
    "enhancement": {"val/psnr", "val/psnr_dark", "val/ssim", "val/ssim_dark"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("images")
    return {
        "content": make_images(root / "content", 5, seed=1, side=32),
        "style": make_images(root / "style", 4, seed=2, side=32),
    }


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the experiment of this name, in a folder of its name."""
    name: str = request.param
    run_dir = tmp_path_factory.mktemp("runs") / name
    arguments = [word.format(**folders) for word in (*SMALL, *RUNS[name])]
    scumble_here("train", f"experiment={name}", *arguments, f"run_dir={run_dir}", cwd=run_dir.parent)
    return run_dir


def test_an_experiment_trains_measures_and_shows_pictures(run: Path) -> None:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert MEASURED[run.name] <= rows[0].keys()
    for name in MEASURED[run.name]:
        values = [row[name] for row in rows]
        assert [bool(value) for value in values] == [False, False, True, False, False, True]
    assert read_image(run / "grids" / "step=00000006.png").shape[2] > 3 * 24


def test_every_trained_network_moves_and_the_frozen_one_is_not_saved(run: Path) -> None:
    first, last = (read_checkpoint(checkpoint_path(run, step))["state_dict"] for step in (3, 6))
    networks = {name.split(".")[0] for name in last}
    expected = {
        "cyclegan": {"inverse_generator", "inverse_discriminator", "stylized_pool", "destylized_pool"},
        "cut": {"projection"},
        "fastcut": {"projection", "generator_ema"},
        "enhancement": {"generator_ema"},
    }
    assert networks == {"generator", "discriminator"} | expected.get(run.name, set())
    for network in networks:
        assert any(not torch.equal(first[name], last[name]) for name in last if name.startswith(network + ".")), network


def test_the_task_comes_back_from_its_checkpoint(run: Path) -> None:
    task = load_task(run)
    images = torch.rand(1, 3, 32, 40)
    with torch.no_grad():
        stylized = task(images)
    assert stylized.shape == images.shape
    assert 0 <= stylized.min() <= stylized.max() <= 1
    # `scumble stylize` shows the generator a style, and it makes the same of it.
    assert torch.equal(load_generator(run)(images, torch.rand(1, 3, 16, 16)), stylized)


def test_a_run_that_goes_on_from_a_checkpoint_equals_the_whole_one(run: Path, tmp_path: Path) -> None:
    """What is on disk after a kill between steps 3 and 6 is the checkpoint of step 3."""
    killed = tmp_path / run.name
    shutil.copytree(run, killed)
    checkpoint_path(killed, 6).unlink()
    scumble_here("train", f"run_dir={killed}", "resume=true", cwd=tmp_path)
    whole, resumed = (read_checkpoint(checkpoint_path(folder, 6)) for folder in (run, killed))
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert difference(whole[key], resumed[key]) == [], key
    assert (run / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()


# The tasks by themselves

OPTIMIZERS = {name: partial(torch.optim.Adam, lr=1e-3) for name in ("generator", "discriminator")}


def networks() -> dict[str, nn.Module]:
    return {
        "generator": ResNet(4, 1),
        "discriminator": PatchDiscriminator(4, 2),
        "perceptual_encoder": DistilledEncoder(weights=None),
    }


def cycle_gan(**options: object) -> CycleGAN:
    inverse = {"inverse_generator": ResNet(4, 1), "inverse_discriminator": PatchDiscriminator(4, 2)}
    settings = {"loss_weights": {"adversarial": 1.0}, "image_size": 24, "optimizers": OPTIMIZERS}
    settings |= {"adversarial_loss": LeastSquares()} | options
    return CycleGAN(**networks(), **inverse, **settings)  # type: ignore[arg-type]


def contrastive(**options: object) -> ContrastiveTranslation:
    settings = {"loss_weights": {"adversarial": 1.0}, "code": 8, "patches": 16, "optimizers": OPTIMIZERS}
    settings = networks() | settings | options
    return ContrastiveTranslation(adversarial_loss=LeastSquares(), **settings)  # type: ignore[arg-type]


def test_the_terms_of_cyclegan_are_those_of_the_paper():
    task = cycle_gan()
    content, style = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24)
    generator, inverse = task.generator, task.inverse_generator
    stylized, destylized = generator(content), inverse(style)
    terms = task.generator_losses(content, style, stylized, destylized, dict.fromkeys(task.terms, 1.0))
    expected = {
        "adversarial": 0.5 * (task.discriminator(stylized) - 1).square().mean()
        + 0.5 * (task.inverse_discriminator(destylized) - 1).square().mean(),
        "cycle": (inverse(stylized) - content).abs().mean() + (generator(destylized) - style).abs().mean(),
        "identity": (generator(style) - style).abs().mean() + (inverse(content) - content).abs().mean(),
    }
    # A discriminator in training moves its spectral norms a little with every look.
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term, rtol=0.05, atol=1e-3)
    assert set(task.generator_losses(content, style, stylized, destylized, {"cycle": 1.0})) == {"cycle"}


def test_a_relativistic_cyclegan_compares_each_image_with_a_real_one_of_its_side():
    task = cycle_gan(adversarial_loss=Relativistic()).eval()  # spectral norms stay as they are
    content, style, stylized, destylized = torch.rand(4, 2, 3, 24, 24)
    found = task.generator_losses(content, style, stylized, destylized, {"adversarial": 1.0})["adversarial"]
    d, inverse = task.discriminator, task.inverse_discriminator
    expected = Relativistic().generator(d(stylized), d(style)) + Relativistic().generator(
        inverse(destylized), inverse(content)
    )
    torch.testing.assert_close(found, expected)


def test_one_optimizer_trains_both_directions_and_the_projection():
    task = cycle_gan()
    assert len(task.trained_by("generator")) == 2 * len(list(task.generator.parameters()))
    assert len(task.trained_by("discriminator")) == 2 * len(list(task.discriminator.parameters()))
    cut = contrastive()
    assert {id(p) for p in cut.projection.parameters()} < {id(p) for p in cut.trained_by("generator")}
    assert {id(p) for p in cut.trained_by("discriminator")} == {id(p) for p in cut.discriminator.parameters()}


def test_the_contrastive_term_is_the_mean_of_patch_nce_over_the_layers():
    task = contrastive(patches=10_000)  # all positions: their order does not matter
    content, stylized = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    losses = []
    for layer, one, other in zip(
        task.projection.layers, task.generator.encode(stylized), task.generator.encode(content), strict=True
    ):
        query, key = (nn.functional.normalize(layer(maps.flatten(2).mT), dim=-1) for maps in (one, other))
        losses.append(patch_nce_loss(query, key))
    torch.testing.assert_close(task.contrastive(stylized, content), torch.stack(losses).mean())


def test_the_contrastive_term_prefers_the_image_itself_to_its_mirror_image():
    task, content = contrastive(), torch.rand(2, 3, 24, 24)
    assert task.contrastive(content, content) < task.contrastive(content.flip(-1), content) - 0.1


def test_a_generator_without_features_is_refused_by_name():
    with pytest.raises(ValueError, match=r"the generator UNet has no features .* set generator=resnet"):
        contrastive(generator=UNet(4))
    with pytest.raises(ValueError, match=r"patches must be at least 2 .* got 1 and 0.07"):
        contrastive(patches=1)


@pytest.mark.parametrize("make", [cycle_gan, contrastive])
def test_a_misspelt_term_fails_by_name(make: partial[nn.Module]):
    with pytest.raises(ValueError, match=r"unknown loss term 'zycle' in loss_weights; accepted: adversarial, "):
        make(loss_weights={"zycle": 1.0})


def restoration(**weights: float) -> Restoration:
    return Restoration(
        **networks() | {"generator": UNet(4, levels=3)},
        adversarial_loss=LeastSquares(),
        damage=Noise(),
        loss_weights=weights,
        optimizers=OPTIMIZERS,
    )


def test_the_terms_of_restoration_are_zero_for_what_was_restored_perfectly():
    task, image = restoration(reconstruction=1.0), torch.rand(2, 3, 24, 24)
    terms = task.generator_losses(image, image, dict.fromkeys(task.terms, 1.0))
    assert terms["reconstruction"] == terms["content"] == 0
    worse = task.generator_losses(image, image.flip(-1), {"reconstruction": 1.0, "content": 1.0})
    assert worse["reconstruction"].item() == pytest.approx((image - image.flip(-1)).abs().mean().item())
    assert worse["content"] > 0


def enhancement() -> Enhancement:
    return Enhancement(
        **networks() | {"generator": LightCurves(4), "perceptual_encoder": DistilledEncoder()},
        adversarial_loss=LeastSquares(),
        damage=LowLight(),
        loss_weights={"content": 1.0},
        optimizers=OPTIMIZERS,
    )


@pytest.mark.parametrize(("task", "name"), [(restoration(reconstruction=1.0), "image"), (enhancement(), "content")])
def test_a_copied_input_is_found_and_a_perfect_restoration_is_none(task: nn.Module, name: str):
    batch = {name: make_smooth(2), "style": make_smooth(2)}
    metrics = ImageMetrics(DistilledEncoder())
    task.generator = nn.Identity()
    metrics.update_from(task, batch)
    assert metrics.compute()["output_equals_input"] == 1
    metrics.reset()
    metrics.update(task.results(batch) | {"generated": batch[name]})
    assert metrics.compute()["output_equals_input"] == 0


def test_the_content_of_an_enhancement_ignores_the_light():
    task = enhancement()
    images = make_smooth(2)
    raw = task.perceptual_encoder(images)
    for layer, maps in task.lightless_features(images).items():
        torch.testing.assert_close(maps.mean(dim=(2, 3)), torch.zeros(maps.shape[:2]), atol=1e-4, rtol=0)
        deviations = maps.std(dim=(2, 3), correction=0)
        live = raw[layer].std(dim=(2, 3), correction=0) > 0.02  # the small number in the division is nothing beside it
        assert live.float().mean() > 0.5
        torch.testing.assert_close(deviations[live], torch.ones(int(live.sum())), atol=0.05, rtol=0)
    names = {"content": 1.0}
    assert task.generator_losses(images, images, images, names)["content"] == 0
    less_light = task.generator_losses(0.6 * images, images, images, names)["content"]
    mirrored = task.generator_losses(images.flip(-1), images, images, names)["content"]
    assert less_light < 0.5 * mirrored


def make_smooth(count: int) -> Tensor:
    return nn.functional.interpolate(torch.rand(count, 3, 6, 6), (64, 64), mode="bicubic").clamp(0, 1)


# Measures


def test_psnr_is_the_closed_form_averaged_over_the_images():
    clean = torch.full((2, 3, 8, 8), 0.5)
    images = clean + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert psnr(images, clean).item() == pytest.approx(30.0, abs=1e-3)  # 20 dB and 40 dB


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    clean = make_smooth(1)
    assert ssim(clean, clean).item() == pytest.approx(1.0)
    assert ssim(Noise((0.05, 0.05))(clean), clean) > ssim(Noise((0.2, 0.2))(clean), clean) + 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_measures_keep_their_digits_within_autocast(dtype: torch.dtype):
    encoder, clean, other = DistilledEncoder(weights=None), make_smooth(1).to(dtype), make_smooth(1).to(dtype)
    measures = {
        "psnr": lambda: psnr(other, clean),
        "ssim": lambda: ssim(other, clean),
        "perceptual": lambda: torch.stack(list(perceptual_distances(encoder, other, clean, clean).values())),
        "style": lambda: style_distance(encoder, other, clean),
    }
    for name, measure in measures.items():
        expected = measure()
        with torch.autocast("cpu", torch.bfloat16):
            assert ssim(clean, clean).item() == pytest.approx(1.0)
            found = measure()
        assert found.dtype == torch.float32, name
        assert torch.equal(found, expected), name


def test_perceptual_distances_are_zero_for_the_image_itself():
    encoder, image, other = DistilledEncoder(weights=None), make_smooth(1), make_smooth(1)
    same = perceptual_distances(encoder, image, image, image)
    assert same == {"content_distance": 0, "style_distance": 0}
    assert all(value > 0 for value in perceptual_distances(encoder, image, other, other).values())


@pytest.mark.parametrize("damage", [Noise(), Holes(), LowLight()], ids=lambda damage: type(damage).__name__)
def test_the_damage_of_validation_depends_on_the_image_alone(damage: nn.Module):
    images = make_smooth(3)
    state = torch.random.get_rng_state()
    first = fixed_damage(damage, images)
    assert torch.equal(torch.random.get_rng_state(), state), "training draws what it would have drawn"
    torch.manual_seed(99)
    assert torch.equal(fixed_damage(damage, images[1:]), first[1:])
    assert not torch.equal(first, images)
    if isinstance(damage, Holes):
        magenta = (first == torch.tensor([1.0, 0.0, 1.0])[:, None, None]).all(dim=1)
        assert not torch.equal(magenta[0], magenta[1]), "each image has a damage of its own"


# Data


def test_photographs_can_be_chosen_by_name(tmp_path: Path) -> None:
    chosen = SamplePhotographs(cache_dir=tmp_path, photographs=["ihc"])
    chosen.prepare()
    split = chosen.split()
    assert {path.stem.rsplit("-", 1)[0] for path in split.train} == {"ihc"}
    assert len(split.validation) == 3
    with pytest.raises(ValueError, match=r"unknown photograph 'cat'; choose some of astronaut, chelsea"):
        SamplePhotographs(cache_dir=tmp_path, photographs=["cat"])
