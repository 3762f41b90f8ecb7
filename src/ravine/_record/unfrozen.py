"""Parameters that begin to train while a recording is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ravine._format import listed
from ravine._record.members import Members, named_tensors
from ravine._record.tell import tell


class Unfrozen:
    """Those of a model and its criterion that were frozen, or handed to no optimizer, when the recording began.

    Attributes
    ----------
    names
        Those that train by now, by their names; they are not recorded.
    """

    def __init__(
        self, model: torch.nn.Module, criterion: Any, optimizers: Sequence[torch.optim.Optimizer], members: Members
    ) -> None:
        self.names: set[str] = set()
        self._model, self._criterion, self._optimizers, self._members = model, criterion, optimizers, members
        recorded = {id(each) for each in members.tensors.values()}
        others = [each for each in named_tensors(model, criterion).values() if id(each) not in recorded]
        self._frozen = [each for each in others if not each.requires_grad]
        self._handed = self._count_handed()

    def tell_new(self, step: int) -> None:
        """Warn of those that train at this step and were not told yet."""
        if self._count_handed() == self._handed and not any(each.requires_grad for each in self._frozen):
            return
        held = {id(each) for rule in self._optimizers for group in rule.param_groups for each in group["params"]}
        tensors = named_tensors(self._model, self._criterion).items()
        late = {n for n, each in tensors if id(each) in held and each.requires_grad} - self._members.tensors.keys()
        if late - self.names:
            said = (
                f"{listed(sorted(late - self.names))} are trained since step {step} at the latest, and were not "
                "when the recording began: they are not recorded; begin another one after unfreezing"
            )
            self.names |= late
            tell(said)

    def _count_handed(self) -> int:
        return sum(len(group["params"]) for rule in self._optimizers for group in rule.param_groups)
