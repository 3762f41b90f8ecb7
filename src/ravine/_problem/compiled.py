"""The compiled kernel, in the order of sums that has torch's bits here: found by trial, as all orders are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows

from ravine._kernel.neuron import Neuron, Sums, make_neuron, orders_of_sums
from ravine._problem.criteria import elementwise
from ravine._problem.order import Order, TorchValues, has_bits
from ravine._problem.parts import Parts
from ravine._study.provenance import digest
from ravine._torch import numpy_of

DRAWN = 64
"""Random positions at which an order of sums is tried."""

MOST_KNOWN = 256
"""Data and criteria that are remembered."""

Found = TypeVar("Found")


class Compiled:
    """The evaluation of a linear neuron by the kernel; positions are (parameters, runs)."""

    def __init__(self, neuron: Neuron, sums: Sums) -> None:
        self.neuron, self.sums = neuron, sums
        by = f"{'fused sums' if sums.fused else 'sums'}, compiled for {neuron.kernel.level}"
        self.order = Order("multiply, then add", by, equal=True)

    def __call__(self, position: torch.Tensor, losses: torch.Tensor, gradients: bool = True) -> torch.Tensor | None:
        """Evaluate positions."""
        found = torch.empty_like(position) if gradients else None
        weight, bias = position
        self.neuron.evaluate(self.sums, weight, bias, losses, found)
        return found

    def fill(self, weights: torch.Tensor, biases: torch.Tensor, out: torch.Tensor) -> None:
        """Write the losses over a grid (weights, biases)."""
        self.neuron.fill(self.sums, weights, biases, out)


def choose_compiled(parts: Parts, values: TorchValues) -> Compiled | None:
    """Choose the first order of sums in which the kernel has torch's bits; None where there is none, or no kernel.

    Runs that come to rest bring few different numbers, and several orders may fit them: so an order must also have the
    bits of torch's own calls on random targets. Lanes of the kernel know nothing of each other, so that one trial
    serves all numbers of runs.
    """
    neuron = make_neuron(parts.inputs, parts.targets, parts.criterion)
    if neuron is None or not neuron.has_room:
        return None
    with torch.no_grad():
        targets, drawn = _drawn_values(parts.inputs)
        twin = make_neuron(parts.inputs, targets, torch.nn.MSELoss())
        assert twin is not None
        for sums in orders_of_sums():
            found = Compiled(neuron, sums)
            if has_bits(Compiled(twin, sums), drawn, DRAWN) and has_bits(found, values, values.count):
                return found
    return None


def choose_for_losses(parts: Parts, key: Hashable, low: float, high: float) -> Compiled | None:
    """Choose the same for losses alone, at weights and biases of a range; what the data was found to want is kept.

    `key` is one of `keys_of_losses`.
    """
    neuron = make_neuron(parts.inputs, parts.targets, parts.criterion)
    if neuron is None:
        return None

    def find_sums() -> Sums | None:
        values = _values_on_grid(parts, low, high)
        equal = (s for s in orders_of_sums() if has_bits(Compiled(neuron, s), values, DRAWN, gradients=False))
        return next(equal, None)

    sums = recall(_remembered, (key, neuron.kernel), find_sums)
    return None if sums is None else Compiled(neuron, sums)


_remembered: dict[Hashable, Sums | None] = {}
"""What data and criteria were found to want in this process."""


def keys_of_losses(every: Sequence[Parts]) -> list[Hashable]:
    """Return all on which the bits of a neuron's loss hang, but for where it is, under criteria of the same data."""
    inputs, targets = every[0].inputs, every[0].targets
    mode = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.get_num_threads()
    shared = digest(numpy_of(inputs).tobytes(), numpy_of(targets).tobytes()), inputs.dtype, inputs.shape, *mode
    criteria = (each.criterion for each in every)
    return [(shared, type(one), *(vars(one).get(name) for name in ("reduction", "delta", "beta"))) for one in criteria]


def recall(known: dict[Hashable, Found], key: Hashable, find: Callable[[], Found]) -> Found:
    """Return what is known under a key, found now where it is not; what was found first goes where that is too much."""
    if key in known:
        return known[key]
    found = find()
    while len(known) >= MOST_KNOWN:
        known.pop(next(iter(known)), None)
    known[key] = found
    return found


def _values_on_grid(parts: Parts, low: float, high: float) -> TorchValues:
    """Draw positions and return their losses, predicted by torch's layer one by one."""
    criterion, random = elementwise(parts.criterion), torch.Generator().manual_seed(0)
    assert criterion is not None
    position = (low + (high - low) * torch.rand(2, DRAWN, generator=random, dtype=torch.float64)).to(parts.inputs)
    layer = [F.linear(parts.inputs, weight.reshape(1, 1), bias.reshape(1)) for weight, bias in position.T]
    predictions, targets = torch.stack(layer)[..., 0], parts.targets[:, 0]
    losses = torch.mean(criterion(predictions, targets.expand_as(predictions)), -1)
    return TorchValues(position, losses, torch.empty_like(position))


def _drawn_values(inputs: torch.Tensor) -> tuple[torch.Tensor, TorchValues]:
    """Draw targets and positions, and return them with the squared error there and its gradient, product by product."""
    random = torch.Generator().manual_seed(0)
    x, share = inputs[:, 0].contiguous(), 1 / len(inputs)
    targets = torch.randn(len(x), generator=random, dtype=torch.float64).to(x)
    position = torch.randn(2, DRAWN, generator=random, dtype=torch.float64).to(x)
    residual = position[0][:, None] * x + position[1][:, None] - targets
    slopes = residual * (2 * share)
    by_weight = torch.cat([torch.mm(row[None].clone(), inputs)[0] for row in slopes])
    gradient = torch.stack([by_weight, slopes.sum(-1)])
    return targets, TorchValues(position, (residual * residual).mean(-1), gradient)
