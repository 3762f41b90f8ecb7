"""What both callbacks are: a recorder for each training that begins, and the class that a trainer expects."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import torch

from ravine._record.record import Every, Recorder
from ravine._record.tell import tell


class Recording:
    """How trainings are to be recorded, and the recorder of the last that began."""

    def __init__(
        self,
        criterion: torch.nn.Module | None,
        *,
        every: Every,
        positions: bool,
        path: str | os.PathLike[str] | None,
        needs: str,
    ) -> None:
        if _MISSING in type(self).__mro__:
            raise ImportError(
                f"ravine.trainers.{type(self).__name__} needs the package {needs}: pip install 'ravine[trainers]'"
            )
        self._given: dict[str, Any] = {"criterion": criterion, "every": every, "positions": positions, "path": path}
        self._recorder: Recorder | None = None
        self._records = False
        self._why = "no training has begun yet that this callback was given to"

    @property
    def recorder(self) -> Recorder:
        """The recorder of the training that began last; its ``dataset()`` is the run, once it is over."""
        if self._recorder is None:
            raise RuntimeError(f"{self._why}: there is no recorder")
        return self._recorder

    def begin(self, model: torch.nn.Module, optimizer: Any, step: int) -> None:
        """Begin to record a training, whose trainer counts from this step: more than 0 where one is resumed.

        Where something is at the path already, as in the second training of one callback, it is told and the training
        goes on without a recording: a trainer is in the middle of its work here.
        """
        self.end()
        try:
            recorder = Recorder(model, optimizer, **self._given, first=step)
            recorder.__enter__()
        except OSError as reason:
            self._recorder, self._why = None, f"the training that began last was not recorded ({reason})"
            tell(f"this training goes on, and is not recorded: {reason}")
            return
        self._recorder, self._records = recorder, True

    def end(self) -> None:
        """End the recording, where it did not end yet."""
        if self._records and self._recorder is not None:
            self._records = False
            self._recorder.__exit__(None, None, None)


class _MISSING:
    """What a callback is made of where its package is not installed: it is there to be read about."""


def find_base(homes: Sequence[str], name: str) -> Any:
    """Return the class of that name of the first package that there is; those that are imported already come first."""
    for home in sorted(homes, key=lambda home: home not in sys.modules):
        try:
            return getattr(importlib.import_module(home), name)
        except ImportError:
            continue
    return _MISSING
