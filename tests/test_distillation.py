import math
from functools import partial
from pathlib import Path

import pytest
import torch
from runs import make_images, scumble_here
from torch import Tensor, nn

from scumble.callbacks import ExportEncoder
from scumble.checkpoint import load_task
from scumble.losses.perceptual import content_loss, gram_style_loss, moment_style_loss
from scumble.networks.perceptual_encoders import STYLE_LAYERS, DistilledEncoder, random_encoder, start_from_teacher
from scumble.statistics import channel_moments, gram_matrix
from scumble.tasks.distillation import (
    Distillation,
    Heads,
    content_distances,
    encoder_state,
    feature_loss,
    gram_distances,
    log_distance_loss,
    lure,
    related_images,
    style_distances,
)

PAIRS = [(i, j) for i in range(4) for j in range(i + 1, 4)]


@pytest.fixture
def features() -> dict[str, Tensor]:
    shapes = {"relu1_1": (4, 3, 6, 6), "relu4_1": (4, 5, 2, 3)}
    return {layer: torch.rand(*shape) for layer, shape in shapes.items()}


def one(features: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {layer: maps[index : index + 1] for layer, maps in features.items()}


# Distances between all pairs of a batch: what the losses say of each pair


def test_content_distances_are_the_content_loss_of_each_pair(features: dict[str, Tensor]):
    found = content_distances(features)
    assert found.shape == (1, 6)
    for column, (i, j) in enumerate(PAIRS):
        target = {"relu4_1": one(features, j)["relu4_1"]}
        assert found[0, column].item() == pytest.approx(content_loss(one(features, i), target).item(), rel=1e-4)


def test_style_distances_are_the_moment_loss_of_each_pair_and_layer(features: dict[str, Tensor]):
    found = style_distances(features)
    assert found.shape == (2, 6)
    for row, layer in enumerate(features):
        for column, (i, j) in enumerate(PAIRS):
            target = {layer: channel_moments(one(features, j)[layer])}
            expected = moment_style_loss(one(features, i), target).item()
            assert found[row, column].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_gram_distances_are_the_gram_loss_of_each_pair_and_layer_over_channels(features: dict[str, Tensor]):
    found = gram_distances(features)
    assert found.shape == (2, 6)
    for row, layer in enumerate(features):
        for column, (i, j) in enumerate(PAIRS):
            target = {layer: gram_matrix(one(features, j)[layer])}
            expected = gram_style_loss(one(features, i), target).item() / features[layer].shape[1]
            assert found[row, column].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


# Losses


def test_log_distance_loss_is_the_mean_square_of_the_log_ratio():
    student, teacher = torch.rand(2, 6) + 0.01, torch.rand(2, 6) + 0.01
    ratios = [math.log(s / t) ** 2 for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)]
    assert log_distance_loss(student, teacher).item() == pytest.approx(sum(ratios) / 12, rel=1e-4)
    assert log_distance_loss(teacher, teacher) == 0
    assert log_distance_loss(math.e * teacher, teacher).item() == pytest.approx(1.0, rel=1e-4)


def test_log_distance_loss_is_finite_for_equal_images():
    student = torch.tensor([0.0, -1e-7, 1.0], requires_grad=True)
    loss = log_distance_loss(student, torch.tensor([0.0, 0.5, 0.0]))
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_feature_loss_is_relative_to_the_teacher(features: dict[str, Tensor]):
    assert feature_loss(features, features) == 0
    nothing = {layer: torch.zeros_like(maps) for layer, maps in features.items()}
    assert feature_loss(nothing, features).item() == pytest.approx(1.0)
    halved = {layer: maps / 2 for layer, maps in features.items()}
    assert feature_loss(halved, features).item() == pytest.approx(0.25)
    scaled = ({layer: 7 * maps for layer, maps in each.items()} for each in (halved, features))
    assert feature_loss(*scaled).item() == pytest.approx(0.25)


# Images


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_related_images_are_content_style_and_others_in_range(batch: int):
    content, style = torch.rand(batch, 3, 16, 12), torch.rand(batch, 3, 16, 12)
    images = related_images(content, style)
    assert images.shape == (3 * batch, 3, 16, 12)
    assert torch.equal(images[:batch], content)
    assert torch.equal(images[batch : 2 * batch], style)
    assert images.min() >= 0
    assert images.max() <= 1
    for index in range(batch):
        third = images[2 * batch + index]
        assert third.isfinite().all()
        assert not torch.equal(third, content[index])


def test_related_images_are_drawn_from_torchs_generator():
    content, style = torch.rand(5, 3, 8, 8), torch.rand(5, 3, 8, 8)
    torch.manual_seed(3)
    first = related_images(content, style)
    second = related_images(content, style)
    torch.manual_seed(3)
    assert torch.equal(related_images(content, style), first)
    assert not torch.equal(second, first)


# The task


@pytest.fixture
def task() -> Distillation:
    return Distillation(
        student=DistilledEncoder(weights=None, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1)),
        teacher=random_encoder(),
        loss_weights=dict.fromkeys(Distillation.terms, 1.0),
        copy_first_filters=False,
        optimizers={"student": partial(torch.optim.Adam, lr=1e-2)},
    )


def test_heads_predict_the_teachers_widths():
    heads = Heads({"relu1_1": 2, "relu2_1": 3, "relu9_9": 1}, {"relu1_1": 5, "relu2_1": 7})
    predicted = heads({"relu1_1": torch.rand(1, 2, 4, 4), "relu2_1": torch.rand(1, 3, 2, 2)})
    assert {layer: tuple(maps.shape) for layer, maps in predicted.items()} == {
        "relu1_1": (1, 5, 4, 4),
        "relu2_1": (1, 7, 2, 2),
    }


def test_only_the_named_terms_are_computed(task: Distillation):
    images = torch.rand(3, 3, 16, 16)
    assert set(task.losses(images, {"style": 1.0})) == {"style"}
    terms = task.losses(images, dict.fromkeys(Distillation.terms, 1.0))
    assert set(terms) == {"features", "content", "style", "gram"}
    for name, term in terms.items():
        assert term.shape == (), name
        assert term.isfinite(), name
        assert term > 0, name


def test_a_misspelt_term_is_named_with_the_accepted_ones():
    with pytest.raises(ValueError, match=r"unknown loss term 'styl' .*accepted: features, content, style, gram"):
        Distillation(DistilledEncoder(None), random_encoder(), {"styl": 1.0}, optimizers={})


def test_the_student_is_trained_and_the_teacher_is_not(task: Distillation):
    assert not any(name.startswith("teacher") for name in task.state_dict())
    terms = task.losses(torch.rand(3, 3, 16, 16), dict.fromkeys(Distillation.terms, 1.0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in task.student.parameters())
    assert all(parameter.grad is None for parameter in task.teacher.network.parameters())


def test_the_student_learns_the_teachers_distances(task: Distillation):
    content, style = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16) ** 3
    images = related_images(content, style)
    optimizer = torch.optim.Adam(task.student.parameters(), lr=1e-2)
    history = []
    for _ in range(30):
        terms = task.losses(images, dict.fromkeys(Distillation.terms, 1.0))
        history.append({name: term.item() for name, term in terms.items()})
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    for name in Distillation.terms:
        assert history[-1][name] < 0.6 * history[0][name], (name, history[0], history[-1])


def test_the_student_starts_with_some_of_the_teachers_filters():
    student, teacher = DistilledEncoder(weights=None), random_encoder()
    start_from_teacher(student, teacher)
    images = torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        own, theirs = student(images)["relu1_1"], teacher(images)["relu1_1"]
    chosen = [round(63 * index / 15) for index in range(16)]
    torch.testing.assert_close(own, theirs[:, chosen], rtol=1e-4, atol=1e-5)


def test_only_a_vgg_has_first_filters_to_start_with():
    with pytest.raises(ValueError, match=r"needs a VGG as the teacher, got DistilledEncoder; set perceptual_encoder="):
        Distillation(DistilledEncoder(None), DistilledEncoder(None), {}, optimizers={})


def test_lured_images_fool_the_student_more(task: Distillation):
    images, style = torch.rand(4, 3, 16, 16) ** 3, torch.rand(4, 3, 16, 16)
    lured = lure(task, images, style, steps=4)
    assert lured.min() >= 0
    assert lured.max() <= 1
    assert not lured.requires_grad
    with torch.no_grad():
        targets = {layer: channel_moments(maps) for layer, maps in task(style).items()}
        before, after = (moment_style_loss(task(batch), targets) for batch in (images, lured))
    assert after < before
    assert torch.equal(lure(task, images, style, steps=0), images)


def test_encoder_state_is_the_encoder_alone_in_half_precision(task: Distillation):
    state = dict(encoder_state(task))
    expected = task.student.encoder.state_dict()
    assert state.keys() == expected.keys()
    assert all(layer in " ".join(state) for layer in STYLE_LAYERS)
    for name, tensor in state.items():
        assert tensor.dtype == torch.float16
        assert tensor.is_contiguous()
        torch.testing.assert_close(tensor.float(), expected[name], rtol=1e-3, atol=1e-4)


def test_a_run_exports_an_encoder_that_loads(tmp_path: Path):
    images = make_images(tmp_path / "images", 4)
    small = ["debug=tiny", "logger=csv", "data=folders", f"data.content={images}", f"data.style={images}", "steps=1"]
    small += ["data.validation_size=32", "val_every_n_steps=1", "data.load_size=40", "task.lure_steps=1"]
    scumble_here("train", "experiment=distill", "perceptual_encoder=random", *small, "run_dir=run", cwd=tmp_path)
    file = tmp_path / "run" / "encoder.safetensors"
    task = load_task(tmp_path / "run")
    encoder = DistilledEncoder(str(file))
    for name, tensor in task.student.encoder.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_only_a_distillation_has_an_encoder_to_export(tmp_path: Path):
    with pytest.raises(ValueError, match=r"the task is a Linear; set callbacks\.encoder=null"):
        ExportEncoder(tmp_path).setup(None, nn.Linear(1, 1), "fit")  # type: ignore[arg-type]
