"""Measure a trained run on its held-out images."""

import json
import logging
import sys
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.progress import track
from torch.utils.data import DataLoader

from scumble.checkpoint import find_checkpoint, load_task
from scumble.config import instantiate, instantiate_untrusted, to_plain
from scumble.data.module import EndlessData
from scumble.files import atomic_write
from scumble.metrics.images import HasResults, ImageMetrics

EVALUATION = "evaluation.json"
# Below it a Frechet distance is mostly bias; the literature uses 50,000, and 5,000 is considered small.
FEW_IMAGES = 2000

log = logging.getLogger(__name__)


@torch.inference_mode()
def evaluate(config: DictConfig) -> dict[str, float]:
    """Measure the run that ``config.run_dir`` names on its held-out images, and return the metrics.

    They are printed, and written with what they were measured on: to ``evaluation.json`` in the run folder, or to
    ``NAME.evaluation.json`` beside the checkpoint file NAME.ckpt if ``config.run_dir`` names one.
    Raises: ValueError if the task of the run makes no images that can be measured.
    """
    plain = to_plain(config)
    torch.set_num_threads(plain["threads"])
    try:
        device = torch.device(plain["device"])
    except RuntimeError:
        raise ValueError(f"device is {plain['device']!r}; accepted: cpu, cuda, mps") from None
    checkpoint = find_checkpoint(plain["run_dir"])
    saved = checkpoint.config["data"] | plain["data"]
    task = load_task(checkpoint, plain["trust"]).to(device)
    if not isinstance(task, HasResults):
        raise ValueError(f"{checkpoint.path}: a {type(task).__name__} makes no images that can be measured")
    data: EndlessData = instantiate_untrusted(saved, plain["trust"])
    data.prepare_data()
    data.setup("validate")
    metrics: ImageMetrics = instantiate(plain["metrics"]).to(device)
    torch.manual_seed(plain["seed"])  # noise of the validation, if the task has any
    batches = DataLoader(data.validation_set(), batch_size=data.validation_batch_size)
    images = 0
    for batch in track(batches, "Measuring", disable=not sys.stderr.isatty()):
        metrics.update_from(task, {name: values.to(device) for name, values in batch.items()})
        images += len(next(iter(batch.values())))
    found = metrics.compute()
    report = {
        "checkpoint": checkpoint.path.name,
        "step": checkpoint.content["global_step"],
        "images": images,
        "data": saved,
        "metrics_config": plain["metrics"],
        "metrics": found,
    }
    given = Path(plain["run_dir"])
    target = given / EVALUATION if given.is_dir() else given.with_name(f"{given.stem}.{EVALUATION}")
    with atomic_write(target) as file:
        file.write(json.dumps(report, indent=2).encode())
    print(f"{checkpoint.path}, {images} images\n\n| metric | value |\n| --- | --- |")
    print("\n".join(f"| {name} | {value:.5g} |" for name, value in sorted(found.items())))
    if images < FEW_IMAGES and any(name.startswith("frechet_") for name in found):
        print(f"\nFrechet distances of fewer than {FEW_IMAGES} images say little: give data.validation_pairs more.")
    return found
