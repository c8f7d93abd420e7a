"""The plumbing of manual optimization that every task shares: the step counter, clipping, accumulation, schedules."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from scumble.distributed import average, gather, own_rank, share, world_size
from scumble.schedules import Schedule, as_schedule, constant

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
Logs = dict[str, Tensor | float]


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
    ``gradient_clip_norm``; ``accumulate`` steps make one update of the weights. An update whose gradient is not finite
    is skipped and counted; more than ``skip_limit`` of them end the run. Every ``gradient_shares_interval`` steps (0:
    never) a task may log how much each of its terms moves a network, see :meth:`gradient_shares`.

    With several processes a step is the batch of all of them. Each accumulates gradients of its own, and they are
    averaged once for each update; after every step all have the buffers of the first.
    """

    def __init__(
        self,
        optimizers: Mapping[str, OptimizerFactory],
        *,
        lr_schedule: Schedule = constant,
        gradient_clip_norm: float | None = None,
        accumulate: int = 1,
        skip_limit: int = 20,
        gradient_shares_interval: int = 0,
    ):
        super().__init__()
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {accumulate}")
        if skip_limit < 0 or gradient_shares_interval < 0:
            raise ValueError(
                "skip_limit and gradient_shares_interval must be at least 0, got "
                f"{skip_limit} and {gradient_shares_interval}"
            )
        self.automatic_optimization = False
        self.optimizer_factories = dict(optimizers)
        self.lr_schedule = lr_schedule
        self.gradient_clip_norm = gradient_clip_norm
        self.accumulate = accumulate
        self.skip_limit, self.skipped_updates = skip_limit, 0
        self.gradient_shares_interval = gradient_shares_interval
        self._settings: dict[str, list[dict[str, Any]]] = {}  # of each optimizer's groups, as the config says
        self._restored_gradients: list[dict[str, Tensor]] = []  # of each rank
        # With several ranks: random streams that they have in common, by the type of the device.
        self.common_random: dict[str, torch.Generator] = {}

    def configure_optimizers(self) -> list[Optimizer]:
        optimizers = {name: make(self.trained_by(name)) for name, make in self.optimizer_factories.items()}
        self._settings = {
            name: [{key: value for key, value in group.items() if key != "params"} for group in made.param_groups]
            for name, made in optimizers.items()
        }
        return [Clock(), *optimizers.values()]

    def trained_by(self, name: str) -> list[nn.Parameter]:
        """The parameters of the optimizer of a name: those of the network of that name; a task may add others."""
        return list(getattr(self, name).parameters())

    def optimizer(self, name: str) -> Optimizer:
        """The optimizer of a network; its steps are not counted by Lightning."""
        optimizers: Any = self.optimizers(use_pl_optimizer=False)
        found: Optimizer = optimizers[1 + list(self.optimizer_factories).index(name)]
        return found

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rates of this step, those of optimizers that wait for their turn as well.

        So they are a function of the step in every checkpoint, whenever the process began.
        """
        factor = self.lr_schedule(self.global_step)
        for group, settings in self._groups():
            group["lr"] = settings["lr"] * factor

    def _groups(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each parameter group of each optimizer, and its settings in the config."""
        for name, settings in self._settings.items():
            yield from zip(self.optimizer(name).param_groups, settings, strict=True)

    def update(self, name: str, loss: Tensor, every: int = 1) -> Logs:
        """Backward, and at the end of an accumulation one optimizer step of the named network.

        ``every`` is the interval in steps between two turns of this network.
        Returns what there is to log: the norm of the network's gradient before clipping.
        Raises: FloatingPointError if more than ``skip_limit`` updates had to be skipped.
        """
        self.manual_backward(loss / self.accumulate)
        turn = (self.global_step + 1) // every
        if turn % self.accumulate:
            return {}
        optimizer = self.optimizer(name)
        average(parameter.grad for parameter in self.trained_by(name) if parameter.grad is not None)
        norm = self._clip_gradient(name)
        if norm.isfinite():  # the same on all ranks, since gradients are averaged before
            optimizer.step()
        else:
            self._count_skipped(name, norm)
        optimizer.zero_grad()
        return {f"{name}_gradient_norm": norm}

    def weigh(
        self, name: str, terms: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]
    ) -> tuple[Tensor, Logs]:
        """The objective of the named network: the weighted sum of the terms, and what there is to log of them."""
        shares = self.gradient_shares(name, terms, weights)
        loss, logs = weigh(terms, weights)
        return loss, logs | shares

    def gradient_shares(self, name: str, terms: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> Logs:
        """How much each weighted term moves the named network: the norm of its gradient over the sum of all norms.

        Costs a backward pass per term, so it is empty but for every ``gradient_shares_interval``-th step. It changes no
        gradient.
        """
        if not self.gradient_shares_interval or (self.global_step + 1) % self.gradient_shares_interval:
            return {}
        parameters = [parameter for parameter in self.trained_by(name) if parameter.requires_grad]
        norms = {}
        for term, value in terms.items():
            weighted = (weights[term] * value).mean()
            found = torch.autograd.grad(weighted, parameters, retain_graph=True, allow_unused=True)
            gradients = [gradient.clone() for gradient in found if gradient is not None]
            average(gradients)
            norms[term] = nn.utils.get_total_norm(gradients)
        total = torch.stack(list(norms.values())).sum()
        return {f"gradient_share/{term}": norm / total for term, norm in norms.items()}

    def minimize(self, name: str, objective: Callable[[], Tensor]) -> Logs:
        """One optimizer step of the named network that may evaluate its objective several times, as L-BFGS does.

        Returns what there is to log, as :meth:`update`, of the first evaluation.
        Raises: ValueError with an accumulation, which has no meaning for such a step; FloatingPointError if the
        objective is not finite, since such an optimizer remembers what it has seen.
        """
        if self.accumulate > 1:
            raise ValueError(f"task.accumulate must be 1 for {type(self).__name__}, got {self.accumulate}")
        optimizer = self.optimizer(name)
        logs: Logs = {}

        def evaluate() -> float:
            optimizer.zero_grad()
            loss = objective()
            if not loss.isfinite():
                raise FloatingPointError(
                    f"step {self.global_step}: the objective of the {name} is {float(loss.detach())}; lower the "
                    "learning rate, or look for a loss weight that is too large"
                )
            self.manual_backward(loss)
            average(parameter.grad for parameter in self.trained_by(name) if parameter.grad is not None)
            logs.setdefault(f"{name}_gradient_norm", self._clip_gradient(name))
            return float(loss.detach())

        optimizer.step(evaluate)
        optimizer.zero_grad()
        return logs

    def _count_skipped(self, name: str, norm: Tensor) -> None:
        self.skipped_updates += 1
        if self.skipped_updates > self.skip_limit:
            raise FloatingPointError(
                f"step {self.global_step}: the gradient of the {name} has a norm of {float(norm)}, and "
                f"{self.skip_limit} updates were skipped for that before (task.skip_limit); lower the learning rate, "
                "set task.gradient_clip_norm lower, or look for a loss weight that is too large"
            )
        rank_zero_warn(
            f"step {self.global_step}: the gradient of the {name} has a norm of {float(norm)}; its update is skipped "
            f"({self.skipped_updates} so far, the run ends at more than {self.skip_limit})"
        )

    def _clip_gradient(self, name: str) -> Tensor:
        """Clip the gradient of a network to the norm that is set; returns the norm that it had."""
        limit = math.inf if self.gradient_clip_norm is None else self.gradient_clip_norm
        return nn.utils.clip_grad_norm_(self.trained_by(name), limit)

    def noise(self, count: int, *shape: int) -> Tensor:
        """Standard normal noise (count, *shape) for this rank's part of the batch.

        The ranks draw together what one process would draw for the batch of all of them.
        """
        common = self.common_random.get(self.device.type)
        everyone = torch.randn(world_size() * count, *shape, device=self.device, generator=common)
        return everyone[own_rank() * count :][:count]

    def finish_step(self, logs: Mapping[str, Tensor | float], progress: Iterable[str] = ()) -> None:
        """Log under ``train/`` and count the step. The last line of every ``training_step``."""
        self.optimizers()[0].step()  # type: ignore[index]
        self._share_buffers()
        if self.global_step % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        shown = set(progress)
        logs = {**logs, "skipped_updates": float(self.skipped_updates)}
        norms = [logs.get(f"{name}_gradient_norm") for name in ("generator", "discriminator")]
        if norms[0] is not None and norms[1] is not None:
            logs["gradient_norm_ratio"] = norms[0] / norms[1]
        means = torch.stack(
            [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in logs.values()]
        )
        average([means])
        for name, mean in zip(logs, means, strict=True):
            self.log(f"train/{name}", mean, prog_bar=name in shown, logger=False)  # for callbacks and the bar
        # Lightning would repeat the last value of what was not computed at this step.
        values = {f"train/{name}": float(mean) for name, mean in zip(logs, means, strict=True)}
        for logger in self.loggers:
            logger.log_metrics(values, step=self.global_step)

    def _share_buffers(self) -> None:
        """Give all ranks the buffers of the first, but for those that are computed alike on all."""
        if world_size() == 1:
            return
        modules = [module for module in self.modules() if not getattr(module, "same_on_all_ranks", False)]
        share(buffer for module in modules for buffer in module.buffers(recurse=False))

    def number_of_validation_batch(self, batch_idx: int) -> int:
        """The number of a batch of this rank among those of all ranks."""
        return batch_idx * self.trainer.world_size + self.global_rank

    def log_validation(self, metrics: Mapping[str, Tensor], batch_size: int) -> None:
        """Log the means of the validation set under ``val/``, at the number of finished steps."""
        ranks = self.trainer.world_size
        for name, value in metrics.items():
            # Lightning rounds the mean of the ranks' counts down, so each has to be a multiple of their number.
            self.log(f"val/{name}", value, batch_size=ranks * batch_size, sync_dist=ranks > 1)
        self.log("step", float(self.global_step), batch_size=batch_size)

    def remember_start(self) -> None:
        """Called once, when ``init_from`` has given the networks their starting weights."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """In the middle of an accumulation the gradients are state as well, those of every rank."""
        checkpoint["skipped_updates"] = self.skipped_updates
        gradients = {
            name: gather(parameter.grad).cpu()
            for name, parameter in self.named_parameters()
            if parameter.grad is not None
        }
        if gradients:
            checkpoint["gradients"] = [
                {name: of_ranks[rank].clone() for name, of_ranks in gradients.items()} for rank in range(world_size())
            ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored_gradients = checkpoint.get("gradients", [])
        self.skipped_updates = checkpoint.get("skipped_updates", 0)

    def on_validation_model_zero_grad(self) -> None:
        """Nothing: a validation in the middle of an accumulation must not lose the gradients so far."""

    def on_train_start(self) -> None:
        """Let the config decide again, and give restored gradients back, now that Lightning has cleared all of them.

        A restored optimizer has the settings of its checkpoint besides its state: a learning rate that was changed for
        the rest of a run would be forgotten.
        """
        for group, settings in self._groups():
            group |= settings
        restored, self._restored_gradients = self._restored_gradients, []
        parameters = dict(self.named_parameters())
        for name in restored[0] if restored else ():
            of_ranks = [gradients[name] for gradients in restored]
            # Another number of ranks shares the sum so far: its mean over the ranks counts.
            own = of_ranks[own_rank()] if len(of_ranks) == world_size() else torch.stack(of_ranks).mean(dim=0)
            parameters[name].grad = own.to(self.device)


def weigh(terms: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> tuple[Tensor, Logs]:
    """The weighted sum of the terms, and what there is to log: raw terms, weighted terms and weights.

    A term is a mean over the batch, or has one value for each sample, as its weight may: then the mean counts.
    """
    weighted = {name: (weights[name] * term).mean() for name, term in terms.items()}
    logs: Logs = {}
    for name, term in terms.items():
        weight = weights[name]
        logs[name] = term.detach().mean()
        logs[f"weighted/{name}"] = weighted[name].detach()
        logs[f"weight/{name}"] = weight.mean() if isinstance(weight, Tensor) else weight
    return torch.stack(list(weighted.values())).sum(), logs


class LossWeights:
    """The weight of every named term of an objective: numbers, or schedules of the step."""

    def __init__(self, weights: Mapping[str, float | Schedule], accepted: Iterable[str]):
        accepted = tuple(accepted)
        for name in weights:
            if name not in accepted:
                raise ValueError(f"unknown loss term {name!r} in loss_weights; accepted: {', '.join(accepted)}")
        self.schedules = {name: as_schedule(weight) for name, weight in weights.items()}
        self.used = {name for name, weight in weights.items() if weight != 0}

    def uses(self, name: str) -> bool:
        """Whether a term can have a weight other than 0 at some step."""
        return name in self.used

    def at(self, step: int) -> dict[str, float]:
        """The weights at a step, without the terms whose weight is 0: those are not computed."""
        weights = {name: schedule(step) for name, schedule in self.schedules.items()}
        return {name: weight for name, weight in weights.items() if weight != 0}
