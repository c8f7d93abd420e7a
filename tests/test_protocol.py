"""Protocols, scores and their comparison, as files and as commands."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from runs import make_images, scumble_here, write_painter
from safetensors.torch import load_file, save_file
from scipy.stats import f, ttest_1samp

from scumble.directions import PROTOCOL
from scumble.images import read_image, to_float, to_uint8, write_image
from scumble.metrics import ImageMetrics
from scumble.networks.feature_fusion import adain_decoder
from scumble.networks.painter import Painter
from scumble.networks.perceptual_encoders import DistilledEncoder
from scumble.protocol.cost import inference_cost
from scumble.protocol.creation import make_protocol
from scumble.protocol.definition import FrozenNetwork, Protocol, ProtocolError, choose_pairs, read_protocol
from scumble.protocol.evaluate import evaluate
from scumble.protocol.lookup import find_files
from scumble.protocol.metrics import MODEL_METRICS, PAIR_METRICS, SET_METRICS
from scumble.protocol.networks import make_networks
from scumble.protocol.painters import Model
from scumble.protocol.references import References
from scumble.protocol.scores import Scores, bootstrap_interval, read_scores, summarize
from scumble.protocol.scoring import batches_of, join, measure, sum_up
from scumble.protocol.significance import holm, paired_p_value, paired_tests

SIZE = 32


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    make_images(root / "content", 3, seed=1)
    make_images(root / "style", 4, seed=2)
    return root


@pytest.fixture(scope="module")
def protocol(images: Path) -> Protocol:
    return make_protocol([images / "content"], [images / "style"], "all", SIZE)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of AdaIN on the distilled encoder, with a random decoder from a file."""
    root = tmp_path_factory.mktemp("generator")
    torch.manual_seed(3)
    save_file(adain_decoder(128).state_dict(), root / "decoder.safetensors")
    config = root / "painter.yaml"
    config.write_text(
        "_target_: scumble.networks.feature_fusion.AdaIN\n"
        "encoder: {_target_: scumble.networks.perceptual_encoders.DistilledEncoder}\n"
        f"decoder_weights: {root / 'decoder.safetensors'}\n"
    )
    return config


def first_content(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    return content


def references_of(protocol: Protocol, cache: Path | None = None) -> References:
    found = find_files([*protocol.content, *protocol.style, *protocol.files()], protocol.folders)
    return References(protocol, found, make_networks(protocol, found), cache)


# Pairs


def hashes(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{index}" for index in range(count)]


@pytest.mark.parametrize(
    ("wanted", "count"), [("all", 3 * 5), ("grid", 3 * 5), ("2x4", 8), ("1", 1), ("7", 7), ("15", 15)]
)
def test_pairs_are_different_and_of_one_content_in_a_row(wanted: str, count: int):
    pairs = choose_pairs(hashes("c", 3), hashes("s", 5), wanted, seed=0)
    assert len(pairs) == len(set(pairs)) == count
    assert len([content for content, _ in itertools.groupby(pairs, key=lambda pair: pair[0])]) == len(
        {content for content, _ in pairs}
    )


@pytest.mark.parametrize(("contents", "styles", "count"), [(4, 6, 12), (6, 4, 24), (5, 5, 10), (3, 7, 20)])
def test_a_number_of_pairs_takes_every_image_as_often_as_any_other(contents: int, styles: int, count: int):
    pairs = choose_pairs(hashes("c", contents), hashes("s", styles), str(count), seed=0)
    for side in (0, 1):
        used = Counter(pair[side] for pair in pairs)
        assert max(used.values()) - min(used.values()) <= 1 or len(used) < (contents, styles)[side]


def test_the_choice_depends_on_the_seed_and_not_on_the_order():
    contents, styles = hashes("c", 30), hashes("s", 50)
    chosen = choose_pairs(contents, styles, "grid", seed=0)
    assert len(chosen) == 800
    assert choose_pairs(contents[::-1], styles[::-1], "grid", seed=0) == chosen
    assert choose_pairs(contents, styles, "grid", seed=1) != chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("0", "make 1 to 6 pairs"),
        ("7", "2 contents and 3 styles make 1 to 6 pairs"),
        ("3x3", "there are 2 contents and 3 styles"),
        ("0x1", "there are 2 contents and 3 styles"),
        ("most", "must be all, grid, 20x40 or a number, got 'most'"),
    ],
)
def test_pairs_that_are_not_there_are_refused(wanted: str, message: str):
    with pytest.raises(ProtocolError, match=message):
        choose_pairs(hashes("c", 2), hashes("s", 3), wanted, seed=0)


# The file


def test_a_protocol_is_what_was_written(protocol: Protocol, tmp_path: Path):
    protocol.write(tmp_path / "protocol.json")
    again = read_protocol(tmp_path / "protocol.json")
    assert again.id == protocol.id
    assert {**vars(again), "folders": ()} == {**vars(protocol), "folders": ()}
    assert [Path(folder).resolve() for folder in again.folders] == [Path(f).resolve() for f in protocol.folders]


def test_the_id_is_that_of_all_that_decides_a_score(images: Path, protocol: Protocol, tmp_path: Path):
    renamed = tmp_path / "renamed"
    for side in ("content", "style"):
        for index, path in enumerate(sorted((images / side).iterdir(), reverse=True)):
            target = renamed / side / f"n{index}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    sides = [renamed / "content"], [renamed / "style"]
    assert make_protocol(*sides, "all", SIZE).id == protocol.id
    others = [
        make_protocol(*sides, "all", SIZE + 1),
        make_protocol(*sides, "5", SIZE),
        make_protocol(*sides, "all", SIZE, seed=1),
        make_protocol(*sides, "all", SIZE, metrics=["ssim"]),
    ]
    write_image(torch.rand(3, 40, 40), renamed / "content" / "n0.png")
    others.append(make_protocol(*sides, "all", SIZE))
    assert len({protocol.id, *(other.id for other in others)}) == 6


def test_a_file_that_was_changed_is_refused(protocol: Protocol, tmp_path: Path):
    path = tmp_path / "protocol.json"
    protocol.write(path)
    content = json.loads(path.read_text())
    for change, message in (
        ({"seed": 1}, "changed since it was written"),
        ({"version": 99}, "of version 99, this scumble measures by version 1"),
        ({"crop": "corner"}, "it asks for lanczos and corner"),
        ({"pairs": [[0, 99]]}, "its pairs are not of its images"),
        ({"size": None}, "not a protocol"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(ProtocolError, match=message):
            read_protocol(path)
    path.write_text("[]")
    with pytest.raises(ProtocolError, match="not a protocol"):
        read_protocol(path)
    with pytest.raises(ProtocolError, match="no protocol"):
        read_protocol(tmp_path / "nowhere.json")


def test_files_are_found_by_what_is_in_them(images: Path, protocol: Protocol, tmp_path: Path):
    for index, path in enumerate([*(images / "content").iterdir(), *(images / "style").iterdir()]):
        target = tmp_path / "deep" / "er" / f"other{index}.bin"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "inside").symlink_to(tmp_path / "deep" / "er")
    roots = [tmp_path / "gone", tmp_path / "link"]
    found = find_files([*protocol.content, *protocol.style, *protocol.files()], roots)
    for file in protocol.content:
        assert found[file.sha256].read_bytes() == (images / "content" / file.name).read_bytes()
    assert found[protocol.files()[0].sha256].name == "distilled.safetensors"


def test_files_that_are_missing_or_changed_are_named(images: Path, protocol: Protocol, tmp_path: Path):
    first, second = protocol.style[0].name, protocol.style[1].name
    for path in (images / "style").iterdir():
        if path.name != second:
            (tmp_path / path.name).write_bytes(path.read_bytes() + (b"!" if path.name == first else b""))
    with pytest.raises(ProtocolError) as caught:
        find_files(protocol.style, [tmp_path])
    assert f"{first}: changed" in str(caught.value)
    assert f"{second}: missing" in str(caught.value)
    assert "2 files of the protocol" in str(caught.value)


# What may be measured


def test_by_default_all_is_measured_that_the_networks_allow(protocol: Protocol):
    assert {"content_distance", "ssim", "style_distance", "frechet_relu4_1"} <= set(protocol.metrics)
    assert not {"lpips", "fid", "art_fid"} & set(protocol.metrics)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["lpips"], "--metrics lpips: it needs a network, --lpips with its weights"),
        (["fid"], "it needs a network, --inception"),
        (["beauty"], "no metric beauty; there are lpips, content_distance"),
        (["art_frechet_relu4_1"], "it is made of content_distance as well; name that too"),
    ],
)
def test_what_cannot_be_measured_is_refused(images: Path, metrics: list[str], message: str):
    with pytest.raises(ProtocolError, match=message):
        make_protocol([images / "content"], [images / "style"], "all", SIZE, metrics=metrics)


def test_an_extrapolation_from_few_pairs_is_refused(images: Path, tmp_path: Path):
    weights = tmp_path / "weights.safetensors"
    save_file({"w": torch.zeros(1)}, weights)
    made = {"lpips": ["squeeze", str(weights), str(weights)], "inception": weights}
    with pytest.raises(ProtocolError, match="art_fid_infinity: it needs at least 5000 pairs, there are 12"):
        make_protocol(
            [images / "content"], [images / "style"], "all", SIZE, metrics=["lpips", "art_fid_infinity"], **made
        )
    default = make_protocol([images / "content"], [images / "style"], "all", SIZE, **made)
    assert {"lpips", "fid", "art_fid"} <= set(default.metrics)
    assert "art_fid_infinity" not in default.metrics


def test_networks_without_files_or_of_unknown_kinds_are_refused(images: Path, tmp_path: Path):
    sides = [images / "content"], [images / "style"]
    for encoder, message in (
        (["vgg99"], "must be one of distilled, vgg19_normalised"),
        (["vgg19_normalised"], "needs a weight file"),
        (["vgg19_normalised", "nowhere.pth"], "no file nowhere.pth"),
    ):
        with pytest.raises(ProtocolError, match=message):
            make_protocol(*sides, "all", SIZE, encoder=encoder)


def test_an_image_that_cannot_be_read_ends_the_making(images: Path, tmp_path: Path):
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        make_protocol([images / "content", tmp_path], [images / "style"], "all", SIZE)


# Scores


def test_scores_do_not_depend_on_batches_ranks_or_the_cache(protocol: Protocol, tmp_path: Path):
    cache = tmp_path / "cache"
    painter = Model(torch.nn.Identity(), 0)
    painter.generator = first_content  # type: ignore[assignment]
    whole = measure(painter, references_of(protocol), batches_of(protocol, 4))
    for batch_size in (1, 5):
        batches = batches_of(protocol, batch_size)
        for _ in range(2):  # the second time from the cache
            references = references_of(protocol, cache)
            parts = [measure(painter, references, batches[1:]), measure(painter, references, batches[:1])]
            joined = join(parts)
            assert joined.pairs == list(range(12))
            assert joined.values == whole.values
            for name, vectors in whole.vectors.items():
                assert torch.equal(joined.vectors[name], vectors), name
    assert len(list(cache.rglob("*.safetensors"))) == 7


def test_the_cache_gives_the_same_bits_and_damage_is_mended(protocol: Protocol, tmp_path: Path):
    painter = Model(torch.nn.Identity(), 0)
    painter.generator = first_content  # type: ignore[assignment]
    found = [measure(painter, references_of(protocol, tmp_path), batches_of(protocol, 4)).values for _ in range(2)]
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    found.append(measure(painter, references_of(protocol, tmp_path), batches_of(protocol, 4)).values)
    assert found[0] == found[1] == found[2]


def test_the_untouched_content_keeps_all_and_copies_of_the_style_are_the_style(protocol: Protocol):
    references = references_of(protocol)
    kept = sum_up(measure(lambda p, c, s: c, references, batches_of(protocol, 4)), references, "kept", {})
    painted = sum_up(measure(lambda p, c, s: s, references, batches_of(protocol, 4)), references, "painted", {})
    for name, metric in PAIR_METRICS.items():
        if name in kept.summary and metric.of:
            scores = (kept if metric.of == "content" else painted).summary[name]
            best = 1.0 if metric.higher_is_better else 0.0
            assert scores["mean"] == pytest.approx(best, abs=1e-3), name
    assert painted.summary["diversity_means_relu4_1"]["mean"] > 0
    assert kept.summary["diversity_means_relu4_1"]["mean"] == pytest.approx(0, abs=1e-6)
    assert "biased upwards: 4 different images for features of 128 numbers" in kept.notes["frechet_relu4_1"]


def test_readers_without_torch_know_the_direction_of_every_metric():
    metrics = PAIR_METRICS | MODEL_METRICS | SET_METRICS
    assert {name for name, metric in metrics.items() if metric.higher_is_better} == PROTOCOL


def test_a_protocol_and_a_validation_call_their_diversity_by_different_names(protocol: Protocol):
    images = torch.rand(4, 3, 32, 32)
    metrics = ImageMetrics(DistilledEncoder())
    metrics.update({"generated": images}, images)
    assert "diversity_relu4_1" in metrics.compute()
    assert "diversity_relu4_1" not in protocol.metrics
    assert "diversity_means_relu4_1" in protocol.metrics


def test_an_old_protocol_keeps_the_old_name_of_its_diversity(images: Path, tmp_path: Path):
    new = make_protocol([images / "content"], [images / "style"], "2x2", SIZE, metrics=["diversity_means_relu4_1"])
    (tmp_path / "mixed").mkdir()
    for number, (content, style) in enumerate(new.pairs):
        name = f"{Path(new.content[content].name).stem}_{Path(new.style[style].name).stem}.png"
        write_image(torch.full((3, SIZE, SIZE), number / 4), tmp_path / "mixed" / name)
    means = {}
    for protocol in (new, replace(new, metrics=("diversity_relu4_1",))):
        protocol.write(tmp_path / "p.json")
        (scores,) = evaluate(tmp_path / "p.json", images=[tmp_path / "mixed"])
        means |= {name: of["mean"] for name, of in read_scores(scores).summary.items()}
    assert means.keys() == {"diversity_means_relu4_1", "diversity_relu4_1"}
    assert len(set(means.values())) == 1
    with pytest.raises(ProtocolError, match="no metric diversity_relu4_1"):
        make_protocol([images / "content"], [images / "style"], "2x2", SIZE, metrics=["diversity_relu4_1"])


class Drawing(torch.nn.Module):
    """Adds noise to the content."""

    def forward(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return (content + 0.2 * torch.randn_like(content)).clamp(0, 1)


def test_what_a_generator_draws_does_not_depend_on_the_size_of_the_batch(protocol: Protocol):
    references = references_of(protocol)
    found = [measure(Model(Drawing(), 0), references, batches_of(protocol, size)) for size in (1, 3, 12)]
    assert found[0].values == found[1].values == found[2].values
    content, style = torch.rand(2, 2, 3, SIZE, SIZE).unbind()
    model = Model(Drawing(), 0)
    first, second = model([4, 5], content[:1].expand_as(content), style)
    assert not torch.equal(first, second), "each pair has its own noise"
    assert torch.equal(model([5, 6], content[:1].expand_as(content), style)[0], second)


def test_an_image_that_is_not_finite_has_no_scores_and_hurts_no_other(protocol: Protocol):
    references = references_of(protocol)

    def broken(pairs: range, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        stylized = content.clone()
        if 5 in pairs:
            stylized[pairs.index(5), 0, 0, 0] = math.nan
        return stylized

    scores = sum_up(measure(broken, references, batches_of(protocol, 4)), references, "broken", {})
    assert [row["ssim"] is None for row in scores.pairs] == [index == 5 for index in range(12)]
    assert scores.summary["ssim"]["n"] == 11
    assert scores.summary["ssim"]["mean"] == pytest.approx(1.0, abs=1e-4)
    assert scores.summary["frechet_relu4_1"]["n"] == 11
    assert scores.notes["not finite"].startswith("1 of 12")


def test_what_a_model_paints_is_judged_in_8_bits():
    painted = torch.tensor([0.1, 1.7, -3.0]).reshape(1, 3, 1, 1)
    painter = Model(torch.nn.Identity(), 0)
    painter.generator = lambda content, style: torch.cat([painted, painted * math.inf])  # type: ignore[assignment]
    found = painter([0, 1], painted, painted)
    assert found[0].flatten().tolist() == pytest.approx([26 / 255, 1, 0])
    assert found[1].isnan().all()


def test_flicker_is_measured_where_a_model_can_paint_again(images: Path):
    metrics = ["ssim", "flicker_shift", "flicker_noise"]
    protocol = make_protocol([images / "content"], [images / "style"], "2x2", 48, metrics=metrics)
    references = references_of(protocol)
    painter = Model(torch.nn.Identity(), 0)
    painter.generator = first_content  # type: ignore[assignment]
    found = sum_up(measure(painter, references, batches_of(protocol, 4)), references, "still", {})
    assert found.summary["flicker_shift"]["mean"] == 0
    assert found.summary["flicker_noise"]["mean"] == pytest.approx(0.016, abs=0.003)
    assert not found.notes

    class Pictures:
        paints = False

        def __call__(self, pairs: range, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
            return content

    found = sum_up(measure(Pictures(), references, batches_of(protocol, 4)), references, "pictures", {})
    assert found.summary["flicker_shift"]["mean"] is None
    assert found.notes.keys() == {"flicker_shift", "flicker_noise"}
    assert found.summary["ssim"]["n"] == 4


def test_the_cost_counts_the_tensors_that_live_at_once():
    class Doubles(torch.nn.Module):
        def forward(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
            first = content * 2
            second = first + 1
            del first
            return second.clone().flatten() + 1  # the view has no memory of its own

    cost = inference_cost(Doubles(), 32, "cpu")
    assert cost["peak_bytes"] == 3 * 3 * 32 * 32 * 4
    assert cost["seconds"] > 0


# Statistics


def scores_of(values: dict[str, list[float]], model: str, protocol: str = "p", styles: int = 5) -> Scores:
    count = len(next(iter(values.values())))
    rows = [
        {"content": f"c{i // styles}", "style": f"s{i % styles}"} | {name: v[i] for name, v in values.items()}
        for i in range(count)
    ]
    return Scores(protocol, model, rows, {name: {"mean": float(np.mean(v))} for name, v in values.items()})


def test_the_summary_of_values_without_a_common_image():
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, 300)
    names = [str(index) for index in range(300)]
    found = summarize(values, names, ["one style"] * 300, seed=0)
    assert found["n"] == 300
    assert found["mean"] == pytest.approx(values.mean())
    assert found["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(300))
    # Independent values: the bootstrap's interval is the normal one.
    half = 1.96 * values.std() / math.sqrt(300)
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.03)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.03)
    assert summarize(values, names, ["one style"] * 300, seed=0) == found


def test_the_interval_knows_that_pairs_share_their_images():
    rng = np.random.default_rng(0)
    of_content = np.repeat(rng.normal(size=10), 30)  # every pair of a content has the same value
    contents = [str(index // 30) for index in range(300)]
    styles = [str(index % 30) for index in range(300)]
    low, high = bootstrap_interval(of_content, contents, styles, seed=0)
    few_low, few_high = bootstrap_interval(of_content[::30], contents[::30], ["s"] * 10, seed=0)
    assert high - low == pytest.approx(few_high - few_low, rel=0.1)
    naive_low, naive_high = bootstrap_interval(of_content, [str(i) for i in range(300)], ["s"] * 300, seed=0)
    assert high - low > 3 * (naive_high - naive_low)


def test_values_that_are_missing_are_left_out():
    found = summarize(np.array([1.0, math.nan, 3.0]), ["a", "b", "c"], ["s", "s", "s"], 0)
    assert (found["mean"], found["n"]) == (2, 2)
    assert summarize(np.array([math.nan]), ["a"], ["s"], 0) == {
        "mean": None, "standard_error": None, "low": None, "high": None, "n": 0,
    }  # fmt: skip
    assert summarize(np.array([2.0]), ["a"], ["s"], 0)["standard_error"] is None


def test_the_paired_test_is_min_f_of_both_sides():
    rng = np.random.default_rng(0)
    table = rng.normal(0.3, 1.0, (8, 6))
    contents, styles = [str(i // 6) for i in range(48)], [str(i % 6) for i in range(48)]
    # F' = F1 F2 / (F1 + F2) with F = t^2 of the test over each side alone (Clark 1973).
    first, second = (ttest_1samp(table.mean(axis=axis), 0.0).statistic ** 2 for axis in (1, 0))
    quasi = first * second / (first + second)
    freedom = (first + second) ** 2 / (first**2 / 5 + second**2 / 7)
    assert paired_p_value(table.ravel(), contents, styles) == pytest.approx(f.sf(quasi, 1, freedom))


def test_the_paired_test_of_one_style_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, 1.0, 8)
    names = [str(index) for index in range(8)]
    found = paired_p_value(differences, names, ["s"] * 8)
    assert found == pytest.approx(ttest_1samp(differences, 0.0).pvalue)
    assert paired_p_value(np.zeros(8), names, ["s"] * 8) == 1
    assert paired_p_value(differences[:1], ["c"], ["s"]) == 1


def test_a_difference_in_one_style_alone_is_not_real():
    differences = np.random.default_rng(0).normal(0, 0.1, (20, 20))
    differences[:, 0] += 5.0
    names = [str(index) for index in range(20)]
    contents, styles = np.repeat(names, 20).tolist(), names * 20
    assert paired_p_value(differences.ravel(), contents, styles) > 0.2
    assert paired_p_value(differences.ravel(), contents, ["s"] * 400) < 1e-6


def test_noise_is_seldom_taken_for_real():
    rng = np.random.default_rng(0)
    names = [str(index) for index in range(12)]
    contents, styles = np.repeat(names, 12).tolist(), names * 12
    found = []
    for _ in range(400):
        shared = rng.normal(size=(12, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(12, 12))
        found.append(paired_p_value(shared.ravel(), contents, styles))
    assert 0.005 < np.mean(np.array(found) < 0.05) < 0.07


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_a_real_difference_is_told_from_none():
    rng = np.random.default_rng(0)
    base = rng.normal(size=60)
    better, same = base - 1 + 0.1 * rng.normal(size=60), base + 0.1 * rng.normal(size=60)
    first, second, third = (scores_of({"lpips": list(v)}, n) for v, n in ((base, "a"), (better, "b"), (same, "c")))
    tests = {test.model: test for test in paired_tests([first, second, third])}
    assert tests["b"].is_real
    assert tests["b"].difference == pytest.approx(np.mean(better - base))
    assert tests["b"].low < tests["b"].difference < tests["b"].high < 0
    assert not tests["c"].is_real


def test_scores_of_different_protocols_are_not_compared():
    scores = [scores_of({"lpips": [0.1, 0.2]}, "a"), scores_of({"lpips": [0.1, 0.2]}, "b", protocol="q")]
    with pytest.raises(ProtocolError, match="different protocols cannot be compared"):
        paired_tests(scores)
    with pytest.raises(ProtocolError, match="two models or more"):
        paired_tests(scores[:1])


# Commands


def run_folder(root: Path, generator: Path) -> Path:
    """A run folder with the checkpoint of a generator."""
    config = yaml.safe_load(generator.read_text())
    task = {"_target_": "scumble.tasks.style_transfer.StyleTransfer", "generator": config}
    state = {f"generator.decoder.{k}": v for k, v in load_file(config["decoder_weights"]).items()}
    content = {"scumble": {"config": {"task": task}}, "state_dict": state, "global_step": 7}
    (root / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, root / "run" / "checkpoints" / "step=00000007.ckpt")
    return root / "run"


def test_from_images_to_a_comparison(images: Path, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    sides = ["--content", str(images / "content"), "--style", str(images / "style")]
    made = scumble_here("protocol", "create", *sides, "--pairs", "2x3", "--size", "32", "-o", "p.json", cwd=tmp_path)
    assert "p.json: 6 pairs of 2 contents and 3 styles at 32x32" in made.stdout
    protocol = read_protocol(tmp_path / "p.json")

    run = run_folder(tmp_path, generator)
    for content, style in protocol.pairs:
        left, right = (
            to_float(read_image(images / side / name))
            for side, name in (("content", protocol.content[content].name), ("style", protocol.style[style].name))
        )
        name = f"{Path(protocol.content[content].name).stem}_{Path(protocol.style[style].name).stem}.png"
        write_image((left + right[:, : left.shape[1], : left.shape[2]]) / 2, tmp_path / "mixed" / name)
    models = ["--model", str(run), str(generator), "--images", "mixed"]
    result = scumble_here("evaluate", "--protocol", "p.json", *models, cwd=tmp_path)

    file = f"scores-{protocol.id[:8]}.json"
    paths = [run / file, generator.with_name(f"painter.{file}"), tmp_path / "mixed" / file]
    scores = [read_scores(path) for path in paths]
    assert all(each.protocol == protocol.id for each in scores)
    assert "| metric | run | painter | mixed |" in result.stdout
    assert "biased upwards" in result.stdout
    assert scores[0].details["step"] == 7
    assert scores[0].details["inference"]["peak_bytes"] > 0
    assert scores[0].pairs == scores[1].pairs  # the same weights, from a checkpoint and from a file
    saved = json.loads(paths[0].read_text())
    assert saved["pairs"][0].keys() == {"content", "style", *set(protocol.metrics) - SET_METRICS.keys()}
    for summary in saved["summary"].values():
        assert summary.keys() == {"mean", "standard_error", "low", "high", "n"}

    compared = scumble_here("protocol", "compare", *map(str, paths), cwd=tmp_path)
    assert "| ssim | mixed - run |" in compared.stdout

    scumble_here("protocol", "create", *sides, "--pairs", "5", "--size", "32", "-o", "other.json", cwd=tmp_path)
    other = scumble_here("evaluate", "--protocol", "other.json", "--images", "mixed", cwd=tmp_path, check=False)
    assert other.returncode == 1
    assert "mixed has no picture of" in other.stderr
    scumble_here("evaluate", "--protocol", "other.json", "--model", str(run), "--output", "out", cwd=tmp_path)
    refused = scumble_here("protocol", "compare", str(paths[0]), "out", cwd=tmp_path, check=False)
    assert "different protocols cannot be compared" in refused.stderr


def test_pictures_of_stylize_have_the_scores_of_the_model(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    for side, count in (("content", 2), ("style", 2)):
        for index in range(count):
            write_image(torch.rand(3, 40, 40), tmp_path / side / f"{side}{index}.png")
    create = ["protocol", "create", "--content", "content", "--style", "style", "--pairs", "all"]
    scumble_here(*create, "--size", "40", "-o", "p.json", cwd=tmp_path)
    paint = ["stylize", "content", "--style", "style", "--style-size", "40", "--output", "painted"]
    scumble_here(*paint, "--model", str(generator), cwd=tmp_path)
    ways = [
        "--model",
        str(generator),
        "--images",
        "painted",
        "--output",
        "scores",
        "--batch-size",
        "1",
        "--threads",
        "1",
    ]
    scumble_here("evaluate", "--protocol", "p.json", *ways, cwd=tmp_path)
    file = f"scores-{read_protocol(tmp_path / 'p.json').id[:8]}.json"
    first, second = (read_scores(tmp_path / "scores" / f"{name}.{file}") for name in ("painter", "painted"))
    assert first.pairs == second.pairs


def test_one_painter_at_several_strengths_is_as_many_systems(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    weights = write_painter(tmp_path / "weights" / "painter.safetensors")
    monkeypatch.setattr("scumble.networks.painter.PAINTER_WEIGHTS", weights)
    metrics = ["content_distance", "style_distance"]
    made = make_protocol([images / "content"], [images / "style"], "2x2", SIZE, metrics=metrics)
    made.write(tmp_path / "p.json")
    ways = ["evaluate", "--protocol", "p.json", "--model", "shipped"]
    result = scumble_here(*ways, "--strength", "0", "0.25", "1", cwd=tmp_path)
    assert "| metric | shipped@0.00 | shipped@0.25 | shipped@1.00 |" in result.stdout
    scumble_here(*ways, cwd=tmp_path)

    file = f"scores-{made.id[:8]}.json"
    names = ["shipped", "shipped@0.00", "shipped@0.25", "shipped@1.00"]
    scores = [read_scores(tmp_path / f"{name}.{file}") for name in names]
    assert [each.model for each in scores] == names
    assert [each.strength for each in scores] == [Painter.default_strength, 0, 0.25, 1]
    assert all(each.details["default_strength"] == Painter.default_strength for each in scores)
    assert len({json.dumps(each.pairs) for each in scores}) == 4

    references, generator = references_of(made), Painter(weights=str(weights)).eval()
    direct = measure(
        lambda pairs, content, style: to_float(to_uint8(generator(content, style, 0.25))),
        references,
        batches_of(made, 4),
    )
    assert scores[2].values("style_distance").tolist() == direct.values["style_distance"]

    compared = scumble_here("protocol", "compare", ".", cwd=tmp_path).stdout
    assert "| metric | shipped | shipped@0.00 | shipped@0.25 | shipped@1.00 |" in compared
    assert "| style_distance | shipped@1.00 - shipped |" in compared


def test_the_scores_of_a_run_at_a_strength_are_in_its_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    state = load_file(write_painter(tmp_path / "painter.safetensors"))
    task = {"generator": {"_target_": "scumble.networks.painter.Painter"}, "_target_": "scumble.tasks.x.Y"}
    content = {
        "scumble": {"config": {"task": task}},
        "state_dict": {f"generator.{name}": tensor for name, tensor in state.items()},
        "global_step": 7,
    }
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run" / "checkpoints" / "step=00000007.ckpt")
    made = make_protocol([images / "content"], [images / "style"], "1x1", SIZE, metrics=["ssim"])
    made.write(tmp_path / "p.json")
    ways = ["evaluate", "--protocol", "p.json", "--model", "run", "--strength", "0.125"]
    scumble_here(*ways, cwd=tmp_path)
    scores = read_scores(tmp_path / "run" / f"scores-{made.id[:8]}@0.125.json")
    assert (scores.model, scores.strength, scores.details["step"]) == ("run@0.125", 0.125, 7)
    scumble_here(*ways, "--output", "out", cwd=tmp_path)
    assert (tmp_path / "out" / f"run@0.125.scores-{made.id[:8]}.json").is_file()


@pytest.mark.slow
def test_the_published_adain_and_gatys_stand_in_one_table(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    weights = shared / "weights"
    vgg = weights / "vgg19_normalised_relu4_1.safetensors"
    heads = weights / "lpips_squeeze_v0.1_linear.safetensors"
    sides = [sorted((shared / "images" / side).iterdir())[:2] for side in ("content", "style")]
    made = make_protocol(
        *sides,
        "all",
        64,
        encoder=["vgg19_normalised", str(vgg)],
        lpips=["squeeze", str(weights / "squeezenet1_1_features.safetensors"), str(heads)],
    )
    made.write(tmp_path / "p.json")
    judge = f"{{_target_: scumble.networks.perceptual_encoders.vgg19_normalised, weights: {vgg}}}"
    (tmp_path / "adain.yaml").write_text(
        "_target_: scumble.networks.feature_fusion.AdaIN\n"
        f"encoder: {judge}\ndecoder_weights: {weights / 'adain_decoder.safetensors'}\n"
    )
    (tmp_path / "gatys.yaml").write_text(
        f"_target_: scumble.networks.pixel_optimization.PixelOptimization\nencoder: {judge}\nsteps: 20\n"
    )
    for content, style in made.pairs:
        name = f"{Path(made.content[content].name).stem}_{Path(made.style[style].name).stem}.png"
        found = find_files(made.content, made.folders)
        write_image(to_float(read_image(found[made.content[content].sha256])), tmp_path / "untouched" / name)
    ways = ["--model", "adain.yaml", "gatys.yaml", "--images", "untouched", "--output", "scores"]
    result = scumble_here("evaluate", "--protocol", "p.json", *ways, cwd=tmp_path)
    assert "| metric | adain | gatys | untouched |" in result.stdout
    adain, gatys, untouched = (
        read_scores(tmp_path / "scores" / f"{name}.scores-{made.id[:8]}.json")
        for name in ("adain", "gatys", "untouched")
    )
    for painted in (adain, gatys):
        assert (painted.values("style_distance") < untouched.values("style_distance")).all()
        assert (painted.values("lpips") > 0.1).all()
    assert untouched.summary["lpips"]["mean"] == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_processes_share_the_pairs_and_find_the_same(
    images: Path, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE", str(tmp_path / "cache"))
    make_protocol([images / "content"], [images / "style"], "all", SIZE).write(tmp_path / "p.json")
    ways = ["--protocol", "p.json", "--model", str(generator), "--threads", "1"]
    scumble_here("evaluate", *ways, "--output", "alone", cwd=tmp_path)
    program = tmp_path / "rank.py"
    program.write_text("from scumble.cli import main; main()")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", str(program)]
    result = subprocess.run(
        [*torchrun, "evaluate", *ways, "--output", "shared"], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("| metric | painter |") == 1
    alone, shared = (read_scores(next((tmp_path / name).iterdir())) for name in ("alone", "shared"))
    assert alone.pairs == shared.pairs
    assert alone.summary == shared.summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--protocol", "nowhere.json", "--model", "x"], "no protocol nowhere.json"),
        (
            ["evaluate", "--protocol", "new.json", "--model", "x"],
            "asks for beauty, which this scumble does not measure",
        ),
        (["evaluate", "--protocol", "p.json"], "nothing to measure: give --model RUN or --images DIR"),
        (
            ["evaluate", "--protocol", "p.json", "--images", "x", "--strength", "1"],
            "--strength is an input of models, and none is given; give --model RUN",
        ),
        (
            ["evaluate", "--protocol", "p.json", "--model", "x", "--strength", "0", "1.1"],
            "--strength must be in [0, 1], got 1.1",
        ),
        (
            ["evaluate", "--protocol", "p.json", "--model", "copy.yaml", "--strength", "0"],
            "--strength: the generator is Identity, which takes none; measure copy.yaml without --strength",
        ),
        (["evaluate", "--protocol", "p.json", "--model", "x", "--strength", "1", "1"], "are called x@1.00"),
        (["evaluate", "--protocol", "p.json", "--model", "nowhere"], "no checkpoint nowhere"),
        (["evaluate", "--protocol", "p.json", "--model", "bad.yaml"], "os.mkdir is not a class of a trusted package"),
        (["evaluate", "--protocol", "p.json", "--model", "empty.yaml"], "it must have a key _target_"),
        (["evaluate", "--protocol", "p.json", "--model", "lost.yaml"], "no weight file nowhere.safetensors"),
        (["protocol", "create", "--content", "nowhere", "--style", "nowhere", "-o", "q.json"], "nowhere"),
        (["protocol", "create", "--content", "c", "--style", "c", "-o", "p.json"], "a protocol does not change"),
        (["protocol", "compare", "p.json"], "no scores of scumble evaluate"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(protocol: Protocol, tmp_path: Path, arguments: list[str], message: str):
    protocol.write(tmp_path / "p.json")
    replace(protocol, metrics=("ssim", "beauty")).write(tmp_path / "new.json")
    (tmp_path / "bad.yaml").write_text("_target_: os.mkdir\npath: executed\n")
    (tmp_path / "empty.yaml").write_text("just: words\n")
    (tmp_path / "copy.yaml").write_text("_target_: torch.nn.Identity\n")
    (tmp_path / "lost.yaml").write_text(
        "_target_: scumble.networks.feature_fusion.AdaIN\n"
        "encoder: {_target_: scumble.networks.perceptual_encoders.DistilledEncoder}\n"
        "decoder_weights: nowhere.safetensors\n"
    )
    result = scumble_here(*arguments, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "executed").exists()


def test_a_protocol_cannot_name_other_arguments_of_a_network(protocol: Protocol, tmp_path: Path):
    """Such as ``download``: a stranger's protocol must not fetch anything."""
    file = protocol.files()[0]
    sly = replace(protocol, networks={"perceptual_encoder": FrozenNetwork("vgg19", {"download": file})})
    with pytest.raises(ProtocolError, match="which this scumble does not have"):
        make_networks(sly, {file.sha256: tmp_path})
