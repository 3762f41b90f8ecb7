"""Surfaces for pictures that are given none: held by the study, or made by whoever made the runs in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

import xarray as xr

from ravine._study.contract import check, plane_of

Maker = Callable[[xr.Dataset], xr.Dataset | None]
"""Makes a surface around runs, if it can prove that they are of its problem."""

MOST = 16
"""Problems of the last runs that are remembered."""

_makers: deque[tuple[Hashable, Maker]] = deque(maxlen=MOST)


def remember(key: Hashable, maker: Maker) -> None:
    """Remember what makes surfaces around the runs of a problem; the key is the same for the same problem."""
    for held in [each for each in _makers if each[0] == key]:
        _makers.remove(held)
    _makers.append((key, maker))


def surface_for(runs: xr.Dataset, land: xr.Dataset | None, call: str) -> xr.Dataset:
    """Return the surface that a picture is drawn over: what was given, what the study holds, or one made around it.

    Raises
    ------
    ValueError
        If it is not known what the runs descended, or two problems could be it; the message names the call.
    """
    check(runs, "position")
    if land is not None:
        return check(land, "surface")
    if "surface" in runs:
        return runs
    if runs.sizes["parameter"] != 2:
        ways = ["ravine.plot.losses(runs) draws the losses of any"] if "loss" in runs else []
        if not call.endswith("anatomy"):  # an update is taken apart by its parameters, which a plane has not
            ways.append(
                f"with plane = ravine.Plane.pca(run) {call}(plane.project(run, problem), ravine.surface(problem, "
                "plane=plane)) draws a run over a plane through it"
            )
        ways.append("a surface along two of them is ravine.surface(problem, {…})")
        raise ValueError(
            f"a map shows two parameters, and these runs have {runs.sizes['parameter']:,}: {'; '.join(ways)}"
        )
    if plane_of(runs) is not None:
        raise ValueError(
            "these runs lie on a plane through the space of all parameters: give the loss over it, as in "
            f"{call}(runs, ravine.surface(problem, plane=plane))"
        )
    found: list[xr.Dataset] = []
    for _, maker in reversed(_makers):
        made = maker(runs)
        if made is not None and not any(made.equals(each) for each in found):
            found.append(made)
    if len(found) == 1:
        return found[0]
    reason = "it is not known here what these runs descended" if not found else "these runs could be of two problems"
    raise ValueError(f"{reason}: give a surface, as in {call}(runs, ravine.surface(problem, ravine.around(runs)))")
