"""The first layer of a model along a line of its parameters: its outputs are a straight line too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ravine._torch import is_plain

FAN_IN = 8
"""Inputs of one output from which on adding up is more work than going along a line."""

MOST = 1 << 26
"""Bytes of outputs that are held at most, twice."""


class FirstLayer:
    """A linear layer or a convolution that is called once with a batch as it is, and what it gives along a line.

    Its class is torch's own, and nothing hangs on it. While a line is followed its `forward` gives the outputs there
    for the batches that are known; for anything else it is called as it is, with the parameters that are there.

    Parameters
    ----------
    layer
        Found by `find_layer`.
    inputs
        What it is called with, for each batch.
    """

    def __init__(self, layer: Any, inputs: Sequence[torch.Tensor]) -> None:
        self.layer, self.inputs = layer, list(inputs)
        self.x = 0.0
        self._slopes: list[torch.Tensor] = []
        self._starts: list[torch.Tensor] = []
        self._known = {_key(each): k for k, each in enumerate(self.inputs)}

    def set_direction(self) -> None:
        """Take what is in the layer's parameters as the direction of lines."""
        self._slopes = self._outputs()

    @contextmanager
    def line(self) -> Iterator[None]:
        """Have the outputs at `x` along the line that begins where the parameters are."""
        self._starts = self._outputs()
        self.layer.forward = self._forward
        try:
            yield
        finally:
            del self.layer.forward

    def _outputs(self) -> list[torch.Tensor]:
        return [type(self.layer).forward(self.layer, each) for each in self.inputs]

    def _forward(self, given: torch.Tensor) -> torch.Tensor:
        k = self._known.get(_key(given))
        if k is None:
            found: torch.Tensor = type(self.layer).forward(self.layer, given)
            return found
        return torch.add(self._starts[k], self._slopes[k], alpha=self.x)


def find_layer(model: Any, batches: Sequence[torch.Tensor], moved: Sequence[torch.Tensor]) -> FirstLayer | None:
    """Find the layer that takes each batch as it is, or laid flat, if it is all moved along with `moved`."""
    if not all(torch.is_tensor(each) and each.is_floating_point() and not each.requires_grad for each in batches):
        return None
    found, inputs = None, []
    for batch in batches:
        calls = _watch(model, batch)
        if len(calls) != 1 or found not in (None, calls[0][0]):
            return None
        found = calls[0][0]
        inputs.append(calls[0][1])
    if found is None or not _has_weight_and_bias(found):
        return None
    held = [*found.parameters()]
    if held[0][0].numel() < FAN_IN or not {*map(id, held)} <= {id(each) for each in moved}:
        return None
    largest = type(found).forward(found, max(inputs, key=torch.numel)).nbytes
    return FirstLayer(found, inputs) if largest * len(inputs) <= MOST else None


def _watch(model: Any, batch: torch.Tensor) -> list[tuple[Any, torch.Tensor]]:
    """Call a model, and tell which layers were called with the numbers of the batch where they lie, and with which.

    None where the model writes to its parameters, before it calls such a layer or afterwards: where weights are clipped
    outputs are no straight line.
    """
    calls: list[tuple[Any, torch.Tensor]] = []
    several = set[int]()
    counts: dict[int, int] = {}

    def versions() -> list[tuple[int, int]]:
        return [(each.data_ptr(), each._version) for each in (batch, *model.parameters())]

    def note(layer: Any, args: Any, kwargs: Any) -> None:
        counts[id(layer)] = counts.get(id(layer), 0) + 1
        if len(args) == 1 and not kwargs and torch.is_tensor(args[0]) and _lies_in(args[0], batch):
            calls.append((layer, args[0]))
            seen.append(versions())
        if counts[id(layer)] > 1:
            several.add(id(layer))

    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    layers = [each for each in model.modules() if type(each) in kinds and _has_weight_and_bias(each)]
    seen = [versions()]
    handles: list[Any] = [each.register_forward_pre_hook(note, with_kwargs=True) for each in layers]
    try:
        model(batch)
    finally:
        for each in handles:
            each.remove()
    if any(each != seen[0] for each in (*seen, versions())) or any(id(layer) in several for layer, _ in calls):
        return []
    return calls


def _has_weight_and_bias(layer: Any) -> bool:
    """Tell whether a layer is no more than its class makes it."""
    return is_plain(layer) and {*layer._parameters} == {"weight", "bias"}


def _lies_in(given: torch.Tensor, batch: torch.Tensor) -> bool:
    """Tell whether a tensor is a batch, or the same numbers in another shape."""
    if given is batch:
        return True
    same = given.data_ptr() == batch.data_ptr() and given.numel() == batch.numel() and given.dtype == batch.dtype
    return same and len(given) == len(batch) and given.is_contiguous() and batch.is_contiguous()


def _key(given: torch.Tensor) -> tuple[Any, ...]:
    return given.data_ptr(), given.shape, given.stride(), given.dtype
