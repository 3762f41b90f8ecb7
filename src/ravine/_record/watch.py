"""What a recorder hangs onto a user's objects, and what it gathers of the losses that pass by."""

from __future__ import annotations

import math
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ravine._problem.criteria import name_of

FOLDED = 256
"""Losses of one update that are held as tensors; beyond, they are added up."""


def ignore(*_: Any, **__: Any) -> None:
    """Do nothing: what a hook becomes in a copy of the object that it hangs on."""


def _give_ignore() -> Callable[..., None]:
    return ignore


class Hook:
    """A hook that stays with the object it was hung onto: its copies, and what is pickled of it, do nothing.

    A model may be copied while it is recorded, for a moving average of its weights or for `ravine.Problem.of`; that
    copy is no part of the recording.

    Examples
    --------
    >>> import copy
    >>> seen = []
    >>> layer = torch.nn.Identity()
    >>> handle = layer.register_forward_hook(Hook(lambda *given: seen.append(1), layer))
    >>> _ = layer(torch.ones(1)), copy.deepcopy(layer)(torch.ones(1))
    >>> seen
    [1]
    """

    def __init__(self, call: Callable[..., None], owner: Any) -> None:
        self.call, self.owner = call, owner

    def __call__(self, owner: Any, *given: Any) -> None:
        if owner is self.owner:  # replicas of a parallel module share their hooks
            self.call(owner, *given)

    def __copy__(self) -> Callable[..., None]:
        return ignore

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return ignore

    def __reduce__(self) -> Any:
        return _give_ignore, ()


def listen(criterion: torch.nn.Module, recorder: Any) -> None:
    """Enter that a recorder takes the losses of a criterion, unless that gives them to another model's recorder too."""
    others = _listeners.setdefault(criterion, weakref.WeakSet())
    if any(each.model is not recorder.model for each in others):
        raise ValueError(
            f"this {name_of(criterion)} is the criterion of another model's recording too, and whose loss it gives "
            "cannot be told: give each recording a criterion of its own, or none and recorder.loss(value)"
        )
    others.add(recorder)


def leave(criterion: torch.nn.Module, recorder: Any) -> None:
    """Enter that a recorder takes them no more."""
    _listeners.get(criterion, weakref.WeakSet()).discard(recorder)


_listeners: weakref.WeakKeyDictionary[torch.nn.Module, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
"""Recorders that take the losses of a criterion; their hooks hang on it only now and then."""


def tell(said: str) -> None:
    """Warn, also where a filter makes errors of warnings: not in a training."""
    try:
        warnings.warn(said, stacklevel=3)
    except Warning:
        sys.stderr.write(f"{said}\n")


def loss_in(output: Any) -> Any:
    """Return the loss that a model's output holds, where it holds one."""
    return output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)


def is_trained_on(loss: Any) -> bool:
    """Tell whether this is one number that was computed with gradients on."""
    return isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.requires_grad and torch.is_grad_enabled()


class Window:
    """The losses between two updates, of which those count that were computed where the first one was.

    An optimizer that evaluates the loss itself (LBFGS, sharpness-aware ones) moves the parameters in between; that
    shows in the version counters of tensors, which torch raises with each write into them.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self.tensors = list(tensors)
        self.dtype: torch.dtype | None = None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.values: list[torch.Tensor] = []
        self.stated: list[torch.Tensor] = []
        self.version = -1
        self.total, self.count = 0.0, 0
        self.asked = self.within = False

    def begin_step(self, *, closure: bool) -> None:
        """The optimizer's own step begins; of what its closure gives the first value counts."""
        self.within, self.asked = closure, False

    def add(self, loss: torch.Tensor) -> None:
        """Take a loss that was computed with gradients on."""
        if self.within and self.asked:
            return
        self.asked = True
        version = sum(each._version for each in self.tensors)
        if self.count or self.values:
            if version != self.version:
                return
        else:
            self.version = version
        self._keep(self.values, loss)
        if len(self.values) > FOLDED:
            self.total = sum(map(float, self.values), self.total)
            self.count += len(self.values)
            self.values = []

    def state(self, loss: Any) -> None:
        """Take a loss that the user states; where there is one, others do not count."""
        self._keep(self.stated, torch.as_tensor(loss))

    def mean(self) -> float:
        """The mean of the losses; NaN where there were none."""
        if self.stated:
            return sum(map(float, self.stated)) / len(self.stated)
        count = self.count + len(self.values)
        return sum(map(float, self.values), self.total) / count if count else math.nan

    def _keep(self, where: list[torch.Tensor], loss: torch.Tensor) -> None:
        kept = loss.detach().clone()  # a user may divide it in place afterwards
        if kept.is_floating_point():
            self.dtype = kept.dtype if self.dtype is None else torch.promote_types(self.dtype, kept.dtype)
        where.append(kept)
