"""A validation before the first step, for runs that start from trained weights."""

import lightning as L


class FirstLook(L.Callback):
    """Validates before the first step, so that the record and the pictures of a run begin with where it started."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop.val_loop
        if trainer.global_step or not trainer.enable_validation:
            return
        # As Lightning's own loop does when a validation is due.
        trainer.validating = True
        loop.run()
        trainer.training = True
