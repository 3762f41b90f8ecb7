"""Whose a hook is, and whose a criterion: of one object alone, and of the recordings of one model."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from ravine._problem.criteria import name_of

HELD = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
"""Where a module keeps its forward hooks, and what torch notes of them under the same key."""


class Hook:
    """A hook that acts for the object it was hung onto alone, and is nothing in what is copied or pickled of it.

    `hang` keeps it out of those altogether, wherever a module is copied as Python copies objects. Where a class does so
    in a way of its own, what comes of the hook is Python's: a file must not need ravine to be read.
    """

    def __init__(self, call: Callable[..., None], owner: Any, *, apart: bool = False) -> None:
        self.call, self.owner = call, owner
        self.apart = torch.compiler.disable(call) if apart else call  # type: ignore[no-untyped-call]
        """What a compiler is to call: it would make a part of its graph of what is done."""

    def __call__(self, owner: Any, *given: Any) -> None:
        if owner is not self.owner:  # replicas of a parallel module share their hooks
            return
        if torch.compiler.is_compiling():
            self.apart(owner, *given)
        else:
            self.call(owner, *given)

    def __copy__(self) -> Callable[..., None]:
        return nullcontext().__exit__  # takes whatever it is given, does nothing, and gives None

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return nullcontext().__exit__

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")


class Hung:
    """A forward hook on a module, until it is taken off; copies of the module, and what is pickled of it, have none.

    A model may be copied while it is recorded, for a moving average of its weights or for `ravine.Problem.of`, and
    saved as a whole: neither is a part of the recording.

    Examples
    --------
    >>> import copy
    >>> seen = []
    >>> layer = torch.nn.Identity()
    >>> hung = Hung(lambda *given: seen.append(1), layer)
    >>> _ = layer(torch.ones(1)), copy.deepcopy(layer)(torch.ones(1))
    >>> seen, len(copy.deepcopy(layer)._forward_hooks)
    ([1], 0)
    >>> hung.remove()
    """

    def __init__(self, call: Callable[..., None], module: torch.nn.Module, *, with_kwargs: bool = False) -> None:
        self._module = module
        self._handle = module.register_forward_hook(Hook(call, module), with_kwargs=with_kwargs)
        if _is_copied_by_state(type(module)):
            module.__dict__.setdefault("__getstate__", functools.partial(_state_without_hooks, module))

    def remove(self) -> None:
        """Take it off."""
        self._handle.remove()
        put = self._module.__dict__.get("__getstate__")
        if getattr(put, "func", None) is _state_without_hooks and not _keys_of_hooks(self._module):
            del self._module.__dict__["__getstate__"]


def _is_copied_by_state(kind: type) -> bool:
    """Tell whether objects of a class are copied and pickled as Python does it: by what `__getstate__` gives."""
    plain = all(getattr(kind, name) is getattr(object, name) for name in ("__reduce__", "__reduce_ex__"))
    return plain and not hasattr(kind, "__deepcopy__") and not hasattr(kind, "__copy__")


def _state_without_hooks(module: torch.nn.Module) -> Any:
    """Return a module's state as its class gives it, without the hooks of recordings."""
    of_class: Callable[[Any], Any] = type(module).__getstate__
    state = of_class(module)
    if not isinstance(state, dict):
        return state
    ours = _keys_of_hooks(module)
    bare = {name: value for name, value in state.items() if name != "__getstate__"}
    for name in HELD:
        if name in bare:
            bare[name] = type(bare[name])((key, each) for key, each in bare[name].items() if key not in ours)
    return bare


def _keys_of_hooks(module: torch.nn.Module) -> set[int]:
    return {key for key, each in module._forward_hooks.items() if isinstance(each, Hook)}


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
