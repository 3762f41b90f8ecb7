"""Recorded runs as a dataset that follows the study contract."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._descent.trace import Rows, Trace
from ravine._problem.parts import Parts
from ravine._problem.problem import Problem
from ravine._study.contract import CONTRACT
from ravine._study.coordinates import make_coordinates
from ravine._study.decay import Leaf, minimised_decay
from ravine._study.labels import LABELLED, label_variable
from ravine._study.provenance import provenance
from ravine._torch import numpy_of
from ravine.curvature._landmarks import ends_of, minima_of_runs

HOW_NOT_WHAT = frozenset({"foreach", "fused", "differentiable", "capturable"})
"""Settings that choose an implementation, not a path; they are kept in the provenance alone."""

DRAWABLE = 10_000
"""Numbers in inputs or targets up to which the data travels with a run, so that it can be drawn."""


def is_drawable(parts: Parts | None) -> bool:
    """Tell whether a problem's data is small enough to travel with its runs, row by row."""
    if parts is None or parts.inputs.shape[:1] != parts.targets.shape[:1]:
        return False
    return max(parts.inputs.numel(), parts.targets.numel()) <= DRAWABLE


def dataset_of(
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    choices: Mapping[str, Sequence[Any]],
    spelled: Mapping[str, Any],
) -> xr.Dataset:
    """Stack traces to one study; `choices` are the dimensions that `problems` run through, the last fastest."""
    first = traces[0]
    lead, shape = tuple(choices), tuple(len(labels) for labels in choices.values())
    code = spelled["code"] | {"closure": first.closure, "trains": first.trains}
    if first.moves:
        code["moves"] = True
    fate = provenance(
        f"{'torch.optim.' if first.home.startswith('torch.optim') else first.home + '.'}{first.name}, step by step",
        equals_torch="is torch",
        settings={name: plain(value) for name, value in first.settings.items()},
        threads=torch.get_num_threads(),
        dtype=dtype_of(problems[0]),
        **made_by(first.path, first.leaves),
        **_remarks(problems[0], first),
        **{**spelled, "code": code},
    )

    def variable(name: str, dims: Sequence[str], arrays: Sequence[NDArray[Any]]) -> xr.Variable:
        stacked = _stacked(arrays, math.prod(shape))
        attrs = {"long_name": CONTRACT[name].long_name, "provenance": fate}
        return xr.Variable((*lead, *dims), stacked.reshape(*shape, *stacked.shape[1:]), attrs)

    positions = [numpy_of(t.positions.whole()) for t in traces]
    data = {
        "position": variable("position", ("step", "parameter"), positions),
        "loss": variable("loss", ("step",), [numpy_of(t.loss)[t.kept] for t in traces]),
    }
    for name in ("gradient", "velocity"):
        recorded: list[Rows] = [t.gradients if name == "gradient" else t.velocities for t in traces]
        if recorded[0]:
            data[name] = variable(name, ("step", "parameter"), [numpy_of(each.whole()) for each in recorded])
    if first.batch_losses:
        arrays = [numpy_of(t.batch_losses.whole()[:, 0])[t.kept] for t in traces]
        data["batch_loss"] = variable("batch_loss", ("step",), arrays)
    if first.scheduled and not any("lr" in t.apart for t in traces):
        data["scheduled_lr"] = variable("scheduled_lr", ("step",), [np.array(t.scheduled)[t.kept] for t in traces])
    if "clip_norm" in first.settings and first.norms:
        rows = [np.array([*t.norms, np.nan][: len(t.losses)])[t.kept] for t in traces]
        data["gradient_norm"] = variable("gradient_norm", ("step",), rows)
    data |= _moving_settings(traces, lead, shape, fate)
    data |= _zero_gradient(traces, positions, variable)
    if len(traces) < len(problems) or any(trace.interrupted for trace in traces):
        taken = [max(len(trace.losses) - 1, 0) for trace in traces] + [0] * (len(problems) - len(traces))
        attrs = {"long_name": CONTRACT["steps_taken"].long_name, "provenance": fate}
        data["steps_taken"] = xr.Variable(lead, np.array(taken).reshape(shape), attrs)
    data |= _known_minimum(problems, traces, positions, choices)
    data |= _data_of(problems, traces, variable, shared="problem" not in choices)
    coords = {
        name: plain(v) for name, v in first.settings.items() if is_coordinate(name, v, overridden_by(first.leaves))
    }
    steps = max((t.kept for t in traces), key=len)
    coords |= {"step": steps, "parameter": parameter_of(problems[0]), "optimizer": first.name}
    coords |= {dim: np.array(labels) for dim, labels in choices.items()}
    if "criterion" not in choices and "problem" not in choices and problems[0].criterion is not None:
        coords["criterion"] = problems[0].criterion
    if "hessian" in data:
        coords["parameter_"] = coords["parameter"].values
    if "seed" in spelled["code"]:
        coords["seed"] = spelled["code"]["seed"]
    return xr.Dataset(data, make_coordinates(coords))


def dtype_of(problem: Problem) -> str:
    """Name the dtype that trains: a study may hold its numbers in a wider one."""
    return " and ".join(sorted({str(value.dtype).removeprefix("torch.") for value in problem.start.values()}))


def settings_now(group: Mapping[str, Any]) -> dict[str, float]:
    """Return what a scheduler may move besides the lr: the numbers of a group of parameters.

    Examples
    --------
    >>> settings_now({"params": [], "lr": 0.1, "betas": (0.9, 0.999), "amsgrad": False, "eps": 1e-8})
    {'beta1': 0.9, 'beta2': 0.999, 'eps': 1e-08}
    """
    numbers = {f"beta{k}": each for k, each in enumerate(group.get("betas") or (), 1)}
    numbers |= {name: value for name, value in group.items() if name in MOVABLE}
    return {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) or (torch.is_tensor(value) and value.numel() == 1)
    }


MOVABLE = ("momentum", "dampening", "weight_decay", "eps", "alpha")
"""Numbers of torch's optimizers, besides the lr and the betas, that a scheduler can set."""


def _moving_settings(
    traces: Sequence[Trace], lead: tuple[str, ...], shape: tuple[int, ...], fate: str
) -> dict[str, xr.Variable]:
    """Return step by step what a scheduler moved besides the lr, or set to another value than was given."""
    found = {}
    for name in traces[0].moving:
        values = [np.array(trace.moving[name])[trace.kept] for trace in traces]
        given = settings_now(traces[0].settings).get(name)
        if all((each == given).all() for each in values) or any(name in trace.apart for trace in traces):
            continue
        stacked = _stacked(values, math.prod(shape))
        entry = CONTRACT.get(f"scheduled_{name}")
        attrs = {"long_name": entry.long_name if entry else f"{name} at position[step]", "provenance": fate}
        found[f"scheduled_{name}"] = xr.Variable((*lead, "step"), stacked.reshape(*shape, -1), attrs)
    return found


def _zero_gradient(traces: Sequence[Trace], positions: Sequence[NDArray[Any]], variable: Any) -> dict[str, xr.Variable]:
    """Tell which parameters never moved because their gradient is zero; nothing where all of them moved."""
    found = []
    for trace, places in zip(traces, positions, strict=True):
        still = (places == places[0]).all(axis=0)
        if len(trace.end_gradients) < 1 or len(places) < 2:
            found.append(np.zeros(places.shape[1], dtype=bool))
            continue
        if still.any():
            flat = [torch.cat([each.reshape(-1) for each in row]) for row in trace.end_gradients]
            still &= np.logical_and.reduce([numpy_of(row == 0) for row in flat])
        found.append(still)
    if not any(each.any() for each in found) or len({each.shape for each in found}) > 1:
        return {}
    return {"zero_gradient": variable("zero_gradient", ("parameter",), found)}


def made_by(path: str, leaves: Sequence[Leaf]) -> dict[str, Any]:
    """Return what the provenance says of the optimizer: its class, and of groups each tensor's settings."""
    told: dict[str, Any] = {"optimizer": path}
    if any(leaf.own for leaf in leaves):
        told["leaves"] = [[leaf.name, leaf.size, dict(leaf.own)] for leaf in leaves]
    return told


def overridden_by(leaves: Sequence[Leaf]) -> set[str]:
    """Return the settings that some parameters have of their own."""
    return {name for leaf in leaves for name in leaf.own}


def plain(value: Any) -> Any:
    """Return numbers as float (0 and 0.0 are one momentum) and tensors as the numbers they hold."""
    if torch.is_tensor(value):
        return value.item() if value.numel() == 1 else value.tolist()
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _stacked(arrays: Sequence[NDArray[Any]], count: int) -> NDArray[Any]:
    """Stack arrays; those that are shorter, or missing because of an interrupt, are filled up with NaN."""
    longest = max(len(each) for each in arrays)
    if len(arrays) == count and all(len(each) == longest for each in arrays):
        return arrays[0][None] if count == 1 else np.stack(arrays)
    filled = np.full((count, longest, *arrays[0].shape[1:]), np.nan, dtype=arrays[0].dtype)
    for row, each in zip(filled, arrays, strict=False):
        row[: len(each)] = each
    return filled


def _known_minimum(
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    positions: Sequence[NDArray[Any]],
    choices: Mapping[str, Sequence[Any]],
) -> dict[str, xr.Variable]:
    """Where what is minimised is known, and its minimum with it: the place of it that the run ended nearest to."""
    if len(traces) < len(problems):
        return {}
    first = traces[0]
    decay = minimised_decay(first.path, {n: plain(v) for n, v in first.settings.items()}, first.leaves)
    return {} if decay is None else minima_of_runs(problems, ends_of(positions), decay, choices)


def _data_of(
    problems: Sequence[Problem], traces: Sequence[Trace], variable: Any, *, shared: bool
) -> dict[str, xr.Variable]:
    """Inputs, targets and prediction, where small enough to draw and of one shape in all runs."""
    parts = [each.parts for each in problems if each.parts is not None]
    if len(parts) < len(problems) or not all(map(is_drawable, parts)) or len(traces) < len(problems):
        return {}
    if len({(p.inputs.shape, p.targets.shape) for p in parts}) > 1:
        return {}
    predictions = [_squeezed(numpy_of(t.prediction)) for t in traces if t.prediction is not None]
    found = {}
    if shared:
        found = shared_data(parts[0])
    else:
        for name, inner, tensors in (
            ("inputs", "feature", [p.inputs for p in parts]),
            ("targets", "output", [p.targets for p in parts]),
        ):
            arrays = [_squeezed(numpy_of(tensor)) for tensor in tensors]
            found[name] = variable(name, _sample_dims(arrays[0], inner), arrays)
    rows = parts[0].inputs.shape[0]
    alike = len({each.shape for each in predictions}) == 1 and len(predictions) == len(traces)
    if alike and len(predictions[0]) == rows:  # a model may return a tuple, or one number for all samples
        target = _squeezed(numpy_of(parts[0].targets))
        other = "output" if target.ndim == 1 or predictions[0].shape == target.shape else "unit"
        found["prediction"] = variable("prediction", _sample_dims(predictions[0], other), predictions)
    return found


def _remarks(problem: Problem, trace: Trace) -> dict[str, str]:
    """Say in which mode a loss was evaluated where that matters, and what positions are where there are two kinds."""
    said: dict[str, str] = {}
    if problem.parts is not None and problem.parts.mode_matters:
        said["mode"] = problem.parts.mode
    if problem.parts is not None and problem.parts.changes:
        said["data"] = "; ".join(problem.parts.changes)
    if trace.trains:
        said["positions"] = "the training sequence: the optimizer was told train()"
    return said


def shared_data(parts: Parts) -> dict[str, xr.Variable]:
    """Return inputs and targets that all runs have in common."""
    found = {}
    for name, inner, tensor, said in zip(
        ("inputs", "targets"), ("feature", "output"), (parts.inputs, parts.targets), parts.names, strict=True
    ):
        array = _squeezed(numpy_of(tensor))
        attrs: dict[str, Any] = {"long_name": said}
        scales = parts.scales[:-1] if name == "inputs" else parts.scales[-1:]
        if scales:
            attrs |= dict(zip(("mean", "deviation"), np.array(scales).T, strict=True))
        found[name] = xr.Variable(_sample_dims(array, inner), array, attrs)
    return found


def _sample_dims(array: NDArray[Any], inner: str) -> tuple[str, ...]:
    return ("sample", *(f"{inner}_{i}" if i else inner for i in range(array.ndim - 1)))


def parameter_of(problem: Problem) -> xr.Variable:
    """Return the labels of a problem's parameters."""
    few = problem.size <= LABELLED
    return label_variable("parameter", problem.shapes, problem.labels if few else None)


def is_coordinate(name: str, value: Any, overridden: Collection[str] = ()) -> bool:
    """Tell whether a setting is one number that makes a path."""
    one_number = isinstance(value, (bool, int, float)) or (torch.is_tensor(value) and value.numel() == 1)
    return one_number and name not in HOW_NOT_WHAT and name not in overridden


def _squeezed(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
