"""That module, criterion and data fit together is found out before any work starts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from ravine._problem.copies import make_copy
from ravine._problem.criteria import ELEMENTWISE, Criterion, name_of
from ravine._problem.fit_data import explain_criterion, explain_refusal
from ravine._problem.over_batches import OWN
from ravine._problem.parts import Parts, call
from ravine._system import process_state
from ravine._torch import fork_random_state, set_seed


def check_fit(parts: Parts, start: Mapping[str, torch.Tensor], *, explained: bool = False) -> None:
    """Call the model once, so that what does not fit together is said now and not in the middle of work.

    With `explained` what torch refuses is said in words that name the layer and what it takes.
    """
    parts = parts.first
    own = {name: value for name, value in start.items() if not name.startswith(OWN)}
    with torch.no_grad(), fork_random_state():
        try:
            prediction = call(parts, own)
        except RuntimeError as reason:
            if not explained:
                raise
            raise explain_refusal(parts.model, parts.inputs, reason) from reason
        if isinstance(prediction, torch.Tensor):
            _check_shapes(prediction, parts)
        try:
            loss = make_copy(parts.criterion)(prediction, parts.targets)
        except (RuntimeError, ValueError, IndexError) as reason:
            if not explained or not type(parts.criterion).__module__.startswith("torch.nn"):
                raise
            raise explain_criterion(parts.criterion, prediction, parts.targets, reason) from reason
    scalar(loss, f"{name_of(parts.criterion)} (reduction={getattr(parts.criterion, 'reduction', None)!r})")


def scalar(loss: Any, maker: str = "the loss") -> torch.Tensor:
    """Return the loss if it is one real number, else say what was expected."""
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"{maker} must return a tensor with one element, got {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(
            f"{maker} returned {loss.numel()} numbers (shape {tuple(loss.shape)}), expected one: "
            'use reduction="mean" or "sum", or add .mean()'
        )
    return loss


def _check_shapes(prediction: torch.Tensor, parts: Parts) -> None:
    """Refuse targets that would be compared every one with every other, as torch does with (n, 1) and (n,).

    Whether the criterion does so is found by calling it with predictions that differ from row to row: which target
    stands in which row then makes no difference, and does as soon as the shapes are equal.
    """
    targets, shape = parts.targets, tuple(prediction.shape)
    if tuple(targets.shape) == shape or not targets.ndim:
        return
    if parts.inputs.shape[:1] != targets.shape[:1] and len(shape) and shape[0] == len(parts.inputs):
        unlike = f"inputs have {_rows(parts.inputs)} and targets {_rows(targets)}"
    else:
        unlike = ""
    said = (
        f"the model's output has shape {shape} and the targets {tuple(targets.shape)}: {name_of(parts.criterion)} "
        "would compare every one with every other; reshape the targets"
    )
    if isinstance(parts.criterion, ELEMENTWISE):
        raise ValueError(f"{unlike}: they must have the same number" if unlike else said)
    if targets.numel() != prediction.numel() or not prediction.is_floating_point():
        return
    apart = prediction + torch.linspace(0.1, 0.9, prediction.numel()).to(prediction).reshape(shape)
    turned = targets.roll(1, 0)
    try:
        with process_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about these very shapes
            as_given = [_called(parts.criterion, apart, each) for each in (targets, turned)]
            in_pairs = [_called(parts.criterion, apart, each.reshape(shape)) for each in (targets, turned)]
    except Exception:  # it takes only one of the two
        return
    if _near(as_given[0], as_given[1]) and not _near(in_pairs[0], in_pairs[1]):
        raise ValueError(said)


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, equal_nan=True)


def _called(criterion: Criterion, prediction: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    set_seed(0)
    return scalar(make_copy(criterion)(prediction, targets)).reshape(()).double()


def _rows(tensor: torch.Tensor) -> str:
    count = tensor.shape[0] if tensor.ndim else 1
    return f"{count} row{'' if count == 1 else 's'}"
