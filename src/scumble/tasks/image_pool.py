"""A history of generated images for the discriminator."""

import torch
from torch import Tensor, nn

from scumble.distributed import gather, own_rank


class ImagePool(nn.Module):
    """Shows the discriminator older images of the generator as well as the newest.

    While the pool is not full, an image is stored and returned. Then, with a probability of one half, an image takes
    the place of a random stored one, which is returned instead of it.

    The stored images are buffers, so checkpoints hold them. All ranks see the images of each other and keep the pool
    that one process would have. The choices are drawn from torch's default generator, or from ``random``, which ranks
    must have in common. ``size=0`` returns images as they are.

    Source: Shrivastava et al. 2017, section 2.3, https://arxiv.org/abs/1612.07828; Zhu et al. 2017, section 4,
    https://arxiv.org/abs/1703.10593 (``size=50``).
    """

    same_on_all_ranks = True
    stored: Tensor
    images: Tensor

    def __init__(self, size: int, image_size: int):
        super().__init__()
        if size < 0:
            raise ValueError(f"task.pool_size must be at least 0, got {size}")
        self.register_buffer("images", torch.zeros(size, 3, image_size, image_size))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Images to show in the place of these; (B, 3, image_size, image_size) to the same, without a gradient."""
        if images.shape[1:] != self.images.shape[1:]:
            sides = "x".join(map(str, images.shape[1:]))
            raise ValueError(
                f"the image pool holds images of {'x'.join(map(str, self.images.shape[1:]))}, got {sides}; "
                "set task.image_size to data.image_size"
            )
        size, stored = len(self.images), int(self.stored)
        if not size:
            return images.detach()
        everyone = gather(images.detach()).flatten(0, 1)
        shown = everyone.clone()
        for index, image in enumerate(everyone):
            exchange = float(torch.rand((), generator=random)) < 0.5
            place = int(torch.randint(size, (), generator=random))
            if stored < size:
                self.images[stored] = image
                stored += 1
            elif exchange:
                shown[index] = self.images[place]
                self.images[place] = image
        self.stored.fill_(stored)
        return shown[own_rank() * len(images) :][: len(images)]
