"""`scumble wandb-report`: the view that it would save, read as W&B's own library reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from runs import scumble_here

from scumble.wandb_report import LAMBDAS, as_json, swept_keys, workspace


def spec(*arguments: str, cwd: Path) -> dict[str, Any]:
    result = scumble_here("wandb-report", *arguments, "--print", cwd=cwd)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def panels(view: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel["config"] for section in sections for panel in section["panels"] if panel["viewType"] == kind]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep, as Hydra leaves it."""
    folder = tmp_path / "lambdas"
    folder.mkdir()
    words = ["loss_weights.style=5,20", "adversarial_loss=hinge,least_squares", "seed=0,1", "steps=2000"]
    listed = "\n".join(f"    - {word}" for word in words)
    (folder / "multirun.yaml").write_text(f"hydra:\n  overrides:\n    task:\n{listed}\n")
    return folder


def test_the_runs_of_the_group_are_shown_and_no_others(tmp_path: Path):
    view = spec("me/paintings", "--group", "lambdas", cwd=tmp_path)
    assert (view["entity"], view["project"], view["displayName"]) == ("me", "paintings", "scumble: lambdas")
    (runs,) = view["spec"]["section"]["runSets"]
    (leaf,) = runs["filters"]["filters"]
    assert (leaf["key"], leaf["op"], leaf["value"]) == ({"section": "run", "name": "group"}, "=", "lambdas")
    assert spec("me/paintings", cwd=tmp_path)["spec"]["section"]["runSets"][0]["filters"]["filters"] == []


def test_the_trade_off_is_drawn_by_the_last_of_the_two_distances(tmp_path: Path):
    view = spec("me/paintings", cwd=tmp_path)
    (scatter,) = panels(view, "Scatter Plot")
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:val/content_distance", "summary:val/style_distance")
    (parallel,) = panels(view, "Parallel Coordinates Plot")
    names = [column["accessor"] for column in parallel["columns"]]
    assert names[:2] == ["config:loss_weights.value.adversarial", "config:loss_weights.value.content"]
    assert names[-2:] == ["summary:val/content_distance", "summary:val/style_distance"]
    assert len(names) == len(LAMBDAS) + 2


def test_metrics_losses_and_gradients_are_drawn_against_the_step(tmp_path: Path):
    lines = panels(spec("me/paintings", cwd=tmp_path), "Run History Line Plot")
    assert {line["xAxis"] for line in lines} == {"_step"}
    drawn = {metric for line in lines for metric in line["metrics"]}
    assert {"val/style_distance", "train/style", "train/weighted/style", "train/generator_gradient_norm"} <= drawn


def test_the_losses_are_those_of_the_task():
    from scumble.tasks.style_transfer import StyleTransfer
    from scumble.wandb_report import TERMS

    assert set(TERMS) == {*StyleTransfer.terms, "discriminator"}


def test_the_pictures_are_under_one_slider(tmp_path: Path):
    from scumble.loggers.pictures import PICTURES

    (media,) = panels(spec("me/paintings", cwd=tmp_path), "Media Browser")
    assert media["mediaKeys"] == [PICTURES]


def test_the_folder_of_a_sweep_gives_group_and_keys(sweep: Path, tmp_path: Path):
    keys = ["loss_weights.style", "adversarial_loss._target_", "seed"]
    assert swept_keys(sweep) == keys
    view = spec("me/paintings", "--sweep-dir", "lambdas", cwd=tmp_path)
    (runs,) = view["spec"]["section"]["runSets"]
    assert runs["filters"]["filters"][0]["value"] == "lambdas"
    assert runs["runFeed"]["columnOrder"] == [
        "run:displayName",
        "config:loss_weights.value.style",
        "config:adversarial_loss.value._target_",
        "config:seed.value",
        "summary:val/content_distance",
        "summary:val/style_distance",
    ]
    # Runs that differ in the seed alone are one line.
    assert [key["name"] for key in runs["grouping"]] == ["loss_weights.value.style", "adversarial_loss.value._target_"]


def test_runs_are_not_grouped_without_several_seeds(tmp_path: Path):
    view = spec("me/paintings", "--keys", "loss_weights.style", cwd=tmp_path)
    assert view["spec"]["section"]["runSets"][0]["grouping"] == []


def test_the_view_can_be_read_back():
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import View

    made = workspace("me", "paintings", "lambdas", ["loss_weights.style"])
    read = Workspace._from_model(View.model_validate_json(as_json(made)))
    assert [section.name for section in read.sections] == [section.name for section in made.sections]
    assert [len(section.panels) for section in read.sections] == [len(section.panels) for section in made.sections]


@pytest.mark.parametrize("project", ["me", "me/", "/paintings", "me/paintings/more"])
def test_a_project_without_its_entity_is_named(project: str, tmp_path: Path):
    result = scumble_here("wandb-report", project, "--print", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert f"the project is given as ENTITY/PROJECT, as in its address, got {project!r}" in result.stderr


def test_a_folder_that_is_no_sweep_is_named(tmp_path: Path):
    result = scumble_here("wandb-report", "me/paintings", "--sweep-dir", "nowhere", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "nowhere is no folder of a sweep" in result.stderr


def test_saving_without_an_account_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import wandb

    def nobody(*args: Any, **kwargs: Any) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "Api", nobody)
    result = scumble_here("wandb-report", "me/paintings", cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "the view cannot be saved: No API key configured. Log in with `wandb login`" in result.stderr
    assert "Traceback" not in result.stderr
