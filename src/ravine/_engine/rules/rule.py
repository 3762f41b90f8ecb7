"""What each rule offers, and what all of them are written with: settings of many runs, and Python's own arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Which = torch.Tensor | bool
"""Which runs: all, none, or those that a tensor (runs,) tells."""


class Rule(Protocol):
    """The rule of one class of torch.optim, with the settings and the state of some runs."""

    defaults: ClassVar[Mapping[str, Any]]
    """The settings that make a path, at torch's own defaults."""

    bounds: ClassVar[Mapping[str, float]]
    """Where torch looks closer at a setting: numbers from 0 to below are taken, or refused, alike."""

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        """Begin runs with these settings at a position (parameters, runs)."""

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on: what a scheduler has moved is read anew, what runs remember stays."""

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads, in `out` if the rule can write there; what else is handed in stays as it is."""


class Settings:
    """Settings of many runs: of each a number for all of them, or a column of float64.

    torch holds settings in double, computes with them in Python, and rounds where it hands a number to a tensor. So
    here columns are computed with in float64, and `tensor` rounds. Of pairs each part is a column: beta1, beta2.

    Examples
    --------
    >>> two = Settings({"lr": [0.1, 0.5]}, {"lr": 1e-3, "betas": (0.9, 0.99)}, runs=2, like=torch.ones(1))
    >>> two["lr"], two["beta2"]
    (array([0.1, 0.5]), array([0.99]))
    >>> two.tensor(-two["lr"])
    tensor([-0.1000, -0.5000])
    >>> two.moved_to({"lr": np.array([0.05, 0.25])})["lr"]
    array([0.05, 0.25])
    """

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any], runs: int, like: torch.Tensor) -> None:
        self.runs, self.like = runs, like
        self.columns: dict[str, NDArray[np.float64]] = {}
        for name, usual in defaults.items():
            numbers = np.asarray(given.get(name, usual), dtype=np.float64)
            parts = dict(zip(parts_of(name, usual), numbers, strict=True)) if np.ndim(usual) else {name: numbers}
            self.columns |= {part: np.atleast_1d(column) for part, column in parts.items()}
        self._distinct: dict[tuple[str, ...], Distinct] = {}

    def moved_to(self, columns: Mapping[str, NDArray[np.float64]]) -> Settings:
        """Return them with other columns; what is known of the rest is not computed again."""
        other = copy.copy(self)
        other.columns = {**self.columns, **columns}
        other._distinct = {names: each for names, each in self._distinct.items() if columns.keys().isdisjoint(names)}
        return other

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.columns[name]

    def distinct(self, *names: str) -> Distinct:
        """Return the distinct numbers of some columns together."""
        if names not in self._distinct:
            self._distinct[names] = Distinct(*(self[name] for name in names))
        return self._distinct[names]

    def tensor(self, numbers: NDArray[np.float64]) -> torch.Tensor:
        """Round numbers as the parameters are, one for each run."""
        if len(numbers) == 1:
            return torch.full((self.runs,), numbers[0], dtype=torch.float64).to(self.like)
        return torch.from_numpy(numbers).to(self.like, copy=True)

    def which(self, chosen: NDArray[np.bool_]) -> Which:
        """Return the runs for which something holds."""
        if chosen.all() or not chosen.any():
            return bool(chosen.all())
        return torch.from_numpy(chosen).to(self.like.device, copy=True)

    def having(self, name: str) -> Which:
        """Return the runs in which a setting is on."""
        return self.which(self[name] != 0)


def parts_of(name: str, usual: Any) -> tuple[str, ...]:
    """Name the numbers that a setting is made of.

    Examples
    --------
    >>> parts_of("lr", 0.1), parts_of("betas", (0.9, 0.99))
    (('lr',), ('beta1', 'beta2'))
    """
    return tuple(f"{name.removesuffix('s')}{k}" for k in range(1, len(usual) + 1)) if np.ndim(usual) else (name,)


def pick(which: Which, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return one thing for these runs, the other for the rest.

    torch leaves out a whole operation where a setting is off, and so must a batch: ``inf + 0 * θ`` is no ``inf``.
    """
    if isinstance(which, bool):
        return one if which else other
    return torch.where(which, one, other)


def pick_in_place(which: Which, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Do the same with (parameters, runs), where the one thing counts for nothing in the rest of the runs.

    Where the numbers of a run lie together, those of the rest are written over it.
    """
    if isinstance(which, bool) or one.is_contiguous():
        return pick(which, one, other)
    rest = torch.nonzero(~which)[:, 0]
    one.T.index_copy_(0, rest, other.T.index_select(0, rest))
    return one


class Distinct:
    """The distinct numbers of columns, for what Python itself is to compute: numpy's powers have other last bits.

    Examples
    --------
    >>> betas = Distinct(np.array([0.9, 0.5, 0.9]))
    >>> betas.spread(betas.each(lambda beta: 1 - beta**2))
    array([0.19, 0.75, 0.19])
    """

    def __init__(self, *columns: NDArray[np.float64]) -> None:
        rows = np.stack(np.broadcast_arrays(*columns))
        distinct, self.place = np.unique(rows, axis=1, return_inverse=True)
        self.rows = list(map(tuple, distinct.T.tolist()))

    def each(self, function: Callable[..., float]) -> NDArray[np.float64]:
        """Compute with each once; NaN where Python does not, in settings that torch refuses."""
        return np.array([_computed(function, row) for row in self.rows])

    def spread(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Give each run its number."""
        return numbers if len(numbers) == 1 else numbers[self.place]


def _computed(function: Callable[..., float], row: tuple[float, ...]) -> float:
    try:
        return float(function(*row))
    except (ArithmeticError, TypeError):  # too large, by zero, or complex
        return np.nan


class Beginning:
    """What all steps begin with: whether it is up or down, and weight decay."""

    def __init__(self, settings: Settings) -> None:
        decay, apart = settings["weight_decay"], np.zeros(1, dtype=bool)
        if "decoupled_weight_decay" in settings.columns:
            apart = settings["decoupled_weight_decay"] != 0
        self.climbs = settings.having("maximize")
        self.sign = settings.tensor(np.where(settings["maximize"] != 0, -1.0, 1.0))
        self.coupled, self.decoupled = settings.which((decay != 0) & ~apart), settings.which((decay != 0) & apart)
        self.weight_decay = settings.tensor(decay)
        self.shrink = settings.tensor(1 - settings["lr"] * decay)

    def __call__(self, param: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parameters, shrunk where decay is decoupled, and the gradient, with it where it is coupled."""
        if self.climbs is not False:
            grad = grad * self.sign
        if self.coupled is not False:
            grad = pick(self.coupled, torch.addcmul(grad, self.weight_decay, param), grad)
        if self.decoupled is not False:
            param = pick(self.decoupled, param * self.shrink, param)
        return param, grad
