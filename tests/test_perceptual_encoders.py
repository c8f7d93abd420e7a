import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.data.image_set import center_crop
from scumble.images import read_image
from scumble.networks import perceptual_encoders
from scumble.networks.perceptual_encoders import (
    DISTILLED_WEIGHTS,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    STYLE_LAYERS,
    VGG,
    VGG16_DEPTHS,
    DistilledEncoder,
    random_encoder,
    vgg16,
    vgg19,
    vgg19_normalised,
)
from scumble.tasks.distillation import content_distances, gram_distances, style_distances

VGG19_RELUS = [
    f"relu{block}_{index}" for block, depth in enumerate((2, 2, 4, 4, 4), 1) for index in range(1, depth + 1)
]


@pytest.fixture(scope="module")
def normalised(shared: Path) -> VGG:
    return vgg19_normalised(shared / "weights" / "vgg19_normalised_relu4_1.safetensors")


# VGG


def test_vgg_names_and_shapes_its_features():
    encoder = VGG(layers=("relu1_2", "relu2_1", "relu3_4", "relu5_4"))
    with torch.no_grad():
        shapes = {layer: tuple(maps.shape) for layer, maps in encoder(torch.rand(2, 3, 32, 48)).items()}
    assert shapes == {
        "relu1_2": (2, 64, 32, 48),
        "relu2_1": (2, 128, 16, 24),
        "relu3_4": (2, 256, 8, 12),
        "relu5_4": (2, 512, 2, 3),
    }


def test_vgg_computes_no_deeper_than_it_is_asked():
    assert list(VGG(layers=("relu2_1", "relu1_1")).convolutions) == ["conv1_1", "conv1_2", "conv2_1"]
    assert list(VGG(VGG16_DEPTHS, layers=("relu3_3",)).convolutions)[-1] == "conv3_3"


@pytest.mark.parametrize(("ceil_mode", "sides"), [(False, (33, 16, 8, 4)), (True, (33, 17, 9, 5))])
def test_vgg_rounds_odd_sizes_as_it_is_told(ceil_mode: bool, sides: tuple[int, ...]):
    encoder = VGG(layers=STYLE_LAYERS, padding_mode="reflect", ceil_mode=ceil_mode)
    with torch.no_grad():
        assert tuple(maps.shape[-1] for maps in encoder(torch.rand(1, 3, 33, 33)).values()) == sides


def test_features_are_after_the_relu():
    with torch.no_grad():
        for maps in random_encoder()(torch.rand(1, 3, 16, 16)).values():
            assert maps.min() == 0


@pytest.mark.parametrize("make", [VGG, random_encoder, lambda layers: DistilledEncoder(None, layers=layers)])
def test_an_unknown_layer_is_named_with_the_accepted_ones(make):
    with pytest.raises(ValueError, match=r"unknown layers \['relu9_1'\]; accepted: relu1_1, .*relu4_1"):
        make(layers=("relu1_1", "relu9_1"))
    with pytest.raises(ValueError, match="accepted"):
        make(layers=())


def test_the_normalised_vgg_has_mean_activations_of_about_one(normalised: VGG, photograph: Tensor):
    with torch.no_grad():
        for layer, maps in normalised(F.interpolate(photograph, scale_factor=2, mode="bilinear")).items():
            assert 0.4 < maps.mean() < 2.5, layer


def test_the_normalised_vgg_is_its_published_layers(shared: Path, normalised: VGG, photograph: Tensor):
    """A second implementation, straight from the file, at odd sizes."""
    state = load_file(shared / "weights" / "vgg19_normalised_relu4_1.safetensors")
    images = photograph[..., :45, :51]
    hidden = F.conv2d(images, state["conv0.weight"], state["conv0.bias"])
    expected = {}
    for block, depth in enumerate((2, 2, 4, 1), 1):
        if block > 1:
            hidden = F.max_pool2d(hidden, 2, 2, ceil_mode=True)
        for index in range(1, depth + 1):
            name = f"conv{block}_{index}"
            padded = F.pad(hidden, (1, 1, 1, 1), mode="reflect")
            hidden = F.conv2d(padded, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
            expected[f"relu{block}_{index}"] = hidden
    with torch.no_grad():
        for layer, maps in normalised(images).items():
            torch.testing.assert_close(maps, expected[layer], rtol=1e-4, atol=1e-4)


def test_the_normalised_vgg_has_no_layers_beyond_its_file(shared: Path):
    with pytest.raises(ValueError, match="not weights of this network"):
        vgg19_normalised(shared / "weights" / "vgg19_normalised_relu4_1.safetensors", layers=("relu5_1",))


# torchvision's VGG


@pytest.mark.parametrize(("name", "layers"), [("vgg19", ("relu1_2", "relu3_4")), ("vgg16", ("relu2_2", "relu3_3"))])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_weights_give_torchvisions_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layers: tuple[str, ...], suffix: str
):
    configuration = torchvision.models.vgg.cfgs["E" if name == "vgg19" else "D"]
    features = torchvision.models.vgg.make_layers(configuration)
    for parameter in features.parameters():
        nn.init.normal_(parameter, std=0.05)
    path = tmp_path / f"weights{suffix}"
    state = {f"features.{key}": tensor for key, tensor in features.state_dict().items()}
    state["classifier.0.bias"] = torch.zeros(4)  # as in the whole file, to be left out
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    encoder = {"vgg19": vgg19, "vgg16": vgg16}[name](weights=path, layers=layers)

    images = torch.rand(1, 3, 33, 38)
    hidden = torchvision.transforms.functional.normalize(images, IMAGENET_MEAN, IMAGENET_DEVIATION)
    expected, block, index = {}, 1, 1
    with torch.no_grad():
        for layer in features:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):
                expected[f"relu{block}_{index}"] = hidden.clone()
                index += 1
            elif isinstance(layer, nn.MaxPool2d):
                block, index = block + 1, 1
        found = encoder(images)
    assert tuple(found) == layers
    for layer, maps in found.items():
        torch.testing.assert_close(maps, expected[layer], rtol=1e-4, atol=1e-4)


def test_without_weights_or_download_the_error_says_how_to_supply_them():
    for make, name in ((vgg19, "vgg19"), (vgg16, "vgg16")):
        with pytest.raises(
            ValueError, match=rf"{name} needs weights: set perceptual_encoder\.weights=PATH.*{name}-.*pth"
        ):
            make()


def test_download_is_asked_of_torchvisions_address(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def refuse(url: str, **options: object) -> None:
        asked.append((url, options))
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(OSError, match="no network"):
        vgg16(download=True)
    ((url, options),) = asked
    assert url.startswith("https://download.pytorch.org/models/vgg16-")
    assert options["weights_only"] is True


# Weight files


@pytest.mark.parametrize("make", [vgg19, vgg16, vgg19_normalised, DistilledEncoder])
def test_a_missing_weight_file_is_named_with_the_setting(make, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth; set perceptual_encoder\.weights=PATH"):
        make(weights=tmp_path / "absent.pth")


@pytest.mark.parametrize("make", [vgg19, vgg19_normalised, DistilledEncoder])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights at all",
        pickle.dumps([1, 2], protocol=2),
        {"state_dict": {"a": torch.zeros(1)}},
        [1, 2],
        {"a": 1},
    ],
    ids=["empty", "text", "pickle", "checkpoint", "list", "numbers"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_file_is_refused_by_name(make, content: object, suffix: str, tmp_path: Path):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"other\.(pth|safetensors): not"):
        make(weights=path)


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_weight_file_that_would_run_code_is_refused(zipped: bool, tmp_path: Path):
    sentinel, path = tmp_path / "sentinel", tmp_path / "weights.pth"
    torch.save({"a": Malicious(f"touch {sentinel}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"weights\.pth: not a readable weight file"):
        vgg19(weights=path)
    assert not sentinel.exists()


def test_weights_of_other_shapes_are_refused(tmp_path: Path):
    save_file(dict(DistilledEncoder(None, widths=(4, 8, 16, 32)).state_dict()), tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"narrow\.safetensors: not weights of this network.*blocks"):
        DistilledEncoder(weights=tmp_path / "narrow.safetensors")


# The random encoder


def test_the_random_encoder_depends_on_its_seed_alone():
    images = torch.rand(1, 3, 16, 16)
    torch.manual_seed(1)
    one = random_encoder(layers=("relu2_1",))(images)["relu2_1"]
    torch.manual_seed(2)
    assert torch.equal(random_encoder(layers=("relu2_1",))(images)["relu2_1"], one)
    assert not torch.allclose(random_encoder(layers=("relu2_1",), seed=1)(images)["relu2_1"], one)


def test_the_random_encoder_does_not_disturb_the_generator_of_others():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    random_encoder(layers=("relu1_1",))
    assert torch.equal(torch.rand(3), expected)


# The distilled encoder


@pytest.mark.parametrize("size", [(32, 48), (33, 29), (17, 16)])
def test_the_distilled_encoder_has_vggs_resolutions(size: tuple[int, int]):
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        found = DistilledEncoder(weights=None)(images)
        vgg = VGG(layers=STYLE_LAYERS, padding_mode="reflect", ceil_mode=True)(images)
    assert {layer: maps.shape[-2:] for layer, maps in found.items()} == {
        layer: maps.shape[-2:] for layer, maps in vgg.items()
    }
    assert [maps.shape[:2] for maps in found.values()] == [(2, 16), (2, 32), (2, 64), (2, 128)]


def test_the_distilled_encoder_gives_the_layers_that_are_asked_for():
    encoder = DistilledEncoder(weights=None, layers=("relu4_1", "relu2_1"))
    assert set(encoder(torch.rand(1, 3, 16, 16))) == {"relu4_1", "relu2_1"}


def test_the_distilled_encoder_loads_what_it_saves(tmp_path: Path):
    encoder = DistilledEncoder(weights=None)
    save_file({name: tensor.half() for name, tensor in encoder.state_dict().items()}, tmp_path / "student.safetensors")
    images = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        again = DistilledEncoder(weights=tmp_path / "student.safetensors")(images)
        for layer, maps in encoder(images).items():
            assert again[layer].dtype == torch.float32
            torch.testing.assert_close(again[layer], maps, rtol=1e-2, atol=1e-2)


# What ships: distilled.safetensors


def test_the_shipped_weights_are_small():
    assert DISTILLED_WEIGHTS.stat().st_size <= 2_000_000


def test_the_shipped_encoder_sees(photograph: Tensor):
    encoder = DistilledEncoder()
    with torch.no_grad():
        features = encoder(photograph)
    assert tuple(features) == STYLE_LAYERS
    for layer, maps in features.items():
        assert maps.isfinite().all(), layer
        assert maps.std() > 1e-3, layer


def held_out(folder: Path, count: int) -> list[Path]:
    """Images of the validation split of `data=folders`: the tenth with the smallest hashes, not seen in training."""
    chosen = []
    for path in sorted(folder.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if int(digest[:8], 16) / 2**32 < 0.1:
            chosen.append(path)
    return chosen[:count]


@torch.no_grad()
def test_the_shipped_encoder_ranks_distances_as_vgg_does(shared: Path, normalised: VGG):
    paths = [path for kind in ("content", "style") for path in held_out(shared / "images" / kind, 10)]
    images = torch.stack([center_crop(read_image(path, shorter_side=128), 128) for path in paths])
    ours, theirs = ({}, {})
    for features, encoder in ((ours, DistilledEncoder()), (theirs, normalised)):
        for batch in images.split(5):
            for layer, maps in encoder(batch).items():
                features.setdefault(layer, []).append(maps)
    ours, theirs = ({layer: torch.cat(maps) for layer, maps in features.items()} for features in (ours, theirs))
    assert len(images) * (len(images) - 1) / 2 >= 100
    least = {content_distances: 0.85, style_distances: 0.93, gram_distances: 0.93}
    for distances, bound in least.items():  # summed over the layers, as the losses do
        correlation = spearmanr(distances(ours).sum(dim=0), distances(theirs).sum(dim=0)).statistic
        assert correlation >= bound, distances.__name__


def test_the_default_encoder_is_the_shipped_one():
    assert DISTILLED_WEIGHTS.parent.name == "pretrained"
    assert perceptual_encoders.DISTILLED_WEIGHTS.is_relative_to(Path(perceptual_encoders.__file__).parent)
