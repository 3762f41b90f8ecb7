"""Which runs and which surface belong together in one picture of a grid of pictures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._findings.run import Run, run_of
from ravine._format import hint, listed
from ravine._study.contract import axes, until_taken
from ravine.plot._canvas.hues import MOST
from ravine.plot._canvas.words import Decays, coupled_decay, label_text, short_label
from ravine.plot._map.contours import gaps_of, shared_gaps
from ravine.plot._map.marks import objective, trajectory

Array = NDArray[np.floating[Any]]

MOST_PANELS = 16
NEEDED = (
    "inputs",
    "targets",
    "position",
    "loss",
    "batch_loss",
    "gradient",
    "scheduled_lr",
    "minimizer",
    "minimum_loss",
    "hessian",
    "data_minimizer",
    "data_minimum_loss",
    "sharpness",
    "drawn_loss",
    "squares",
    "steps_taken",
)


@dataclass(frozen=True, eq=False)
class Panel:
    """Runs over one surface, and everything about them that is drawn."""

    label: str
    runs: list[xr.Dataset]
    names: list[str]
    land: xr.Dataset
    x: Array
    y: Array
    values: Array
    decay: Decays
    scale: Hashable
    gaps: Array | None = field(default=None)

    @cached_property
    def views(self) -> list[Run]:
        """The runs as findings look at them: what is asked of one more than once is computed once."""
        return [run_of(run) for run in self.runs]

    def same(self, other: Panel) -> bool:
        """Tell whether surface and positions are equal in every bit."""
        return (
            len(self.runs) == len(other.runs)
            and np.array_equal(self.values, other.values, equal_nan=True)
            and all(
                np.array_equal(a["position"].values, b["position"].values, equal_nan=True)
                for a, b in zip(self.runs, other.runs, strict=True)
            )
        )


@dataclass(frozen=True, eq=False)
class PanelGrid:
    """All panels of a figure, row by row; labels of rows where two dimensions span a grid."""

    panels: list[Panel]
    columns: int | None
    rows: list[str]


def make_panels(runs: xr.Dataset, land: xr.Dataset, hue: str | None, fold: bool, most: int = MOST) -> PanelGrid:
    """Arrange runs and surfaces to panels, with at most so many runs in each, or say what must be selected first."""
    runs = runs[[name for name in NEEDED if name in runs]]
    line, names = _read_hue(runs, hue, most)
    dims = [str(d) for d in runs["position"].dims if d not in ("step", "parameter", line)]
    if len(dims) > 2:
        raise ValueError(
            f"runs differ in {listed(dims)}; a figure has panels for two of them, and hue= overlays a third: "
            f"select the others, for example ravine.at(runs, {dims[0]}={runs[dims[0]].values[0]!s})"
        )
    if line is not None and line in land["surface"].dims:
        raise ValueError(f"surfaces differ along {line!r}, so runs over them cannot share a panel: choose another hue")
    count = int(np.prod([runs.sizes[d] for d in dims]))
    if count > MOST_PANELS:
        spot = " and ".join(repr(d) for d in dims)
        raise ValueError(f"{count} panels are too many to read (at most {MOST_PANELS}): select some along {spot}")
    grid = [
        [_make_panel(runs, land, dict(zip(dims, place, strict=True)), line, names) for place in row]
        for row in _grid_places(runs, dims)
    ]
    rows = [label_text(dims[0], v) for v in runs[dims[0]].values] if len(dims) == 2 else []
    if fold:
        grid, rows = _fold_grid(grid, rows)
    panels = _share_scales([panel for row in grid for panel in row])
    return PanelGrid(panels, len(grid[0]) if rows else None, rows)


def _read_hue(runs: xr.Dataset, hue: str | None, most: int) -> tuple[str | None, list[str]]:
    """Return the dimension along which runs share a panel, and the name of each."""
    if hue is None:
        return None, [""]
    dims = [str(d) for d in runs["position"].dims if d not in ("step", "parameter")]
    along = [str(n) for n, c in runs.coords.variables.items() if c.ndim == 1 and c.dims[0] in dims]
    varying = list(dict.fromkeys([*dims, *along]))
    if hue not in varying:
        if not varying:
            raise ValueError(f"there is one run only, and hue tells several apart: leave it out, got {hue!r}")
        there = f"they differ in {listed(varying)}{hint(hue, varying)}"
        raise ValueError(f"runs do not differ in {hue!r}; {there}: choose one of these as hue, or leave it out")
    line = str(runs[hue].dims[0])
    if runs.sizes[line] > most:
        raise ValueError(
            f"{runs.sizes[line]} runs in one panel are too many to tell apart (at most {most}): "
            f"select some along {line!r}, for example with runs.isel"
        )
    return line, [short_label(hue, v) for v in runs[hue].values.tolist()]


def _grid_places(runs: xr.Dataset, dims: Sequence[str]) -> list[list[tuple[int, ...]]]:
    if not dims:
        return [[()]]
    if len(dims) == 1:
        return [[(i,) for i in range(runs.sizes[dims[0]])]]
    return [[(i, j) for j in range(runs.sizes[dims[1]])] for i in range(runs.sizes[dims[0]])]


def _make_panel(runs: xr.Dataset, land: xr.Dataset, place: dict[str, int], line: str | None, names: list[str]) -> Panel:
    chosen = runs.isel(place)
    singles = [chosen.isel({line: i}) for i in range(runs.sizes[line])] if line else [chosen]
    below, key = _surface_under(chosen, land, place)
    pair = axes(land)
    for run in singles:  # complain before drawing
        trajectory(run, pair)
    decays = {coupled_decay(run) for run in singles}
    decay = decays.pop() if len(decays) == 1 else 0.0
    x, y, values = objective(below, decay)
    if place:
        dim = list(place)[-1]
        label = label_text(dim, runs[dim].values[place[dim]])
    else:
        label = str(runs["criterion"].values) if "criterion" in runs.coords else ""
    return Panel(label, [_steps_taken(run) for run in singles], names, below, x, y, values, decay, key)


def _steps_taken(run: xr.Dataset) -> xr.Dataset:
    """Cut off what stands after the last step of a run that was shorter than its neighbours."""
    return run if "steps_taken" in run and run["steps_taken"].ndim else until_taken(run)


def _surface_under(run: xr.Dataset, land: xr.Dataset, place: dict[str, int]) -> tuple[xr.Dataset, Hashable]:
    """Return the surface under a run, and what tells surfaces apart that need a scale of their own."""
    key: list[str] = []
    for dim in [str(d) for d in land["surface"].dims[:-2]]:
        if dim not in run.coords or run[dim].ndim:
            continue  # `marks.objective` says what to select
        value = run[dim].values.item()
        if value not in land[dim].values:
            if dim not in place:
                continue
            raise ValueError(
                f"there is a run for {dim} {value!s} but no surface: ravine.surface of the same problems makes it"
            )
        land = land.sel({dim: value})
        key.append(str(value))
    return land, tuple(key)


def _fold_grid(grid: list[list[Panel]], rows: list[str]) -> tuple[list[list[Panel]], list[str]]:
    """Join equal neighbours under one name: panels of a row, or whole columns and rows of a grid."""
    columns = [list(column) for column in zip(*grid, strict=True)]
    kept: list[list[Panel]] = []
    for column in columns:
        if kept and all(a.same(b) for a, b in zip(kept[-1], column, strict=True)):
            kept[-1] = [replace(a, label=f"{a.label} = {b.label}") for a, b in zip(kept[-1], column, strict=True)]
        else:
            kept.append(column)
    grid = [list(row) for row in zip(*kept, strict=True)]
    if not rows:
        return grid, rows
    lines, names = [grid[0]], [rows[0]]
    for row, name in zip(grid[1:], rows[1:], strict=True):
        if all(a.same(b) for a, b in zip(lines[-1], row, strict=True)):
            names[-1] = f"{names[-1]} = {name}"
        else:
            lines.append(row)
            names.append(name)
    return lines, names


def _share_scales(panels: list[Panel]) -> list[Panel]:
    """Give panels over one surface one scale: with weight decay, or without, a colour means the same gap."""
    scales = {
        key: shared_gaps([panel.values for panel in panels if panel.scale == key])
        for key in {panel.scale for panel in panels}
    }
    return [
        replace(panel, gaps=scales[panel.scale] if gaps_of(panel.values) is not None else None)
        if len(panels) > 1
        else replace(panel, gaps=scales[panel.scale])
        for panel in panels
    ]
