"""Trainers: the recorder of `ravine.record` as a callback, for who does not write the loop.

``Lightning`` is for `lightning.Trainer`, ``HuggingFace`` for `transformers.Trainer`: each goes into its ``callbacks``.
Both hold the recorder of the training that began last as ``.recorder``, and record what a loop of one's own would.
They need the packages of the extra ``trainers``, which are imported when one of the two is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravine.trainers._hugging_face import HuggingFace
    from ravine.trainers._lightning import Lightning

__all__ = ["HuggingFace", "Lightning"]

_HOME = {"HuggingFace": "_hugging_face", "Lightning": "_lightning"}


def __getattr__(name: str) -> Any:
    """Import a callback on first use, and with it the package whose trainer it is for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'ravine.trainers' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ravine.trainers.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
