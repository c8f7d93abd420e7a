"""What the framework costs: a training step of scumble beside a bare PyTorch loop of the same mathematics.

    python benchmarks/step_overhead.py

Both take turns in one process, on the same data, and must end with the same weights: the same mathematics.
"""

import argparse
import itertools
import time
from copy import deepcopy
from statistics import median
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from scumble.callbacks.contracts import CountSteps, SeedEachStep
from scumble.config import CONFIG_FOLDER, instantiate
from scumble.data.pairs import PairBatches
from scumble.losses.perceptual import content_loss, moment_style_loss
from scumble.losses.reconstruction import cycle_loss, total_variation_loss
from scumble.statistics import channel_moments
from scumble.tasks.style_transfer import StyleTransfer

Config = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        overrides = [
            "run_dir=.",
            "name=overhead",
            "generator=residual_attention",
            "loss_weights.identity=0",
            f"steps={options.steps}",
        ]
        config = OmegaConf.to_container(compose("train", overrides), resolve=True)
    assert isinstance(config, dict)
    data = instantiate(config["data"])
    data.prepare_data()
    data.setup()
    times: dict[str, list[float]] = {"bare": [], "scumble": []}
    for _ in range(options.turns):
        torch.manual_seed(0)
        task = instantiate(config["task"])
        bare_task = deepcopy(task)
        times["bare"] += bare_loop(bare_task, data, config, options.steps)
        times["scumble"] += lightning_loop(task, data, config, options.steps)
        for (name, a), b in zip(task.generator.named_parameters(), bare_task.generator.parameters(), strict=True):
            if not torch.equal(a, b):
                raise SystemExit(f"not the same mathematics: {name} differs by {(a - b).abs().max():.3g}")
    bare, scumble = median(times["bare"]), median(times["scumble"])
    print("| loop | median step | of bare |\n| --- | --- | --- |")
    print(
        f"| bare PyTorch | {bare * 1e3:.1f} ms | 1.000 |\n| scumble | {scumble * 1e3:.1f} ms | {scumble / bare:.3f} |"
    )


def lightning_loop(task: StyleTransfer, data: Any, config: Config, steps: int) -> list[float]:
    """Seconds of each step, from the start of one to the start of the next."""

    class Clock(L.Callback):
        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_train_batch_start(self, *args: Any) -> None:
            self.marks.append(time.perf_counter())

    clock = Clock()
    trainer = L.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, barebones=False,
        callbacks=[CountSteps(), SeedEachStep(config["seed"]), clock], limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    return [b - a for a, b in itertools.pairwise(clock.marks[5:])]


def bare_loop(task: StyleTransfer, data: Any, config: Config, steps: int) -> list[float]:
    """The same steps without Lightning and without scumble's task: networks, losses and optimizers alone."""
    g, d, e, ema = task.generator, task.discriminator, task.perceptual_encoder, task.generator_ema
    weights = {name: schedule(0) for name, schedule in task.loss_weights.schedules.items()}
    optimizers = {name: make(getattr(task, name).parameters()) for name, make in task.optimizer_factories.items()}
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
    pairs, _, sizes = data.training_set()
    batches = PairBatches(**sizes, batch_size=data.batch_size, seed=config["seed"])
    loader = iter(DataLoader(pairs, batch_sampler=batches))
    task.train()
    marks = []
    for step in range(steps):
        marks.append(time.perf_counter())
        batch = next(loader)
        content, style = batch["content"], batch["style"]
        stylized = g(content, style)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = rates[name] * task.lr_schedule(step)

        d.requires_grad_(True)
        task.adversarial_loss.discriminator(d(style), d(stylized.detach())).backward()
        clip_grad_norm_(d.parameters(), config["task"]["gradient_clip_norm"])
        optimizers["discriminator"].step()
        optimizers["discriminator"].zero_grad()

        d.requires_grad_(False)
        features = e(stylized)
        with torch.no_grad():
            targets = {"relu4_1": e(content)["relu4_1"]}
            moments = {layer: channel_moments(maps) for layer, maps in e(style).items()}
        terms = {
            "adversarial": task.adversarial_loss.generator(d(stylized)),
            "content": content_loss(features, targets),
            "style": moment_style_loss(features, moments),
            "total_variation": total_variation_loss(stylized),
            "cycle": cycle_loss(g(stylized, content), content),
        }
        torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
        clip_grad_norm_(g.parameters(), config["task"]["gradient_clip_norm"])
        optimizers["generator"].step()
        optimizers["generator"].zero_grad()
        with torch.no_grad():
            decay = min(task.ema_decay, (2 + step) / (11 + step))
            torch._foreach_lerp_(list(ema.parameters()), list(g.parameters()), 1 - decay)
    return [b - a for a, b in itertools.pairwise(marks[5:])]


if __name__ == "__main__":
    main()
