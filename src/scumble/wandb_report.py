"""``scumble wandb-report``: the dashboard of a sweep in Weights & Biases, as code."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.sweeps.folder import overrides_of

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

DESCRIPTION = "Save a view of a sweep to a project of Weights & Biases: trade-off, pictures, metrics and losses."
DISTANCES = ("val/content_distance", "val/style_distance")
METRICS = (*DISTANCES, "val/frechet_relu4_1", "val/diversity_relu4_1", "val/psnr", "val/ssim")
TERMS = (
    "adversarial",
    "content",
    "style",
    "total_variation",
    "cycle",
    "identity",
    "temporal",
    "anchor",
    "discriminator",
)
BALANCE = ("generator_gradient_norm", "discriminator_gradient_norm", "accuracy_real", "accuracy_fake")
# What the runs of a sweep differ in, where no folder of it says so.
LAMBDAS = tuple(f"loss_weights.{term}" for term in TERMS[:5])


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and save the view, or print it; user errors print one line."""
    options = _parser().parse_args(arguments)
    try:
        entity, project = _names(options.project)
        keys = options.keys or (swept_keys(options.sweep_dir) if options.sweep_dir else LAMBDAS)
        group = options.group or (Path(options.sweep_dir).resolve().name if options.sweep_dir else None)
        if options.print:
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # nothing of it leaves the machine
            print(as_json(workspace(entity, project, group, keys)))
        else:
            print(f"The view is at {_save(workspace(entity, project, group, keys))}")
    except (ValueError, OSError) as error:
        sys.exit(f"scumble wandb-report: {error}")


def workspace(entity: str, project: str, group: str | None, keys: Sequence[str]) -> "Workspace":
    """The view of the runs of a group, or of all runs, that differ in the config keys ``keys``.

    With the seed among the keys, runs that differ in it alone are drawn as one, by their mean.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    compared = [key for key in keys if key != "seed"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"scumble: {group or 'all runs'}",
        sections=_sections(compared),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == group) if group else "",
            groupby=[expr.Config(key) for key in compared] if len(compared) < len(keys) else [],
            pinned_columns=["run:displayName", *map(_column, keys), *(f"summary:{metric}" for metric in DISTANCES)],
        ),
        settings=ws.WorkspaceSettings(x_axis="Step", max_runs=20),
    )


def as_json(view: "Workspace") -> str:
    """What would be saved, as JSON."""
    text: str = view._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)
    return text


def swept_keys(folder: str | Path) -> list[str]:
    """The keys that the runs of a sweep differ in, by its folder; of a group of configs, the class that it names.

    Raises: ValueError if the folder is no sweep.
    """
    from scumble.config import CONFIG_FOLDER
    from scumble.overrides import keys_of_sweep

    keys = keys_of_sweep(overrides_of(folder))
    return [f"{key}._target_" if (CONFIG_FOLDER / key).is_dir() else key for key in keys]


def _sections(keys: Sequence[str]) -> list["Section"]:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    content, style = map(wr.SummaryMetric, DISTANCES)
    axes: list[Any] = [*map(wr.Config, keys), content, style]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]
    trade_off: list[Any] = [
        wr.ScatterPlot(title="Trade-off: lower and further left is better", x=content, y=style),
        wr.ParallelCoordinatesPlot(title="From the weights to the distances", columns=columns),
    ]
    pictures = wr.MediaBrowser(title="Pictures", media_keys=["pictures"], mode="gallery", gallery_axis="run")
    return [
        ws.Section("Trade-off", panels=trade_off, is_open=True, layout_settings=ws.SectionLayoutSettings(2, 1)),
        ws.Section("Pictures", panels=[pictures], is_open=True, layout_settings=ws.SectionLayoutSettings(1, 1)),
        ws.Section("Validation", panels=_lines(METRICS), is_open=True),
        ws.Section("Losses", panels=_lines(f"train/{term}" for term in TERMS)),
        ws.Section("Weighted losses", panels=_lines(f"train/weighted/{term}" for term in TERMS[:-1])),
        ws.Section("Balance", panels=_lines(f"train/{name}" for name in BALANCE)),
    ]


def _lines(metrics: Any) -> list[Any]:
    """A plot of each metric against the step."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.LinePlot(title=metric, x="Step", y=[metric]) for metric in metrics]


def _column(key: str) -> str:
    """A key of the config as a column of W&B's table of runs."""
    first, *rest = key.split(".")
    return ".".join([f"config:{first}.value", *rest])


def _save(view: "Workspace") -> str:
    """Save a view as a new one; returns its address."""
    import wandb

    try:
        wandb.Api()  # asks for the key, if there is a terminal to ask at
        saved = view.save_as_new_view()  # type: ignore[no-untyped-call]
    except wandb.errors.Error as error:
        reason = str(error).rstrip(".")
        raise ValueError(
            f"the view cannot be saved: {reason}. Log in with `wandb login`, or set WANDB_API_KEY; --print writes what "
            "would be saved, and needs no account"
        ) from error
    return str(saved.url)


def _names(project: str) -> tuple[str, str]:
    entity, slash, name = project.partition("/")
    if not (entity and slash and name) or "/" in name:
        raise ValueError(f"the project is given as ENTITY/PROJECT, as in its address, got {project!r}")
    return entity, name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble wandb-report", description=DESCRIPTION)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where the runs are")
    parser.add_argument(
        "--group", metavar="SWEEP", help="only the runs of a group; a sweep's is the name of its folder"
    )
    parser.add_argument(
        "--sweep-dir", metavar="SWEEP_DIR", help="the folder of the sweep: gives the group and the keys"
    )
    parser.add_argument(
        "--keys", nargs="+", metavar="KEY", help="what the runs differ in (default: that of the folder, or the lambdas)"
    )
    parser.add_argument("--print", action="store_true", help="print what would be saved as JSON; needs no account")
    return parser
