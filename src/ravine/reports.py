"""Reports: what the command line draws of runs, and what it prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table

import ravine
from ravine import tallies
from ravine.plot.captions import outcome
from ravine.plot.paper import Figure

if TYPE_CHECKING:
    from ravine.problem import Problem

__all__ = ["drawn", "picture_of", "print_findings", "print_result", "usual_view"]


def drawn(problem: Problem | Mapping[str, Problem], runs: xr.Dataset, style: str) -> tuple[xr.Dataset, Figure]:
    """Draw the descent over its surface where there are two parameters, else the loss by step."""
    if runs.sizes["parameter"] != 2:
        typer.echo(
            f"{runs.sizes['parameter']} parameters: a map shows two, so the picture is the loss at every step",
            err=True,
        )
        return runs, ravine.plot.losses(runs, style=style)
    one = next(iter(problem.values())) if isinstance(problem, Mapping) else problem
    land = ravine.surface(problem, one.ranges or ravine.around(runs))
    return runs.assign(surface=land["surface"]), ravine.plot.descent(runs, land, style=style)


def usual_view(held: xr.Dataset) -> str:
    """Choose a view: the descent where there is a surface to draw it over, a diagram for a sweep, else the losses."""
    if "surface" in held:
        return "descent" if "position" in held else "surface"
    numbers = tallies.numbers_of(held) if {"loss", "final_loss"} & set(held.data_vars) else held
    swept = {"lr", "momentum"} <= set(numbers.dims) and len(numbers.dims) <= 3
    return "phase" if swept else "losses"


def picture_of(runs: xr.Dataset) -> Callable[[str], Figure] | None:
    """Choose the picture of a sweep: a diagram of its two longest settings, else its losses; None for summaries."""
    numbers = tallies.numbers_of(runs)
    settings = [str(dim) for dim in numbers.dims if numbers[dim].dtype.kind == "f" and numbers.sizes[dim] > 2]
    settings = sorted(settings, key=lambda dim: numbers.sizes[dim], reverse=True)[:2]
    if len(settings) == 2 and numbers.ndim <= 3:
        x, y = sorted(settings, key=lambda dim: (dim != "lr", list(numbers.dims).index(dim)))
        return lambda style: ravine.plot.phase(numbers, x, y, style=style)
    return None if "loss" not in runs else lambda style: ravine.plot.losses(runs, style=style)


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


MOST_RUNS = 20
"""Runs up to which each is explained; of more, nobody reads the sentences."""


def print_findings(runs: xr.Dataset, most: int | None) -> None:
    """Print the findings, each run's under its labels; the most important ones where `most` says how many."""
    count = runs["loss"].size // runs.sizes["step"] if "loss" in runs else 1
    if count > MOST_RUNS and most is not None:
        return
    if count > MOST_RUNS:
        raise ValueError(f"{count:,} runs are too many to explain: select at most {MOST_RUNS}, as in --at lr=0.1")
    by_run: dict[str, list[Any]] = {}
    for finding in ravine.explain(runs):
        by_run.setdefault(finding.whose, []).append(finding)
    for label, findings in by_run.items():
        if label:
            typer.echo(label)
        for finding in findings[:most]:
            typer.echo(("  " if label else "") + finding.told)
