"""Words on a picture: what was turned, what happened and why. Each is computed from the study it speaks of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from ravine._findings.explain import shape_of
from ravine._findings.flat import unmoved
from ravine._findings.run import Run, run_of
from ravine._findings.units import fitted_line
from ravine._format import listed, names, number, setting, so_many
from ravine._study.contract import at_or_by, last_step
from ravine._study.counted import unit_of, worded
from ravine._study.decay import decay_of
from ravine._study.optimizer import SGD, facts_made
from ravine._study.rule import DEFAULTS, LOOP_SETTINGS, SETTINGS, conditions_of
from ravine._study.units import unit_of_parameters
from ravine.measure._arrival import broken_for_good

UNWORDED = {name: usual for name, usual in DEFAULTS.items() if name != "lr"} | dict(LOOP_SETTINGS)
"""Settings that are not worth a word at these values."""

UNSAID = {**UNWORDED, "eps": 1e-8, "amsgrad": False, "decoupled_weight_decay": False, "centered": False}
"""The same for what torch's other optimizers have."""

UNSAID_OF: dict[str, dict[str, float | bool]] = {
    "ASGD": {"lambd": 1e-4, "alpha": 0.75, "t0": 1e6},
    "Adadelta": {"rho": 0.9, "eps": 1e-6},
    "Adafactor": {"beta2_decay": -0.8, "d": 1.0},
    "Adagrad": {"lr_decay": 0.0, "eps": 1e-10, "initial_accumulator_value": 0.0},
    "AdamW": {"decoupled_weight_decay": True},
    "LBFGS": {
        "max_iter": 20,
        "max_eval": 25,
        "tolerance_grad": 1e-7,
        "tolerance_change": 1e-9,
        "history_size": 100,
    },
    "NAdam": {"momentum_decay": 4e-3},
    "RMSprop": {"alpha": 0.99},
}
"""The same for one of them: what torch takes where nothing is given. AdamW's decay is said, as it moves the run."""


def knobs(runs: xr.Dataset) -> str:
    """Name what was turned, for a title.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.article()["MSELoss"]
    >>> knobs(ravine.descend(problem, lr=0.1)), knobs(ravine.descend(problem, lr=0.1, momentum=0.9, nesterov=True))
    ('Plain SGD, lr 0.1', 'SGD, lr 0.1, momentum 0.9, nesterov')
    """
    values = scalars(runs)
    turned = {n: v for n, v in values.items() if n == "lr" or (n in UNWORDED and v != UNWORDED[n])}
    moved = rates_text(runs)
    words = [
        f"lr {moved}" if moved and n == "lr" else n if v is True else label_text(n, v)
        for n, v in turned.items()
        if v is not False
    ]
    varied = [str(n) for n, c in runs.coords.variables.items() if c.ndim and n in (*SETTINGS, *LOOP_SETTINGS)]
    words += [_values_text(n, runs[n].values.tolist()) for n in varied if runs[n].dims == (n,)]
    optimizers = list(dict.fromkeys(np.ravel(runs["optimizer"].values).tolist())) if "optimizer" in runs.coords else []
    name = names(optimizers) or ("Checkpoints" if facts_made(runs, "files") else "Descent")
    own = decays_text(coupled_decay(runs)) if "position" in runs and not varied else ""
    words += [f"weight decay {own}"] * bool(own)
    made = conditions_of(runs)
    plain = made.optimizers == (SGD,) and not made.grouped and set(turned) <= {"lr"} and not varied and not made.moved
    return ", ".join([f"Plain {name}" if plain else name, *words])


def _values_text(name: str, values: Sequence[float]) -> str:
    """Name the values a setting takes in one figure: each, or the first and last of many."""
    words = [number_text(value) for value in values]
    shown = names(words) if len(words) < 5 else f"{words[0]} … {words[-1]}"
    return f"{name.replace('_', ' ')} {shown}"


def outcome(run: xr.Dataset | Run, *, counted: bool = True) -> str:
    """Say what happened to the loss in one run, from its numbers; the count of steps may stand elsewhere.

    Examples
    --------
    >>> import ravine
    >>> outcome(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1))
    'loss 53.08 → 0.4994 in 100 steps'
    """
    view = run_of(run)
    if "loss" not in view.data:
        return steps_text(view.data)
    losses, numbers = view.losses, view.steps
    taken = len(losses) - 1
    broken = np.flatnonzero(numbers == broken_for_good(view.study).values)
    if len(broken):
        first = int(broken[0])
        at = worded(f"at step {numbers[first]}", unit_of(view.study))
        return f"loss {number_text(losses[0])} → {number_text(losses[first])} {at}: it diverged"
    if not taken:
        return f"loss {number_text(losses[0])}, no step taken"
    grew = ": it diverged" * view.diverged
    told = f"loss {number_text(losses[0])} → {number_text(losses[-1])}"
    return told + worded(f" in {so_many(int(numbers[-1] - numbers[0]))}", unit_of(view.study)) * counted + grew


def number_text(value: float) -> str:
    """Write a number on a picture: with four digits."""
    return number(value, 4)


def steps_text(runs: xr.Dataset) -> str:
    """Say how many steps the runs took."""
    count = last_step(runs) - (int(runs["step"].values[0]) if "step" in runs.coords else 0)
    return worded(so_many(count), unit_of(runs))


def scalars(runs: xr.Dataset) -> dict[str, Any]:
    """Settings that hold for all of these runs."""
    found = {str(n): c.values.item() for n, c in runs.coords.variables.items() if c.ndim == 0}
    skipped = ("criterion", "run", "problem", "step", "start")
    first = SETTINGS  # in torch's order, whatever joining and selecting did to it
    order = [n for n in first if n in found] + [n for n in found if n not in first and n not in skipped]
    return {n: found[n] for n in order if found[n] == found[n]}  # NaN: not a setting of this optimizer


def rates_text(runs: xr.Dataset) -> str:
    """Write from which lr to which the steps went under a scheduler; nothing where that left it as it was given.

    Examples
    --------
    >>> import ravine
    >>> from functools import partial
    >>> from torch.optim.lr_scheduler import LinearLR
    >>> warm = partial(LinearLR, start_factor=0.1, total_iters=5)
    >>> rates_text(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, scheduler=warm))
    '0.01 … 0.1'
    """
    if "scheduled_lr" not in runs or "step" not in runs["scheduled_lr"].dims:
        return ""
    moved = runs["scheduled_lr"].isel(step=slice(None, -1)).values.astype(np.float64)  # no step is taken at the last
    known = moved[np.isfinite(moved)]
    ends = dict.fromkeys(number_text(float(each)) for each in (known.min(), known.max())) if known.size else {}
    given = number_text(float(runs["lr"])) if "lr" in runs.coords and not runs["lr"].ndim else ""
    return "" if [*ends] == [given] else " … ".join(ends)


def settings_text(runs: xr.Dataset) -> str:
    """Write the optimizer with every setting that is not at its usual value."""
    values = scalars(runs)
    name = values.pop("optimizer", "")
    loop = {n: values.pop(n) for n in LOOP_SETTINGS if n in values}
    unsaid = UNSAID | UNSAID_OF.get(str(name), {})
    shown = [f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in values.items() if v != unsaid.get(n)]
    moved = rates_text(runs)
    shown = [f"lr={moved}" if moved and each.startswith("lr=") else each for each in shown]
    own = decays_text(coupled_decay(runs)) if "position" in runs else ""
    shown += [f"weight_decay={own}"] * bool(own)
    told = f"{name}({', '.join(shown)})" if name and shown else name or ", ".join(shown)
    others = (label_text(n, v) for n, v in loop.items() if v != LOOP_SETTINGS[n])
    return ", ".join(filter(None, [told, scheduler_text(runs), *others]))


def scheduler_text(runs: xr.Dataset) -> str:
    """Name the scheduler of torch that all runs have; nothing where they have none, or one of their own making.

    Examples
    --------
    >>> import ravine
    >>> scheduler_text(ravine.descend("rosenbrock", lr=1e-3, steps=9, scheduler="cosine"))
    'CosineAnnealingLR'
    """
    spelled = {str(each.get("scheduler", "")) for each in facts_made(runs, "code") if isinstance(each, Mapping)}
    found = re.match(r"torch\.optim\.lr_scheduler\.(\w+)\(", spelled.pop()) if len(spelled) == 1 else None
    return found.group(1) if found else ""


def subtitle(
    runs: xr.Dataset,
    decays: Sequence[Decays],
    *,
    decay_left_out: bool = False,
    scheduled: bool = False,
    uneven: bool = False,
    arrows: str = "",
) -> list[str]:
    """Write settings, steps, and how the picture is to be read, in parts that are not to be broken."""
    parts = [settings_text(runs), steps_text(runs)]
    if any(decays):
        parts.append(contours_text(next(decay for decay in decays if decay)))
    if decay_left_out:
        parts.append("contours: loss without weight decay")
    every = dot_every(runs.sizes["step"] - 1)
    apart = np.unique(np.diff(runs["step"].values)) if "step" in runs.coords else np.ones(1, dtype=int)
    every *= int(apart[0]) if len(apart) == 1 else 1
    if len(apart) > 1:
        parts.append("a dot for each step that was kept")
    elif every > 1:
        parts.append(f"a dot every {every:,} steps")
    if scheduled:
        parts.append("line width: lr")
    if arrows:
        parts.append(arrows)
    if uneven:
        parts.append("axes not to one scale")
    return [worded(part, unit_of(runs)) for part in parts if part]


Decays = float | tuple[tuple[str, float], ...]
"""Weight decay of all parameters, or of each by its label."""


def coupled_decay(run: xr.Dataset) -> Decays:
    """Return the weight decay that belongs to what is minimised; 0 where it does not (AdamW, maximize)."""
    if maximizes(run):
        return 0.0
    decay = decay_of(run)
    if decay.dims == ("parameter",):
        return tuple(zip(map(str, run["parameter"].values), decay.values.tolist(), strict=True))
    return 0.0 if decay.ndim else float(decay)


def decays_text(decay: Decays) -> str:
    """Write the weight decay of each parameter where they differ; nothing where they do not."""
    if not isinstance(decay, tuple):
        return ""
    return listed((f"{setting(amount)} ({label})" for label, amount in decay), 4)


def contours_text(decay: Decays) -> str:
    """Say what contours show where weight decay is a part of it."""
    return f"contours: loss + weight decay {decays_text(decay)}".rstrip()


def label_text(dim: str, value: Any) -> str:
    """Name one entry of a dimension: a label stands for itself, a number needs its setting's name."""
    return str(value) if isinstance(value, str) else f"{dim.replace('_', ' ')} {setting(value)}"


def short_label(dim: str, value: Any) -> str:
    """Name one entry of a dimension with four digits, as all numbers on a picture.

    Examples
    --------
    >>> short_label("lr", 0.0177539), short_label("run", "plain"), short_label("nesterov", True)
    ('lr 0.01775', 'plain', 'nesterov True')
    """
    return (
        label_text(dim, value)
        if isinstance(value, str | bool | np.bool_)
        else f"{dim.replace('_', ' ')} {number_text(value)}"
    )


def race_names(runs: Sequence[xr.Dataset], names: Sequence[str]) -> list[str]:
    """Name runs of several optimizers with the settings of each; other runs keep their names.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.gallery.quadratic()
    >>> both = {torch.optim.SGD: {"lr": 0.1, "momentum": 0.9}, torch.optim.Adam: {"lr": 0.5}}
    >>> race = ravine.sweep(bowl, both, steps=3)
    >>> race_names([race.isel(run=0), race.isel(run=1)], ["SGD", "the other"])
    ['SGD(lr=0.1, momentum=0.9)', 'the other: Adam(lr=0.5)']
    """
    optimizers = [str(scalars(run).get("optimizer", "")) for run in runs]
    if len(set(optimizers)) < 2:
        return list(names)
    told = [settings_text(run) for run in runs]
    return [
        settings if name.split(" ")[0].split(",")[0] == optimizer else f"{name}: {settings}" * bool(name) or settings
        for name, optimizer, settings in zip(names, optimizers, told, strict=True)
    ]


def maximizes(run: xr.Dataset) -> bool:
    """Tell whether the optimizer climbs."""
    held = run.coords.variables.get("maximize")
    return held is not None and not held.ndim and bool(held.values == 1)


DOTTED = 200
"""Steps up to which each has a dot of its own."""


def dot_every(steps: int) -> int:
    """Return how many steps lie from one dot to the next: 1, or a power of ten."""
    return 1 if steps <= DOTTED else 10 ** int(np.ceil(np.log10(steps / DOTTED)))


def because(run: xr.Dataset | Run) -> str:
    """Say in one sentence why a path looks as it does; nothing where nothing certain is known.

    Examples
    --------
    >>> import ravine
    >>> because(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9))
    'The path orbits the minimum every 13.5 to 17.1 steps; the swing halves every 13.2 steps. (exact)'
    """
    found = shape_of(run)
    return "" if found is None else found.told


def fitted_text(run: xr.Dataset | Run) -> str:
    """Say the line that a run on standardized columns ends with, in their own units; nothing of other runs.

    Examples
    --------
    >>> import ravine
    >>> fitted_text(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1))
    ''
    """
    view = run_of(run)
    if not {"position", "loss"} <= set(view.data.data_vars) or not unit_of_parameters(view.data):
        return ""
    found = fitted_line(view)
    return "" if found is None else found.told


@dataclass(frozen=True)
class End:
    """How a run ended: ``arrived``, ``not arrived`` or ``diverged``, and the step of arrival.

    `when`: "by" where the loss was not looked at one step before. `unmoved`: the gap is small beside the first one, yet
    a flat direction of the loss has hardly moved.
    """

    outcome: str
    step: float
    when: Literal["at", "by"] = "at"
    unmoved: bool = False

    @property
    def words(self) -> str:
        """Say when it arrives, or that it does not; that it diverged, the line with its losses says."""
        if self.unmoved:
            return "a flat direction has hardly moved"
        if self.outcome == "arrived" and not self.step:
            return "within rounding of the lowest loss from the start"
        words = {"arrived": f"arrives {self.when} step {self.step:.0f}", "not arrived": "has not arrived"}
        return words.get(self.outcome, "")


def end_of(run: xr.Dataset | Run) -> End | None:
    """Tell how a run ended; None where its minimum is not known.

    Examples
    --------
    >>> import ravine
    >>> end_of(ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1)).words
    'arrives at step 12'
    """
    view = run_of(run)
    if view.minimum is None or not np.isfinite(view.minimum) or not view.begins:  # its gap at the start is not known
        return None
    outcome, step = view.arrival
    known = "loss" in view.data and outcome == "arrived"
    when = at_or_by(view.steps[np.isfinite(view.losses)], step) if known else "at"
    seen = {"position", "loss"} <= set(view.data.data_vars)
    return End(outcome, step, when, seen and unmoved(view) is not None)


def title_of(runs: xr.Dataset, ends: Sequence[End | None]) -> str:
    """Name what was turned, and say when that arrives.

    Examples
    --------
    >>> import ravine
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1)
    >>> title_of(runs, [end_of(runs.isel(criterion=k)) for k in range(4)])
    'Plain SGD, lr 0.1: one of 4 runs arrives in 100 steps'
    """
    turned = knobs(runs)
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return turned
    if len(known) == 1:
        return f"{turned}: {known[0].words or known[0].outcome}"
    broken = sum(end.outcome == "diverged" for end in known)
    steps = [end.step for end in known if end.outcome == "arrived"]
    flat = sum(end.unmoved for end in known)
    if broken:
        return f"{turned}: {_count(broken, len(known))} diverged"
    if flat:
        return f"{turned}: in {_count(flat, len(known))} a flat direction has hardly moved"
    if len(steps) < len(known):
        verb = "arrives" if len(steps) == 1 else "arrive"
        return f"{turned}: {_count(len(steps), len(known))} {verb} in {steps_text(runs)}"
    low, high, when = min(steps), max(steps), max(end.when for end in known)
    return f"{turned}: all arrive" + (
        f", {when} steps {low:.0f} to {high:.0f}" if high > low else f" {when} step {low:.0f}"
    )


def _count(some: int, all: int) -> str:
    if some == all:
        return "all runs"
    return f"{ {0: 'none', 1: 'one'}.get(some, str(some)) } of {all} runs"
