"""One number for each pair of two settings, from an array or a study, panel by panel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import measure
from ravine._format import hint, kind_of, listed, steps
from ravine.plot._canvas.scales import MOST_NAMED, CellAxis, cell_axis
from ravine.plot._canvas.words import label_text, number_text
from ravine.plot._phase.labels import Best, best_of, best_without
from ravine.plot._phase.lines import Frontier, frontier_of
from ravine.plot._phase.outcomes import ARRIVED, Outcomes, outcomes_of

Array = NDArray[np.floating[Any]]

MOST_PANELS = 12

STEPS = frozenset({"arrival", "steps_to"})
"""Measures that count the steps until a run gets there: few of them is fast."""


@dataclass(frozen=True, eq=False)
class Field:
    """One panel: its values, NaN where a cell has another outcome than a value; rows are vertical."""

    label: str
    entry: Any
    values: Array
    outcomes: Outcomes
    best: Best | None
    without: Best | None
    frontier: Frontier | None = None


@dataclass(frozen=True, eq=False)
class Diagram:
    """All that a figure shows, and how its values are spoken of."""

    x: CellAxis
    y: CellAxis
    fields: list[Field]
    panels: str | None
    quantity: str
    unit: str
    arrival: bool
    within: str
    left_out: str = ""

    @property
    def key(self) -> str:
        """What the colour key is called."""
        return self.unit if self.arrival else f"{self.quantity} ({self.unit})" if self.unit else self.quantity

    @property
    def lowest(self) -> str:
        """What the best setting is called."""
        return "fastest" if self.arrival else "lowest"

    def value_text(self, value: float) -> str:
        """Say a value with its unit."""
        plain = steps(value) if value == round(value) and 0 <= value < 1e6 else number_text(value)
        unit = self.unit[:-1] if self.unit == "steps" and value == 1 else self.unit
        return f"{plain} {unit}".strip()

    def where(self, best: Best) -> str:
        """Say where a best setting lies."""
        return f"{self.x.value_text(best.column)}, {self.y.value_text(best.row)}"

    def others(self, best: Best) -> str:
        """Say how many other settings are as good."""
        return f"{best.ties - 1:,} other setting{'s' * (best.ties > 2)}"

    def cell_text(self, field: Field, row: int, column: int, exact: bool) -> str:
        """Say what became of one cell."""
        if field.outcomes.word(row, column) != ARRIVED:
            return field.outcomes.word(row, column)
        return ("" if exact else "about ") + self.value_text(float(field.values[row, column]))


def diagram_of(values: xr.DataArray, x: str, y: str, within: str) -> Diagram:
    """Read what is to be drawn, or say what must be selected or computed first."""
    dims = [str(dim) for dim in values.dims]
    if x == y:
        raise ValueError(f"x and y are both {x!r}: a diagram has two different settings")
    for name in (x, y):
        if name not in dims or values.sizes[name] < 2:
            raise ValueError(_no_axis(values, name))
    values = values.squeeze([dim for dim in dims if dim not in (x, y) and values.sizes[dim] == 1])
    others = [str(dim) for dim in values.dims if dim not in (x, y)]
    if "step" in others or "parameter" in others:
        raise ValueError(
            f"the values lie along {listed(values.dims)}; a diagram shows one number for each setting: "
            "choose a step, for example values.isel(step=-1), or a measure, ravine.measure.arrival(runs)"
        )
    if len(others) > 1:
        first = f"{others[0]}={values[others[0]].values[0]!s}"
        raise ValueError(
            f"besides {x!r} and {y!r} the values differ in {listed(others)}; a figure has panels for one of them: "
            f"select the others, for example values.sel({first})"
        )
    count = values.sizes[others[0]] if others else 1
    if count > MOST_PANELS:
        raise ValueError(
            f"{count} panels are too many to read (at most {MOST_PANELS}): select some along {others[0]!r}"
        )
    for name in (x, y):
        if values[name].dtype.kind in "iuf" and not values.get_index(name).is_monotonic_increasing:
            values = values.sortby(name)
    left_out: list[str] = []
    for name in (x, y):
        places = values[name].values
        if values.sizes[name] > MOST_NAMED and places.dtype.kind == "f" and np.isinf(places).any():
            left_out.append(f"{name.replace('_', ' ')} {listed(map(number_text, places[np.isinf(places)].tolist()))}")
            values = values.isel({name: ~np.isinf(places)})
    values = values.transpose(*others, y, x)
    across, up = cell_axis(values, x), cell_axis(values, y)
    parts = [values.isel({others[0]: k}) for k in range(count)] if others else [values]
    counts = values.name in STEPS
    return Diagram(
        across,
        up,
        [_read_field(part, others[0] if others else None, across, up) for part in parts],
        others[0] if others else None,
        str(values.name or "value").replace("_", " "),
        str(values.attrs.get("units", "steps" if counts else "")),
        counts,
        within,
        f"{listed(left_out)} left out: no scale holds it" if left_out else "",
    )


def values_of(given: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return one number for each setting; for a study that is when it arrives."""
    if isinstance(given, xr.Dataset):
        try:
            return measure.arrival(given)
        except ValueError as error:
            raise ValueError(
                f"{error}; or draw another measure, for example the last loss: ravine.plot.phase(runs.loss[..., -1])"
            ) from None
    if not isinstance(given, xr.DataArray):
        raise TypeError(
            f"expected one number for each setting (an xarray.DataArray) or a study (an xarray.Dataset), "
            f"got {kind_of(given)}: ravine.sweep(problem, lr=[…], momentum=[…]) makes one"
        )
    if given.dtype.kind not in "biuf":
        raise TypeError(f"a diagram shows numbers; the values are {given.dtype}")
    return given


def _no_axis(values: xr.DataArray, name: str) -> str:
    """Say why a dimension cannot be an axis, and what to do."""
    turned = [str(dim) for dim in values.dims if values.sizes[dim] > 1 and dim not in ("step", "parameter")]
    along = [str(dim) for dim in values[name].dims] if name in values.coords and name not in values.dims else []
    count = len(set(values[name].to_series().dropna())) if along else 0
    if count > 1 and along == ["run"]:
        return (
            f"{name!r} has {count:,} values, but each run has its own: a diagram needs a grid of two settings. Sweep "
            'one optimizer by itself, as in ravine.sweep(problem, "sgd", lr=[…], momentum=[…]), or draw '
            "ravine.plot.losses(runs) of some of the runs"
        )
    if count > 1:
        return f"{name!r} has {count:,} values, but goes with {listed(along)}: choose x and y among {listed(turned)}"
    if len(turned) < 2:
        why = "has one value only" if name in values.coords else "is not there"
        where = f"; the values differ in {listed(turned)}" if turned else ""
        return f"{name!r} {why}{where}: a diagram needs two settings that vary; draw ravine.plot.losses(runs) instead"
    return (
        f"the values do not lie along {name!r}{hint(name, turned)}; they differ in {listed(turned)}: "
        "choose x and y among these"
    )


def _read_field(part: xr.DataArray, dim: str | None, x: CellAxis, y: CellAxis) -> Field:
    """Read one panel; of equally good settings the plainest stands for all."""
    outcomes = outcomes_of(part)
    values = np.where(outcomes.are(ARRIVED), part.values.astype(float), np.nan)
    entry = part[dim].values.item() if dim else None
    single = next((str(part[n].values) for n in ("criterion", "problem") if n in part.coords and not part[n].ndim), "")
    label = single if dim is None else f"{dim} {entry}" if isinstance(entry, bool) else label_text(dim, entry)
    best, without = best_of(values), best_without(values, y)
    if best is not None and without is not None and without.value == best.value:
        best = without = replace(without, cells=best.cells)
    return Field(label, entry, values, outcomes, best, without, frontier_of(part, x, y))


def within_text(values: xr.DataArray) -> str:
    """Say how many steps the runs had, where that is known."""
    taken = values.attrs.get("steps")
    if taken is None and "steps" in values.coords and not values["steps"].ndim:
        taken = values["steps"].item()
    return f" within {int(taken):,} steps" if taken is not None else ""
