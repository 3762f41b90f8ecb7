"""What a problem is made of when the data is a loader of batches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ravine._format import kind_of
from ravine._problem.batches import Batch, Batches, Weight, join, weigh
from ravine._problem.copies import attributes_kept, evaluation_mode, make_copy
from ravine._problem.criteria import Criterion, name_of
from ravine._problem.fit_data import explain_criterion, explain_refusal
from ravine._problem.over_batches import OWN, OverBatches
from ravine._problem.read_loader import is_loader, read_batches
from ravine._system import process_state
from ravine._torch import as_data, fork_random_state


@dataclass(frozen=True, eq=False)
class Loaded:
    """A module's copy, its criterion's, and the batches; `pair` holds all of them as one where they may be joined."""

    model: torch.nn.Module
    criterion: Criterion | None
    batches: Batches
    pair: tuple[torch.Tensor, torch.Tensor] | None
    loss: OverBatches
    start: Mapping[str, torch.Tensor]


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """Return the module itself of one that was wrapped to run in parallel, or compiled.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 1)
    >>> unwrap(torch.nn.DataParallel(layer)) is layer
    True
    """
    while True:
        if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), torch.nn.Module):
            model = inner
        else:
            return model


def copy_model(model: torch.nn.Module) -> tuple[torch.nn.Module, bool]:
    """Return a copy of a module, or itself where there is none (it holds a lock, say), and whether it is itself."""
    try:
        with process_state():
            return make_copy(model), False
    except Exception:
        return model, True


def load(
    model: torch.nn.Module,
    criterion: Criterion | None,
    loader: Any,
    mode: Literal["eval", "train"],
    samples: int | None,
    weight: Weight | None,
) -> Loaded:
    """Collate a loader's batches, find what their losses count, and join them where that is the same loss."""
    if not is_loader(loader):
        raise TypeError(f"data must be a pair (inputs, targets), or a loader of batches, got {kind_of(loader)}")
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    batches = read_batches(loader, device, samples)
    for number, item in enumerate(batches.items):
        _check_finite(item, number)
    own, shared = copy_model(model)
    with process_state():
        judge = None if criterion is None else make_copy(criterion)
    start = {name: each for name, each in own.named_parameters() if each.requires_grad}
    start |= own_parameters(judge)
    if not start:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to optimize")
    begun = {name: each.detach().clone() for name, each in start.items()}
    unweighed = OverBatches.of(own, judge, batches, mode, shared=shared)

    def loss(item: Batch) -> torch.Tensor:
        found = unweighed.of_batch(item, begun)
        if not torch.is_tensor(found) or found.numel() != 1:
            who = "the model" if judge is None else name_of(judge)
            shape = f"shape {tuple(found.shape)}" if torch.is_tensor(found) else type(found).__name__
            raise ValueError(f'{who} gives no scalar loss of a batch, but {shape}: use reduction="mean" or "sum"')
        return found

    with torch.no_grad(), process_state(), fork_random_state(), attributes_kept(own):
        modes = [(each, each.training) for each in own.modules()]
        if mode == "eval":
            own.eval()
        try:
            batches, joined = weigh(batches, loss, weight, images=_convolves(own))
        except (RuntimeError, IndexError) as reason:
            raise _explain(own, judge, batches.items[0], reason) from reason
        finally:
            for each, training in modes:
                each.training = training
    pair = None
    if joined and judge is not None and not shared:
        pair, batches = join(batches)
    return Loaded(own, judge, batches, pair, replace(unweighed, batches=batches), start)


def _convolves(model: torch.nn.Module) -> bool:
    return any(isinstance(each, torch.nn.Conv2d | torch.nn.Conv3d) for each in model.modules())


def own_parameters(criterion: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that a criterion has of its own, as one that learns the weights of its terms does."""
    if not isinstance(criterion, torch.nn.Module):
        return {}
    return {f"{OWN}{name}": value for name, value in criterion.named_parameters() if value.requires_grad}


def _check_finite(item: Batch, number: int) -> None:
    """Refuse pairs that hold values that are not finite; a mapping may hold masks of -inf."""
    if isinstance(item, tuple):
        for name, each in zip(("inputs", "targets"), item, strict=True):
            if torch.is_tensor(each):
                as_data(f"{name} of batch {number}", each)


def _explain(model: torch.nn.Module, criterion: Any, item: Batch, reason: Exception) -> Exception:
    """Say what does not take what, where a batch is a pair of tensors; else pass on what torch says."""
    if not (isinstance(item, tuple) and all(map(torch.is_tensor, item))) or criterion is None:
        return reason
    inputs, targets = item
    try:
        with torch.no_grad(), fork_random_state(), evaluation_mode(model):
            output = model(inputs)
    except RuntimeError:
        return explain_refusal(model, inputs, reason)
    if type(criterion).__module__.startswith("torch.nn"):
        return explain_criterion(criterion, output, targets, reason)
    return reason
