"""What one run has of its own: leaves that are trained, and copies of all that it may change."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from ravine._problem.copies import attributes_kept, buffers_kept, evaluation_mode, make_copy
from ravine._problem.from_loader import own_parameters
from ravine._problem.over_batches import OverBatches, loss_of_batch, unjoined
from ravine._system import process_state

if TYPE_CHECKING:
    from ravine._problem.problem import Problem


def _no_batches(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise TypeError("a problem made from a function has no data to take batches of")


@dataclass(frozen=True, eq=False)
class Live:
    """One run's own leaves, and what holds where they now are: the loss that trains, and that of a batch.

    `evaluate` is the loss over all data as it is recorded, and `predict` the model's output there; `apart` tells
    whether that is another number than the loss that trains. `modules` are the run's own copies.
    """

    leaves: dict[str, torch.Tensor]
    loss: Callable[[], torch.Tensor]
    predict: Callable[[], Any] | None = None
    loss_of: Callable[..., torch.Tensor] = _no_batches
    evaluate: Callable[[], torch.Tensor] | None = None
    apart: bool = False
    modules: tuple[Any, ...] = ()

    @functools.cached_property
    def buffered(self) -> tuple[torch.nn.Module, ...]:
        """Those of the modules that have buffers."""
        modules = (each for each in self.modules if isinstance(each, torch.nn.Module))
        return tuple(each for each in modules if next(each.buffers(), None) is not None)


def make_live(problem: Problem) -> Live:
    """Return fresh leaves at the start, to be trained, and all that a run may change, copied for it.

    A module is copied and the copy trains: calling it costs a quarter less than `functional_call`.
    """
    if (batches_of := unjoined(problem)) is not None and not batches_of.shared:
        return _over_batches(problem, batches_of)
    if problem.parts is None:
        leaves = {name: value.clone().requires_grad_() for name, value in problem.start.items()}
        # a plain function is called as it is, and what it writes down is its owner's
        called = problem.loss if isinstance(problem.loss, FunctionType) else make_copy(problem.loss)
        return Live(leaves, lambda: called(leaves))
    parts = problem.parts
    with process_state():
        model, criterion = make_copy(parts.model), parts.criterion
        if not type(criterion).__module__.startswith("torch.nn."):  # torch's own never change
            criterion = make_copy(criterion)
    leaves = {name: p for name, p in model.named_parameters() if p.requires_grad} | own_parameters(criterion)
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(problem.start[name])
            leaf.grad = None
    inputs, targets, apart, stateful = parts.inputs, parts.targets, parts.apart, parts.stateful
    plain = not (apart or stateful or parts.leaves_traces)
    batches = parts.batches

    def predict(some: torch.Tensor = inputs) -> Any:
        with attributes_kept(model), buffers_kept(model), evaluation_mode(model) if apart else nullcontext():
            return model(some)

    def judge(prediction: Any, theirs: torch.Tensor) -> torch.Tensor:
        with buffers_kept(criterion):
            found: torch.Tensor = (make_copy(criterion) if stateful else criterion)(prediction, theirs)
        return found

    def evaluate() -> torch.Tensor:
        if batches is None:
            return judge(predict(inputs), targets)
        return batches.tensor(lambda item: judge(predict(item[0]), item[1]))

    def loss() -> torch.Tensor:
        found: torch.Tensor = criterion(model(inputs), targets)
        return found

    return Live(
        leaves,
        loss,
        predict,
        lambda some, their: criterion(model(some), their),
        loss if plain else evaluate,
        apart,
        (model, criterion),
    )


def _over_batches(problem: Problem, loss: OverBatches) -> Live:
    """The same of batches that are no pair; `loss_of` takes one of them, and is called as the module trains."""
    with process_state():
        model, criterion = make_copy(loss.model), make_copy(loss.criterion)
    named = dict(model.named_parameters()) | own_parameters(criterion)
    leaves = {name: named[name] for name in problem.start}
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(problem.start[name])
            leaf.grad = None

    def of_batch(item: Any) -> torch.Tensor:
        return loss_of_batch(model, criterion, item)

    def evaluate() -> torch.Tensor:
        judge = make_copy(criterion)  # it may be another one afterwards
        with attributes_kept(model), evaluation_mode(model) if loss.mode == "eval" else nullcontext():
            return loss.batches.tensor(lambda item: loss_of_batch(model, judge, item))

    modules = (model, criterion)
    return Live(leaves, lambda: loss(leaves), loss_of=of_batch, evaluate=evaluate, modules=modules)
