"""The convolutional encoder and decoder of DCGAN, which several networks are made of."""

import torch
from torch import Tensor, nn


class ConvolutionalEncoder(nn.Module):
    """Strided convolutions, each halving the image, and a dense layer: images to vectors.

    Layer k has ``width * 2^k`` channels, at most ``8 * width``; batch normalization follows all but the first.
    ``levels`` is the number of convolutions; None halves the image to a side of 4 to 8.
    Shape: images (B, channels, image_size, image_size) in any range; returns (B, outputs).
    Source: Radford et al. 2016, section 3, https://arxiv.org/abs/1511.06434.
    Raises: ValueError for images of another shape.
    """

    def __init__(
        self,
        outputs: int,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        levels: int | None = None,
        kernel_size: int = 4,
        slope: float = 0.2,
        normalize: bool = True,
    ):
        super().__init__()
        levels = halvings(image_size) if levels is None else levels
        check_at_least(1, levels=levels, width=width, channels=channels, outputs=outputs)
        _check_kernel_size(kernel_size)
        self.image_size, self.channels = image_size, channels
        layers: list[nn.Module] = []
        side, before = image_size, channels
        for level, after in enumerate(_widths(width, levels)):
            normalized = normalize and level > 0
            layers.append(
                nn.Conv2d(before, after, kernel_size, stride=2, padding=(kernel_size - 1) // 2, bias=not normalized)
            )
            layers += [nn.BatchNorm2d(after)] if normalized else []
            layers.append(nn.LeakyReLU(slope))
            side, before = (side + kernel_size % 2) // 2, after
        if side < 1:
            raise ValueError(f"{levels} halvings leave nothing of {image_size} pixels; set discriminator.levels lower")
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(before * side * side, outputs)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.channels, self.image_size)
        out: Tensor = self.head(self.layers(images).flatten(1))
        return out


class ConvolutionalDecoder(nn.Module):
    """A dense layer and transposed convolutions, each doubling the image: vectors to raw images, without an activation.

    The dense layer makes a small image of a side of 4 to 8; the channels halve from at most ``8 * width`` to ``width``
    and then become ``channels``. Batch normalization and LeakyReLU stand between the layers. A size that is no such
    side times a power of two is cut out of the next larger one.
    Shape: vectors (B, inputs) to (B, channels, image_size, image_size), any real numbers.
    Source: Radford et al. 2016, section 3, figure 1, https://arxiv.org/abs/1511.06434.
    Departs from the paper: LeakyReLU in place of ReLU.
    """

    def __init__(
        self,
        inputs: int,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        kernel_size: int = 4,
        slope: float = 0.2,
    ):
        super().__init__()
        check_at_least(1, inputs=inputs, width=width, channels=channels)
        _check_kernel_size(kernel_size)
        levels = halvings(image_size)
        self.image_size = image_size
        self.side = -(-image_size // 2**levels)
        widths = [*_widths(width, levels)][::-1]
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.LeakyReLU(slope)]
        for before, after in zip(widths, [*widths[1:], channels], strict=True):
            layers.append(
                nn.ConvTranspose2d(
                    before,
                    after,
                    kernel_size,
                    stride=2,
                    padding=(kernel_size - 1) // 2,
                    output_padding=kernel_size % 2,
                    bias=False,
                )
            )
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(slope)]
        # Batch normalization takes the mean of a channel away, not the means of its pixels: so there is a bias.
        self.dense = nn.Linear(inputs, widths[0] * self.side**2)
        self.layers = nn.Sequential(*layers[:-2])  # neither normalization nor activation after the last
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        initialize(self)

    def forward(self, vectors: Tensor) -> Tensor:
        hidden = self.dense(vectors).unflatten(1, (-1, self.side, self.side))
        images = self.layers(hidden) + self.bias
        start = (images.shape[-1] - self.image_size) // 2
        out: Tensor = images[..., start : start + self.image_size, start : start + self.image_size]
        return out


def halvings(image_size: int) -> int:
    """How often an image is halved until its side is 4 to 8 pixels. Raises: ValueError below 8 pixels."""
    if image_size < 8:
        raise ValueError(f"image_size must be at least 8, got {image_size}; set data.image_size")
    return (image_size // 4).bit_length() - 1


def check_images(images: Tensor, channels: int, image_size: int) -> None:
    """Raise ValueError for images of another shape than a network was made for."""
    if images.shape[1:] != (channels, image_size, image_size):
        given = f"{images.shape[-1]}x{images.shape[-2]} with {images.shape[1]} channels"
        raise ValueError(
            f"the network is made for images of {image_size}x{image_size} with {channels} channels, got {given}; set "
            "channels, and data.image_size and data.validation_size to the same number"
        )


def check_at_least(least: int, **values: int) -> None:
    """Raise ValueError for a named value below ``least``."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def initialize(network: nn.Module) -> None:
    """Weights of convolutions and dense layers from N(0, 0.02^2), biases 0.

    Source: Radford et al. 2016, section 4.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _widths(width: int, levels: int) -> list[int]:
    return [width * min(2**level, 8) for level in range(levels)]


def _check_kernel_size(kernel_size: int) -> None:
    if kernel_size < 3:
        raise ValueError(f"kernel_size must be at least 3, got {kernel_size}")
