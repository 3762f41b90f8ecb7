"""The loss over batches as a function of named parameters, where they do not become one pair of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from ravine._format import kind_of
from ravine._problem.batches import Batch, Batches, fit_together
from ravine._problem.copies import attributes_kept, evaluation_mode, make_copy
from ravine._problem.criteria import Criterion, name_of
from ravine._system import process_state
from ravine._torch import call_with, fork_random_state, set_seed

if TYPE_CHECKING:
    from ravine._problem.problem import Problem

OWN = "criterion."
"""What stands before the names of a criterion's own parameters."""


@dataclass(frozen=True, eq=False)
class OverBatches:
    """The loss of a module over batches, as a function of named parameters.

    Parameters
    ----------
    model
        The module: a copy, or, where it cannot be copied, the user's own, of which nothing is changed but the modes
        while it is called.
    criterion
        Called as ``criterion(model(inputs), targets)``; None: the batches are mappings, ``model(**batch).loss``.
    batches
        What the loss is evaluated on.
    held
        Buffers and frozen parameters as they were handed over.
    mode
        As in `ravine.Problem.of`.
    shared
        Whether the module is the user's own.
    """

    model: torch.nn.Module
    criterion: Criterion | None
    batches: Batches
    held: Mapping[str, torch.Tensor]
    mode: Literal["eval", "train"] = "eval"
    shared: bool = False

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        criterion: Criterion | None,
        batches: Batches,
        mode: Literal["eval", "train"],
        *,
        shared: bool = False,
    ) -> OverBatches:
        """Make it of a module as it is now."""
        held = {name: each.detach().clone() for name, each in model.named_parameters() if not each.requires_grad}
        held |= {name: each.detach().clone() for name, each in model.named_buffers()}
        return cls(model, criterion, batches, held, mode, shared)

    def __call__(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss over all batches."""
        with self._called():
            return self.batches.tensor(lambda item: self.of_batch(item, parameters))

    def __deepcopy__(self, memo: dict[int, Any]) -> OverBatches:
        """Nothing of it changes when it is called: it is its own copy."""
        return self

    @property
    def name(self) -> str | None:
        """Name of the criterion, where there is one."""
        return None if self.criterion is None else name_of(self.criterion)

    def of_batch(self, item: Batch, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of one batch; buffers are cloned, because a BatchNorm in train mode writes into them."""
        own = {name.removeprefix(OWN): value for name, value in parameters.items() if name.startswith(OWN)}
        held = {name: value.clone() for name, value in self.held.items()}
        named = held | {name: value for name, value in parameters.items() if not name.startswith(OWN)}

        def model(*args: Any, **kwargs: Any) -> Any:
            return call_with(self.model, named, args, kwargs)

        def criterion(output: Any, targets: Any) -> Any:
            return call_with(self.criterion, own, (output, targets))  # type: ignore[arg-type]

        return loss_of_batch(model, criterion if own else self.criterion, item)

    def trains_otherwise(self, parameters: Mapping[str, torch.Tensor]) -> bool:
        """Tell whether the module trains on another number than the loss: it has dropout or BatchNorm, say."""
        if self.mode == "train" or not any(each.training for each in self.model.modules()):
            return False
        seen = []
        for mode in (nullcontext(), evaluation_mode(self.model)):
            with process_state(), attributes_kept(self.model), fork_random_state(), torch.enable_grad(), mode:
                set_seed(0)
                before = torch.get_rng_state()
                loss = self.of_batch(self.batches.items[0], parameters)
                seen.append((loss.detach(), torch.equal(before, torch.get_rng_state())))
        (one, still), (other, quiet) = seen
        return still != quiet or not torch.equal(one.nan_to_num(), other.nan_to_num())

    def with_held(self, values: Mapping[str, torch.Tensor]) -> OverBatches:
        """Return the same with other numbers in some buffers; names that it has not are left out."""
        given = {name: values[name].view(each.shape).to(each) for name, each in self.held.items() if name in values}
        return replace(self, held={**self.held, **given})

    def to_dtype(self, dtype: torch.dtype) -> OverBatches:
        """Return the same in another precision, which a shared module cannot be brought to."""
        if self.shared:
            raise TypeError(f"{type(self.model).__name__} cannot be copied, and so not brought to {dtype}")
        with process_state():
            model, criterion = make_copy(self.model).to(dtype), make_copy(self.criterion)
        held = {name: _to(value, dtype) for name, value in self.held.items()}
        criterion = criterion.to(dtype) if isinstance(criterion, torch.nn.Module) else criterion
        batches = self.batches.each(lambda tensor: _to(tensor, dtype))
        return OverBatches(model, criterion, batches, held, self.mode)

    @property
    def why_apart(self) -> str:
        """Why its batches are no pair of tensors, with which any batches could be dealt."""
        if self.shared:
            return f"{type(self.model).__name__} cannot be copied"
        if isinstance(self.batches.items[0], Mapping):
            return "batches that are mappings stay as they came"
        if not fit_together(self.batches.items):
            return "rows of these batches have several shapes, or are no tensors"
        return "the loss of two batches together is not the mean of their losses"

    @contextmanager
    def _called(self) -> Iterator[None]:
        """Be alone with the module in the mode that the loss is evaluated in; modes and attributes are put back."""
        mode = evaluation_mode(self.model) if self.mode == "eval" else nullcontext()
        with process_state(), attributes_kept(self.model), mode:
            yield


def check_trainable(problem: Problem, call: str) -> None:
    """Refuse to train a module on batches that are no pair, where it trains on another number than the loss."""
    loss = unjoined(problem)
    if loss is not None and loss.trains_otherwise(problem.start):
        name = type(loss.model).__name__
        raise ValueError(
            f"{call} trains on all data at once, and here it cannot: {loss.why_apart}, while {name} trains otherwise "
            "than it is evaluated (dropout, BatchNorm); train it in a loop of your own within ravine.record"
        )


def unjoined(problem: Problem) -> OverBatches | None:
    """Return the loss of a problem whose batches are no pair of tensors; None where they are, or there are none.

    That a pair is evaluated a few batches at a time is for speed, and its loss is of this class too.
    """
    return problem.loss if problem.parts is None and isinstance(problem.loss, OverBatches) else None


def loss_of_batch(model: Any, criterion: Any, item: Batch) -> torch.Tensor:
    """Return the loss of one batch.

    Raises
    ------
    TypeError, ValueError
        If the batch is of another kind than the criterion asks for, or no loss comes of it.
    """
    if criterion is None:
        if not isinstance(item, Mapping):
            raise TypeError(
                "criterion=None is for batches that are mappings, model(**batch).loss; these are pairs (inputs, "
                "targets): give the criterion"
            )
        return _loss_in(model(**item))
    if isinstance(item, Mapping):
        raise TypeError(
            "the batches are mappings, for which the criterion is None: model(**batch).loss; with a criterion they are "
            "pairs (inputs, targets), which a collate_fn of the loader can make"
        )
    inputs, targets = item
    loss: torch.Tensor = criterion(model(inputs), targets)
    return loss


def _loss_in(output: Any) -> torch.Tensor:
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if found is None and torch.is_tensor(output):
        found = output
    if not torch.is_tensor(found) or found.numel() != 1:
        raise ValueError(
            f"model(**batch) gives {kind_of(output)} without a scalar loss: with criterion=None the model must return "
            "it as .loss (transformers' models do so where the batch has labels)"
        )
    return found


def _to(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
