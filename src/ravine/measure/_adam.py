"""What a run of torch's Adam goes by, and the curvature of any run against what the lr of each step bears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._study.provenance import facts_of
from ravine._study.rule import Reason, conditions_of, off_plane
from ravine.measure._objective import step_values
from ravine.measure._stability import bearable_curvature, sees_all_data

ADAMS = {"torch.optim.adam:Adam": True, "torch.optim.adamw:AdamW": False}
"""Classes of torch that go by Adam's rule, and whether they add weight decay to the gradient."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AdamRule:
    """The settings of torch's Adam for one run; lr and the first of the betas (step,), as a scheduler moves them."""

    lr: Vector
    beta1: Vector
    beta2: float
    eps: float
    weight_decay: float
    amsgrad: bool

    def preconditioner(self, squares: Vector, step: int) -> Vector:
        r"""Return what the step divides its momentum by: :math:`(1-\beta_1^{t+1})(\sqrt{\hat v}+\epsilon)`.

        `squares` is the running mean of squared gradients that this step, the `step`-th from 0, takes.
        """
        count = step + 1
        whole = np.sqrt(squares) / np.sqrt(1 - self.beta2**count) + self.eps
        return np.asarray((1 - self.beta1[step] ** count) * whole)


def is_adam(run: xr.Dataset) -> bool:
    """Tell whether a run is of torch's Adam or AdamW, whatever else holds of it.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> [is_adam(ravine.descend(bowl, name, lr=0.1, steps=1)) for name in ("adamw", "nadam")]
    [True, False]
    """
    made_by = conditions_of(off_plane(run), ()).optimizers
    return len(made_by) == 1 and made_by[0] in ADAMS


def read_adam(run: xr.Dataset, *, whole: bool = False) -> AdamRule | str:
    """Return the rule of a run of torch's Adam, or say why there is none to go by; `whole`: it saw all data.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> read_adam(ravine.descend(bowl, "adam", lr=0.1, steps=3)).beta2
    0.999
    >>> read_adam(ravine.descend(bowl, "rmsprop", lr=0.1, steps=3))
    'it is not of torch.optim.Adam'
    """
    run = off_plane(run)
    conditions = conditions_of(run, ())
    if not is_adam(run):
        return "it is not of torch.optim.Adam"
    told = [each for each in facts_of(run, "position", "settings") if isinstance(each, Mapping)]
    if len(told) != 1 or "betas" not in told[0]:
        return "the study does not say its betas"
    settings: Mapping[str, Any] = told[0]
    coupled = ADAMS[conditions.optimizers[0]] and not settings.get("decoupled_weight_decay", False)
    decay = float(settings.get("weight_decay", 0.0))
    if decay and not coupled:
        return "its weight decay is decoupled from the gradient"
    if conditions.grouped or conditions.maximizes or conditions.treated:
        return str(Reason("groups" if conditions.grouped else "maximize" if conditions.maximizes else "clip_norm"))
    if set(conditions.moved) - {"beta1"}:
        return str(Reason("scheduler", conditions.moved))
    if not (whole or sees_all_data(run)):
        return str(Reason("mini-batches"))
    shape = step_values(run).shape
    lr, beta1 = (
        np.broadcast_to(run[moved].values if moved in run else float(given), shape).astype(np.float64)
        for moved, given in (("scheduled_lr", settings["lr"]), ("scheduled_beta1", settings["betas"][0]))
    )
    return AdamRule(lr, beta1, float(settings["betas"][1]), float(settings["eps"]), decay, bool(settings["amsgrad"]))


def bearable_preconditioned(run: xr.Dataset) -> xr.DataArray | str:
    r"""Return the largest preconditioned curvature (step,) that each step of Adam bears, or why none is known.

    .. math:: \frac{2+2\beta_1}{(1-\beta_1)\,\eta}

    It is that of a momentum :math:`\beta_1` with as much dampening, on the loss in coordinates that the preconditioner
    has scaled, and holds as long as the preconditioner stands still.

    Examples
    --------
    >>> import ravine
    >>> bearable_preconditioned(ravine.descend(ravine.gallery.quadratic(), "adam", lr=0.1, steps=1)).round(9).values
    array([380., 380.])

    Notes
    -----
    Cohen et al., "Adaptive Gradient Methods at the Edge of Stability", 2022 (arXiv 2207.14484).
    """
    rule = read_adam(run)
    if isinstance(rule, str):
        return rule
    with np.errstate(divide="ignore"):
        found = (2 + 2 * rule.beta1) / ((1 - rule.beta1) * rule.lr)
    coords = {"step": run["step"]} if "step" in run.coords else {}
    attrs = {"long_name": "largest preconditioned curvature that the lr of each step bears"}
    return xr.DataArray(found, coords, ["step"], "bearable_preconditioned", attrs)


@dataclass(frozen=True, eq=False)
class Edge:
    """Curvature along a run (step,), NaN where nobody looked, and the largest that each step's lr bears.

    `limits` is None where theory does not speak of the run; `adaptive` tells whether both are those of Adam's
    preconditioned Hessian.
    """

    steps: NDArray[np.int64]
    values: Vector
    limits: Vector | None
    adaptive: bool


def find_edge(run: xr.Dataset) -> Edge | None:
    """Return the curvature of one run and its limit; None where nobody looked at curvature.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.quadratic(condition=10)
    >>> run = ravine.descend(problem, lr=0.1, steps=1)
    >>> edge = find_edge(run.assign(ravine.eigenvalues(problem, run)))
    >>> edge.values.tolist(), edge.limits.tolist(), edge.adaptive
    ([2.0, 2.0], [20.0, 20.0], False)
    """
    steps = np.asarray(step_values(run))
    if "preconditioned_sharpness" in run and np.isfinite(run["preconditioned_sharpness"]).any():
        bears = bearable_preconditioned(run)
        if not isinstance(bears, str):
            return Edge(steps, run["preconditioned_sharpness"].values.astype(np.float64), bears.values, adaptive=True)
    if "sharpness" not in run or not np.isfinite(run["sharpness"]).any():
        return None
    bearable = bearable_curvature(run)
    limits = None if isinstance(bearable, Reason) else bearable.values
    return Edge(steps, run["sharpness"].values.astype(np.float64), limits, adaptive=False)
