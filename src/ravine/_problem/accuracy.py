"""How many targets a classifier gets right: seen at the call of torch that compares its scores with classes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SCORES = frozenset({"cross_entropy", "nll_loss", "multi_margin_loss"})
"""Functions of torch.nn.functional that compare a score for each class with a class."""

BORDERS = {"binary_cross_entropy_with_logits": 0.0, "binary_cross_entropy": 0.5}
"""Those that compare one number with 0 or 1, and the number from which on it means 1."""


class WatchHits(TorchFunctionMode):
    """Count how many targets have the largest score, at each call that compares scores with classes.

    Nothing of the computation changes. A score that is no number is never right, and targets that are to be ignored
    do not count.

    Examples
    --------
    >>> scores, classes = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
    >>> with WatchHits() as watch:
    ...     loss = torch.nn.CrossEntropyLoss()(scores, classes)
    >>> watch.share(calls=1) == 2 / 3
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._right: list[int] = []
        self._of: list[int] = []

    def share(self, calls: int) -> float:
        """Return the share of targets that were right; NaN where another number of calls compared classes."""
        if len(self._of) != calls or not sum(self._of):
            return float("nan")
        return sum(self._right) / sum(self._of)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in SCORES or name in BORDERS:
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            self._look(name, given.arguments)
        return result

    def _look(self, name: str, given: dict[str, Any]) -> None:
        scores, target = given["input"].detach(), given["target"].detach()
        if name in BORDERS:
            if scores.shape != target.shape or not ((target == 0) | (target == 1)).all():
                return
            right, counted = (scores > BORDERS[name]) == (target > 0), torch.ones_like(target, dtype=torch.bool)
            known = ~scores.isnan()
        else:
            if target.is_floating_point():  # a probability for each class
                return
            classes = 1 if scores.ndim > 1 else 0
            right, counted = scores.argmax(classes) == target, target != given.get("ignore_index", -100)
            known = ~scores.isnan().any(classes)
        self._right.append(int((right & known & counted).sum()))
        self._of.append(int(counted.sum()))
