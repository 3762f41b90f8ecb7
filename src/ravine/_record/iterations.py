"""Which updates of several optimizers are one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Iterations:
    """The iterations of a loop in which several optimizers step, each at most once an iteration, always in one order.

    An update is the first of an iteration if its optimizer made the last one too, or comes before the one that did. The
    order is that of their first updates. Whether one that joins later ends an iteration or begins the next cannot be
    told at once: its first update is taken to end one. If the update after it is made from the same gradients, as where
    an encoder is unfrozen that steps before its decoder, it comes before that one from then on.

    Examples
    --------
    >>> encoder, decoder = (torch.optim.SGD([torch.ones(1)]) for _ in range(2))
    >>> iterations = Iterations([])
    >>> [iterations.enter(each) for each in (encoder, decoder, decoder, encoder, decoder)]
    [True, False, True, True, False]
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._order: list[torch.optim.Optimizer] = []
        self._last: torch.optim.Optimizer | None = None
        self._new: set[torch.optim.Optimizer] = set()
        """Those whose place is not known yet."""
        self._since: list[torch.optim.Optimizer] = []
        """Whose updates were made since, from the first of the new ones to the first of the others."""
        self._handles: list[Any] = []
        self._came = False
        """Whether a gradient came meanwhile."""

    def begins(self, rule: torch.optim.Optimizer) -> bool:
        """Tell whether an update of this optimizer is the first of an iteration."""
        if self._came:
            self._settle()
        if self._last is None:
            return True
        return rule in self._order and self._order.index(rule) <= self._order.index(self._last)

    def enter(self, rule: torch.optim.Optimizer) -> bool:
        """Enter an update that was made, and tell whether it is the first of an iteration."""
        first = self.begins(rule)
        if rule not in self._order:
            self._order.insert(0 if self._last is None else self._order.index(self._last) + 1, rule)
            if self._last is not None:
                self._new.add(rule)
                self._wait()
        if self._new and (not self._since or self._since[-1] in self._new):
            self._since.append(rule)
        self._last = rule
        return first

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _wait(self) -> None:
        """Hang a hook onto each tensor until a gradient comes to one of them."""
        if not self._handles:
            self._handles = [
                each.register_hook(self._hear)  # type: ignore[no-untyped-call]
                for each in self._tensors
                if each.requires_grad
            ]

    def _hear(self, _: torch.Tensor) -> None:
        self._came = bool(self._since)  # one that is called late, by a backward pass that had begun, says nothing

    def _settle(self) -> None:
        """Place the new ones: before the first of the others that stepped before a gradient came, where one did."""
        *leading, follower = self._since
        by_hand = len({*leading}) < len(leading)  # one stepped twice, and no gradient came: they say nothing
        if follower not in self._new and not by_hand:
            rest = [each for each in self._order if each not in leading]
            place = rest.index(follower)
            self._order = [*rest[:place], *leading, *rest[place:]]
        self._new, self._since, self._came = set(), [], False
        self.detach()
