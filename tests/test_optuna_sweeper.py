"""The sweepers that draw values, through Hydra: cheap runs with scumble's own config, then real ones."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import cheap
import hydra
import optuna
import pytest
import yaml
from hydra.core.plugins import Plugins
from runs import TINY, make_images, scumble, scumble_here

from scumble.config import CONFIG_FOLDER
from scumble.sweeps.folder import SEARCHES, overrides_of, runs_of, sweeper_of
from scumble.sweeps.search import JOURNAL_FILE, STUDY, read_front, storage

SPACE = ("loss_weights.style=interval(-1,4)", "loss_weights.content=interval(-2,2)")


def sweep_here(
    cwd: Path, *overrides: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str]:
    """A sweep of cheap runs in this process: with what it ended, and what it printed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "argv", ["cheap", "-m", *overrides])
    status: int | str | None = None
    try:
        with chdir(cwd):
            cheap.sweep()
    except SystemExit as error:
        status = error.code
    finally:
        root.handlers, root.level = handlers, level
    return status, capsys.readouterr().out


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def swept(*overrides: str) -> tuple[int | str | None, str]:
        return sweep_here(tmp_path, *overrides, monkeypatch=monkeypatch, capsys=capsys)

    return swept


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=STUDY, storage=storage(folder / JOURNAL_FILE)).trials


# The configs


@pytest.mark.parametrize("name", SEARCHES)
def test_the_configs_make_sweepers(name: str) -> None:
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = hydra.compose("train", [f"hydra/sweeper={name}"], return_hydra_config=True)
        monitors = config.callbacks.monitors.monitors
    made = Plugins.instance()._instantiate(config.hydra.sweeper)
    assert type(made).__name__ == "OptunaSweeper"  # Hydra executes the module again, so the class is another object
    assert made.sampler == {"optuna": "tpe", "random": "random"}[name]
    assert made.objectives == {"val/content_distance": "minimize", "val/style_distance": "minimize"}
    assert all(name in monitors for name in made.prune)


def test_all_configs_of_sweepers_can_be_resumed() -> None:
    assert sorted(path.stem for path in (CONFIG_FOLDER / "hydra" / "sweeper").glob("*.yaml")) == sorted(SEARCHES)


def test_hydra_finds_the_sweeper_without_optuna_and_torch() -> None:
    program = (
        "import sys; from hydra.core.plugins import Plugins; found = Plugins.instance().class_name_to_class;"
        "print('hydra_plugins.scumble_optuna.sweeper.OptunaSweeper' in found, 'optuna' in sys.modules,"
        "'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False", "False"], result.stderr


# Cheap runs


def test_a_random_search(sweep: Any, tmp_path: Path) -> None:
    overrides = ["hydra/sweeper=random", *SPACE, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=a"]
    status, output = sweep(*overrides)
    assert not status
    trials = trials_of(tmp_path / "a")
    folders = sorted(path.name for path in (tmp_path / "a").iterdir() if path.is_dir())
    assert folders == ["0000", "0001", "0002", "0003"]
    for folder, trial in zip(folders, trials, strict=True):
        given = dict(
            word.split("=") for word in yaml.safe_load((tmp_path / "a" / folder / ".hydra/overrides.yaml").read_text())
        )
        assert {key: float(given[key]) for key in trial.params} == trial.params
        x, y = trial.params["loss_weights.style"], trial.params["loss_weights.content"]
        assert trial.values == list(cheap.distances(x, y).values())
        assert given["callbacks.monitors.monitors.not_finite.action"] == "stop"
    front = read_front(tmp_path / "a")
    assert front is not None
    assert output.count("\n00") == len(front["front"])
    assert "The trade-off front has " in output

    again = ["hydra/sweeper=random", *SPACE, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=b", "hydra.sweeper.n_jobs=3"]
    assert not sweep(*again)[0]
    assert [trial.params for trial in trials_of(tmp_path / "b")] == [trial.params for trial in trials]


def test_runs_that_fail_or_collapse_do_not_end_a_search(sweep: Any, tmp_path: Path) -> None:
    widths = "generator.width=8,1,2,3,4"
    own = ["callbacks.monitors.monitors.not_finite.action=tag", "hydra.sweep.dir=s", "hydra.sweeper.n_trials=7"]
    own += ["hydra.sweeper.seed=43", "generator=residual_attention"]  # draws all widths
    status, output = sweep("hydra/sweeper=random", SPACE[0], widths, *own)
    assert "these runs of the sweep failed" in str(status)
    expected = {
        "8": ("COMPLETE", ""),
        "1": ("FAIL", "a width of 1 is too small"),
        "2": ("PRUNED", "step 1: x: val/x is 0. It collapsed."),
        "3": ("FAIL", r"val/content_distance is nan, val/style_distance is [\d.]+"),
        "4": ("FAIL", "the run measured no val/style_distance; it measured val/content_distance"),
    }
    trials = trials_of(tmp_path / "s")
    assert len(trials) == 7
    assert {trial.params["generator.width"] for trial in trials} == expected.keys()
    for trial in trials:
        state, reason = expected[trial.params["generator.width"]]
        assert trial.state.name == state
        assert re.fullmatch(reason, trial.user_attrs["reason"])
    overrides = yaml.safe_load((tmp_path / "s/0000/.hydra/overrides.yaml").read_text())
    monitors = [word for word in overrides if "not_finite" in word]
    assert monitors[-1] == own[0], "what the user says of a monitor holds"

    runs = runs_of(tmp_path / "s")
    assert [run.name for run in runs] == [f"{number:04d}" for number in range(7)]
    counted = scumble_here("sweep", "status", "s", cwd=tmp_path).stdout
    assert re.search(r"^stopped +1 .* 00\d\d +step 1: x: val/x is 0", counted, re.MULTILINE)
    assert "step 1: x: val/x is 0. It collapsed." in counted
    assert counted.endswith(output[output.index("The trade-off front") : output.index("\n\nThe sweep is in")] + "\n")


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(sweep: Any, tmp_path: Path) -> None:
    given = ["hydra/sweeper=optuna", *SPACE, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2"]
    options = "+hydra.sweeper.sampler_options.n_startup_trials=2"
    assert not sweep(*given, options, "hydra.sweep.dir=whole")[0]
    command = [sys.executable, cheap.__file__, "-m", *given, options, "hydra.sweep.dir=killed"]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ | {"KILLED_AT": "0003"}, capture_output=True)
    assert result.returncode == -signal.SIGKILL
    killed = tmp_path / "killed"
    assert [trial.state.name for trial in trials_of(killed)] == ["COMPLETE"] * 2 + ["RUNNING"] * 2
    assert [run.state for run in runs_of(killed)] == ["done", "done", "done", "preempted"]

    status, _ = sweep(*given, options, "hydra.sweep.dir=killed")
    assert status == "scumble: killed has a search already; set resume=true to resume it, or another hydra.sweep.dir"
    before = (killed / "0001" / "status.json").read_bytes()
    resumed = ["-m", *overrides_of(killed), *sweeper_of(killed), "resume=true", "hydra.sweep.dir=killed"]
    assert {*given[3:], options, "hydra/sweeper=optuna"} <= set(resumed), "what scumble sweep resume gives on"
    assert not sweep(*resumed[1:])[0]
    assert [trial.params for trial in trials_of(killed)] == [trial.params for trial in trials_of(tmp_path / "whole")]
    assert {trial.state.name for trial in trials_of(killed)} == {"COMPLETE"}
    assert (killed / "0001" / "status.json").read_bytes() == before
    assert read_front(killed) == read_front(tmp_path / "whole")
    assert not sweep(*resumed[1:])[0], "and again, with nothing to do"


@pytest.mark.slow
def test_a_run_that_takes_its_launcher_along_does_not_end_a_search(tmp_path: Path) -> None:
    given = ["-m", "hydra/sweeper=random", *SPACE, "hydra.sweeper.n_trials=6", "hydra.sweep.dir=s"]
    given += ["hydra.sweeper.n_jobs=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, cheap.__file__, *given]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"KILLED_AT": "0003"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "The launcher ended with an error: " in result.stdout
    assert "0003 is not finished; resume=true resumes it" in result.stdout
    states = [trial.state.name for trial in trials_of(tmp_path / "s")]
    assert states[:2] + states[3:] == ["COMPLETE", "COMPLETE", "RUNNING", "COMPLETE", "COMPLETE"]
    subprocess.run([*command, "resume=true"], cwd=tmp_path, check=True, capture_output=True)
    assert {trial.state.name for trial in trials_of(tmp_path / "s")} == {"COMPLETE"}


def test_a_folder_decides_nothing_but_plain_values(tmp_path: Path) -> None:
    given = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "+hydra.sweeper.sampler_options.n_startup_trials=2"]
    bad = ["hydra.sweeper._target_=os.system", "hydra.searchpath=[file://x]", "hydra/launcher=x", "hydra.callbacks={}"]
    content = {"hydra": {"overrides": {"task": ["a=1"], "hydra": [*bad, *given]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(content))
    assert sweeper_of(tmp_path) == given
    content["hydra"]["overrides"]["hydra"] = ["hydra/sweeper=theirs", *given[1:]]
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(content))
    assert sweeper_of(tmp_path) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer=ddp_sim", *SPACE], r"several devices \(trainer.devices=2\).*search of its own"),
        (["trainer=cpu,ddp", *SPACE], r"several devices \(trainer.devices=-1\).*search of its own"),
        (["trainer.devices=range(1,3)"], r"several devices \(trainer.devices=2\)"),
        (["steps=3"], "nothing to search"),
        (["hydra.sweeper.sampler=grid", *SPACE], "must be one of tpe, nsga2, random, got 'grid'"),
        (["hydra.sweeper.n_trials=0", *SPACE], "must be at least 1, got 0 and 1"),
        (["hydra.sweeper.minimize=[]", *SPACE], "needs an objective"),
        (["loss_weights.style=interval(2,1)"], "must be less than"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_starts(
    sweep: Any, tmp_path: Path, overrides: list[str], message: str
) -> None:
    status, _ = sweep("hydra/sweeper=optuna", *overrides, "hydra.sweep.dir=s")
    assert re.match(f"scumble: .*{message}", str(status))
    assert not list(tmp_path.rglob("0*"))
    assert not list(tmp_path.rglob(JOURNAL_FILE))


def test_a_value_that_does_not_compose_ends_the_search_before_it_starts(sweep: Any, tmp_path: Path) -> None:
    status, _ = sweep("hydra/sweeper=optuna", "generator=adain,nothing", "hydra.sweep.dir=s")
    assert str(status).startswith("scumble: In 'train': Could not find 'generator/nothing'")
    assert not list(tmp_path.iterdir())


# Real runs


@pytest.mark.slow
def test_a_search_over_real_runs(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 4)
    given = ["-m", "hydra/sweeper=optuna", *TINY, f"data.content={images}", f"data.style={images}", "steps=2"]
    given += ["loss_weights.style=tag(log,interval(1,50))", "task.accumulate=0,1", "hydra.sweeper.prune=[not_finite]"]
    result = scumble("train", *given, "hydra.sweep.dir=s", "hydra.sweeper.n_trials=4", cwd=tmp_path, check=False)
    trials = trials_of(tmp_path / "s")
    assert {trial.params["task.accumulate"]: trial.state.name for trial in trials} == {"0": "FAIL", "1": "COMPLETE"}
    assert result.returncode == 1
    assert "accumulate must be at least 1, got 0" in result.stderr
    assert "The trade-off front has" in result.stdout
    for trial in trials:
        if trial.values:
            status = json.loads((tmp_path / "s" / f"{trial.number:04d}" / "status.json").read_text())
            assert trial.values == [status["metrics"][f"val/{name}_distance"] for name in ("content", "style")]


@pytest.mark.slow
def test_a_monitor_prunes_a_real_run_and_resume_leaves_it(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 4)
    given = ["-m", "hydra/sweeper=random", *TINY, f"data.content={images}", f"data.style={images}", "steps=20"]
    given += ["loss_weights.style=interval(1,50)", "hydra.sweeper.n_trials=1", "hydra.sweep.dir=s"]
    monitor = (
        "+callbacks.monitors.monitors.mine={_target_: scumble.callbacks.Monitor, metric: train/style, below: 1e9, "
    )
    monitor += "patience: 3, action: stop, meaning: It collapsed.}"
    scumble("train", *given, monitor, cwd=tmp_path)
    (trial,) = trials_of(tmp_path / "s")
    assert trial.state.name == "PRUNED"
    assert re.match(r"step 3: mine: train/style is .* It collapsed\.", trial.user_attrs["reason"])
    result = scumble("sweep", "resume", "s", "hydra.sweeper.n_trials=2", cwd=tmp_path)
    assert [trial.state.name for trial in trials_of(tmp_path / "s")] == ["PRUNED", "PRUNED"]
    assert "2 pruned" in result.stdout
