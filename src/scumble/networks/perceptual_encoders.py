"""Perceptual encoders: frozen networks whose features judge content and style.

Each returns a dict of features by layer name (``relu1_1`` ... ``relu5_1``, after VGG) for images in [0, 1].
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.weights import WEIGHTS_FOLDER, load_state, load_weights

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
CONTENT_LAYERS = ("relu4_1",)

VGG16_DEPTHS = (2, 2, 3, 3, 3)
VGG19_DEPTHS = (2, 2, 4, 4, 4)
VGG_WIDTHS = (64, 128, 256, 512, 512)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

DISTILLED_WEIGHTS = WEIGHTS_FOLDER / "distilled.safetensors"


class VGG(nn.Module):
    """The convolutional part of VGG, up to the deepest layer that is asked for.

    Shape: images (B, 3, H, W) in [0, 1]; returns {layer: (B, C, H / 2^k, W / 2^k)}, by ReLU, named relu<block>_<index>.
    Source: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556.
    """

    def __init__(
        self,
        depths: Sequence[int] = VGG19_DEPTHS,
        layers: Sequence[str] = STYLE_LAYERS,
        padding_mode: Literal["zeros", "reflect"] = "zeros",
        ceil_mode: bool = False,
    ):
        super().__init__()
        names = [f"{block}_{index}" for block, depth in enumerate(depths, 1) for index in range(1, depth + 1)]
        _check_layers(layers, [f"relu{name}" for name in names])
        self.layers = tuple(layers)
        last = max(names.index(layer.removeprefix("relu")) for layer in layers)
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in names[: last + 1]:
            width = VGG_WIDTHS[int(name[0]) - 1]
            self.convolutions[f"conv{name}"] = nn.Conv2d(channels, width, 3, padding=1, padding_mode=padding_mode)
            channels = width
        self.ceil_mode = ceil_mode
        self.input = nn.Conv2d(3, 3, 1)  # from RGB in [0, 1] to the space that the weights expect

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = {}
        hidden = self.input(images)
        for name, layer in self.convolutions.items():
            block, index = name.removeprefix("conv").split("_")
            if index == "1" and block != "1":
                hidden = F.max_pool2d(hidden, 2, ceil_mode=self.ceil_mode)
            hidden = F.relu_(layer(hidden))
            if (relu := name.replace("conv", "relu")) in self.layers:
                features[relu] = hidden
        return features


def vgg19_normalised(weights: str | Path, layers: Sequence[str] = STYLE_LAYERS) -> VGG:
    """VGG-19 with weights scaled so that the mean activation of every ReLU is about 1, as AdaIN uses it.

    ``weights`` is a safetensors file with ``conv0`` (1x1, RGB in [0, 1] to the input space) and ``conv1_1`` ...
    ``conv4_1``.
    Source: Gatys et al. 2016, section 2, https://doi.org/10.1109/CVPR.2016.265; Huang and Belongie 2017, section 6.1.
    """
    encoder = VGG(VGG19_DEPTHS, layers, padding_mode="reflect", ceil_mode=True)
    state = load_weights(weights, "perceptual_encoder.weights")
    renamed = {
        f"input.{key.removeprefix('conv0.')}" if key.startswith("conv0.") else f"convolutions.{key}": tensor
        for key, tensor in state.items()
    }
    load_state(encoder, renamed, weights)
    return encoder


def vgg19(weights: str | Path | None = None, layers: Sequence[str] = STYLE_LAYERS, download: bool = False) -> VGG:
    """torchvision's VGG-19; ``weights`` is its state dict (``.pth`` or ``.safetensors``), or set ``download=True``."""
    return _torchvision_vgg("vgg19", VGG19_DEPTHS, weights, layers, download)


def vgg16(weights: str | Path | None = None, layers: Sequence[str] = STYLE_LAYERS, download: bool = False) -> VGG:
    """torchvision's VGG-16; ``weights`` is its state dict (``.pth`` or ``.safetensors``), or set ``download=True``."""
    return _torchvision_vgg("vgg16", VGG16_DEPTHS, weights, layers, download)


class DistilledEncoder(nn.Module):
    """A small network that sees as VGG-19 does: the offline stand-in, distilled by ``experiment=distill``.

    Shape: images (B, 3, H, W) in [0, 1]; returns {layer: (B, C, ceil(H / 2^k), ceil(W / 2^k))} with the resolutions of
    VGG's relu1_1, relu2_1, relu3_1, relu4_1 and narrower features (``widths``).
    ``weights`` is ``"shipped"``, a safetensors file, or None for random weights (the start of a distillation).
    """

    def __init__(
        self,
        weights: str | Path | None = "shipped",
        layers: Sequence[str] = STYLE_LAYERS,
        widths: Sequence[int] = (16, 32, 64, 128),
        depths: Sequence[int] = (1, 2, 3, 4),
    ):
        super().__init__()
        _check_layers(layers, STYLE_LAYERS)
        self.layers = tuple(layers)
        self.widths = dict(zip(STYLE_LAYERS, widths, strict=True))
        blocks = []
        for block, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            previous = 3 if block == 0 else widths[block - 1]
            channels = [previous] + [width] * depth
            # At the image's border as VGG-19, normalised; deeper, zeros, which take a fifth less time in all.
            padding: Literal["reflect", "zeros"] = "reflect" if block == 0 else "zeros"
            convolutions = [
                nn.Conv2d(before, after, 3, padding=1, padding_mode=padding)
                for before, after in itertools.pairwise(channels)
            ]
            blocks.append(nn.Sequential(*(layer for conv in convolutions for layer in (conv, nn.ReLU(inplace=True)))))
        self.blocks = nn.ModuleDict(dict(zip(STYLE_LAYERS, blocks, strict=True)))
        _initialize(self)
        if weights is not None:
            path = DISTILLED_WEIGHTS if weights == "shipped" else weights
            load_state(self, load_weights(path, "perceptual_encoder.weights"), path)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = {}
        hidden = images
        for layer, block in self.blocks.items():
            if layer != "relu1_1":  # not strided convolutions: their gradient draws a grid into the generator's images
                hidden = F.max_pool2d(hidden, 2, ceil_mode=True)
            hidden = block(hidden)
            if layer in self.layers:
                features[layer] = hidden
        return features


@torch.no_grad()
def start_from_teacher(student: DistilledEncoder, teacher: VGG) -> None:
    """Make the student's first filters some of the teacher's, evenly spread.

    relu1_1 of the student is then relu1_1 of the teacher in fewer channels. Learned from random weights, its distances
    are still the student's worst after thousands of steps, because colours are so correlated.
    """
    first, target = (
        next(layer for layer in layers.modules() if isinstance(layer, nn.Conv2d))
        for layers in (teacher.convolutions, student.blocks)
    )
    chosen = torch.linspace(0, len(first.weight) - 1, len(target.weight)).round().long()
    weight = first.weight[chosen]
    assert first.bias is not None
    assert teacher.input.bias is not None
    assert target.bias is not None
    target.weight.copy_(torch.einsum("ocij,ck->okij", weight, teacher.input.weight[..., 0, 0]))
    target.bias.copy_(first.bias[chosen] + torch.einsum("ocij,c->o", weight, teacher.input.bias))


def random_encoder(layers: Sequence[str] = STYLE_LAYERS, seed: int = 0) -> VGG:
    """VGG-19 with random weights that depend on ``seed`` alone: for tests, and as a baseline that does not see.

    Source: He et al. 2016, https://arxiv.org/abs/1606.04801 (random weights carry texture, but see less).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = VGG(VGG19_DEPTHS, layers, padding_mode="reflect", ceil_mode=True)
        _initialize(encoder)
    _set_input_normalization(encoder)
    return encoder


def _torchvision_vgg(
    name: str, depths: Sequence[int], weights: str | Path | None, layers: Sequence[str], download: bool
) -> VGG:
    from torchvision.models import get_model_weights  # slow to import, and seldom needed

    url = get_model_weights(name).IMAGENET1K_V1.url
    encoder = VGG(depths, layers)
    if weights is not None:
        state = load_weights(weights, "perceptual_encoder.weights")
    elif download:
        state = torch.hub.load_state_dict_from_url(url, weights_only=True)
    else:
        raise ValueError(
            f"perceptual_encoder={name} needs weights: set perceptual_encoder.weights=PATH to torchvision's "
            f"{Path(url).name}, or perceptual_encoder.download=true to fetch it (about 550 MB) from {url}"
        )
    # torchvision numbers the layers of one Sequential: conv, relu, ..., pool.
    indices: OrderedDict[str, int] = OrderedDict()
    position = 0
    for block, depth in enumerate(depths, 1):
        for index in range(1, depth + 1):
            indices[f"conv{block}_{index}"] = position
            position += 2
        position += 1
    try:
        renamed = {
            f"convolutions.{conv}.{part}": state[f"features.{index}.{part}"]
            for conv, index in indices.items()
            for part in ("weight", "bias")
        }
    except KeyError as error:
        raise ValueError(f"{weights}: not torchvision's {name}: {error.args[0]} is missing") from error
    _set_input_normalization(encoder)
    load_state(encoder, renamed | {f"input.{key}": value for key, value in encoder.input.state_dict().items()}, name)
    return encoder


def _set_input_normalization(encoder: VGG) -> None:
    """ImageNet's mean and deviation as the 1x1 convolution at the input."""
    with torch.no_grad():
        deviation = torch.tensor(IMAGENET_DEVIATION)
        encoder.input.weight.copy_(torch.diag(1 / deviation)[..., None, None])
        assert encoder.input.bias is not None
        encoder.input.bias.copy_(-torch.tensor(IMAGENET_MEAN) / deviation)


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def _check_layers(layers: Iterable[str], accepted: Sequence[str]) -> None:
    unknown = [layer for layer in layers if layer not in accepted]
    if unknown or not layers:
        raise ValueError(f"unknown layers {unknown}; accepted: {', '.join(accepted)}")
