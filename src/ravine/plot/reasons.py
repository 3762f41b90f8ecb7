"""Reasons: what findings say of the runs in a picture, as its title and as the lines under its panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ravine import measure
from ravine.findings import shape_of
from ravine.plot import captions

__all__ = ["End", "because", "end_of", "title"]


def because(run: xr.Dataset) -> str:
    """Say in one sentence why a path looks as it does; nothing where nothing certain is known.

    Examples
    --------
    >>> import ravine
    >>> because(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9))
    'The path orbits the minimum every 13.5 to 17.1 steps; the swing halves every 13.2 steps. (exact)'
    """
    found = shape_of(run)
    return "" if found is None else found.told


@dataclass(frozen=True)
class End:
    """How a run ended: ``arrived``, ``not arrived`` or ``diverged``, and the step of arrival."""

    outcome: str
    step: float

    @property
    def words(self) -> str:
        """Say when it arrives, or that it does not; that it diverged, the line with its losses says."""
        told = {"arrived": f"arrives at step {self.step:.0f}", "not arrived": "has not arrived"}
        return told.get(self.outcome, "")


def end_of(run: xr.Dataset) -> End | None:
    """Tell how a run ended; None where its minimum is not known.

    Examples
    --------
    >>> import ravine
    >>> end_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)).words
    'arrives at step 12'
    """
    if "minimum_loss" not in run or bool(run.coords.get("maximize", False)):
        return None
    if not np.isfinite(run["minimum_loss"].item()):
        return None
    arrived = measure.arrival(run.drop_vars("hessian", errors="ignore"))  # its limits are not asked for here
    return End(str(arrived["outcome"].item()), arrived.item())


def title(runs: xr.Dataset, ends: Sequence[End | None]) -> str:
    """Name what was turned, and say when that arrives.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1)
    >>> title(runs, [end_of(runs.isel(criterion=k)) for k in range(4)])
    'Plain SGD, lr 0.1: one of 4 runs arrives in 100 steps'
    """
    knobs = captions.knobs(runs)
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return knobs
    if len(known) == 1:
        return f"{knobs}: {known[0].words or known[0].outcome}"
    broken = sum(end.outcome == "diverged" for end in known)
    steps = [end.step for end in known if end.outcome == "arrived"]
    if broken:
        return f"{knobs}: {_count(broken, len(known))} diverged"
    if len(steps) < len(known):
        verb = "arrives" if len(steps) == 1 else "arrive"
        return f"{knobs}: {_count(len(steps), len(known))} {verb} in {captions.steps(runs)}"
    low, high = min(steps), max(steps)
    return f"{knobs}: all arrive" + (f", at steps {low:.0f} to {high:.0f}" if high > low else f" at step {low:.0f}")


def _count(some: int, all: int) -> str:
    if some == all:
        return "all runs"
    return f"{ {0: 'none', 1: 'one'}.get(some, str(some)) } of {all} runs"
