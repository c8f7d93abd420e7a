"""The energy distance and the terms of the evidence lower bound, against closed forms and explicit sums."""

import math

import pytest
import torch
from torch import Tensor

from scumble.losses.distributions import energy_distance
from scumble.losses.variational import bernoulli_reconstruction_loss, kl_loss


def naive_energy_distance(x: Tensor, y: Tensor) -> float:
    def distance(a: Tensor, b: Tensor) -> float:
        return math.sqrt(float((a - b).square().mean()))

    between = [distance(a, b) for a in x for b in y]
    within = [
        [distance(a, b) for i, a in enumerate(samples) for j, b in enumerate(samples) if i != j] for samples in (x, y)
    ]
    return 2 * sum(between) / len(between) - sum(sum(pairs) / len(pairs) for pairs in within)


def test_energy_distance_is_the_explicit_sum_over_pairs() -> None:
    x, y = torch.rand(4, 2, 3, 3), torch.rand(5, 2, 3, 3) + 0.3
    assert energy_distance(x, y).item() == pytest.approx(naive_energy_distance(x, y), abs=1e-5)
    assert energy_distance(x, y).item() == pytest.approx(energy_distance(y, x).item(), abs=1e-6)


def test_energy_distance_of_two_constants_is_twice_their_difference() -> None:
    x, y = torch.full((3, 4), 0.25), torch.full((2, 4), 1.0)
    assert energy_distance(x, y).item() == pytest.approx(1.5)
    assert energy_distance(x[:1], y[:1]).item() == pytest.approx(1.5), "single samples count as constant"


def test_energy_distance_of_one_distribution_is_zero_on_average() -> None:
    batches = torch.randn(200, 2, 8, 3)
    estimates = torch.stack([energy_distance(x, y) for x, y in batches])
    standard_error = float(estimates.std()) / len(estimates) ** 0.5
    assert abs(float(estimates.mean())) < 4 * standard_error
    shifted = torch.stack([energy_distance(x, y + 1) for x, y in batches])
    assert float(shifted.mean()) > 20 * standard_error


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 0.3), (-0.4, 2.0)])
def test_kl_is_torchs_own(mean: float, variance: float) -> None:
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance**0.5), torch.distributions.Normal(0.0, 1.0)
    )
    found = kl_loss(torch.full((3, 5), mean), torch.full((3, 5), math.log(variance)))
    assert found.item() == pytest.approx(5 * expected.item(), abs=1e-5)


def test_kl_is_the_mean_over_the_batch() -> None:
    mean = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert kl_loss(mean, torch.zeros(2, 2)).item() == pytest.approx(1.0)  # 0 and 2^2 / 2


def test_bernoulli_reconstruction_is_the_negative_log_likelihood() -> None:
    logits, images = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4).round()
    likelihood = torch.distributions.Bernoulli(logits=logits).log_prob(images).sum(dim=(1, 2, 3))
    assert bernoulli_reconstruction_loss(logits, images).item() == pytest.approx(-likelihood.mean().item(), rel=1e-5)


def test_bernoulli_reconstruction_is_least_at_the_image_itself() -> None:
    images = 0.05 + 0.9 * torch.rand(2, 1, 3, 3)
    least = bernoulli_reconstruction_loss(images.logit(), images)
    entropy = -(images * images.log() + (1 - images) * (1 - images).log()).sum(dim=(1, 2, 3)).mean()
    assert least.item() == pytest.approx(entropy.item(), rel=1e-5)
    for shift in (-0.2, 0.2):
        assert bernoulli_reconstruction_loss(images.logit() + shift, images) > least
