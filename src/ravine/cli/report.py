"""What the command line draws of runs, and what it prints of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

import ravine
from ravine import measure
from ravine._findings.sweep import of_a_sweep
from ravine._format import listed
from ravine._study.provenance import describe, labelled
from ravine._system import write_whole
from ravine.plot._canvas.words import outcome

if TYPE_CHECKING:
    from ravine._problem.problem import Problem
    from ravine.plot._canvas.style import Figure


def format_report(runs: xr.Dataset, *, verbose: bool = False) -> list[str]:
    r"""Say how many runs there were, what became of them and which was best.

    How they were computed and how near to torch they are is said too if that is asked for; that they are not torch's
    to the last bit, in any case.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.sweep(ravine.gallery.quadratic(), lr=[-1, 0.1, 0.5, 5], steps=60)
    >>> print("\n".join(format_report(runs, verbose=True)))
    4 runs: 1 arrived, 1 not arrived, 1 diverged, 1 invalid (Invalid learning rate: -1)
    best: step 16 with lr 0.5
    Of 1 run beyond the limit of stability 1 diverges; of 2 runs within it none diverges.
    No run with lr up to 0.5 diverges, every run from lr 5 on does.
    SGD's rule on a batch, gradient by autograd (losses and gradients are every bit torch's at 102 positions)
    of torch: every bit, 3 whole runs of 60 steps compared
    """
    values = numbers_of(runs)
    known = values.name == "arrival"
    lines = [f"{values.size:,} run{'' if values.size == 1 else 's'}: {_count_fates(runs, values)}"]
    lines += [f"best{of}: {words}" for of, words in _find_best(values, "step {:.0f}" if known else "last loss {:.4g}")]
    told = of_a_sweep(runs, values if known else None)
    lines += [each.sentence for each in told if each.kind in ("fastest", "limits", "border")]
    facts = describe(runs, "loss" if "loss" in runs else "final_loss")
    for label, (engine, agreement, why) in labelled(facts["engine"], facts["equals_torch"], facts.get("why", "")):
        near = [] if agreement == "is torch" else [f"of torch: {agreement}"]
        found = [f"{engine} ({why})" if why else engine, *near] if verbose else []
        if not verbose and not str(agreement).startswith(("is torch", "every bit")):
            found = near
        lines += [f"{label}: {line}" if label else line for line in found]
    return lines


def numbers_of(runs: xr.Dataset) -> xr.DataArray:
    """Return one number for each run: its arrival where minima are known and none climbs, else its last loss.

    The last loss of a run that diverged is infinite.
    """
    climbs = bool(runs.coords.get("maximize", xr.DataArray(False)).any())
    if not climbs and ("minimum_loss" in runs or "arrival" in runs):
        return measure.arrival(runs)
    last = runs["final_loss"] if "final_loss" in runs else runs["loss"].isel(step=-1, drop=True)
    return last.rename("last loss").where(~measure.diverged(runs), np.inf)


def _count_fates(runs: xr.Dataset, values: xr.DataArray) -> str:
    fates = values["outcome"] if "outcome" in values.coords else _find_fates(runs)
    if "steps_taken" in runs:
        fates = fates.where(runs["steps_taken"] == runs["step"].values[-1], "not finished")
    names, counts = np.unique(fates.values.astype(str), return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    order = ("arrived", "not arrived", "not diverged", "diverged", "invalid", "not finished")
    words = listed(f"{found[name]:,} {name}" for name in order if found.get(name))
    if "error" in runs:
        reasons = [str(each) for each in np.unique(runs["error"]) if each]
        words += f" ({listed(reasons, 3)})" if reasons else ""
    return words


def _find_fates(runs: xr.Dataset) -> xr.DataArray:
    broken = measure.diverged(runs)
    fates = broken.astype("<U12").copy(data=np.where(broken.values, "diverged", "not diverged"))
    return fates.where(runs["error"] == "", "invalid") if "error" in runs else fates


def _find_best(values: xr.DataArray, template: str) -> Iterator[tuple[str, str]]:
    """Find the lowest value, for each label of the first dimension where that holds labels."""
    dims = [str(dim) for dim in values.dims]
    if dims and values[dims[0]].dtype.kind == "U" and len(dims) > 1:
        for label in values[dims[0]].values.tolist():
            for _, words in _find_best(values.sel({dims[0]: label}), template):
                yield f", {label}", words
        return
    values = values.where(np.isfinite(values))
    if not values.notnull().any():
        return
    flat = values.values.ravel()
    place = np.unravel_index(int(np.nanargmin(flat)), values.shape)
    where = ", ".join(
        f"{d.replace('_', ' ')} {_format_value(values[d].values[k])}" for d, k in zip(dims, place, strict=True)
    )
    ties = int((flat == np.nanmin(flat)).sum()) - 1
    more = f" (and {ties:,} other{'' if ties == 1 else 's'})" if ties else ""
    yield "", template.format(float(np.nanmin(flat))) + (f" with {where}" if where else "") + more


def _format_value(value: object) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)  # enough for ravine.at to find it


def draw_run(problem: Problem | Mapping[str, Problem], runs: xr.Dataset, style: str) -> tuple[xr.Dataset, Figure]:
    """Draw the descent over its surface where there are two parameters, else the loss by step."""
    if runs.sizes["parameter"] != 2:
        typer.echo(
            f"{runs.sizes['parameter']} parameters: a map shows two, so the picture is the loss at every step",
            err=True,
        )
        return runs, draw_losses(runs, style)
    one = next(iter(problem.values())) if isinstance(problem, Mapping) else problem
    land = ravine.surface(problem, one.ranges or ravine.around(runs))
    return runs.assign(surface=land["surface"]), ravine.plot.descent(runs, land, style=style)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all, as the ending of its name says."""
    with write_whole(path) as draft:
        figure.savefig(draft)


def choose_view(held: xr.Dataset) -> str:
    """Choose a view: the descent where there is a surface to draw it over, a diagram for a sweep, else the losses.

    The line between two states has a view of its own, and a recording, without a loss over all data, its layers.
    """
    if "line_loss" in held:
        return "between"
    if "surface" in held:
        return "descent" if "position" in held else "surface"
    if "loss" not in held and "update_ratio" in held:
        return "layers"
    numbers = numbers_of(held) if {"loss", "final_loss"} & set(held.data_vars) else held
    swept = {"lr", "momentum"} <= set(numbers.dims) and len(numbers.dims) <= 3
    return "phase" if swept else "losses"


def choose_picture(runs: xr.Dataset) -> Callable[[str], Figure] | None:
    """Choose the picture of a sweep: a diagram of its two longest settings, else its losses; None for summaries."""
    numbers = numbers_of(runs)
    settings = [str(dim) for dim in numbers.dims if numbers[dim].dtype.kind == "f" and numbers.sizes[dim] > 2]
    settings = sorted(settings, key=lambda dim: numbers.sizes[dim], reverse=True)[:2]
    if len(settings) == 2 and numbers.ndim <= 3:
        x, y = sorted(settings, key=lambda dim: (dim != "lr", list(numbers.dims).index(dim)))
        return lambda style: ravine.plot.phase(numbers, x, y, style=style)
    return None if "loss" not in runs else lambda style: draw_losses(runs, style)


def draw_losses(runs: xr.Dataset, style: str) -> Figure:
    """Draw a curve for each run, or a band where they are more than can be told apart."""
    return ravine.plot.losses(runs, band=are_many(runs), style=style)


def are_many(runs: xr.Dataset) -> bool:
    """Tell whether runs are too many for a curve each."""
    return "loss" in runs and runs["loss"].size // max(runs.sizes["step"], 1) > CURVES


CURVES = 24
"""Runs up to which each has a curve of its own where nothing is asked for."""


def print_result(runs: xr.Dataset) -> None:
    """Print what became of each run, in a table with where it ended."""
    dims = [str(d) for d in runs["loss"].dims if d != "step"]
    cells = [(str(v), runs.isel({dims[0]: i})) for i, v in enumerate(runs[dims[0]].values)] if dims else [("", runs)]
    labels = [str(label) for label in runs["parameter"].values[:6]]
    table = Table(box=None, pad_edge=False)
    for heading in (*dims, "result", *labels):
        table.add_column(heading)
    for name, run in cells:
        final = [f"{value:.6g}" for value in run["position"].values[-1, : len(labels)].tolist()]
        table.add_row(*([name] if dims else []), outcome(run), *final)
    Console(width=200).print(table)
    if not all(np.isfinite(run["loss"].values).all() for _, run in cells) and not bool(
        runs.coords.get("maximize", False)
    ):
        typer.echo("A smaller --lr may keep it from diverging; for columns of unlike size, so may --standardize.")


def print_findings(runs: xr.Dataset, most: int | None) -> None:
    """Print the findings, each run's under its labels; the most important ones where `most` says how many."""
    by_run: dict[str, list[Any]] = {}
    for finding in ravine.explain(runs):
        by_run.setdefault(finding.whose, []).append(finding)
    for label, findings in by_run.items():
        if label:
            typer.echo(label)
        for finding in findings[:most]:
            typer.echo(("  " if label else "") + finding.told)
    if most is None and "loss" in runs and any(finding.kind == "outcomes" for finding in by_run.get("", ())):
        dims = [str(dim) for dim in runs["loss"].dims if dim != "step"]
        name = "lr" if "lr" in dims else next((dim for dim in dims if dim in runs.coords), "")
        if name:
            value = runs[name].values[0].item()
            typed = shlex.quote(f"{name}={value:.8g}" if isinstance(value, float) else f"{name}={value}")
            typer.echo(f"--at {typed} selects the runs with that {name}; up to {CURVES} are explained one by one.")
    if any("condition_standardized" in finding.values for findings in by_run.values() for finding in findings):
        typer.echo("ravine descend --standardize makes the columns so.")
