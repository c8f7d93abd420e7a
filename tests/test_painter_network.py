"""The painter: any style, any strength, and pixels that depend on a bounded neighbourhood."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from scumble.networks.painter import NOISE_SIDE, Painter, reduce_to
from scumble.networks.painter_layers import StyledLayer, enlarged_convolution, periodic, scaled
from scumble.networks.summaries import StyleSummary, mix_styles, moments_of
from scumble.statistics import channel_moments


def lively(**options: object) -> Painter:
    """A small painter with random weights in which every part has an effect."""
    made = Painter(**({"widths": (4, 6, 8), "blocks": 1, "code": 8, "heads": 2, "attention": 8} | options)).eval()
    with torch.no_grad():
        made.to_paint.weight.normal_(std=0.2)
        made.self_attention.out.weight.normal_(std=0.5)
        for layer in made.modules():
            if isinstance(layer, StyledLayer) and layer.noise is not None:
                layer.noise.normal_(std=0.3)
    return made.requires_grad_(False)


def images(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(shape[0], 3, 5, 5, generator=generator)
    return F.interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("sides", [(16, 16), (17, 31), (40, 64), (65, 24)])
def test_it_keeps_the_sides_of_the_content_whatever_those_of_the_style(sides: tuple[int, int]):
    stylized = lively()(images(2, *sides), images(2, 33, 18))
    assert stylized.shape == (2, 3, *sides)
    assert stylized.min() >= 0
    assert stylized.max() <= 1


def test_every_parameter_gets_a_gradient():
    painter = lively().requires_grad_(True).train()
    painter(images(2, 32, 32), images(2, 32, 32, seed=1), torch.tensor([0.2, 0.9])).square().sum().backward()
    assert [name for name, p in painter.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_images_that_are_too_small_and_strengths_out_of_range_are_refused():
    painter = lively()
    with pytest.raises(ValueError, match="at least 16 pixels, got 20x15"):
        painter(images(1, 15, 20), images(1, 32, 32))
    with pytest.raises(ValueError, match=r"strength must be in \[0, 1\], got 1.5"):
        painter(images(1, 32, 32), images(1, 32, 32), 1.5)
    prepared = painter.prepare(images(1, 32, 32), painter.summarise_style(images(1, 32, 32)))
    with pytest.raises(ValueError, match="multiple of 8"):
        painter.paint(images(1, 32, 32), prepared, origin=(4, 0))


def test_the_strength_is_an_input_and_has_a_default():
    painter, content, style = lively(), images(1, 32, 32), images(1, 32, 32, seed=1)
    weak, strong = painter(content, style, 0.0), painter(content, style, 1.0)
    assert not torch.allclose(weak, strong, atol=1e-4)
    assert torch.equal(painter(content, style), painter(content, style, painter.default_strength))
    both = painter(content.expand(2, -1, -1, -1), style.expand(2, -1, -1, -1), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(both, torch.cat([weak, strong]))


def test_summaries_and_painting_are_the_whole():
    painter, contents, style = lively(), images(3, 40, 48), images(1, 32, 32, seed=1)
    summary = painter.summarise_style(style)
    painted = painter.paint(contents, painter.prepare(contents, summary, 0.7))
    torch.testing.assert_close(painted, painter(contents, style.expand(3, -1, -1, -1), 0.7))


def test_a_large_content_is_summarised_from_a_reduced_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Painter, "summary_side", 48)
    painter, content, style = lively(), images(1, 80, 96), images(1, 32, 32, seed=1)
    small = reduce_to(content, 48)
    assert small.shape[-2:] == (40, 48)
    prepared = painter.prepare(small, painter.summarise_style(style), 0.5)
    torch.testing.assert_close(painter.paint(content, prepared), painter(content, style, 0.5))


@settings(max_examples=6)
@given(height=st.integers(200, 330), width=st.integers(200, 330), row=st.integers(0, 12), column=st.integers(0, 12))
def test_a_tile_with_its_neighbourhood_is_equal_to_the_whole(height: int, width: int, row: int, column: int):
    painter, halo = lively(blocks=3), Painter.neighbourhood
    content = images(1, height, width)
    prepared = painter.prepare(content, painter.summarise_style(images(1, 32, 32, seed=1)), 1.0)
    whole = painter.paint(content, prepared)
    top, left = 8 * row, 8 * column
    bottom, right = min(height, top + 2 * halo + 24), min(width, left + 2 * halo + 24)
    tile = painter.paint(content[..., top:bottom, left:right], prepared, origin=(top, left))
    # Where a tile ends at the picture's border it needs no neighbourhood there.
    inside = (
        slice(halo if top else 0, None if bottom == height else -halo),
        slice(halo if left else 0, None if right == width else -halo),
    )
    difference = (tile - whole[..., top:bottom, left:right])[..., inside[0], inside[1]].abs()
    assume(difference.numel())
    assert difference.max() < 1e-5


def test_a_pixel_changes_nothing_outside_of_its_neighbourhood_and_something_near_its_edge():
    painter, halo = lively(blocks=3), Painter.neighbourhood
    content = images(1, 328, 328)
    changed = content.clone()
    changed[..., 164, 164] = 1 - changed[..., 164, 164]
    prepared = painter.prepare(content, painter.summarise_style(images(1, 32, 32, seed=1)), 1.0)
    moved = (painter.paint(changed, prepared) - painter.paint(content, prepared)).abs().amax(dim=(0, 1))
    rows = moved.amax(dim=1).nonzero().flatten() - 164
    assert -halo <= rows.min() <= -halo + 24
    assert halo - 24 <= rows.max() <= halo


def test_features_enter_the_decoder_with_the_moments_of_the_style():
    painter, content, style = lively(), images(2, 48, 48), images(2, 48, 48, seed=1)
    prepared = painter.prepare(content, painter.summarise_style(style))
    for features, affine, wanted in zip(painter.encode(content), prepared.features, painter.encode(style), strict=True):
        torch.testing.assert_close(
            channel_moments(scaled(features, affine)), channel_moments(wanted), atol=1e-3, rtol=1e-2
        )


def test_the_recoloured_content_has_the_moments_of_the_style_in_opponent_colours():
    painter = lively()
    with torch.no_grad():
        painter.to_paint.weight.zero_()
    content, style = 0.4 + 0.2 * images(1, 48, 48), 0.3 + 0.4 * images(1, 48, 48, seed=1)
    opponent = [torch.einsum("ij,bjhw->bihw", painter.opponent, each) for each in (painter(content, style), style)]
    torch.testing.assert_close(*map(channel_moments, opponent), atol=2e-3, rtol=2e-2)


def test_moments_in_two_passes_are_the_moments():
    features = 3 + torch.randn(2, 5, 9, 7)
    torch.testing.assert_close(moments_of(features), channel_moments(features))
    flat = moments_of(torch.full((1, 2, 8, 8), 0.7))
    torch.testing.assert_close(flat, channel_moments(torch.full((1, 2, 8, 8), 0.7)))


def test_the_enlarged_convolution_is_the_convolution_of_the_enlarged():
    layer = torch.nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect")
    features = torch.randn(2, 3, 7, 4)
    naive = layer(F.interpolate(features, scale_factor=2.0))
    torch.testing.assert_close(enlarged_convolution(features, layer.weight, layer.bias), naive)


def test_the_noise_of_a_tile_is_that_of_its_place():
    pattern = torch.randn(1, 1, NOISE_SIDE, NOISE_SIDE)
    plane = periodic(pattern, (0, 0), (150, 150))
    assert torch.equal(plane[..., 70:150, 3:150], periodic(pattern, (70, 3), (80, 147)))
    assert torch.equal(plane[..., :64, :64], pattern)


class TestMixedStyles:
    """Styles mix by their summaries."""

    def setup_method(self):
        self.painter, self.content = lively(), images(1, 40, 40)
        self.summaries = [self.painter.summarise_style(images(1, 32, 32, seed=seed)) for seed in (1, 2)]

    def paint(self, weights: list[float], summaries: list[StyleSummary] | None = None) -> Tensor:
        mixed = mix_styles(summaries or self.summaries, weights)
        return self.painter.paint(self.content, self.painter.prepare(self.content, mixed))

    def single(self, index: int) -> Tensor:
        return self.painter.paint(self.content, self.painter.prepare(self.content, self.summaries[index]))

    def test_a_weight_of_0_leaves_a_style_out(self):
        torch.testing.assert_close(self.paint([1, 0]), self.single(0))
        torch.testing.assert_close(self.paint([0, 3]), self.single(1))

    def test_a_style_mixed_with_itself_is_itself(self):
        twice = [self.summaries[0], self.summaries[0]]
        torch.testing.assert_close(self.paint([0.3, 0.7], twice), self.single(0))

    def test_a_mixture_of_mixtures_is_a_mixture(self):
        nested = mix_styles([mix_styles(self.summaries, [1, 1]), self.summaries[1]], [1, 1])
        flat = self.painter.paint(self.content, self.painter.prepare(self.content, nested))
        torch.testing.assert_close(flat, self.paint([1, 3]))

    def test_only_the_ratio_of_the_weights_counts_and_their_order_does_not(self):
        torch.testing.assert_close(self.paint([1, 3]), self.paint([0.25, 0.75]))
        torch.testing.assert_close(self.paint([1, 3]), self.paint([3, 1], self.summaries[::-1]))

    @pytest.mark.parametrize("weights", [[1], [-1, 2], [0, 0], []])
    def test_weights_that_mean_nothing_are_refused(self, weights: list[float]):
        with pytest.raises(ValueError, match="weight"):
            mix_styles(self.summaries, weights)
