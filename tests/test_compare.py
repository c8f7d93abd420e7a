"""`scumble compare`: what is read of a run folder, the table, the trade-off front, the pictures, the files."""

import csv
import io
import json
import math
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runs import TINY, make_images, scumble_here
from scipy import stats
from synthetic_runs import METRICS, distances, photographs, write_run, write_strengths, write_sweep

import scumble
from scumble.comparison.cells import GridError, contact_sheet, encode, read_grid
from scumble.comparison.front import non_dominated
from scumble.comparison.page import curves, embedded
from scumble.comparison.runs import Measured, load_run, load_sweep
from scumble.comparison.table import changed_keys, estimate, tabulate
from scumble.directions import is_better_higher
from scumble.images import to_uint8
from scumble.ledger import State

# Reading


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {"loss_weights.style": 5, "seed": 3}, choices={"generator": "adain"})
    run = scumble.load_run(folder)
    assert (run.name, run.state, run.step, run.last_step) == ("run", State.DONE, 20, 20)
    assert run.config["loss_weights.style"] == 5
    assert "run_dir" not in run.config
    assert run.overrides == {"loss_weights.style": 5, "seed": 3}
    assert run.choices["generator"] == "adain"
    assert list(run.metrics.index) == list(range(1, 21))
    assert list(run.validations.index) == [10, 20]
    content, style, _ = distances(5, 3, 20)
    assert run.results["val/content_distance"].mean == content
    assert run.results["val/style_distance"].mean == style
    assert sorted(run.grids) == [10, 20]
    assert run.missing == []


@pytest.mark.slow
def test_a_real_run_is_read_whole(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 4)
    data = [f"data.content={images}", f"data.style={images}"]
    scumble_here("train", *TINY, *data, "loss_weights.style=5", "run_dir=run", cwd=tmp_path)
    run = load_run(tmp_path / "run")
    assert (run.state, run.step, run.missing) == (State.DONE, 4, [])
    assert run.config["loss_weights.style"] == 5
    assert run.choices["generator"] == "residual_attention"
    assert run.results["val/style_distance"].mean > 0
    for path in run.grids.values():
        cells = read_grid(path)
        assert cells  # with 4 images both pairs may be the same
        for cell in cells.values():
            assert [*cell.inputs, cell.caption] == ["content", "style", "stylized"]
            assert cell.output.size == (32, 32)


def test_reading_runs_imports_no_torch_and_the_package_nothing(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", styles=[1, 2], seeds=[0])
    program = """
import sys, scumble
assert not {"pandas", "torch", "yaml"} & set(sys.modules), sys.modules.keys()
scumble.load_sweep("sweep").to_dataframe()
assert not {"torch", "lightning"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=600)


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        (lambda run: (run / "metrics.csv").unlink(), "no metrics.csv"),
        (lambda run: (run / "metrics.csv").write_text(""), "metrics.csv cannot be read"),
        (lambda run: (run / "metrics.csv").write_bytes(b"\xff\x00\x01\n\x00,\n"), "metrics.csv cannot be read"),
        (lambda run: (run / "metrics.csv").write_text("step,val/psnr\n"), "metrics.csv has no row yet"),
        (lambda run: (run / "metrics.csv").write_text("step,train/style\n1,2.0\n"), "no validation yet"),
        (lambda run: (run / "config.yaml").unlink(), "no config.yaml: of its settings, those of the command line"),
        (
            lambda run: (run / "config.yaml").write_text("a: [1"),
            "no config.yaml: of its settings, those of the command",
        ),
        (lambda run: (run / "status.json").write_text("{"), "status.json cannot be read"),
        (lambda run: shutil.rmtree(run / "grids"), "no pictures"),
        (lambda run: (run / "scores-1.json").write_text('{"protocol": "1"}'), "scores-1.json cannot be read"),
        (lambda run: (run / "evaluation.json").write_text("[]"), "evaluation.json cannot be read"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, damage: Any, missing: str) -> None:
    run = write_run(tmp_path / "run", {"loss_weights.style": 5})
    other = write_run(tmp_path / "other", {"loss_weights.style": 6})
    damage(run)
    found = load_run(run)
    assert any(missing in message for message in found.missing), found.missing
    assert found.overrides == {"loss_weights.style": 5}
    assert changed_keys([found, load_run(other)]) == ["loss_weights.style"]
    output = scumble_here("compare", "run", "other", "-o", "report", cwd=tmp_path).stdout
    assert missing in output


def test_an_empty_folder_is_a_run_of_which_all_is_missing(tmp_path: Path) -> None:
    run = load_run(tmp_path)
    assert run.missing == ["no metrics.csv", "no config.yaml: its settings are not known", "no pictures"]
    assert run.state is None
    assert run.results == {}


def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {})
    whole = load_run(run).metrics
    with (run / "metrics.csv").open("a") as file:
        file.write("21,1.2")
    pd.testing.assert_frame_equal(load_run(run).metrics, whole)


def test_a_last_validation_that_is_no_number_is_nan(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {})
    (run / "metrics.csv").write_text("step,val/psnr,val/content_distance\n1,20,1.5\n2,20,nan\n")
    assert math.isnan(load_run(run).results["val/content_distance"].mean)


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {}, state=State.FAILED)
    (run / "error.txt").write_text("accumulate must be at least 1, got 0\n\nTraceback\n")
    found = load_run(run)
    assert (found.state, found.error) == (State.FAILED, "accumulate must be at least 1, got 0")


def test_the_folders_of_wandb_and_hydra_within_a_run_are_no_runs(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", styles=[1], seeds=[0, 1])
    first = next(path for path in sorted(sweep.iterdir()))
    (first / "wandb" / "run" / "files").mkdir(parents=True)
    (first / "wandb" / "run" / "files" / "config.yaml").write_text("a: 1")
    found = load_sweep(sweep, first)
    assert [run.name for run in found.runs] == ["loss_weights.style=1,seed=0", "loss_weights.style=1,seed=1"]


def test_names_tell_runs_of_several_sweeps_apart(tmp_path: Path) -> None:
    for name in "ab":
        write_sweep(tmp_path / name, styles=[1], seeds=[0])
    found = load_sweep(tmp_path / "a", tmp_path / "b")
    assert [run.name for run in found.runs] == ["a/loss_weights.style=1,seed=0", "b/loss_weights.style=1,seed=0"]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "empty holds no run: a run's folder has one of config.yaml"),
                            ("nowhere", "nowhere is no folder; give folders of runs or of sweeps")):  # fmt: skip
        result = scumble_here("compare", folder, cwd=tmp_path, check=False)
        assert result.returncode
        assert result.stderr.startswith("scumble compare: ")
        assert message in result.stderr
    assert not (tmp_path / "report").exists()


def test_a_run_that_has_not_begun_is_known(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", styles=[1, 2], seeds=[0, 1])
    words = ["threads=1", "loss_weights.style=1,2", "seed=0,1"]
    (sweep / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": words, "hydra": []}}}))
    for run in sweep.glob("*/.hydra/overrides.yaml"):
        run.write_text(run.read_text() + "- threads=1\n")
    shutil.rmtree(sweep / "loss_weights.style=2,seed=1")
    assert load_sweep(sweep).pending == ["loss_weights.style=2 seed=1"]
    for damaged in ("{", json.dumps({"hydra": {"overrides": {"task": ["a=[", "b"], "hydra": []}}})):
        (sweep / "multirun.yaml").write_text(damaged)
        assert load_sweep(sweep).pending == []


# The table


def test_only_what_differs_is_a_key(tmp_path: Path) -> None:
    sweep = load_sweep(write_sweep(tmp_path / "sweep"))
    assert changed_keys(sweep.runs) == ["loss_weights.style", "seed"]  # and not their copies in task and data
    assert changed_keys(sweep.runs[:1]) == []


def test_a_chosen_group_stands_for_what_follows_from_it(tmp_path: Path) -> None:
    for index, (generator, width) in enumerate([("adain", 8), ("adain", 16), ("unet", 32), ("unet", 64)]):
        target = f"scumble.networks.generators.{generator}"
        settings = {"generator._target_": target, "generator.width": width}
        run = write_run(tmp_path / str(index), settings, choices={"generator": generator, "task": "style_transfer"})
        (run / ".hydra" / "overrides.yaml").write_text(f"- generator={generator}\n- logger=csv\n")
    assert changed_keys(load_sweep(tmp_path).runs) == ["generator", "generator.width"]


def test_two_keys_that_were_both_given_stay(tmp_path: Path) -> None:
    for value in (1, 2):
        write_run(tmp_path / str(value), {"loss_weights.style": value, "loss_weights.content": value})
    assert changed_keys(load_sweep(tmp_path).runs) == ["loss_weights.style", "loss_weights.content"]


def test_seeds_are_one_configuration_with_its_spread(tmp_path: Path) -> None:
    table = load_sweep(write_sweep(tmp_path / "sweep", styles=[1, 2], seeds=[0, 1, 2])).table()
    assert [configuration.settings for configuration in table.configurations] == [
        {"loss_weights.style": 1}, {"loss_weights.style": 2},
    ]  # fmt: skip
    values = [distances(2, seed, 20)[0] for seed in range(3)]
    found = table.configurations[1].metrics["val/content_distance"]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_table_is_per_run_or_per_configuration(tmp_path: Path) -> None:
    sweep = load_sweep(write_sweep(tmp_path / "sweep", styles=[1, 2], seeds=[0]))
    assert list(sweep.to_dataframe()) == ["run", "state", "step", "loss_weights.style", *METRICS]
    assert list(sweep.to_dataframe("configuration"))[-4:] == [*METRICS, "runs"]  # a single seed has no spread
    with pytest.raises(ValueError, match="per is 'seed'; accepted: run, configuration"):
        sweep.to_dataframe("seed")  # type: ignore[arg-type]


def test_a_seed_that_ended_early_or_is_there_twice_does_not_count(tmp_path: Path) -> None:
    for name, seed, steps in (("a", 0, [10, 20]), ("b", 1, [10, 20]), ("c", 2, [10]), ("again", 1, [10, 20])):
        run = write_run(tmp_path / name, {"seed": seed}, steps=steps, state=State.PREEMPTED)
        (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("steps: 10", "steps: 20"))
    table = load_sweep(tmp_path).table()
    (configuration,) = table.configurations
    assert len(configuration.runs) == 4
    assert sorted(table.runs[index].config["seed"] for index in configuration.counted) == [0, 1]
    assert configuration.metrics["val/psnr"].seeds == 2


def test_a_single_run_has_the_interval_of_its_scores() -> None:
    assert estimate([Measured(3.0, 2.5, 3.5)]) == (3.0, 1, None, 2.5, 3.5)
    assert estimate([Measured(3.0)]) == (3.0, 1, None, None, None)
    diverged = estimate([Measured(3.0), Measured(math.nan)])
    assert math.isnan(diverged.mean)
    assert diverged.deviation is None


def scores(protocol: str, mean: float) -> str:
    summary = {
        "content_distance": {"mean": mean, "standard_error": 0.1, "low": mean - 0.2, "high": mean + 0.2, "n": 60}
    }
    return json.dumps({"protocol": protocol, "model": "m", "pairs": [{}], "summary": summary})


def test_scores_of_different_protocols_have_columns_of_their_own(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", styles=[1, 2, 3], seeds=[0])
    runs = sorted(sweep.iterdir())
    (runs[0] / "scores-aaaa.json").write_text(scores("aaaa", 1.0))
    (runs[1] / "scores-aaaa.json").write_text(scores("aaaa", 2.0))
    (runs[2] / "scores-bbbb.json").write_text(scores("bbbb", 3.0))
    unknown = {"mean": None, "standard_error": None, "low": None, "high": None, "n": 0}  # no picture was finite
    (runs[2] / "scores-cccc.json").write_text(json.dumps({"protocol": "cccc" * 16, "summary": {"lpips": unknown}}))
    frame = scumble.load_sweep(sweep).to_dataframe()
    assert frame["scores-aaaa/content_distance"].tolist()[:2] == [1.0, 2.0]
    assert math.isnan(frame["scores-aaaa/content_distance"][2])
    assert frame["scores-bbbb/content_distance"].dropna().tolist() == [3.0]
    assert math.isnan(frame["scores-cccccccc/lpips"][2])
    configurations = scumble.load_sweep(sweep).to_dataframe("configuration")
    assert configurations["scores-aaaa/content_distance_low"].tolist()[:2] == [0.8, 1.8]
    output = scumble_here("compare", "sweep", cwd=tmp_path).stdout
    assert "scores of 3 protocols stand in columns of their own (scores-aaaa, scores-bbbb, scores-cccccccc)" in output


STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0]


def test_the_strengths_of_a_run_are_a_curve(tmp_path: Path) -> None:
    write_strengths(write_run(tmp_path / "run", {}), STRENGTHS)
    run = load_run(tmp_path / "run")
    assert run.missing == []
    assert list(run.strengths) == STRENGTHS
    assert [found["scores-abcdef01/style_distance"].mean for found in run.strengths.values()] == [4, 3.5, 3, 2.5, 2]
    assert run.results["scores-abcdef01/style_distance"] == Measured(3.0, 2.9, 3.1)  # at the default strength
    table = tabulate([run])
    assert table.objectives == ("scores-abcdef01/content_distance", "scores-abcdef01/style_distance")
    (configuration,) = table.configurations
    assert list(configuration.strengths) == STRENGTHS
    assert configuration.strengths[1.0]["scores-abcdef01/content_distance"] == (2, 1, None, 1.9, 2.1)


def test_scores_without_the_default_strength_are_a_curve_and_no_entry(tmp_path: Path) -> None:
    write_strengths(write_run(tmp_path / "run", {}), [0.0, 1.0])
    run = load_run(tmp_path / "run")
    assert "scores-abcdef01/style_distance" not in run.results
    table = tabulate([run])
    assert table.objectives == ("scores-abcdef01/content_distance", "scores-abcdef01/style_distance")
    assert math.isnan(load_sweep(tmp_path).to_dataframe()["scores-abcdef01/style_distance"][0])
    assert "scores-abcdef01/style_distance" in table.to_markdown()


def test_a_point_of_a_curve_is_the_mean_of_the_seeds(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", styles=[1], seeds=[0, 1])
    for scale, run in zip((1.0, 3.0), sorted(sweep.iterdir()), strict=True):
        write_strengths(run, STRENGTHS, scale)
    (configuration,) = load_sweep(sweep).table().configurations
    found = configuration.strengths[0.25]["scores-abcdef01/style_distance"]
    assert (found.mean, found.seeds) == (7, 2)
    assert found.deviation == pytest.approx(np.std([3.5, 10.5], ddof=1))


def test_a_curve_is_of_one_checkpoint(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {})
    write_strengths(run, STRENGTHS, step=10)
    write_strengths(run, [0.0, 1.0], step=20)
    found = load_run(run)
    assert list(found.strengths) == [0.0, 1.0]
    assert found.missing == [
        f"scores-abcdef01@{strength}.json is of an older checkpoint than other scores of its protocol: measure it again"
        for strength in ("0.25", "0.50", "0.75")
    ]


def test_the_validation_stays_the_objective_unless_every_run_has_a_curve(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", styles=[1, 2], seeds=[0])
    first, second = sorted(sweep.iterdir())
    write_strengths(first, STRENGTHS)
    assert load_sweep(sweep).table().objectives == ("val/content_distance", "val/style_distance")
    write_strengths(second, [0.5])  # a point is not a curve
    assert load_sweep(sweep).table().objectives == ("val/content_distance", "val/style_distance")
    write_strengths(second, [0.0, 1.0])
    assert load_sweep(sweep).table().objectives[1] == "scores-abcdef01/style_distance"


def test_the_page_holds_the_strengths(tmp_path: Path) -> None:
    write_strengths(write_run(tmp_path / "run", {}), STRENGTHS)
    scumble_here("compare", "run", cwd=tmp_path)
    text = (tmp_path / "report" / "index.html").read_text()
    report = json.loads(text.partition('<script type="application/json" id="content">')[2].partition("</script>")[0])
    names = [metric["name"] for metric in report["metrics"]]
    strengths = report["configurations"][0]["strengths"]
    assert [one["strength"] for one in strengths] == STRENGTHS
    content, style = (names.index(name) for name in report["objectives"])
    assert [one["metrics"][content][0] for one in strengths] == [1, 1.25, 1.5, 1.75, 2]
    assert [one["metrics"][style][0] for one in strengths] == [4, 3.5, 3, 2.5, 2]
    assert strengths[0]["metrics"][names.index("val/psnr")] is None


def test_evaluations_on_other_images_have_columns_of_their_own(tmp_path: Path) -> None:
    for index, (images, seed) in enumerate([(60, 0), (60, 1), (30, 2)]):
        run = write_run(tmp_path / str(index), {"seed": seed})
        data = {"_target_": "x", "seed": seed, "batch_size": 4 + seed, "validation_size": 128}
        content = {"images": images, "data": data, "metrics_config": {}, "metrics": {"psnr": 20 + seed}}
        (run / "evaluation.json").write_text(json.dumps(content))
    columns = [name for name in load_sweep(tmp_path).to_dataframe() if name.startswith("evaluation-")]
    assert len(columns) == 2
    assert sorted(load_sweep(tmp_path).to_dataframe()[columns].count()) == [1, 2]


def test_the_two_diversities_are_never_in_one_column(tmp_path: Path) -> None:
    for number, (protocol, name) in enumerate((("aaaa", "diversity_relu4_1"), ("bbbb", "diversity_means_relu4_1"))):
        run = write_run(tmp_path / protocol, {"seed": number})
        (run / "metrics.csv").write_text("step,val/diversity_relu4_1\n20,0.4\n")
        scores = {"protocol": protocol * 16, "summary": {name: {"mean": 0.05}}}
        (run / "scores-1.json").write_text(json.dumps(scores))
    frame = load_sweep(tmp_path).to_dataframe()
    assert frame["val/diversity_relu4_1"].tolist() == [0.4, 0.4]
    assert frame["scores-aaaaaaaa/diversity_relu4_1"].dropna().tolist() == [0.05]
    assert frame["scores-bbbbbbbb/diversity_means_relu4_1"].dropna().tolist() == [0.05]


def test_the_files_hold_the_same_table(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep")
    scumble_here("compare", "sweep", "-o", "report", cwd=tmp_path)
    frame = scumble.load_sweep(sweep).to_dataframe("configuration")
    with (tmp_path / "report" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(frame.columns)
    records = json.loads((tmp_path / "report" / "table.json").read_text())
    for column in frame.columns:
        assert [str(record[column]) for record in records] == [str(value) for value in frame[column]] or np.allclose(
            [record[column] for record in records], frame[column]
        )
        assert [row[column] for row in rows] == [str(value) for value in frame[column]]
    lines = (tmp_path / "report" / "table.md").read_text().splitlines()
    assert lines[0].startswith("| loss_weights.style | seeds | val/content_distance | val/style_distance |")
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1


def test_markdown_is_not_broken_by_what_a_run_is_called(tmp_path: Path) -> None:
    for name, value in (("1", "a|b"), ("2", "<b>*x*</b>")):
        write_run(tmp_path / name, {"name_of_mine": value})
    lines = load_sweep(tmp_path).table().to_markdown().splitlines()
    assert "a\\|b" in lines[2]
    assert "&lt;b>\\*x\\*&lt;/b>" in lines[3]


# The front


@pytest.mark.parametrize(("metric", "higher"), [
    ("val/psnr", True), ("val/ssim", True), ("evaluation-ab12/ms_ssim", True), ("val/diversity_relu4_1", True),
    ("val/elbo", True), ("val/psnr_damaged", True), ("scores-ab12/edge_agreement", True), ("scores-ab12/ssim", True),
    ("val/content_distance", False), ("val/lpips", False), ("val/frechet_relu4_1", False), ("val/mse", False),
    ("scores-ab12/self_similarity", False), ("scores-ab12/art_fid", False), ("val/unheard_of", False),
])  # fmt: skip
def test_which_metrics_are_better_when_they_are_higher(metric: str, higher: bool) -> None:
    assert is_better_higher(metric) == higher


def naive_front(points: list[tuple[float, float]]) -> list[bool]:
    def is_beaten(point: tuple[float, float]) -> bool:
        return any(
            other[0] <= point[0] and other[1] <= point[1] and other != point
            for other in points
            if all(map(math.isfinite, other))
        )

    return [all(map(math.isfinite, point)) and not is_beaten(point) for point in points]


# Few different values, so that points are equal and share coordinates.
coordinates = st.one_of(st.integers(0, 5).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))


@given(st.lists(st.tuples(coordinates, coordinates), max_size=30))
def test_the_front_is_that_of_comparing_all_pairs(points: list[tuple[float, float]]) -> None:
    assert non_dominated(points) == naive_front(points)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=30), st.randoms())
def test_a_front_depends_neither_on_the_order_nor_on_the_scale(points: list[tuple[float, float]], random: Any) -> None:
    front = non_dominated(points)
    assert any(front)
    order = random.sample(range(len(points)), len(points))
    assert non_dominated([points[index] for index in order]) == [front[index] for index in order]
    assert non_dominated([(4 * x, y / 4) for x, y in points]) == naive_front([(4 * x, y / 4) for x, y in points])


def test_the_front_of_a_sweep(tmp_path: Path) -> None:
    for style in (1, 4):
        write_run(tmp_path / f"good{style}", {"loss_weights.style": style})
    worse = write_run(tmp_path / "worse", {"loss_weights.style": 2})
    (worse / "metrics.csv").write_text("step,val/content_distance,val/style_distance\n20,90,90\n")
    diverged = write_run(tmp_path / "diverged", {"loss_weights.style": 3})
    (diverged / "metrics.csv").write_text("step,val/content_distance,val/style_distance\n20,0,nan\n")
    table = tabulate(load_sweep(tmp_path).runs)
    assert dict(zip([run.name for run in table.runs], table.front, strict=True)) == {
        "diverged": False, "good1": True, "good4": True, "worse": False,
    }  # fmt: skip


# Pictures


def test_cells_are_cut_to_the_pixel(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {})
    cells = list(read_grid(run / "grids" / "step=00000010.png").values())
    for cell, content in zip(cells, photographs(24), strict=True):
        assert list(cell.inputs) == ["content", "style"]
        assert cell.caption == "stylized"
        assert np.array_equal(np.asarray(cell.inputs["content"]), to_uint8(content).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("text", [
    None, "{", "[]", '{"columns": ["stylized"], "rows": [[[0, 0, 99999, 2]]]}', '{"columns": ["a"], "rows": [[[0]]]}',
    '{"columns": ["a"], "rows": [[["<", 0, 1, 1]]]}',
])  # fmt: skip
def test_a_grid_that_does_not_say_where_its_cells_are(tmp_path: Path, text: str | None) -> None:
    from scumble.images import write_image

    run = write_run(tmp_path / "run", {})
    path = run / "grids" / "step=00000020.png"
    write_image(photographs(24)[0], path, text={"scumble": text} if text else None)
    with pytest.raises(GridError, match=r"step=00000020\.png is no grid whose cells are known"):
        read_grid(path)
    for content in (b"", b"GIF89a", path.read_bytes()[:60]):
        path.write_bytes(content)
        with pytest.raises(GridError):
            read_grid(path)
    sweep = load_sweep(tmp_path)
    assert contact_sheet(sweep.runs, 10**6).pairs == []
    assert "step=00000020.png is no grid whose cells are known" in sweep.runs[0].missing


def test_the_same_pairs_stand_beside_each_other(tmp_path: Path) -> None:
    runs = load_sweep(write_sweep(tmp_path / "sweep", seeds=[0])).runs
    sheet = contact_sheet(runs, 10**6)
    assert len(sheet.pairs) == 4
    assert [sorted(cells) for cells in sheet.cells] == [[10, 20]] * 3
    assert sheet.left_out == []
    # 4 photographs that are contents and styles in turn are encoded once, and each stylized image.
    assert len(sheet.pictures) == 4 + 3 * 2 * 4
    size = Image.open(io.BytesIO(sheet.pictures[0])).size
    assert size == (24, 24)


def test_runs_of_other_pairs_have_no_picture_of_these(tmp_path: Path) -> None:
    runs = [load_run(write_run(tmp_path / name, {}, side=side)) for name, side in (("a", 24), ("b", 24), ("c", 40))]
    sheet = contact_sheet(runs, 10**6)
    assert len(sheet.pairs) == 8
    missing = [sum(number is None for number in cells[20]) for cells in sheet.cells]
    assert missing == [4, 4, 4]


@pytest.mark.parametrize("limit", [0, 2_000, 10_000, 40_000])
def test_pictures_stay_below_the_limit_and_what_is_left_out_is_said(tmp_path: Path, limit: int) -> None:
    steps = list(range(10, 90, 10))
    runs = load_sweep(write_sweep(tmp_path / "sweep", seeds=[0], steps=steps, side=96)).runs
    sheet = contact_sheet(runs, limit)
    assert all(80 in cells for cells in sheet.cells)  # the last step of every run is always there
    assert sheet.left_out
    if limit > 2_000:
        assert sum(map(len, sheet.pictures)) < 1.5 * limit
    shown = {len(cells) for cells in sheet.cells}
    assert len(shown) == 1  # the same steps for all
    assert shown.pop() < len(steps)


def test_a_picture_is_reduced_and_never_enlarged() -> None:
    picture = Image.new("RGB", (100, 50))
    assert Image.open(io.BytesIO(encode(picture, 40))).size == (40, 20)
    assert Image.open(io.BytesIO(encode(picture, 400))).size == (100, 50)


# The page


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&`${x}"


def test_the_page_asks_for_nothing_and_holds_what_it_shows(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", seeds=[0])
    scumble_here("compare", "sweep", cwd=tmp_path)
    text = (tmp_path / "report" / "index.html").read_text()
    elements = Elements(text).found
    for tag, attributes in elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "").startswith(("#", "data:", "")), (tag, attributes)
            assert "//" not in (attributes.get(name) or ""), (tag, attributes)
    tags = [tag for tag, _ in elements]
    assert "iframe" not in tags
    assert tags.count("script") == 8  # two of data, five of the page, plotly
    identifiers = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert "@import" not in text.split("</style>")[0]


def test_nothing_of_a_run_folder_becomes_html(tmp_path: Path) -> None:
    for value in (HOSTILE, "b"):
        run = write_run(
            tmp_path / f"sweep {HOSTILE.replace('/', '_')}" / str(len(value)), {"note": value}, state=State.FAILED
        )
        (run / "error.txt").write_text(HOSTILE)
        (run / "metrics.csv").write_text(f'step,"val/{HOSTILE.replace(chr(34), "")}"\n1,2\n')
    scumble_here("compare", str(run.parent), "-o", "report", cwd=tmp_path)
    elements = Elements((tmp_path / "report" / "index.html").read_text()).found
    assert [tag for tag, _ in elements].count("script") == 8
    assert not [tag for tag, attributes in elements if tag == "img" or "onerror" in attributes]


@given(st.text())
def test_embedded_text_cannot_end_its_element(text: str) -> None:
    found = embedded({text: [text, math.nan]})
    assert not set("<>&") & set(found)
    assert json.loads(found) == {text: [text, None]}


def test_long_curves_become_means_of_what_follows_each_other(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {}, pictures=False)
    rows = "".join(f"{step},{step % 7},{step if step % 100 == 0 else ''}\n" for step in range(1, 5001))
    (run / "metrics.csv").write_text("step,train/style,val/psnr\n" + rows)
    found = curves([load_run(run)])
    steps, values = found["train/style"][0]
    assert 300 < len(steps) <= 400
    assert steps[-1] == 5000
    assert values[0] == pytest.approx(np.mean([step % 7 for step in range(1, steps[0] + 1)]), abs=1e-5)
    assert found["val/psnr"][0] == (list(range(100, 5001, 100)), list(range(100, 5001, 100)))
