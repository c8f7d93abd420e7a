"""The two networks of a variational autoencoder."""

from torch import Tensor, nn

from scumble.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder


class VariationalAutoencoder(nn.Module):
    """q(latent | image), a normal distribution with a diagonal covariance, and p(image | latent), as logits of pixels.

    Both are convolutional (:mod:`scumble.networks.convolutional`).
    Source: Kingma and Welling 2014, section 3 and appendix C, https://arxiv.org/abs/1312.6114.
    Departs from the paper: convolutions in place of dense layers.
    """

    def __init__(
        self,
        image_size: int = 28,
        channels: int = 1,
        width: int = 32,
        latent: int = 16,
        kernel_size: int = 4,
        slope: float = 0.2,
    ):
        super().__init__()
        self.image_size, self.latent = image_size, latent
        self.encoder = ConvolutionalEncoder(2 * latent, image_size, channels, width, None, kernel_size, slope)
        self.decoder = ConvolutionalDecoder(latent, image_size, channels, width, kernel_size, slope)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the logarithm of the variance of the latent, (B, latent) each, of images in [0, 1]."""
        mean, log_variance = self.encoder(images * 2 - 1).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """The logits of the pixels; their sigmoid is the mean image in [0, 1]."""
        logits: Tensor = self.decoder(latent)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of images from the mean of their latent, in [0, 1]."""
        return self.decode(self.encode(images)[0]).sigmoid()
