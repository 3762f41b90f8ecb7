"""ravine shows what every knob of a gradient-descent optimizer does.

The tour, in five lines (each is explained on the object itself)::

    import ravine

    problems = ravine.gallery.article()                             # four criteria on one small data set
    runs = ravine.descend(problems, lr=0.1, momentum=0.9)           # torch.optim.SGD, every step recorded
    land = ravine.surface(problems, bias=(-5, 8), weight=(-5, 8))   # the loss over a grid
    ravine.plot.descent(runs, land).savefig("momentum.png")         # the runs drawn over it

Whatever is computed is an `xarray.Dataset` that follows one contract (docs/study.md), so it can be selected,
joined, saved and drawn with the same few words.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ravine import gallery, measure, plot, theory, trainers
    from ravine._checkpoints.checkpoints import checkpoints
    from ravine._descent.counterfactuals import counterfactuals
    from ravine._descent.descend import descend
    from ravine._descent.range_test import range_test
    from ravine._explore.explore import explore
    from ravine._findings.explain import explain
    from ravine._findings.finding import Finding
    from ravine._landscape.around import around
    from ravine._landscape.between import between
    from ravine._landscape.refine import refine
    from ravine._landscape.surface import surface
    from ravine._plane.plane import Plane
    from ravine._problem.criteria import residuals
    from ravine._problem.problem import Problem
    from ravine._record.record import record
    from ravine._store.files import open, save
    from ravine._store.verify import verify
    from ravine._study.contract import check
    from ravine._study.script import code
    from ravine._study.select import at, join
    from ravine._sweep.sweep import sweep
    from ravine.curvature._eigenvalues import eigenvalues
    from ravine.curvature._hessian import sharpness
    from ravine.curvature._landmarks import landmarks

_HOME = {
    "gallery": None,
    "measure": None,
    "plot": None,
    "theory": None,
    "trainers": None,
    "Finding": "_findings.finding",
    "Plane": "_plane.plane",
    "Problem": "_problem.problem",
    "around": "_landscape.around",
    "at": "_study.select",
    "between": "_landscape.between",
    "check": "_study.contract",
    "checkpoints": "_checkpoints.checkpoints",
    "code": "_study.script",
    "counterfactuals": "_descent.counterfactuals",
    "descend": "_descent.descend",
    "eigenvalues": "curvature._eigenvalues",
    "explain": "_findings.explain",
    "explore": "_explore.explore",
    "join": "_study.select",
    "landmarks": "curvature._landmarks",
    "open": "_store.files",
    "range_test": "_descent.range_test",
    "record": "_record.record",
    "refine": "_landscape.refine",
    "residuals": "_problem.criteria",
    "save": "_store.files",
    "sharpness": "curvature._hessian",
    "surface": "_landscape.surface",
    "sweep": "_sweep.sweep",
    "verify": "_store.verify",
}
"""Public name → the module it lives in (None: the name is a module itself)."""

__all__ = [  # noqa: RUF022 - in the order of the tour
    "gallery",
    "Problem",
    "descend",
    "sweep",
    "range_test",
    "record",
    "trainers",
    "checkpoints",
    "surface",
    "Plane",
    "refine",
    "between",
    "landmarks",
    "sharpness",
    "eigenvalues",
    "counterfactuals",
    "around",
    "residuals",
    "measure",
    "theory",
    "explain",
    "Finding",
    "plot",
    "explore",
    "code",
    "at",
    "check",
    "join",
    "open",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import ravine` costs nothing (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'ravine' has no attribute {name!r}")
    home = _HOME[name]
    module = importlib.import_module(f"ravine.{home or name}")
    value = module if home is None else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
