import math
from collections.abc import Callable
from statistics import mean, variance

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scumble.losses.adversarial import (
    BCE,
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Relativistic,
    Wasserstein,
    generator_loss,
    gradient_penalty,
    r1_penalty,
    r2_penalty,
)
from scumble.losses.perceptual import content_loss, gram_style_loss, moment_style_loss, sliced_wasserstein_loss
from scumble.losses.reconstruction import cycle_loss, identity_loss, total_variation_loss
from scumble.statistics import channel_moments, gram_matrix, sliced_quantiles


def ramp(*shape: int) -> Tensor:
    """Fixed numbers without a random generator, whose stream could change with torch."""
    return (torch.arange(math.prod(shape), dtype=torch.float64) * 0.7548776662).remainder(1).reshape(shape).float()


# Gram matrix and moments


def naive_gram(features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    gram = torch.zeros(batch, channels, channels, dtype=features.dtype)
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                for y in range(height):
                    for x in range(width):
                        gram[b, i, j] += features[b, i, y, x] * features[b, j, y, x]
    return gram / (channels * height * width)


def test_gram_matrix_is_the_explicit_sum():
    features = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(gram_matrix(features), naive_gram(features))


def test_gram_matrix_is_symmetric_and_positive_semidefinite():
    gram = gram_matrix(torch.randn(3, 6, 2, 2, dtype=torch.float64))  # rank 4 of 6: the boundary of semidefinite
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12


def test_gram_matrix_ignores_a_permutation_of_positions():
    features = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    shuffled = features.flatten(2)[..., torch.randperm(36)].reshape_as(features)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))
    swapped = features[:, torch.tensor([1, 0, 2, 3])]
    assert not torch.allclose(gram_matrix(swapped), gram_matrix(features))


@given(height=st.integers(1, 7), width=st.integers(1, 7), channels=st.integers(1, 5))
def test_gram_matrix_of_ones_is_one_over_channels(height: int, width: int, channels: int):
    gram = gram_matrix(torch.ones(1, channels, height, width))
    torch.testing.assert_close(gram, torch.full((1, channels, channels), 1 / channels))


def test_channel_moments_are_the_population_moments():
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mean, deviation = channel_moments(features, eps=0.0)
    assert mean.shape == deviation.shape == (2, 3, 1, 1)
    for b in range(2):
        for c in range(3):
            values = features[b, c].flatten().tolist()
            expected = sum(values) / 20
            assert mean[b, c].item() == pytest.approx(expected)
            assert deviation[b, c].item() == pytest.approx(math.sqrt(sum((v - expected) ** 2 for v in values) / 20))


def test_channel_moments_of_a_constant_have_a_finite_gradient():
    features = torch.full((1, 2, 3, 3), 0.5, requires_grad=True)
    _, deviation = channel_moments(features)
    assert deviation.flatten().tolist() == pytest.approx([math.sqrt(1e-5)] * 2)
    deviation.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


# Content and style


def features_of(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "relu1_1": torch.rand(2, 3, 4, 4, generator=generator),
        "relu2_1": torch.rand(2, 5, 2, 2, generator=generator),
    }


def grams(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {layer: gram_matrix(maps) for layer, maps in features.items()}


def moments(features: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    return {layer: channel_moments(maps) for layer, maps in features.items()}


def quantiles(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {layer: sliced_quantiles(maps) for layer, maps in features.items()}


def test_perceptual_losses_are_zero_at_equality():
    features = features_of(0)
    assert sliced_wasserstein_loss(features, quantiles(features)) == 0
    assert content_loss(features, features) == 0
    assert gram_style_loss(features, grams(features)) == 0
    assert moment_style_loss(features, moments(features)) == 0


def test_content_loss_is_the_mean_square_summed_over_the_target_layers():
    one, other = features_of(0), features_of(1)
    expected = 0.0
    for layer in one:
        differences = [(a - b) ** 2 for a, b in zip(one[layer].flatten(), other[layer].flatten(), strict=True)]
        expected += float(sum(differences)) / len(differences)
    assert content_loss(one, other).item() == pytest.approx(expected, rel=1e-5)
    only_one = content_loss(one, {"relu2_1": other["relu2_1"]}).item()
    assert only_one == pytest.approx((one["relu2_1"] - other["relu2_1"]).square().mean().item())


def test_gram_style_loss_is_the_squared_frobenius_distance():
    one, other = features_of(0), features_of(1)
    expected = 0.0
    for layer in one:
        difference = naive_gram(one[layer]) - naive_gram(other[layer])
        batch, channels, _ = difference.shape
        for b in range(batch):
            squares = sum(float(difference[b, i, j]) ** 2 for i in range(channels) for j in range(channels))
            expected += squares / batch
    assert gram_style_loss(one, grams(other)).item() == pytest.approx(expected, rel=1e-4)


def test_moment_style_loss_is_the_mean_square_of_both_moments():
    one, other = features_of(0), features_of(1)
    expected = 0.0
    for layer in one:
        for statistic in (
            lambda maps: maps.mean(dim=(2, 3)),
            lambda maps: (maps.var(dim=(2, 3), unbiased=False) + 1e-5).sqrt(),
        ):
            difference = statistic(one[layer]) - statistic(other[layer])
            expected += float((difference**2).sum()) / difference.numel()
    assert moment_style_loss(one, moments(other)).item() == pytest.approx(expected, rel=1e-5)


def test_sliced_wasserstein_loss_is_the_mean_of_wasserstein_distances_along_the_directions():
    one, other = features_of(0), features_of(1)
    expected = 0.0
    for layer in one:
        channels = one[layer].shape[1]
        # A position that has one channel alone shows what that channel is multiplied by.
        unit = torch.eye(channels)[None, :, :, None]
        directions = torch.cat([sliced_quantiles(unit[:, :, i : i + 1]) for i in range(channels)], dim=2)[0]
        assert directions.shape == (max(channels, 16), channels)
        torch.testing.assert_close(directions.norm(dim=1), torch.ones(len(directions)))
        of_images = []
        for b in range(len(one[layer])):
            costs, along = [], []
            for direction in directions.tolist():
                lines = []
                for maps in (one[layer][b], other[layer][b]):
                    positions = maps.flatten(1).T.tolist()
                    lines.append(sorted(sum(v * f for v, f in zip(direction, x, strict=True)) for x in positions))
                costs += [(x - y) ** 2 for x, y in zip(*lines, strict=True)]
                along += lines[1]
            of_images.append(mean(costs) / variance(along))
        expected += mean(of_images)
    assert sliced_wasserstein_loss(one, quantiles(other)).item() == pytest.approx(expected, rel=1e-4)


def test_sliced_wasserstein_loss_of_a_moved_distribution_is_the_square_of_the_way():
    style = {"relu1_1": torch.randn(1, 4, 16, 16)}
    way = torch.tensor([1.0, -2.0, 0.5, 3.0])
    moved = {"relu1_1": style["relu1_1"] + way[:, None, None]}
    # The way along a direction is the difference of the projections of one position, which needs no sorting.
    steps = sliced_quantiles(way[None, :, None, None])[0, :, 0]
    spread = sliced_quantiles(style["relu1_1"]).var()
    loss = sliced_wasserstein_loss(moved, quantiles(style))
    assert loss.item() == pytest.approx((steps.square().mean() / spread).item(), rel=1e-4)


def test_sliced_wasserstein_loss_tells_apart_what_means_and_covariances_do_not():
    noise = torch.randn(1, 3, 64, 64)
    coins = torch.randn(1, 3, 64, 64).sign()

    def whitened(maps: Tensor) -> Tensor:
        centred = maps.flatten(2) - maps.flatten(2).mean(dim=2, keepdim=True)
        factor = torch.linalg.cholesky(centred @ centred.mT / centred.shape[2])
        return torch.linalg.solve_triangular(factor, centred, upper=False).reshape(maps.shape)

    one, other = {"relu1_1": whitened(noise)}, {"relu1_1": whitened(coins)}
    again = {"relu1_1": whitened(torch.randn(1, 3, 64, 64))}
    assert gram_style_loss(one, grams(other)) < 1e-9
    assert moment_style_loss(one, moments(other)) < 1e-9
    assert sliced_wasserstein_loss(one, quantiles(other)) > 20 * sliced_wasserstein_loss(again, quantiles(one))


def test_sliced_wasserstein_loss_compares_images_of_any_sizes():
    style = {"relu1_1": torch.rand(2, 3, 20, 24)}
    doubled = {"relu1_1": style["relu1_1"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)}
    other = {"relu1_1": 1.5 * torch.rand(2, 3, 40, 48)}
    assert sliced_wasserstein_loss(doubled, quantiles(style)) < 1e-4
    assert sliced_wasserstein_loss(style, quantiles(doubled)) < 1e-4
    assert sliced_wasserstein_loss(other, quantiles(style)) > 0.05


def test_sliced_wasserstein_loss_has_a_gradient_at_every_position_even_where_the_style_is_constant():
    features = torch.randn(1, 3, 6, 6, requires_grad=True)
    sliced_wasserstein_loss({"relu1_1": features}, quantiles({"relu1_1": torch.zeros(1, 3, 6, 6)})).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert (features.grad.abs() > 0).all()


def test_style_losses_ignore_where_things_are_and_the_content_loss_does_not():
    one, other = features_of(0), features_of(1)
    mirrored = {layer: maps.flip(-1) for layer, maps in one.items()}
    assert gram_style_loss(mirrored, grams(other)).item() == pytest.approx(gram_style_loss(one, grams(other)).item())
    assert moment_style_loss(mirrored, moments(other)).item() == pytest.approx(
        moment_style_loss(one, moments(other)).item()
    )
    assert sliced_wasserstein_loss(mirrored, quantiles(one)) < 1e-9
    assert content_loss(mirrored, one) > 0.01


def test_perceptual_losses_weigh_each_image_of_a_batch_alike():
    one, other = features_of(0), features_of(1)
    halves = [{layer: maps[i : i + 1] for layer, maps in one.items()} for i in range(2)]
    targets = [{layer: maps[i : i + 1] for layer, maps in other.items()} for i in range(2)]
    for loss, prepare in (
        (content_loss, lambda features: features),
        (gram_style_loss, grams),
        (moment_style_loss, moments),
        (sliced_wasserstein_loss, quantiles),
    ):
        mean = sum(loss(half, prepare(target)).item() for half, target in zip(halves, targets, strict=True)) / 2
        assert loss(one, prepare(other)).item() == pytest.approx(mean, rel=1e-5)


# Pixels


def test_total_variation_of_a_checkerboard_is_two_and_of_a_constant_zero():
    board = (torch.arange(6)[:, None] + torch.arange(8)[None, :]).remainder(2).float().expand(2, 3, 6, 8)
    assert total_variation_loss(board).item() == pytest.approx(2.0)
    assert total_variation_loss(torch.full((1, 3, 5, 5), 0.3)) == 0


def test_total_variation_of_a_ramp_is_its_slope_at_any_size():
    for width in (5, 11):
        ramp_image = (0.05 * torch.arange(width)).expand(1, 3, 4, width)
        assert total_variation_loss(ramp_image).item() == pytest.approx(0.05, rel=1e-5)
        assert total_variation_loss(ramp_image.mT).item() == pytest.approx(0.05, rel=1e-5)


def test_total_variation_is_the_explicit_mean():
    images = torch.rand(2, 3, 4, 5)
    vertical = [abs(float(p[y + 1, x] - p[y, x])) for p in images.flatten(0, 1) for y in range(3) for x in range(5)]
    horizontal = [abs(float(p[y, x + 1] - p[y, x])) for p in images.flatten(0, 1) for y in range(4) for x in range(4)]
    expected = sum(vertical) / len(vertical) + sum(horizontal) / len(horizontal)
    assert total_variation_loss(images).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_reconstruction_losses_are_mean_absolute_differences(loss: Callable[[Tensor, Tensor], Tensor]):
    one, other = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert loss(one, one) == 0
    assert loss(one, one + 0.25).item() == pytest.approx(0.25)
    expected = sum(abs(float(a - b)) for a, b in zip(one.flatten(), other.flatten(), strict=True)) / one.numel()
    assert loss(one, other).item() == pytest.approx(expected, rel=1e-5)


# Adversarial losses

LOSSES: dict[str, AdversarialLoss] = {
    "bce": BCE(),
    "saturating": BCE(saturating=True),
    "least_squares": LeastSquares(),
    "hinge": Hinge(),
    "wasserstein": Wasserstein(),
}


def log_sigmoid(logit: float) -> float:
    return math.log(1 / (1 + math.exp(-logit)))


NAIVE: dict[str, tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]] = {
    # Per logit: the discriminator's loss of a real and of a fake, and the generator's.
    "bce": (lambda r: -log_sigmoid(r), lambda f: -log_sigmoid(-f), lambda f: -log_sigmoid(f)),
    "saturating": (lambda r: -log_sigmoid(r), lambda f: -log_sigmoid(-f), lambda f: log_sigmoid(-f)),
    "least_squares": (lambda r: (r - 1) ** 2 / 2, lambda f: f**2 / 2, lambda f: (f - 1) ** 2 / 2),
    "hinge": (lambda r: max(0.0, 1 - r), lambda f: max(0.0, 1 + f), lambda f: -f),
    "wasserstein": (lambda r: -r, lambda f: f, lambda f: -f),
}


@pytest.mark.parametrize("name", LOSSES)
def test_adversarial_losses_are_their_formulas(name: str):
    loss, (on_real, on_fake, on_own) = LOSSES[name], NAIVE[name]
    real, fake = 3 * torch.randn(2, 1, 3, 3), 3 * torch.randn(2, 1, 3, 3)
    reals, fakes = real.flatten().tolist(), fake.flatten().tolist()
    expected = mean(list(map(on_real, reals))) + mean(list(map(on_fake, fakes)))
    assert loss.discriminator(real, fake).item() == pytest.approx(expected, rel=1e-5)
    assert loss.generator(fake).item() == pytest.approx(mean(list(map(on_own, fakes))), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_adversarial_losses_of_several_scales_are_the_mean_over_scales(name: str):
    loss = LOSSES[name]
    real, fake = [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)], [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)]
    separate = [loss.discriminator(r, f).item() for r, f in zip(real, fake, strict=True)]
    assert loss.discriminator(real, fake).item() == pytest.approx(mean(separate), rel=1e-5)
    assert loss.generator(fake).item() == pytest.approx(mean([loss.generator(f).item() for f in fake]), rel=1e-5)
    assert loss.generator(fake[:1]).item() == loss.generator(fake[0]).item()


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("bce", 1.4806575, 0.4985651),
        ("saturating", 1.4806575, -0.9589244),
        ("least_squares", 0.3638889, 0.1851153),
        ("hinge", 2.0585320, -0.4603592),
        ("wasserstein", 0.0585321, -0.4603592),
    ],
)
def test_adversarial_losses_keep_their_values(name: str, discriminator: float, generator: float):
    real, fake = ramp(12).reshape(1, 1, 3, 4), ramp(24)[12:].reshape(1, 1, 3, 4)
    assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(discriminator, abs=1e-6)
    assert LOSSES[name].generator(fake).item() == pytest.approx(generator, abs=1e-6)


def test_other_losses_keep_their_values():
    one, other = {"relu1_1": ramp(2, 3, 4, 4)}, {"relu1_1": ramp(3, 3, 4, 4)[1:].flip(-1)}
    assert content_loss(one, other).item() == pytest.approx(0.1400039, abs=1e-6)
    assert gram_style_loss(one, grams(other)).item() == pytest.approx(0.0004085, abs=1e-7)
    assert moment_style_loss(one, moments(other)).item() == pytest.approx(0.0009385, abs=1e-7)
    assert total_variation_loss(ramp(2, 3, 4, 4)).item() == pytest.approx(0.4478983, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_adversarial_losses_are_finite_for_huge_logits(name: str):
    for value in (-1e4, 1e4):
        logits = torch.full((2, 1, 2, 2), value, requires_grad=True)
        loss = LOSSES[name].discriminator(logits, logits) + LOSSES[name].generator(logits)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_loss_falls_with_its_logits_and_the_discriminators_with_the_margin(name: str):
    low, high = torch.full((1, 1), -0.5), torch.full((1, 1), 0.5)
    assert LOSSES[name].generator(high) < LOSSES[name].generator(low)
    assert LOSSES[name].discriminator(high, low) < LOSSES[name].discriminator(low, high)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_the_generator_loss_is_its_derivative(name: str):
    logits = torch.tensor([-12.0, -1.5, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOSSES[name].generator(logits), logits)
    sigmoid = 1 / (1 + torch.exp(-logits.detach()))
    derivative = {
        "bce": sigmoid - 1,
        "saturating": -sigmoid,
        "least_squares": logits.detach() - 1,
        "hinge": -torch.ones(4, dtype=torch.float64),
        "wasserstein": -torch.ones(4, dtype=torch.float64),
    }[name]
    torch.testing.assert_close(gradient * 4, derivative)


def test_at_a_confident_discriminator_only_the_saturating_gradient_vanishes():
    gradients = {}
    for saturating in (True, False):
        logits = torch.full((1, 1), -15.0, requires_grad=True)  # a fake that is surely recognised
        (gradients[saturating],) = torch.autograd.grad(BCE(saturating).generator(logits), logits)
    assert gradients[True].abs().item() < 1e-6
    assert gradients[False].item() == pytest.approx(-1.0, abs=1e-5)


def test_relativistic_losses_are_their_formulas():
    loss = Relativistic()
    real, fake = 3 * torch.randn(2, 1, 3, 3), 3 * torch.randn(2, 1, 3, 3)
    margins = [float(r - f) for r, f in zip(real.flatten(), fake.flatten(), strict=True)]
    found = loss.discriminator(real, fake).item(), loss.generator(fake, real).item()
    assert found[0] == pytest.approx(mean(-log_sigmoid(margin) for margin in margins), rel=1e-5)
    assert found[1] == pytest.approx(mean(-log_sigmoid(-margin) for margin in margins), rel=1e-5)


def test_relativistic_losses_of_equal_logits_are_log_two_at_any_level():
    for level in (-1e4, 0.0, 7.0):
        logits = [torch.full((2, 1, 4, 4), level), torch.full((2, 1, 2, 2), -level)]
        assert Relativistic().discriminator(logits, logits).item() == pytest.approx(math.log(2))
        assert Relativistic().generator(logits, logits).item() == pytest.approx(math.log(2))


def test_relativistic_losses_pair_scale_by_scale_and_are_finite_for_huge_differences():
    loss = Relativistic()
    real, fake = [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)], [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)]
    separate = [loss.discriminator(r, f).item() for r, f in zip(real, fake, strict=True)]
    assert loss.discriminator(real, fake).item() == pytest.approx(mean(separate), rel=1e-5)
    huge = torch.full((2, 1), 1e4, requires_grad=True)
    total = loss.discriminator(huge, -huge) + loss.generator(-huge, huge)
    total.backward()
    assert total.item() == pytest.approx(2e4)
    assert huge.grad is not None
    assert huge.grad.isfinite().all()


def test_the_relativistic_generator_loss_needs_real_logits():
    with pytest.raises(ValueError, match="needs the logits of real images as well"):
        Relativistic().generator(torch.zeros(1, 1))


@pytest.mark.parametrize("name", [*LOSSES, "relativistic"])
def test_only_a_relativistic_generator_loss_looks_at_real_images(name: str):
    loss = LOSSES.get(name, Relativistic())
    weights = torch.randn(3, 4, 4, requires_grad=True)
    real, fake = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4, requires_grad=True)
    seen: list[Tensor] = []

    def spy(images: Tensor) -> Tensor:
        seen.append(images)
        return linear(weights)(images)

    found = generator_loss(loss, spy, real, fake)
    found.backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    if name != "relativistic":
        assert len(seen) == 1
        torch.testing.assert_close(found, loss.generator(linear(weights)(fake)))
        return
    assert seen[1] is real
    logits = linear(weights)(fake), linear(weights)(real).detach()
    torch.testing.assert_close(found, Relativistic().generator(*logits))
    (expected,) = torch.autograd.grad(Relativistic().generator(*logits), weights)
    torch.testing.assert_close(weights.grad, expected)  # the real side has no gradient


# Penalties


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A discriminator with one logit per image, whose gradient with respect to every image is ``weights``."""
    return lambda images: (images * weights).sum(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("penalty", [r1_penalty, r2_penalty])
def test_penalties_at_one_kind_of_image_are_half_the_squared_norm_of_a_linear_discriminator(
    penalty: Callable[..., Tensor],
):
    weights, real, fake = torch.randn(3, 4, 5), torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    found = penalty(linear(weights), real, fake)
    assert found.item() == pytest.approx(0.5 * weights.square().sum().item(), rel=1e-5)
    assert not real.requires_grad
    assert not fake.requires_grad


def test_gradient_penalty_of_a_linear_discriminator_is_the_squared_distance_of_its_norm_from_one():
    weights, real, fake = torch.randn(3, 4, 5), torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    norm = weights.square().sum().sqrt().item()
    assert gradient_penalty(linear(weights), real, fake).item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert gradient_penalty(linear(weights / norm), real, fake).item() == pytest.approx(0, abs=1e-9)


def test_penalties_of_a_quadratic_discriminator_say_where_they_are_taken():
    real, fake = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    for penalty, images in ((r1_penalty, real), (r2_penalty, fake)):
        found = penalty(lambda seen: seen.square().sum(dim=(1, 2, 3), keepdim=True) / 2, real, fake)
        assert found.item() == pytest.approx(0.5 * images.square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-5)


def test_gradient_penalty_is_taken_between_real_and_fake_at_one_point_per_image():
    real, fake = torch.zeros(64, 3, 2, 2), torch.ones(64, 3, 2, 2)
    seen = []

    def spy(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.sum(dim=(1, 2, 3), keepdim=True)

    gradient_penalty(spy, real, fake)
    (points,) = seen
    assert (points == points[:, :1, :1, :1]).all()  # one mixture per image
    mixtures = points[:, 0, 0, 0]
    assert ((mixtures >= 0) & (mixtures <= 1)).all()
    assert 0.35 < mixtures.mean() < 0.65
    assert len(mixtures.unique()) > 60


@pytest.mark.parametrize("penalty", [r1_penalty, r2_penalty, gradient_penalty])
def test_penalties_take_the_mean_over_patches_and_the_sum_over_scales(penalty: Callable[..., Tensor]):
    weights, real, fake = torch.randn(3, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    single = penalty(linear(weights), real, fake)
    patches = penalty(lambda images: linear(weights)(images).expand(-1, 1, 3, 3), real, fake)
    scales = penalty(lambda images: [linear(0.3 * weights)(images), linear(0.7 * weights)(images)], real, fake)
    torch.testing.assert_close(patches, single)
    torch.testing.assert_close(scales, single)


@pytest.mark.parametrize("penalty", [r1_penalty, r2_penalty, gradient_penalty])
def test_penalties_train_the_discriminator(penalty: Callable[..., Tensor]):
    weights = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    real, fake = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(penalty(linear(weights), real, fake), weights)
    norm = weights.detach().square().sum().sqrt()
    expected = 2 * (norm - 1) / norm * weights.detach() if penalty is gradient_penalty else weights.detach()
    torch.testing.assert_close(gradient, expected)


def test_gradient_penalty_of_a_constant_discriminator_is_one_with_a_finite_gradient():
    weights = torch.zeros(3, 4, 4, requires_grad=True)
    penalty = gradient_penalty(linear(weights), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    penalty.backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()
