"""A problem's loss at one place after another, on a private copy whose parameters are written over."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ravine._problem.accuracy import WatchHits
from ravine._problem.batches import Batches, rows_of
from ravine._problem.check_fit import scalar
from ravine._problem.compiled_tanh import compile_tanh
from ravine._problem.copies import attributes_kept, buffers_kept, evaluation_mode, keeps_state, make_copy
from ravine._problem.cross_entropy import ClassesFirst, is_cross_entropy
from ravine._problem.first_layer import FirstLayer, find_layer
from ravine._problem.from_loader import own_parameters
from ravine._problem.over_batches import OverBatches, loss_of_batch
from ravine._problem.problem import Problem
from ravine._system import process_state
from ravine._torch import fork_random_state, keep_freed_memory

Statistics = Literal["frozen", "batch"]
"""Where BatchNorm takes mean and variance from: the model as it was handed over, or the data at each place."""


CHANNELS = 4
"""Channels from which on a convolution takes them last."""

Keeper = Callable[[], AbstractContextManager[Any]]
"""What is put back after each evaluation."""


class InPlace:
    """The loss of a problem, evaluated at one place after another in a copy of its own.

    A module is copied once and its parameters are written over: that costs nothing beside a call of it, and the bits
    are those of setting the parameters and calling the model on each batch. Batches that were joined are evaluated in
    the layout that is fastest, which may add up in another order as joining does. A module that cannot be copied is
    called by `torch.func.functional_call`, and its modes are put back. The loss is added up over batches in float64.

    Parameters
    ----------
    problem
        Any problem.
    statistics
        Where BatchNorm takes its statistics from.
    names
        The parameters that a place is made of, in its order; the others stay at the problem's start. All if left out.

    Attributes
    ----------
    statistics
        As given; None where the model has no BatchNorm.
    draws
        Whether the loss draws random numbers as it is evaluated, found by evaluating it twice. Then the same ones are
        drawn at each place.

    Examples
    --------
    >>> import ravine
    >>> bowl = InPlace(ravine.gallery.quadratic(condition=4), "frozen")
    >>> bowl.at(torch.tensor([2.0, 1.0]))
    2.0
    """

    def __init__(self, problem: Problem, statistics: Statistics, names: Sequence[str] | None = None) -> None:
        start = problem.start
        self.leaves: list[torch.Tensor] = []
        self.buffers: Mapping[str, torch.Tensor] = {}
        self._keepers: list[Keeper] = []
        self.sizes = [value.numel() for value in start.values()]
        self.batches: Batches | None = None
        self.classes_first: ClassesFirst | None = None
        """The cross entropy of joined batches, where it is taken with the classes first."""
        self._joined: tuple[Any, list[Any]] | None = None
        """The copy of the module and its inputs, where all batches were joined."""
        if problem.parts is not None or (isinstance(problem.loss, OverBatches) and not problem.loss.shared):
            self._of_module(problem, statistics)
        elif isinstance(problem.loss, OverBatches):
            self._of_shared(problem.loss, problem, statistics)
        else:
            self._of_function(problem)
        for leaf in self.leaves:
            leaf.requires_grad_(False)
        self.move_to(torch.cat([value.reshape(-1).double() for value in start.values()]))
        if names is not None:
            chosen = dict(zip(start, self.leaves, strict=True))
            self.leaves = [chosen[name] for name in names]
            self.sizes = [leaf.numel() for leaf in self.leaves]
        self.draws = self._is_random()

    @property
    def is_sample(self) -> bool:
        """Whether the data is a sample of all."""
        return self.batches is not None and self.batches.drawn < self.batches.rows

    def at(self, place: torch.Tensor) -> float:
        """Return the loss at a place."""
        self.move_to(place)
        return self.value()

    def move_to(self, place: torch.Tensor) -> None:
        """Write a place, all parameters in one vector, over those that are there: rounded once to their dtype."""
        with torch.no_grad():
            for leaf, piece in zip(self.leaves, torch.split(place, self.sizes), strict=True):
                leaf.copy_(piece.view_as(leaf))

    def value(self) -> float:
        """Return the loss where the parameters now are; a loss that draws random numbers draws the same ones again."""
        with torch.no_grad(), self._kept(), fork_random_state() if self.draws else nullcontext():
            return self._once()

    def find_first_layer(self, direction: torch.Tensor) -> FirstLayer | None:
        """Find the model's first layer, to be followed along a direction; only of batches that were joined."""
        if self._joined is None:
            return None
        with torch.no_grad(), self._kept(), buffers_kept(self._joined[0]), fork_random_state():
            found = find_layer(*self._joined, self.leaves)
            if found is not None:
                before = [leaf.clone() for leaf in self.leaves]
                self.move_to(direction)
                found.set_direction()
                self.move_to(torch.cat([each.reshape(-1).double() for each in before]))
        return found

    @contextmanager
    def with_buffers(self, values: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Have other numbers in the model's buffers meanwhile; names that it does not have are left out."""
        before = {name: self.buffers[name].clone() for name in values.keys() & self.buffers.keys()}
        with torch.no_grad():
            for name in before:
                self.buffers[name].copy_(values[name].view(before[name].shape))
            try:
                yield
            finally:
                for name, numbers in before.items():
                    self.buffers[name].copy_(numbers)

    def value_and_accuracy(self) -> tuple[float, float]:
        """Return the loss here, and the share of targets that are right; NaN where the loss compares no classes."""
        with WatchHits() as watch:
            found = self.value()
        batches = self.batches
        calls = 1 if batches is None else sum(batches.summed or count > 0 for count in batches.counts)
        return found, watch.share(calls)

    def standard_error(self) -> float:
        """Return the standard error of the loss here, 0 unless the data is a sample."""
        if self.batches is None:
            return 0.0
        with torch.no_grad(), self._kept(), fork_random_state():
            return self.batches.standard_error(self._of_batch)

    # -- how it is evaluated ---------------------------------------------------------------------------------------

    def _of_module(self, problem: Problem, statistics: Statistics) -> None:
        keep_freed_memory()
        parts, loss = problem.parts, problem.loss
        held: Any = parts if parts is not None else loss
        with process_state():
            model, criterion = make_copy(held.model), make_copy(held.criterion)
        if model is not held.model:
            compile_tanh(model)
        named = dict(model.named_parameters()) | own_parameters(criterion)
        self.leaves = [named[name] for name in problem.start]
        if held.mode == "eval":
            model.eval()
        norms = [each for each in model.modules() if _is_norm(each)]
        self.statistics = statistics if norms else None
        if statistics == "batch":
            for each in norms:  # without any it takes those of the data
                each.running_mean = each.running_var = None
        if held.batches is not None:
            items = held.batches.items
        else:
            assert parts is not None
            items = ((parts.inputs, parts.targets),)
        dealt = parts.dealt if parts is not None else 0
        joined = dealt > 0 and all(rows_of(item) > dealt for item in items)
        if joined and _suits_channels_last(model, items):
            items = _with_channels_last(model, items)
        if joined:
            self._joined = model, [inputs for inputs, _ in items]
        self.buffers = dict(model.named_buffers())
        self.batches = held.batches and held.batches.of(items)
        stateful = parts.stateful if parts is not None else _is_stateful(criterion, model, items)

        one = items[0]
        if dealt and not stateful and is_cross_entropy(criterion):
            faster = ClassesFirst(criterion, dealt)
            with process_state(), attributes_kept(model), buffers_kept(model), torch.no_grad(), fork_random_state():
                several = [item for item in items if rows_of(item) > dealt]
                if several and all(faster.agrees(model(inputs), targets) for inputs, targets in several):
                    self.classes_first = criterion = faster

        def of_batch(item: Any) -> torch.Tensor:
            return scalar(loss_of_batch(model, make_copy(criterion) if stateful else criterion, item))

        self._of_batch = of_batch
        self._once = functools.partial(self.batches.value, of_batch) if self.batches else lambda: float(of_batch(one))
        writes = next(model.buffers(), None) is not None and held.mode == "train"
        if _leaves_traces(model, lambda: of_batch(one)):
            self._keepers.append(lambda: attributes_kept(model, criterion))
        if writes:
            self._keepers.append(lambda: buffers_kept(model, criterion))

    def _of_shared(self, loss: OverBatches, problem: Problem, statistics: Statistics) -> None:
        leaves = {name: value.clone() for name, value in problem.start.items()}
        self.leaves = list(leaves.values())
        norms = [each for each in loss.model.modules() if _is_norm(each)]
        self.statistics = statistics if norms else None
        self.batches = loss.batches
        loss = replace(loss, held={name: value.clone() for name, value in loss.held.items()})
        self.buffers = loss.held

        def of_batch(item: Any) -> torch.Tensor:
            return scalar(loss.of_batch(item, leaves))

        @contextmanager
        def alone() -> Iterator[None]:
            mode = evaluation_mode(loss.model) if loss.mode == "eval" else nullcontext()
            with process_state(), attributes_kept(loss.model), mode:
                if statistics == "batch" and loss.mode == "eval":
                    for each in norms:  # it then writes its running statistics into clones
                        each.training = True
                yield

        self._of_batch = of_batch
        self._once = functools.partial(loss.batches.value, of_batch)
        self._keepers = [alone]

    def _of_function(self, problem: Problem) -> None:
        leaves = {name: value.clone() for name, value in problem.start.items()}
        self.leaves = list(leaves.values())
        self.statistics = None
        self._once = lambda: float(scalar(problem.loss(leaves)))

    @contextmanager
    def _kept(self) -> Iterator[None]:
        with ExitStack() as stack:
            for keep in self._keepers:
                stack.enter_context(keep())
            yield

    def _is_random(self) -> bool:
        """Evaluate twice: a loss that draws random numbers is another one, or leaves the generator elsewhere."""
        with torch.no_grad(), fork_random_state():
            before = torch.get_rng_state()
            with self._kept():
                one = self._once()
            moved = not torch.equal(before, torch.get_rng_state())
            with self._kept():
                other = self._once()
        return moved or (one != other and (one == one or other == other))


def _is_norm(module: torch.nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _suits_channels_last(model: torch.nn.Module, items: Sequence[Any]) -> bool:
    """Tell whether there are convolutions of images, which are faster with the channels last; not transposed ones.

    Sums are then added up in another order: it is for joined batches.
    """
    kinds = {type(each) for each in model.modules()}
    if torch.nn.Conv2d not in kinds or torch.nn.ConvTranspose2d in kinds:
        return False
    return all(
        isinstance(item, tuple) and torch.is_tensor(item[0]) and item[0].ndim == 4 and item[0].is_floating_point()
        for item in items
    )


def _with_channels_last(model: Any, items: Sequence[Any]) -> tuple[Any, ...]:
    """Put the channels last, but for those of grey and coloured images: of so few a convolution is slower that way."""
    model.to(memory_format=torch.channels_last)
    few: list[Any] = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels < CHANNELS]
    for each in few:
        each.to(memory_format=torch.contiguous_format)
    last = torch.channels_last
    return tuple((x if x.shape[1] < CHANNELS else x.contiguous(memory_format=last), y) for x, y in items)


def _leaves_traces(model: torch.nn.Module, call: Callable[[], Any]) -> bool:
    """Tell whether a call writes into the modules' attributes."""
    before = [dict(vars(each)) for each in model.modules()]
    with torch.no_grad(), fork_random_state():
        call()
    return any(
        now.keys() != then.keys() or any(now[name] is not then[name] for name in then)
        for now, then in zip(map(vars, model.modules()), before, strict=True)
    )


def _is_stateful(criterion: Any, model: torch.nn.Module, items: Sequence[Any]) -> bool:
    if criterion is None or type(criterion).__module__.startswith("torch.nn."):
        return False
    with process_state(), torch.no_grad(), fork_random_state():
        return keeps_state(criterion, lambda each: loss_of_batch(model, each, items[0]))
