"""A problem's loss as a function of one vector, in float64, with its gradient and its curvature."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ravine._format import hint, kind_of, listed
from ravine._problem.buffers import read_buffers
from ravine._problem.check_fit import scalar
from ravine._problem.over_batches import OverBatches
from ravine._problem.problem import Problem
from ravine._torch import fork_random_state, numpy_of

Vector = NDArray[np.float64]

Place = Mapping[str, Any] | ArrayLike | None
"""A place among the parameters: their values by name or label, or all of them in the order of the labels."""


@dataclass(frozen=True, eq=False)
class Function:
    """A problem's loss as a function of all parameters in one vector; `draws` tells whether it draws random numbers."""

    problem: Problem
    draws: bool

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the dtype that holds all parameters, on their device."""
        return self.problem.like

    @property
    def precision(self) -> str:
        """The dtype as words: "float64"."""
        return str(self.like.dtype).removeprefix("torch.")

    @property
    def resolution(self) -> float:
        """Relative size of one rounding."""
        return float(torch.finfo(self.like.dtype).eps)

    @property
    def largest(self) -> float:
        """The largest number that is finite."""
        return float(torch.finfo(self.like.dtype).max)

    def value(self, place: Vector) -> float:
        """Loss at a place."""
        with torch.no_grad():
            return float(self._evaluate(self._leaf(place)))

    def hessian(self, place: Vector) -> tuple[float, Vector, Vector]:
        """Loss, gradient and Hessian at a place: the gradient of each entry of the gradient."""
        leaf, loss, gradient = self._twice(place)
        # entry by entry, not along units: a tensor to go along makes torch import what it traces shapes with, sympy too
        # and picked one by one: of entries taken apart at once, each would go back through all
        entries = (gradient[k] for k in range(len(leaf)))
        rows = _numbers(torch.stack([_differentiate(entry, leaf, again=False) for entry in entries]))
        return float(loss), _numbers(gradient), (rows + rows.T) / 2

    def gradient(self, place: Vector) -> Vector:
        """Gradient at a place."""
        leaf = self._leaf(place).requires_grad_()
        with torch.enable_grad():
            return _numbers(_differentiate(self._evaluate(leaf), leaf))

    def product(self, place: Vector) -> Callable[[Vector], Vector]:
        """Return the function that multiplies the Hessian at this place with a vector."""
        leaf, _, gradient = self._twice(place)
        return lambda vector: _numbers(_differentiate(gradient, leaf, torch.as_tensor(vector.reshape(-1)).to(leaf)))

    def _twice(self, place: Vector) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        leaf = self._leaf(place).requires_grad_()
        # of attention only the plain kernel can be differentiated twice
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            loss = self._evaluate(leaf)
            return leaf, loss.detach(), _differentiate(loss, leaf)

    def _leaf(self, place: Vector) -> torch.Tensor:
        return torch.tensor(place, dtype=self.like.dtype, device=self.like.device)

    def _evaluate(self, leaf: torch.Tensor) -> torch.Tensor:
        start = self.problem.start
        pieces = torch.split(leaf, [value.numel() for value in start.values()])
        named = {n: piece.reshape(start[n].shape).to(start[n].dtype) for n, piece in zip(start, pieces, strict=True)}
        if leaf.requires_grad:
            named = {name: _Densely.apply(piece) for name, piece in named.items()}  # type: ignore[no-untyped-call]
        # a loss that draws random numbers draws the same ones each time, and the generator is put back
        with fork_random_state() if self.draws else contextlib.nullcontext():
            return scalar(self.problem.loss(named)).reshape(())


def function_of(problem: Problem) -> Function:
    """Return the problem's loss as a function of one vector, in float64 wherever it can be had.

    Where anything that hangs on the parameters still comes out in another dtype, as in a function that holds float32
    data of its own, the problem's own dtype is taken.

    Examples
    --------
    >>> import ravine
    >>> bowl = function_of(ravine.gallery.quadratic(condition=4))
    >>> bowl.precision, bowl.value(np.array([2.0, 1.0]))
    ('float64', 2.0)
    """
    for each in (problem.in_double(), problem):
        function = Function(each, draws=False)
        watch = _Watch(function.like.dtype)
        with torch.enable_grad(), fork_random_state():
            before = _random_states(function.like)
            try:
                with watch:
                    function._evaluate(function._leaf(vector_of(each)).requires_grad_())
            except Exception:  # float32 met float64, or it is the problem's own: said again by its own dtype
                if each is problem:
                    raise
                continue
            drew = any(not torch.equal(a, b) for a, b in zip(before, _random_states(function.like), strict=True))
        if watch.kept:
            break
    return Function(each, drew)


class LossAlong:
    """A problem's loss at each place of a run, with the buffers that are recorded there.

    ``buffers`` says which were taken; nothing where the problem has none.
    """

    def __init__(self, problem: Problem, run: xr.Dataset) -> None:
        self._problem, self._read = problem, read_buffers(run)
        bearing = problem.parts is not None or isinstance(problem.loss, OverBatches)
        self._recorded = "buffers" in run and bearing
        self._last = -1, function_of(problem)
        self.precision = self._last[1].precision
        model = None if problem.parts is None else problem.parts.model
        bears = self._recorded or (model is not None and next(model.buffers(), None) is not None)
        self.buffers = ("those of each step" if self._recorded else "those of the problem's model") if bears else ""

    def at(self, place: int) -> Function:
        """Return the loss at a place, as a function of all parameters."""
        if self._recorded and self._last[0] != place:
            self._last = place, function_of(self._problem.with_buffers(self._read(place)))
        return self._last[1]


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
    elif isinstance(place, xr.Dataset):
        raise TypeError(
            "the place is a study, expected numbers by parameter or in the order of the labels, as in run.position[-1]"
        )
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
    ends = dict(zip(problem.start, np.cumsum([value.numel() for value in problem.start.values()]), strict=True))
    if name in ends:
        return slice(int(ends[name]) - problem.start[name].numel(), int(ends[name]))
    if name in problem.labels:
        return slice(problem.labels.index(name), problem.labels.index(name) + 1)
    raise ValueError(f"no parameter {name!r}{hint(str(name), ends)}; the problem has {listed(ends)}")


def _as_numbers(what: str, value: Any, count: int) -> Vector:
    try:
        numbers = np.asarray(_numbers(value) if torch.is_tensor(value) else value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a number or an array, got {kind_of(value)}") from None
    if len(numbers) != count:
        raise ValueError(
            f"{what} has {len(numbers)} number{'s' * (len(numbers) != 1)}, expected {count}: {kind_of(value)}"
        )
    return numbers.copy()


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


def _differentiate(
    output: torch.Tensor, leaf: torch.Tensor, along: torch.Tensor | None = None, *, again: bool = True
) -> torch.Tensor:
    """Gradient of the loss, to be differentiated again, or of the gradient along a vector; zero where nothing hangs."""
    if not output.requires_grad:
        return torch.zeros_like(leaf)
    again = again and along is None
    (found,) = torch.autograd.grad(
        output, leaf, along, retain_graph=True, create_graph=again, allow_unused=True, materialize_grads=True
    )
    return found


class _Densely(torch.autograd.Function):
    """The same tensor, with a dense gradient: a sparse one, as some embeddings have, cannot be reshaped or split."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient if gradient.layout == torch.strided else gradient.to_dense()


def _numbers(tensor: torch.Tensor) -> Vector:
    return cast(Vector, numpy_of(tensor.double()))
