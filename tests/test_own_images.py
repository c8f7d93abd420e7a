"""Folders in place of the bundled images: on one side or both, as a string or a list, in sweeps and on resume."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from runs import TINY, make_images, scumble, scumble_here

from scumble.overrides import compose_run, naming_of_sweep, runs_of_grid, with_lists_of_folders
from scumble.sweeps import plan

OWN = tuple(word for word in TINY if word != "data=folders")
PAINTINGS = {"_target_": "scumble.data.sample.SamplePaintings"}


def data(*words: str) -> Any:
    return OmegaConf.to_container(compose_run(["name=test", *with_lists_of_folders(words)]).data, resolve=True)


@pytest.mark.parametrize("style", ["B", "[B,C]", "'with space'"])
def test_two_folders_are_the_choice_of_folders(style: str) -> None:
    words = ["data.content=A", f"data.style={style}", "data.validation_fraction=0.3", "data.strict=true"]
    assert data(*words) == data("data=folders", *words)


def test_the_other_side_stays_the_bundled_sample() -> None:
    assert data("data.content=A") == data() | {"content": "A"}
    assert data("data.content=[A,B]") == data() | {"content": ["A", "B"]}
    assert data("data.style=A") == data() | {"style": "A"}
    assert data("data.content=A")["style"] == PAINTINGS


def test_folders_replace_a_set_that_an_experiment_or_another_choice_describes() -> None:
    assert data("experiment=cut", "data.style=[A,B]")["style"] == ["A", "B"]
    assert data("experiment=cut", "data.style=A")["style"] == "A"
    fixed = data("data=fixed_pairs", "data.content=PHOTO", "data.style=[A,B]")
    assert fixed["_target_"] == "scumble.data.module.FixedPairs"
    assert (fixed["content"], fixed["style"]) == ("PHOTO", ["A", "B"])
    assert data("experiment=texture", "data.image=[A,B]")["image"] == ["A", "B"]


def test_settings_of_a_set_are_left_as_they_are() -> None:
    words = ["data.style.manners=[swirls]", "+data.style.size=64", "~data.content", "-m", "seed=1,2", "data.content=A"]
    assert sorted(with_lists_of_folders(words)) == sorted(words)
    assert with_lists_of_folders(["data.style=[A"]) == ["data.style=[A"]  # Hydra says what is wrong
    once = with_lists_of_folders(["data.style=[A,B]"])
    assert with_lists_of_folders(once) == once


def test_sweeps_over_folders_are_named_by_them() -> None:
    words = ["-m", "data.content=A,B", "data.style=C"]
    assert with_lists_of_folders(words) == words
    grid = runs_of_grid(words[1:])
    assert [data(*run)["content"] for run in grid] == ["A", "B"]
    lists = with_lists_of_folders(["-m", "seed=1", "data.style=[A],[B,C],D"])
    assert [data(*run)["style"] for run in runs_of_grid(lists[1:])] == [["A"], ["B", "C"], "D"]
    assert naming_of_sweep(lists) == ["hydra.job.config.override_dirname.exclude_keys=['seed']"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    make_images(tmp_path / "photos", 5, seed=1)
    make_images(tmp_path / "one", 4, seed=2)
    make_images(tmp_path / "two", 3, seed=3)
    return tmp_path


def test_a_sweep_over_lists_of_folders_is_planned(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(images)
    monkeypatch.setattr(plan, "measured", lambda runs: runs)
    words = [*OWN, "task=style_transfer", "data.content=photos", "data.style=one,[one,two]"]
    assert plan.plan(words) == 0
    assert "++data.style=[one,two],data.style=folders" in capsys.readouterr().out


def test_a_process_trains_on_folders_and_is_resumed(images: Path) -> None:
    own = ("data.content=photos", "data.style=[one,two]")
    result = scumble("train", *OWN, *own, "steps=2", "run_dir=run", cwd=images)
    line = next(line for line in (result.stdout + result.stderr).splitlines() if "images to train on" in line)
    assert "data.content: photos, " in line
    assert "data.style: one, two, " in line
    resumed = scumble_here("train", "run_dir=run", "resume=true", "steps=3", cwd=images)
    assert "Changed after step 2: steps: 2 -> 3" in resumed.stdout + resumed.stderr
    saved = (images / "run" / ".hydra" / "overrides.yaml").read_text()
    assert saved.count("data.style=folders") == 1


def test_a_sweep_over_lists_of_folders_has_a_run_for_each(images: Path) -> None:
    sweep = ("-m", "data.content=photos", "data.style=one,[one,two]", "steps=1", "hydra.sweep.dir=sweep")
    result = scumble_here("train", *OWN, *sweep, cwd=images)
    assert "failed" not in result.stdout + result.stderr
    configs = [OmegaConf.load(path) for path in (images / "sweep").rglob("config.yaml") if path.parent.name != ".hydra"]
    styles = [OmegaConf.to_container(config.data)["style"] for config in configs]  # type: ignore[index, call-overload]
    assert sorted(styles, key=str) == sorted(["one", ["one", "two"]], key=str)
    status = scumble_here("sweep", "status", "sweep", cwd=images)
    assert "2 done" in status.stdout
