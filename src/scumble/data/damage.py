"""What happens to photographs: holes, noise, blur, few pixels, age, little light.

A damage is a module without parameters, images (B, 3, H, W) in [0, 1] to damaged images of the same shape in [0, 1]. It
draws from torch's default generator, which every training step seeds anew; each image of a batch has a damage of its
own strength. A range is (least, most), from which the strength is drawn uniformly.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Range = tuple[float, float]

# Luminance of linear or encoded RGB (Rec. 709).
LUMINANCE = (0.2126, 0.7152, 0.0722)


class Holes(nn.Module):
    """Rectangles that are lost, for inpainting: ``count`` of them with sides of a share of the image's sides.

    The pixels in a hole have the colour ``fill``, and there is no mask: the generator has to see which pixels are lost.
    Magenta is seldom in photographs; grey holes were not found in a short training.
    """

    def __init__(self, count: int = 3, side: Range = (0.1, 0.35), fill: tuple[float, float, float] = (1.0, 0.0, 1.0)):
        super().__init__()
        if count < 1:
            raise ValueError(f"damage.count must be at least 1, got {count}")
        if len(fill) != 3:
            raise ValueError(f"damage.fill must be a colour of three numbers in [0, 1], got {fill!r}")
        self.count, self.side, self.fill = count, _range("side", side, most=1.0), tuple(fill)

    def forward(self, images: Tensor) -> Tensor:
        return torch.where(self.mask(images), images.new_tensor(self.fill)[:, None, None], images)

    def mask(self, images: Tensor) -> Tensor:
        """Where the holes are: booleans (B, 1, H, W)."""
        batch, _, *sides = images.shape
        inside = []
        for length in sides:
            hole = _uniform(images, self.side, batch, self.count)
            start = torch.rand(batch, self.count, device=images.device) * (1 - hole)
            place = (torch.arange(length, device=images.device) + 0.5) / length
            inside.append((place >= start[..., None]) & (place < (start + hole)[..., None]))
        rows, columns = inside
        return (rows[..., :, None] & columns[..., None, :]).any(dim=1, keepdim=True)


class Noise(nn.Module):
    """White Gaussian noise with a standard deviation drawn from ``deviation``."""

    def __init__(self, deviation: Range = (0.05, 0.2)):
        super().__init__()
        self.deviation = _range("deviation", deviation)

    def forward(self, images: Tensor) -> Tensor:
        deviation = _uniform(images, self.deviation, len(images), 1, 1, 1)
        return (images + deviation * torch.randn_like(images)).clamp(0, 1)


class Blur(nn.Module):
    """A Gaussian blur with a deviation in pixels, and white noise, without which it could be undone exactly."""

    def __init__(self, deviation: Range = (1.0, 2.0), noise: float = 0.01):
        super().__init__()
        self.deviation, self.noise = _range("deviation", deviation), noise

    def forward(self, images: Tensor) -> Tensor:
        blurred = gaussian_blur(images, _uniform(images, self.deviation, len(images)))
        return (blurred + self.noise * torch.randn_like(images)).clamp(0, 1)


class LowResolution(nn.Module):
    """Images reduced by ``factor`` and enlarged again, both bicubic: super-resolution keeps the size.

    Source: Dong et al. 2014, section 3.1, https://arxiv.org/abs/1501.00092.
    """

    def __init__(self, factor: int = 2):
        super().__init__()
        if factor < 2:
            raise ValueError(f"damage.factor must be at least 2, got {factor}")
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = (max(1, round(height / self.factor)), max(1, round(width / self.factor)))
        reduced = F.interpolate(images, small, mode="bicubic", antialias=True)
        return F.interpolate(reduced.clamp(0, 1), (height, width), mode="bicubic").clamp(0, 1)


class OldPhoto(nn.Module):
    """An old print: sepia, faded towards the paper, scratched and grainy.

    ``sepia`` and ``fading`` are shares in [0, 1], ``scratches`` counts lines, ``grain`` is the deviation of a noise
    that is the same in all channels and coarser than a pixel.
    """

    paper = (0.93, 0.86, 0.72)

    def __init__(
        self,
        sepia: Range = (0.6, 1.0),
        fading: Range = (0.1, 0.4),
        scratches: int = 3,
        grain: Range = (0.03, 0.08),
    ):
        super().__init__()
        self.sepia, self.fading = _range("sepia", sepia, most=1.0), _range("fading", fading, most=1.0)
        self.scratches, self.grain = scratches, _range("grain", grain)

    def forward(self, images: Tensor) -> Tensor:
        batch = len(images)
        paper = images.new_tensor(self.paper)[:, None, None]
        toned = _luminance(images) * paper / paper.amax()
        aged = torch.lerp(images, toned, _uniform(images, self.sepia, batch, 1, 1, 1))
        aged = torch.lerp(aged, paper.expand_as(aged), _uniform(images, self.fading, batch, 1, 1, 1))
        aged = torch.where(scratches(images, self.scratches), paper, aged)
        coarse = gaussian_blur(torch.randn_like(images[:, :1]), images.new_full((batch,), 0.7))
        coarse = coarse * (2 * 0.7 * math.sqrt(math.pi))  # the blur of white noise has the deviation 1 / (2 s sqrt(pi))
        return (aged + _uniform(images, self.grain, batch, 1, 1, 1) * coarse).clamp(0, 1)


class LowLight(nn.Module):
    """The photograph that a camera takes of the same scene with too little light.

    In linear light: exposure (drawn on a logarithmic scale), shot noise of ``photons`` at white, read noise of
    ``read_noise`` photons, and the converter's ``bits``; then the sRGB curve and 8 bits. The photograph itself counts
    as the scene, free of noise.

    Source: the Poissonian-Gaussian noise of Foi et al. 2008, section II, https://doi.org/10.1109/TIP.2008.2001399; the
    sRGB curve of IEC 61966-2-1.
    """

    def __init__(self, exposure: Range = (0.1, 0.3), photons: float = 10000.0, read_noise: float = 5.0, bits: int = 12):
        super().__init__()
        self.exposure = _range("exposure", exposure, most=1.0)
        if exposure[0] <= 0 or photons <= 0 or read_noise < 0 or bits < 1:
            raise ValueError(
                "a camera needs exposure and photons above 0, read_noise of at least 0 and bits of at least 1, got "
                f"{tuple(exposure)}, {photons}, {read_noise} and {bits}"
            )
        self.photons, self.read_noise, self.levels = photons, read_noise, 2**bits - 1

    def forward(self, images: Tensor) -> Tensor:
        stops = _uniform(images, (math.log(self.exposure[0]), math.log(self.exposure[1])), len(images), 1, 1, 1)
        light = srgb_to_linear(images) * stops.exp()
        counted = torch.poisson(light * self.photons) + self.read_noise * torch.randn_like(images)
        converted = (counted / self.photons * self.levels).round() / self.levels
        return (linear_to_srgb(converted.clamp(0, 1)) * 255).round() / 255


def srgb_to_linear(images: Tensor) -> Tensor:
    """Linear light of sRGB values, both in [0, 1]. Source: IEC 61966-2-1."""
    return torch.where(images <= 0.04045, images / 12.92, ((images.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """sRGB values of linear light, both in [0, 1]. Source: IEC 61966-2-1."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def gaussian_blur(images: Tensor, deviation: Tensor) -> Tensor:
    """Each image convolved with a Gaussian of its own deviation in pixels, reflected at the border.

    Shape: images (B, C, H, W) and deviation (B,) to (B, C, H, W). The kernel ends at three deviations of the largest,
    or at the image's side.
    """
    batch, channels, height, width = images.shape
    radius = min(math.ceil(3 * float(deviation.max())), height - 1, width - 1)
    offset = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offset / deviation[:, None]).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None]
    maps = F.pad(images.reshape(1, batch * channels, height, width), (radius,) * 4, mode="reflect")
    maps = F.conv2d(maps, kernel[..., None], groups=batch * channels)
    maps = F.conv2d(maps, kernel[..., None, :], groups=batch * channels)
    return maps.reshape(images.shape)


def scratches(images: Tensor, count: int) -> Tensor:
    """Where ``count`` thin lines from top to bottom are, slightly slanted: booleans (B, 1, H, W)."""
    batch, _, height, width = images.shape
    if count < 1:
        return torch.zeros(batch, 1, height, width, dtype=torch.bool, device=images.device)
    start = torch.rand(batch, count, 1, 1, device=images.device)
    slant = 0.2 * torch.randn(batch, count, 1, 1, device=images.device)
    down = (torch.arange(height, device=images.device)[:, None] + 0.5) / height
    right = (torch.arange(width, device=images.device) + 0.5) / width
    thickness = 0.5 + torch.rand(batch, count, 1, 1, device=images.device)  # in pixels: half of it on either side
    return ((right - start - slant * down).abs() * width < thickness / 2 + 0.25).any(dim=1, keepdim=True)


def _luminance(images: Tensor) -> Tensor:
    return (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)


def _uniform(images: Tensor, limits: Range, *shape: int) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * torch.rand(*shape, device=images.device, dtype=images.dtype)


def _range(name: str, limits: Range, most: float = math.inf) -> Range:
    if len(limits) != 2 or not 0 <= limits[0] <= limits[1] <= most:
        upper = "" if most == math.inf else f" <= {most:g}"
        raise ValueError(f"damage.{name} must be two numbers, 0 <= least <= most{upper}, got {list(limits)}")
    return float(limits[0]), float(limits[1])
