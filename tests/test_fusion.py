"""Fusions of features, and the generators that decode them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.feature_fusion import FeatureFusion
from scumble.networks.fusion import WCT, AdaptiveInstanceNormalization, ChannelSwap, StyleAttention, matrix_root
from scumble.networks.generators import DualEncoder, Mix
from scumble.networks.layers import tile
from scumble.networks.perceptual_encoders import DistilledEncoder
from scumble.statistics import channel_moments, gram_matrix

CHANNELS = 6
FUSIONS: dict[str, Callable[[int], nn.Module]] = {
    "adain": lambda channels: AdaptiveInstanceNormalization(),
    "wct": lambda channels: WCT(),
    "channel_swap": lambda channels: ChannelSwap(share=0.5),
    "attention": StyleAttention,
}


def features(*size: int, channels: int = CHANNELS, batch: int = 2) -> Tensor:
    """Correlated channels with means of their own, as those of an encoder, in double precision."""
    mixing = torch.randn(batch, channels, channels, dtype=torch.float64)
    maps = torch.randn(batch, channels, size[0] * size[1], dtype=torch.float64)
    return (mixing @ maps + torch.randn(batch, channels, 1)).reshape(batch, channels, *size)


def covariance(maps: Tensor) -> Tensor:
    """The explicit mean of the outer products of the deviations from the mean."""
    deviations = maps - maps.mean(dim=(2, 3), keepdim=True)
    return torch.einsum("bihw,bjhw->bij", deviations, deviations) / (maps.shape[2] * maps.shape[3])


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_has_the_size_of_the_content_and_takes_any_style(name: str):
    fusion = FUSIONS[name](CHANNELS).double()
    for size in ((5, 7), (3, 2), (9, 12)):
        fused = fusion(features(5, 7), features(*size))
        assert fused.shape == (2, CHANNELS, 5, 7)
        assert fused.isfinite().all()


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_has_a_finite_gradient_at_constant_features(name: str):
    fusion = FUSIONS[name](CHANNELS)
    content, style = torch.ones(1, CHANNELS, 4, 4), torch.zeros(1, CHANNELS, 4, 4)
    content.requires_grad_(), style.requires_grad_()
    fusion(content, style).square().sum().backward()
    assert content.grad is not None
    assert content.grad.isfinite().all()
    assert style.grad is not None
    assert style.grad.isfinite().all()


def test_adain_has_the_moments_of_the_style():
    style = features(6, 4)
    fused = AdaptiveInstanceNormalization()(features(20, 20), style)
    for found, expected in zip(channel_moments(fused), channel_moments(style), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# Whitening and colouring


def test_wct_has_the_mean_and_the_covariance_of_the_style():
    content, style = features(7, 8), features(9, 5)
    fused = WCT(eps=1e-12)(content, style)
    torch.testing.assert_close(covariance(fused), covariance(style), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(fused.mean(dim=(2, 3)), style.mean(dim=(2, 3)))
    assert not torch.allclose(covariance(fused), covariance(content), rtol=0.1)


def test_wct_is_that_of_the_paper():
    content, style = features(7, 8, batch=1), features(9, 5, batch=1)
    centered = (content - content.mean(dim=(2, 3), keepdim=True)).flatten(2)[0]
    values, vectors = torch.linalg.eigh(covariance(content)[0])
    whitened = vectors @ torch.diag(values**-0.5) @ vectors.T @ centered
    values, vectors = torch.linalg.eigh(covariance(style)[0])
    coloured = vectors @ torch.diag(values**0.5) @ vectors.T @ whitened + style.mean(dim=(2, 3)).T
    torch.testing.assert_close(WCT(eps=1e-12)(content, style).flatten(2)[0], coloured, rtol=1e-6, atol=1e-6)


def test_wct_of_an_image_with_itself_is_the_image():
    content = features(7, 8)
    torch.testing.assert_close(WCT(eps=1e-3)(content, content), content)


def test_wct_takes_fewer_positions_than_channels():
    content = torch.rand(1, 64, 2, 2)
    fused = WCT()(content, torch.rand(1, 64, 3, 3))
    assert fused.isfinite().all()
    assert fused.abs().max() < 10, "eps keeps the directions without variance small"


def test_wct_keeps_its_digits_in_mixed_precision():
    content, style = features(7, 8).float(), features(9, 5).float()
    expected = WCT()(content, style)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(WCT()(content, style), expected)
        assert WCT()(content.bfloat16(), style.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("inverse", [False, True])
def test_a_matrix_root_is_a_root_and_has_its_gradient_where_eigenvalues_coincide(inverse: bool):
    factors = torch.randn(2, 4, 4, dtype=torch.float64)
    matrices = factors @ factors.mT + torch.eye(4)
    matrices[1] = 2 * torch.eye(4)  # four equal eigenvalues: the gradient of eigh is infinite
    root = matrix_root(matrices, inverse)
    torch.testing.assert_close(root @ root, matrices.inverse() if inverse else matrices)
    assert torch.autograd.gradcheck(lambda m: matrix_root((m + m.mT) / 2, inverse), matrices.requires_grad_())


# Channels


def test_swapping_no_channel_is_the_content_and_all_is_the_style():
    content, style = features(6, 6), features(6, 6)
    assert torch.equal(ChannelSwap(share=0)(content, style), content)
    assert torch.equal(ChannelSwap(share=1)(content, style), style)
    other = features(4, 9)
    assert torch.equal(ChannelSwap(share=1)(content, other), tile(other, 6, 6))


def test_the_channels_that_differ_most_are_swapped():
    content = features(6, 6, channels=8)
    style = content.clone()
    style[0, [1, 4]] = (
        features(6, 6, channels=2)[0] * 5
    )  # of the first image two channels are others, of the second one
    style[1, [7]] = -content[1, [7]]
    similarity = torch.zeros(2, 8)
    for image in range(2):
        for channel in range(8):
            rows = (gram_matrix(maps)[image, channel] for maps in (content, style))
            similarity[image, channel] = F.cosine_similarity(*rows, dim=0)
    fused = ChannelSwap(share=0.25)(content, style)
    for image in range(2):
        least = set(similarity[image].argsort()[:2].tolist())
        for channel in range(8):
            source = style if channel in least else content
            assert torch.equal(fused[image, channel], source[image, channel])
    assert torch.equal(fused[1, 7], style[1, 7])


# Attention


def test_attention_is_the_explicit_softmax():
    fusion = StyleAttention(CHANNELS).double()
    content, style = features(3, 4), features(2, 5)
    fused = fusion(content, style)
    normalized = [(maps - maps.mean((2, 3), keepdim=True)) / channel_moments(maps)[1] for maps in (content, style)]
    query, key, value = fusion.query(normalized[0]), fusion.key(normalized[1]), fusion.value(style)
    expected = torch.zeros_like(content)
    for image in range(2):
        for y in range(3):
            for x in range(4):
                logits = [query[image, :, y, x] @ key[image, :, i, j] for i in range(2) for j in range(5)]
                weights = torch.stack(logits).softmax(dim=0)
                values = [value[image, :, i, j] for i in range(2) for j in range(5)]
                expected[image, :, y, x] = sum(w * v for w, v in zip(weights, values, strict=True))
    torch.testing.assert_close(fused, content + fusion.out(expected))


def test_the_weights_of_the_attention_add_up_to_one():
    fusion = StyleAttention(CHANNELS).double()
    nn.init.dirac_(fusion.value.weight), nn.init.zeros_(fusion.value.bias)
    nn.init.dirac_(fusion.out.weight), nn.init.zeros_(fusion.out.bias)
    content, style = features(3, 4), features(1, 1).expand(-1, -1, 5, 6)
    # A weighted mean of equal values is that value only if the weights add up to 1.
    torch.testing.assert_close(fusion(content, style) - content, style[..., :1, :1].expand(-1, -1, 3, 4))


# Generators


def generator(name: str, layers: tuple[str, ...] = ("relu4_1",)) -> FeatureFusion:
    made = FeatureFusion(DistilledEncoder(weights=None), FUSIONS[name](128), layers=layers)
    nn.init.constant_(made.decoder[-1].bias, 0.5)  # an untrained decoder's output lies about 0, where it is clamped
    return made


@pytest.mark.parametrize("name", FUSIONS)
def test_every_parameter_of_a_fusion_generator_has_a_gradient_and_the_encoder_none(name: str):
    made = generator(name)
    made(torch.rand(2, 3, 24, 32), torch.rand(2, 3, 32, 16)).sum().backward()
    dead = [key for key, value in made.named_parameters() if value.grad is None or not value.grad.abs().max() > 0]
    assert dead in ([], ["fusion.key.bias"]), "a softmax does not see what is added to all its logits"
    assert not any("encoder" in key for key in made.state_dict())


@pytest.mark.parametrize("name", FUSIONS)
@torch.no_grad()
def test_alpha_goes_from_the_content_to_the_fusion(name: str):
    made = generator(name).eval()
    content, style = torch.rand(1, 3, 17, 22), torch.rand(1, 3, 16, 30)
    pictures = []
    for made.alpha in (0.0, 0.5, 1.0):
        pictures.append(made(content, style))
    encoded = made.encoder(F.pad(content, (0, 2, 0, 7), mode="reflect"))
    assert torch.equal(pictures[0], made.decode(encoded).clamp(0, 1)[..., :17, :22])
    assert not torch.equal(pictures[1], pictures[0])
    assert not torch.equal(pictures[2], pictures[1])


def test_other_layers_come_in_at_their_resolution():
    made = generator("channel_swap", ("relu4_1", "relu3_1", "relu1_1"))
    assert {layer: lateral.weight.shape[:2] for layer, lateral in made.laterals.items()} == {
        "relu3_1": (64, 64), "relu1_1": (16, 16),
    }  # fmt: skip
    made(torch.rand(2, 3, 27, 32), torch.rand(2, 3, 40, 16)).sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in made.parameters())
    with torch.no_grad():
        encoded = made.encoder(torch.rand(1, 3, 32, 32))
        images = made.decode(encoded)
        changed = made.decode(encoded | {"relu1_1": torch.zeros_like(encoded["relu1_1"])})
    assert not torch.equal(images, changed)


def test_adain_layers_have_the_moments_of_the_style_whatever_the_fusion():
    made = FeatureFusion(DistilledEncoder(weights=None), WCT(), adain_layers=("relu2_1",)).eval()
    content, style = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 24, 40)
    seen: dict[str, Tensor] = {}
    made.laterals["relu2_1"].register_forward_pre_hook(lambda layer, inputs: seen.update(fused=inputs[0]))
    with torch.no_grad():
        made(content, style)
        expected = AdaptiveInstanceNormalization()(made.encoder(content)["relu2_1"], made.encoder(style)["relu2_1"])
    torch.testing.assert_close(seen["fused"], expected)


def test_generators_of_features_refuse_what_does_not_fit():
    encoder = DistilledEncoder(weights=None)
    with pytest.raises(ValueError, match=r"must be relu4_1.*got relu3_1"):
        FeatureFusion(encoder, WCT(), layers=("relu3_1",))
    with pytest.raises(ValueError, match=r"relu1_1, relu2_1, relu3_1, relu4_1, .*; got relu4_1, relu5_1 and none"):
        FeatureFusion(encoder, WCT(), layers=("relu4_1", "relu5_1"))
    with pytest.raises(ValueError, match=r"relu4_1: in generator\.layers and in generator\.adain_layers"):
        FeatureFusion(encoder, WCT(), adain_layers=("relu4_1",))
    with pytest.raises(ValueError, match=r"channels is 64, but .* have 128 channels; set fusion\.channels=128"):
        FeatureFusion(encoder, StyleAttention(64))
    with pytest.raises(ValueError, match=r"fusion\.share must be in \[0, 1\], got 1\.5"):
        ChannelSwap(1.5)
    with pytest.raises(ValueError, match=r"fusion\.eps must be greater than 0, got 0"):
        WCT(0)
    with pytest.raises(ValueError, match=r"at least 16 pixels, got 40x15"):
        generator("wct")(torch.rand(1, 3, 15, 40), torch.rand(1, 3, 32, 32))


# Two encoders


def test_codes_are_mixed_with_their_weights():
    content, style = torch.rand(2, 3, 4, 5), torch.rand(2, 3)
    mixed = Mix(3, content_weight=0.7, style_weight=0.2, learned=False)(content, style)
    torch.testing.assert_close(mixed, 0.7 * content + 0.2 * style[..., None, None])
    learned = Mix(3, content_weight=0.7, style_weight=0.2, learned=True)
    torch.testing.assert_close(learned(content, style), mixed)
    with torch.no_grad():
        learned.weights[1] = torch.tensor([0.0, 1.0])
    assert torch.equal(learned(content, style)[:, 1], style[:, 1, None, None].expand(-1, 4, 5))


@pytest.mark.parametrize("learned", [False, True])
def test_a_dual_encoder_keeps_size_and_range_and_trains_both_encoders(learned: bool):
    made = DualEncoder(width=8, residual_blocks=1, learned_weights=learned)
    stylized = made(torch.rand(2, 3, 33, 18), torch.rand(2, 3, 9, 40))
    assert stylized.shape == (2, 3, 33, 18)
    assert 0 <= stylized.min() <= stylized.max() <= 1
    (stylized * torch.randn_like(stylized)).sum().backward()
    dead = [
        name
        for name, value in made.named_parameters()
        if value.requires_grad and (value.grad is None or value.grad.abs().max() < 1e-6)
    ]
    # A bias before an instance normalization is taken away by it.
    assert set(dead) <= {f"content_encoder.{index}.bias" for index in (0, 3, 6)}
    for mix in made.mixes:
        assert mix.weights.requires_grad == learned
        assert (mix.weights.grad is not None) == learned


@torch.no_grad()
def test_the_weights_of_the_codes_choose_between_content_and_style():
    content, style = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    without_style = DualEncoder(width=8, style_weight=0.0)
    assert torch.equal(without_style(content, style), without_style(content, 0.3 * style))
    assert not torch.equal(without_style(content, style), without_style(0.3 * content + 0.2, style.flip(1)))
    without_content = DualEncoder(width=8, content_weight=0.0)
    assert torch.equal(without_content(content, style), without_content(content.flip(2), style))
    assert not torch.equal(without_content(content, style), without_content(content, 0.3 * style))


def test_a_dual_encoder_says_what_is_too_small():
    with pytest.raises(ValueError, match=r"at least 8 pixels, got 40x7"):
        DualEncoder(width=8)(torch.rand(1, 3, 7, 40), torch.rand(1, 3, 16, 16))
