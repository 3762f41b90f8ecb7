"""Derivatives: a problem's loss as a function of one vector, in float64, with its gradient and its curvature."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.overrides import TorchFunctionMode

from ravine.parts import Parts, loss_of, numpy_of
from ravine.problem import Loss, Problem, scalar
from ravine.words import hint, listed

__all__ = ["Function", "Place", "function_of", "vector_of"]

Vector = NDArray[np.float64]

ROWS = 64
"""Rows of a Hessian worked on at once."""

Place = Mapping[str, Any] | ArrayLike | None
"""A place among the parameters: their values by name or label, or all of them in the order of the labels."""


@dataclass(frozen=True, eq=False)
class Function:
    """A loss as a function of all parameters in one vector, evaluated in `dtype`."""

    loss: Loss
    like: Mapping[str, torch.Tensor]
    dtype: torch.dtype
    draws: bool

    @property
    def precision(self) -> str:
        """The dtype as words: "float64"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def resolution(self) -> float:
        """Relative size of one rounding."""
        return float(torch.finfo(self.dtype).eps)

    def value(self, place: Vector) -> float:
        """Loss at a place."""
        with torch.no_grad():
            return float(self._evaluated(self._leaf(place)))

    def gradient(self, place: Vector) -> tuple[float, Vector]:
        """Loss and gradient at a place."""
        leaf = self._leaf(place).requires_grad_()
        with torch.enable_grad():
            loss = self._evaluated(leaf)
        return float(loss.detach()), _numbers(_pulled(loss, leaf))

    def hessian(self, place: Vector) -> tuple[float, Vector, Vector]:
        """Loss, gradient and Hessian at a place: the gradient of each entry of the gradient."""
        leaf, loss, gradient = self._twice(place)
        units = torch.split(torch.eye(len(leaf), dtype=leaf.dtype, device=leaf.device), ROWS)
        rows = np.concatenate([_numbers(_rows(gradient, leaf, some)) for some in units])
        return float(loss), _numbers(gradient), (rows + rows.T) / 2

    def product(self, place: Vector) -> Callable[[Vector], Vector]:
        """Return the function that multiplies the Hessian at this place with a vector."""
        leaf, _, gradient = self._twice(place)
        return lambda vector: _numbers(_pulled(gradient, leaf, torch.as_tensor(vector.reshape(-1)).to(leaf)))

    def _twice(self, place: Vector) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        leaf = self._leaf(place).requires_grad_()
        with torch.enable_grad():
            loss = self._evaluated(leaf)
            return leaf, loss.detach(), _pulled(loss, leaf, again=True)

    def _leaf(self, place: Vector) -> torch.Tensor:
        first = next(iter(self.like.values()))
        return torch.tensor(place, dtype=self.dtype, device=first.device)

    def _evaluated(self, leaf: torch.Tensor) -> torch.Tensor:
        # a loss that draws random numbers draws the same ones each time, and the generator is put back
        with torch.random.fork_rng() if self.draws else contextlib.nullcontext():
            return scalar(self.loss(self._named(leaf))).reshape(())

    def _named(self, leaf: torch.Tensor) -> dict[str, torch.Tensor]:
        pieces = torch.split(leaf, [value.numel() for value in self.like.values()])
        return {name: piece.reshape(self.like[name].shape) for name, piece in zip(self.like, pieces, strict=True)}


def function_of(problem: Problem) -> Function:
    """Return the problem's loss as a function of one vector, in float64 wherever it can be had.

    A module, its criterion and its data are copied to float64; a function of one's own gets float64 parameters.
    Where anything that hangs on the parameters still comes out in another dtype, the problem's own is taken.

    Examples
    --------
    >>> import ravine
    >>> bowl = function_of(ravine.gallery.quadratic(condition=4))
    >>> bowl.precision, bowl.gradient(np.array([2.0, 1.0]))
    ('float64', (2.0, array([1., 2.])))
    """
    own = next(iter(problem.start.values())).dtype
    loss = problem.loss if problem.parts is None else loss_of(_doubled(problem.parts))
    place = torch.cat([value.detach().reshape(-1) for value in problem.start.values()])
    for each, dtype in ((loss, torch.float64), (problem.loss, own)):
        function = Function(each, problem.start, dtype, draws=False)
        watch = _Watch(dtype)
        with torch.enable_grad(), torch.random.fork_rng():
            before = _random_states(place)
            try:
                with watch:
                    function._evaluated(place.to(dtype).requires_grad_())
            except Exception:  # a float32 of its own met float64: said again below, in the problem's own dtype
                if dtype == own:
                    raise
                continue
            drew = any(not torch.equal(a, b) for a, b in zip(before, _random_states(place), strict=True))
        if watch.kept or dtype == own:
            break
    return Function(each, problem.start, dtype, drew)


def vector_of(problem: Problem, place: Place = None, *, elsewhere: float | None = None) -> Vector:
    """Return a place as one vector; a parameter that is not named stays at the start, or is `elsewhere`.

    Examples
    --------
    >>> import ravine
    >>> vector_of(ravine.gallery.rosenbrock(), {"x": 0.5}).tolist()
    [0.5, 1.0]

    Raises
    ------
    ValueError
        If a name is unknown, there are too few or too many numbers, or one is not finite.
    """
    vector = np.concatenate([_numbers(value).reshape(-1) for value in problem.start.values()])
    if place is not None and not isinstance(place, Mapping):
        vector = _as_numbers("the place", place, len(vector))
    elif place is not None:
        if elsewhere is not None:
            vector[:] = elsewhere
        for name, value in place.items():
            spot = _spot(problem, name)
            vector[spot] = _as_numbers(repr(name), value, spot.stop - spot.start)
    if not np.isfinite(vector).all():
        raise ValueError(f"the place is not finite: {listed(vector.tolist())}")
    return vector


def _spot(problem: Problem, name: str) -> slice:
    begin = 0
    for known, value in problem.start.items():
        if name == known:
            return slice(begin, begin + value.numel())
        begin += value.numel()
    if name not in problem.labels:
        known_names = list(problem.start)
        raise ValueError(f"no parameter {name!r}{hint(str(name), known_names)}; the problem has {listed(known_names)}")
    return slice(problem.labels.index(name), problem.labels.index(name) + 1)


def _as_numbers(what: str, value: Any, count: int) -> Vector:
    try:
        numbers = np.asarray(_numbers(value) if torch.is_tensor(value) else value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a number or an array, got {value!r}") from None
    if len(numbers) != count:
        raise ValueError(f"{what} has {len(numbers)} numbers, expected {count}")
    return numbers.copy()


def _doubled(parts: Parts) -> Parts:
    model, criterion = copy.deepcopy(parts.model).double(), parts.criterion
    if isinstance(criterion, torch.nn.Module):
        criterion = copy.deepcopy(criterion).double()
    inputs, targets = (t.double() if t.is_floating_point() else t for t in (parts.inputs, parts.targets))
    return Parts(model, criterion, inputs, targets, parts.names)


class _Watch(TorchFunctionMode):
    """See whether all that hangs on the parameters stays in one dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.kept = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.is_tensor(result) and result.is_floating_point() and result.requires_grad:
            self.kept &= result.dtype == self.dtype
        return result


def _random_states(like: torch.Tensor) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    return states + (torch.cuda.get_rng_state_all() if like.is_cuda else [])


def _pulled(
    output: torch.Tensor, leaf: torch.Tensor, along: torch.Tensor | None = None, *, again: bool = False
) -> torch.Tensor:
    """Gradient of the output; zero where it does not hang on the parameters, as the gradient of a plane."""
    if not output.requires_grad:
        return torch.zeros_like(leaf)
    keep = again or along is not None
    (found,) = torch.autograd.grad(output, leaf, along, retain_graph=keep, create_graph=again, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def _rows(gradient: torch.Tensor, leaf: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    if gradient.requires_grad:
        try:  # three to four times as fast as one row after another
            (rows,) = torch.autograd.grad(
                gradient, leaf, units, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
            return torch.zeros_like(units) if rows is None else rows
        except Exception:  # an operation that cannot be batched; an error of its own comes again below
            pass
    return torch.stack([_pulled(gradient, leaf, unit) for unit in units])


def _numbers(tensor: torch.Tensor) -> Vector:
    return cast(Vector, numpy_of(tensor.double()))
