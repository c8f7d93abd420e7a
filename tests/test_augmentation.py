"""Differentiable augmentation: a naive second implementation, gradients, and where the tasks apply it."""

import re

import pytest
import torch
from torch import Tensor, nn

from scumble.losses.adversarial import LeastSquares, r1_penalty
from scumble.losses.augmentation import POLICIES, DiffAugment, colour, cutout, translation
from scumble.tasks.adversarial import AdversarialTask
from scumble.tasks.cycle_gan import CycleGAN

# As in the paper's code the naive ones see images in [-1, 1], where what is lost is 0.


def naive_colour(images: Tensor) -> Tensor:
    brightness, saturation, contrast = torch.rand(3, len(images))
    changed = []
    for image, add, saturate, contrasted in zip(images, brightness, saturation, contrast, strict=True):
        brighter = image + (add - 0.5)
        grey = sum(brighter) / len(brighter)
        saturated = torch.stack([(channel - grey) * (2 * saturate) + grey for channel in brighter])
        mean = saturated.sum() / saturated.numel()
        changed.append((saturated - mean) * (contrasted + 0.5) + mean)
    return torch.stack(changed)


def naive_translation(images: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    down = torch.randint(-(height // 8), height // 8 + 1, (batch,))
    right = torch.randint(-(width // 8), width // 8 + 1, (batch,))
    moved = torch.zeros_like(images)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                source_y, source_x = y + int(down[b]), x + int(right[b])
                if 0 <= source_y < height and 0 <= source_x < width:
                    moved[b, :, y, x] = images[b, :, source_y, source_x]
    return moved


def naive_cutout(images: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    sizes = height // 2, width // 2
    rows = torch.randint(0, height + (1 - sizes[0] % 2), (batch,))
    columns = torch.randint(0, width + (1 - sizes[1] % 2), (batch,))
    cut = images.clone()
    for b in range(batch):
        for y in range(sizes[0]):
            for x in range(sizes[1]):
                row, column = y + int(rows[b]) - sizes[0] // 2, x + int(columns[b]) - sizes[1] // 2
                cut[b, :, min(max(row, 0), height - 1), min(max(column, 0), width - 1)] = 0
    return cut


NAIVE = {"colour": naive_colour, "translation": naive_translation, "cutout": naive_cutout}


@pytest.mark.parametrize("sides", [(16, 24), (19, 9), (8, 7)])
@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_the_naive_ones_of_the_paper(name: str, sides: tuple[int, int]):
    images = torch.rand(8, 3, *sides)
    torch.manual_seed(1)
    expected = (NAIVE[name](2 * images - 1) + 1) / 2
    torch.manual_seed(1)
    torch.testing.assert_close(DiffAugment([name])(images), expected)


def test_policies_are_applied_in_their_order():
    images = torch.rand(4, 3, 16, 16)
    torch.manual_seed(2)
    expected = cutout(translation(colour(images)))
    torch.manual_seed(2)
    assert torch.equal(DiffAugment()(images), expected)
    assert torch.equal(DiffAugment([])(images), images)


def test_colour_of_a_digit_changes_brightness_and_contrast_alone():
    image = torch.rand(1, 1, 8, 8)
    changed = colour(image)
    slope = (changed - changed.mean()) / (image - image.mean())
    torch.testing.assert_close(slope, slope[:, :, :1, :1].expand_as(slope), rtol=1e-3, atol=1e-3)
    assert 0.5 <= float(slope.mean()) <= 1.5
    assert 0 < abs(float((changed - image).mean())) <= 0.25


def test_a_cutout_takes_at_most_a_quarter_and_at_least_a_sixteenth_of_the_image():
    lost = (cutout(torch.ones(200, 1, 16, 16)) == 0.5).float().mean(dim=(1, 2, 3))
    assert 1 / 16 <= lost.min() < lost.max() == 1 / 4


def test_every_image_of_a_batch_is_changed_in_another_way():
    image = torch.rand(1, 3, 32, 32)
    for name in POLICIES:
        changed = DiffAugment([name])(image.expand(6, -1, -1, -1))
        assert len(changed.flatten(1).unique(dim=0)) > 1, name


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_reach_the_image_through_a_policy(name: str):
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    changed = DiffAugment([name])(images)
    changed.sum().backward()
    assert images.grad is not None
    # Moved and cut pixels have the gradient 1 where they are seen; the changes of colour keep the mean.
    seen = {"translation": (changed != 0.5).sum(), "cutout": (changed != 0.5).sum(), "colour": images.numel()}[name]
    assert images.grad.sum().item() == pytest.approx(float(seen), rel=1e-4)


def test_a_penalty_is_differentiated_through_the_augmentation():
    torch.manual_seed(3)
    weights = torch.randn(3, 16, 16, requires_grad=True)
    augment = DiffAugment(["translation", "cutout"])
    real = torch.rand(2, 3, 16, 16)
    penalty = r1_penalty(lambda images: (augment(images) * weights).sum(dim=(1, 2, 3), keepdim=True), real, real)
    assert 0 < penalty.item() < 0.5 * weights.square().sum().item()
    penalty.backward()
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0


@pytest.mark.parametrize("policies", [["colour", "rotation"], "colour"])
def test_an_unknown_policy_is_refused_with_what_is_accepted(policies: list[str]):
    accepted = "augmentation.policies must be a list of some of colour, translation, cutout"
    with pytest.raises(ValueError, match=f"{accepted}, got {re.escape(repr(policies))}"):
        DiffAugment(policies)


# In the tasks


class Spy(nn.Module):
    """A discriminator that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[Tensor, ...]] = []

    def forward(self, *shown: Tensor) -> Tensor:
        self.seen.append(shown)
        return self.weight * shown[0].mean(dim=(1, 2, 3))[:, None]


class Conditional(AdversarialTask):
    """A task whose discriminator sees the condition as well."""

    terms = ("adversarial",)

    def judge(self, images: Tensor, condition: Tensor | None) -> Tensor:
        return self.discriminator(images, condition)


def test_both_players_show_augmented_images_and_the_condition_as_it_is():
    spy = Spy()
    task = Conditional(
        generator=nn.Identity(),
        discriminator=spy,
        perceptual_encoder=None,
        adversarial_loss=LeastSquares(),
        loss_weights={"adversarial": 1.0},
        penalty_weights={"r1": 1.0},
        augmentation=lambda images: images + 10,
        optimizers={},
    )
    real, fake, condition = torch.rand(3, 2, 3, 8, 8)
    task.discriminator_loss(real, fake, condition)
    task.adversarial_term(real, fake, condition)
    for shown, images in zip(spy.seen, (real, fake, real, fake), strict=True):
        torch.testing.assert_close(shown[0], images + 10)
        assert shown[1] is condition


def test_both_discriminators_of_a_cyclegan_see_augmented_images():
    spies = Spy(), Spy()
    task = CycleGAN(
        generator=nn.Identity(),
        inverse_generator=nn.Identity(),
        discriminator=spies[0],
        inverse_discriminator=spies[1],
        perceptual_encoder=nn.Identity(),
        adversarial_loss=LeastSquares(),
        loss_weights={"adversarial": 1.0},
        image_size=8,
        pool_size=0,
        augmentation=lambda images: images + 10,
        optimizers={},
    )
    content, style, stylized, destylized = torch.rand(4, 2, 3, 8, 8)
    task.discriminator_loss(content, style, stylized, destylized)
    task.generator_losses(content, style, stylized, destylized, {"adversarial": 1.0})
    for spy, shown in zip(spies, ((style, stylized, stylized), (content, destylized, destylized)), strict=True):
        for (seen,), images in zip(spy.seen, shown, strict=True):
            torch.testing.assert_close(seen, images + 10)
