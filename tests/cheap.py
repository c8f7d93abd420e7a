"""A run that costs nothing, with scumble's own config: two distances with a known trade-off front, or a failure.

With style x and content y the distances are x² + y² and (x - 2)² + y²; the front is y = 0, x from 0 to 2. As a script:
a sweep of such runs, which kills itself at the run whose folder the variable KILLED_AT names.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from scumble.config import CONFIG_FOLDER
from scumble.hydra_app import keep_error
from scumble.ledger import State, record


def distances(x: float, y: float) -> dict[str, float]:
    return {"val/content_distance": x**2 + y**2, "val/style_distance": (x - 2) ** 2 + y**2}


def run(config: DictConfig) -> Any:
    """Ends as the width of the generator says: 1 fails, 2 is stopped by a monitor, 3 gives NaN, 4 lacks a metric."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if os.environ.get("KILLED_AT") == folder.name and not config.resume:
        record(folder, State.RUNNING, {})
        os.kill(os.getpid(), signal.SIGKILL)
    metrics = distances(config.loss_weights.style, config.loss_weights.content)
    width = config.generator.get("width")
    if width == 1:
        raise ValueError("a width of 1 is too small")
    if width == 2:
        return record(folder, State.STOPPED, {}, 1, metrics, "step 1: x: val/x is 0. It collapsed.")
    if width == 3:
        metrics["val/content_distance"] = float("nan")
    if width == 4:
        del metrics["val/style_distance"]
    return record(folder, State.DONE, {}, 1, metrics)


def task(config: DictConfig) -> Any:
    return keep_error(run)(config)


def sweep() -> None:
    """What `sys.argv` says."""
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")(task)()


if __name__ == "__main__":
    sys.argv[0] = "cheap"
    sweep()
