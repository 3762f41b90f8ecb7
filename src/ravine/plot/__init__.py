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
``fit(runs)``                figure: the data and what the model learned
``scatter(runs)``            figure: the data alone
``slice(land, along, at)``   figure: the loss along one line, all criteria on one axis
``criteria(residuals)``      figure: loss against residual, and its slope
``vectors(run, step)``       mark: one update as arrows that add up to it
``surface(land)``            mark: the loss over a plane
``path(run)``                mark: the positions of one run
==========================  ===================================================================
"""

from ravine.plot.curves import fit, losses, scatter
from ravine.plot.diagram import phase
from ravine.plot.dissection import anatomy
from ravine.plot.figures import descent
from ravine.plot.film import animate
from ravine.plot.linked import panel
from ravine.plot.marks import path, surface
from ravine.plot.rates import stability
from ravine.plot.steps import vectors
from ravine.plot.views import criteria, slice

__all__ = [
    "anatomy",
    "animate",
    "criteria",
    "descent",
    "fit",
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
