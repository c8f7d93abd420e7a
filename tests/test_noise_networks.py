"""The networks between noise, images and latents: shapes, ranges, gradients, and what they refuse."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, halvings
from scumble.networks.image_discriminators import DCGANDiscriminator, DenseDiscriminator, EncoderDiscriminator
from scumble.networks.labels import append_labels
from scumble.networks.noise_generators import (
    AutoencoderGenerator,
    DCGANGenerator,
    DenseGenerator,
    NoiseGenerator,
    TextureGenerator,
)
from scumble.networks.variational import VariationalAutoencoder

GENERATORS: dict[str, Callable[[int], NoiseGenerator]] = {
    "dense": lambda side: DenseGenerator(side, 3, widths=(8, 12), noise=5),
    "dense with labels": lambda side: DenseGenerator(side, 3, widths=(8, 12), noise=5, classes=4),
    "dcgan": lambda side: DCGANGenerator(side, 3, width=4, noise=5),
    "dcgan with labels": lambda side: DCGANGenerator(side, 3, width=4, noise=5, classes=4),
    "dcgan 5x5": lambda side: DCGANGenerator(side, 3, width=4, noise=5, kernel_size=5, slope=0.01),
    "autoencoder": lambda side: AutoencoderGenerator(side, 3, width=4, code=6),
    "texture": lambda side: TextureGenerator(3, width=2, scales=3),
}
DISCRIMINATORS: dict[str, Callable[[int], nn.Module]] = {
    "dense": lambda side: DenseDiscriminator(side, 3, widths=(8, 6)),
    "dense with labels": lambda side: DenseDiscriminator(side, 3, widths=(8, 6), classes=4),
    "dcgan": lambda side: DCGANDiscriminator(side, 3, width=4),
    "dcgan with labels": lambda side: DCGANDiscriminator(side, 3, width=4, classes=4),
    "dcgan 5x5": lambda side: DCGANDiscriminator(side, 3, width=4, levels=3, kernel_size=5, slope=0.01),
    "without normalization": lambda side: DCGANDiscriminator(side, 3, width=4, normalize=False),
    "encoder": lambda side: EncoderDiscriminator(side, 3, width=4, code=6),
}
LABELS = torch.tensor([3, 1])


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> Callable[[int], NoiseGenerator]:
    return GENERATORS[request.param]


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request: pytest.FixtureRequest) -> Callable[[int], nn.Module]:
    return DISCRIMINATORS[request.param]


def noise_of(network: NoiseGenerator, side: int, count: int = 2) -> Tensor:
    return torch.randn(count, *network.noise_shape(side, side))


def dead_parameters(network: nn.Module, output: Tensor, tiny: float) -> list[str]:
    (output * torch.randn_like(output)).sum().backward()
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or parameter.grad.abs().max() < tiny
    ]


@pytest.mark.parametrize("side", [16, 28, 33, 64])
def test_a_generator_makes_images_of_any_size_in_range(generator: Callable[[int], NoiseGenerator], side: int) -> None:
    network = generator(side)
    for mode in (True, False):
        generated = network.train(mode)(noise_of(network, side), LABELS)
        assert generated.shape == (2, 3, side, side)
        assert 0 <= generated.min() < generated.max() <= 1


def test_every_parameter_of_a_generator_has_a_gradient(generator: Callable[[int], NoiseGenerator]) -> None:
    network = generator(16)
    dead = dead_parameters(network, network(noise_of(network, 16), LABELS), tiny=1e-6)
    # A bias before a normalization is taken away by it.
    normalized = {TextureGenerator: (".0.bias", ".3.bias"), AutoencoderGenerator: ("encoder.head.bias",)}
    assert [name for name in dead if not name.endswith(normalized.get(type(network), ()))] == []


def test_other_noise_makes_another_image(generator: Callable[[int], NoiseGenerator]) -> None:
    network = generator(16)
    with torch.no_grad():
        one, other = network(noise_of(network, 16), torch.tensor([3, 3]))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "texture"])
def test_a_generator_of_one_size_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=r"makes images of 16x16, not of 20x16; in training set generator\.image_size"):
        GENERATORS[name](16).noise_shape(16, 20)


def test_dcgan_has_the_layers_of_the_paper() -> None:
    decoder = DCGANGenerator().decoder
    assert decoder.dense.weight.shape == (4 * 4 * 512, 100)
    widths = [layer.weight.shape[:2] for layer in decoder.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert widths == [(512, 256), (256, 128), (128, 64), (64, 3)]
    encoder = DCGANDiscriminator().encoder
    widths = [layer.weight.shape[:2] for layer in encoder.layers if isinstance(layer, nn.Conv2d)]
    assert widths == [(64, 3), (128, 64), (256, 128), (512, 256)]
    assert encoder.head.weight.shape == (1, 4 * 4 * 512)


def test_dcgan_with_kernels_of_five_takes_256_pixels() -> None:
    network = DCGANDiscriminator(256, width=32, levels=3, kernel_size=5, slope=0.01)
    widths = [layer.weight.shape for layer in network.encoder.layers if isinstance(layer, nn.Conv2d)]
    assert widths == [(32, 3, 5, 5), (64, 32, 5, 5), (128, 64, 5, 5)]
    generator = DCGANGenerator(256, width=2, kernel_size=5)
    with torch.no_grad():
        assert network(generator(torch.randn(1, 100).expand(2, -1))).shape == (2, 1)


@pytest.mark.parametrize(("side", "times"), [(8, 1), (15, 1), (16, 2), (28, 2), (32, 3), (63, 3), (64, 4), (256, 6)])
def test_images_are_halved_to_a_side_of_four_to_eight(side: int, times: int) -> None:
    assert halvings(side) == times
    assert 4 <= -(-side // 2**times) <= 8


@pytest.mark.parametrize("scales", [1, 3, 5])
@pytest.mark.parametrize("size", [(33, 40), (64, 48)])
def test_a_texture_may_have_any_size(scales: int, size: tuple[int, int]) -> None:
    network = TextureGenerator(width=2, scales=scales)
    shape = network.noise_shape(*size)
    assert shape == (3 * scales, *size)
    assert network(torch.randn(1, *shape)).shape == (1, 3, *size)


def test_every_channel_of_a_textures_noise_is_seen() -> None:
    network = TextureGenerator(width=2, scales=3)
    noise = torch.randn(1, 9, 20, 20, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(noise)[..., 10, 10].sum(), noise)
    assert (gradient.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_a_texture_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 17 pixels a side, got 40x16; set generator\.scales lower"):
        TextureGenerator(scales=5).noise_shape(16, 40)


# Discriminators


@pytest.mark.parametrize("side", [16, 28, 33])
def test_a_discriminator_gives_a_logit_for_each_image(discriminator: Callable[[int], nn.Module], side: int) -> None:
    logits = discriminator(side)(torch.rand(2, 3, side, side), LABELS)
    assert logits.shape == (2, 1)
    assert logits.isfinite().all()


def test_every_parameter_of_a_discriminator_has_a_gradient(discriminator: Callable[[int], nn.Module]) -> None:
    network = discriminator(16)
    assert dead_parameters(network, network(torch.rand(2, 3, 16, 16), LABELS), tiny=1e-7) == []


@pytest.mark.parametrize("shape", [(3, 16, 20), (1, 16, 16)])
def test_a_discriminator_says_what_it_takes(discriminator: Callable[[int], nn.Module], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"made for images of 16x16 with . channels, got"):
        discriminator(16)(torch.rand(2, *shape), LABELS)


def test_the_discriminator_of_an_encoder_is_a_linear_function_of_its_code() -> None:
    network = EncoderDiscriminator(16, 1, width=4, code=6).eval()
    images = torch.rand(3, 1, 16, 16)
    code = network.encoder(images * 2 - 1)
    expected = (code * network.logit.weight[0]).sum(dim=1) + network.logit.bias
    torch.testing.assert_close(network(images)[:, 0], expected)


# Labels


def test_labels_become_planes_of_zeros_and_a_one() -> None:
    images = torch.rand(2, 3, 4, 5)
    together = append_labels(images, LABELS, 4)
    assert together.shape == (2, 7, 4, 5)
    assert torch.equal(together[:, :3], images)
    assert together[0, 3:].mean(dim=(1, 2)).tolist() == [0, 0, 0, 1]
    assert together[1, 3:].mean(dim=(1, 2)).tolist() == [0, 1, 0, 0]
    assert append_labels(torch.rand(2, 5), LABELS, 4).shape == (2, 9)
    assert append_labels(images, LABELS, 0) is images


@pytest.mark.parametrize("name", ["dense with labels", "dcgan with labels"])
def test_a_network_with_classes_looks_at_the_labels(name: str) -> None:
    generator, discriminator = GENERATORS[name](16).eval(), DISCRIMINATORS[name](16).eval()
    assert isinstance(generator, NoiseGenerator)
    noise, images = noise_of(generator, 16), torch.rand(2, 3, 16, 16)
    assert not torch.equal(generator(noise, LABELS), generator(noise, LABELS.flip(0)))
    assert not torch.equal(discriminator(images, LABELS), discriminator(images, LABELS.flip(0)))
    for network, inputs in ((generator, noise), (discriminator, images)):
        with pytest.raises(ValueError, match="needs labels: data with labels"):
            network(inputs)


# Encoder, decoder, variational autoencoder


def test_a_decoder_can_draw_an_image_that_no_vector_asks_for() -> None:
    decoder = ConvolutionalDecoder(5, 16, 1, width=4)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    ramp = torch.linspace(-1, 1, 16).expand(2, 1, 16, 16)
    for _ in range(100):
        loss = F.mse_loss(decoder(torch.zeros(2, 5)), ramp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Measured: 0.0007; without a bias in the dense layer, where the mean of the vectors has to hold the image, 0.09.
    assert float(loss.detach()) < 0.01


def test_an_encoder_is_convolutions_as_written() -> None:
    encoder = ConvolutionalEncoder(2, 8, 1, width=3, levels=2, normalize=False)
    images = torch.randn(2, 1, 8, 8)
    first, _, second, _ = encoder.layers
    hidden = F.leaky_relu(F.conv2d(images, first.weight, first.bias, stride=2, padding=1), 0.2)
    hidden = F.leaky_relu(F.conv2d(hidden, second.weight, second.bias, stride=2, padding=1), 0.2)
    torch.testing.assert_close(encoder(images), hidden.flatten(1) @ encoder.head.weight.T + encoder.head.bias)


def test_weights_start_small() -> None:
    decoder = ConvolutionalDecoder(50, 32, width=16)
    assert decoder.dense.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: halvings(7), "image_size must be at least 8, got 7"),
        (lambda: ConvolutionalEncoder(1, 16, levels=0), "levels must be at least 1, got 0"),
        (lambda: ConvolutionalEncoder(1, 16, levels=5), "5 halvings leave nothing of 16 pixels"),
        (lambda: ConvolutionalEncoder(1, 16, kernel_size=2), "kernel_size must be at least 3, got 2"),
        (lambda: DCGANGenerator(16, width=0), "width must be at least 1, got 0"),
        (lambda: DenseGenerator(16, widths=(4, 0)), r"widths\[2\] must be at least 1, got 0"),
        (lambda: TextureGenerator(scales=0), "scales must be at least 1, got 0"),
    ],
)
def test_impossible_networks_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("side", [16, 28])
def test_the_variational_autoencoder(side: int) -> None:
    network = VariationalAutoencoder(side, 2, width=4, latent=3)
    images = torch.rand(4, 2, side, side)
    mean, log_variance = network.encode(images)
    assert mean.shape == log_variance.shape == (4, 3)
    logits = network.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
    assert logits.shape == images.shape
    assert dead_parameters(network, logits, tiny=1e-7) == []
    reconstruction = network(images)
    assert 0 < reconstruction.min() < reconstruction.max() < 1
