"""How far what is drawn of a run on a plane is from what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ravine.measure._objective import step_values


@dataclass(frozen=True)
class Misdrawn:
    """Where the loss drawn beneath a run is farthest from its true loss.

    `off` is their distance, inf where only one of them is finite; `low` and `high` are the lowest and the highest true
    loss of the run.
    """

    step: int
    true: float
    drawn: float
    low: float
    high: float

    @property
    def off(self) -> float:
        """How far apart the two losses are."""
        apart = abs(self.drawn - self.true)
        return apart if np.isfinite(apart) else np.inf

    @property
    def share(self) -> float:
        """The distance for the range of the true loss; NaN where the loss is the same throughout."""
        return self.off / (self.high - self.low) if self.high > self.low else np.nan


def find_misdrawn(run: xr.Dataset) -> Misdrawn | None:
    """Return where the map is most wrong about one run on a plane; None where that is not known.

    Steps at which neither loss is finite show nothing, and a step at which only one of them is comes before all others.

    Examples
    --------
    >>> losses = {"loss": ("step", [2.0, 1.0, 0.5]), "drawn_loss": ("step", [1.9, 1.3, 0.5])}
    >>> found = find_misdrawn(xr.Dataset(losses, {"step": [0, 10, 20]}))
    >>> found.step, round(found.off, 9), round(found.share, 9)
    (10, 0.3, 0.2)
    """
    if "loss" not in run or "drawn_loss" not in run:
        return None
    true, drawn = (run[name].values.astype(np.float64) for name in ("loss", "drawn_loss"))
    known = np.isfinite(true), np.isfinite(drawn)
    if not known[0].any() or not (known[0] | known[1]).any():
        return None
    with np.errstate(invalid="ignore"):
        off = np.where(known[0] & known[1], np.abs(drawn - true), np.where(known[0] != known[1], np.inf, -np.inf))
    k = int(off.argmax())
    seen = true[known[0]]
    return Misdrawn(int(step_values(run)[k]), float(true[k]), float(drawn[k]), float(seen.min()), float(seen.max()))
