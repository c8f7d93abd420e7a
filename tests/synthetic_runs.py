"""Run folders as a training leaves them, without training: for tests of what reads them."""

import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from scumble.images import grid, grid_boxes, write_image
from scumble.ledger import State

METRICS = ("val/content_distance", "val/style_distance", "val/psnr")


def write_run(
    folder: Path,
    settings: Mapping[str, Any],
    steps: Sequence[int] = (10, 20),
    state: State = State.DONE,
    choices: Mapping[str, str] | None = None,
    pictures: bool = True,
    side: int = 24,
) -> Path:
    """A run whose content distance rises and whose style distance falls with ``loss_weights.style``."""
    config: dict[str, Any] = {"run_dir": str(folder), "name": "style_transfer", "steps": steps[-1], "seed": 0,
                              "loss_weights": {"content": 1.0, "style": 2.0}, "generator": {"width": 8},
                              "logger": {"csv": {"run_dir": str(folder)}}}  # fmt: skip
    for key, value in settings.items():
        *groups, last = key.split(".")
        inner = config
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    config |= {"task": {"loss_weights": dict(config["loss_weights"])}, "data": {"seed": config["seed"]}}
    style, seed = float(config["loss_weights"]["style"]), int(config["seed"])

    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(
        yaml.safe_dump([f"{key}={value}" for key, value in settings.items()])
    )
    chosen = {"hydra": {"runtime": {"choices": dict(choices or {}) | {"hydra/launcher": "basic", "logger": "csv"}}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(chosen))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [f"step,train/style,{','.join(METRICS)}"]
    for step in range(1, steps[-1] + 1):
        values = distances(style, seed, step)
        last = ",".join(map(str, values)) if step in steps else ",,"
        lines.append(f"{step},{values[1] * 2},{last}")
    (folder / "metrics.csv").write_text("\n".join([*lines, ""]))
    status = {"state": state, "key": "0" * 12, "step": steps[-1], "metrics": {}, "host": socket.gethostname(),
              "process": os.getpid()}  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    if pictures:
        for step in steps:
            write_grid(folder, step, style, seed, side)
    return folder


def write_strengths(
    run: Path, strengths: Sequence[float], scale: float = 1.0, step: int = 20, default: float = 0.5
) -> None:
    """Scores as `scumble evaluate --protocol FILE --model RUN --strength ...` writes them."""
    for strength in strengths:
        values = {"content_distance": scale * (1 + strength), "style_distance": scale * (4 - 2 * strength)}
        summary = {name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 9} for name, mean in values.items()}
        content = {"protocol": "abcdef0123", "model": f"run@{strength:.2f}", "pairs": [{}], "summary": summary,
                   "details": {"step": step, "default_strength": default}, "strength": strength}  # fmt: skip
        (run / f"scores-abcdef01@{strength:.2f}.json").write_text(json.dumps(content))


def distances(style: float, seed: int, step: int) -> tuple[float, float, float]:
    """Content and style distance, and the signal-to-noise ratio, of a synthetic run at a step."""
    noise = np.random.default_rng([seed, step]).normal(0, 0.02, 2)
    content = 1 + math.log1p(style) + noise[0]
    return content, 8 / (1 + style) + 3 / step + noise[1], 20 - content


def photographs(side: int) -> list[Tensor]:
    """Four smooth pictures."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((4, 3, 5, 5), dtype=np.float32))
    return list(torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1))


def write_grid(folder: Path, step: int, style: float, seed: int, side: int) -> None:
    """A grid as the callback writes it; the more style, the more of the style image in the stylized one."""
    contents = photographs(side)
    styles = contents[1:] + contents[:1]
    share = style / (1 + style) * (1 - 1 / (step + 1))
    noise = 0.02 * torch.from_numpy(np.random.default_rng(seed).random((3, side, side), dtype=np.float32))
    rows = [[a, b, (torch.lerp(a, b, share) + noise).clamp(0, 1)] for a, b in zip(contents, styles, strict=True)]
    labels = ["content", "style", "stylized"]
    cells = json.dumps({"columns": labels, "rows": grid_boxes(rows, labels)})
    write_image(grid(rows, labels), folder / "grids" / f"step={step:08d}.png", text={"scumble": cells})


def write_sweep(
    folder: Path, styles: Sequence[float] = (1, 2, 8), seeds: Sequence[int] = (0, 1, 2), **options: Any
) -> Path:
    """A sweep over the weight of the style term and the seed."""
    for style in styles:
        for seed in seeds:
            settings = {"loss_weights.style": style, "seed": seed}
            write_run(folder / f"loss_weights.style={style},seed={seed}", settings, **options)
    return folder
