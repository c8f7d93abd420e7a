"""Generators that work in the features of a frozen encoder: fuse those of content and style, decode what comes out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scumble.networks.fusion import AdaptiveInstanceNormalization
from scumble.networks.layers import Frozen, check_image_sides, leaky_clamp, pad_to_multiple
from scumble.networks.weights import load_state, load_weights


class FeatureFusion(nn.Module):
    """Frozen features of both images, their fusion, and a decoder that is trained to invert the features.

    ``fusion`` maps the content's and the style's features of one layer to the features to decode
    (:mod:`scumble.networks.fusion`), and is applied to each of ``layers``. The decoder begins with those of relu4_1;
    where it reaches the resolution of another of the layers, the fused features are added through a 1x1 convolution.
    So are those of ``adain_layers``, whose channels have the moments of the style's, whatever the fusion: features at
    relu4_1 alone say little of what is where, and a decoder needs hours to invert them.
    ``alpha`` blends content features (0) and fused ones (1). ``decoder_weights`` is a safetensors file of the published
    decoder of AdaIN, which sees relu4_1 alone.

    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W), any sizes of at least 16; sides that are no
    multiple of 8 are padded by reflection and cropped again. In evaluation mode the range is [0, 1]; in training it
    leaks a little, for its gradient.
    Raises: ValueError for layers without relu4_1, for more of them with ``decoder_weights``, and for a fusion that does
    not fit the encoder.
    """

    minimum_side = 16
    stride = 8

    def __init__(
        self,
        encoder: nn.Module,
        fusion: nn.Module,
        decoder_weights: str | Path | None = None,
        alpha: float = 1.0,
        layers: Sequence[str] = ("relu4_1",),
        adain_layers: Sequence[str] = (),
    ):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"generator.alpha must be in [0, 1], got {alpha}")
        if decoder_weights is not None and (more := [*(set(layers) - {"relu4_1"}), *adain_layers]):
            raise ValueError(
                f"generator.decoder_weights is a decoder of relu4_1 alone, and the config has {', '.join(more)} as "
                "well; set generator.adain_layers=[]"
            )
        with torch.no_grad():
            features = encoder(torch.zeros(1, 3, 32, 32))
            if "relu4_1" not in layers or not {*layers, *adain_layers} <= features.keys():
                raise ValueError(
                    f"generator.layers must be relu4_1, with which the decoder begins, and others of the encoder's "
                    f"{', '.join(features)}, as those of generator.adain_layers; got {', '.join(layers)} and "
                    f"{', '.join(adain_layers) or 'none'}"
                )
            if both := set(layers) & set(adain_layers):
                raise ValueError(f"{', '.join(sorted(both))}: in generator.layers and in generator.adain_layers")
            fusions = dict.fromkeys(layers, fusion) | dict.fromkeys(adain_layers, AdaptiveInstanceNormalization())
            widths = {layer: fuse(features[layer], features[layer]).shape[1] for layer, fuse in fusions.items()}
        self.encoder, self.fusion, self.alpha = Frozen(encoder), fusion, alpha
        self.decoder = adain_decoder(widths["relu4_1"])
        # Between its three enlargements the decoder has 1/2, 1/4 and 1/8 of the channels that it begins with.
        self.laterals = nn.ModuleDict(
            {
                layer: nn.Conv2d(widths[layer], widths["relu4_1"] // 2**level, 1)
                for level, layer in enumerate(("relu3_1", "relu2_1", "relu1_1"), 1)
                if layer in widths
            }
        )
        self.fusions = fusions
        if decoder_weights is not None:
            load_state(self.decoder, load_weights(decoder_weights, "generator.decoder_weights"), decoder_weights)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        check_image_sides(self.minimum_side, content, style)
        height, width = content.shape[-2:]
        features, style_features = self.encoder(pad_to_multiple(content, self.stride)), self.encoder(style)
        # A fusion may answer in float32 where autocast has made the features bfloat16.
        fused = {
            layer: torch.lerp(maps := features[layer], fuse(maps, style_features[layer]).to(maps.dtype), self.alpha)
            for layer, fuse in self.fusions.items()
        }
        decoded = self.decode(fused)[..., :height, :width]
        # Training needs a gradient outside of [0, 1] as well, or a saturated pixel never comes back.
        return leaky_clamp(decoded) if self.training else decoded.clamp(0, 1)

    def decode(self, features: Mapping[str, Tensor]) -> Tensor:
        """Images from fused features, not clamped."""
        resolutions = iter(("relu3_1", "relu2_1", "relu1_1"))
        hidden = features["relu4_1"]
        for module in self.decoder:
            hidden = module(hidden)
            if isinstance(module, nn.Upsample) and (layer := next(resolutions)) in self.laterals:
                hidden = hidden + self.laterals[layer](features[layer])
        return hidden


class AdaIN(FeatureFusion):
    """Frozen VGG features, adaptive instance normalization, and a decoder that is trained to invert the features.

    Source: Huang and Belongie 2017, section 6, https://arxiv.org/abs/1703.06868.
    Departs from the paper: the output is clamped to [0, 1]; other encoders than VGG-19 can be configured; the decoder
    may see more layers than relu4_1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder_weights: str | Path | None = None,
        alpha: float = 1.0,
        adain_layers: Sequence[str] = (),
    ):
        super().__init__(encoder, AdaptiveInstanceNormalization(), decoder_weights, alpha, adain_layers=adain_layers)


def adain_decoder(channels: int) -> nn.Sequential:
    """The published decoder of AdaIN, from relu4_1 features to RGB; the keys of its weights are the layer indices.

    Its widths for VGG's 512 channels are 512, 256, 128, 64; for other encoders they shrink in proportion.
    """
    half, quarter, eighth = channels // 2, channels // 4, channels // 8

    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3), nn.ReLU()]

    def upsample() -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="nearest")

    decoder = nn.Sequential(
        *block(channels, half), upsample(),
        *block(half, half), *block(half, half), *block(half, half), *block(half, quarter), upsample(),
        *block(quarter, quarter), *block(quarter, eighth), upsample(),
        *block(eighth, eighth), nn.ReflectionPad2d(1), nn.Conv2d(eighth, 3, 3),
    )  # fmt: skip
    convolutions = [layer for layer in decoder if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        assert layer.bias is not None
        nn.init.kaiming_normal_(layer.weight)  # torch's own initialization lets a signal fade over nine layers
        nn.init.zeros_(layer.bias)
    last = convolutions[-1]
    assert last.bias is not None
    with torch.no_grad():  # training begins at a grey image of little contrast
        last.weight.mul_(0.1)
        last.bias.fill_(0.5)
    return decoder
