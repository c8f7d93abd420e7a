"""A trained generator in Python: ``scumble.load(model).stylize(photo, style)``."""

from typing import Any

import torch
from torch import nn

from scumble.conversions import UserImage, to_kind_of, to_tensor
from scumble.flags import check_share, choose_strength


class Stylizer:
    """A generator G(content, style) with its weights; :func:`scumble.load` makes one."""

    def __init__(self, generator: nn.Module, device: str = "cpu"):
        self.device = torch.device(device)
        self.generator = generator.to(self.device).eval()

    @torch.inference_mode()
    def stylize(self, photo: UserImage, style: UserImage, strength: float | None = None) -> Any:
        """The photograph in the style of the painting, as large as the photograph.

        ``photo`` and ``style`` are paths, PIL images, arrays or tensors, see :func:`scumble.conversions.to_tensor`. The
        result is of the kind and type of ``photo``, a PIL image for a path. ``strength`` in [0, 1] is for generators
        that take one; None is their default. `scumble stylize` reduces paintings to a shorter side of 256 pixels first;
        here they are taken as they are.
        Raises: ValueError for an image or a strength that is not accepted.
        """
        if strength is not None:
            check_share("strength", strength)
        strength = choose_strength(self.generator, strength, "blend the result with the photograph instead")
        content = to_tensor(photo, "photo")[None].to(self.device)
        painting = to_tensor(style, "style")[None].to(self.device)
        inputs = (content, painting) if strength is None else (content, painting, strength)
        return to_kind_of(self.generator(*inputs)[0].cpu(), photo)
