"""What many runs say together: what became of them, which is best, what the best have in common, where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import measure
from ravine._findings.finding import Finding
from ravine._findings.run import EDGE
from ravine._format import listed, names, setting, steps
from ravine.measure._objective import climbs

Mask = NDArray[np.bool_]

FASTEST = 0.1
"""Share of the runs that arrive which is looked at for what it has in common."""

FEWEST = 20
"""Runs that must arrive before a tenth of them is spoken of."""

FATES = {
    "arrived": ("arrives", "arrive"),
    "not arrived": ("has not arrived", "have not arrived"),
    "diverged": ("diverges", "diverge"),
    "not made": ("was not made", "were not made"),
}
"""What becomes of one run, and of several."""

NAMED = 3
"""Labels that are named; of more it is left out which they are."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Many runs, with what became of each; arrays are (…) by the dimensions of choice."""

    runs: xr.Dataset
    measured: xr.DataArray | None = None
    """Their arrival, where it was measured before."""

    @cached_property
    def climbing(self) -> bool:
        """Whether any run climbs: what it arrives at is not known."""
        return bool(np.any(climbs(self.runs).values))

    @cached_property
    def knows_minimum(self) -> bool:
        """Whether it is known how far each run is from its minimum."""
        return not self.climbing and ("minimum_loss" in self.runs or "arrival" in self.runs)

    @cached_property
    def arrival(self) -> xr.DataArray:
        """The step of arrival, with what became of each run; without a minimum only who diverged is known."""
        if self.knows_minimum:
            return measure.arrival(self.runs) if self.measured is None else self.measured
        diverged = measure.diverged(self.runs)
        fate = np.where(diverged.values, "diverged", "not diverged")
        if "error" in self.runs:
            fate = np.where(self.runs["error"].transpose(*diverged.dims).values == "", fate, "invalid")
        return diverged.astype(np.float64).where(False).assign_coords(outcome=(diverged.dims, fate))

    @property
    def outcome(self) -> NDArray[np.str_]:
        """What became of each run."""
        return np.asarray(self.arrival["outcome"].values)

    def along(self, name: str) -> NDArray[np.float64]:
        """Return a coordinate of numbers, one for each run."""
        values = self.arrival[name].variable + xr.zeros_like(self.arrival.variable)
        return np.asarray(values.transpose(*self.arrival.dims).values, dtype=np.float64)

    def settings_of(self, chosen: Mask) -> list[str]:
        """Say which settings some runs have in common: of those that take fewer values there than in the sweep."""
        found = []
        for place, dim in enumerate(map(str, self.arrival.dims)):
            labels = self.arrival[dim].values
            there = chosen.any(axis=tuple(k for k in range(chosen.ndim) if k != place))
            some = labels[there]
            if len(some) < len(labels) and (_are_numbers(labels) or len(some) <= NAMED):
                words = _values_text(some, labels)
                found.append(words if dim == "run" else f"{dim} {words}")
        return found


def _are_numbers(labels: NDArray[np.generic]) -> bool:
    return labels.dtype.kind in "fiu"


def _values_text(labels: NDArray[np.generic], every: NDArray[np.generic]) -> str:
    """Say which of the labels in a sweep some are: the few by name, a span as what it is.

    Examples
    --------
    >>> sweep = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
    >>> _values_text(sweep[[0, 5]], sweep), _values_text(sweep[1:5], sweep), _values_text(sweep[[0, 1, 3, 5]], sweep)
    ('0 or 1', 'from 0.1 to 0.4', 'from 0 to 1 (4 of the 6 values there)')
    """
    if not _are_numbers(labels) or len(labels) <= 2:
        return " or ".join(map(setting, labels.tolist()))
    low, high = labels.min(), labels.max()
    between = int(((every >= low) & (every <= high)).sum())
    if between > len(labels) <= NAMED:
        return " or ".join(map(setting, sorted(labels.tolist())))
    some = f" ({len(labels):,} of the {between:,} values there)" if between > len(labels) else ""
    return f"from {setting(low.item())} to {setting(high.item())}{some}"


def of_a_sweep(runs: xr.Dataset, arrival: xr.DataArray | None = None) -> Iterator[Finding]:
    """Find what many runs say together, the most important first; `arrival` is theirs, where it is known already."""
    sweep = Sweep(runs, arrival)
    for finding in (outcomes, best, fastest, limits, border):
        found = finding(sweep)
        if found is not None:
            yield found


def outcomes(sweep: Sweep) -> Finding:
    """Count what became of the runs."""
    kinds, counts = np.unique(sweep.outcome, return_counts=True)
    found = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    words = [f"{found[kind]:,} {verbs[found[kind] > 1]}" for kind, verbs in FATES.items() if kind in found]
    if "not diverged" in found:
        calm = found["not diverged"]
        words = [*words, f"{calm:,} do{'es' * (calm == 1)} not"] if words else ["none diverges"]
    sentence = f"Of {sweep.outcome.size:,} runs {names(words)}" if words else f"None of {sweep.outcome.size:,} runs ran"
    if "invalid" in found:
        reasons = sorted({str(each) for each in np.unique(sweep.runs["error"].values)} - {""})
        sentence += f"; torch refuses {found['invalid']:,} ({listed(reasons, most=2)})"
    values = {kind: float(count) for kind, count in found.items()}
    return Finding("outcomes", sentence + ".", {"runs": float(sweep.outcome.size), **values}, "measured")


def best(sweep: Sweep) -> Finding | None:
    """Name the settings that arrive soonest; None where none does."""
    arrival = sweep.arrival.values
    if np.isnan(arrival).all():
        return None
    soonest = float(np.nanmin(arrival))
    chosen = arrival == soonest
    count, where = int(chosen.sum()), sweep.settings_of(chosen)
    values: dict[str, float | str | bool] = {"step": soonest, "runs": float(count), "settings": ", ".join(where)}
    if count == 1:
        sentence = f"Soonest arrives the run with {names(where)}, at step {steps(soonest)}."
    else:
        shared = f", {'both' if count == 2 else 'all'} with {names(where)}" if where else ""
        sentence = f"Soonest, at step {steps(soonest)}, arrive {count:,} runs{shared}."
    return Finding("best", sentence, values, "measured")


def fastest(sweep: Sweep) -> Finding | None:
    """Say what the fastest tenth of the runs that arrive have in common; None where they span the whole sweep."""
    arrival = sweep.arrival.values
    arrived = np.sort(arrival[np.isfinite(arrival)])
    if len(arrived) < FEWEST:
        return None
    last = float(arrived[int(np.ceil(FASTEST * len(arrived))) - 1])
    chosen = arrival <= last
    where = sweep.settings_of(chosen)
    if chosen.sum() == len(arrived) or not where:
        return None
    values: dict[str, float | str | bool] = {"step": last, "runs": float(chosen.sum()), "settings": ", ".join(where)}
    sentence = f"The fastest tenth, {int(chosen.sum()):,} runs that arrive by step {steps(last)}, have {names(where)}."
    return Finding("fastest", sentence, values, "measured")


def limits(sweep: Sweep) -> Finding | None:
    """Set what diverged against the limit of stability of each run; None where theory does not speak of the runs."""
    if not {"stability_limit", "lr"} <= set(sweep.arrival.coords):
        return None
    lr, limit = sweep.along("lr"), sweep.along("stability_limit")
    ran = ~np.isin(sweep.outcome, ("invalid", "not made")) & np.isfinite(limit)
    beyond, within = ran & (lr > limit * (1 + EDGE)), ran & (lr < limit * (1 - EDGE))
    if not (beyond.any() and within.any()):
        return None
    diverged = sweep.outcome == "diverged"
    out, inside = int((beyond & diverged).sum()), int((within & diverged).sum())
    exact = bool((sweep.arrival["stability_scope"].values == "exact").all())
    values: dict[str, float | str | bool] = {
        "beyond": float(beyond.sum()),
        "beyond_diverged": float(out),
        "within": float(within.sum()),
        "within_diverged": float(inside),
        "exact": exact,
    }
    what = "the limit of stability" if exact else "the limit that curvature at the minimum sets"
    sentence = (
        f"Of {_runs_text(beyond)} beyond {what} {_so_many(out, int(beyond.sum()))}; of {_runs_text(within)} within it "
        f"{_so_many(inside, int(within.sum()))}."
    )
    return Finding("limits", sentence, values, "measured", source="ravine.theory.stability_limit")


def _runs_text(chosen: Mask) -> str:
    count = int(chosen.sum())
    return f"{count:,} run{'s' * (count != 1)}"


def _so_many(count: int, of: int) -> str:
    if count == 0 or count == of > 1:
        return "all diverge" if count else "none diverges"
    return f"{count:,} diverge{'s' * (count == 1)}"


def border(sweep: Sweep) -> Finding | None:
    """Say up to which lr none diverges, and from which on all do; None where the sweep has no such lr."""
    dims = list(map(str, sweep.arrival.dims))
    if "lr" not in dims or sweep.arrival["lr"].dtype.kind not in "fiu":
        return None
    order = np.argsort(sweep.arrival["lr"].values)
    rates = sweep.arrival["lr"].values[order]
    fate = np.moveaxis(sweep.outcome, dims.index("lr"), 0)[order].reshape(len(rates), -1)
    ran, diverged = ~np.isin(fate, ("invalid", "not made")), fate == "diverged"
    if not diverged.any():
        return None
    calm = np.flatnonzero(np.logical_and.accumulate(~diverged.any(axis=1)) & ran.any(axis=1))
    wild = np.flatnonzero(np.logical_and.accumulate((diverged | ~ran).all(axis=1)[::-1])[::-1] & ran.any(axis=1))
    if not (calm.size or wild.size):
        return None
    values: dict[str, float | str | bool] = {}
    words = []
    if calm.size:
        values["none_up_to"] = float(rates[calm[-1]])
        words.append(f"no run with lr up to {setting(values['none_up_to'])} diverges")
    if wild.size:
        values["all_from"] = float(rates[wild[0]])
        words.append(f"every run from lr {setting(values['all_from'])} on {'does' if calm.size else 'diverges'}")
    sentence = ", ".join(words)
    return Finding("border", f"{sentence[0].upper()}{sentence[1:]}.", values, "measured")
