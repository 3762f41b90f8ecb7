"""The part of a plane that runs went through."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ravine._format import listed
from ravine._study.contract import check

NO_MOVE = 1e-3
"""Share of the other side below which a side of the box counts as rounding noise."""


def around(runs: xr.Dataset, margin: float = 0.15) -> dict[str, tuple[float, float]]:
    """Choose ranges that show these runs, for `surface`.

    The box holds every position whose loss is at most ten times as far from the best as the start's (so a
    diverging run does not blow the picture up; it is shown leaving), and the first update in any case.

    Parameters
    ----------
    runs
        A study with ``position`` of two parameters and ``loss``.
    margin
        Share of the box's side added on each side.

    Returns
    -------
    dict
        Parameter label to (low, high), horizontal first: the second parameter if the first is a ``weight``,
        as in the article, else in the order of the labels.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] ** 2, start={"x": 4.0, "y": 2.0})
    >>> ravine.around(ravine.descend(bowl, lr=0.5, steps=1))
    {'x': (-0.6, 4.6), 'y': (-0.3, 2.3)}
    """
    check(runs, "position", "loss")
    labels = [str(label) for label in runs["parameter"].values]
    if len(labels) != 2:
        raise ValueError(f"a plane of two parameters expected; these runs have {len(labels)} ({listed(labels)})")
    positions = runs["position"].transpose(..., "step", "parameter").values.astype(float)
    losses = runs["loss"].transpose(..., "step").values.astype(float)
    positions, losses = positions.reshape(-1, *positions.shape[-2:]), losses.reshape(-1, losses.shape[-1])
    sign = -1.0 if bool(np.all(runs.coords.get("maximize", False))) else 1.0
    with np.errstate(invalid="ignore"):
        gap = sign * losses - np.nanmin(np.where(np.isfinite(losses), sign * losses, np.nan), axis=1, keepdims=True)
        shown = gap <= 10 * gap[:, :1]
    shown[:, :2] = True
    seen = positions[shown & np.isfinite(positions).all(axis=-1)]
    lows, highs = seen.min(axis=0), seen.max(axis=0)
    longest = float((highs - lows).max()) or max(float(np.abs(highs).max()), 1.0)
    ranges = {}
    for label, low, high in zip(labels, lows, highs, strict=True):
        side = high - low
        if side < NO_MOVE * longest:  # a parameter that stayed where it was: show as much of it as of the other
            low, high, side = low - longest / 2, high + longest / 2, longest
        ranges[label] = (float(low - margin * side), float(high + margin * side))
    return dict(reversed(ranges.items())) if labels[0] == "weight" else ranges
