"""Discriminators of whole images: D(images, labels) -> logits (B, 1), raw. High means a real image.

Images come in [0, 1] and are moved to [-1, 1] inside. The probability of being real is the sigmoid of the logit; it is
taken inside the loss (``adversarial_loss=bce``), where it is exact for large logits.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from scumble.networks.convolutional import ConvolutionalEncoder, check_images
from scumble.networks.labels import append_labels
from scumble.networks.noise_generators import dense_layers


class DenseDiscriminator(nn.Module):
    """Dense layers with LeakyReLU on the pixels.

    Shape: images (B, channels, image_size, image_size) and, with ``classes``, labels (B,); returns (B, 1).
    Source: Goodfellow et al. 2014, section 5, https://arxiv.org/abs/1406.2661; with labels Mirza and Osindero 2014,
    https://arxiv.org/abs/1411.1784.
    Departs from the paper: LeakyReLU in place of maxout and dropout.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        widths: Sequence[int] = (256, 128),
        classes: int = 0,
        slope: float = 0.2,
    ):
        super().__init__()
        self.image_size, self.channels, self.classes = image_size, channels, classes
        self.layers = dense_layers([channels * image_size**2 + classes, *widths, 1], slope)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        check_images(images, self.channels, self.image_size)
        logits: Tensor = self.layers(append_labels(images.flatten(1) * 2 - 1, labels, self.classes))
        return logits


class DCGANDiscriminator(nn.Module):
    """Strided convolutions with batch normalization and LeakyReLU, and a dense layer to one logit.

    Labels enter as one-hot planes beside the image's channels. The arguments are those of
    :class:`ConvolutionalEncoder`.
    Shape: images (B, channels, image_size, image_size) and, with ``classes``, labels (B,); returns (B, 1).
    Source: Radford et al. 2016, section 3, https://arxiv.org/abs/1511.06434.
    """

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        width: int = 64,
        levels: int | None = None,
        kernel_size: int = 4,
        slope: float = 0.2,
        normalize: bool = True,
        classes: int = 0,
    ):
        super().__init__()
        self.image_size, self.channels, self.classes = image_size, channels, classes
        self.encoder = ConvolutionalEncoder(
            1, image_size, channels + classes, width, levels, kernel_size, slope, normalize
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        check_images(images, self.channels, self.image_size)
        logits: Tensor = self.encoder(append_labels(images * 2 - 1, labels, self.classes))
        return logits


class EncoderDiscriminator(nn.Module):
    """w . encoder(image) + b, whose sigmoid is the probability of a real image.

    The encoder has the form of :class:`scumble.networks.noise_generators.AutoencoderGenerator`'s, and weights of its
    own: the two players of the game share none.
    Shape: images (B, channels, image_size, image_size) to (B, 1).
    """

    def __init__(
        self,
        image_size: int = 32,
        channels: int = 1,
        width: int = 64,
        code: int = 100,
        kernel_size: int = 4,
        slope: float = 0.2,
        normalize: bool = True,
    ):
        super().__init__()
        self.encoder = ConvolutionalEncoder(code, image_size, channels, width, None, kernel_size, slope, normalize)
        self.logit = nn.Linear(code, 1)  # w and b

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.logit(self.encoder(images * 2 - 1))
        return logits
