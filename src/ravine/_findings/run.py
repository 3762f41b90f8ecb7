"""What a finding may look at: a run, its settings, and what is computed of it once and only when asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import measure, theory
from ravine._findings.finding import LOCALLY, UNMOVED
from ravine._findings.quadratic import Modes, modes_of
from ravine._study.contract import until_taken
from ravine._study.counted import unit_of
from ravine._study.decay import decay_of
from ravine._study.provenance import fact_of
from ravine._study.rule import Conditions, Rule, conditions_of, rule_of
from ravine.measure._objective import minimised_of, step_values
from ravine.measure._quadratic import EPS, SLOWLY, Quadratic, flatness
from ravine.measure._stability import is_kinked

Vector = NDArray[np.float64]


INNER = ("step", "parameter", "parameter_")

EDGE = 1e-9
"""Nearer than this, relatively, an lr is at the limit itself."""

NEEDED = (
    "position",
    "loss",
    "gradient",
    "batch_loss",
    "scheduled_lr",
    "zero_gradient",
    "gradient_norm",
    "sharpness",
    "lowest_curvature",
    "preconditioned_sharpness",
    "drawn_loss",
    "squares",
    "steps_taken",
    "error",
    "minimizer",
    "minimum_loss",
    "hessian",
    "data_minimizer",
    "data_minimum_loss",
    "inputs",
    "targets",
    "prediction",
)

MOVED = "scheduled_"

FAINT = 1000.0
"""Updates within this many roundings of the position are none to speak of."""

LARGE = 4_000_000
"""Numbers beyond which positions are looked at some steps at a time."""

PIECEWISE = ("L1Loss", "HuberLoss", "SmoothL1Loss")
"""Criteria that are a quadratic at best in parts: what holds in one part is not exact elsewhere."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run as it is in its study, with its labels, and what theory says of it.

    `rule` holds the settings of a plain torch.optim.SGD that goes down over the whole batch, else None: only for
    such a run does curvature tell how it moves. `modes` are the directions of the curvature at the minimum, None where
    it is not known or there is a kink. `exact` says whether the run went by them within rounding, and `everywhere`
    whether it would wherever it went, with the settings that it has.
    """

    data: xr.Dataset
    about: Mapping[str, Any]

    @cached_property
    def study(self) -> xr.Dataset:
        """The run without what was never taken."""
        return until_taken(self.data)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """The numbers of the steps that were recorded."""
        return np.asarray(step_values(self.study))

    @property
    def begins(self) -> bool:
        """Whether the study holds the start: else nothing is known of where the run came from."""
        return bool(self.steps[0] == 0)

    @property
    def gapless(self) -> bool:
        """Whether every step was recorded, and no epochs: only then are differences of positions updates."""
        return self.begins and self.taken == len(self.steps) - 1 and unit_of(self.data) == "step"

    @cached_property
    def positions(self) -> Vector:
        """(step, parameter), in float64; of large networks as they are kept, for a copy may not fit into memory."""
        kept = self.study["position"].transpose("step", "parameter").values
        return kept if kept.size > LARGE else np.asarray(kept, dtype=np.float64)

    def stretches(self) -> Iterator[Vector]:
        """Positions some steps at a time, in float64; each stretch begins where the one before it ended."""
        some = max(1, LARGE // max(self.positions.shape[1], 1))
        for first in range(0, max(len(self.positions) - 1, 1), some):
            yield np.asarray(self.positions[first : first + some + 1], dtype=np.float64)

    @property
    def finite(self) -> bool:
        """Whether it stayed finite."""
        return all(bool(np.isfinite(each).all()) for each in self.stretches())

    @cached_property
    def losses(self) -> Vector:
        """(step,), in float64; NaN where it was not evaluated."""
        return np.asarray(self.study["loss"].values, dtype=np.float64)

    @cached_property
    def minimised(self) -> Vector:
        """Loss with coupled decay (step,), in float64."""
        return np.asarray(minimised_of(self.study).values, dtype=np.float64)

    @cached_property
    def gaps(self) -> Vector:
        """What is minimised (step,), above its minimum, which must be known."""
        assert self.minimum is not None
        return self.minimised - self.minimum

    @property
    def taken(self) -> int:
        """Steps taken, recorded or not."""
        return int(self.steps[-1])

    @cached_property
    def labels(self) -> list[str]:
        """Labels of the parameters."""
        return [str(label) for label in self.data["parameter"].values.tolist()]

    @property
    def count(self) -> int:
        """Number of parameters."""
        return int(self.data.sizes["parameter"])

    @cached_property
    def dtype(self) -> str:
        """Name of the dtype that trained, or of two; the study may hold its numbers in a wider one."""
        trained = self.fact("position", "dtype")
        return trained if isinstance(trained, str) else str(self.data["position"].dtype)

    @cached_property
    def eps(self) -> float:
        """Rounding of the dtype that trained, of two the coarser."""
        known = [EPS[each] for each in self.dtype.split(" and ") if each in EPS]
        return max(known) if known else float(np.finfo(self.data["position"].dtype).eps)

    @cached_property
    def loss_eps(self) -> float:
        """Rounding of the losses."""
        return max(self.eps, float(np.finfo(self.data["loss"].dtype).eps))

    @cached_property
    def updates(self) -> Vector:
        """Length of each update that is finite, of a run whose every step was recorded."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([np.linalg.norm(np.diff(each, axis=0), axis=1) for each in self.stretches()])

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting, or the default where the optimizer has none."""
        held = self.data.variables.get(name) if name in self.data.coords else None
        if held is None or held.ndim:
            return default
        value = held.values.item()
        return default if value != value else value

    @cached_property
    def climbs(self) -> bool:
        """Whether it maximizes."""
        return bool(self.setting("maximize", False))

    @cached_property
    def refused(self) -> str:
        """Torch's message, where it refused the settings."""
        return str(self.data["error"].item()) if "error" in self.data else ""

    @cached_property
    def decays(self) -> Vector:
        """Weight decay of each parameter that is minimised with the loss."""
        if self.climbs:
            return np.zeros(self.count)
        return np.array(np.broadcast_to(decay_of(self.study).values, self.count), dtype=np.float64)

    @property
    def decay(self) -> float:
        """Weight decay that is minimised with the loss, where it is one for all parameters; else the largest."""
        return float(self.decays.max(initial=0.0))

    def penalty(self, place: Vector) -> float:
        """Return what weight decay adds to the loss at a place."""
        if (self.decays == self.decay).all():
            return self.decay / 2 * float(place @ place)
        return float(self.decays @ place**2) / 2

    @cached_property
    def scheduled(self) -> Vector | None:
        """Learning rate of each step and after the last, where a schedule sets it."""
        if "scheduled_lr" not in self.data or not self.conditions.scheduled:
            return None
        return np.asarray(self.study["scheduled_lr"].values, dtype=np.float64)

    def setting_at(self, name: str) -> Vector:
        """Return a setting at each recorded step, as a schedule moves it or as it was given."""
        if MOVED + name in self.data and bool(self.data[MOVED + name].notnull().any()):
            return np.asarray(self.study[MOVED + name].values, dtype=np.float64)
        return np.full(len(self.steps), float(self.setting(name, 0.0)))

    def moves(self, *names: str) -> bool:
        """Tell whether a schedule moves one of these settings, or may have."""
        return bool({*names} & {*self.conditions.moved})

    @cached_property
    def conditions(self) -> Conditions:
        """Under which conditions it was made."""
        return conditions_of(self.study)

    @property
    def batched(self) -> bool:
        """Whether it saw mini-batches."""
        return self.conditions.batched

    @cached_property
    def sgd(self) -> Rule | None:
        """Settings, where the optimizer is torch's SGD with one value of each, on gradients as they are."""
        rule = None if self.refused or self.conditions.treated else rule_of(self.study)
        if not isinstance(rule, Rule) or not np.isfinite([*vars(rule).values()]).all():
            return None
        return rule if min(rule.lr, rule.momentum, rule.weight_decay) >= 0 else None

    @cached_property
    def rule(self) -> dict[str, Any] | None:
        """Settings other than lr that theory takes, where theory holds."""
        if self.sgd is None or self.climbs or self.batched:
            return None
        return {name: getattr(self.sgd, name) for name in ("momentum", "dampening", "weight_decay", "nesterov")}

    @property
    def steady(self) -> bool:
        """Whether theory holds with one lr throughout."""
        return self.rule is not None and not self.conditions.scheduled

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.setting("lr", np.nan))

    def landmark(self, name: str) -> Vector | None:
        """Return a landmark, where it is known."""
        if name not in self.data or self.climbs:
            return None
        values = np.asarray(self.data.variables[name].values, dtype=np.float64)
        return None if np.isnan(values).any() else values

    @cached_property
    def minimum(self) -> float | None:
        """The minimum of what is minimised, where it is known."""
        found = self.landmark("minimum_loss")
        return None if found is None else float(found)

    @cached_property
    def diverged(self) -> bool:
        """Whether it diverged, as measured."""
        return bool(measure.diverged(self.study))

    @cached_property
    def arrival(self) -> tuple[str, float]:
        """What became of it, and the step of arrival, as measured; the minimum must be known."""
        found = measure.arrival(self.study.drop_vars("hessian", errors="ignore"))
        return str(found["outcome"].values), float(found)

    @cached_property
    def kinked(self) -> bool:
        """Whether the minimum lies, or may lie, on a kink."""
        return bool(is_kinked(self.data))

    def fact(self, name: str, fact: str) -> Any:
        """Return what a variable's provenance says for this run."""
        return fact_of(self.data, name, fact)

    @cached_property
    def modes(self) -> Modes | None:
        """Directions of the curvature."""
        hessian, minimizer = self.landmark("hessian"), self.landmark("minimizer")
        if hessian is None or minimizer is None or self.kinked or self.rule is None:
            return None
        flat = flatness(self.fact("hessian", "engine"), len(minimizer))
        return modes_of(hessian, self.positions[0], minimizer, self.labels, flat=flat, eps=self.eps)

    @property
    def slow(self) -> bool:
        """Whether the loss rises more slowly than a square along some direction: no rate says when that settles."""
        return SLOWLY in str(self.fact("hessian", "scope"))

    @cached_property
    def exact(self) -> bool:
        """Whether the loss is a quadratic at every place of this run, and the run went by torch's rule."""
        if self.modes is None or self.minimum is None or not self.steady or self.setting("criterion") in PIECEWISE:
            return False
        if not self.gapless:  # torch's rule leads from one step to the next
            return False
        hessian, place = (np.asarray(self.data[name].values, dtype=np.float64) for name in ("hessian", "minimizer"))
        bowl = Quadratic(hessian, place, self.minimum, self.eps)
        assert self.rule is not None
        with np.errstate(over="ignore", invalid="ignore"):
            return bowl.holds(self.positions, self.minimised) and bowl.is_walked(self.positions, self.lr, self.rule)

    @property
    def everywhere(self) -> bool:
        """Whether it is known where the run would go, and where other settings had led it."""
        return self.boundless and not self.conditions.pending

    @cached_property
    def boundless(self) -> bool:
        """Whether the loss is that quadratic also where the run did not go."""
        if not self.exact:
            return False
        told, engine = self.fact("hessian", "quadratic"), self.fact("hessian", "engine")
        return told if isinstance(told, bool) else engine == "closed form"

    @cached_property
    def lost(self) -> bool:
        """Whether it diverged, or will: then little else about it matters."""
        if self.diverged or not self.everywhere or self.modes is None or not self.lr > 0:
            return self.diverged
        return bool(self.rates()[self.modes.awake].max(initial=0.0) > 1 + EDGE)

    @cached_property
    def rests(self) -> bool:
        """Whether it starts at the minimizer and stays there, within rounding: a small gap alone does not tell."""
        place = self.landmark("minimizer")
        if not self.begins or place is None or self.minimum is None or self.taken < 1:
            return False
        if self.arrival != ("arrived", 0.0):
            return False
        start = self.positions[0]
        off = start - place if self.modes is None else self.modes.start  # along a flat direction all are minimizers
        noise = FAINT * self.eps * float(np.linalg.norm(start) + np.linalg.norm(place))
        moved = max(float(abs(each - start).max()) for each in self.stretches())
        return bool(abs(off).max(initial=0.0) <= noise and moved <= noise)

    @property
    def scope(self) -> Any:
        """How far what is said from the curvature goes, of where a run would go with these settings or others."""
        return "exact" if self.boundless else "local"

    @property
    def locally(self) -> str:
        """How such a sentence begins."""
        where = "" if self.boundless else LOCALLY
        return f"{UNMOVED}{where[:1].lower()}{where[1:]}" if self.conditions.pending else where

    def limit(self, *, awake: bool = False, **changed: Any) -> float:
        """Return the limit of the learning rate, with other settings changed; that of the start's own modes alone."""
        settings, modes = self._with(changed), self.modes
        assert modes is not None
        bent = modes.curvatures[modes.awake] if awake else modes.curvatures
        return float(theory.stability_limit(bent - self.decay, **settings)) if len(bent) else np.inf

    def rates(self, **changed: Any) -> Vector:
        """Return the rate of each mode, with settings changed."""
        return self._each(theory.rate, changed)

    def periods(self, **changed: Any) -> Vector:
        """Return the period of each mode, with settings changed."""
        return self._each(theory.period, changed)

    def half_lives(self, **changed: Any) -> Vector:
        """Return the half-life of each mode, with settings changed."""
        return self._each(theory.half_life, changed)

    def _each(self, what: Any, changed: Mapping[str, Any]) -> Vector:
        assert self.modes is not None
        settings = {"lr": self.lr} | self._with(changed)
        return np.asarray(what(self.modes.curvatures - self.decay, **settings))

    def _with(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        assert self.rule is not None
        return {**self.rule, **changed}


def choices_of(runs: xr.Dataset) -> tuple[str, ...]:
    """Return the dimensions of choice, such as criterion, lr or run."""
    return tuple(str(dim) for dim in runs["position" if "position" in runs else "loss"].dims if dim not in INNER)


def runs_of(runs: xr.Dataset) -> Iterator[Run]:
    """Take a study apart into its runs, each with its labels."""
    few = runs[[str(name) for name in runs.data_vars if name in NEEDED or str(name).startswith(MOVED)]]
    dims = choices_of(runs)
    for places in itertools.product(*(range(runs.sizes[dim]) for dim in dims)):
        one = few.isel(dict(zip(dims, places, strict=True)))
        yield Run(one, {dim: one[dim].item() if dim in one.coords else k for dim, k in zip(dims, places, strict=True)})


def run_of(run: xr.Dataset | Run) -> Run:
    """Return the only run of a study; a run that was taken out of one knows what was asked of it before."""
    if isinstance(run, Run):
        return run
    (found,) = runs_of(run)
    return found
