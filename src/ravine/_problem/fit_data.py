"""Data as people have it, in the precision and the shape that a model takes; what was changed is said."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ravine._format import listed
from ravine._problem.copies import make_copy
from ravine._system import process_state
from ravine._torch import as_data, fork_random_state, numpy_of

Call = Callable[[torch.Tensor], Any]
"""The model, called with inputs."""

Refusal = (RuntimeError, ValueError, IndexError, TypeError)
"""What torch raises where shapes or dtypes do not fit."""

WIDTHS = {"in_features": -1, "in_channels": 1, "num_features": 1, "input_size": -1, "normalized_shape": -1}
"""The attribute of a layer that says how much it takes, and along which dimension of what it gets."""


def fit_data(
    data: Sequence[Any], model: torch.nn.Module, call: Call, criterion: Any, elementwise: bool
) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Return inputs and targets as tensors, and what was changed of them.

    Tensors are taken as they are. Of arrays, lists and tables floats become the dtype of the model's parameters; and
    where the model or the criterion does not take them as they are, whole numbers become that too, and a column of
    numbers stands as one, or as a row of numbers.
    """
    inputs, targets = (as_data(name, value) for name, value in zip(("inputs", "targets"), data, strict=True))
    loose_inputs, loose_targets = (not torch.is_tensor(value) for value in data)
    dtype = dtype_of(model)
    said: list[str] = []
    if loose_inputs:
        inputs = _in_dtype("inputs", inputs, dtype, said)
        inputs = _first_taken(inputs, _forms_of_inputs(inputs, dtype), call, "inputs", said)
    if loose_targets:
        targets = _in_dtype("targets", targets, dtype, said)
        try:
            output = call(inputs)
        except Exception:  # it is said where the problem is tried
            return inputs, targets, tuple(said)
        if isinstance(output, torch.Tensor):
            targets = _fit_targets(targets, output, criterion, dtype, elementwise, said)
    return inputs, targets, tuple(said)


def dtype_of(model: torch.nn.Module) -> torch.dtype | None:
    """Return the dtype of a model's floating parameters, if they have one."""
    found = {each.dtype for each in model.parameters() if each.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def names_of(data: Sequence[Any], names: Sequence[str] | None) -> tuple[str, str]:
    """Return what inputs and targets are called: as was said, else by the columns of tables, else x and y."""
    if names is not None:
        return names[0], names[1]
    found = []
    for value, usual in zip(data, ("x", "y"), strict=True):
        columns = getattr(value, "columns", None)
        if columns is not None and hasattr(value, "iloc"):
            found.append(listed(map(str, columns)))
        elif hasattr(value, "iloc") and getattr(value, "name", None) is not None:
            found.append(str(value.name))
        else:
            found.append(usual)
    return found[0], found[1]


def _in_dtype(name: str, values: torch.Tensor, dtype: torch.dtype | None, said: list[str]) -> torch.Tensor:
    """Bring floats to the model's dtype; refuse what that cannot hold, warn where unlike numbers become one."""
    if dtype is None or not values.is_floating_point() or values.dtype == dtype:
        return values
    short = str(dtype).removeprefix("torch.")
    became = values.to(dtype)
    if not torch.isfinite(became).all():
        worst = values.abs().max().item()
        raise ValueError(
            f"{name} hold {worst:g}, and {short}, which the model computes in, has no such number: "
            "give model.double(), or smaller numbers"
        )
    if values.dtype.itemsize > dtype.itemsize:
        rows, fewer = (each.reshape(len(each), -1) if each.ndim else each.reshape(1, 1) for each in (values, became))
        merged = [k for k in range(rows.shape[1]) if _count(fewer[:, k]) < _count(rows[:, k])]
        if merged:
            which = f"column {merged[0]} of {name}" if rows.shape[1] > 1 else name
            warnings.warn(
                f"unlike numbers of {which} are one in {short}, which the model computes in: model.double() keeps them "
                "apart",
                stacklevel=5,
            )
    said.append(f"{name} from {str(values.dtype).removeprefix('torch.')} to {short}, as the model has it")
    return became


def _count(values: torch.Tensor) -> int:
    """Return how many different numbers there are."""
    return len(np.unique(numpy_of(values)))


def _forms_of_inputs(inputs: torch.Tensor, dtype: torch.dtype | None) -> list[tuple[torch.Tensor, str]]:
    """Return what inputs may be taken for where they are not taken as they are, each with how that is said."""
    forms = []
    as_float = None if inputs.is_floating_point() or dtype is None else inputs.to(dtype)
    short = str(dtype).removeprefix("torch.")
    number = f"inputs from {str(inputs.dtype).removeprefix('torch.')} to {short}, as the model has it"
    if as_float is not None:
        forms.append((as_float, number))
    if inputs.ndim == 1:
        column = f"inputs as one column: shape ({len(inputs)}, 1)"
        forms.append((inputs[:, None], column))
        if as_float is not None:
            forms.append((as_float[:, None], f"{number}; {column}"))
    return forms


def _first_taken(
    given: torch.Tensor, forms: Sequence[tuple[torch.Tensor, str]], call: Call, name: str, said: list[str]
) -> torch.Tensor:
    """Return the values as they were given, or in the first form that the model takes."""
    for form, words in [(given, ""), *forms]:
        try:
            call(form)
        except Refusal:
            continue
        if words:
            said.append(words)
        return form
    return given


def _fit_targets(
    targets: torch.Tensor,
    output: torch.Tensor,
    criterion: Any,
    dtype: torch.dtype | None,
    elementwise: bool,
    said: list[str],
) -> torch.Tensor:
    if elementwise:
        if not targets.is_floating_point() and dtype is not None:
            short = str(dtype).removeprefix("torch.")
            said.append(f"targets from {str(targets.dtype).removeprefix('torch.')} to {short}, as the model has it")
            targets = targets.to(dtype)
        columns = {(len(targets),), (len(targets), 1)} if targets.ndim else set()
        if tuple(targets.shape) in columns and tuple(output.shape) in columns - {tuple(targets.shape)}:
            said.append(f"targets in the shape of the model's output: {tuple(output.shape)}")
            targets = targets.reshape(output.shape)
        return targets
    flat = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else None
    whole = None if targets.is_floating_point() or targets.dtype == torch.int64 else targets.long()
    forms = [
        (each, words)
        for each, words in (
            (flat, "targets as a row of numbers"),
            (whole, "targets as int64"),
            (None if flat is None or whole is None else flat.long(), "targets as a row of int64"),
        )
        if each is not None
    ]

    def judge(form: torch.Tensor) -> Any:
        with process_state(), torch.no_grad(), fork_random_state():
            return make_copy(criterion)(output, form)

    return _first_taken(targets, forms, judge, "targets", said)


def explain_refusal(model: torch.nn.Module, inputs: torch.Tensor, reason: Exception) -> ValueError:
    """Say which layer does not take what it gets, in words that name what would fit."""
    place, layer, got = _find_refusing_layer(model, inputs)
    shape = tuple(inputs.shape)
    begun = f"the model does not take inputs of shape {shape}"
    if layer is None or got is None:
        return ValueError(f"{begun} and dtype {_short(inputs)}: {_one_line(reason)}")
    own = next((each for each in layer.parameters(recurse=False) if each.is_floating_point()), None)
    named = f"{layer}" if place == "" else f"its layer {place!r}, {layer},"
    if own is not None and got.dtype != own.dtype:
        other = f", or the model as model.to({got.dtype}) if it should compute in that" * got.is_floating_point()
        return ValueError(
            f"the model computes in {_short(own)} and {'the inputs are' if got is inputs else f'{named} gets'} "
            f"{_short(got)}: give inputs.to({own.dtype}){other}; arrays and tables are brought to the model's dtype by "
            "themselves"
        )
    for attribute, along in WIDTHS.items():
        takes = getattr(layer, attribute, None)
        takes = takes[-1] if isinstance(takes, tuple) and takes else takes
        has = got.shape[along] if got.ndim > abs(along) - (along < 0) else None
        if isinstance(takes, int) and has != takes:
            fits = f"(…, {takes})" if along == -1 else f"(…, {takes}, …)"
            gets = f"shape {tuple(got.shape)}"
            remedy = f"make the layer with {attribute}={has}"
            if got.ndim == 1:
                remedy = f"reshape the inputs, as in inputs.reshape(-1, {takes})"
            elif tuple(got.shape) == shape:
                remedy = f"give such inputs, or {remedy}"
            return ValueError(f"{begun}: {named} takes {fits} and gets {gets}; {remedy}")
    return ValueError(f"{begun}: {named} got shape {tuple(got.shape)}: {_one_line(reason)}")


def explain_criterion(criterion: Any, output: Any, targets: torch.Tensor, reason: Exception) -> ValueError:
    """Say that a criterion does not take the model's output with these targets, and what it takes."""
    name = type(criterion).__name__
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    said = (
        f"{name} does not take the model's output of shape {shape} with targets of shape {tuple(targets.shape)} and "
        f"dtype {_short(targets)}: {_one_line(reason)}"
    )
    if isinstance(criterion, torch.nn.CrossEntropyLoss | torch.nn.NLLLoss) and isinstance(output, torch.Tensor):
        said += (
            f"; it takes one number for each class, shape ({len(targets)}, classes), and the class of each row as a "
            f"whole number from 0, shape ({len(targets)},)"
        )
    return ValueError(said)


def _find_refusing_layer(
    model: torch.nn.Module, inputs: torch.Tensor
) -> tuple[str, torch.nn.Module | None, torch.Tensor | None]:
    """Return the last layer that was called before a model failed: its name, itself, and what it got."""
    seen: list[tuple[str, torch.nn.Module, Any]] = []
    with process_state():
        copy = make_copy(model)
    for name, layer in copy.named_modules():
        if next(layer.children(), None) is None:
            layer.register_forward_pre_hook(
                lambda module, args, name=name: seen.append((name, module, args[0] if args else None))
            )
    with process_state(), torch.no_grad(), fork_random_state(), contextlib.suppress(Exception):
        copy(inputs)
    if not seen or not isinstance(seen[-1][2], torch.Tensor):
        return "", None, None
    return seen[-1]


def _short(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _one_line(reason: Exception) -> str:
    return next(iter(str(reason).splitlines()), type(reason).__name__)
