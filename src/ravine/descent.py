"""descend: one run of a real torch optimizer, every step recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine import study
from ravine.parts import Parts
from ravine.problem import Problem, dimension, scalar
from ravine.words import hint, listed

__all__ = ["descend"]

Optimizer = Callable[..., torch.optim.Optimizer]

HOW_NOT_WHAT = frozenset({"foreach", "fused", "differentiable", "capturable"})
"""Settings that choose an implementation, not a path; they are kept in the provenance alone."""

DRAWABLE = 10_000
"""Numbers in inputs or targets up to which the data travels with a run, so that it can be drawn."""

LABELLED = 10_000
"""Parameters up to which each has a label of its own; beyond, they are numbered."""


def descend(
    problem: Problem | Mapping[str, Problem],
    optimizer: Optimizer = torch.optim.SGD,
    steps: int = 100,
    *,
    also: Collection[str] = (),
    throw: bool = False,
    **settings: Any,
) -> xr.Dataset:
    r"""Run a torch optimizer and record where it went.

    For the default optimizer, one step with gradient :math:`g`, weight decay :math:`\lambda`, momentum
    :math:`\mu` and dampening :math:`\tau` is

    .. math::
        g \leftarrow g + \lambda\theta,\quad v \leftarrow \mu v + (1-\tau) g,\quad
        \theta \leftarrow \theta - \eta\,(g + \mu v \text{ if nesterov else } v)

    with an undamped :math:`v = g` at the first step.

    Parameters
    ----------
    problem
        A problem, or a mapping of label to problem: these become the dimension ``criterion`` where only the
        criterion differs, else ``problem``.
    optimizer
        The class, called as ``optimizer(parameters, **settings)``. It is the real one that takes the steps.
    steps
        Number of optimizer steps; ``loss`` and ``position`` have one entry more, the start.
    also
        What else to record: ``"gradient"``, ``"velocity"`` (torch's ``momentum_buffer``).
    throw
        Raise when the loss is no longer finite. Otherwise the inf and NaN that torch produced are kept.
    **settings
        The optimizer's own settings under torch's names.

    Returns
    -------
    xarray.Dataset
        ``position`` (…, step, parameter) and ``loss`` (…, step) in the problem's dtype, the settings as
        coordinates, and where the data is small enough ``inputs``, ``targets``, ``prediction`` (…, sample).

    Raises
    ------
    ValueError
        If a setting is unknown to the optimizer, or the loss at the start is not one finite number. Torch's
        own errors (a negative lr, say) come in torch's words.
    FloatingPointError
        With ``throw``, at the first loss that is not finite.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9)
    >>> run.position.dims, run.position.shape
    (('step', 'parameter'), (101, 2))
    >>> run.loss.values[:3].tolist()
    [53.078269958496094, 34.7295036315918, 12.706310272216797]

    Notes
    -----
    Source: torch/optim/sgd.py, ``_single_tensor_sgd``. Equal in every bit to a bare loop over the same class.
    """
    labels, problems = (None, [problem]) if isinstance(problem, Problem) else (list(problem), list(problem.values()))
    dim = dimension(problem) if isinstance(problem, Mapping) else None
    _check_call(optimizer, steps, also, settings)
    with _random_state_kept(problems):
        traces = [_descend_one(each, optimizer, steps, frozenset(also), throw, settings) for each in problems]
    return _as_study(problems, traces, dim, labels)


@dataclass
class Trace:
    """What one run left behind, as lists of tensors that are stacked once at the end."""

    name: str
    settings: dict[str, Any]
    positions: list[torch.Tensor] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    gradients: list[torch.Tensor] = field(default_factory=list)
    velocities: list[torch.Tensor] = field(default_factory=list)
    prediction: torch.Tensor | None = None


def _descend_one(
    problem: Problem,
    optimizer: Optimizer,
    steps: int,
    also: frozenset[str],
    throw: bool,
    settings: Mapping[str, Any],
) -> Trace:
    live = problem.live()
    leaves = list(live.leaves.values())
    # torch refuses to write into leaves under autograd, as differentiable=True does: hand it aliases of the same memory
    handed = [leaf.detach() for leaf in leaves] if settings.get("differentiable") else leaves
    rule = optimizer(handed, **settings)
    if "velocity" in also and "momentum" not in rule.defaults:
        raise ValueError(f"{type(rule).__name__} keeps no momentum_buffer: no velocity can be recorded")
    trace = Trace(type(rule).__name__, dict(rule.defaults))
    for step in range(steps + 1):
        last = step == steps
        for leaf in leaves:
            leaf.grad = None
        with torch.set_grad_enabled(not last or "gradient" in also):
            loss = live.loss()
        _check_loss(loss, step, throw)
        trace.positions.extend(leaf.detach().clone() for leaf in leaves)
        trace.losses.append(loss.detach())
        if "velocity" in also:
            trace.velocities.extend(_velocity(rule, one) for one in handed)
        if loss.requires_grad or not last:  # without a graph, torch says so itself
            loss.backward()  # type: ignore[no-untyped-call]
        if "gradient" in also:  # before the step: foreach with nesterov overwrites p.grad
            trace.gradients.extend(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in leaves)
        if not last:
            if handed is not leaves:
                for alias, leaf in zip(handed, leaves, strict=True):
                    alias.grad = leaf.grad
            rule.step()
    if _is_drawable(problem.parts) and live.predict is not None:
        with torch.no_grad():
            trace.prediction = live.predict().detach()
    return trace


def _velocity(rule: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    buffer = rule.state.get(parameter, {}).get("momentum_buffer")
    return torch.full_like(parameter, torch.nan) if buffer is None else buffer.detach().clone()


def _check_call(optimizer: Optimizer, steps: int, also: Collection[str], settings: Mapping[str, Any]) -> None:
    if not callable(optimizer) or isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a class such as torch.optim.SGD, got {optimizer!r}")
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ValueError(f"steps must be a whole number, 0 or more, got {steps!r}")
    unknown = set(also) - {"gradient", "velocity"} if not isinstance(also, str) else {also}
    if unknown:
        raise ValueError(f'also takes a tuple of "gradient" and "velocity", got {also!r}')
    taken = inspect.signature(optimizer).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        names = [name for name in taken if name != "params"]
        for name in settings:
            if name not in names:
                who = getattr(optimizer, "__name__", repr(optimizer))
                raise ValueError(f"{who} takes no setting {name!r}{hint(name, names)}; it takes {listed(names, 20)}")


def _check_loss(loss: torch.Tensor, step: int, throw: bool) -> None:
    if step == 0 and not torch.isfinite(scalar(loss)).all():
        raise ValueError(f"the loss at the start is {loss.item()}: start where it is finite")
    if throw and not torch.isfinite(loss).all():
        raise FloatingPointError(f"the loss is {loss.item()} at step {step}")


def _random_state_kept(problems: Sequence[Problem]) -> Any:
    """A run draws random numbers (dropout, say) from where the user's generator stands, and puts it back."""
    cards = {v.device.index for each in problems for v in each.start.values() if v.device.type == "cuda"}
    return torch.random.fork_rng(devices=sorted(cards))


def _is_drawable(parts: Parts | None) -> bool:
    return parts is not None and max(parts.inputs.numel(), parts.targets.numel()) <= DRAWABLE


# -- from traces to the study ------------------------------------------------------------------------------------


def _as_study(
    problems: Sequence[Problem], traces: Sequence[Trace], dim: str | None, labels: Sequence[str] | None
) -> xr.Dataset:
    first = traces[0]
    fate = study.provenance(
        f"torch.optim.{first.name}, step by step"
        if hasattr(torch.optim, first.name)
        else f"{first.name}, step by step",
        equals_torch="is torch",
        settings={name: _plain(value) for name, value in first.settings.items()},
        threads=torch.get_num_threads(),
        problem=_described(problems[0])
        if labels is None
        else dict(zip(labels, map(_described, problems), strict=True)),
    )

    def variable(name: str, dims: Sequence[str], per_run: Sequence[NDArray[Any]]) -> xr.Variable:
        values = per_run[0] if dim is None else np.stack(per_run)
        lead = () if dim is None else (dim,)
        return xr.Variable((*lead, *dims), values, {"long_name": study.CONTRACT[name].long_name, "provenance": fate})

    size = len(problems[0].labels)
    data = {
        "position": variable("position", ("step", "parameter"), [_rows(t.positions, size) for t in traces]),
        "loss": variable("loss", ("step",), [_rows(t.losses, 1)[:, 0] for t in traces]),
    }
    for name, recorded in (("gradient", "gradients"), ("velocity", "velocities")):
        if getattr(first, recorded):
            rows = [_rows(getattr(trace, recorded), size) for trace in traces]
            data[name] = variable(name, ("step", "parameter"), rows)
    data |= _data_of(problems, traces, variable, dim)
    coords = {name: _plain(value) for name, value in first.settings.items() if _is_coordinate(name, value)}
    coords |= {
        "step": np.arange(len(first.losses)),
        "parameter": _parameter(problems[0]),
        "optimizer": first.name,
    }
    if dim is not None:
        coords[dim] = np.array(labels)
    elif problems[0].criterion is not None:
        coords["criterion"] = problems[0].criterion
    return xr.Dataset(data, coords)


def _data_of(
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    variable: Callable[..., xr.Variable],
    dim: str | None,
) -> dict[str, xr.Variable]:
    """Inputs, targets and prediction, where small enough to draw and of one shape in all runs."""
    parts = [each.parts for each in problems if each.parts is not None]
    if len(parts) < len(problems) or not all(map(_is_drawable, parts)):
        return {}
    if len({(p.inputs.shape, p.targets.shape) for p in parts}) > 1:
        return {}
    found = {}
    shared = dim in (None, "criterion")
    for name, inner, tensors in (
        ("inputs", "feature", [p.inputs for p in parts]),
        ("targets", "output", [p.targets for p in parts]),
        ("prediction", "output", [t.prediction for t in traces if t.prediction is not None]),
    ):
        arrays = [_squeezed(_numpy(tensor)) for tensor in tensors]
        dims = ("sample", *(f"{inner}_{i}" if i else inner for i in range(arrays[0].ndim - 1)))
        if shared and name != "prediction":
            found[name] = xr.Variable(dims, arrays[0], {"long_name": parts[0].names[name == "targets"]})
        else:
            found[name] = variable(name, dims, arrays)
    return found


def _parameter(problem: Problem) -> xr.Variable:
    labels = problem.labels
    if len(labels) <= LABELLED:
        return xr.Variable("parameter", np.array(labels))
    shapes = str({name: tuple(value.shape) for name, value in problem.start.items()})
    return xr.Variable("parameter", np.arange(len(labels)), {"shapes": shapes})


def _described(problem: Problem) -> dict[str, str]:
    if problem.parts is None:
        return {"loss": getattr(problem.loss, "__qualname__", repr(problem.loss))}
    return {"model": repr(problem.parts.model), "criterion": repr(problem.parts.criterion)}


def _is_coordinate(name: str, value: Any) -> bool:
    return name not in HOW_NOT_WHAT and (isinstance(value, (bool, int, float)) or torch.is_tensor(value))


def _plain(value: Any) -> Any:
    """Numbers as float (0 and 0.0 are one momentum), tensors as the number they hold."""
    if torch.is_tensor(value):
        return value.item() if value.numel() == 1 else value.tolist()
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rows(tensors: Sequence[torch.Tensor], size: int) -> NDArray[Any]:
    return _numpy(torch.cat([each.reshape(-1) for each in tensors]).reshape(-1, size))


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16; float32 holds each of its values
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _squeezed(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
