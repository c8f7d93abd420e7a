"""Generators that look at the content alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.image_to_image import ResNet, UNet
from scumble.networks.light_curves import LightCurves

GENERATORS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNet(4, 2),
    "resnet residual": lambda: ResNet(4, 1, normalization="none", residual=True),
    "resnet transposed": lambda: ResNet(4, 3, upsampling="transposed"),
    "resnet without aliases": lambda: ResNet(4, 2, downsampling="blurred", upsampling="bilinear"),
    "resnet with grain": lambda: ResNet(4, 2, grain=0.5),
    "unet": lambda: UNet(4, levels=3, residual=False),
    "unet residual": lambda: UNet(4, levels=4),
    "light curves": lambda: LightCurves(8),
}


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> nn.Module:
    return started(GENERATORS[request.param]())


def started(generator: nn.Module) -> nn.Module:
    """The generator after its start, at which a residual one is the identity and has no gradient but in one layer."""
    if getattr(generator, "residual", False):
        generator.to_rgb.reset_parameters()  # type: ignore[operator, union-attr]
    return generator


@pytest.mark.parametrize("size", [(32, 32), (33, 29), (16, 47)])
def test_a_generator_keeps_size_and_range(generator: nn.Module, size: tuple[int, int]):
    content = torch.rand(2, 3, *size)
    for mode in (True, False):
        generator.train(mode)
        with torch.no_grad():
            stylized = generator(content)
        assert stylized.shape == content.shape
        assert stylized.isfinite().all()
        if not mode or not getattr(generator, "residual", False):
            assert 0 <= stylized.min() <= stylized.max() <= 1


def test_every_parameter_of_a_generator_has_a_gradient(generator: nn.Module):
    output = generator(torch.rand(2, 3, 32, 32))
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-6, name


def test_the_style_is_not_looked_at_and_images_do_not_mix(generator: nn.Module):
    generator.eval()
    content = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        stylized = generator(content)
        assert torch.equal(generator(content, torch.rand(2, 3, 9, 9)), stylized)
        torch.testing.assert_close(generator(content[1:]), stylized[1:], atol=1e-5, rtol=1e-4)
        assert (generator(content.flip(0)) - stylized).abs().max() > 1e-3


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_says_what_is_too_small(name: str):
    generator = GENERATORS[name]()
    least: int = generator.minimum_side  # type: ignore[assignment]
    assert generator(torch.rand(1, 3, least, least)).shape == (1, 3, least, least)
    with pytest.raises(ValueError, match=rf"at least {least} pixels, got {least - 1}x40"):
        generator(torch.rand(1, 3, 40, least - 1))


@pytest.mark.parametrize("name", ["resnet residual", "unet residual"])
def test_a_residual_generator_starts_as_the_identity(name: str):
    content = torch.rand(1, 3, 21, 18)
    for mode in (True, False):
        assert torch.equal(GENERATORS[name]().train(mode)(content), content)


@pytest.mark.parametrize("name", ["resnet residual", "unet residual"])
def test_a_saturated_pixel_has_a_gradient_in_training(name: str):
    generator = GENERATORS[name]()
    nn.init.constant_(generator.to_rgb.bias, 3.0)  # type: ignore[union-attr, arg-type]
    generator(torch.rand(1, 3, 16, 16)).mean().backward()
    assert generator.to_rgb.bias.grad.abs().min() > 1e-3  # type: ignore[union-attr]
    assert generator.eval()(torch.rand(1, 3, 16, 16)).max() == 1


def checkerboard(generator: nn.Module) -> float:
    """The strength of the finest stripes in what becomes of a flat image, far from the border."""
    generator.double().eval()
    with torch.no_grad():
        stylized = generator(torch.full((1, 3, 64, 64), 0.4).double())[..., 16:48, 16:48]
    spectrum = torch.fft.rfft2(stylized - stylized.mean(dim=(2, 3), keepdim=True)).abs() / 32**2
    return max(spectrum[..., 16, :].max().item(), spectrum[..., 16].max().item())


def test_nearest_neighbours_leave_no_checkerboard_and_transposed_convolutions_do():
    assert checkerboard(started(ResNet(4, 2, normalization="none"))) < 1e-8
    assert checkerboard(started(UNet(4))) < 1e-8
    assert checkerboard(started(ResNet(4, 2, normalization="none", upsampling="transposed"))) > 1e-5


def test_blurred_halving_is_the_strided_convolution_with_binomial_weights():
    features = torch.randn(2, 3, 10, 8)
    weights = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16
    padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
    expected = F.conv2d(padded, weights.expand(3, 1, 3, 3), stride=2, groups=3)
    halving = ResNet(3, 1, downsampling="blurred").encoder[1][-1]  # type: ignore[index]
    torch.testing.assert_close(halving(features), expected)


def test_a_resnet_without_aliases_follows_a_photograph_that_moves_by_a_pixel():
    content = torch.rand(1, 3, 65, 65)

    def change(**settings: str) -> float:
        torch.manual_seed(0)
        generator = ResNet(8, 2, normalization="none", **settings).eval()  # type: ignore[arg-type]
        with torch.no_grad():
            first, second = generator(content[..., :64, :64]), generator(content[..., 1:, 1:])
        moved = first[..., 17:49, 17:49] - second[..., 16:48, 16:48]  # far from the border
        return (moved.std() / first.std()).item()

    # Measured: of the deviation of the image 0.005 and 0.2.
    assert change(downsampling="blurred", upsampling="bilinear") < 0.2 * change()


def test_grain_is_the_same_noise_for_every_image_and_travels_with_the_weights():
    flat = torch.full((2, 3, 160, 80), 0.4)
    generator, other = (ResNet(4, 1, normalization="none", grain=0.5).eval() for _ in range(2))
    with torch.no_grad():
        first, second = generator(flat)
        assert first.std() > 1e-3
        torch.testing.assert_close(first, second)
        assert torch.equal(generator(flat), generator(flat))
        assert not torch.allclose(other(flat)[0], first)
        other.load_state_dict(generator.state_dict())
        assert torch.equal(other(flat), generator(flat))
        for name, strength in generator.named_parameters():
            if name.endswith("strength"):
                nn.init.zeros_(strength)
        assert generator(flat)[..., 16:-16, 16:-16].std(dim=(2, 3)).max() < 1e-5


def test_the_features_of_a_photograph_have_no_grain():
    generator = ResNet(4, 1, grain=0.5)
    images = torch.rand(1, 3, 32, 32)
    before = generator.encode(images)
    nn.init.constant_(generator.decoder[0].strength, 9.0)
    torch.testing.assert_close(generator.encode(images), before)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_the_features_of_a_resnet_have_the_promised_channels(blocks: int):
    generator = ResNet(4, blocks)
    images = torch.rand(2, 3, 30, 32)
    features = generator.encode(images)
    assert [maps.shape[1] for maps in features] == generator.feature_channels
    assert [maps.shape[-1] for maps in features][:3] == [32, 16, 8]
    torch.testing.assert_close(features[0][..., :30, :], images * 2 - 1)


def test_the_features_are_those_on_the_way_to_the_image():
    generator = ResNet(4, 4).eval()
    seen: dict[str, Tensor] = {}
    for name in ("encoder.1", "encoder.2", "blocks.0", "blocks.2"):
        generator.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    images = torch.rand(1, 3, 32, 32)
    generator(images)
    expected = [seen[name].clone() for name in ("encoder.1", "encoder.2", "blocks.0", "blocks.2")]
    for found, wanted in zip(generator.encode(images)[1:], expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_normalization_takes_the_contrast_away_and_none_keeps_it():
    content = torch.rand(1, 3, 32, 32)
    for normalization, keeps in (("instance", False), ("none", True)):
        features = ResNet(8, 1, normalization=normalization).encode  # type: ignore[arg-type]
        inverse = (0.5 + 0.2 * (content - 0.5)).clamp(0, 1)
        ratio = (features(inverse)[2].std() / features(content)[2].std()).item()
        assert (ratio < 0.7) == keeps


# Light curves


def test_light_curves_are_the_iterated_formula():
    generator = started(LightCurves(8, iterations=3)).eval()
    content = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        stylized, curves = generator(content), generator.curves(content)  # type: ignore[operator]
    for channel, row, column in ((0, 3, 5), (2, 30, 17)):
        value, a = content[0, channel, row, column].item(), curves[0, channel, row, column].item()
        for _ in range(3):
            value = value + a * value * (1 - value)
        assert stylized[0, channel, row, column].item() == pytest.approx(value, abs=1e-5)


def test_light_curves_keep_black_and_white_and_the_order_of_values():
    generator = LightCurves(8)
    nn.init.constant_(generator.to_curves.bias, 3.0)  # type: ignore[arg-type]
    nn.init.zeros_(generator.to_curves.weight)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    light = generator(ramp)
    assert light[..., 0].abs().max() == 0
    torch.testing.assert_close(light[..., -1], torch.ones_like(light[..., -1]))
    assert (light.diff(dim=-1) >= -1e-6).all()
    assert light[..., 8].min() > 0.9


def test_generators_refuse_unknown_settings():
    with pytest.raises(ValueError, match=r"generator.normalization must be instance or none, got 'batch'"):
        ResNet(4, 1, normalization="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"generator.downsampling must be strided or blurred, got 'pooled'"):
        ResNet(4, 1, downsampling="pooled")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"upsampling must be nearest or bilinear or transposed, got 'bicubic'"):
        ResNet(4, 1, upsampling="bicubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"generator.grain must be a strength of at least 0 \(0: none\), got -1"):
        ResNet(4, 1, grain=-1)
    with pytest.raises(ValueError, match=r"residual_blocks must be at least 1, got 0"):
        ResNet(4, 0)
    with pytest.raises(ValueError, match=r"generator.levels must be at least 2, got 1"):
        UNet(4, levels=1)
    with pytest.raises(ValueError, match=r"at least 1, got 0 and 4"):
        LightCurves(4, iterations=0)
