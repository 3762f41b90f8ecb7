"""In which order torch adds here: found by trial, because it is another on each processor, shape and dtype.

Predictions and gradients of a linear neuron are sums of products. Evaluated for many runs at once they can be written
in several forms that are equal but for their last bits; which of them has the bits that torch gives to one run by
itself depends on its matrix library, the processor, the shape and the dtype. So torch is asked: at some hundred
positions of the problem at hand, the first form that is equal in every bit is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows

Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]
"""Takes weights (features, runs) and biases (runs,), and writes the predictions (runs, samples)."""

Backward = Callable[[torch.Tensor, torch.Tensor], None]
"""Takes the slopes by each prediction (runs, samples), and writes those by each weight (features, runs)."""

Evaluate = Callable[..., torch.Tensor | None]
"""Takes positions (parameters, runs), where to write losses (runs,), and whether gradients are wanted; returns them."""

FEW_SAMPLES = 400
"""Samples up to which a gradient is tried sample by sample: each of them costs a pass over all runs."""

_remembered: dict[tuple[Any, ...], Order] = {}
"""What was found in this process; it is tried first, and never taken without a trial."""

_remembered_on_grid: dict[tuple[Any, ...], str] = {}
"""The same for grids, where the data itself belongs to what is remembered."""

POINTS = 100
"""Points at which the predictions of a grid are compared with those of a layer."""


@dataclass(frozen=True)
class TorchValues:
    """What torch gives at some positions, one evaluation at a time.

    Positions are (parameters, count), losses (count,), gradients (parameters, count).
    """

    position: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor

    @property
    def count(self) -> int:
        """Number of positions."""
        return len(self.loss)

    def repeated(self) -> TorchValues:
        """Return each of them twice."""
        return TorchValues(*(torch.cat([each, each], -1) for each in (self.position, self.loss, self.gradient)))


@dataclass(frozen=True)
class Order:
    """A form of the predictions and one of the gradient, by name, and whether their bits were found to be torch's."""

    forward: str
    backward: str
    equal: bool

    def __str__(self) -> str:
        return f"predictions by {self.forward}, gradient by {self.backward}"


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether all numbers are equal; NaN is equal to NaN."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether all numbers are the same, the signs of zeros too; NaN is NaN."""
    return same_bits(one, other) and bool(((one.signbit() == other.signbit()) | one.isnan()).all())


def has_bits(evaluate: Evaluate, values: TorchValues, runs: int, *, gradients: bool = True) -> bool:
    """Tell whether evaluating `runs` positions at once gives torch's own bits, at whichever place in the block."""
    losses = values.loss.new_empty(runs)
    for block in range(-(-values.count // runs)):  # all positions: a form may be off at few of them
        columns = (torch.arange(runs) + block * runs) % values.count
        found = evaluate(values.position[:, columns], losses, gradients)
        if not same_bits(losses, values.loss[columns]):
            return False
        if found is not None and not same_bits(found, values.gradient[:, columns]):
            return False
    return True


def choose_order(
    evaluate: Callable[[str, str], Evaluate], values: TorchValues, inputs: torch.Tensor, runs: int
) -> Order:
    """Choose the first forms with torch's bits; where there are none, the fastest whose bits no block size changes.

    Parameters
    ----------
    evaluate
        Takes the names of a forward and of a backward form, and returns the evaluation by them.
    values
        torch's own answers.
    inputs
        Of the problem, (samples, features).
    runs
        How many positions are evaluated at once.
    """
    forward, backward = forward_forms(inputs), backward_forms(inputs)
    key = (tuple(inputs.shape), inputs.dtype, runs, torch.get_num_threads(), torch.__version__)
    known = _remembered.get(key)
    if known is not None and has_bits(evaluate(known.forward, known.backward), values, runs):
        return known
    steady = Order(next(iter(forward)), "bmm", equal=False)
    for one in forward:
        if not has_bits(evaluate(one, steady.backward), values, runs, gradients=False):
            continue
        for other in backward:
            if has_bits(evaluate(one, other), values, runs):
                _remembered[key] = Order(one, other, equal=True)
                return _remembered[key]
    return steady


def forward_forms(inputs: torch.Tensor) -> Mapping[str, Forward]:
    """Return the forms of the predictions, fastest first; the bits of the first do not depend on the number of runs.

    Inputs are (samples, features), or (runs, samples, features) where each run has its own.

    Examples
    --------
    >>> list(forward_forms(torch.ones(50, 1)))
    ['multiply, then add', 'fused multiply-add']
    """
    rows = inputs.movedim(-1, 0).contiguous()  # a row of samples for each input

    def in_turn(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.mul(weights[0][:, None], rows[0], out=out)
        for weight, row in zip(weights[1:], rows[1:], strict=True):
            out.add_(weight[:, None] * row)
        out.add_(bias[:, None])

    def fused_in_turn(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.mul(weights[0][:, None], rows[0], out=out)
        for weight, row in zip(weights[1:], rows[1:], strict=True):
            out.addcmul_(weight[:, None], row)
        out.add_(bias[:, None])

    def fused_from_bias(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.addcmul(bias[:, None], weights[0][:, None], rows[0], out=out)
        for weight, row in zip(weights[1:], rows[1:], strict=True):
            out.addcmul_(weight[:, None], row)

    def in_pairs(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        for k in range(0, len(rows), 2):
            pair = weights[k][:, None] * rows[k]
            if k + 1 < len(rows):
                pair.addcmul_(weights[k + 1][:, None], rows[k + 1])
            out.copy_(pair) if k == 0 else out.add_(pair)
        out.add_(bias[:, None])

    def baddbmm(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        batch = inputs.expand(len(bias), -1, -1)
        torch.baddbmm(bias[:, None, None], batch, weights.T[:, :, None], out=out[:, :, None])

    def bmm(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.bmm(inputs.expand(len(bias), -1, -1), weights.T[:, :, None], out=out[:, :, None]).add_(
            bias[:, None, None]
        )

    def mm(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.mm(weights.T.contiguous(), rows, out=out).add_(bias[:, None])

    def mm_from_bias(weights: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        torch.addmm(bias[:, None], weights.T.contiguous(), rows, out=out)

    if inputs.shape[-1] == 1:
        return {"multiply, then add": in_turn, "fused multiply-add": fused_from_bias}
    of_all = {"mm, then the bias": mm, "mm from the bias on": mm_from_bias} if inputs.ndim == 2 else {}
    return {
        "products in turn, then the bias": in_turn,
        "fused products in turn, then the bias": fused_in_turn,
        "fused products from the bias on": fused_from_bias,
        "fused pairs, then the bias": in_pairs,
        **of_all,
        "baddbmm": baddbmm,
        "bmm, then the bias": bmm,
    }


def backward_forms(inputs: torch.Tensor) -> Mapping[str, Backward]:
    """Return the forms of the gradient by the weights, fastest first; the number of runs changes no bit of ``bmm``.

    Inputs are (samples, features), or (runs, samples, features) where each run has its own.

    Examples
    --------
    >>> list(backward_forms(torch.ones(50, 2)))[:3]
    ['mm', 'mm on 4 columns', 'mm on 8 columns']
    """
    samples, features = inputs.shape[-2:]

    def bmm(slopes: torch.Tensor, out: torch.Tensor) -> None:
        found = torch.bmm(slopes[:, None, :], inputs.expand(len(slopes), -1, -1))
        _write(found[:, 0].T, out)

    def bmm_of_the_transposed(slopes: torch.Tensor, out: torch.Tensor) -> None:
        _write(torch.bmm(inputs.mT, slopes[:, :, None])[:, :, 0].T, out)

    def mm_on(columns: int) -> Backward:
        padded = inputs.new_zeros(samples, columns)
        padded[:, :features] = inputs
        return lambda slopes, out: _write(torch.mm(slopes, padded)[:, :features].T, out)

    def transposed(slopes: torch.Tensor, out: torch.Tensor) -> None:
        torch.mm(inputs.T, slopes.T.contiguous(), out=out)

    def sample_by_sample(fused: bool) -> Backward:
        def products(slopes: torch.Tensor, out: torch.Tensor) -> None:
            each = inputs[:, :, None] if inputs.ndim == 2 else inputs.permute(1, 2, 0).contiguous()
            out.zero_()
            for slope, sample in zip(slopes.T.contiguous(), each, strict=True):
                out.addcmul_(sample, slope) if fused else out.add_(sample * slope)

        return products

    apart: dict[str, Backward] = {"bmm": bmm}
    if inputs.ndim == 2:
        padded = {f"mm on {columns} columns": mm_on(columns) for columns in (2, 4, 8, 16) if columns > features}
        whole: dict[str, Backward] = {"mm": mm_on(features), **padded} if features > 1 else padded
        forms = apart | whole if features == 1 else whole | apart
        forms["mm of the transposed"] = transposed
    else:
        forms = apart | {"bmm of the transposed": bmm_of_the_transposed}
    if samples <= FEW_SAMPLES:
        forms["fused sums, sample by sample"] = sample_by_sample(fused=True)
        forms["sums, sample by sample"] = sample_by_sample(fused=False)
    return forms


def _write(found: torch.Tensor, out: torch.Tensor) -> None:
    for row, each in zip(out, found, strict=True):  # row by row: a transposed copy of so narrow a matrix is slow
        row.copy_(each)


GridForward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes inputs (samples,), weights and biases that broadcast against them, and where to write; returns that."""

ON_GRID: Mapping[str, GridForward] = {
    "multiply, then add": lambda x, weight, bias, out: torch.add(x * weight, bias, out=out),
    "fused multiply-add": lambda x, weight, bias, out: torch.addcmul(bias, x, weight, out=out),
}
"""The forms of one input's predictions for weights and biases that span a grid, fastest first."""


def choose_on_grid(inputs: torch.Tensor, low: float, high: float) -> str:
    """Choose the first form whose predictions are a layer's in every bit, for weights and biases of a range.

    Examples
    --------
    >>> choose_on_grid(torch.linspace(-1, 1, 50)[:, None], -5, 8) in ON_GRID
    True
    """
    column = inputs[:, 0].contiguous()
    key = (column.view(torch.uint8).numpy().tobytes(), inputs.dtype, torch.get_num_threads(), torch.__version__)
    if key not in _remembered_on_grid:
        random = torch.Generator().manual_seed(0)
        drawn = low + (high - low) * torch.rand(2, POINTS, 1, generator=random, dtype=torch.float64)
        weights, biases = drawn.to(inputs)
        pairs = zip(weights, biases, strict=True)
        layer = torch.stack([F.linear(inputs, weight[None], bias)[:, 0] for weight, bias in pairs])
        free = torch.empty_like(layer)
        equal = (name for name, form in ON_GRID.items() if same_bits(form(column, weights, biases, free), layer))
        _remembered_on_grid[key] = next(equal, next(iter(ON_GRID)))
    return _remembered_on_grid[key]
