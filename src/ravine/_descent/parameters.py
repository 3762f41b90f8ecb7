"""What an optimizer takes, read once for each class: to read a signature takes longer than a step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

_read: WeakKeyDictionary[type, Mapping[str, inspect.Parameter]] = WeakKeyDictionary()


def parameters_of(optimizer: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of an optimizer's class, or of any function that makes one.

    Examples
    --------
    >>> import torch
    >>> parameters_of(torch.optim.SGD)["momentum"].default
    0
    """
    if not isinstance(optimizer, type):
        return inspect.signature(optimizer).parameters
    if optimizer not in _read:
        _read[optimizer] = inspect.signature(optimizer).parameters
    return _read[optimizer]
