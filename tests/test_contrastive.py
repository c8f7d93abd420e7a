"""The contrastive loss of patches and the projection to codes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.losses.contrastive import patch_nce_loss
from scumble.losses.reconstruction import reconstruction_loss
from scumble.networks.projection import PatchProjection, random_positions


def naive_patch_nce(query: Tensor, key: Tensor, temperature: float) -> float:
    images, patches, _ = query.shape
    total = 0.0
    for b in range(images):
        for p in range(patches):
            scores = [math.exp(float(query[b, p] @ key[b, r]) / temperature) for r in range(patches)]
            total += -math.log(scores[p] / sum(scores))
    return total / (images * patches)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_patch_nce_is_the_explicit_sum(temperature: float):
    query, key = (F.normalize(torch.randn(2, 5, 4, dtype=torch.float64), dim=-1) for _ in range(2))
    found = patch_nce_loss(query, key, temperature).item()
    assert found == pytest.approx(naive_patch_nce(query, key, temperature))


def test_patch_nce_of_codes_that_say_nothing_is_the_logarithm_of_the_patches():
    codes = F.normalize(torch.ones(3, 7, 4), dim=-1)
    assert patch_nce_loss(codes, codes).item() == pytest.approx(math.log(7))


def test_patch_nce_of_orthogonal_codes_is_the_closed_form():
    codes = torch.eye(6)[None]
    expected = math.log(1 + 5 * math.exp(-1 / 0.5))
    assert patch_nce_loss(codes, codes, temperature=0.5).item() == pytest.approx(expected)


def test_the_negatives_are_of_the_same_image_alone():
    query, key = (F.normalize(torch.randn(2, 5, 4), dim=-1) for _ in range(2))
    each = [patch_nce_loss(query[i : i + 1], key[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(patch_nce_loss(query, key), torch.stack(each).mean())


def test_the_key_has_no_gradient():
    query, key = (torch.randn(1, 3, 4, requires_grad=True) for _ in range(2))
    patch_nce_loss(query, key).backward()
    assert query.grad is not None
    assert query.grad.abs().sum() > 0
    assert key.grad is None


def test_a_projection_gives_codes_of_length_one_with_a_gradient_for_every_parameter():
    projection = PatchProjection([3, 8], code=5)
    features = [torch.randn(2, 3, 6, 6), torch.randn(2, 8, 3, 3)]
    codes = projection(features, random_positions(features, 7))
    assert [tuple(code.shape) for code in codes] == [(2, 7, 5), (2, 7, 5)]
    for code in codes:
        torch.testing.assert_close(code.norm(dim=-1), torch.ones(2, 7))
    sum((code * torch.randn_like(code)).sum() for code in codes).backward()  # type: ignore[union-attr]
    for name, parameter in projection.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_a_code_is_that_of_its_position():
    projection = PatchProjection([3], code=4)
    maps = torch.randn(1, 3, 5, 6)
    (codes,) = projection([maps], [torch.tensor([0, 8, 29])])
    for index, (row, column) in enumerate([(0, 0), (1, 2), (4, 5)]):
        expected = F.normalize(projection.layers[0](maps[0, :, row, column]), dim=0)
        torch.testing.assert_close(codes[0, index], expected)


def test_positions_are_random_and_different():
    features = [torch.zeros(1, 1, 4, 5), torch.zeros(1, 2, 30, 30)]
    small, large = random_positions(features, 256)
    assert sorted(small.tolist()) == list(range(20))
    assert len(set(large.tolist())) == 256
    assert large.max() < 900
    torch.manual_seed(1)
    first = random_positions(features, 9)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, random_positions(features, 9), strict=True))


def test_reconstruction_loss_is_the_mean_absolute_difference():
    assert reconstruction_loss(torch.full((2, 3, 4, 4), 0.75), torch.full((2, 3, 4, 4), 0.5)).item() == 0.25
