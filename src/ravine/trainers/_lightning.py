"""Lightning: a training of `lightning.Trainer`, recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from ravine._record.record import Every
from ravine.trainers._callback import Recording, find_base

if TYPE_CHECKING:
    Base = object
else:
    Base = find_base(("lightning.pytorch", "pytorch_lightning"), "Callback")


class Lightning(Recording, Base):
    """Record what `lightning.Trainer` trains; also of ``pytorch_lightning``.

    A step is one of the trainer's ``global_step``, with accumulated gradients too; the loss of a step is the mean of
    what its batches gave. Of several processes the first one records.

    Parameters
    ----------
    criterion
        The module whose results are the losses. Left out, they are what ``training_step`` returns.
    every, positions, path
        As in `ravine.record`.

    Attributes
    ----------
    recorder
        That of the training that began last.

    Raises
    ------
    ImportError
        If neither ``lightning`` nor ``pytorch_lightning`` is installed.

    Examples
    --------
    >>> callback = Lightning()  # doctest: +SKIP
    >>> lightning.Trainer(max_epochs=5, callbacks=[callback]).fit(module, loader)  # doctest: +SKIP
    >>> run = callback.recorder.dataset()  # doctest: +SKIP
    """

    def __init__(
        self,
        criterion: torch.nn.Module | None = None,
        *,
        every: Every = "auto",
        positions: bool = True,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(criterion, every=every, positions=positions, path=path, needs="lightning")
        self._returned = criterion is None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin: the optimizers are there, and the first batch is not."""
        if trainer.is_global_zero:
            self.begin(pl_module, trainer.optimizers, trainer.global_step)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        """State the loss as ``training_step`` returned it: it comes here divided, and scaled in half precision."""
        if self._returned and self._records:
            self.recorder.hooks.safely(self._state, trainer, pl_module, loss)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End, where the training ended as it should."""
        self.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End, where it did not: what was recorded until then stays."""
        self.end()

    def _state(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        if not self.recorder.hooks.due:  # to ask for the scale waits for the device
            return
        share = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.get_scale()
        self.recorder.loss(loss.detach() * (share / scale))
