"""Pictures of studies. Marks draw on one Axes and return it; figures arrange marks and return a Figure.

Nothing here computes a descent, imports torch, shows itself, or writes a file: call ``.savefig(path)``.

==========================  ===================================================================
``descent(runs, land)``      figure: paths over the loss, a panel for each criterion
``animate(runs, land)``      film: the same, step by step, with curve, fit or scoreboard beside it
``anatomy(run, land, k)``    figure: one update (k to k + 1) opened, as arrows and as a formula in numbers
``panel(run, land)``         figure: one run as path, curve and fit, linked by numbered steps
``losses(runs)``             figure: the loss at every step, or how much of the way is left
``phase(values)``            figure: one number for each pair of two settings, such as steps to arrive
``stability(runs)``          figure: which learning rates are stable and how fast, theory with runs on it
``between(line)``            figure: the loss, or the accuracy, between two states of a model
``layers(run)``              figure: how far each update moves each layer of a recorded network
``fit(runs)``                figure: the data and what the model learned
``scatter(runs)``            figure: the data alone
``slice(land, along, at)``   figure: the loss along one line, all criteria on one axis
``criteria(residuals)``      figure: loss against residual, and its slope
``vectors(run, step)``       mark: one update as arrows that add up to it
``surface(land)``            mark: the loss over a plane
``path(run)``                mark: the positions of one run
==========================  ===================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravine.plot._anatomy.anatomy import anatomy
    from ravine.plot._anatomy.arrows import vectors
    from ravine.plot._curves.between import between
    from ravine.plot._curves.criteria import criteria
    from ravine.plot._curves.fit import fit, scatter
    from ravine.plot._curves.layers import layers
    from ravine.plot._curves.losses import losses
    from ravine.plot._curves.panel import panel
    from ravine.plot._curves.slice import slice
    from ravine.plot._curves.stability import stability
    from ravine.plot._film.animate import animate
    from ravine.plot._map.descent import descent
    from ravine.plot._map.marks import path, surface
    from ravine.plot._phase.phase import phase

_HOME = {
    "anatomy": "_anatomy.anatomy",
    "animate": "_film.animate",
    "between": "_curves.between",
    "criteria": "_curves.criteria",
    "descent": "_map.descent",
    "fit": "_curves.fit",
    "layers": "_curves.layers",
    "losses": "_curves.losses",
    "panel": "_curves.panel",
    "path": "_map.marks",
    "phase": "_phase.phase",
    "scatter": "_curves.fit",
    "slice": "_curves.slice",
    "stability": "_curves.stability",
    "surface": "_map.marks",
    "vectors": "_anatomy.arrows",
}
"""Name of a picture → the module it lives in: matplotlib is imported with the first one."""

__all__ = [
    "anatomy",
    "animate",
    "between",
    "criteria",
    "descent",
    "fit",
    "layers",
    "losses",
    "panel",
    "path",
    "phase",
    "scatter",
    "slice",
    "stability",
    "surface",
    "vectors",
]


def __getattr__(name: str) -> Any:
    """Import a picture on first use, so that words of this wing cost nothing (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'ravine.plot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ravine.plot.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
