"""The one gate: is this torch's own SGD, with which settings, and if its rule or theory does not apply, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from ravine._format import listed
from ravine._study.contract import plane_of
from ravine._study.decay import leaves_of
from ravine._study.optimizer import SGD, facts_made, made_by, name_of, optimizers_of
from ravine._study.provenance import facts_of

DEFAULTS: Mapping[str, Any] = {
    "lr": 1e-3,
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "maximize": False,
}
"""The settings that make a path, at torch's own defaults; a test holds them against torch."""

SETTINGS = tuple(DEFAULTS)
"""Names of the settings that make a path, in torch's order."""

LOOP_SETTINGS: Mapping[str, float] = {"clip_norm": np.inf, "noise": 0.0}
"""What the loop does to a gradient before an optimizer sees it, at values that do nothing."""

RATE_SETTINGS = ("momentum", "dampening", "nesterov")
"""What moves the stability limit besides the curvature; weight decay is part of that."""


@dataclass(frozen=True)
class Reason:
    """Why the rule of torch.optim.SGD, or theory, does not speak of runs."""

    kind: Literal[
        "unnamed",
        "other optimizer",
        "groups",
        "settings",
        "maximize",
        "scheduler",
        "mini-batches",
        "clip_norm",
        "noise",
        "plane",
    ]
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {
            "unnamed": "the study does not name its optimizer",
            "other optimizer": f"{listed(self.names)} is not torch.optim.SGD",
            "groups": "groups of parameters have settings of their own",
            "settings": f"the study does not say {listed(self.names)}",
            "maximize": "it climbs (maximize=True)",
            "scheduler": f"a scheduler changes its {' and '.join(self.names) or 'lr'}",
            "mini-batches": "what it sees is not the loss over all data (mini-batches, dropout, BatchNorm)",
            "clip_norm": "its gradients are clipped",
            "noise": "noise is added to its gradients",
            "plane": "its positions are coordinates in a plane, no parameters",
        }[self.kind]


@dataclass(frozen=True)
class Conditions:
    """Under which conditions runs were made, each of any of them; `optimizers` are their classes.

    `moved` are the settings besides the lr that a scheduler moves, or may have moved where the study does not say;
    `treated` are the settings of the loop by which gradients are clipped or noisy. `pending`: what has moved nothing so
    far may do so later, a scheduler, or the loop of a recording.
    """

    optimizers: tuple[str, ...]
    missing: tuple[str, ...]
    grouped: bool
    maximizes: bool
    scheduled: bool
    batched: bool
    moved: tuple[str, ...] = ()
    treated: tuple[Literal["clip_norm", "noise"], ...] = ()
    projected: bool = False
    pending: bool = False

    @property
    def why_not_sgd(self) -> Reason | None:
        """Why the optimizer is not torch.optim.SGD."""
        if not all(self.optimizers):
            return Reason("unnamed")
        others = tuple(name_of(path) for path in self.optimizers if path != SGD)
        return Reason("other optimizer", others) if others else None

    @property
    def why_no_rule(self) -> Reason | None:
        """Why the runs do not go by the rule of torch.optim.SGD, with one value of each setting."""
        if self.projected:
            return Reason("plane")
        if self.why_not_sgd is None and self.grouped:
            return Reason("groups")
        return self.why_not_sgd or (Reason("settings", self.missing) if self.missing else None)

    @property
    def why_no_theory(self) -> Reason | None:
        """Why theory, which knows one setting throughout and the whole batch, does not speak of the runs."""
        reasons = (
            self.why_not_sgd,
            Reason("maximize") if self.maximizes else None,
            Reason("settings", self.missing) if self.missing else None,
            Reason("scheduler", ("lr", *self.moved)) if self.scheduled else None,
            Reason("groups") if self.grouped else None,
            Reason("mini-batches") if self.batched else None,
            *map(Reason, self.treated),
        )
        return next((reason for reason in reasons if reason is not None), None)


def conditions_of(runs: xr.Dataset, settings: Sequence[str] = SETTINGS) -> Conditions:
    """Read under which conditions runs were made.

    Parameters
    ----------
    runs
        One run, or any study of runs.
    settings
        Which the study must say.
    """
    codes = [each for each in facts_made(runs, "code") if isinstance(each, Mapping)]
    grouped = any({*SETTINGS} & leaf.own.keys() for each in leaves_of(runs) for leaf in each)
    grouped |= any({*SETTINGS} & given.keys() for each in codes for given in (each.get("groups") or {}).values())
    scheduled = any("scheduler" in each for each in codes)
    waiting = scheduled or any(str(each).endswith(", recorded") for each in facts_made(runs, "engine"))
    if "scheduled_lr" in runs:  # a schedule may leave the lr as it is
        scheduled = (scheduled or not codes) and _is_moved(runs, "scheduled_lr", "lr")
    moved = tuple(name.removeprefix("scheduled_") for name in map(str, runs.data_vars) if name in _moving(runs))
    if not moved and scheduled and not facts_of(runs, made_by(runs, "code"), "dtype"):
        # written before settings were recorded step by step: those two move momentum unless told not to
        spelled = " ".join(str(each.get("scheduler", "")) for each in codes)
        if any(name in spelled for name in ("OneCycleLR", "CyclicLR", "cannot")):
            moved = ("momentum",)
    scheduled |= bool(moved)
    batched = any("batch_size" in each for each in codes)
    batched |= "batch_loss" in runs and bool(np.isfinite(runs["batch_loss"].values).any())
    return Conditions(
        optimizers=tuple(sorted(set(optimizers_of(runs).values.ravel().tolist()))),
        missing=tuple(name for name in settings if name not in runs.coords),
        grouped=grouped,
        maximizes="maximize" in runs.coords and bool(runs["maximize"].any()),
        scheduled=scheduled,
        batched=batched,
        moved=moved,
        treated=treated_of(runs),
        projected=plane_of(runs) is not None,
        pending=waiting and not scheduled,
    )


def treated_of(runs: xr.Dataset) -> tuple[Literal["clip_norm", "noise"], ...]:
    """Return the settings of the loop that act on the gradients of any of these runs; NaN: it has no such setting."""
    names: tuple[Literal["clip_norm", "noise"], ...] = ("clip_norm", "noise")
    acting = {n: runs[n].notnull() & (runs[n] != LOOP_SETTINGS[n]) for n in names if n in runs.coords}
    return tuple(name for name in names if name in acting and bool(acting[name].any()))


def _moving(runs: xr.Dataset) -> set[str]:
    """Return the settings besides the lr that were recorded step by step, where any of these runs has them."""
    names = {str(name) for name in runs.data_vars if str(name).startswith("scheduled_")} - {"scheduled_lr"}
    return {name for name in names if bool(runs[name].notnull().any())}


def _is_moved(runs: xr.Dataset, name: str, setting: str) -> bool:
    """Tell whether what was recorded step by step is not throughout what was given; runs without it do not count."""
    values = runs.variables[name].transpose(..., "step")
    given = runs.variables[setting] if setting in runs.coords else values.isel(step=0)
    last = xr.Variable((), np.inf)
    if "steps_taken" in runs:  # NaN where nobody counted
        counted = runs.variables["steps_taken"]
        last = xr.Variable(counted.dims, np.nan_to_num(counted.values.astype(np.float64), nan=np.inf))
    steps = runs["step"].values if "step" in runs.coords else np.arange(values.sizes["step"])
    taken = xr.Variable("step", steps) <= last
    there = values.notnull().any("step")
    if not bool(there.any()):
        return True  # a schedule that is no number
    return bool((taken & there & ~(values == given)).any())


@dataclass(frozen=True)
class Rule:
    """The rule of torch.optim.SGD for one run: its settings; under a scheduler `lr` is that at the start."""

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool
    maximize: bool


def off_plane(run: xr.Dataset) -> xr.Dataset:
    """Return a run without the plane that it is drawn on, for what holds of its updates wherever they are drawn."""
    return run.drop_vars("parameter", errors="ignore")


def rule_of(run: xr.Dataset) -> Rule | Reason:
    """Return the settings of a run of torch's own SGD, or the reason why there are none to go by.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.gallery.quadratic()
    >>> rule_of(ravine.descend(bowl, lr=0.1, momentum=0.5)).momentum
    0.5
    >>> print(rule_of(ravine.descend(bowl, torch.optim.Adam)))
    Adam is not torch.optim.SGD
    """
    reason = conditions_of(run).why_no_rule
    if reason is not None:
        return reason
    unlike = tuple(name for name in SETTINGS if run[name].ndim)
    if unlike:
        return Reason("settings", unlike)
    values = {name: run[name].values.item() for name in SETTINGS}
    numbers = {name: float(value) for name, value in values.items()}
    return Rule(**{**numbers, "nesterov": bool(values["nesterov"]), "maximize": bool(values["maximize"])})  # type: ignore[arg-type]
