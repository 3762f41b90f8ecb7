"""What a problem is made of when it is given as a module, a criterion, and the data or a loader of its batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ravine._format import kind_of
from ravine._problem.batches import Weight, is_pair
from ravine._problem.check_fit import check_fit
from ravine._problem.copies import make_copy
from ravine._problem.criteria import ELEMENTWISE, Criterion
from ravine._problem.fit_data import fit_data, names_of
from ravine._problem.from_loader import Loaded, load, own_parameters, unwrap
from ravine._problem.parts import Loss, Mode, Parts, call, loss_of
from ravine._system import process_state
from ravine._torch import fork_random_state
from ravine._words.words import as_criterion


class Made(NamedTuple):
    """A loss, where it starts, and its parts: none for a loader whose batches cannot be joined."""

    loss: Loss
    start: Mapping[str, torch.Tensor]
    parts: Parts | None


def read_model(
    model: Any,
    criterion: Criterion | str | None,
    data: Any,
    names: tuple[str, str] | None,
    mode: Mode,
    samples: int | None = None,
    weight: Weight | None = None,
) -> Made:
    """Copy module and criterion, read the data, and try what they give; errors and arguments of `Problem.of`."""
    if not isinstance(model, torch.nn.Module):
        called = f": make one of it, as in {model.__name__}(…)" if isinstance(model, type) else ""
        raise TypeError(f"model must be a torch.nn.Module, got {kind_of(model)}{called}")
    model = unwrap(model)
    criterion = None if criterion is None else as_criterion(criterion)
    if mode not in ("eval", "train"):
        raise ValueError(f'mode must be "eval" or "train", got {mode!r}')
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has lazy parameters: call it on some inputs once, then pass it")
    with torch.inference_mode(False):
        if not is_pair(data) or samples is not None or weight is not None:
            loader = [data] if is_pair(data) else data
            return _of_loader(load(model, criterion, loader, mode, samples, weight), names)
        if criterion is None:
            raise TypeError(
                "criterion=None is for batches that are mappings, model(**batch).loss; these are pairs (inputs, "
                "targets): give the criterion"
            )
        return _of_data(model, criterion, data, names, mode)


def _of_data(
    model: torch.nn.Module, criterion: Criterion, data: Any, names: tuple[str, str] | None, mode: Mode
) -> Made:
    with process_state():
        own, judge = make_copy(model), make_copy(criterion)
    shown = Parts(own, judge, torch.empty(0), torch.empty(0), mode=mode)

    def attempt(inputs: torch.Tensor) -> Any:
        with torch.no_grad(), fork_random_state():
            return call(replace(shown, inputs=inputs, mode="train"), dict(own.named_parameters()))

    inputs, targets, changes = fit_data(data, own, attempt, criterion, isinstance(criterion, ELEMENTWISE))
    parts = Parts(own, judge, inputs, targets, names_of(data, names), mode, changes=changes)
    start = {name: each for name, each in own.named_parameters() if each.requires_grad}
    if not start:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to optimize")
    of_criterion = own_parameters(judge)
    if both := sorted(start.keys() & of_criterion.keys()):
        raise ValueError(f"model and criterion both have a parameter {both[0]!r}: rename the model's module")
    return _try(parts, start | of_criterion)


def _of_loader(loaded: Loaded, names: tuple[str, str] | None) -> Made:
    """Make what any pair of data makes, where all batches may be joined; else their loss alone."""
    if loaded.pair is None:
        return Made(loaded.loss, loaded.start, None)
    several = len(loaded.batches.items) > 1 or loaded.batches.drawn < loaded.batches.rows
    parts = Parts(
        loaded.model,
        loaded.loss.criterion,  # type: ignore[arg-type]
        *loaded.pair,
        names or ("x", "y"),
        loaded.loss.mode,
        changes=loaded.batches.remarks,
        batches=loaded.batches if several else None,
        dealt=loaded.batches.dealt,
    )
    return _try(parts, loaded.start)


def _try(parts: Parts, start: Mapping[str, torch.Tensor]) -> Made:
    check_fit(parts, start, explained=True)
    return Made(loss_of(parts), start, parts)
