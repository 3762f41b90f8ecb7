"""HuggingFace: a training of `transformers.Trainer`, recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ravine._record.losses import is_trained_on, loss_in
from ravine._record.owners import Hung
from ravine._record.record import Every
from ravine.trainers._callback import Recording, find_base

if TYPE_CHECKING:
    Base = object
else:
    Base = find_base(("transformers",), "TrainerCallback")

LOOKED_AT = 16
"""Operations before a loss among which its division by the size of the whole batch is looked for."""


class HuggingFace(Recording, Base):
    """Record what `transformers.Trainer` trains.

    A step is one of the trainer's ``global_step``, with accumulated gradients too. The loss of a step is that of the
    model's output, once for all of the batches that were accumulated: their mean, or where the model divides by
    ``num_items_in_batch`` their sum. (What the trainer logs may be another sum.) Of several processes the first one
    records.

    Parameters
    ----------
    every, positions, path
        As in `ravine.record`.

    Attributes
    ----------
    recorder
        That of the training that began last.

    Raises
    ------
    ImportError
        If ``transformers`` is not installed.

    Notes
    -----
    A trainer does not tell its callbacks of an exception: then the recording has no end, and `ravine.open` of its
    `path` gives what was recorded.

    Examples
    --------
    >>> callback = HuggingFace()  # doctest: +SKIP
    >>> transformers.Trainer(model, args, train_dataset=data, callbacks=[callback]).train()  # doctest: +SKIP
    >>> run = callback.recorder.dataset()  # doctest: +SKIP
    """

    def __init__(
        self, *, every: Every = "auto", positions: bool = True, path: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(None, every=every, positions=positions, path=path, needs="transformers")
        self._shares: list[torch.Tensor] = []
        self._handle: Any = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, *, model: torch.nn.Module, optimizer: Any, **_: Any
    ) -> None:
        """Begin: the optimizer is there, and the first batch is not."""
        if state.is_world_process_zero:
            self.begin(model, optimizer, state.global_step)
            if self._records:
                self._handle = Hung(self._watch, model, with_kwargs=True)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """State the loss of all that was accumulated, where the model gave shares of it."""
        if self._shares and self._records:
            self.recorder.hooks.safely(self._state)
        self._shares.clear()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the recording."""
        self.end()

    def end(self) -> None:
        """End the recording, and take the hook off the model."""
        super().end()
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _watch(self, *given: Any) -> None:
        self.recorder.hooks.safely(self._saw, *given)

    def _state(self) -> None:
        self.recorder.loss(torch.stack(self._shares).sum())

    def _saw(self, model: torch.nn.Module, inputs: Any, given: Mapping[str, Any], output: Any) -> None:
        if not self.recorder.hooks.due:  # to look at a divisor waits for the device
            return
        loss, count = loss_in(output), given.get("num_items_in_batch")
        if count is not None and is_trained_on(loss) and is_share_of(loss, count):
            self._shares.append(loss.detach().clone())


def is_share_of(loss: torch.Tensor, count: Any) -> bool:
    """Tell whether a loss was divided by the size of all batches of an update, and not by that of its own.

    Models are told that size, and some divide by their own all the same. Which it was stands in the graph.

    Examples
    --------
    >>> terms = torch.ones(3, requires_grad=True) * 2
    >>> is_share_of(terms.sum() / 6, 6), is_share_of(terms.sum() / torch.tensor(6), torch.tensor(6))
    (True, True)
    >>> is_share_of(terms.mean(), 6), is_share_of(terms.sum() / 3, 6)
    (False, False)
    >>> is_share_of((terms / torch.tensor([6.0, 6.0, 6.0])).sum(), 6)  # of each term by its own number
    False
    """
    for node in _nodes_before(loss):
        divisor = getattr(node, "_saved_other", None) if node.name() == "DivBackward0" else None
        if divisor is None or (torch.is_tensor(divisor) and divisor.numel() != 1):
            continue
        if float(divisor) == float(count):
            return True
    return False


def _nodes_before(loss: torch.Tensor) -> Iterator[Any]:
    """Give the operations that led to a loss, the last first."""
    waiting = [loss.grad_fn]
    for _ in range(LOOKED_AT):
        if not waiting:
            return
        node = waiting.pop(0)
        if node is not None:
            yield node
            waiting += [before for before, _ in node.next_functions]
