"""The study contract: what a dataset must hold, and how it is checked.

Everything that ravine computes is an `xarray.Dataset` that follows one table, `CONTRACT`. Computing writes
by it, drawing reads by it, and neither needs to know the other. docs/study.md tells the same to a reader.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine._format import kind_of, listed


@dataclass(frozen=True)
class Entry:
    """One variable of the contract: its last dimensions, its meaning, and the call that makes it."""

    dims: tuple[str, ...]
    long_name: str
    made_by: str


CONTRACT: Mapping[str, Entry] = {
    "position": Entry(("step", "parameter"), "parameters; step 0 is the start", "ravine.descend(problem)"),
    "loss": Entry(("step",), "loss at position[step] over all data", "ravine.descend(problem)"),
    "gradient": Entry(
        ("step", "parameter"),
        "gradient of the loss at position[step]",
        'ravine.descend(problem, also=("gradient",))',
    ),
    "velocity": Entry(
        ("step", "parameter"),
        "momentum_buffer at position[step]; NaN where torch holds none",
        'ravine.descend(problem, also=("velocity",))',
    ),
    "batch_loss": Entry(
        ("step",), "loss of the mini-batch that the optimizer saw", "ravine.descend(problem, batch_size=16)"
    ),
    "scheduled_lr": Entry(
        ("step",), "lr at position[step]", "ravine.descend(problem, scheduler=partial(StepLR, step_size=30))"
    ),
    "scheduled_momentum": Entry(
        ("step",), "momentum at position[step]", "ravine.descend(problem, scheduler=partial(OneCycleLR, …))"
    ),
    "scheduled_beta1": Entry(
        ("step",), "first of the betas at position[step]", "ravine.descend(problem, scheduler=partial(OneCycleLR, …))"
    ),
    "drawn_loss": Entry(
        ("step",),
        "loss at the point of the plane beneath position[step]",
        "ravine.Plane.ends(run).project(run, problem)",
    ),
    "off_plane": Entry(
        ("step",), "distance of position[step] from the plane", "ravine.Plane.ends(run).project(run, problem)"
    ),
    "squares": Entry(
        ("step",),
        "sum of the squares of all parameters",
        "ravine.Plane.ends(run).project(run, problem)",
    ),
    "update_ratio": Entry(
        ("step", "layer"),
        "norm of the update from position[step], over the norm of the parameters there",
        "ravine.record(model, optimizer)",
    ),
    "buffers": Entry(("step", "buffer"), "the model's buffers at position[step]", "ravine.record(model, optimizer)"),
    "gradient_norm": Entry(
        ("step",), "norm of the gradient before it was clipped", "ravine.descend(problem, clip_norm=1.0)"
    ),
    "zero_gradient": Entry(
        ("parameter",),
        "whether it never moved, and its gradient was 0 at the first step and at the last",
        "ravine.descend(problem)",
    ),
    "steps_taken": Entry((), "steps taken before an interrupt", "ravine.descend(problem)"),
    "error": Entry((), "torch's message where the settings are invalid", "ravine.sweep(problem, lr=[0.1, -0.1])"),
    "final_loss": Entry((), "loss at the last position", 'ravine.sweep(problem, keep="summary")'),
    "best_loss": Entry((), "lowest loss of all steps", 'ravine.sweep(problem, keep="summary")'),
    "best_step": Entry((), "step of the lowest loss", 'ravine.sweep(problem, keep="summary")'),
    "arrival": Entry((), "first step from which the gap stays small", 'ravine.sweep(problem, keep="summary")'),
    "first_nonfinite": Entry((), "first step whose loss is not finite", 'ravine.sweep(problem, keep="summary")'),
    "diverged": Entry((), "whether the loss broke or kept growing", 'ravine.sweep(problem, keep="summary")'),
    "minimizer": Entry(("parameter",), "where what is minimised is lowest", "ravine.landmarks(problem)"),
    "minimum_loss": Entry((), "lowest value of what is minimised", "ravine.landmarks(problem)"),
    "hessian": Entry(
        ("parameter", "parameter_"),
        "curvature at the minimizer of what is minimised, weight decay included",
        "ravine.landmarks(problem)",
    ),
    "data_minimizer": Entry(
        ("parameter",), "where the loss without weight decay is lowest", "ravine.landmarks(problem)"
    ),
    "data_minimum_loss": Entry((), "lowest loss without weight decay", "ravine.landmarks(problem)"),
    "quadratic": Entry(
        (), "whether the loss is a quadratic function of the parameters", "ravine.sweep(problem, lr=[0.1])"
    ),
    "sharpness": Entry(("step",), "largest curvature of the loss at position[step]", "ravine.sharpness(problem, run)"),
    "lowest_curvature": Entry(
        ("step",), "smallest curvature of the loss at position[step]", "ravine.eigenvalues(problem, run)"
    ),
    "preconditioned_sharpness": Entry(
        ("step",),
        "largest curvature at position[step] as Adam's preconditioner scales it",
        "ravine.eigenvalues(problem, run), of a run of Adam",
    ),
    "slope": Entry(("parameter",), "gradient of the loss over a grid", "ravine.surface(problem, slope=True)"),
    "surface": Entry((), "loss over a grid of two parameters", "ravine.surface(problem, x=(-1, 1), y=(-1, 1))"),
    "line_loss": Entry(
        ("share",), "loss at a share of the straight way between two places", "ravine.between(problem, one, other)"
    ),
    "line_accuracy": Entry(
        ("share",),
        "share of targets that are right, at a share of the straight way between two places",
        "ravine.between(problem, one, other), of a classifier",
    ),
    "loss_of_residual": Entry(("residual",), "criterion of one residual", "ravine.residuals(criteria)"),
    "pull": Entry(("residual",), "slope of the criterion at one residual", "ravine.residuals(criteria)"),
    "inputs": Entry(("sample",), "inputs of the data", "ravine.descend(ravine.Problem.of(model, criterion, data))"),
    "targets": Entry(("sample",), "targets of the data", "ravine.descend(ravine.Problem.of(model, criterion, data))"),
    "prediction": Entry(
        ("sample",),
        "model output at the last position",
        "ravine.descend(ravine.Problem.of(model, criterion, data))",
    ),
}
"""Every variable that ravine's views understand. Dimensions of choice (criterion, lr, run …) may come first."""

RECORDED = "ravine.record(model, optimizer, positions=True)"
"""What makes the positions of a recording, which is known by its ratios of updates."""

PROJECTED = "plane.project(run, problem), of plane = ravine.Plane.pca(run)"
"""What evaluates the losses of a recording, or of checkpoints, which hold positions alone."""

COORDINATES = frozenset(
    {
        *("step", "parameter", "parameter_", "sample", "feature", "criterion", "problem", "optimizer", "run"),
        *("layer", "buffer", "share"),
    }
)
"""Names of coordinates, which no axis of a surface can have."""

PLANES = ("ends", "pca", "random", "hessian", "through")
"""Kinds of planes through the space of all parameters."""


def check(study: xr.Dataset, *needs: str) -> xr.Dataset:
    """Return the study unchanged if it follows the contract and holds what is needed.

    Parameters
    ----------
    study
        Any dataset.
    *needs
        Names of variables of the contract that must be present.

    Raises
    ------
    TypeError
        If `study` is no `xarray.Dataset`.
    ValueError
        If a needed variable is missing (the message names the call that makes it), a variable of the
        contract has other last dimensions than the contract says, or what is said of a plane cannot be read.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), steps=3)
    >>> ravine.check(run, "position", "loss") is run
    True
    >>> ravine.check(run, "surface")
    Traceback (most recent call last):
    ...
    ValueError: the study has no 'surface' (loss over a grid of two parameters): \
make it with ravine.surface(problem, x=(-1, 1), y=(-1, 1))
    """
    check_kind(study)
    for name in needs:
        if name not in study:
            entry, made_by = CONTRACT[name], CONTRACT[name].made_by
            if name == "position" and "update_ratio" in study:
                made_by = RECORDED
            if name == "loss" and "position" in study:
                made_by = f"{made_by}, or where positions were recorded with {PROJECTED}"
            raise ValueError(f"the study has no {name!r} ({entry.long_name}): make it with {made_by}")
    held = study.variables  # without the coordinates that each look into the study itself would join to it
    for name, entry in CONTRACT.items():
        variable = held.get(name)
        if variable is None:
            continue
        if 0 in variable.shape:
            empty = next(dim for dim, length in variable.sizes.items() if not length)
            raise ValueError(f"{name!r} is empty: it has no {empty}")
        if not entry.dims:
            continue
        dims = variable.dims
        # inputs and targets may have dimensions of their own after `sample`
        inner = dims[dims.index("sample") :][:1] if "sample" in dims else dims[-len(entry.dims) :]
        over_grid = name == "squares" and "surface" in held and dims[-2:] == held["surface"].dims[-2:]
        if inner != entry.dims and not over_grid:
            raise ValueError(f"{name!r} has dimensions {dims}; the contract says (…, {', '.join(entry.dims)})")
    if "surface" in held and held["surface"].ndim < 2:
        raise ValueError(f"'surface' has dimensions {held['surface'].dims}; the contract says (…, y, x)")
    plane_of(study)
    return study


def plane_of(study: xr.Dataset) -> Mapping[str, Any] | None:
    """Return what a study says of the plane that its positions, or its surface, lie in; None where they lie in none.

    Positions in a plane are coordinates along its two axes, no parameters: nothing that asks for parameters, their
    optimizer's rule or their gradient can be answered from them.

    Raises
    ------
    ValueError
        If what is said there is no JSON object with a known ``kind`` and two ``axes``.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=1)
    >>> plane_of(run) is None
    True
    >>> run.parameter.attrs["plane"] = '{"kind": "ends", "axes": ["x", "y"]}'
    >>> plane_of(run)
    {'kind': 'ends', 'axes': ['x', 'y']}
    """
    for name in ("parameter", "surface"):
        said = study.variables[name].attrs.get("plane") if name in study.variables else None
        if said is None:
            continue
        try:
            facts = json.loads(said)
            known = facts["kind"] in PLANES and len(facts["axes"]) == 2
        except (TypeError, ValueError, KeyError):
            known = False
        if not known:
            raise ValueError(
                f"the attribute 'plane' of {name!r} is {kind_of(said)}: a JSON object is expected, with a kind of "
                f"{listed(PLANES)} and two axes"
            )
        return dict(facts)
    return None


def check_kind(study: object) -> None:
    """Complain of what is no study.

    Examples
    --------
    >>> check_kind("runs.nc")
    Traceback (most recent call last):
    ...
    TypeError: expected a study (an xarray.Dataset), got 'runs.nc': a file is opened first, as in ravine.open('runs.nc')
    """
    if not isinstance(study, xr.Dataset):
        raise TypeError(f"expected a study (an xarray.Dataset), got {kind_of(study)}: {_remedy(study)}")


def _remedy(given: object) -> str:
    """Say how a study is made of what was given in place of one."""
    several = (
        list(given.values()) if isinstance(given, Mapping) else list(given) if isinstance(given, list | tuple) else []
    )
    kinds = {type(each).__name__ for each in [given, *several]}
    if "Problem" in kinds:
        return "a problem is run first, as in ravine.descend(problem)"
    if several and all(isinstance(each, xr.Dataset) for each in several):
        return "studies become one with ravine.join"
    if isinstance(given, str | os.PathLike):
        return f"a file is opened first, as in ravine.open({os.fspath(given)!r})"
    if isinstance(given, xr.DataArray):
        return "give the whole study, of which this is a variable"
    return "ravine.descend(problem) and ravine.sweep(problem) make one, ravine.open(path) opens one"


def check_single(study: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable of a study that holds a single run or surface; refuse several, with what to select.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), steps=3)
    >>> check_single(runs.sel(criterion="L1Loss"), "position").dims
    ('step', 'parameter')
    >>> check_single(runs, "position")
    Traceback (most recent call last):
    ...
    ValueError: one run expected; this study has one for each criterion: \
select one, for example .sel(criterion='MSELoss')
    """
    values = check(study, name)[name]
    own = 2 if name == "surface" else len(CONTRACT[name].dims)  # a surface is named by its two parameters
    spare = [str(dim) for dim in values.dims[: values.ndim - own]]
    if spare:
        raise ValueError(
            f"one {'surface' if name == 'surface' else 'run'} expected; this study has one for each {listed(spare)}: "
            f"select one, for example .sel({spare[0]}={study[spare[0]].values[0].item()!r})"
        )
    return values


def last_step(run: xr.Dataset) -> int:
    """Return the number of steps that runs took, by the coordinate ``step``: a thinned run has as many as the whole.

    Of one run that was interrupted, or that is shorter than others it was joined with, ``steps_taken`` says it.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=100)
    >>> last_step(run), last_step(run.isel(step=slice(None, None, 10)))
    (100, 100)
    """
    last = int(run["step"].values[-1]) if "step" in run.coords else run.sizes["step"] - 1
    if "steps_taken" in run and not run["steps_taken"].ndim and run["steps_taken"] == run["steps_taken"]:
        return min(last, int(run["steps_taken"]))
    return last


def at_or_by(steps: ArrayLike, step: float) -> Literal["at", "by"]:
    """Say "at" of a step at which something was seen, "by" where nobody looked one step before.

    Examples
    --------
    >>> at_or_by([0, 1, 2, 3], 2), at_or_by([0, 10, 20], 20), at_or_by([0, 10, 20], 0)
    ('at', 'by', 'at')
    """
    return "at" if step == 0 or step - 1 in np.asarray(steps) else "by"


def until_taken(run: xr.Dataset) -> xr.Dataset:
    """Return one run without the steps that it never took.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> both = ravine.join({"short": ravine.descend(bowl, steps=20), "long": ravine.descend(bowl, steps=50)})
    >>> until_taken(both.sel(run="short")).sizes["step"]
    21
    """
    if "steps_taken" not in run or "step" not in run.dims or run["steps_taken"].isnull():
        return run
    if "step" not in run.coords:
        return run.isel(step=slice(int(run["steps_taken"]) + 1))
    return run.isel(step=run["step"].values <= int(run["steps_taken"]))


def axes(land: xr.Dataset) -> tuple[str, str]:
    """Names of the two parameters that a surface spans: horizontal first.

    Examples
    --------
    >>> import ravine
    >>> axes(ravine.surface(ravine.gallery.article(), bias=(-5, 8), weight=(-5, 8), points=3))
    ('bias', 'weight')
    """
    vertical, horizontal = check(land, "surface")["surface"].dims[-2:]
    return str(horizontal), str(vertical)
