"""Generators of images from noise: G(noise, labels) -> generated, (B, C, H, W) in [0, 1].

Each says with ``noise_shape(height, width)`` what noise one image of that size is made of; the noise is standard
normal. Inside, images are in [-1, 1], the range of tanh.
"""

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, check_at_least
from scumble.networks.labels import append_labels
from scumble.networks.layers import convolution


class NoiseGenerator(nn.Module):
    """A generator that says what noise it takes."""

    @abstractmethod
    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        """The shape of the noise of one image of this size. Raises: ValueError if it makes no such image."""


class DenseGenerator(NoiseGenerator):
    """Dense layers with LeakyReLU: the generator of the first GAN.

    Shape: noise (B, noise) and, with ``classes``, labels (B,); returns (B, channels, image_size, image_size).
    Source: Goodfellow et al. 2014, section 5, https://arxiv.org/abs/1406.2661; with labels Mirza and Osindero 2014,
    https://arxiv.org/abs/1411.1784.
    Departs from the paper: LeakyReLU and normal noise in place of ReLU and uniform noise.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        widths: Sequence[int] = (128, 256),
        noise: int = 100,
        classes: int = 0,
        slope: float = 0.2,
    ):
        super().__init__()
        check_at_least(1, image_size=image_size, channels=channels, noise=noise)
        self.image_size, self.channels, self.noise, self.classes = image_size, channels, noise, classes
        self.layers = dense_layers([noise + classes, *widths, channels * image_size**2], slope)

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        check_generated_size(self.image_size, height, width)
        return (self.noise,)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        flat = self.layers(append_labels(noise, labels, self.classes))
        return to_unit_range(flat.unflatten(1, (self.channels, self.image_size, self.image_size)))


class DCGANGenerator(NoiseGenerator):
    """A dense layer to a small image of many channels, then transposed convolutions that double it.

    At 64x64 with ``width=64``: 4x4x512, then 8x8x256, 16x16x128, 32x32x64, 64x64x3; at other sizes with fewer or more
    layers (:class:`ConvolutionalDecoder`).
    Shape: noise (B, noise) and, with ``classes``, labels (B,); returns (B, channels, image_size, image_size).
    Source: Radford et al. 2016, section 3, figure 1, https://arxiv.org/abs/1511.06434.
    Departs from the paper: LeakyReLU and normal noise in place of ReLU and uniform noise.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        noise: int = 100,
        kernel_size: int = 4,
        slope: float = 0.2,
        classes: int = 0,
    ):
        super().__init__()
        check_at_least(1, noise=noise)
        self.image_size, self.noise, self.classes = image_size, noise, classes
        self.decoder = ConvolutionalDecoder(noise + classes, image_size, channels, width, kernel_size, slope)

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        check_generated_size(self.image_size, height, width)
        return (self.noise,)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return to_unit_range(self.decoder(append_labels(noise, labels, self.classes)))


class AutoencoderGenerator(NoiseGenerator):
    """decoder(encoder(noise)), where the noise is an image.

    The encoder of :class:`ConvolutionalEncoder` turns a noise image into a code of ``code`` numbers, the decoder of
    DCGAN the code, normalized over the batch, into an image of the same size.
    Shape: noise (B, channels, image_size, image_size); returns the same shape.
    """

    def __init__(
        self,
        image_size: int = 32,
        channels: int = 1,
        width: int = 64,
        code: int = 100,
        kernel_size: int = 4,
        slope: float = 0.2,
    ):
        super().__init__()
        self.image_size, self.channels = image_size, channels
        self.encoder = ConvolutionalEncoder(code, image_size, channels, width, None, kernel_size, slope)
        # An encoder averages noise away: without this all codes, and soon all images, are nearly the same.
        self.normalize = nn.BatchNorm1d(code, affine=False)
        self.decoder = ConvolutionalDecoder(code, image_size, channels, width, kernel_size, slope)

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        check_generated_size(self.image_size, height, width)
        return (self.channels, self.image_size, self.image_size)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return to_unit_range(self.decoder(self.normalize(self.encoder(noise))))


class TextureGenerator(NoiseGenerator):
    """Convolutions of noise at several scales, from coarse to fine: a texture of any size.

    The noise has three channels for each scale, from which scale k takes every 2^k-th position: independent noise at
    every scale. From the coarsest on, features are doubled by nearest neighbours and joined with the features of the
    next noise; a scale adds ``width`` channels.
    Shape: noise (B, 3 * scales, H, W) to (B, channels, H, W), any sides of more than 2^(scales - 1) pixels.
    Source: Ulyanov et al. 2016, section 4.1, https://arxiv.org/abs/1603.03417.
    Departs from the paper: instance normalization (Ulyanov et al. 2017, https://arxiv.org/abs/1701.02096), reflection
    in place of circular padding, two in place of three convolutions for each block, and normal noise.
    Raises: ValueError for images that are too small.
    """

    noise_channels = 3

    def __init__(self, channels: int = 3, width: int = 8, scales: int = 5, slope: float = 0.2):
        super().__init__()
        check_at_least(1, channels=channels, width=width, scales=scales)
        self.scales = scales
        self.enter = nn.ModuleList(_texture_block(self.noise_channels, width, slope) for _ in range(scales))
        self.join = nn.ModuleList(
            _texture_block((scales - level) * width, (scales - level) * width, slope) for level in range(scales)
        )
        self.to_image = nn.Conv2d(scales * width, channels, 1)

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        least = 2 ** (self.scales - 1) + 1
        if min(height, width) < least:
            raise ValueError(
                f"a texture generator of {self.scales} scales makes images of at least {least} pixels a side, got "
                f"{width}x{height}; set generator.scales lower, or a larger image size"
            )
        return (self.noise_channels * self.scales, height, width)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        self.noise_shape(*noise.shape[-2:])
        hidden: Tensor | None = None
        for level in reversed(range(self.scales)):
            own = noise[:, self.noise_channels * level :][:, : self.noise_channels, :: 2**level, :: 2**level]
            features = self.enter[level](own)
            if hidden is not None:
                features = torch.cat([features, F.interpolate(hidden, features.shape[-2:])], dim=1)
            hidden = self.join[level](features)
        return to_unit_range(self.to_image(hidden))


def dense_layers(widths: Sequence[int], slope: float) -> nn.Sequential:
    """Dense layers of these widths with LeakyReLU between them."""
    check_at_least(1, **{f"widths[{index}]": width for index, width in enumerate(widths)})
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def to_unit_range(raw: Tensor) -> Tensor:
    """tanh, moved from [-1, 1] to the [0, 1] of all images outside of a network."""
    return (torch.tanh(raw) + 1) / 2


def check_generated_size(image_size: int, height: int, width: int) -> None:
    """Raise ValueError if a generator of one image size is asked for another."""
    if (height, width) != (image_size, image_size):
        raise ValueError(
            f"the generator makes images of {image_size}x{image_size}, not of {width}x{height}; in training set "
            "generator.image_size, data.image_size and data.validation_size to the same number"
        )


def _texture_block(before: int, after: int, slope: float) -> nn.Sequential:
    return nn.Sequential(
        convolution(before, after),
        nn.InstanceNorm2d(after, affine=True),
        nn.LeakyReLU(slope),
        nn.Conv2d(after, after, 1),
        nn.InstanceNorm2d(after, affine=True),
        nn.LeakyReLU(slope),
    )
