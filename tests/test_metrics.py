"""Metrics of generated images: closed forms, second implementations, what they must tell apart."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.models import squeezenet1_1

from scumble.metrics import LPIPS, ImageMetrics
from scumble.metrics.spectrum import checkerboard_energy
from scumble.networks.perceptual_encoders import DistilledEncoder, random_encoder

SHARED = Path(__file__).parents[2] / "shared" / "weights"


class Pixels(nn.Module):
    """An encoder whose features are the colours themselves, so that distances have closed forms."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"relu4_1": images}


def measured(encoder: nn.Module | None = None, **batches: Tensor) -> dict[str, float]:
    metrics = ImageMetrics(encoder or Pixels())
    variations = batches.pop("variations", None)
    metrics.update(batches, variations)
    return metrics.compute()


# Distributions


def flat(colours: Tensor, side: int = 32) -> Tensor:
    """Images of one colour each."""
    return colours[..., None, None].expand(-1, -1, side, side).contiguous()


def test_frechet_distance_is_that_of_the_gaussians_of_the_features():
    real, generated = torch.rand(40, 3).double(), torch.rand(50, 3).double() * 0.5 + 0.2
    found = measured(real=flat(real), generated=flat(generated))["frechet_relu4_1"]
    a, b = np.cov(real.T.numpy()), np.cov(generated.T.numpy())
    shift = ((real.mean(0) - generated.mean(0)) ** 2).sum().item()
    expected = shift + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_kernel_distance_is_the_unbiased_discrepancy_of_all_features():
    real, generated = torch.rand(12, 3), torch.rand(12, 3) * 0.5
    found = measured(real=flat(real), generated=flat(generated))["kernel_relu4_1"]

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        return (first @ second.T / 3 + 1) ** 3

    within = [(kernel(x, x).sum() - kernel(x, x).trace()) / (12 * 11) for x in (real, generated)]
    expected = within[0] + within[1] - 2 * kernel(real, generated).mean()
    assert found == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)


def test_the_kernel_distance_of_sets_of_unequal_size_is_the_same_every_time():
    real, generated = torch.rand(12, 3), torch.rand(7, 3)
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        values.append(measured(real=flat(real), generated=flat(generated))["kernel_relu4_1"])
        assert torch.initial_seed() == seed
    assert values[0] == values[1]


def test_equal_sets_have_no_distance_and_others_have():
    images = torch.rand(20, 3, 32, 32)
    encoder = random_encoder()
    same, other = (measured(encoder, real=images, generated=g) for g in (images, 1 - 0.5 * images))
    assert abs(same["frechet_relu4_1"]) < 1e-3
    assert other["frechet_relu4_1"] > same["frechet_relu4_1"] + 1e-3
    assert other["kernel_relu4_1"] > same["kernel_relu4_1"]


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of torch-fidelity's Inception."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        state = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file(state, path)
    return path


def test_fid_and_kid_are_torchmetrics_with_the_given_weights(inception: Path, tmp_path: Path):
    state = load_file(inception)
    torch.save(state, tmp_path / "inception.pth")
    real, generated = torch.rand(6, 3, 32, 32), torch.rand(6, 3, 32, 32) ** 2
    metrics = ImageMetrics(Pixels(), inception=str(inception))
    metrics.update({"real": real, "generated": generated})
    found = metrics.compute()
    expected = FrechetInceptionDistance(normalize=True, feature_extractor_weights_path=str(tmp_path / "inception.pth"))
    expected.update(real, real=True)
    expected.update(generated, real=False)
    assert found["fid"] == pytest.approx(float(expected.compute()), rel=1e-3)
    assert "kid" in found


def test_a_pickle_is_no_weights_of_inception(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth"):
        ImageMetrics(Pixels(), inception=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not the weights of torch-fidelity's Inception"):
        ImageMetrics(Pixels(), inception=str(tmp_path / "other.safetensors"))


# Distortion


def test_distortion_is_that_of_scikit_image():
    reference = torch.rand(3, 3, 48, 40)
    generated = (reference + 0.1 * torch.randn_like(reference)).clamp(0, 1)
    found = measured(generated=generated, reference=reference)
    a, b = generated.numpy(), reference.numpy()
    assert found["mse"] == pytest.approx(((a - b) ** 2).mean(), rel=1e-4)
    psnr = np.mean([peak_signal_noise_ratio(y, x, data_range=1.0) for x, y in zip(a, b, strict=True)])
    assert found["psnr"] == pytest.approx(psnr, rel=1e-4)
    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    ssim = np.mean(
        [structural_similarity(x, y, use_sample_covariance=False, **options) for x, y in zip(a, b, strict=True)]
    )
    assert found["ssim"] == pytest.approx(ssim, abs=2e-3)
    assert found["output_equals_input"] == 0
    assert "ms_ssim" not in found


def test_equal_images_have_no_distortion():
    images = torch.rand(2, 3, 176, 180)
    found = measured(generated=images, reference=images)
    assert found["mse"] == 0
    assert found["psnr"] == 100
    assert found["ssim"] == pytest.approx(1.0, abs=1e-5)
    assert found["ms_ssim"] == pytest.approx(1.0, abs=1e-5)
    assert found["output_equals_input"] == 1


def test_metrics_keep_their_digits_within_autocast():
    images, other = torch.rand(2, 2, 3, 48, 40).unbind()
    batch = {"generated": images, "reference": other, "real": other}
    expected = measured(DistilledEncoder(), **batch, variations=images)
    with torch.autocast("cpu", torch.bfloat16):
        found = measured(DistilledEncoder(), **batch, variations=images)
        same = measured(generated=images.bfloat16(), reference=images.bfloat16())
    assert found == expected
    assert same["ssim"] == pytest.approx(1.0)


# Diversity


def test_diversity_is_the_mean_over_all_pairs_and_0_for_equal_images():
    images = torch.rand(4, 3, 32, 32)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    expected = np.mean([((images[i] - images[j]) ** 2).mean().item() for i, j in pairs])
    found = measured(generated=images, variations=images)
    assert found["diversity_relu4_1"] == pytest.approx(expected, rel=1e-4)
    assert measured(generated=images, variations=images[:1].expand(4, -1, -1, -1))["diversity_relu4_1"] == 0


# Batches


def test_batches_add_up_and_reset_forgets():
    metrics = ImageMetrics(Pixels())
    real, generated = torch.rand(12, 3, 32, 32), torch.rand(12, 3, 32, 32)
    for part in (slice(0, 5), slice(5, 12)):
        metrics.update({"real": real[part], "generated": generated[part], "reference": real[part]})
    found = metrics.compute()
    metrics.reset()
    metrics.update({"real": real, "generated": generated, "reference": real})
    assert metrics.compute() == pytest.approx(found, rel=1e-4, abs=1e-6)


def test_what_cannot_be_measured_is_left_out():
    metrics = ImageMetrics(Pixels())
    assert metrics.compute() == {}
    metrics.update({"generated": torch.rand(1, 3, 32, 32), "real": torch.rand(1, 3, 32, 32)})
    assert metrics.compute().keys() == {"checkerboard", "not_finite"}


def test_images_that_are_not_finite_are_counted_and_left_out():
    generated, real = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    expected = measured(generated=generated[:3], real=real[:3], reference=real[:3])
    generated[3, 0, 0, 0] = float("nan")
    found = measured(generated=generated, real=real[:3], reference=real, variations=generated)
    assert found.pop("not_finite") == 0.25
    assert found == pytest.approx({name: value for name, value in expected.items() if name != "not_finite"}, abs=1e-6)
    nothing = torch.full((2, 3, 32, 32), float("inf"))
    assert measured(generated=nothing, real=real[:2], variations=nothing) == {"not_finite": 1.0}


def test_grey_images_are_measured_as_colour():
    grey = torch.rand(4, 1, 32, 32)
    found = measured(generated=grey, real=grey, reference=grey)
    assert found["mse"] == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 3, 8, 8) * 2 - 1, r"generated must be in \[0, 1\], got values from -"),
        (
            torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8),
            r"must be floats \(B, 1 or 3, H, W\), got torch.uint8",
        ),
        (torch.rand(2, 4, 8, 8), r"must be floats \(B, 1 or 3, H, W\)"),
    ],
)
def test_images_of_another_kind_are_refused(images: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        measured(generated=images)


# Grids


def test_grids_stand_out_and_pictures_do_not():
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(8, 3, 12, 12), size=(96, 96), mode="bicubic").clamp(0, 1)
    noise = torch.rand(8, 3, 96, 96)
    row, column = torch.arange(96)[:, None], torch.arange(96)
    boards = {
        "2 pixels": ((row + column) % 2).float(),
        "2 pixels across": (column % 2).float().expand(96, 96),
        "4 pixels down": (row % 4 < 2).float().expand(96, 96),
    }
    for base in (smooth, noise):
        plain = checkerboard_energy(base)
        assert plain.max() < 3
        for name, board in boards.items():
            found = checkerboard_energy(0.8 * base + 0.2 * board)
            assert found.min() > 5 * plain.max(), name


def test_flat_and_small_images_have_no_grid():
    assert checkerboard_energy(torch.full((2, 3, 64, 64), 0.5)).tolist() == pytest.approx([1, 1], rel=1e-3)
    assert checkerboard_energy(torch.rand(2, 3, 16, 64)).tolist() == [1, 1]


# LPIPS


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, Path]:
    """Random weights in the files' format."""
    torch.manual_seed(0)
    backbone, heads = tmp_path / "backbone.safetensors", tmp_path / "heads.safetensors"
    save_file(squeezenet1_1(weights=None).state_dict(), backbone)
    widths = (64, 128, 256, 384, 384, 512, 512)
    save_file({f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}, heads)
    return backbone, heads


def test_lpips_is_0_for_equal_images_and_symmetric(weights: tuple[Path, Path]):
    lpips = LPIPS(*weights)
    first, second = torch.rand(2, 3, 64, 48), torch.rand(2, 3, 64, 48)
    assert lpips(first, first).tolist() == [0, 0]
    torch.testing.assert_close(lpips(first, second), lpips(second, first))
    assert (lpips(first, second) > 0).all()
    found = measured_with(lpips, generated=first, reference=second, variations=first)
    assert found["lpips"] == pytest.approx(lpips(first, second).mean().item(), rel=1e-4)
    assert found["diversity_lpips"] > 0


def measured_with(lpips: LPIPS, variations: Tensor, **results: Tensor) -> dict[str, float]:
    metrics = ImageMetrics(Pixels(), lpips=lpips)
    metrics.update(results, variations)
    return metrics.compute()


def test_lpips_of_other_weights_is_refused(weights: tuple[Path, Path]):
    backbone, heads = weights
    with pytest.raises(ValueError, match=r"not torchvision's squeezenet1_1"):
        LPIPS(heads, heads)
    with pytest.raises(ValueError, match=r"not the linear layers of LPIPS"):
        LPIPS(backbone, backbone)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published weights")
def test_lpips_with_the_published_weights_grows_with_the_damage():
    lpips = LPIPS(SHARED / "squeezenet1_1_features.safetensors", SHARED / "lpips_squeeze_v0.1_linear.safetensors")
    image = nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(64, 64), mode="bicubic").clamp(0, 1)
    noise = torch.randn_like(image)
    distances = [lpips(image, (image + strength * noise).clamp(0, 1)).item() for strength in (0.02, 0.1, 0.4)]
    assert 0 < distances[0] < distances[1] < distances[2] < 2
