"""A plane through the space of all parameters: what it holds, and where a map of it misleads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ravine._findings.finding import Finding
from ravine._findings.run import Run
from ravine._format import number, percent, percent_at_most, steps, told_apart
from ravine._study.contract import plane_of
from ravine._study.counted import unit_of
from ravine._study.interpolant import interpolant_of
from ravine.measure._drawn import find_misdrawn

WALK = "Antognini and Sohl-Dickstein, NeurIPS 2018"

ALIKE = 0.02
"""Difference of two shares within which they are about the same."""

ON_ANY = 3
"""Places that always lie on one plane."""

SEEN = 10
"""Recorded steps below which a map that is true to them says little of the way between them."""

TRUE_TO = 0.01
"""Share of the loss's range within which a map is true to a run."""


def of_what(facts: Mapping[str, Any]) -> str:
    """Name what the axes of a plane take a share of.

    Examples
    --------
    >>> of_what({"kind": "pca"}), of_what({"kind": "ends"})
    ('of the variance', 'of the squared distance from the end')
    """
    return {"pca": "of the variance", "ends": "of the squared distance from the end"}.get(facts["kind"], "of it")


def held(runs: xr.Dataset) -> Iterator[Finding]:
    """Set what a plane holds of the runs against what one would hold of a random walk.

    Its steps have the lengths of the runs', and their momentum.
    """
    facts = plane_of(runs)
    if facts is None:
        return
    shares = {name: _sum_of(facts.get(name)) for name in ("explained", "null")}
    share, walk = shares["explained"], shares["null"]
    if share is None or walk is None:
        return
    holds = f"The plane holds {percent(share)} {of_what(facts)}"
    sentence = f"{holds}; a random walk with steps like these would give {percent(walk)}."
    if abs(share - walk) <= ALIKE:
        sentence = f"{holds}, about what a random walk with steps like these would give ({percent(walk)})."
    elif share < walk:
        sentence = f"{holds}, less than a random walk with steps like these would give ({percent(walk)})."
    yield Finding("plane", sentence, {"explained": share, "null": walk}, "measured", source=WALK)


def read_off(runs: xr.Dataset) -> Iterator[Finding]:
    """Say that a map was not evaluated at each of its points, and how far it is off."""
    found = interpolant_of(runs)
    if found is None:
        return
    across, up = found.nodes
    values = {"across": float(across), "up": float(up), "error": found.error, "checked": float(found.checked)}
    yield Finding("interpolation", f"The map is {found.words()}.", values, "measured")


def _sum_of(shares: Sequence[float] | None) -> float | None:
    """Return the sum of the shares of two axes; None where they are not known."""
    if shares is None or len(shares) < 2:
        return None
    each = np.asarray(shares[:2], dtype=np.float64)
    return float(each.sum()) if np.isfinite(each).all() and (each >= 0).all() else None


def misleads(run: Run) -> Finding | None:
    """Say where the loss drawn beneath a run is farthest from the true one, or that it is nowhere far."""
    found = find_misdrawn(run.study)
    if found is None or plane_of(run.data) is None:
        return None
    values = {"step": float(found.step), "loss": found.true, "drawn_loss": found.drawn, "off": found.off}
    values |= {"share": found.share} if np.isfinite(found.share) else {}
    recorded = int(np.isfinite(run.losses).sum())
    values["recorded"] = float(recorded)
    if found.share < TRUE_TO and recorded <= ON_ANY and not run.gapless:
        said = f"The {recorded} recorded {unit_of(run.data)}s lie on the plane, as any three places do"
        sentence = f"{said}: whether the map is true to the way between them is not known."
        return Finding("map", sentence, values, "measured")
    if found.share < TRUE_TO:
        whole = "step" if run.gapless else f"recorded {unit_of(run.data)}"
        bound = "the true one in every bit"
        if found.off:
            bound = f"within {percent_at_most(found.share)} of the range of the loss"
        sentence = f"The map is true to this run: at every {whole} the loss on the plane is {bound}"
        sentence += f", and farthest off at step {steps(found.step)}." if found.off else "."
        if recorded < SEEN and not run.gapless:
            sentence += f" These are {recorded}: of the way between them it is not known."
        return Finding("map", sentence, values, "measured")
    true, drawn = told_apart(found.true, found.drawn) or (number(found.true), number(found.drawn))
    sentence = f"The map misleads most at step {steps(found.step)}: the loss is {true} there, and {drawn} on the plane"
    if np.isfinite(found.share) and np.isfinite(found.off):
        sentence += f", off by {percent(found.share)} of the range of the loss"
    return Finding("map", f"{sentence}.", values, "measured")
