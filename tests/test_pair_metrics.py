"""Metrics of pairs and of sets: closed forms, second implementations, what they must and must not see."""

import math
from functools import partial
from pathlib import Path

import cleanfid.fid
import lpips
import numpy as np
import pytest
import torch
import torch_fidelity
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.stats import pearsonr, wasserstein_distance
from skimage.filters import sobel_h, sobel_v
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision import models

from scumble.images import read_image, to_float, write_image
from scumble.losses.perceptual import gram_style_loss, moment_style_loss
from scumble.metrics import LPIPS
from scumble.metrics.content import (
    edge_agreement,
    edge_strength,
    feature_distance,
    self_similarity,
    self_similarity_distance,
    ssim,
)
from scumble.metrics.distributions import (
    GivenFeatures,
    diversity,
    extrapolated_frechet_distance,
    frechet_distance,
    kernel_distance,
)
from scumble.metrics.inception import Inception
from scumble.metrics.lpips import BACKBONES
from scumble.metrics.seams import line_profile, seam_strength
from scumble.metrics.style import (
    colour_histogram,
    feature_moments,
    feature_patches,
    gram_distance,
    hellinger_distance,
    moment_distance,
    patch_coherence,
    patch_completeness,
    sliced_wasserstein_distance,
)
from scumble.metrics.temporal import flicker_of_noise, flicker_of_shift, noised, shifted
from scumble.statistics import channel_moments, gram_matrix, projected_quantiles

# Content


def test_the_feature_distance_is_the_mean_square_of_each_image():
    features = torch.zeros(2, 4, 3, 5)
    other = torch.stack([torch.full((4, 3, 5), 2.0), torch.full((4, 3, 5), -3.0)])
    assert feature_distance(features, other).tolist() == [4, 9]


def test_ssim_has_a_value_for_each_image_and_is_1_for_equal_ones():
    images = torch.rand(3, 3, 32, 32)
    found = ssim(torch.cat([images[:2], 1 - images[2:]]), images)
    assert found[:2].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert found[2] < 0
    assert ssim(images[:1], images[:1]).shape == (1,)


def test_edge_strength_is_that_of_scikit_image():
    grey = torch.rand(24, 20)
    found = edge_strength(grey.expand(1, 3, -1, -1))[0]
    expected = np.hypot(sobel_h(grey.numpy()), sobel_v(grey.numpy()))[1:-1, 1:-1]
    # scikit-image divides each filter by 4, here they are divided by 8.
    np.testing.assert_allclose(found.numpy(), expected / 2, atol=1e-5)


def test_edge_agreement_is_pearsons_correlation():
    first, second = torch.rand(2, 9, 7), torch.rand(2, 9, 7)
    expected = [pearsonr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    assert edge_agreement(first, second).tolist() == pytest.approx(expected, abs=1e-5)
    assert edge_agreement(torch.ones(1, 9, 7), second[:1]).tolist() == [0]


def test_edges_agree_whatever_the_contrast(photograph: Tensor):
    faded = 0.3 + 0.2 * photograph
    assert edge_agreement(edge_strength(faded), edge_strength(photograph)).item() == pytest.approx(1, abs=1e-4)
    moved = photograph.roll(7, dims=3)
    assert edge_agreement(edge_strength(moved), edge_strength(photograph)) < 0.5


def test_self_similarity_of_two_kinds_of_positions():
    # Two halves whose features are orthogonal: a distance of 1 across, 0 within; every column sums to half of P.
    features = torch.zeros(1, 2, 4, 4)
    features[:, 0, :, :2], features[:, 1, :, 2:] = 1, 1
    found = self_similarity(features)
    halves = torch.arange(16) % 4 < 2
    expected = (halves[:, None] != halves).float() / 8
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(self_similarity(3 * features), found)
    # Swapped, the halves are as alike as before; turned, other positions are alike.
    assert self_similarity_distance(self_similarity(features.flip(1)), found).item() == pytest.approx(0, abs=1e-6)
    turned = self_similarity_distance(self_similarity(features.mT.contiguous()), found)
    assert turned.item() == pytest.approx(16 * 16 / 2 / 8 / 16)


# Style


def test_the_moments_are_those_of_the_losses():
    features = 3 + torch.rand(2, 4, 30, 50) * torch.tensor([0.0, 0.1, 1.0, 10.0])[:, None, None]
    for laid_out in (features, features.contiguous(memory_format=torch.channels_last)):
        for found, expected in zip(feature_moments(laid_out), channel_moments(features), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_style_distances_are_the_losses_of_each_image():
    names = ("relu1_1", "relu2_1")
    features, style = ({name: torch.rand(1, 6, 8, 8) for name in names} for _ in range(2))

    def moments(features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"{n} {i}": m for n in names for i, m in enumerate(channel_moments(features[n]))}

    targets = {name: channel_moments(style[name]) for name in names}
    found = moment_distance(moments(features), moments(style))
    torch.testing.assert_close(found, moment_style_loss(features, targets)[None])
    grams, style_grams = ({n: gram_matrix(f[n]) for n in names} for f in (features, style))
    torch.testing.assert_close(gram_distance(grams, style_grams), gram_style_loss(features, style_grams)[None])


def test_the_histogram_counts_pixels_and_hellinger_compares_them():
    black_and_red = torch.zeros(1, 3, 2, 2)
    black_and_red[:, 0, 0, 0] = 1.0
    histogram = colour_histogram(black_and_red, bins=4)
    assert histogram.sum() == 1
    assert histogram[0, 0] == 0.75
    assert histogram[0, 3 * 16] == 0.25
    white = colour_histogram(torch.ones(1, 3, 2, 2), bins=4)
    assert hellinger_distance(histogram, white).tolist() == [1]
    assert hellinger_distance(histogram, histogram).item() == pytest.approx(0, abs=1e-3)
    half = torch.tensor([[0.5, 0.5]])
    assert hellinger_distance(half, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(math.sqrt(1 - math.sqrt(0.5)))


def test_colours_do_not_say_where_they_are():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(colour_histogram(images.flip(3)), colour_histogram(images))


def test_the_sliced_distance_is_scipys_along_each_direction():
    features, style = torch.rand(1, 5, 6, 6), torch.rand(1, 5, 6, 6) ** 2
    found = sliced_wasserstein_distance(
        projected_quantiles(features, projections=9), projected_quantiles(style, projections=9)
    )
    directions = torch.nn.functional.normalize(torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    flat = [(directions @ maps.flatten(2)[0]).numpy() for maps in (features, style)]
    expected = np.mean([wasserstein_distance(a, b) for a, b in zip(*flat, strict=True)])
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_shift_of_one_feature_moves_the_sliced_distance_by_its_projection():
    features = torch.rand(1, 1, 40, 40)
    first, second = projected_quantiles(features, 64), projected_quantiles(features + 0.25, 64)
    assert first.shape == (1, 64, 40 * 40)
    assert sliced_wasserstein_distance(first, second).item() == pytest.approx(0.25, rel=1e-4)
    assert projected_quantiles(torch.rand(1, 1, 128, 128), 64, side=32).shape == (1, 64, 32 * 32)


def test_the_nearest_patch_is_that_of_a_search():
    features, style = torch.rand(1, 4, 7, 7), torch.rand(1, 4, 9, 5)
    patches, style_patches = feature_patches(features), feature_patches(style)
    cosines = torch.nn.functional.cosine_similarity(patches[0][:, None], style_patches[0][None], dim=2)
    coherence = sum(1 - max(row) for row in cosines.tolist()) / len(cosines)
    completeness = sum(1 - max(row) for row in cosines.T.tolist()) / len(cosines.T)
    assert patch_coherence(patches, style_patches).item() == pytest.approx(coherence, abs=1e-5)
    assert patch_completeness(patches, style_patches).item() == pytest.approx(completeness, abs=1e-5)


def test_a_part_of_the_style_is_coherent_and_not_complete():
    style = torch.randn(1, 4, 8, 16)
    part, whole = feature_patches(style[..., :8], stride=1), feature_patches(style, stride=1)
    assert patch_coherence(part, whole).item() == pytest.approx(0, abs=1e-5)
    assert patch_completeness(part, whole) > 0.1


# Artefacts


@pytest.mark.parametrize("turned", [False, True])
def test_a_seam_is_as_strong_as_its_jump(photograph: Tensor, turned: bool):
    flat = torch.full((1, 3, 20, 30), 0.3)
    for image, tolerance in ((flat, 1e-6), (0.8 * photograph, 0.03)):
        tiled = image.clone()
        tiled[..., 16:] += 0.15
        profiles = [line_profile(each.mT if turned else each) for each in (tiled, image)]
        assert seam_strength(*profiles).item() == pytest.approx(0.15, abs=tolerance)
        assert seam_strength(profiles[1], profiles[1]).item() == 0


def test_what_is_painted_is_no_seam(photograph: Tensor):
    painted = photograph.clone()
    painted[..., 52:, 20:24] = 0.0  # a post
    assert seam_strength(line_profile(painted), line_profile(photograph)) < 0.05
    noise = (photograph + 0.05 * torch.randn_like(photograph)).clamp(0, 1)
    assert seam_strength(line_profile(noise), line_profile(photograph)) < 0.08


# Flicker


def test_what_moves_with_its_scene_does_not_flicker():
    images = torch.rand(2, 3, 40, 48)
    assert flicker_of_shift(shifted(images), images).tolist() == [0, 0]
    assert shifted(images).shape == images.shape
    stays = flicker_of_shift(images, images)
    expected = (images[..., :21, :29] - images[..., 3:24, 3:32]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(stays, expected)


def test_the_flicker_of_noise_is_the_noise_itself_for_an_unchanged_picture():
    images = torch.full((2, 3, 64, 64), 0.5)
    # The mean of the absolute value of a normal number is sqrt(2 / pi) deviations.
    assert flicker_of_noise(noised(images, 0), images).tolist() == pytest.approx([0.016, 0.016], rel=0.02)
    assert torch.equal(noised(images, 0), noised(images, 0))
    assert not torch.equal(noised(images, 0), noised(images, 1))


# Sets


def test_the_frechet_distance_of_shifted_sets_is_the_squared_shift():
    features = torch.randn(200, 5)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0])
    assert frechet_distance(features + shift, features).item() == pytest.approx(5.25, rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*will save all extracted features in buffer")
def test_the_kernel_distance_is_torchmetrics_with_all_images():
    first, second = torch.randn(30, 6), torch.randn(30, 6) + 0.3
    expected = KernelInceptionDistance(GivenFeatures(6), subsets=1, subset_size=30)
    expected.update(second, real=True)
    expected.update(first, real=False)
    assert kernel_distance(first, second).item() == pytest.approx(float(expected.compute()[0]), rel=1e-3)


def test_diversity_is_the_mean_over_all_pairs_of_a_group():
    features, groups = torch.rand(7, 4), torch.tensor([0, 1, 0, 1, 0, 2, 1])
    of_groups = []
    for group in (0, 1):
        own = features[groups == group]
        pairs = [(i, j) for i in range(len(own)) for j in range(i)]
        of_groups.append(np.mean([((own[i] - own[j]) ** 2).mean().item() for i, j in pairs]))
    assert diversity(features, groups).item() == pytest.approx(np.mean(of_groups), rel=1e-5)
    assert diversity(torch.ones(4, 3), torch.tensor([0, 0, 1, 1])) == 0
    assert diversity(torch.ones(2, 3), torch.tensor([0, 1])).isnan()


def test_the_extrapolation_takes_the_bias_of_few_images_away():
    first, second = torch.randn(8000, 3), torch.randn(8000, 3)
    plain = frechet_distance(first, second).item()
    found = extrapolated_frechet_distance(first, second, seed=0).item()
    assert found == extrapolated_frechet_distance(first, second, seed=0).item()
    assert abs(found) < max(abs(plain), 1e-2)
    with pytest.raises(ValueError, match="at least 5000 images, got 4999"):
        extrapolated_frechet_distance(first[:4999], second[:4999], seed=0)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")
def test_set_distances_are_those_of_clean_fid_and_torch_fidelity():
    first, second = torch.randn(300, 12), torch.randn(200, 12) * 1.3 + 0.4
    moments = [(f.double().numpy().mean(axis=0), np.cov(f.double().numpy(), rowvar=False)) for f in (first, second)]
    found = frechet_distance(first, second).item()
    assert found == pytest.approx(cleanfid.fid.frechet_distance(*moments[0], *moments[1]), rel=1e-4)
    theirs = fid_statistics_to_metric(*({"mu": mean, "sigma": covariance} for mean, covariance in moments), False)
    assert found == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    # Of all images at once, where theirs are means over subsets.
    same = first[:200]
    cleans = cleanfid.fid.kernel_distance(same.numpy(), second.numpy(), num_subsets=1, max_subset_size=200)
    assert kernel_distance(same, second).item() == pytest.approx(float(cleans), rel=1e-3)


@pytest.mark.slow
def test_fid_and_kid_of_image_files_are_those_of_torch_fidelity(tmp_path: Path):
    """With random weights of Inception, since the published ones are a download."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        state = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    torch.save(state, tmp_path / "inception.pth")
    for name, power in (("first", 1.0), ("second", 2.0)):
        for index in range(8):
            write_image(torch.rand(3, 40, 48) ** power, tmp_path / name / f"{index}.png")
    theirs = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "first"),
        input2=str(tmp_path / "second"),
        fid=True,
        kid=True,
        kid_subsets=1,
        kid_subset_size=8,
        feature_extractor_weights_path=str(tmp_path / "inception.pth"),
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )
    inception = Inception(tmp_path / "inception.pth")
    features = [
        inception(torch.stack([to_float(read_image(path)) for path in sorted((tmp_path / name).iterdir())]))
        for name in ("first", "second")
    ]
    assert frechet_distance(*features).item() == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert kernel_distance(*features).item() == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)


# LPIPS


@pytest.mark.filterwarnings("ignore:.*'pretrained' is deprecated", "ignore:Arguments other than a weight enum")
@pytest.mark.parametrize("network", BACKBONES)
def test_lpips_is_that_of_its_authors(network: str, tmp_path: Path):
    """With random backbones, since theirs are a download; the linear layers are the published ones."""
    name, _ = BACKBONES[network]
    theirs = lpips.LPIPS(pretrained=True, net=network, pnet_rand=True, verbose=False)
    backbone = getattr(models, name)(weights=None).features
    inner = theirs.net.state_dict()  # slice1.0.weight: the number is the layer's in torchvision's features
    backbone.load_state_dict({key.split(".", 1)[1]: value for key, value in inner.items()}, strict=False)
    save_file({f"features.{k}": v.contiguous() for k, v in backbone.state_dict().items()}, tmp_path / "b.safetensors")
    heads = {
        k: v.contiguous() for k, v in theirs.state_dict().items() if k.startswith("lin") and not k.startswith("lins")
    }
    save_file(heads, tmp_path / "heads.safetensors")
    ours = LPIPS(tmp_path / "b.safetensors", tmp_path / "heads.safetensors", network)
    first, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(first, second, normalize=True).flatten()
    torch.testing.assert_close(ours(first, second), expected, rtol=1e-4, atol=1e-6)


def test_lpips_of_an_unknown_network_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="squeeze, alex, vgg, got 'vgg19'"):
        LPIPS(tmp_path / "a", tmp_path / "b", "vgg19")


@given(st.integers(0, 2**31 - 1))
def test_distances_are_0_for_equal_images_and_symmetric(seed: int):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.rand(1, 3, 16, 16, generator=generator) for _ in range(2))
    for describe, distance in (
        (colour_histogram, hellinger_distance),
        (partial(projected_quantiles, projections=64), sliced_wasserstein_distance),
        (self_similarity, self_similarity_distance),
    ):
        assert distance(describe(first), describe(first)).item() == pytest.approx(0, abs=1e-3)
        torch.testing.assert_close(
            distance(describe(first), describe(second)), distance(describe(second), describe(first))
        )
