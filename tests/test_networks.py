from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.images import read_image, to_float
from scumble.networks.discriminators import MultiscaleDiscriminator, PatchDiscriminator
from scumble.networks.feature_fusion import AdaIN
from scumble.networks.generators import ResidualAttention, recolour
from scumble.networks.layers import Frozen, SelfAttention, adaptive_instance_normalization, convolution
from scumble.networks.perceptual_encoders import DistilledEncoder, random_encoder, vgg19_normalised
from scumble.networks.texture import texture_of, typical_blocks
from scumble.statistics import channel_moments


def residual_attention(style_injection: str = "adain", paint_over: bool = False) -> ResidualAttention:
    network = ResidualAttention(8, 2, code=16, style_injection=style_injection, paint_over=paint_over)  # type: ignore[arg-type]
    nn.init.constant_(network.attention.gain, 0.5)  # at its start, 0, attention has no say and no gradient
    return network


GENERATORS: dict[str, Callable[[], nn.Module]] = {
    "adain": lambda: residual_attention(),
    "painting over": lambda: residual_attention(paint_over=True),
    "concatenation": lambda: residual_attention("concatenation"),
    "distilled features": lambda: AdaIN(DistilledEncoder(weights=None)),
    "random features": lambda: AdaIN(random_encoder()),
}
DISCRIMINATORS: dict[str, Callable[[], nn.Module]] = {
    f"{'multiscale' if multiscale else 'patch'}{' conditional' * conditional}{' spectral' * spectral}": (
        lambda multiscale=multiscale, options={"conditional": conditional, "spectral": spectral}: (
            MultiscaleDiscriminator(scales=2, width=4, layers=2, **options)
            if multiscale
            else PatchDiscriminator(width=4, layers=2, **options)
        )
    )
    for multiscale in (False, True)
    for conditional in (False, True)
    for spectral in (False, True)
}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> nn.Module:
    return GENERATORS[request.param]()


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request: pytest.FixtureRequest) -> nn.Module:
    return DISCRIMINATORS[request.param]()


def scales(logits: Tensor | list[Tensor]) -> list[Tensor]:
    return [logits] if isinstance(logits, Tensor) else logits


def dead_parameters(network: nn.Module, output: Tensor, tiny: float) -> list[str]:
    """The parameters whose gradient is missing, not finite, or negligible for every entry."""
    (output * torch.randn_like(output)).sum().backward()
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or parameter.grad.abs().max() < tiny
    ]


# Generators


@pytest.mark.parametrize(
    ("content_size", "style_size"),
    [((32, 32), (32, 32)), ((33, 29), (21, 40)), ((16, 47), (17, 16)), ((31, 18), (64, 25))],
)
def test_a_generator_keeps_the_size_of_the_content_and_the_range(
    generator: nn.Module, content_size: tuple[int, int], style_size: tuple[int, int]
):
    for mode in (True, False):
        generator.train(mode)
        with torch.no_grad():
            stylized = generator(torch.rand(2, 3, *content_size), torch.rand(2, 3, *style_size))
        assert stylized.shape == (2, 3, *content_size)
        assert stylized.isfinite().all()
        if not mode or isinstance(generator, ResidualAttention):  # AdaIN leaks a little in training, for its gradient
            assert stylized.min() >= 0
            assert stylized.max() <= 1


def test_every_parameter_of_a_generator_has_a_gradient(generator: nn.Module):
    dead = dead_parameters(generator, generator(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)), tiny=1e-5)
    # A bias before an instance normalization is taken away by it.
    normalized = {"attention.key_value.bias", "attention.out.bias", "fuse.bias"}
    normalized |= {f"content_encoder.{index}.bias" for index in (0, 3, 6)}
    assert [name for name in dead if name not in normalized and not name.endswith(".convolution.bias")] == []


def test_a_generator_uses_content_and_style(generator: nn.Module):
    generator.eval()
    content, style = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        if isinstance(generator, AdaIN):  # an untrained decoder's output lies about 0, where it would be clamped
            nn.init.constant_(generator.decoder[-1].bias, 0.5)
        stylized = generator(content, style)
        # An untrained decoder changes little, but a hundred times more than rounding does.
        assert (generator(content, 0.2 * style) - stylized).abs().max() > 1e-5
        assert (generator(content.flip(-1), style) - stylized).abs().max() > 1e-5


def test_the_images_of_a_batch_do_not_mix(generator: nn.Module):
    generator.eval()
    content, style = torch.rand(3, 3, 24, 24), torch.rand(3, 3, 24, 24)
    with torch.no_grad():
        together = generator(content, style)
        alone = torch.cat([generator(content[i : i + 1], style[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_a_generator_leaves_no_checkerboard(generator: nn.Module):
    generator.double().eval()
    if isinstance(generator, AdaIN):
        nn.init.constant_(generator.decoder[-1].bias, 0.5)
    with torch.no_grad():
        stylized = generator(torch.full((1, 3, 256, 256), 0.4).double(), torch.full((1, 3, 32, 32), 0.7).double())
    stylized = stylized[..., 96:160, 96:160]  # where nobody sees the borders, which some encoders pad with zeros
    # Only the colours of a flat image may change in a flat style, which has no texture to lay in: a transposed
    # convolution would print its grid on it.
    spectrum = torch.fft.rfft2(stylized - stylized.mean(dim=(2, 3), keepdim=True)).abs() / 64**2
    assert spectrum[..., 32, :].max() < 1e-5
    assert spectrum[..., :, 32].max() < 1e-5


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_says_what_is_too_small(name: str):
    generator = GENERATORS[name]()
    least = generator.minimum_side
    good = torch.rand(1, 3, least, least)
    assert generator(good, good).shape == good.shape
    for small in (torch.rand(1, 3, least - 1, 40), torch.rand(1, 3, 40, least - 1)):
        size = f"{small.shape[-1]}x{small.shape[-2]}"
        with pytest.raises(ValueError, match=rf"at least {least} pixels, got {size}"):
            generator(small, good)
        with pytest.raises(ValueError, match=rf"at least {least} pixels, got {size}"):
            generator(good, small)


def test_recolouring_gives_the_moments_of_the_style():
    content, style = (
        torch.rand(2, 3, 16, 20),
        0.4 + 0.1 * torch.rand(2, 3, 9, 9),
    )  # far from 0 and 1: nothing is clamped
    for found, expected in zip(channel_moments(recolour(content, style)), channel_moments(style), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_recolouring_stays_in_range():
    recoloured = recolour(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16).round())
    assert recoloured.min() == 0
    assert recoloured.max() == 1


def test_a_generator_that_paints_over_starts_at_the_recoloured_content():
    generator = residual_attention(paint_over=True)
    nn.init.zeros_(generator.to_rgb.weight)
    nn.init.zeros_(generator.to_rgb.bias)  # type: ignore[arg-type]
    content, style = torch.rand(1, 3, 17, 22), torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(generator(content, style), recolour(content, style).clamp(0.02, 0.98))


def test_generators_refuse_unknown_settings():
    with pytest.raises(ValueError, match=r"style_injection must be adain or concatenation, got 'sum'"):
        ResidualAttention(style_injection="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 1.5"):
        AdaIN(DistilledEncoder(weights=None), alpha=1.5)
    with pytest.raises(ValueError, match="10 channels and 4 heads"):
        SelfAttention(10, heads=4)


def test_adain_refuses_a_decoder_of_other_weights(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"1.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: not weights of this network"):
        AdaIN(DistilledEncoder(weights=None), decoder_weights=tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"relu4_1 alone, and the config has relu2_1 as well; set generator\.adain_l"):
        AdaIN(DistilledEncoder(weights=None), decoder_weights=tmp_path / "other.safetensors", adain_layers=["relu2_1"])
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors; set generator\.decoder_weights=PATH"):
        AdaIN(DistilledEncoder(weights=None), decoder_weights=tmp_path / "absent.safetensors")


def test_a_saturated_pixel_of_adain_still_has_a_gradient_in_training():
    generator = AdaIN(DistilledEncoder(weights=None))
    nn.init.constant_(generator.decoder[-1].bias, 5.0)
    content = torch.rand(1, 3, 16, 16)
    generator(content, content).mean().backward()
    assert generator.decoder[-1].bias.grad.abs().min() > 1e-3
    with torch.no_grad():
        assert generator.eval()(content, content).max() == 1


# The published AdaIN


@pytest.fixture(scope="module")
def published(shared: Path) -> AdaIN:
    weights = shared / "weights"
    return AdaIN(
        vgg19_normalised(weights / "vgg19_normalised_relu4_1.safetensors"),
        decoder_weights=weights / "adain_decoder.safetensors",
    ).eval()


def square(path: Path, side: int = 192) -> Tensor:
    image = to_float(read_image(path, shorter_side=side))
    return image[None, :, :side, :side]


@pytest.fixture(scope="module")
def pair(shared: Path) -> tuple[Tensor, Tensor]:
    styles = sorted((shared / "images" / "style").glob("known-*"))
    return square(shared / "images" / "content" / "kodak-kodim23.jpg"), square(styles[0])


def layout(images: Tensor) -> Tensor:
    """Where it is light and where dark, and where there are edges, at a coarse size, normalised."""
    luminance = images.mean(dim=1, keepdim=True)
    vertical, horizontal = luminance.diff(dim=2).abs(), luminance.diff(dim=3).abs()
    maps = [F.adaptive_avg_pool2d(each, 16).flatten() for each in (luminance, vertical, horizontal)]
    return torch.stack([(each - each.mean()) / each.std() for each in maps])


def correlations(one: Tensor, other: Tensor) -> Tensor:
    return (layout(one) * layout(other)).mean(dim=1)


def style_distance(encoder: nn.Module, one: Tensor, other: Tensor) -> float:
    means, deviations = zip(*(channel_moments(encoder(image)["relu4_1"]) for image in (one, other)), strict=True)
    return float((means[0] - means[1]).square().mean() + (deviations[0] - deviations[1]).square().mean())


@torch.no_grad()
def test_the_published_adain_takes_the_style_and_keeps_the_layout(published: AdaIN, pair: tuple[Tensor, Tensor]):
    content, style = pair
    stylized = published(content, style)
    encoder = published.encoder
    untouched = style_distance(encoder, content, style)
    assert style_distance(encoder, stylized, style) < 0.2 * untouched
    parts = [part for row in content.chunk(4, dim=2) for part in row.chunk(4, dim=3)]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    rows = [torch.cat([parts[i] for i in order[start : start + 4]], dim=3) for start in range(0, 16, 4)]
    shuffled = torch.cat(rows, dim=2)
    kept, chance = correlations(stylized, content), correlations(stylized, shuffled)
    assert kept[0] > 0.4
    assert kept.mean() > chance.mean() + 0.3


@torch.no_grad()
def test_the_published_adain_at_alpha_zero_is_the_content(published: AdaIN, pair: tuple[Tensor, Tensor]):
    content, style = pair
    plain = deepcopy(published)
    plain.alpha = 0.0
    reconstructed = plain(content, style)
    assert torch.corrcoef(torch.stack([reconstructed.flatten(), content.flatten()]))[0, 1] > 0.9
    plain.alpha = 0.5  # half way, in features and so in style
    distances = [style_distance(published.encoder, image, style) for image in (reconstructed, plain(content, style))]
    assert style_distance(published.encoder, published(content, style), style) < distances[1] < distances[0]


@torch.no_grad()
def test_the_published_adain_takes_any_size(published: AdaIN, pair: tuple[Tensor, Tensor]):
    content, style = pair
    odd = published(content[..., :45, :51], style[..., :61, :40])
    assert odd.shape == (1, 3, 45, 51)
    assert torch.corrcoef(torch.stack([odd.mean(1).flatten(), content[..., :45, :51].mean(1).flatten()]))[0, 1] > 0.3


def test_the_published_decoder_has_the_keys_of_its_file(shared: Path, published: AdaIN):
    stored = load_file(shared / "weights" / "adain_decoder.safetensors")
    assert {name: tensor.shape for name, tensor in published.decoder.state_dict().items()} == {
        name: tensor.shape for name, tensor in stored.items()
    }
    assert set(published.state_dict()) == {f"decoder.{name}" for name in stored}  # the encoder is not saved


# Discriminators


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (16, 21)])
def test_a_discriminator_gives_a_logit_per_patch(discriminator: nn.Module, size: tuple[int, int]):
    logits = scales(discriminator(torch.rand(2, 3, *size), torch.rand(2, 3, 24, 24)))
    height, width = size
    for scale in logits:
        assert scale.shape == (2, 1, height // 4, width // 4)
        assert scale.isfinite().all()
        height, width = (height + 1) // 2, (width + 1) // 2
    assert len(logits) == (2 if isinstance(discriminator, MultiscaleDiscriminator) else 1)


def test_every_parameter_of_a_discriminator_has_a_gradient(discriminator: nn.Module):
    logits = discriminator(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    together = torch.cat([scale.flatten() for scale in scales(logits)])
    assert dead_parameters(discriminator, together, tiny=1e-7) == []


def test_a_discriminator_can_be_penalised(discriminator: nn.Module):
    from scumble.losses.adversarial import gradient_penalty

    real, fake = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    gradient_penalty(lambda images: discriminator(images, real), real, fake).backward()
    gradients = [parameter.grad for name, parameter in discriminator.named_parameters() if "weight" in name]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0  # type: ignore[union-attr]


def test_a_discriminator_says_what_is_too_small(discriminator: nn.Module):
    least = discriminator.minimum_side
    assert least == (16 if isinstance(discriminator, MultiscaleDiscriminator) else 8)
    with pytest.raises(ValueError, match=rf"at least {least}, got 40x{least - 1}; set data\.image_size"):
        discriminator(torch.rand(1, 3, least - 1, 40), torch.rand(1, 3, 32, 32))


def test_only_a_conditional_discriminator_looks_at_the_condition():
    images = torch.rand(2, 3, 16, 16)
    plain = PatchDiscriminator(width=4, layers=2).eval()
    conditional = PatchDiscriminator(width=4, layers=2, conditional=True).eval()
    one, other = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 20, 24) ** 4
    assert torch.equal(plain(images, one), plain(images))
    assert not torch.allclose(conditional(images, one), conditional(images, other))
    with pytest.raises(ValueError, match="needs the style image as its condition"):
        conditional(images)


def test_spectral_normalization_bounds_every_layer():
    discriminator = PatchDiscriminator(width=4, layers=2, conditional=True)
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.normal_(layer.parametrizations.weight.original, std=3.0)  # type: ignore[union-attr]
    for _ in range(30):  # one step of the power method each
        discriminator(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    discriminator.eval()
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(1.0, abs=0.1)


def test_discriminators_refuse_no_layers_and_no_scales():
    with pytest.raises(ValueError, match=r"layers must be at least 1, got 0"):
        PatchDiscriminator(layers=0)
    with pytest.raises(ValueError, match=r"scales must be at least 1, got 0"):
        MultiscaleDiscriminator(scales=0)


# Layers


def test_adaptive_instance_normalization_gives_the_moments_of_the_style():
    features, style = 3 * torch.rand(2, 4, 9, 7) + 1, torch.randn(2, 4, 5, 5)
    mean, deviation = channel_moments(style)
    moments = channel_moments(adaptive_instance_normalization(features, mean, deviation))
    torch.testing.assert_close(moments[0], mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moments[1], deviation, atol=1e-4, rtol=1e-3)


def test_adaptive_instance_normalization_with_its_own_moments_changes_nothing():
    features = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(adaptive_instance_normalization(features, *channel_moments(features)), features)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 8), (5, 5)])
def test_a_convolution_keeps_constants_and_rounds_sizes_up(stride: int, size: tuple[int, int]):
    layer = convolution(3, 2, stride=stride)
    maps = layer(torch.ones(1, 3, *size))
    assert maps.shape[-2:] == tuple(-(-side // stride) for side in size)
    torch.testing.assert_close(maps, maps[..., :1, :1].expand_as(maps))  # reflection: no border of zeros


def test_self_attention_starts_as_the_identity_and_sees_everything():
    attention = SelfAttention(8, heads=2, grid=4)
    features = torch.randn(1, 8, 6, 9, requires_grad=True)
    assert torch.equal(attention(features), features)
    nn.init.constant_(attention.gain, 1.0)
    (gradient,) = torch.autograd.grad(attention(features)[0, :, 0, 0].square().sum(), features)
    assert (gradient.abs().sum(dim=(0, 1)) > 0).all()  # one position depends on all of them


def test_self_attention_is_softmax_of_scaled_products():
    attention = SelfAttention(4, heads=2, grid=16)
    nn.init.constant_(attention.gain, 0.7)
    features = torch.randn(1, 4, 3, 3)
    normalized = F.instance_norm(features)
    query = attention.query(normalized)[0].flatten(1)
    key, value = attention.key_value(normalized)[0].flatten(1).chunk(2)
    attended = torch.empty(4, 9)
    for head in range(2):
        rows = slice(2 * head, 2 * head + 2)
        for position in range(9):
            weights = torch.softmax(query[rows, position] @ key[rows] / 2**0.5, dim=0)
            attended[rows, position] = value[rows] @ weights
    expected = features + 0.7 * attention.out(attended.reshape(1, 4, 3, 3))
    torch.testing.assert_close(attention(features), expected, atol=1e-5, rtol=1e-4)


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.frozen = Frozen(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_a_frozen_network_is_not_of_its_owner():
    owner = Owner()
    assert set(owner.state_dict()) == {"head.weight", "head.bias"}
    assert len(list(owner.parameters())) == 2
    assert list(owner.buffers()) == []
    assert not any(parameter.requires_grad for parameter in owner.frozen.network.parameters())


def test_a_frozen_network_stays_in_evaluation_mode():
    owner = Owner().train()
    assert owner.head.training
    assert not owner.frozen.network.training
    before = deepcopy(owner.frozen.network.state_dict())
    owner.frozen(torch.randn(8, 2))  # batch normalization in training mode would update its statistics
    assert all(torch.equal(before[name], value) for name, value in owner.frozen.network.state_dict().items())


def test_a_frozen_network_moves_with_its_owner_and_lets_gradients_through():
    owner = Owner().to(torch.float64)
    inputs = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    output = owner.frozen(inputs)
    assert output.dtype == torch.float64
    output.sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0


def test_a_deep_copy_shares_the_frozen_network_only():
    owner = Owner()
    copy = deepcopy(owner)
    assert copy.frozen.network is owner.frozen.network
    assert copy.frozen is not owner.frozen
    assert copy.head.weight is not owner.head.weight


# The texture of a style


@pytest.mark.parametrize(("height", "width", "block"), [(8, 8, 2), (32, 48, 16), (37, 51, 16), (4, 4, 16), (5, 2, 1)])
def test_blocks_change_places_and_none_stays(height: int, width: int, block: int):
    maps = torch.arange(2.0 * height * width).reshape(1, 2, height, width)
    laid = typical_blocks(maps, block)
    assert laid.shape == maps.shape
    assert not (laid == maps).any()
    assert torch.equal(typical_blocks(maps, block), laid), "always in the same way"
    assert torch.isin(laid, maps).all()
    size = min(block, height // 2, width // 2)
    inside = laid[..., :size, :size]  # a block is whole: its neighbours are those that it had
    assert torch.equal(inside - inside[..., :1, :1], maps[..., :size, :size] - maps[..., :1, :1])


def test_the_blocks_of_each_image_are_those_with_the_middle_energies():
    energies = torch.stack([torch.randperm(24), torch.randperm(24)]).float()
    maps = F.interpolate(energies.reshape(2, 1, 4, 6), scale_factor=8)
    for image in typical_blocks(maps, 8):
        assert set(image.unique().tolist()) <= set(range(6, 18))
        assert len(image.unique()) > 8


def test_a_frame_around_a_painting_is_not_its_texture():
    painting = 0.5 + 0.05 * torch.randn(1, 3, 128, 128)
    framed = painting.clone()
    framed[..., :14, :] = framed[..., -14:, :] = 1
    plain, found = (texture_of(images, window=7, block=16) for images in (painting, framed))
    assert found.abs().max() < 1.5 * plain.abs().max()
    torch.testing.assert_close(found.std(), plain.std(), atol=0.02, rtol=0)


def test_texture_is_the_detail_with_a_deviation_of_1():
    style = torch.rand(2, 3, 48, 64)
    texture = texture_of(5 * style + 2, window=7, block=16)
    torch.testing.assert_close(texture.std(dim=(2, 3), correction=0), torch.ones(2, 3), atol=1e-2, rtol=0)
    slow = torch.linspace(0, 1, 64).expand(1, 1, 48, 64)  # a ramp is no texture, but at its borders
    assert texture_of(style[:1, :1] + 3 * slow, window=7, block=16).mean().abs() < 0.05


def test_a_flat_style_has_no_texture():
    assert texture_of(torch.full((1, 3, 32, 32), 0.7), window=7, block=16).abs().max() < 1e-4
