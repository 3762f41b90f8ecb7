"""Whose a hook is, and whose a criterion: of one object alone, and of the recordings of one model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from ravine._problem.criteria import name_of


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
