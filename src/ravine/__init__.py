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
    from ravine import gallery, measure, plot, theory
    from ravine.audits import verify
    from ravine.criterion import residuals
    from ravine.curvature import landmarks
    from ravine.descent import descend
    from ravine.edges import sharpness
    from ravine.files import open, save
    from ravine.findings import Finding, explain
    from ravine.grid import around
    from ravine.landscape import surface
    from ravine.otherwise import counterfactuals
    from ravine.problem import Problem
    from ravine.script import code
    from ravine.stacks import join
    from ravine.study import at, check
    from ravine.sweeps import sweep

_HOME = {
    "gallery": None,
    "measure": None,
    "plot": None,
    "theory": None,
    "Finding": "findings",
    "Problem": "problem",
    "around": "grid",
    "at": "study",
    "check": "study",
    "code": "script",
    "counterfactuals": "otherwise",
    "descend": "descent",
    "explain": "findings",
    "join": "stacks",
    "landmarks": "curvature",
    "open": "files",
    "residuals": "criterion",
    "save": "files",
    "sharpness": "edges",
    "surface": "landscape",
    "sweep": "sweeps",
    "verify": "audits",
}
"""Public name → the module it lives in (None: the name is a module itself)."""

__all__ = [  # noqa: RUF022 - in the order of the tour
    "gallery",
    "Problem",
    "descend",
    "sweep",
    "surface",
    "landmarks",
    "sharpness",
    "counterfactuals",
    "around",
    "residuals",
    "measure",
    "theory",
    "explain",
    "Finding",
    "plot",
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
