"""Which settings of a product torch refuses, and why: each kind of doubt is asked once."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.run_spec import RunSpec
from ravine._engine.lead import step_of
from ravine._engine.product import Product
from ravine._engine.rules.rule import Rule

TRIES = 100
"""Settings drawn at random before all are looked through for one that torch takes."""

ALL_ASKED = 1000
"""Settings up to which torch is asked about all of them."""

STRETCH = 100_000
"""Settings that are looked through at once."""

NO_DOUBT = 2.0**-54
"""Settings below this share of the largest number stay numbers, whatever torch divides them by."""

MOST_KINDS = 2**40
"""Kinds that are numbered before those are left out that nothing is of."""


@dataclass(frozen=True, eq=False)
class Refusals:
    """What torch answers to the settings of a product; `swept` names its axes that are settings of the optimizer."""

    spec: RunSpec
    inner: Product
    swept: tuple[str, ...]
    rule: type[Rule] | None
    like: torch.Tensor
    leaves: Mapping[str, torch.Tensor]
    seed: int

    @cached_property
    def doubts(self) -> Mapping[str, NDArray[np.int64]]:
        """What torch may see in each swept setting's values: those with one number are taken, or refused, alike."""
        assert self.rule is not None
        largest, found = torch.finfo(self.like.dtype).max * NO_DOUBT, {}
        for axis in self.inner.axes:
            if axis.name in self.swept:
                bound, known = min(self.rule.bounds.get(axis.name, largest), largest), dict[Hashable, int]()
                seen = [known.setdefault(_see(value, bound), len(known)) for value in axis.values]
                found[axis.name] = np.array(seen)
        return found

    @cached_property
    def answers(self) -> dict[tuple[int, ...], str]:
        """What torch said of settings, by what it may see in them; empty where it takes them."""
        return {}

    @cached_property
    def drawn(self) -> dict[int, int]:
        """Settings that torch takes, by the number they were drawn with."""
        return {}

    def of_runs(self, runs: slice) -> NDArray[np.object_]:
        """Ask torch which settings it refuses, and why: one message for each run, empty where it takes them.

        An optimizer whose rule is known is asked once for each kind of doubt, any other once for each setting.
        """
        size, count = self.inner.size, runs.stop - runs.start
        if count % size == 0 and runs.start % size == 0 and self.rule is not None and not self.spec.groups:
            return np.tile(self._of_all(), count // size)
        # stretches up to the number of settings hold none twice
        errors = self.at(np.arange(runs.start, min(runs.stop, runs.start + size)) % size)
        return np.tile(errors, -(-count // size))[:count] if count > size else errors

    def at(self, settings: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ask the same of some settings."""
        errors = np.full(len(settings), "", dtype=object)
        for alike in self._kinds(settings):
            errors[alike] = self._answer(int(settings[alike[0]]))
        return errors

    def _of_all(self) -> NDArray[np.object_]:
        """Ask about all settings of the product: of the kinds along each axis every combination is there."""
        errors = np.full(self.inner.shape, "", dtype=object)
        kinds = [self.doubts.get(axis.name, np.zeros(1, dtype=np.int64)) for axis in self.inner.axes]
        firsts = [np.unique(each, return_index=True)[1] for each in kinds]
        for places in itertools.product(*firsts):
            message = self._answer(int(np.ravel_multi_index(places, self.inner.shape)) if places else 0)
            if message:
                alike = [each == each[place] for each, place in zip(kinds, places, strict=True)]
                wide = [np.broadcast_to(a, n) for a, n in zip(alike, self.inner.shape, strict=True)]
                errors[np.ix_(*wide)] = message
        return errors.reshape(-1)

    def some_valid(self, draw: int) -> int:
        """Return a setting that torch takes, drawn at random, the same for the same number.

        Raises
        ------
        Exception
            Torch's own, if it refuses all settings.
        """
        if draw not in self.drawn:
            self.drawn[draw] = self._draw_valid(draw)
        return self.drawn[draw]

    def _draw_valid(self, draw: int) -> int:
        size = self.inner.size
        for setting in np.random.default_rng(draw).integers(size, size=TRIES).tolist():
            if not self._answer(setting):
                return int(setting)
        for first in range(0, size, STRETCH):
            taken = np.flatnonzero(self.of_runs(slice(first, min(first + STRETCH, size))) == "")
            if taken.size:
                return first + int(taken[draw % taken.size])
        self._ask(0)
        raise AssertionError("torch refused every setting, and then took the first")

    def some_kinds(self, count: int, draw: int) -> NDArray[np.int64]:
        """Return settings that torch takes, of as many kinds as there are: spread evenly along each axis, ends too.

        All there are, where there are no more than `count`; else drawn at random, the same for the same sweep and
        number.
        """
        shape, random = self.inner.shape, np.random.default_rng([self.seed, draw])
        if self.inner.size <= ALL_ASKED:
            valid = np.flatnonzero(self.at(np.arange(self.inner.size)) == "")
            if valid.size <= count:
                return valid
        found: dict[int, None] = {}
        for _ in range(TRIES):
            shares = [random.permutation(count) / (count - 1) if count > 1 else random.random(1) for _ in shape]
            places = tuple(np.rint(s * (length - 1)).astype(np.int64) for s, length in zip(shares, shape, strict=True))
            drawn = np.ravel_multi_index(places, shape)
            found |= dict.fromkeys(drawn[self.at(drawn) == ""].tolist())
            if len(found) >= count:
                break
        return np.sort([*found][:count] or [self.some_valid(draw)])

    def _answer(self, setting: int) -> str:
        """Ask torch about one setting, or find what it said of another that it sees alike."""
        if self.rule is None or self.spec.groups:
            return self._message(setting)
        places = zip(self.inner.axes, self.inner.place(setting), strict=True)
        seen = tuple(int(self.doubts[axis.name][place]) for axis, place in places if axis.name in self.doubts)
        if seen not in self.answers:
            self.answers[seen] = self._message(setting)
        return self.answers[seen]

    def _message(self, setting: int) -> str:
        try:
            self._ask(setting)
        except Exception as reason:
            return str(reason)
        return ""

    def _ask(self, setting: int) -> None:
        spec = replace(self.spec, settings=settings_at(self.spec, self.inner, self.swept, setting))
        spec.rule_for(self.leaves)
        if self.rule is not None and not spec.groups and spec.steps:
            leaf = self.like.new_zeros(1)  # without requires_grad, so that differentiable rules step on it too
            rule = spec.rule_for({"": leaf})
            take_step = step_of(rule)
            for _ in range(min(spec.steps, 2)):  # numbers that the dtype cannot hold are refused where they are used
                leaf.grad = torch.zeros_like(leaf)
                take_step()

    def _kinds(self, settings: NDArray[np.int64]) -> list[NDArray[np.intp]]:
        """Sort settings into those that torch answers alike; each is named by its place among them."""
        if self.rule is None or self.spec.groups:
            return list(np.arange(len(settings))[:, None])
        kind, count, places = np.zeros(len(settings), dtype=np.int64), 1, self.inner.places(settings)
        for name, doubts in self.doubts.items():
            more = int(doubts.max()) + 1
            if more > 1:
                if count * more > MOST_KINDS:
                    _, kind = np.unique(kind, return_inverse=True)
                    count = int(kind.max()) + 1
                kind, count = kind * more + doubts[places[name]], count * more
        if count == 1:
            return [np.arange(len(settings))]
        kind = kind.astype(np.min_scalar_type(count))  # few kinds are small numbers, which are sorted without comparing
        order = np.argsort(kind, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(kind[order])) + 1)


def settings_at(spec: RunSpec, inner: Product, swept: tuple[str, ...], setting: int) -> dict[str, Any]:
    """Return what the optimizer is given in one setting of a product."""
    values = inner.values(setting)
    return {**spec.settings, **{name: values[name] for name in swept}}


def _see(value: Any, bound: float) -> Hashable:
    """Return what torch may look at before it takes a setting: its type, its sign, and all of what is out of the way.

    Examples
    --------
    >>> [_see(value, 1.0) for value in (0.5, 0.9, 0.0, 1.5, True, (0.9, 2.0))]
    [('float', '+'), ('float', '+'), ('float', '0'), ('float', 1.5), ('bool', True), (('float', '+'), ('float', 2.0))]
    """
    if isinstance(value, tuple):
        return tuple(_see(part, bound) for part in value)
    inside = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < bound
    if inside:
        return type(value).__name__, "+" if value > 0 else "0"
    return type(value).__name__, value if isinstance(value, Hashable) else id(value)
