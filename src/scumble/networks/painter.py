"""The painter: the small generator of arbitrary styles that ships with scumble."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.networks.layers import check_image_sides, convolution, pad_to_multiple
from scumble.networks.painter_layers import Affine, Attention, StyledBlock, StyledLayer, periodic, scaled
from scumble.networks.summaries import ContentSummary, Moments, Prepared, StyleSummary, expanded, moments_of
from scumble.networks.weights import WEIGHTS_FOLDER, load_state, load_weights

PAINTER_WEIGHTS = WEIGHTS_FOLDER / "painter.safetensors"

# An orthonormal basis of RGB: brightness, red against blue, green against both.
OPPONENT_COLOURS = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
NOISE_SIDE = 64


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
                nn.Sequential(convolution(12, fine), nn.LeakyReLU(0.1, inplace=True)),
                nn.Sequential(convolution(fine, middle, stride=2), nn.LeakyReLU(0.1, inplace=True)),
                nn.Sequential(
                    convolution(middle, coarse, stride=2), nn.LeakyReLU(0.1, inplace=True), convolution(coarse, coarse),
                    nn.LeakyReLU(0.1, inplace=True),
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
        return self.stylize(content, self.summarise_style(style), strength)

    def stylize(self, content: Tensor, style: StyleSummary, strength: float | Tensor | None = None) -> Tensor:
        """:meth:`prepare` and :meth:`paint`; a content that need not be reduced is encoded once for both."""
        check_image_sides(self.minimum_side, content)
        features = self.encode(content)
        reduced = reduce_to(content, self.summary_side)
        seen = features if reduced is content else self.encode(reduced)
        return self._decode(content, features, self._prepare(self._summary(reduced, seen), style, strength))

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

        ``content`` (B, 3, H, W) is reduced to ``summary_side`` before anything is measured. The style summary
        has the batch of the content, or 1.
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
        fine, middle, coarse = map(moments_of, features)
        colours = moments_of(torch.einsum("ij,bjhw->bihw", self.opponent, images.float()))
        flat = torch.cat([moment.flatten(1) for pair in (fine, middle, coarse, colours) for moment in pair], dim=1)
        statistics = self.normalize(flat.sign() * (4 * flat.abs()).log1p())
        return ContentSummary((fine, middle, coarse), colours, statistics, self._tokens(features[2], coarse))

    def _prepare(self, content: ContentSummary, style: StyleSummary, strength: float | Tensor | None) -> Prepared:
        batch = len(content.tokens)
        style = StyleSummary(*(expanded(part, batch) for part in style))
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
        hidden = F.relu_(enlarge(hidden, next(layers), grain, middle))
        hidden = F.relu_(refine(hidden, next(layers), grain)) + hidden
        hidden = F.relu_(finish(hidden, next(layers), noise(2), fine))
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


def _match(content: Moments, style: Moments) -> Affine:
    """The affine map that gives a content's channels the moments of the style's."""
    scale = style[1] / content[1]
    return scale, style[0] - content[0] * scale
