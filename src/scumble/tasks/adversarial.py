"""What tasks share whose generator takes turns with one discriminator of images."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from scumble.losses.adversarial import (
    AdversarialLoss,
    accuracies,
    generator_loss,
    gradient_penalty,
    r1_penalty,
    r2_penalty,
)
from scumble.losses.augmentation import Augmentation
from scumble.networks.layers import Frozen
from scumble.schedules import Schedule
from scumble.tasks.averaging import frozen_copy, update_average
from scumble.tasks.manual import Logs, LossWeights, ManualTask


class AdversarialTask(ManualTask):
    """A generator, a discriminator and a frozen perceptual encoder; a subclass names the terms and writes the step.

    G minimises the sum of ``loss_weights[name] * term`` over the subclass's ``terms``. D minimises its side of
    ``adversarial_loss`` and the penalties that ``penalty_weights`` names (``r1``, ``r2``, ``gradient_penalty``), which
    are computed every ``penalty_interval`` steps and weighted by it (Karras et al. 2020, section 2.1,
    https://arxiv.org/abs/1912.04958). All images that D judges, in both turns, go through ``augmentation`` first
    (:class:`scumble.losses.augmentation.DiffAugment`; None: as they are); its condition does not. D is updated at every
    step, G at every ``discriminator_steps``-th, and after it an average of G with ``ema_decay`` (0: none), which is
    what validation and inference use (``averaged``). A term of weight 0 is not computed; without the adversarial term
    there is no discriminator phase.
    """

    terms: tuple[str, ...] = ()
    penalties: ClassVar = {"r1": r1_penalty, "r2": r2_penalty, "gradient_penalty": gradient_penalty}

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        perceptual_encoder: nn.Module | None,
        adversarial_loss: AdversarialLoss,
        loss_weights: Mapping[str, float | Schedule],
        penalty_weights: Mapping[str, float | Schedule] | None = None,
        penalty_interval: int = 1,
        discriminator_steps: int = 1,
        ema_decay: float = 0.0,
        augmentation: Augmentation | None = None,
        **manual: Any,
    ):
        super().__init__(**manual)
        if discriminator_steps < 1 or penalty_interval < 1:
            raise ValueError(
                "task.discriminator_steps and task.penalty_interval must be at least 1, got "
                f"{discriminator_steps} and {penalty_interval}"
            )
        if not 0 <= ema_decay < 1:
            raise ValueError(f"task.ema_decay must be in [0, 1), got {ema_decay}")
        self.generator = generator
        self.generator_ema = frozen_copy(generator) if ema_decay else None
        self.discriminator = discriminator
        self.perceptual_encoder = Frozen(perceptual_encoder) if perceptual_encoder is not None else None
        self.adversarial_loss = adversarial_loss
        self.loss_weights = LossWeights(loss_weights, self.terms)
        self.penalty_weights = LossWeights(penalty_weights or {}, self.penalties)
        self.penalty_interval = penalty_interval
        self.discriminator_steps = discriminator_steps
        self.ema_decay = ema_decay
        self.augmentation = augmentation if augmentation is not None else nn.Identity()

    @property
    def averaged(self) -> nn.Module:
        """The average of the generator where there is one, else the generator: what validation and inference use."""
        return self.generator if self.generator_ema is None else self.generator_ema

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The perceptual features of images."""
        assert self.perceptual_encoder is not None, "the terms that need an encoder are checked at the start"
        features: dict[str, Tensor] = self.perceptual_encoder(images)
        return features

    @property
    def is_generators_turn(self) -> bool:
        """Whether the generator is updated at this step."""
        return (self.global_step + 1) % self.discriminator_steps == 0

    def judge(self, images: Tensor, condition: Tensor | None) -> Any:
        """The discriminator's logits; a subclass whose discriminator sees more than the images overrides this."""
        return self.discriminator(images)

    def judge_augmented(self, condition: Tensor | None) -> Callable[[Tensor], Any]:
        """:meth:`judge` as both players use it: images are augmented anew at every call."""
        return lambda images: self.judge(self.augmentation(images), condition)

    def update_discriminator(self, real: Tensor, generated: Tensor, condition: Tensor | None = None) -> Logs:
        """The discriminator's turn: real against generated images. Returns what there is to log."""
        with self.toggled_optimizer(self.optimizer("discriminator")):
            loss, logs = self.discriminator_loss(real, generated.detach(), condition)
            return logs | self.update("discriminator", loss)

    def discriminator_loss(self, real: Tensor, generated: Tensor, condition: Tensor | None) -> tuple[Tensor, Logs]:
        """The discriminator's objective with its penalties, and what there is to log."""
        judge = self.judge_augmented(condition)
        logits = judge(real), judge(generated)
        loss = self.adversarial_loss.discriminator(*logits)
        logs: Logs = {"discriminator": loss.detach(), **accuracies(self.adversarial_loss.boundary, *logits)}
        if self.global_step % self.penalty_interval == 0:
            for name, weight in self.penalty_weights.at(self.global_step).items():
                penalty = self.penalties[name](judge, real, generated)
                loss = loss + weight * self.penalty_interval * penalty
                logs[name] = penalty.detach()
        return loss, logs

    def adversarial_term(self, real: Tensor, generated: Tensor, condition: Tensor | None = None) -> Tensor:
        """The generator's side of the adversarial loss; real images are judged only for a relativistic one."""
        return generator_loss(self.adversarial_loss, self.judge_augmented(condition), real, generated)

    def update_generator(
        self, losses: Callable[[], Mapping[str, Tensor]], weights: Mapping[str, float | Tensor]
    ) -> Logs:
        """The generator's turn: the weighted sum of what ``losses`` computes. Returns what there is to log."""
        with self.toggled_optimizer(self.optimizer("generator")):
            loss, logs = self.weigh("generator", losses(), weights)
            logs |= self.update("generator", loss, every=self.discriminator_steps)
        if self.generator_ema is not None:
            updates = (self.global_step + 1) // self.discriminator_steps
            update_average(self.generator_ema, self.generator, self.ema_decay, updates)
        return logs

    def remember_start(self) -> None:
        """Let the average begin at the starting weights of the generator."""
        if self.generator_ema is not None:
            self.generator_ema.load_state_dict(self.generator.state_dict())

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.generator_ema is not None:
            self.generator_ema.eval()
        return self
