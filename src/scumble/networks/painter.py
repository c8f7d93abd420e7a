"""The painter: the small generator of arbitrary styles that ships with scumble."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.losses.perceptual import channel_moments
from scumble.networks.layers import check_image_sides, convolution, pad_to_multiple
from scumble.networks.weights import WEIGHTS_FOLDER, load_state, load_weights

PAINTER_WEIGHTS = WEIGHTS_FOLDER / "painter.safetensors"

# An orthonormal basis of RGB: brightness, red against blue, green against both.
OPPONENT_COLOURS = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
NOISE_SIDE = 64

Moments = tuple[Tensor, Tensor]  # mean and standard deviation, (B, C, 1, 1) each
Affine = tuple[Tensor, Tensor]  # scale and shift, (B, C, 1, 1) each


class StyleSummary(NamedTuple):
    """Everything the painter uses of a style image.

    ``features`` holds the channel moments of the encoder's three levels, ``colours`` the moments of the opponent
    colours, ``statistics`` (B, S) all of them as the input of the code, ``tokens`` (B, N, C) the coarse features that
    attention reads. ``token_weights`` (B, N), the logarithms of their weights, is None where all weigh the same.
    """

    features: tuple[Moments, Moments, Moments]
    colours: Moments
    statistics: Tensor
    tokens: Tensor
    token_weights: Tensor | None = None


class ContentSummary(NamedTuple):
    """The global statistics of a content image, each as in :class:`StyleSummary`."""

    features: tuple[Moments, Moments, Moments]
    colours: Moments
    statistics: Tensor
    tokens: Tensor


class Prepared(NamedTuple):
    """Everything :meth:`Painter.paint` needs besides the pixels, for each sample of the batch.

    ``colours`` is an affine map of RGB, a matrix (B, 3, 3) and a shift (B, 3, 1, 1). ``features`` gives the content's
    features the style's moments at three levels. ``layers`` holds the scale and shift of every styled layer.
    ``style_tokens`` and ``content_tokens`` are keys, values and the logarithms of the keys' weights.
    """

    colours: tuple[Tensor, Tensor]
    features: tuple[Affine, Affine, Affine]
    layers: tuple[Affine, ...]
    style_tokens: tuple[Tensor, Tensor, Tensor | None]
    content_tokens: tuple[Tensor, Tensor, Tensor | None]


class Attention(nn.Module):
    """Every position attends to a few tokens; the result is added, from zero on if ``starts_at_zero``.

    Shape: features (B, C, H, W) and tokens (B, N, C); the result has the shape of the features.
    Source: Vaswani et al. 2017, section 3.2, https://arxiv.org/abs/1706.03762; self-attention in a GAN is Zhang et al.
    2019, https://arxiv.org/abs/1805.08318.
    Departs from the paper: the tokens are averages over a coarse grid, so the cost is linear in the number of pixels.
    """

    def __init__(self, channels: int, heads: int, width: int, starts_at_zero: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"attention needs a width that is a multiple of its {heads} heads, got {width}")
        self.heads = heads
        self.query = nn.Conv2d(channels, width, 1)
        self.key_value = nn.Linear(channels, 2 * width)
        self.out = nn.Conv2d(width, channels, 1)
        if starts_at_zero:
            nn.init.zeros_(self.out.weight)
            assert self.out.bias is not None
            nn.init.zeros_(self.out.bias)

    def keys_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, heads, N, width / heads) and values (B, heads, width / heads, N) of tokens (B, N, C)."""
        both = self.key_value(tokens).view(*tokens.shape[:2], 2, self.heads, -1)
        keys, values = both.permute(2, 0, 3, 1, 4)
        return keys, values.transpose(2, 3)

    def forward(self, features: Tensor, keys: Tensor, values: Tensor, weights: Tensor | None = None) -> Tensor:
        # Positions stay in the last dimension: fused attention wants channels there, and the copies cost more.
        queries = self.query(features).flatten(2).unflatten(1, (self.heads, -1))
        scores = (keys * keys.shape[-1] ** -0.5).to(queries.dtype) @ queries
        if weights is not None:
            scores = scores + weights[:, None, :, None]
        attended = values.to(queries.dtype) @ scores.softmax(dim=2).to(queries.dtype)
        result: Tensor = features + self.out(attended.flatten(1, 2).unflatten(2, features.shape[-2:]))
        return result


class StyledLayer(nn.Module):
    """A 3x3 convolution, noise, and a scale and shift for each channel that are linear in the style code.

    There is no normalization: the content's features have the style's moments already, and a scale that depends on the
    code does what dividing by a measured deviation would do. So each output pixel depends on its neighbourhood alone.

    With ``skip`` the layer adds a 1x1 convolution of the encoder's features. With ``enlarge`` it doubles the sides: it
    computes the 3x3 convolution of the image enlarged by nearest neighbours as four 2x2 convolutions of the small one.
    Shape: (B, in, H, W) to (B, out, H, W), or (B, out, 2 H, 2 W).
    Source: modulation by a style code and noise per layer, Karras et al. 2020, section 2, https://arxiv.org/abs/1912.04958.
    Departs from the paper: no demodulation; the scale is not normalized.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        code: int,
        *,
        skip: int = 0,
        noise: bool = True,
        enlarge: bool = False,
    ):
        super().__init__()
        self.convolution = convolution(in_channels, out_channels)
        self.skip = nn.Conv2d(skip, out_channels, 1) if skip else None
        self.noise = nn.Parameter(torch.zeros(out_channels, 1, 1)) if noise else None
        self.enlarge = enlarge
        self.affine = nn.Linear(code, 2 * out_channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        with torch.no_grad():
            self.affine.bias.copy_(torch.cat([torch.ones(out_channels), torch.zeros(out_channels)]))

    def scale_and_shift(self, code: Tensor) -> Affine:
        """Shape: code (B, code); returns two of (B, out, 1, 1)."""
        scale, shift = self.affine(code).float()[..., None, None].chunk(2, dim=1)
        return scale, shift

    def forward(self, features: Tensor, affine: Affine, noise: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.enlarge:
            hidden = enlarged_convolution(features, self.convolution.weight, self.convolution.bias)
        else:
            hidden = self.convolution(features)
        if self.skip is not None:
            hidden = hidden + self.skip(skip)
        if self.noise is not None:
            hidden = hidden + (self.noise * noise).to(hidden.dtype)
        return scaled(hidden, affine)


class StyledBlock(nn.Module):
    """x + styled(relu(styled(x))). Source: He et al. 2016; Johnson et al. 2016 without the last ReLU."""

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.first = StyledLayer(channels, channels, code)
        self.second = StyledLayer(channels, channels, code, noise=False)

    def forward(self, features: Tensor, first: Affine, second: Affine, noise: Tensor) -> Tensor:
        hidden = F.relu(self.first(features, first, noise))
        result: Tensor = features + self.second(hidden, second, noise)
        return result


class Painter(nn.Module):
    """G(content, style, strength): any style from one picture, any strength, in one small network.

    One encoder sees content and style. At three resolutions the content's features take the channel moments of the
    style's (AdaIN, Huang and Belongie 2017), so a new style needs no learning. A code of all moments and of the
    strength sets scale and shift of every layer after that. Every position attends to tokens of the style and to coarse
    tokens of the content itself. The decoder adds its paint, before the sigmoid, to the content in the style's colours
    (Reinhard et al. 2001, https://doi.org/10.1109/38.946629, in opponent colours).

    Everything global is a summary: :meth:`summarise_style` once for any number of photographs, and :meth:`prepare` on a
    content reduced to ``summary_side``. Given both, an output pixel depends only on the content at most
    ``neighbourhood`` pixels away, so tiles are equal to the whole.

    ``strength`` in [0, 1] is an input: trained with ``task.loss_conditional`` the network holds the whole trade-off
    between content and style (Dosovitskiy and Djolonga 2020, https://openreview.net/forum?id=HyxY6JHKwr).

    Full resolution stays outside of the network: blocks of 2x2 pixels are channels at the entrance and at the exit (Shi
    et al. 2016, https://arxiv.org/abs/1609.05158).

    ``widths`` are the channels at a half, a quarter and an eighth of the sides. ``weights`` is ``"shipped"``, a
    safetensors file, or None for random ones.
    Shape: content (B, 3, H, W) and style (B, 3, h, w) to (B, 3, H, W), in [0, 1], any sides of at least
    ``minimum_side``; strength is a number or (B,).
    Raises: ValueError if an image is too small or a strength is outside of [0, 1].
    """

    minimum_side = 16
    stride = 8
    neighbourhood = 80
    summary_side = 512
    default_strength = 0.5
    shipped_weights = PAINTER_WEIGHTS

    def __init__(
        self,
        widths: Sequence[int] = (16, 48, 128),
        blocks: int = 3,
        code: int = 256,
        tokens: int = 8,
        heads: int = 4,
        attention: int = 64,
        weights: str | None = None,
    ):
        super().__init__()
        fine, middle, coarse = self.widths = tuple(widths)
        self.token_grid = tokens
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(convolution(12, fine), nn.LeakyReLU(0.1)),
                nn.Sequential(convolution(fine, middle, stride=2), nn.LeakyReLU(0.1)),
                nn.Sequential(
                    convolution(middle, coarse, stride=2), nn.LeakyReLU(0.1), convolution(coarse, coarse),
                    nn.LeakyReLU(0.1),
                ),
            ]
        )  # fmt: skip
        statistics = 2 * sum(self.widths) + 6
        self.normalize = nn.LayerNorm(statistics)
        # The statistics of the style, the strength, the statistics of the content.
        self.code = nn.Sequential(nn.Linear(2 * statistics + 1, code), nn.SiLU(), nn.Linear(code, code), nn.SiLU())
        self.style_attention = Attention(coarse, heads, attention)
        self.self_attention = Attention(coarse, heads, attention, starts_at_zero=True)
        self.blocks = nn.ModuleList(StyledBlock(coarse, code) for _ in range(blocks))
        self.decoder = nn.ModuleList(
            [
                StyledLayer(coarse, middle, code, skip=middle, enlarge=True),
                StyledLayer(middle, middle, code),
                StyledLayer(middle, fine, code, skip=fine, enlarge=True),
            ]
        )
        self.to_paint = convolution(fine, 12)
        nn.init.normal_(self.to_paint.weight, std=0.01)
        assert self.to_paint.bias is not None
        nn.init.zeros_(self.to_paint.bias)
        self.noise: Tensor
        self.opponent: Tensor
        self.register_buffer("opponent", torch.tensor(OPPONENT_COLOURS), persistent=False)
        noise = torch.randn(1, 1, NOISE_SIDE, NOISE_SIDE, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)
        self.has_given_weights = weights is not None
        if weights is not None:
            path = PAINTER_WEIGHTS if weights == "shipped" else weights
            load_state(self, load_weights(path, "generator.weights"), path)

    def forward(self, content: Tensor, style: Tensor, strength: float | Tensor | None = None) -> Tensor:
        check_image_sides(self.minimum_side, content, style)
        summary = self.summarise_style(style)
        features = self.encode(content)
        reduced = reduce_to(content, self.summary_side)
        seen = features if reduced is content else self.encode(reduced)
        prepared = self._prepare(self._summary(reduced, seen), summary, strength)
        return self._decode(content, features, prepared)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Features at a half, a quarter and an eighth of the sides, rounded up.

        Shape: (B, 3, H, W) in [0, 1] to a list of three (B, widths[k], ceil(H / 8) * 2^(2 - k), ...).
        """
        hidden = F.pixel_unshuffle(pad_to_multiple(images, self.stride) * 2 - 1, 2)
        levels = []
        for level in self.encoder:
            hidden = level(hidden)
            levels.append(hidden)
        return levels

    def summarise_style(self, style: Tensor) -> StyleSummary:
        """What the painter uses of style images (B, 3, h, w): compute it once for any number of photographs."""
        check_image_sides(self.minimum_side, style)
        return StyleSummary(*self._summary(style, self.encode(style)))

    def prepare(self, content: Tensor, style: StyleSummary, strength: float | Tensor | None = None) -> Prepared:
        """What :meth:`paint` needs of a content, a style and a strength.

        ``content`` (B, 3, H, W) is reduced to ``summary_side`` before anything is measured. The batch of the style
        summary is that of the content, or 1.
        """
        check_image_sides(self.minimum_side, content)
        reduced = reduce_to(content, self.summary_side)
        return self._prepare(self._summary(reduced, self.encode(reduced)), style, strength)

    def paint(self, content: Tensor, prepared: Prepared, origin: tuple[int, int] = (0, 0)) -> Tensor:
        """The stylized content. For a tile of a larger picture, ``origin`` is the row and column of its first pixel.

        Shape: (B, 3, H, W) in [0, 1] to the same.
        Raises: ValueError if the origin is not a multiple of ``stride``: the encoder's grid would be another.
        """
        check_image_sides(self.minimum_side, content)
        if origin[0] % self.stride or origin[1] % self.stride:
            raise ValueError(f"the origin of a tile must be a multiple of {self.stride}, got {origin}")
        return self._decode(content, self.encode(content), prepared, origin)

    def _summary(self, images: Tensor, features: Sequence[Tensor]) -> ContentSummary:
        fine, middle, coarse = (channel_moments(level.float()) for level in features)
        colours = channel_moments(torch.einsum("ij,bjhw->bihw", self.opponent, images.float()))
        flat = torch.cat([moment.flatten(1) for pair in (fine, middle, coarse, colours) for moment in pair], dim=1)
        statistics = self.normalize(flat.sign() * (4 * flat.abs()).log1p())
        return ContentSummary((fine, middle, coarse), colours, statistics, self._tokens(features[2], coarse))

    def _prepare(self, content: ContentSummary, style: StyleSummary, strength: float | Tensor | None) -> Prepared:
        batch = len(content.tokens)
        style = StyleSummary(*(_expanded(part, batch) for part in style))
        strengths = as_strengths(self.default_strength if strength is None else strength, style.statistics)
        code = self.code(torch.cat([style.statistics, 2 * strengths - 1, content.statistics], dim=1))
        layers = [layer for block in self.blocks for layer in (block.first, block.second)]
        return Prepared(
            colours=self._recolouring(content.colours, style.colours),
            features=tuple(map(_match, content.features, style.features)),  # type: ignore[arg-type]
            layers=tuple(layer.scale_and_shift(code) for layer in (*layers, *self.decoder)),
            style_tokens=(*self.style_attention.keys_and_values(style.tokens), style.token_weights),
            content_tokens=(*self.self_attention.keys_and_values(content.tokens), None),
        )

    def _decode(
        self, content: Tensor, features: Sequence[Tensor], prepared: Prepared, origin: tuple[int, int] = (0, 0)
    ) -> Tensor:
        fine, middle, coarse = map(scaled, features, prepared.features)
        layers = iter(prepared.layers)

        def noise(reduction: int) -> Tensor:
            sides = (coarse.shape[-2] * self.stride // reduction, coarse.shape[-1] * self.stride // reduction)
            return periodic(self.noise, (origin[0] // reduction, origin[1] // reduction), sides)

        hidden = self.style_attention(coarse, *prepared.style_tokens)
        hidden = self.self_attention(hidden, *prepared.content_tokens)
        grain = noise(8)
        for block in self.blocks:
            hidden = block(hidden, next(layers), next(layers), grain)
        enlarge, refine, finish = self.decoder
        grain = noise(4)
        hidden = F.relu(enlarge(hidden, next(layers), grain, middle))
        hidden = F.relu(refine(hidden, next(layers), grain)) + hidden
        hidden = F.relu(finish(hidden, next(layers), noise(2), fine))
        height, width = content.shape[-2:]
        paint = F.pixel_shuffle(self.to_paint(hidden), 2)[..., :height, :width].float()
        matrix, shift = prepared.colours
        recoloured = torch.einsum("bij,bjhw->bihw", matrix, content.float()) + shift
        return torch.sigmoid(paint + recoloured.clamp(0.01, 0.99).logit())

    def _tokens(self, features: Tensor, moments: Moments) -> Tensor:
        """Coarse features without their moments, averaged over a grid. Shape: (B, C, H, W) to (B, grid^2, C)."""
        mean, deviation = moments
        pooled = F.adaptive_avg_pool2d((features - mean) / deviation, self.token_grid)
        return pooled.flatten(2).transpose(1, 2)

    def _recolouring(self, content: Moments, style: Moments) -> tuple[Tensor, Tensor]:
        """The affine map of RGB that gives the content the style's moments of opponent colours.

        A deviation changes at most by a factor of 4, lest noise of a grey photograph become colours.
        """
        ratio = (style[1] / content[1]).clamp(0.25, 4)[..., 0]
        matrix = torch.einsum(
            "ki,bkl,kj->bij", self.opponent, ratio.expand(-1, -1, 1) * torch.eye(3).to(ratio), self.opponent
        )
        shift = torch.einsum("ji,bj->bi", self.opponent, (style[0] - content[0] * ratio[..., None]).flatten(1))
        return matrix, shift[..., None, None]


def mix_styles(summaries: Sequence[StyleSummary], weights: Sequence[float]) -> StyleSummary:
    """One style out of several: moments and code inputs are averaged, attention sees all tokens by their weights.

    Weights are divided by their sum. A style of weight 0 has no effect, and a style mixed with itself is itself.
    Raises: ValueError if the weights are negative, all 0, or not as many as the summaries.
    """
    if len(summaries) != len(weights) or not summaries:
        raise ValueError(f"every style needs one weight, got {len(summaries)} styles and {len(weights)} weights")
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights of styles must be at least 0, and one of them above 0; got {list(weights)}")
    shares = [weight / sum(weights) for weight in weights]
    used = [(summary, share) for summary, share in zip(summaries, shares, strict=True) if share]

    def average(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([share * part for part, (_, share) in zip(parts, used, strict=True)]).sum(dim=0)

    def average_moments(parts: Sequence[Moments]) -> Moments:
        return average([mean for mean, _ in parts]), average([deviation for _, deviation in parts])

    fine, middle, coarse = (average_moments([summary.features[k] for summary, _ in used]) for k in range(3))
    return StyleSummary(
        features=(fine, middle, coarse),
        colours=average_moments([summary.colours for summary, _ in used]),
        statistics=average([summary.statistics for summary, _ in used]),
        tokens=torch.cat([summary.tokens for summary, _ in used], dim=1),
        token_weights=torch.cat([_log_weights(summary) + math.log(share) for summary, share in used], dim=1),
    )


def _log_weights(summary: StyleSummary) -> Tensor:
    given = summary.token_weights
    return summary.tokens.new_zeros(summary.tokens.shape[:2]) if given is None else given


def enlarged_convolution(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The 3x3 convolution, with reflection at the borders, of features enlarged twice by nearest neighbours.

    Each output pixel sees 2x2 small pixels, so four 2x2 kernels of summed weights do it with 4/9 of the arithmetic.
    Shape: features (B, in, H, W) and weight (out, in, 3, 3) to (B, out, 2 H, 2 W).
    """
    top, middle, bottom = weight.unbind(dim=2)
    rows = torch.stack([torch.stack([top, middle + bottom], 2), torch.stack([top + middle, bottom], 2)], 1)
    left, centre, right = rows.unbind(dim=-1)
    kernels = torch.stack([torch.stack([left, centre + right], -1), torch.stack([left + centre, right], -1)], 2)
    # (out, row phase, column phase, in, 2, 2) -> the channels that pixel_shuffle makes pixels of.
    out, inside = weight.shape[:2]
    kernels = kernels.reshape(4 * out, inside, 2, 2)
    bias = None if bias is None else bias.repeat_interleave(4)
    # The reflection of an image that is enlarged twice is the replication of the small one.
    phases = F.conv2d(F.pad(features, (1, 1, 1, 1), mode="replicate"), kernels, bias)
    height, width = features.shape[-2:]
    phases = phases.unflatten(1, (out, 2, 2))
    rows = torch.stack([phases[:, :, 0, :, :height], phases[:, :, 1, :, 1:]], dim=2)
    both = torch.stack([rows[:, :, :, 0, :, :width], rows[:, :, :, 1, :, 1:]], dim=3)
    return both.permute(0, 1, 4, 2, 5, 3).reshape(len(features), out, 2 * height, 2 * width)


def reduce_to(images: Tensor, side: int) -> Tensor:
    """Images whose longer side is at most ``side``, by averaging areas; smaller ones as they are."""
    height, width = images.shape[-2:]
    if max(height, width) <= side:
        return images
    sides = [max(Painter.minimum_side, round(length * side / max(height, width))) for length in (height, width)]
    return F.interpolate(images, sides, mode="bilinear", antialias=True)


def as_strengths(strength: float | Tensor, like: Tensor) -> Tensor:
    """Strengths as (B, 1) of the type and batch of another tensor.

    Raises: ValueError outside of [0, 1].
    """
    if isinstance(strength, Tensor):
        return strength.to(like).reshape(-1, 1).expand(len(like), 1)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], got {strength}")
    return like.new_full((len(like), 1), strength)


def scaled(features: Tensor, affine: Affine) -> Tensor:
    """features * scale + shift, in the type of the features."""
    scale, shift = affine
    return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype))


def periodic(pattern: Tensor, origin: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """A piece of the plane that is tiled with a pattern. Shape: (1, 1, h, w) to (1, 1, *sides)."""
    rows, columns = (
        (torch.arange(length, device=pattern.device) + start) % period
        for start, length, period in zip(origin, sides, pattern.shape[-2:], strict=True)
    )
    return pattern[..., rows[:, None], columns]


def _match(content: Moments, style: Moments) -> Affine:
    """The affine map that gives a content's channels the moments of the style's."""
    scale = style[1] / content[1]
    return scale, style[0] - content[0] * scale


def _expanded(part: Any, batch: int) -> Any:
    """Tensors of a batch of 1, at any depth of tuples, for a larger batch."""
    if part is None:
        return None
    if isinstance(part, Tensor):
        return part.expand(batch, *part.shape[1:]) if len(part) == 1 else part
    return tuple(_expanded(child, batch) for child in part)
