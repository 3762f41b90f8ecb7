"""What a problem of a module is made of, and its loss as a function of named parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ravine._problem.batches import Batches
from ravine._problem.copies import attributes_kept, evaluation_mode, keeps_state, make_copy
from ravine._problem.criteria import Criterion
from ravine._problem.from_loader import own_parameters
from ravine._problem.over_batches import OWN, OverBatches
from ravine._system import process_state
from ravine._torch import call_with, set_seed

Mode = Literal["eval", "train"]
Loss = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a problem was made of, so that faster engines can recognise it.

    `mode` says in which mode the loss is evaluated; `columns` names the inputs of a linear neuron, and `scales` holds
    mean and deviation that inputs and target had before they were standardized; `changes` says what was changed of the
    data so that the model takes it. Data of a loader that is evaluated batch by batch has its `batches`, views of it;
    `dealt` is how many samples the loader gave at once, 0 where there was none.
    """

    model: torch.nn.Module
    criterion: Criterion
    inputs: torch.Tensor
    targets: torch.Tensor
    names: tuple[str, str] = ("x", "y")
    mode: Mode = "eval"
    columns: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    scales: tuple[tuple[float, float], ...] = ()
    batches: Batches | None = None
    dealt: int = 0

    @property
    def first(self) -> Parts:
        """The same with the first batch alone, where there are several: enough to try what fits together."""
        if self.batches is None:
            return self
        inputs, targets = self.batches.items[0]
        return replace(self, inputs=inputs, targets=targets, batches=None)

    def alike_but_criterion(self, others: Iterable[Parts]) -> bool:
        """Tell whether these and all others differ in their criterion alone."""
        different = [each for each in others if each is not self]
        with process_state():
            mine, *states = [each.model.state_dict() for each in (self, *different)]
        model = repr(self.model)
        return all(
            repr(other.model) == model
            and self.model.training == other.model.training
            and self.mode == other.mode
            and mine.keys() == theirs.keys()
            and all(_same(mine[name], theirs[name]) for name in mine)
            and _same(self.inputs, other.inputs)
            and _same(self.targets, other.targets)
            for other, theirs in zip(different, states, strict=True)
        )

    @property
    def apart(self) -> bool:
        """Whether the loss is another number than what the model trains on: it has dropout or BatchNorm, say."""
        return self.mode == "eval" and self.mode_matters

    @functools.cached_property
    def mode_matters(self) -> bool:
        """Whether the model does anything else in eval mode than in its own.

        It is called in both: its output, its buffers, or whether it draws random numbers must differ.
        """
        if not any(each.training for each in self.model.modules()):
            return False
        with process_state():
            own, still = make_copy(self.model), make_copy(self.model)
        with (
            process_state(),
            torch.enable_grad(),
            torch.random.fork_rng(),
        ):  # some layers take a shortcut without gradients
            seen = []
            for model, mode in ((own, nullcontext()), (still, evaluation_mode(still))):
                set_seed(0)
                with mode:
                    output = model(self.first.inputs)
                seen.append((_tensors(output), list(model.buffers()), [torch.get_rng_state()]))
        return not all(
            len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))
            for one, other in zip(*seen, strict=True)
        )

    @functools.cached_property
    def leaves_traces(self) -> bool:
        """Whether a forward pass writes into the model: its buffers, or attributes that it keeps."""
        if next(self.evaluated.buffers(), None) is not None:
            return True
        with process_state(), torch.no_grad(), torch.random.fork_rng():
            model = make_copy(self.evaluated)
            before = [dict(vars(each)) for each in model.modules()]
            model(self.first.inputs)
        return any(
            now.keys() != then.keys() or any(now[name] is not then[name] for name in then)
            for now, then in zip(map(vars, model.modules()), before, strict=True)
        )

    @functools.cached_property
    def evaluated(self) -> torch.nn.Module:
        """The model in the mode that the loss is evaluated in."""
        if not self.apart:
            return self.model
        still: torch.nn.Module = make_copy(self.model)
        return still.eval()

    @functools.cached_property
    def stateful(self) -> bool:
        """Whether the criterion changes when it is called, as one with a running mean does."""
        if type(self.criterion).__module__.startswith("torch.nn."):
            return False
        with process_state(), torch.no_grad(), torch.random.fork_rng():
            first = self.first
            output = call(first, dict(self.model.named_parameters()))
            return keeps_state(self.criterion, lambda criterion: criterion(output, first.targets))

    @property
    def criterion_now(self) -> Criterion:
        """The criterion for one evaluation: a copy where it would be another one afterwards."""
        criterion: Criterion = make_copy(self.criterion) if self.stateful else self.criterion
        return criterion


def loss_of(parts: Parts) -> Loss:
    """Return the loss as a function of named parameters; it leaves module and criterion as they were."""
    if parts.batches is not None:
        return OverBatches.of(parts.model, parts.criterion, parts.batches, parts.mode)
    return lambda parameters: loss_on(parts, parameters, parts.inputs, parts.targets)


def loss_on(
    parts: Parts, parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the loss on some data with these parameters, those of the criterion among them."""
    if not own_parameters(parts.criterion):
        return parts.criterion_now(call(parts, parameters, inputs), targets)
    own = {name.removeprefix(OWN): value for name, value in parameters.items() if name.startswith(OWN)}
    output = call(parts, {name: value for name, value in parameters.items() if not name.startswith(OWN)}, inputs)
    criterion: Any = parts.criterion_now
    found: torch.Tensor = call_with(criterion, own, (output, targets))
    return found


def call(parts: Parts, parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor | None = None) -> torch.Tensor:
    """Return the module's output with these parameters, on the whole data if no other is given."""
    model = parts.evaluated
    # the module is the one that all threads see, and holds other parameters while it is called
    with process_state(), attributes_kept(model):
        # buffers are cloned at each call: a BatchNorm in train mode writes into them
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        output: torch.Tensor = call_with(
            model, {**parameters, **buffers}, (parts.inputs if inputs is None else inputs,)
        )
    return output


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    inner = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for each in inner for tensor in _tensors(each)]


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))
