"""Gatys's method as a generator."""

import pytest
import torch
from torch import Tensor

from scumble.networks.perceptual_encoders import DistilledEncoder, random_encoder
from scumble.networks.pixel_optimization import PixelOptimization
from scumble.statistics import gram_matrix
from scumble.tasks.image_optimization import ImageOptimization
from scumble.tasks.measures import content_targets, perceptual_distances, style_targets


@pytest.fixture
def style() -> Tensor:
    coarse = torch.rand(1, 3, 5, 5)
    return torch.nn.functional.interpolate(coarse, (48, 40), mode="bicubic").clamp(0, 1)


def test_it_paints_towards_the_style_also_where_gradients_are_off(photograph: Tensor, style: Tensor):
    content = photograph[..., :48, :48]
    encoder = DistilledEncoder()
    with torch.inference_mode():
        painted = PixelOptimization(encoder, steps=12)(content, style)
        before, after = (perceptual_distances(encoder, image, content, style) for image in (content, painted))
    assert painted.shape == content.shape
    assert 0 <= painted.min() <= painted.max() <= 1
    assert not painted.requires_grad
    assert after["style_distance"] < 0.8 * before["style_distance"]


def test_the_pictures_of_a_batch_do_not_depend_on_each_other(photograph: Tensor):
    content = torch.cat([photograph[..., :32, :32], photograph[..., 32:, 32:]])
    styles = content.flip(0) ** 2
    generator = PixelOptimization(DistilledEncoder(), steps=3)
    together = generator(content, styles)
    alone = torch.cat([generator(c[None], s[None]) for c, s in zip(content, styles, strict=True)])
    # Adam divides by the size of a gradient, so that rounding moves pixels whose gradient is nearly 0.
    assert (together - alone).abs().mean() < 1e-3


def test_its_objective_is_that_of_the_task(photograph: Tensor, style: Tensor):
    images, content = photograph[..., :32, :32], photograph[..., 32:, 32:]
    encoder, weights = random_encoder(), {"content": 0.7, "style": 30.0, "total_variation": 5.0}
    task = ImageOptimization(
        encoder, weights, {"images": lambda parameters: torch.optim.Adam(parameters)}, pairs=1, image_size=32
    )
    wanted = content_targets(encoder, content), style_targets(encoder, style, gram_matrix)
    terms = task.losses(images, *wanted, weights)
    expected = sum(weights[name] * term for name, term in terms.items())
    found = PixelOptimization(encoder, **weights).objective(images, *wanted)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"learning_rate": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must be above 0"):
        PixelOptimization(random_encoder(), **wrong)
