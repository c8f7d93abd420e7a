"""Lightning's strategies, for tasks that optimize several networks in turn."""

from lightning.pytorch.strategies import DDPStrategy

from scumble.distributed import share


class ManualDDP(DDPStrategy):
    """Lightning's DDP without torch's wrapper: the ranks start with the same weights, the task averages gradients.

    The wrapper would reduce the gradients of all networks in every backward pass, G's and D's in the turn of
    either, and in every step of an accumulation. :meth:`scumble.tasks.manual.ManualTask.update` reduces the gradients
    of one network, once for each update of its weights.
    """

    def configure_ddp(self) -> None:
        assert self.model is not None
        share([*self.model.parameters(), *self.model.buffers()])
