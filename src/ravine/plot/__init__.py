"""Pictures of studies. Marks draw on one Axes and return it; figures arrange marks and return a Figure.

Nothing here computes a descent, imports torch, shows itself, or writes a file: call ``.savefig(path)``.

======================  =======================================================================
``descent(runs, land)``  figure: paths over the loss, a panel for each criterion
``fit(runs)``            figure: the data and what the model learned
``losses(runs)``         figure: the loss at every step
``scatter(runs)``        figure: the data alone
``vectors(run, step)``   mark: one update as arrows that add up to it
``surface(land)``        mark: the loss over a plane
``path(run)``            mark: the positions of one run
======================  =======================================================================
"""

from ravine.plot.figures import descent, fit, losses, scatter
from ravine.plot.marks import path, surface
from ravine.plot.steps import vectors

__all__ = ["descent", "fit", "losses", "path", "scatter", "surface", "vectors"]
