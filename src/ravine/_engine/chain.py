"""Which models are chains of linear layers and element-wise activations, and what their layers are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ravine._engine.activations import Activation, read_activation
from ravine._problem.criteria import residual_functions
from ravine._problem.problem import Problem
from ravine._torch import is_plain


@dataclass(frozen=True)
class Layer:
    """A linear layer, where its numbers lie among all parameters, and the activation that follows it."""

    outputs: int
    inputs: int
    weight: slice
    bias: slice | None = None
    activation: Activation | None = None

    def passes(self, last: bool) -> bool:
        """Tell whether nobody asks for its product again once the next step is worked out from it."""
        return last if self.activation is None else self.activation.of_output


def read_layers(problem: Problem) -> list[Layer] | None:
    """Return the layers of a problem whose gradient can be written out; None where the model is another."""
    parts = problem.parts
    if parts is None or parts.batches is not None or parts.inputs.ndim != 2 or parts.targets.ndim != 2:
        return None
    if residual_functions(parts.criterion, parts.targets.reshape(-1)) is None:
        return None
    places, first = dict[str, slice](), 0
    for name, value in problem.start.items():
        places[name], first = slice(first, first + value.numel()), first + value.numel()
    layers, used = list[Layer](), list[str]()
    for prefix, module in _in_turn("", parts.model):
        if not is_plain(module):
            return None
        if type(module) is torch.nn.Linear:
            names = [f"{prefix}{name}" for name, _ in module.named_parameters()]  # weight, then bias
            if not places.keys() >= set(names):  # frozen, or a layer that is called twice
                return None
            weight, *bias = (places[name] for name in names)
            layers.append(Layer(module.out_features, module.in_features, weight, bias[0] if bias else None))
            used += names
            continue
        activation = read_activation(module)
        if activation is None or not layers or layers[-1].activation is not None:
            return None
        layers[-1] = replace(layers[-1], activation=activation)
    whole = bool(layers) and set(used) == set(places)
    return layers if whole and parts.targets.shape == (len(parts.inputs), layers[-1].outputs) else None


def _in_turn(prefix: str, module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Walk through the modules that are called, with what their parameters' names begin with."""
    if type(module) is not torch.nn.Sequential or not is_plain(module):
        yield prefix, module
        return
    for name, each in module._modules.items():  # one that is called twice comes twice
        assert each is not None
        yield from _in_turn(f"{prefix}{name}.", each)
