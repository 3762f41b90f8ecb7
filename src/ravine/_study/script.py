"""code: the plain torch script that gives a run again."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.contract import check_single, last_step, plane_of
from ravine._study.provenance import facts_of

Pieces = Mapping[str, Any]

NOISE_SEED = 2**31
"""What is added to a run's seed for the noise of its gradients: another stream than that of the mini-batches."""


def code(run: xr.Dataset) -> str:
    """Write the plain torch script that gives this very run, bit for bit, without ravine.

    The script holds the data, the start, and the loop a person would write; it prints the loss at each step. A run of a
    sweep that was made in a batch may have other last bits than torch gives it by itself; the script then begins by
    saying how near it came.

    Parameters
    ----------
    run
        One run from `ravine.descend`, or one selected from `ravine.sweep`.

    Returns
    -------
    str
        Python source.

    Raises
    ------
    ValueError
        If the study holds several runs or not the start, or the run was made of something that a script cannot hold:
        a loss that uses objects from around it (numbers, and arrays of up to 10,000, are written out), a module that is
        not of torch.nn, dropout, too much data. It says which.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> print(ravine.code(ravine.descend(bowl, lr=0.1, momentum=0.9, steps=20)))
    import torch
    <BLANKLINE>
    <BLANKLINE>
    def loss(p):
        return p['x'] ** 2
    <BLANKLINE>
    <BLANKLINE>
    parameters = {
        "x": torch.tensor(1.0, dtype=torch.float32, requires_grad=True),
    }
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1, momentum=0.9)
    <BLANKLINE>
    for step in range(20):
        optimizer.zero_grad()
        value = loss(parameters)
        value.backward()
        optimizer.step()
        print(f"step {step}, loss {value.item()}")
    <BLANKLINE>
    """
    check_single(run, "position")
    pieces = _pieces(run)
    pieces = _with_swept(run, pieces)
    problem = _one_problem(run, pieces)
    start = _starts(run, problem)
    blocks = [_remark(run) + _imports(pieces, problem)]
    if "model" in problem:
        blocks += [_data(run, problem), _module(problem, start, pieces["criterion"])]
    else:
        blocks += [_loss(problem), _leaves(problem, start)]
    if "definitions" in pieces:
        blocks.append("\n" + "\n\n".join(pieces["definitions"]) + "\n")
        blocks.append(_optimizer(pieces, problem))
    else:
        blocks[-1] += _optimizer(pieces, problem)
    return "\n".join([*blocks, _loop(run, pieces, problem)])


def pieces_of(run: xr.Dataset) -> Pieces:
    """Return what a run was made of, spelled as code; of joined runs each has its own.

    Raises
    ------
    ValueError
        If the study does not say so.
    """
    if plane_of(run) is not None:
        raise ValueError(
            "this run lies in a plane: its positions are coordinates there, from which no script can start; ask the "
            "run that was projected"
        )
    found = facts_of(run, "position", "code")
    if not found:
        if any(str(engine).endswith(", recorded") for engine in facts_of(run, "position", "engine")):
            raise ValueError(
                "this run was recorded from a loop of one's own, and that is its script; one can be written of what "
                "ravine.descend does with ravine.Problem.of(model, criterion, data)"
            )
        raise ValueError(
            "the study does not say how it was made, and no script can be written of it: make the run with "
            "ravine.descend or ravine.sweep"
        )
    if len(found) > 1:
        raise ValueError("the study has lost which of the joined runs this is: select it by its label, and keep that")
    pieces = found[0]
    if not isinstance(pieces, Mapping) or not {"problems", "settings", "optimizer", "closure"} <= pieces.keys():
        raise ValueError("what the study says of how it was made is not from ravine: no script can be written from it")
    return dict(pieces)


def _pieces(run: xr.Dataset) -> Pieces:
    pieces = pieces_of(run)
    groups = (pieces.get("groups") or {}).values()
    for value in (*pieces.values(), *(each for group in groups for each in group.values())):
        _check_possible(value)
    return pieces


def _remark(run: xr.Dataset) -> str:
    """Say how near a run of a batch came to torch; nothing where torch made it."""
    said = [each for each in facts_of(run, "position", "equals_torch") if each != "is torch"]
    if not said:
        return ""
    text = (
        f"In its sweep this run was one of a batch ({listed(said)}). Here torch.optim takes each step of it alone: "
        "the last bits may differ."
    )
    return "\n".join(textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ")) + "\n"


def _with_swept(run: xr.Dataset, pieces: Pieces) -> Pieces:
    """Put the settings that a sweep ran through where one run has them: the coordinates say which it took."""
    swept = pieces.get("swept", {})
    taken = {name: _value_of(run[name], known) for name, known in swept["settings"].items()} if swept else {}
    for value in taken.values():
        _check_possible(value)
    # what treats gradients is the loop's, unless the optimizer has a setting of that name
    loop = {name: taken.pop(name) for name in swept.get("loop", ()) if name in taken}
    given = [pieces["settings"], *(f"{name}={value}" for name, value in taken.items())]
    turned = {name: _value_of(run[name], known) for name, known in swept["criterion"].items()} if swept else {}
    more: dict[str, Any] = {"settings": ", ".join(each for each in given if each), "criterion": turned}
    if ("batch_size" in pieces or "noise" in {**pieces, **loop}) and "seed" in run.coords:
        more["seed"] = int(run["seed"])
    return {**pieces, **loop, **more}


def _value_of(coordinate: xr.DataArray, known: Mapping[str, str]) -> str:
    value = coordinate.item()
    plain = f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)
    return known.get(str(coordinate.values), plain)


def _one_problem(run: xr.Dataset, pieces: Pieces) -> Pieces:
    problems = pieces["problems"]
    label = next((str(run[name].values) for name in ("problem", "criterion") if name in run.coords), "")
    problem: Pieces = problems[label] if label in problems else next(iter(problems.values()))
    for value in problem.values():
        _check_possible(value)
    return problem


def _check_possible(value: Any) -> None:
    if isinstance(value, Mapping) and "cannot" in value:
        raise ValueError(f"this run cannot be written as a script: {value['cannot']}")


def _imports(pieces: Pieces, problem: Pieces) -> str:
    lines = ["import itertools\n"] if "batch_size" in pieces else []
    lines.append("import torch")
    lines += [line for line in pieces.get("imports", ()) if line != "import torch"]
    if str(problem.get("loss", "")).startswith("from "):
        lines.append(problem["loss"])
    return "\n".join(lines) + "\n"


def _loss(problem: Pieces) -> str:
    return "" if problem["loss"].startswith("from ") else f"\n{problem['loss']}\n"


def _starts(run: xr.Dataset, problem: Pieces) -> dict[str, NDArray[Any]]:
    if "step" in run.coords and run["step"].values[0] != 0:
        raise ValueError(
            f"this study begins at step {run['step'].values[0]}, and a script at the start: select runs with step 0"
        )
    flat, begin, starts = run["position"].transpose("step", "parameter").values[0], 0, {}
    for name, shape in problem["shapes"].items():
        size = int(np.prod(shape))
        starts[name] = flat[begin : begin + size].reshape(shape)
        begin += size
    return starts


def _leaves(problem: Pieces, start: Mapping[str, NDArray[Any]]) -> str:
    lines = [f"    {_quoted(n)}: {_tensor(v, _dtype(problem, n), ', requires_grad=True')}," for n, v in start.items()]
    return "\n".join(["parameters = {", *lines, "}\n"])


def _dtype(problem: Pieces, name: str) -> str:
    return str(problem.get("dtypes", {}).get(name, problem["dtype"]))


def _data(run: xr.Dataset, problem: Pieces) -> str:
    if "inputs" not in run:
        raise ValueError("this run cannot be written as a script: its data is too large to travel with it")
    lines = []
    for name in ("inputs", "targets"):
        facts = problem["data"][name]
        lines.append(f"{name} = {_tensor(run[name].values.reshape(facts['shape']), facts['dtype'])}")
    return "\n".join([*lines, ""])


def _module(problem: Pieces, start: Mapping[str, NDArray[Any]], turned: Mapping[str, str]) -> str:
    cast = "" if problem["dtype"] == "torch.float32" else f".to({problem['dtype']})"
    lines = [f"model = {problem['model']}{cast}"]
    if "dtypes" in problem:  # each module has its own
        lines += [f'model.get_parameter("{n}").data = {_tensor(v, _dtype(problem, n))}' for n, v in start.items()]
    else:
        lines.append("with torch.no_grad():")
        lines += [f'    model.get_parameter("{n}").copy_({_tensor(v, problem["dtype"])})' for n, v in start.items()]
    lines += [_criterion(problem["criterion"]), *(f"criterion.{name} = {value}" for name, value in turned.items())]
    return "\n".join([*lines, ""])


def _criterion(spelled: str) -> str:
    """Write the criterion: a call, or a function that is defined or imported under the name of loss."""
    return f"criterion = {spelled}" if spelled.startswith("torch.nn.") else f"\n\n{spelled}\n\ncriterion = loss"


def _tensor(values: NDArray[Any], dtype: str, more: str = "") -> str:
    # repr of a float32's double gives its very bits again
    text = f"torch.tensor({np.asarray(values, dtype=values.dtype).tolist()!r}, dtype={dtype}{more})"
    return text if len(text) < 110 else textwrap.fill(text, 110, subsequent_indent="    ", break_long_words=False)


def _optimizer(pieces: Pieces, problem: Pieces) -> str:
    given = f", {pieces['settings']}" if pieces["settings"] else ""
    everything = _everything(problem)
    lines = []
    if pieces["groups"]:
        lines = ["groups = [", *_groups(pieces["groups"], problem), "]"]
        everything = "groups"
    lines.append(f"optimizer = {pieces['optimizer']}({everything}{given})")
    if pieces.get("trains"):
        lines.append("optimizer.train()")
    if "scheduler" in pieces:
        lines.append(f"scheduler = {pieces['scheduler']}")
    if "noise" in pieces:
        lines.append(f"noise = torch.Generator().manual_seed({NOISE_SEED + pieces['seed']})")
    if "batch_size" in pieces:
        generator = f"torch.Generator().manual_seed({pieces['seed']})"
        lines += [
            "data = torch.utils.data.TensorDataset(inputs, targets)",
            f"loader = torch.utils.data.DataLoader(data, {pieces['batch_size']}, shuffle=True, generator={generator})",
            "batches = (batch for epoch in itertools.count() for batch in loader)",
        ]
    return "\n".join([*lines, ""])


def _groups(groups: Mapping[str, Mapping[str, str]], problem: Pieces) -> list[str]:
    members: dict[str, list[str]] = {"": [], **{pattern: [] for pattern in groups}}
    for name in problem["shapes"]:
        members[next((p for p in groups if fnmatchcase(name, p)), "")].append(name)
    one = "model.get_parameter({})" if "model" in problem else "parameters[{}]"
    lines = []
    for pattern, names in members.items():
        settings = "".join(f", {_quoted(name)}: {value}" for name, value in groups.get(pattern, {}).items())
        if names:
            listed_names = ", ".join(one.format(_quoted(name)) for name in names)
            lines.append(f'    {{"params": [{listed_names}]{settings}}},')
    return lines


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)  # what JSON escapes, Python reads alike


def _everything(problem: Pieces) -> str:
    return "model.parameters()" if "model" in problem else "parameters.values()"


def _treatment(pieces: Pieces, problem: Pieces) -> list[str]:
    """Write what is done to gradients before the step."""
    lines = []
    if "noise" in pieces:
        drawn = "torch.randn(each.shape, generator=noise, dtype=each.dtype)"
        lines = [
            f"for each in {_everything(problem)}:",
            "    if each.grad is not None:",
            f"        each.grad.add_({drawn}, alpha={pieces['noise']})",
        ]
    if "clip_norm" in pieces:
        lines.append(f"torch.nn.utils.clip_grad_norm_({_everything(problem)}, {pieces['clip_norm']})")
    return lines


def _loop(run: xr.Dataset, pieces: Pieces, problem: Pieces) -> str:
    value = "value = loss(parameters)" + ".clone()" * bool(pieces.get("moves"))
    if "model" in problem:
        value = "value = criterion(model(inputs), targets)"
    body = []
    if "batch_size" in pieces:
        body.append("some_inputs, some_targets = next(batches)")
        value = "value = criterion(model(some_inputs), some_targets)"
    backward = f"value.backward({'create_graph=True' * bool(pieces.get('create_graph'))})"
    evaluate = ["optimizer.zero_grad()", value, backward, *_treatment(pieces, problem)]
    if pieces["closure"] and pieces["optimizer"].startswith("torch.optim."):
        inner = [*evaluate, "return value"]
        body += ["", "def closure():", *(f"    {line}" for line in inner), "", "value = optimizer.step(closure)"]
    elif pieces["closure"]:  # what its step returns, and whether it lets gradients be made, is its own affair
        inner = [*evaluate, "values.append(value)", "return value"]
        body += ["values = []", "", "@torch.enable_grad()", "def closure():", *(f"    {line}" for line in inner), ""]
        body += ["closure()"] * (pieces["closure"] == "after backward")
        body += ["optimizer.step(closure)", "value = values[0]"]
    else:
        body += [*evaluate, "optimizer.step()"]
    if "scheduler" in pieces:
        body.append(
            "scheduler.step(value.item())" if "ReduceLROnPlateau" in pieces["scheduler"] else "scheduler.step()"
        )
    body.append('print(f"step {step}, loss {value.item()}")')
    return "\n".join([f"for step in range({last_step(run)}):", *(f"    {line}".rstrip() for line in body), ""])
