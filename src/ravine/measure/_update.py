"""What one step of SGD is made of, from the numbers that a run left behind.

torch.optim.SGD adds up at most four things. `update_of` returns them as vectors whose sum is held against the recorded
update: what does not add up is not taken apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import kind_of, listed
from ravine._study.contract import check, check_single, plane_of, until_taken
from ravine._study.rule import Reason, Rule, rule_of

Vector = NDArray[np.float64]

ROUNDINGS = 12
"""Roundings that any one term goes through in torch: weight_decay, its product, the sum; 1 - dampening, its product,
the sum; momentum, its product, the sum; lr, its product; the sum with the position counts apart."""

REMEDY = 'ravine.descend(…, also=("gradient", "velocity"))'


@dataclass(frozen=True)
class StepRule(Rule):
    """Settings of torch.optim.SGD for one step; `first` where it had no velocity yet."""

    first: bool = False

    @property
    def kept(self) -> float:
        """Share of the gradient that is added: dampening leaves the first step alone, and counts with momentum only."""
        return 1.0 if self.first or not self.momentum else 1 - self.dampening


@dataclass(frozen=True, eq=False)
class Update:
    """The update from one step to the next, in float64, one number for each parameter.

    Attributes
    ----------
    step, parameters
        Which update of what.
    position, following
        The parameters at this step and at the next, as recorded.
    gradient
        What the optimizer saw: of the mini-batch where there are batches.
    velocity, next_velocity
        Before and after; None without momentum, and before the first step there is none: 0.
    rule
        The settings; None where the parts are not known.
    parts
        Names to vectors that add up to the update: ``velocity``, ``gradient``, ``weight decay``, ``look-ahead``, of
        these the ones that the settings turn on; empty where they are not known.
    why
        Why the parts are not known; empty where they are.
    batched
        Whether the gradient is that of a mini-batch.
    dtype
        In which the run was recorded.
    """

    step: int
    parameters: tuple[str, ...]
    position: Vector
    following: Vector
    gradient: Vector
    velocity: Vector | None
    next_velocity: Vector | None
    rule: StepRule | None
    parts: Mapping[str, Vector]
    why: str
    batched: bool
    dtype: np.dtype[Any]

    @property
    def moved(self) -> Vector:
        """The update itself, as recorded."""
        return self.following - self.position

    @property
    def rounding(self) -> Vector:
        """What the recorded update has beyond the sum of its parts."""
        return self.moved - sum(self.parts.values(), np.zeros_like(self.position))


def update_of(run: xr.Dataset, step: int) -> Update:
    r"""Take the update from one step to the next apart.

    With :math:`g` the gradient (its negative under `maximize`), :math:`\tau` dampening (0 at the first step),
    :math:`\lambda` weight decay and :math:`v_0 = 0`, the update of torch.optim.SGD is the sum of

    .. math::
        -\eta\mu v_k,\quad -\eta(1-\tau) g_k,\quad -\eta(1-\tau)\lambda\theta_k,\quad
        -\eta\mu (v_{k+1} - v_k)\ \text{if nesterov}

    The last is the change of the look-ahead: torch's parameters are the textbook's look-ahead points, so the textbook's
    update and the change of the look-ahead make up what torch recorded.

    Parameters
    ----------
    run
        One run with ``position``, ``gradient``, and where there is momentum ``velocity`` (step, parameter).
    step
        The update from this step to the next.

    Returns
    -------
    Update
        Its `parts` are empty, and `why` says so, where the optimizer is not torch.optim.SGD itself, where groups have
        settings of their own, or where the parts do not add up to what was recorded (see Notes).

    Raises
    ------
    ValueError
        If there is more than one run, no such step, no gradient or velocity, or a number that is not finite.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> run = ravine.descend(bowl, lr=0.25, momentum=0.5, steps=3, also=("gradient", "velocity"))
    >>> run.position.values.ravel().tolist()
    [1.0, 0.5, 0.0, -0.25]
    >>> {name: part.tolist() for name, part in update_of(run, 1).parts.items()}
    {'velocity': [-0.25], 'gradient': [-0.25]}

    Notes
    -----
    Source: torch/optim/sgd.py, ``_single_tensor_sgd``. A term :math:`t` of the sum goes through at most 12 roundings in
    torch, each of half an eps of the recorded dtype, and through no more here; the last sum is rounded at the new
    position, there and here. So in each parameter the parts and the record may differ by
    :math:`\epsilon\,(|\theta_{k+1}| + 12 \sum |t|)`, a few units in the last place of the largest number involved.
    The velocity is held against its own terms in the same way.
    """
    if isinstance(run, xr.Dataset) and plane_of(run) is not None:
        raise ValueError(
            "this run lies on a plane, whose coordinates are no parameters: take apart an update of the run itself, "
            "before it was projected"
        )
    run, place = _find_update(run, step)
    labels = tuple(str(label) for label in run["parameter"].values)
    held = rule_of(run)
    why = str(held) if isinstance(held, Reason) else ""
    rule = None if isinstance(held, Reason) else _at_step(held, run, place)
    _check_recorded(run, velocity=rule is not None and rule.momentum != 0)
    rows = {
        name: run[name].transpose("step", "parameter").values.astype(np.float64)
        for name in ("position", "gradient", "velocity")
        if name in run
    }
    _check_finite(rows, place, run["step"].values, velocity=rule is not None and rule.momentum != 0)
    position, following, gradient = rows["position"][place], rows["position"][place + 1], rows["gradient"][place]
    before = after = None
    parts: dict[str, Vector] = {}
    if rule is not None and rule.momentum:
        before, after = rows["velocity"][place], rows["velocity"][place + 1]
        first = np.isnan(before)
        apart = np.isnan(after) | (first & ~first.all())  # a parameter without a gradient is skipped, and begins later
        if apart.any():
            names = listed([name for name, alone in zip(labels, apart, strict=True) if alone])
            rule, why, before, after = (
                None,
                f"torch holds no velocity for {names} while it steps the others",
                None,
                None,
            )
        elif first.all():
            rule, before = replace(rule, first=True), np.zeros_like(position)
    dtype = run["position"].dtype
    if rule is not None:
        parts = _parts(rule, position, gradient, before, after)
        if not _adds_up(rule, parts, position, following, gradient, before, after, dtype):
            rule, parts, why = None, {}, "torch's rule with these settings does not give the recorded update"
    batched = "batch_loss" in run and bool(np.isfinite(run["batch_loss"].values).any())
    return Update(
        int(step), labels, position, following, gradient, before, after, rule, parts, why, batched, np.dtype(dtype)
    )


def _parts(
    rule: StepRule, position: Vector, gradient: Vector, before: Vector | None, after: Vector | None
) -> dict[str, Vector]:
    parts: dict[str, Vector] = {}
    if before is not None and not rule.first:
        parts["velocity"] = -rule.lr * rule.momentum * before
    parts["gradient"] = -rule.lr * rule.kept * (-gradient if rule.maximize else gradient)
    if rule.weight_decay:
        parts["weight decay"] = -rule.lr * rule.kept * rule.weight_decay * position
    if rule.nesterov and before is not None and after is not None:
        parts["look-ahead"] = -rule.lr * rule.momentum * (after - before)
    return parts


def _adds_up(
    rule: StepRule,
    parts: Mapping[str, Vector],
    position: Vector,
    following: Vector,
    gradient: Vector,
    before: Vector | None,
    after: Vector | None,
    dtype: np.dtype[Any],
) -> bool:
    """Tell whether the parts give the next position, and the velocity the next one, but for rounding."""
    terms = [abs(part) for part in parts.values()]
    if before is not None and after is not None:
        pull = rule.kept * (-gradient if rule.maximize else gradient)
        decayed = rule.kept * rule.weight_decay * position
        carried = rule.momentum * before
        if not _near(after, carried + pull + decayed, [abs(carried), abs(pull), abs(decayed)], dtype):
            return False
        terms += [abs(rule.lr * rule.momentum) * (abs(before) + abs(after))]
    return _near(following, position + sum(parts.values()), terms, dtype)


def _near(found: Vector, expected: Vector, terms: list[Vector], dtype: np.dtype[Any]) -> bool:
    limits = np.finfo(dtype)
    room = float(limits.eps) * (abs(found) + ROUNDINGS * np.sum(terms, axis=0)) + float(limits.tiny)
    return bool((abs(found - expected) <= room).all())


def _find_update(run: xr.Dataset, step: int) -> tuple[xr.Dataset, int]:
    """Return the run without what it never took, and where in it the step is."""
    check_single(run, "position")
    if isinstance(step, bool) or not isinstance(step, int | np.integer):
        raise ValueError(f"step must be a whole number, got {kind_of(step)}")
    run = until_taken(run)
    steps = run["step"].values.tolist() if "step" in run.coords else list(range(run.sizes["step"]))
    run = run.assign_coords(step=steps)
    updates = [one for one, other in itertools.pairwise(steps) if other == one + 1]
    if not updates:
        raise ValueError("the run holds no two steps in a row, so no update")
    if step not in updates:
        whole = len(updates) == updates[-1] - updates[0] + 1
        held = f"from {updates[0]} to {updates[-1]}" if whole else f"one of {listed(updates)}"
        raise ValueError(f"step must be {held}: each leads to the next, got {step}")
    return run, steps.index(step)


def _at_step(rule: Rule, run: xr.Dataset, place: int) -> StepRule:
    """Return the settings at one step: under a scheduler the lr is that of the step."""
    settings = asdict(rule)
    if "scheduled_lr" in run and np.isfinite(run["scheduled_lr"].values[place]):
        settings["lr"] = run["scheduled_lr"].values[place].item()
    for name in ("momentum", "dampening", "weight_decay"):
        if f"scheduled_{name}" in run and np.isfinite(run[f"scheduled_{name}"].values[place]):
            settings[name] = run[f"scheduled_{name}"].values[place].item()
    return StepRule(**settings)


def _check_recorded(run: xr.Dataset, *, velocity: bool) -> None:
    missing = [name for name in ("gradient", "velocity")[: 1 + velocity] if name not in run]
    if missing:
        raise ValueError(f"the study has no {listed(missing)} to take the update apart: record it with {REMEDY}")
    check(run, "gradient")


def _check_finite(rows: Mapping[str, Vector], place: int, steps: Any, *, velocity: bool) -> None:
    """Refuse an update with inf or NaN; a velocity that is NaN at a finite position is one that torch does not hold."""
    needed = np.asarray(np.isfinite(rows["position"]).all(axis=1))
    if velocity:
        needed &= ~np.isinf(rows["velocity"]).any(axis=1)
    good = np.asarray(needed[:-1] & needed[1:] & np.isfinite(rows["gradient"][:-1]).all(axis=1))
    if good[place]:
        return
    last = np.flatnonzero(good)
    told = f"the last step with a finite update is {steps[last[-1]]}" if last.size else "no step has a finite update"
    raise ValueError(f"the update from step {steps[place]} to {steps[place] + 1} is not finite: {told}")
