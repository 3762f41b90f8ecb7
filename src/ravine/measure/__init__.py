"""Measures: what became of runs, as one number each. Dataset in, DataArray out; the steps are gone in between.

``objective`` is what a run really minimises, ``gap`` how far that is from its minimum, and ``arrival`` the one
measure of having got there; ``diverged`` tells who never will, ``period`` and ``rate`` how the others move, and
``barrier`` what lies between two of their ends. None of them needs torch, and all take as many runs at once as the
study holds.
"""

from ravine._study.optimizer import COUPLED
from ravine.measure._arrival import SHARE, arrival, diverged, first_nonfinite, steps_to, summary
from ravine.measure._barrier import barrier
from ravine.measure._objective import decay, evaluated, gap, objective
from ravine.measure._oscillation import period, rate, rises
from ravine.measure._update import update_of

__all__ = [
    "COUPLED",
    "SHARE",
    "arrival",
    "barrier",
    "decay",
    "diverged",
    "evaluated",
    "first_nonfinite",
    "gap",
    "objective",
    "period",
    "rate",
    "rises",
    "steps_to",
    "summary",
    "update_of",
]
