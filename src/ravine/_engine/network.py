"""Chains of linear layers and element-wise activations: the gradient written out, many runs at once, in torch's bits.

What each run has lies apart from the next, at the places that a tensor of its own would have. So element-wise
operations work out the vectors, and what they leave over, as they do in a single run; and a batched product whose
result lies apart is torch's own product for one run, taken for each of them. Faster are the matrix library's own batch,
which has other bits for some shapes, such as a single output, and the compiled kernel: a trial finds what may be taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ravine._engine.chain import Layer, read_layers
from ravine._engine.forms import (
    AT_ONCE,
    ELEMENTWISE_PRODUCT,
    KERNEL,
    ONE_BY_ONE,
    RUN_AFTER_RUN,
    TRANSPOSED_PRODUCT,
    Forms,
)
from ravine._engine.gradients import ALIGNED_BYTES
from ravine._engine.on_batches import Trial
from ravine._kernel.layers import Layers, Tanh, make_layers, make_tanh
from ravine._problem.criteria import residual_functions
from ravine._problem.order import TorchValues, has_bits
from ravine._problem.problem import Problem
from ravine._torch import one_thread


def rows_apart(like: torch.Tensor, rows: int, numbers: int) -> torch.Tensor:
    """Return room for rows that begin where tensors of their own would, and never follow on one another."""
    step = ALIGNED_BYTES // like.element_size()
    return like.new_empty(rows, (numbers // step + 1) * step)[:, :numbers]


class Network:
    """The evaluation of such a chain.

    Called with positions (parameters, runs), where to write losses (runs,), whether gradients are wanted, and, where
    runs have batches of their own, inputs (runs, samples, features) and targets (runs, samples, outputs). A process
    that unpacks it chooses anew, for it may have another processor.
    """

    def __init__(self, problem: Problem, trials: Sequence[Trial]) -> None:
        self.problem, self.trials = problem, trials
        self._begin()

    def _begin(self) -> None:
        layers = read_layers(self.problem)
        assert layers is not None
        self.layers: Sequence[Layer] = layers
        self.forms = Forms()
        has_tanh = any(layer.activation is not None and layer.activation.is_tanh for layer in layers)
        self.compiled, self.tanh = make_layers(self.problem.like), make_tanh(self.problem.like) if has_tanh else None
        self.rooms: dict[tuple[int, int], Room] = {}
        for trial in self.trials:
            self._choose_forms(trial)
        self.rooms.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"problem": self.problem, "trials": self.trials}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with torch.no_grad(), one_thread():
            self._begin()

    def __call__(
        self, position: torch.Tensor, losses: torch.Tensor, gradients: bool = True, *own: torch.Tensor
    ) -> torch.Tensor | None:
        """Evaluate."""
        parts, runs = self.problem.parts, position.shape[1]
        assert parts is not None
        inputs, targets = own or (parts.inputs.expand(runs, -1, -1), parts.targets.reshape(1, -1))
        samples = inputs.shape[1]
        if (samples, runs) not in self.rooms:
            self.rooms = {key: room for key, room in self.rooms.items() if key[1] == runs}
            self.rooms[samples, runs] = Room(self.layers, self.problem, samples, runs)
        room = self.rooms[samples, runs]
        room.place(position, inputs if own else None)
        hidden = room.inputs if own else inputs
        for number, layer in enumerate(self.layers):
            hidden = self._forward(number, layer, room, hidden)
        losses_of, slopes_of = room.functions
        slopes = torch.sub(hidden.flatten(1), targets.reshape(len(targets), -1), out=room.slopes)
        torch.mean(losses_of(slopes, room.each), -1, out=losses)
        if not gradients:
            return None
        slope = slopes_of(slopes).view(runs, samples, -1)
        for number in reversed(range(len(self.layers))):
            slope = self._backward(number, room, slope, room.inputs if own else inputs)
        return room.gradient.T

    def _forward(self, number: int, layer: Layer, room: Room, hidden: torch.Tensor) -> torch.Tensor:
        weight, bias, product = room.weights[number], room.biases[number], room.given[number]

        def at_once(out: torch.Tensor) -> torch.Tensor:
            if bias is None:
                return torch.bmm(hidden, weight.mT, out=out)
            return torch.baddbmm(bias[:, None], hidden, weight.mT, out=out)

        def transposed() -> torch.Tensor:
            single = layer.outputs == 1  # which lie as they should
            out = product.dense.mT if single else room.transposed(layer.outputs, room.samples)
            if bias is None:
                torch.bmm(weight, hidden.mT, out=out)
            else:
                torch.baddbmm(bias[:, :, None], weight, hidden.mT, out=out)
            return product.dense if single else product.dense.copy_(out.mT)

        def one_by_one() -> torch.Tensor:
            for run, out in enumerate(product.apart):
                one, other = hidden[run], weight[run].t()
                torch.mm(one, other, out=out) if bias is None else torch.addmm(bias[run], one, other, out=out)
            return product.apart

        forms = {AT_ONCE: lambda: at_once(product.dense), TRANSPOSED_PRODUCT: transposed}
        if layer.outputs == 1:
            forms = {TRANSPOSED_PRODUCT: transposed, **forms}
        compiled = self._compiled(room.samples, layer.outputs, layer.inputs)
        if compiled is not None:
            forms = {KERNEL: lambda: compiled.multiply(hidden, weight.mT, product.dense, bias), **forms}
        forms |= {RUN_AFTER_RUN: lambda: at_once(product.apart), ONE_BY_ONE: one_by_one}
        room.outputs[number] = found = self.forms.take(room.samples, f"{number} forward", forms)
        if layer.activation is None:
            return found
        forward, active = layer.activation.forward, room.active[number]
        compiled_too = self.tanh if layer.activation.is_tanh else None
        return self._element_wise(room.samples, f"{number} activation", forward, active, found, compiled=compiled_too)

    def _compiled(self, rows: int, columns: int, terms: int) -> Layers | None:
        """Return the compiled products where there is one of such matrices."""
        return self.compiled if self.compiled is not None and self.compiled.takes(rows, columns, terms) else None

    def _backward(self, number: int, room: Room, slope: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        layer, weight = self.layers[number], room.weights[number]
        if layer.activation is not None:
            seen = room.active[number] if layer.activation.of_output else room.outputs[number]
            backward = layer.activation.backward
            slope = self._element_wise(room.samples, f"{number} slope", backward, room.slope[number], slope, seen)
        before = inputs if number == 0 else room.output(number - 1)
        self._by_weight(number, layer, room, slope, before)
        if layer.bias is not None:
            self._by_bias(number, room, slope, room.gradient[:, layer.bias])
        if number == 0:
            return slope
        product = room.back[number]

        def one_by_one() -> torch.Tensor:
            for run, out in enumerate(product.apart):
                torch.mm(slope[run], weight[run], out=out)
            return product.apart

        forms = {
            AT_ONCE: lambda: torch.bmm(slope, weight, out=product.dense),
            RUN_AFTER_RUN: lambda: torch.bmm(slope, weight, out=product.apart),
            ONE_BY_ONE: one_by_one,
        }
        if layer.outputs == 1:  # nothing is summed
            forms = {ELEMENTWISE_PRODUCT: lambda: torch.mul(slope, weight, out=product.dense), **forms}
        compiled = self._compiled(room.samples, layer.inputs, layer.outputs)
        if compiled is not None:
            forms = {KERNEL: lambda: compiled.multiply(slope, weight, product.dense), **forms}
        return self.forms.take(room.samples, f"{number} inputs", forms)

    def _by_weight(self, number: int, layer: Layer, room: Room, slope: torch.Tensor, before: torch.Tensor) -> None:
        place = room.gradient[:, layer.weight].view(len(slope), layer.outputs, layer.inputs)

        def at_once() -> torch.Tensor:
            return place.copy_(torch.bmm(slope.mT, before, out=room.by_weight[number].dense))

        def transposed() -> torch.Tensor:
            out = room.transposed(layer.inputs, layer.outputs)
            return place.copy_(torch.bmm(before.mT, slope, out=out).mT)

        def one_by_one() -> torch.Tensor:
            for run, out in enumerate(place):
                out.copy_(torch.mm(slope[run].t(), before[run]))
            return place

        forms = {AT_ONCE: at_once, TRANSPOSED_PRODUCT: transposed}
        if layer.outputs > layer.inputs:  # products with few rows, and many numbers in each, are the faster ones
            forms = {TRANSPOSED_PRODUCT: transposed, **forms}
        compiled = self._compiled(layer.outputs, layer.inputs, room.samples)
        if compiled is not None:
            forms = {KERNEL: lambda: compiled.multiply(slope.mT, before, place), **forms}
        forms |= {RUN_AFTER_RUN: lambda: torch.bmm(slope.mT, before, out=place), ONE_BY_ONE: one_by_one}
        self.forms.take(room.samples, f"{number} weight", forms)

    def _by_bias(self, number: int, room: Room, slope: torch.Tensor, place: torch.Tensor) -> None:
        def one_by_one() -> torch.Tensor:
            for run, out in enumerate(place):
                torch.sum(slope[run], 0, out=out)
            return place

        forms = {AT_ONCE: lambda: torch.sum(slope, 1, out=place), ONE_BY_ONE: one_by_one}
        self.forms.take(room.samples, f"{number} bias", forms)

    def _element_wise(
        self,
        samples: int,
        name: str,
        function: Callable[..., object],
        out: torch.Tensor,
        *given: torch.Tensor,
        compiled: Tanh | None = None,
    ) -> torch.Tensor:
        """Take a function of each element; where torch has another for a single run's, once for each run."""

        def at_once(function: Callable[..., object] = function) -> torch.Tensor:
            function(*(each.flatten(1) for each in given), out.flatten(1))
            return out

        def one_by_one() -> torch.Tensor:
            for run, row in enumerate(out):
                function(*(each[run] for each in given), row)
            return out

        forms = {AT_ONCE: at_once, ONE_BY_ONE: one_by_one}
        if compiled is not None:
            forms = {KERNEL: partial(at_once, compiled), **forms}
        return self.forms.take(samples, name, forms)

    def _choose_forms(self, trial: Trial) -> None:
        evaluate = self if trial.problem is self.problem else trial.by(self)
        evaluate(trial.values.position, trial.values.loss.clone(), True)

    def __str__(self) -> str:
        """Say in which ways its operations are taken."""
        return str(self.forms)


class Product:
    """Where a product of each run is written: with those of other runs in one piece, or apart from them."""

    def __init__(self, dense: torch.Tensor, apart: torch.Tensor, *shape: int) -> None:
        runs, numbers = len(apart), math.prod(shape)
        self.dense, self.apart = dense[: runs * numbers].view(runs, *shape), apart[:, :numbers].view(runs, *shape)


class Room:
    """Where the numbers of so many runs lie while a network is evaluated; used again and again.

    What is needed no more gives its place to the next: the less memory a run takes, the more of it stays close by.
    """

    def __init__(self, layers: Sequence[Layer], problem: Problem, samples: int, runs: int) -> None:
        parts, like = problem.parts, problem.like
        assert parts is not None
        self.layers, self.samples, self.runs = layers, samples, runs
        most = max(samples * max(layer.outputs, layer.inputs) for layer in layers)
        most = max(most, *(layer.outputs * layer.inputs for layer in layers))

        def apart(rows: int, columns: int) -> torch.Tensor:
            return rows_apart(like, runs, rows * columns).view(runs, rows, columns)

        def own(*shape: int) -> Product:
            numbers = math.prod(shape)
            return Product(like.new_empty(runs * numbers), rows_apart(like, runs, numbers), *shape)

        self.scratch, scratch_apart = like.new_empty(runs * most), rows_apart(like, runs, most)
        self.other_scratch, slope = like.new_empty(runs * most), rows_apart(like, runs, most)

        def passing(*shape: int) -> Product:
            return Product(self.scratch, scratch_apart, *shape)

        self.inputs = apart(samples, layers[0].inputs)
        self.weights = [apart(layer.outputs, layer.inputs) for layer in layers]
        self.biases = [None if layer.bias is None else rows_apart(like, runs, layer.outputs) for layer in layers]
        self.given = [
            passing(samples, layer.outputs) if layer.passes(layer is layers[-1]) else own(samples, layer.outputs)
            for layer in layers
        ]
        self.outputs = [each.dense for each in self.given]
        self.active = [apart(samples, layer.outputs) for layer in layers]
        self.slope = [Product(self.scratch, slope, samples, layer.outputs).apart for layer in layers]
        # what is worked out next from a slope that an activation has changed stands elsewhere
        self.back = [
            own(samples, layer.inputs) if before.activation is None else passing(samples, layer.inputs)
            for before, layer in zip([layers[0], *layers], layers, strict=False)
        ]
        self.by_weight = [passing(layer.outputs, layer.inputs) for layer in layers]
        self.gradient = like.new_empty(runs, problem.size)
        numbers = samples * layers[-1].outputs
        self.slopes, self.each = rows_apart(like, runs, numbers), like.new_empty(runs, numbers)
        functions = residual_functions(parts.criterion, like.new_empty(numbers))
        assert functions is not None
        self.functions = functions

    def transposed(self, rows: int, columns: int) -> torch.Tensor:
        """Return room for the transposed of a product."""
        return self.other_scratch[: self.runs * rows * columns].view(self.runs, rows, columns)

    def place(self, position: torch.Tensor, inputs: torch.Tensor | None) -> None:
        """Put parameters, and inputs that runs have of their own, where they are used."""
        rows = position.T
        for layer, weight, bias in zip(self.layers, self.weights, self.biases, strict=True):
            weight.flatten(1).copy_(rows[:, layer.weight])
            if bias is not None:
                bias.copy_(rows[:, layer.bias])
        if inputs is not None:
            self.inputs.copy_(inputs)

    def output(self, number: int) -> torch.Tensor:
        """Return what a layer gave, after its activation."""
        return self.outputs[number] if self.layers[number].activation is None else self.active[number]


def choose_network(problem: Problem, values: TorchValues) -> Network | None:
    """Return the evaluation of a problem, if it is such a chain and has every bit that torch gave."""
    if read_layers(problem) is None:
        return None
    with torch.no_grad(), one_thread():
        network = Network(problem, [Trial(problem, values)])
        return network if has_bits(network, values, values.count) else None
