"""The plumbing of manual optimization that every task shares: the step counter, clipping, accumulation, schedules."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scumble.schedules import Schedule, as_schedule, constant

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Clock(Optimizer):
    """An optimizer that changes nothing; Lightning counts its steps.

    ``Trainer.global_step`` is the number of optimizer steps that go through Lightning: a GAN with two optimizers counts
    every batch twice, and accumulation counts too few. So the real optimizers step outside of Lightning's count, and
    this one steps once per batch: ``global_step`` is the number of batches, whatever a task does within one.
    """

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return closure() if closure is not None else None


class ManualTask(L.LightningModule):
    """A LightningModule that optimizes named networks by hand; a subclass writes ``training_step``.

    A *step* is one batch. ``optimizers`` makes the optimizer of each network, by the attribute's name; the learning
    rate of step k is the optimizer's own times ``lr_schedule(k)``; gradients are clipped to a norm of
    ``gradient_clip_norm``; ``accumulate`` steps make one update of the weights.
    """

    def __init__(
        self,
        optimizers: Mapping[str, OptimizerFactory],
        *,
        lr_schedule: Schedule = constant,
        gradient_clip_norm: float | None = None,
        accumulate: int = 1,
    ):
        super().__init__()
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {accumulate}")
        self.automatic_optimization = False
        self.optimizer_factories = dict(optimizers)
        self.lr_schedule = lr_schedule
        self.gradient_clip_norm = gradient_clip_norm
        self.accumulate = accumulate
        self._restored_gradients: dict[str, Tensor] = {}

    def configure_optimizers(self) -> list[Optimizer]:
        optimizers = [make(getattr(self, name).parameters()) for name, make in self.optimizer_factories.items()]
        return [Clock(), *optimizers]

    def optimizer(self, name: str) -> Optimizer:
        """The optimizer of a network; its steps are not counted by Lightning."""
        optimizers: Any = self.optimizers(use_pl_optimizer=False)
        found: Optimizer = optimizers[1 + list(self.optimizer_factories).index(name)]
        return found

    def update(self, name: str, loss: Tensor, every: int = 1) -> dict[str, Tensor]:
        """Backward, and at the end of an accumulation one optimizer step of the named network.

        ``every`` says that this network's turn comes at every so many steps only.
        Returns what there is to log: the norm of the network's gradient before clipping, when it is clipped.
        """
        self.manual_backward(loss / self.accumulate)
        turn = (self.global_step + 1) // every
        if turn % self.accumulate:
            return {}
        optimizer = self._at_learning_rate(name)
        logs = self._clip_gradient(name)
        optimizer.step()
        optimizer.zero_grad()
        return logs

    def minimize(self, name: str, objective: Callable[[], Tensor]) -> dict[str, Tensor]:
        """One optimizer step of the named network that may evaluate its objective several times, as L-BFGS does.

        Returns what there is to log, as :meth:`update`, of the first evaluation.
        Raises: ValueError with an accumulation, which has no meaning for such a step.
        """
        if self.accumulate > 1:
            raise ValueError(f"task.accumulate must be 1 for {type(self).__name__}, got {self.accumulate}")
        optimizer = self._at_learning_rate(name)
        logs: dict[str, Tensor] = {}

        def evaluate() -> float:
            optimizer.zero_grad()
            loss = objective()
            self.manual_backward(loss)
            logs.update(self._clip_gradient(name) | logs)
            return float(loss.detach())

        optimizer.step(evaluate)
        optimizer.zero_grad()
        return logs

    def _at_learning_rate(self, name: str) -> Optimizer:
        """The optimizer of a network, with the learning rate of this step."""
        optimizer = self.optimizer(name)
        factor = self.lr_schedule(self.global_step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor
        return optimizer

    def _clip_gradient(self, name: str) -> dict[str, Tensor]:
        """Clip the gradient of a network, if that is set; its norm before that, to log."""
        if self.gradient_clip_norm is None:
            return {}
        norm = nn.utils.clip_grad_norm_(getattr(self, name).parameters(), self.gradient_clip_norm)
        return {f"{name}_gradient_norm": norm}

    def finish_step(self, logs: Mapping[str, Tensor | float], progress: Iterable[str] = ()) -> None:
        """Log under ``train/`` and count the step. The last line of every ``training_step``."""
        self.optimizers()[0].step()  # type: ignore[index]
        if self.global_step % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        shown, values = set(progress), {}
        for name, value in logs.items():
            mean = self.trainer.strategy.reduce(torch.as_tensor(value, device=self.device), reduce_op="mean")
            self.log(f"train/{name}", mean, prog_bar=name in shown, logger=False)  # for callbacks and the bar
            values[f"train/{name}"] = float(mean)
        # Lightning would repeat the last value of what was not computed at this step.
        for logger in self.loggers:
            logger.log_metrics(values, step=self.global_step)

    def log_validation(self, metrics: Mapping[str, Tensor], batch_size: int) -> None:
        """Log the means of the validation set under ``val/``, at the number of finished steps."""
        for name, value in metrics.items():
            self.log(f"val/{name}", value, batch_size=batch_size, sync_dist=self.trainer.world_size > 1)
        self.log("step", float(self.global_step), batch_size=batch_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """In the middle of an accumulation the gradients are state as well."""
        gradients = {name: value.grad for name, value in self.named_parameters() if value.grad is not None}
        if gradients:
            checkpoint["gradients"] = gradients

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored_gradients = checkpoint.get("gradients", {})

    def on_validation_model_zero_grad(self) -> None:
        """Nothing: a validation in the middle of an accumulation must not lose the gradients so far."""

    def on_train_start(self) -> None:
        """Give restored gradients back, now that Lightning has cleared all of them."""
        parameters = dict(self.named_parameters())
        for name, gradient in self._restored_gradients.items():
            parameters[name].grad = gradient.to(self.device)


def weigh(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor | float]]:
    """The weighted sum of the terms, and what there is to log: raw terms, weighted terms and weights."""
    weighted = {name: weights[name] * term for name, term in terms.items()}
    logs: dict[str, Tensor | float] = {}
    for name, term in terms.items():
        logs[name] = term.detach()
        logs[f"weighted/{name}"] = weighted[name].detach()
        logs[f"weight/{name}"] = weights[name]
    return torch.stack(list(weighted.values())).sum(), logs


class LossWeights:
    """The weight of every named term of an objective: numbers, or schedules of the step."""

    def __init__(self, weights: Mapping[str, float | Schedule], accepted: Iterable[str]):
        accepted = tuple(accepted)
        for name in weights:
            if name not in accepted:
                raise ValueError(f"unknown loss term {name!r} in loss_weights; accepted: {', '.join(accepted)}")
        self.schedules = {name: as_schedule(weight) for name, weight in weights.items()}

    def at(self, step: int) -> dict[str, float]:
        """The weights at a step, without the terms whose weight is 0: those are not computed."""
        weights = {name: schedule(step) for name, schedule in self.schedules.items()}
        return {name: weight for name, weight in weights.items() if weight != 0}
