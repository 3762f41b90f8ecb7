"""What a loss is the mean of: found by watching which operation of torch returned it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

BY_ELEMENT = frozenset(
    {
        *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss"),
        *("binary_cross_entropy", "binary_cross_entropy_with_logits"),
    }
)
"""Functions of torch.nn.functional that compare element by element."""

BY_CLASS = frozenset({"cross_entropy", "nll_loss"})
"""Functions of torch.nn.functional that compare numbers for each class with a class."""


@dataclass(frozen=True)
class Average:
    """What a loss is the mean of: how much of it there is in this batch, and what that is; or a sum."""

    count: float
    over: str
    summed: bool = False


def watch_average(call: Callable[[], Any]) -> tuple[Any, Average | None]:
    """Call something that returns a loss, and tell what the loss is the mean of; None where that is not seen.

    Examples
    --------
    >>> scores, classes = torch.zeros(4, 3), torch.tensor([0, 1, -100, 2])
    >>> watch_average(lambda: torch.nn.CrossEntropyLoss()(scores, classes))[1]
    Average(count=3.0, over='targets that are not ignored', summed=False)
    >>> watch_average(lambda: (scores - 1).abs().mean())[1]
    Average(count=12.0, over='elements', summed=False)
    >>> watch_average(lambda: scores.sum() / 3)[1] is None
    True
    """
    with _Watch() as watch:
        loss = call()
    return loss, next((average for result, average in watch.seen if result is loss), None)


class _Watch(TorchFunctionMode):
    """Keep what each operation that averages returned, and over how much."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, Average]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in BY_ELEMENT | BY_CLASS:
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            self._keep(result, name, given.arguments)
        elif name in ("mean", "sum") and isinstance(result, torch.Tensor) and not result.ndim:
            values = args[0] if args else (kwargs or {})["input"]
            self.seen.append((result, Average(float(values.numel()), "elements", name == "sum")))
        return result

    def _keep(self, result: Any, name: str, given: dict[str, Any]) -> None:
        prediction, target = given["input"], given["target"]
        reduction = given["reduction"]
        if given.get("reduce") is not None or given.get("size_average") is not None or reduction == "none":
            return
        if name in BY_ELEMENT:
            elements = float(np.prod(np.broadcast_shapes(tuple(prediction.shape), tuple(target.shape))))
            average = Average(elements, "elements", reduction == "sum")
        else:
            average = _classes(prediction, target, given, summed=reduction == "sum")
        self.seen.append((result, average))


def _classes(prediction: torch.Tensor, target: torch.Tensor, given: dict[str, Any], *, summed: bool) -> Average:
    if target.is_floating_point():  # a probability for each class: torch counts rows, whatever the classes weigh
        classes = prediction.shape[1] if prediction.ndim > 1 else prediction.shape[0]
        return Average(prediction.numel() / classes, "targets", summed)
    kept = target[target != given["ignore_index"]]
    weights = given["weight"]
    if weights is None:
        return Average(float(kept.numel()), "targets that are not ignored", summed)
    return Average(float(weights.double()[kept].sum()), "targets, by the weight of their class", summed)
