"""One step: the loss, its gradient, what is recorded of it, and the optimizer's own `step`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from ravine._descent.run_spec import RunSpec
from ravine._descent.trace import Trace
from ravine._descent.treat import Gradients
from ravine._problem.check_fit import scalar
from ravine._problem.live import Live


class StepFailedError(Exception):
    """The optimizer's own step failed, not the loss."""

    def __init__(self, refused: Exception) -> None:
        super().__init__(str(refused))
        self.refused = refused


def take_step(
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    trace: Trace,
    gradients: Gradients | None,
) -> torch.Tensor:
    """Take one step and return the loss where it began."""
    leaves = live.leaves.values()
    for leaf in leaves:
        leaf.grad = None
    loss = live.loss() if batch is None else live.loss_of(*batch)
    _differentiate(scalar(loss), leaves, create_graph=spec.create_graph)
    if gradients is not None:
        trace.norms.append(gradients.treat(leaves))
    seen = loss.detach().clone()  # a loss that is a parameter itself, or a view of one, moves with it
    _record_gradients(trace, spec, leaves)  # before the step: foreach with nesterov overwrites p.grad
    if trace.at_end:
        trace.moves |= any(_share(loss, leaf) for leaf in leaves)
    if handed is not live.leaves:
        for alias, leaf in zip(handed.values(), leaves, strict=True):
            alias.grad = leaf.grad
    try:
        rule.step()
    except Exception as reason:
        raise StepFailedError(_worded(reason, rule)) from None
    return seen


def step_with_closure(
    live: Live,
    rule: torch.optim.Optimizer,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    trace: Trace,
    gradients: Gradients | None,
) -> torch.Tensor:
    """One step of an optimizer that evaluates the loss as often as it likes; the first is that at the position."""
    first: list[torch.Tensor] = []

    def keep_first(loss: torch.Tensor, norm: float) -> None:
        if not first:
            if gradients is not None:
                trace.norms.append(norm)
            first.append(loss.clone())
            _record_gradients(trace, spec, live.leaves.values())

    closure = make_closure(live, handed, batch, spec, gradients, keep_first)
    if trace.closure == "after backward":
        closure()
    else:
        for leaf in live.leaves.values():
            leaf.grad = None
    try:
        rule.step(closure)  # type: ignore[arg-type]
    except Exception as reason:
        raise StepFailedError(_worded(reason, rule)) from None
    if not first:
        raise RuntimeError(f"{type(rule).__name__} asked for a closure and never called it")
    return first[0]


def _worded(reason: Exception, rule: torch.optim.Optimizer) -> Exception:
    if isinstance(reason, NotImplementedError) and not str(reason):
        return NotImplementedError(f"{type(rule).__name__} has no step() of its own: no loop of steps can run it")
    return reason


def make_closure(
    live: Live,
    handed: Mapping[str, torch.Tensor],
    batch: Any,
    spec: RunSpec,
    gradients: Gradients | None,
    keep: Callable[[torch.Tensor, float], None] = lambda loss, norm: None,
) -> Callable[[], torch.Tensor]:
    """Return what evaluates the loss and puts gradients on the leaves; `keep` is shown each loss, and their norm."""
    leaves = live.leaves.values()

    def closure() -> torch.Tensor:
        for leaf in leaves:
            leaf.grad = None
        with torch.enable_grad():
            loss = live.loss() if batch is None else live.loss_of(*batch)
            _differentiate(scalar(loss), leaves, create_graph=spec.create_graph)
        keep(loss.detach(), torch.nan if gradients is None else gradients.treat(leaves))
        if handed is not live.leaves:
            for alias, leaf in zip(handed.values(), leaves, strict=True):
                alias.grad = leaf.grad
        return loss

    return closure


def _differentiate(loss: torch.Tensor, leaves: Collection[torch.Tensor], *, create_graph: bool) -> None:
    if not loss.requires_grad:
        raise ValueError(
            f"the loss, {loss.item():g}, depends on no parameter: compute it with torch from the parameters that it is "
            "given, without .detach(), .item() or numpy"
        )
    if not create_graph:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    # backward(create_graph=True) gives the same numbers, with a warning at each step
    gradients = torch.autograd.grad(loss, list(leaves), create_graph=True, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient


def _share(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _record_gradients(trace: Trace, spec: RunSpec, leaves: Collection[torch.Tensor]) -> None:
    if "gradient" in spec.also and trace.keeps:
        trace.gradients.add(read_gradients(leaves, trace))
    if trace.at_end:
        trace.end_gradients.append(read_gradients(leaves, trace))


def read_gradients(leaves: Collection[torch.Tensor], trace: Trace) -> list[torch.Tensor]:
    """Return copies of the gradients that stand at the leaves, dense, and note whether one was sparse."""
    found = []
    for leaf in leaves:
        if leaf.grad is None:
            found.append(torch.zeros_like(leaf))
        else:
            trace.sparse |= leaf.grad.layout != torch.strided
            found.append(_copy_of(leaf.grad))
    return found


def read_velocity(rule: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    """Return a copy of torch's momentum buffer of one parameter; NaN before there is one."""
    buffer = rule.state.get(parameter, {}).get("momentum_buffer")
    return torch.full_like(parameter, torch.nan) if buffer is None else _copy_of(buffer)


def _copy_of(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor, dense and without its graph; most have none, and to detach them is as dear as to copy them."""
    held = tensor.detach() if tensor.requires_grad else tensor
    return (held if held.layout == torch.strided else held.to_dense()).clone()
