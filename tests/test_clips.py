"""Clips: optical flow, the warping error, and how a protocol measures them."""

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import make_images, scumble_here
from skimage.data import astronaut
from torch import Tensor, nn

from scumble.images import ImageError, read_image, resize, to_float, write_image
from scumble.metrics.video import Motion, is_consistent, motion_since, optical_flow, warped, warping_error
from scumble.protocol.clips import freeze_clips, measure_clips
from scumble.protocol.creation import make_protocol
from scumble.protocol.definition import FrozenFile, FrozenNetwork, Protocol, ProtocolError, read_protocol
from scumble.protocol.lookup import find_files
from scumble.protocol.networks import make_networks
from scumble.protocol.painters import Model, Pictures
from scumble.protocol.references import References
from scumble.protocol.scores import read_scores
from scumble.protocol.scoring import batches_of, join, measure, sum_up

SIDE = 64
METRICS = ["ssim", "flicker_video"]
ALL_VISIBLE = torch.ones(SIDE, SIDE, dtype=torch.bool)


def constant_flow(down: float, right: float, side: int = SIDE) -> Tensor:
    return torch.tensor([float(down), float(right)]).reshape(2, 1, 1).expand(2, side, side)


def walk(picture: Tensor, count: int, down: int, right: int, side: int = SIDE) -> list[Tensor]:
    """A camera that passes over a picture."""
    return [picture[:, index * down :, index * right :][:, :side, :side] for index in range(count)]


@pytest.fixture(scope="module")
def scene() -> Tensor:
    """A photograph (3, 96, 96)."""
    return resize(to_float(torch.from_numpy(astronaut()).permute(2, 0, 1)), (96, 96))


# Flow


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (3, 5), (6, 2)])
def test_the_flow_of_a_known_motion(scene: Tensor, down: int, right: int):
    previous, frame = walk(scene, 2, down, right)
    flow = optical_flow(frame, previous)
    # What the camera shows at p was at p + (down, right), as long as that was in the picture.
    error = (flow - constant_flow(down, right))[:, : SIDE - down, : SIDE - right].norm(dim=0)
    assert error.median() < 0.05
    assert error.quantile(0.9) < 0.3


def test_warping_is_bilinear():
    """The second implementation: pixel by pixel."""
    images, flow = torch.rand(2, 3, 7, 9), 4 * torch.randn(2, 7, 9)
    expected = torch.zeros_like(images)
    for row, column in itertools.product(range(7), range(9)):
        down = min(max(row + float(flow[0, row, column]), 0), 6)
        right = min(max(column + float(flow[1, row, column]), 0), 8)
        top, left = min(int(down), 5), min(int(right), 7)
        y, x = down - top, right - left
        expected[:, :, row, column] = (
            (1 - y) * (1 - x) * images[:, :, top, left]
            + (1 - y) * x * images[:, :, top, left + 1]
            + y * (1 - x) * images[:, :, top + 1, left]
            + y * x * images[:, :, top + 1, left + 1]
        )
    torch.testing.assert_close(warped(images, flow), expected, rtol=1e-4, atol=1e-5)


def test_what_a_square_has_uncovered_was_not_visible():
    """A square of 16 pixels, which has gone 4 to the right before ground that stands still, in its exact flow."""
    forth, back = torch.zeros(2, 2, SIDE, SIDE)
    forth[1, 20:36, 20:36] = 4  # where it was
    back[1, 20:36, 24:40] = -4  # where it is
    visible = is_consistent(back, forth)
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hidden[20:36, 20:24] = True
    assert torch.equal(visible, ~hidden)


def test_what_a_square_has_uncovered_is_found_in_pictures(scene: Tensor):
    ground, square = scene[:, :SIDE, :SIDE], scene.flip(0)[:, 40:64, 40:64]
    previous, frame = ground.clone(), ground.clone()
    previous[:, 20:44, 16:40] = square
    frame[:, 20:44, 22:46] = square
    motion = motion_since(previous, frame)
    assert motion.visible[20:44, 16:22].float().mean() < 0.5
    assert motion.visible[2:-2, 2:12].all()
    assert motion.visible.float().mean() > 0.85
    hidden = warping_error(frame[None], previous[None], Motion(motion.flow, ~motion.visible))
    assert warping_error(frame[None], previous[None], motion) < 0.1 * hidden


def test_what_comes_into_the_picture_was_not_visible():
    visible = is_consistent(constant_flow(2, -3), constant_flow(-2, 3))
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[:-2, 3:] = True
    assert torch.equal(visible, expected)


# The error


def test_what_moves_with_its_scene_has_no_error():
    images = torch.rand(2, 3, SIDE + 5, SIDE + 5)
    previous, frames = images[..., :SIDE, :SIDE], images[..., 2 : SIDE + 2, 5:]
    motion = Motion(constant_flow(2, 5), is_consistent(constant_flow(2, 5), constant_flow(-2, -5)))
    assert warping_error(frames, previous, motion).tolist() == pytest.approx([0, 0], abs=1e-5)
    stays = warping_error(previous, previous, motion)
    expected = (previous[..., 2:, 5:] - previous[..., :-2, :-5]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(stays, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("step", "kept"), [(0.0, 1.0), (3.0, 1.0), (0.5, 0.25)])
def test_the_error_of_independent_noise(step: float, kept: float):
    """The mean of |N(0, v)| is sqrt(2 v / pi); half way between 4 pixels a quarter of the variance is kept."""
    previous, frames = 0.5 + 0.1 * torch.randn(2, 2, 3, 128, 128)
    flow = constant_flow(step, step, 128)
    motion = Motion(flow, is_consistent(flow, -flow))
    expected = 0.1 * math.sqrt(2 * (1 + kept) / math.pi)
    assert warping_error(frames, previous, motion).tolist() == pytest.approx([expected] * 2, rel=0.02)


def test_without_a_visible_pixel_there_is_no_error():
    images = torch.rand(1, 3, SIDE, SIDE)
    assert warping_error(images, images, Motion(constant_flow(0, 0), ~ALL_VISIBLE)).isnan().all()


# Freezing


@pytest.fixture(scope="module")
def images(scene: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contents, styles, and two clips: ``walk`` has a camera that moves, ``still`` none."""
    root = tmp_path_factory.mktemp("images")
    make_images(root / "content", 2, seed=1)
    make_images(root / "style", 3, seed=2)
    for index, frame in enumerate(walk(scene, 3, 2, 3)):
        write_image(frame, root / "walk" / f"frame{9 + index}.png")
        write_image(scene[:, :SIDE, :SIDE], root / "still" / f"frame{9 + index}.png")
    return root


@pytest.fixture(scope="module")
def protocol(images: Path) -> Protocol:
    sides = [images / "content"], [images / "style"]
    clips = [images / "walk", images / "still"]
    return make_protocol(*sides, "2x3", SIDE, metrics=METRICS, clips=clips, clip_styles=2)


def references_of(protocol: Protocol, cache: Path | None = None) -> References:
    found = find_files([*protocol.pictures(), *protocol.files()], protocol.folders)
    return References(protocol, found, make_networks(protocol, found), cache)


def model_of(paint: object) -> Model:
    model = Model(nn.Identity(), 0)
    model.generator = paint  # type: ignore[assignment]
    return model


def untouched(content: Tensor, style: Tensor) -> Tensor:
    return content


def noisy(content: Tensor, style: Tensor) -> Tensor:
    return (content + 0.05 * torch.rand_like(content, generator=GENERATOR)).clamp(0, 1)


GENERATOR = torch.Generator().manual_seed(0)  # unlike torch's own, it is not set back for each frame


def test_frames_are_in_the_order_of_the_numbers_in_their_names(protocol: Protocol):
    assert [frame.name for frame in protocol.clips[0].frames] == [
        "walk/frame9.png", "walk/frame10.png", "walk/frame11.png",
    ]  # fmt: skip
    assert protocol.clip_pairs == [(clip, style) for clip in (0, 1) for style in protocol.clip_styles]


def test_a_protocol_with_clips_is_what_was_written(protocol: Protocol, tmp_path: Path):
    protocol.write(tmp_path / "p.json")
    again = read_protocol(tmp_path / "p.json")
    assert again.id == protocol.id
    assert (again.clips, again.clip_styles) == (protocol.clips, protocol.clip_styles)
    content = json.loads((tmp_path / "p.json").read_text())
    for change in (
        {"clips": content["clips"][::-1]},
        {"clips": [clip | {"frames": clip["frames"][::-1]} for clip in content["clips"]]},
        {"clip_styles": content["clip_styles"][::-1]},
        {"clips": []},
    ):
        (tmp_path / "p.json").write_text(json.dumps(content | change))
        with pytest.raises(ProtocolError, match="changed since it was written"):
            read_protocol(tmp_path / "p.json")
    (tmp_path / "p.json").write_text(json.dumps(content | {"clip_styles": [3]}))
    with pytest.raises(ProtocolError, match="the styles of its clips are not of its images"):
        read_protocol(tmp_path / "p.json")


def test_a_protocol_from_before_there_were_clips_keeps_its_id(tmp_path: Path):
    file = FrozenFile("a.png", "c0", 1)
    network = FrozenNetwork("squeeze", {"heads": FrozenFile("h", "h0", 1), "backbone": FrozenFile("k", "k0", 1)})
    protocol = Protocol(
        size=64,
        seed=3,
        content=(file, FrozenFile("b.png", "c1", 1)),
        style=(FrozenFile("s.png", "s0", 1),),
        pairs=((0, 0), (1, 0)),
        metrics=("ssim", "lpips"),
        networks={"lpips": network},
    )
    assert protocol.id == "8f16a56d0133cfa05bef4f628a9d9106e2ddbb8ee2a92fd97c42f910cd0d2833"
    protocol.write(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert content.pop("clips") == content.pop("clip_styles") == []
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_protocol(tmp_path / "p.json") == protocol


def test_clips_that_cannot_be_measured_are_refused(images: Path, tmp_path: Path):
    picture = torch.rand(3, 40, 40)
    write_image(picture, tmp_path / "single" / "1.png")
    write_image(picture, tmp_path / "outer" / "inner" / "1.png")
    write_image(picture, tmp_path / "outer" / "2.png")
    write_image(picture, tmp_path / "sizes" / "1.png")
    write_image(picture[:, :20, :20], tmp_path / "sizes" / "2.png")
    write_image(picture, tmp_path / "names" / "1.png")
    write_image(picture, tmp_path / "names" / "1.jpg")
    shutil.copytree(images / "walk", tmp_path / "twin" / "walk")
    for clips, message in (
        (["single"], "has 1 frame, a clip needs at least 2"),
        (["nowhere"], "must be a folder of frames"),
        (["single/1.png"], "must be a folder of frames"),
        (["outer"], r"a clip is one folder, and .*inner/1\.png is in another"),
        (["sizes"], r"several sizes \(1\.png 40x40, 2\.png 20x20\)"),
        (["names"], "two frames are called 1"),
        (["twin/walk", str(images / "walk")], "two clips are called walk"),
    ):
        with pytest.raises(ProtocolError, match=message):
            freeze_clips([tmp_path / clip for clip in clips], SIDE)
    (tmp_path / "sizes" / "2.png").write_bytes((tmp_path / "sizes" / "1.png").read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"2\.png"):
        freeze_clips([tmp_path / "sizes"], SIDE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .*empty"):
        freeze_clips([tmp_path / "empty"], SIDE)


def test_clips_and_their_metric_belong_together(images: Path, protocol: Protocol):
    sides = [images / "content"], [images / "style"], "all", SIDE
    clip = {"clips": [images / "walk"]}
    made = make_protocol(*sides, **clip)
    assert "flicker_video" in made.metrics
    assert len(made.clip_styles) == 3
    assert "flicker_video" not in make_protocol(*sides).metrics
    for options, message in (
        ({"metrics": ["flicker_video"]}, "--metrics flicker_video: it needs a clip, --clip with a folder of frames"),
        (clip | {"metrics": ["ssim"]}, "clips are there for flicker_video alone"),
        (clip | {"clip_styles": 4}, "--clip-styles must be from 1 to 3"),
    ):
        with pytest.raises(ProtocolError, match=message):
            make_protocol(*sides, **options)
    assert replace(protocol, clips=(), clip_styles=()).id != protocol.id


def test_frames_that_are_missing_or_changed_are_named(images: Path, protocol: Protocol, tmp_path: Path):
    for clip in ("walk", "still"):
        shutil.copytree(images / clip, tmp_path / clip)
    (tmp_path / "walk" / "frame10.png").unlink()  # there is one in still, too
    with (tmp_path / "walk" / "frame11.png").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ProtocolError) as caught:
        find_files([frame for clip in protocol.clips for frame in clip.frames], [tmp_path])
    assert "walk/frame10.png: missing" in str(caught.value)
    assert "walk/frame11.png: changed" in str(caught.value)


# Measuring


def test_an_untouched_clip_has_the_error_of_its_own(protocol: Protocol):
    found = measure_clips(model_of(untouched), references_of(protocol), protocol.clip_pairs)
    for (clip, _), flicker in found.items():
        assert flicker.stylized == pytest.approx(flicker.content, abs=1e-6)
        assert flicker.content < (0.015 if clip == 0 else 1e-6)


def test_noise_that_is_new_in_every_frame_flickers(protocol: Protocol):
    """Of two uniform numbers in [0, a] the mean difference is a / 3."""
    grey = model_of(lambda content, style: noisy(torch.full_like(content, 0.5), style))
    found = measure_clips(grey, references_of(protocol), protocol.clip_pairs)
    for (clip, _), flicker in found.items():
        if clip == 1:
            assert flicker.stylized == pytest.approx(0.05 / 3, rel=0.03)
        else:
            assert 0.05 / 5 < flicker.stylized < 0.05 / 3  # the flow is not of whole pixels, and blurs


def test_what_a_model_draws_is_the_same_for_all_frames(protocol: Protocol):
    drawn = model_of(lambda content, style: torch.rand_like(content))
    found = measure_clips(drawn, references_of(protocol), [(1, protocol.clip_styles[0])])
    assert next(iter(found.values())).stylized == pytest.approx(0, abs=1e-6)


def test_the_scores_have_a_row_for_each_clip_in_each_style(protocol: Protocol, tmp_path: Path):
    painter, batches, clips = model_of(untouched), batches_of(protocol, 4), protocol.clip_pairs
    rows = []
    for _ in range(2):  # the second time from the cache
        references = references_of(protocol, tmp_path)
        ranks = [  # the last of three has a clip and no pair
            measure(painter, references, part)._replace(clips=measure_clips(painter, references, own))
            for part, own in ((batches[1:], clips[2:3]), (batches[:1], clips[:2]), ([], clips[3:]))
        ]
        scores = sum_up(join(ranks), references, "untouched", {})
        rows.append(scores.pairs)
    assert rows[0] == rows[1]
    scores.write(tmp_path / "scores.json")
    assert read_scores(tmp_path / "scores.json").pairs == scores.pairs
    assert scores.pair_metrics == ["ssim", "flicker_video"]
    assert [(row["ssim"] is None, row["flicker_video"] is None) for row in scores.pairs] == [(False, True)] * 6 + [
        (True, False)
    ] * 4
    assert [row["content"] for row in scores.pairs[6:]] == ["walk", "walk", "still", "still"]
    assert {row["style"] for row in scores.pairs[6:]} == {protocol.style[s].name for s in protocol.clip_styles}
    assert (scores.summary["ssim"]["n"], scores.summary["flicker_video"]["n"]) == (6, 4)
    walks = scores.pairs[6]["flicker_video"]
    assert scores.summary["flicker_video"]["mean"] == pytest.approx(walks / 2, abs=1e-6)
    assert scores.notes["flicker_video"] == f"the clips themselves have {walks / 2:.3g}"
    assert scores.details["clips"] == pytest.approx({"walk": walks, "still": 0}, abs=1e-6)
    assert "not finite" not in scores.notes


def test_a_clip_with_a_frame_that_is_not_finite_has_no_score(protocol: Protocol):
    calls = itertools.count()

    def broken(content: Tensor, style: Tensor) -> Tensor:
        return content * (math.nan if next(calls) == 7 else 1)  # the second frame of the third

    references = references_of(protocol)
    clips = measure_clips(model_of(broken), references, protocol.clip_pairs)
    measured = measure(model_of(untouched), references, batches_of(protocol, 4))._replace(clips=clips)
    scores = sum_up(measured, references, "broken", {})
    assert [row["flicker_video"] is None for row in scores.pairs[6:]] == [False, False, True, False]
    assert "1 of 4 have a frame that is not finite" in scores.notes["flicker_video"]
    assert "not finite" not in scores.notes


def test_frames_painted_elsewhere_are_found_by_clip_and_name(images: Path, protocol: Protocol, tmp_path: Path):
    wanted: list[tuple[str, str, Path]] = [
        (Path(protocol.content[c].name).stem, protocol.style[s].name, images / "content" / protocol.content[c].name)
        for c, s in protocol.pairs
    ]
    wanted += [
        (Path(frame.name).with_suffix("").as_posix(), protocol.style[s].name, images / frame.name)
        for c, s in protocol.clip_pairs
        for frame in protocol.clips[c].frames
    ]
    for name, style, source in wanted:
        write_image(to_float(read_image(source)), tmp_path / "walk" / f"{name}_{Path(style).stem}.png")
    references = references_of(protocol)
    pictures = Pictures(tmp_path / "walk", protocol)
    found = measure_clips(pictures, references, protocol.clip_pairs)
    assert found == measure_clips(model_of(untouched), references, protocol.clip_pairs)
    last = tmp_path / "walk" / f"{wanted[-1][0]}_{Path(wanted[-1][1]).stem}.png"
    last.unlink()
    with pytest.raises(ProtocolError, match=rf"no picture of 1 of the 12 frames, .* still/{last.stem}\.png: a frame"):
        Pictures(tmp_path / "walk", protocol)


def test_from_a_clip_to_a_comparison(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "painter.yaml").write_text(
        "_target_: scumble.networks.feature_fusion.AdaIN\n"
        "encoder: {_target_: scumble.networks.perceptual_encoders.DistilledEncoder}\n"
    )
    (tmp_path / "other.yaml").write_text((tmp_path / "painter.yaml").read_text())
    sides = ["--content", str(images / "content"), "--style", str(images / "style"), "--pairs", "2x3", "--size", "32"]
    clips = ["--clip", str(images / "walk"), str(images / "still"), "--clip-styles", "2", "--metrics", *METRICS]
    made = scumble_here("protocol", "create", *sides, *clips, "-o", "p.json", cwd=tmp_path)
    assert "2 clips in 2 styles" in made.stdout
    models = ["--model", "painter.yaml", "other.yaml", "--output", "scores"]
    result = scumble_here("evaluate", "--protocol", "p.json", *models, cwd=tmp_path)
    assert "6 pairs and 4 stylized clips at 32x32" in result.stdout
    assert "painter, flicker_video: the clips themselves have 0.0" in result.stdout
    compared = scumble_here("protocol", "compare", "scores", cwd=tmp_path)
    assert "| flicker_video | painter - other |" in compared.stdout

    refused = scumble_here("evaluate", "--protocol", "p.json", "--images", str(images), cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "has no picture of" in refused.stderr
