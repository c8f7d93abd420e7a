"""Loss weights that depend on a strength, losses of single images, and weights to start from."""

from pathlib import Path

import pytest
import torch
from runs import difference, make_images, scumble_here
from torch import Tensor, nn

from scumble.checkpoint import checkpoint_path, read_checkpoint
from scumble.loggers.csv_file import read_metrics
from scumble.losses.adversarial import Hinge
from scumble.losses.per_image import per_image
from scumble.losses.perceptual import content_loss, moment_style_loss
from scumble.losses.reconstruction import total_variation_loss
from scumble.networks.painter import Painter
from scumble.networks.strength import takes_strength
from scumble.statistics import channel_moments
from scumble.tasks.loss_conditional import LossConditional
from scumble.tasks.manual import weigh
from scumble.tasks.style_transfer import StyleTransfer

TERMS = ("content", "style", "total_variation")


class TestLossConditional:
    """The weights of every sample."""

    def test_a_weight_goes_from_the_low_to_the_high_end_of_its_range(self):
        weights = LossConditional({"style": [0.5, 8]}, TERMS).weights(torch.tensor([0.0, 0.5, 1.0]), {"style": 3.0})
        assert weights["style"].tolist() == pytest.approx([1.5, 6.0, 24.0])

    def test_content_and_the_named_terms_keep_their_sum_and_their_ratio(self):
        conditional = LossConditional({"style": [0.4, 10], "total_variation": [1, 4]}, TERMS)
        given = {"content": 2.0, "style": 1.0, "total_variation": 0.5, "cycle": 7.0}
        weights = conditional.weights(torch.tensor([0.0, 0.5, 1.0]), given)
        total = sum(weights[name] for name in TERMS)
        assert total.tolist() == pytest.approx([2 + 2 + 1] * 3)
        assert (weights["style"] / weights["content"]).tolist() == pytest.approx([0.2, 1.0, 5.0])
        assert weights["cycle"] == 7.0

    def test_a_term_without_weight_stays_out(self):
        assert LossConditional({"style": [1, 2]}, TERMS).weights(torch.zeros(2), {"content": 1.0}) == {"content": 1.0}

    def test_strengths_are_spread_over_the_range(self):
        drawn = LossConditional({"style": [1, 2]}, TERMS).draw(torch.zeros(4000, 1))
        assert drawn.shape == (4000,)
        assert drawn.quantile(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist() == pytest.approx(
            [0, 0.25, 0.5, 1], abs=0.03
        )

    @pytest.mark.parametrize("limits", [[1], [0, 2], [3, 2], [-1, 2]])
    def test_a_range_that_is_none_is_refused(self, limits: list[float]):
        with pytest.raises(ValueError, match=r"loss_conditional.style must be \[low, high\]"):
            LossConditional({"style": limits}, TERMS)

    def test_an_unknown_term_is_refused_with_those_that_are_accepted(self):
        with pytest.raises(ValueError, match="'styel'; accepted: content, style, total_variation"):
            LossConditional({"styel": [1, 2]}, TERMS)


def test_a_loss_of_every_image_has_the_mean_of_the_batch():
    features = {"relu1_1": torch.rand(3, 4, 6, 6), "relu2_1": torch.rand(3, 5, 3, 3)}
    others = {name: torch.rand_like(maps) for name, maps in features.items()}
    moments = {name: channel_moments(maps) for name, maps in others.items()}
    for loss, inputs in (
        (content_loss, (features, others)),
        (moment_style_loss, (features, moments)),
        (total_variation_loss, (torch.rand(3, 3, 8, 8),)),
        (Hinge().generator, ([torch.rand(3, 1, 4, 4), torch.rand(3, 1, 2, 2)],)),
    ):
        values = per_image(loss, *inputs)
        assert values.shape == (3,)
        torch.testing.assert_close(values.mean(), loss(*inputs))


def test_the_loss_of_an_image_does_not_depend_on_the_others():
    images = torch.rand(3, 3, 8, 8)
    alone = total_variation_loss(images[1:2])
    assert per_image(total_variation_loss, images)[1] == alone


def test_an_objective_weighs_every_sample_by_its_weight():
    terms = {"style": torch.tensor([1.0, 3.0]), "cycle": torch.tensor(5.0)}
    loss, logs = weigh(terms, {"style": torch.tensor([10.0, 1.0]), "cycle": 2.0})
    assert float(loss) == pytest.approx((10 * 1 + 1 * 3) / 2 + 2 * 5)
    assert float(logs["style"]) == 2.0
    assert float(logs["weight/style"]) == 5.5
    assert float(logs["weighted/style"]) == 6.5


class Encoder(nn.Module):
    """Features that are the image itself, at two sizes."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"relu1_1": images, "relu2_1": images, "relu3_1": images, "relu4_1": images[..., ::2, ::2]}


def task(**options: object) -> StyleTransfer:
    generator = options.pop("generator", None) or Painter((4, 6, 8), blocks=1, code=8, heads=2, attention=8)
    return StyleTransfer(
        generator=generator,
        discriminator=nn.Conv2d(3, 1, 1),
        perceptual_encoder=Encoder(),
        adversarial_loss=Hinge(),
        optimizers={},
        **({"loss_weights": {"content": 1.0, "style": 1.0, "cycle": 1.0}} | options),
    )


def test_a_range_needs_a_generator_that_takes_a_strength():
    assert takes_strength(Painter((4, 6, 8), 1, 8, heads=2, attention=8))
    assert not takes_strength(nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="Conv2d takes none; use generator=painter"):
        task(generator=nn.Conv2d(3, 3, 1), loss_conditional={"style": [1, 2]})


def test_a_share_of_the_cycle_is_computed_for_that_share_of_the_batch(monkeypatch: pytest.MonkeyPatch):
    made, seen = task(cycle_share=0.25), []
    whole = made.generator.forward
    monkeypatch.setattr(made.generator, "forward", lambda *inputs: seen.append(len(inputs[0])) or whole(*inputs))
    images = torch.rand(8, 3, 16, 16)
    made.generator_losses(images, images, images, {"cycle": 1.0})
    assert seen == [2]
    with pytest.raises(ValueError, match=r"cycle_share must be in \(0, 1\], got 0"):
        task(cycle_share=0)
    with pytest.raises(ValueError, match=r"set task\.cycle_share=1"):
        task(cycle_share=0.5, loss_conditional={"cycle": [1, 2]})


def test_normalized_content_ignores_brightness_and_contrast():
    content, made = torch.rand(2, 3, 16, 16), task(normalized_content=True, content_layers=["relu3_1", "relu4_1"])
    terms = made.generator_losses(content, content, 0.3 + 0.5 * content, {"content": 1.0})
    assert float(terms["content"]) == pytest.approx(0, abs=1e-4)
    raw = task(content_layers=["relu3_1"]).generator_losses(content, content, 0.3 + 0.5 * content, {"content": 1.0})
    assert float(raw["content"]) > 0.01


SMALL = (
    "debug=tiny", "logger=csv", "generator.widths=[4,6,8]", "generator.blocks=1", "discriminator.width=8",
    "discriminator.layers=2", "perceptual_encoder.weights=null", "data.validation_size=32", "data.validation_pairs=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("images")
    make_images(folder / "photos", 5)
    make_images(folder / "paintings", 5, seed=1)
    return ("data=folders", f"data.content={folder / 'photos'}", f"data.style={folder / 'paintings'}")


def test_a_run_starts_from_a_run_and_shows_where_it_started(tmp_path: Path, folders: tuple[str, ...]):
    scumble_here("train", *SMALL, *folders, "init_from=null", "run_dir=first", cwd=tmp_path)
    assert not (tmp_path / "first/grids/step=00000000.png").exists()
    result = scumble_here("train", *SMALL, *folders, "init_from=first", "run_dir=second", cwd=tmp_path)
    assert "Starts from generator and discriminator of" in result.stderr + result.stdout
    assert (tmp_path / "second/grids/step=00000000.png").is_file()
    before, after = ((tmp_path / run / "metrics.csv").read_text().splitlines() for run in ("first", "second"))
    columns = after[0].split(",")
    start = dict(zip(columns, after[1].split(","), strict=True))
    end = dict(zip(before[0].split(","), before[-1].split(","), strict=True))
    assert start["step"] == "0"
    assert float(start["val/style_distance"]) == pytest.approx(float(end["val/style_distance"]), rel=1e-5)


def test_weights_of_another_shape_are_refused_with_the_way_out(tmp_path: Path, folders: tuple[str, ...]):
    result = scumble_here("train", *SMALL, *folders, "run_dir=run", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "init_from=shipped" in result.stderr
    assert "set init_from=null" in result.stderr
    result = scumble_here("train", *SMALL, *folders, "init_from=nowhere", "run_dir=other", cwd=tmp_path, check=False)
    assert "no checkpoint nowhere" in result.stderr


def test_a_run_that_starts_from_weights_resumes_to_the_bit(tmp_path: Path, folders: tuple[str, ...]):
    scumble_here("train", *SMALL, *folders, "init_from=null", "run_dir=first", cwd=tmp_path)
    command = ("train", *SMALL, *folders, "init_from=first", "optimizer.lr_schedule.steps=4")
    scumble_here(*command, "run_dir=whole", cwd=tmp_path)
    scumble_here(*command, "run_dir=parts", "steps=2", cwd=tmp_path)
    scumble_here("train", "run_dir=parts", "resume=true", "steps=4", cwd=tmp_path)
    states = [
        torch.load(tmp_path / run / "checkpoints/step=00000004.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "parts")
    ]
    assert [key for key in states[0] if not torch.equal(states[0][key], states[1][key])] == []


def test_an_anchor_is_the_distance_to_what_the_starting_weights_paint(tmp_path: Path, folders: tuple[str, ...]):
    """Zero at the first step, then the mean absolute difference to the starting generator, which stays as it was."""
    scumble_here("train", *SMALL, *folders, "init_from=null", "run_dir=first", cwd=tmp_path)
    header = (tmp_path / "first/metrics.csv").read_text().splitlines()[0]
    assert "train/anchor" not in header, "a run from nothing has no start to stay near"

    command = ("train", *SMALL, *folders, "init_from=first", "loss_weights.anchor=7", "optimizer.lr_schedule.steps=4")
    scumble_here(*command, "run_dir=whole", "steps=4", cwd=tmp_path)
    distances = [row["train/anchor"] for row in read_metrics(tmp_path / "whole").values() if "train/anchor" in row]
    assert distances[0] == 0
    assert distances[-1] > 0

    def networks(run: str, step: int) -> dict[str, torch.Tensor]:
        return read_checkpoint(checkpoint_path(tmp_path / run, step))["state_dict"]

    start, end = networks("first", 4), networks("whole", 4)
    for name in [key for key in end if key.startswith("anchor.")]:
        assert torch.equal(end[name], start[name.replace("anchor.", "generator_ema.")]), name

    scumble_here(*command, "run_dir=parts", "steps=2", cwd=tmp_path)
    scumble_here("train", "run_dir=parts", "resume=true", "steps=4", cwd=tmp_path)
    assert difference(end, networks("parts", 4)) == []


def test_the_anchor_term_is_the_mean_absolute_difference():
    made = task(generator=Painter((4, 6, 8), 1, 8, heads=2, attention=8), loss_weights={"anchor": 1.0})
    made.remember_start()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        painted = made.generator(images, images)
    term = made.generator_losses(images, images, painted + 0.25, {"anchor": 1.0})["anchor"]
    assert float(term) == pytest.approx(0.25, abs=1e-5)
