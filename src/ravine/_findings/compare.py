"""What runs say beside each other: which are the same, and what a setting did between two that were really made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ravine._findings.finding import Finding
from ravine._findings.run import Run, choices_of
from ravine._format import names, setting, so_many, steps
from ravine._study.contract import at_or_by
from ravine._study.rule import LOOP_SETTINGS, SETTINGS

SEVERAL = ("betas", "etas", "step_sizes")
"""Settings of torch's optimizers that are no single numbers, and so no coordinates."""

ONE_FUNCTION = {"HuberLoss", "SmoothL1Loss"}


def same_runs(runs: xr.Dataset) -> Iterator[Finding]:
    """Find labels along a dimension of choice whose runs are equal in every bit."""
    for dim in choices_of(runs):
        if dim not in runs.coords:
            continue
        groups: dict[bytes, list[str]] = {}
        for k, label in enumerate(runs[dim].values.tolist()):
            if not np.isfinite(runs["position"].isel({dim: k, "step": 0})).all():
                continue  # never ran
            bits = b"".join(np.ascontiguousarray(runs[n].isel({dim: k}).values).tobytes() for n in ("position", "loss"))
            if dim in runs["position"].dims and dim in runs["loss"].dims:
                groups.setdefault(bits, []).append(label if isinstance(label, str) else f"{dim} {setting(label)}")
        for alike in groups.values():
            if len(alike) > 1:
                yield _same(dim, alike)


def _same(dim: str, alike: list[str]) -> Finding:
    sentence = f"{names(alike)} took the same path, in every bit of position and loss"
    if dim == "criterion" and set(alike) == ONE_FUNCTION:
        sentence += ": with delta 1 and beta 1 they are the same function"
    return Finding("same run", sentence + ".", {"labels": ", ".join(alike), "count": float(len(alike))}, "measured")


def with_and_without(run: Run, other: Run) -> Finding | None:
    """Set a run's arrival against that of one that was really made with other settings."""
    told = _arrival(run), _arrival(other)
    if None in told or not _comparable(run, other):
        return None
    (ours, here), (theirs, there) = told[0] or ("", 0.0), told[1] or ("", 0.0)
    if run.taken != other.taken and not _is_settled(run, here, other, there):
        return None
    turned = [n for n in (*SETTINGS, *LOOP_SETTINGS) if _setting(run, n) != _setting(other, n)]
    if not turned or {"weight_decay", "maximize"} & set(turned) or (np.isnan(here) and np.isnan(there)):
        return None
    values: dict[str, float | str | bool] = {"step": here, "step_instead": there, "turned": ", ".join(turned)}
    if here == there:
        verdict = "makes no difference"
    else:
        better = np.nan_to_num(here, nan=np.inf) < np.nan_to_num(there, nan=np.inf)
        verdict = "helps" if better else "does not help"
    instead = _settings_text(other, turned)
    sentence = f"Here {_settings_text(run, turned)} {verdict}: it {ours}; with {instead} it {theirs}."
    return Finding("with and without", sentence, values, "measured", about=run.about)


def _is_settled(run: Run, here: float, other: Run, there: float) -> bool:
    """Tell whether runs of unlike length can be compared: the shorter one would come to the same if it went on.

    Having arrived in half of its steps it stayed as long again; not having arrived, or diverged, it counts only against
    one that had arrived by then.
    """
    short, arrived, otherwise = (run, here, there) if run.taken < other.taken else (other, there, here)
    if short.diverged:
        return True
    if np.isnan(arrived):
        return bool(otherwise <= short.taken)
    return bool(2 * arrived <= short.taken)


def _arrival(run: Run) -> tuple[str, float] | None:
    if run.climbs or run.refused or run.minimum is None:
        return None
    outcome, step = run.arrival
    if outcome == "arrived":
        return f"arrives {at_or_by(run.steps[np.isfinite(run.losses)], step)} step {steps(step)}", step
    return "diverges" if outcome == "diverged" else f"is not there after {so_many(run.taken)}", np.nan


def _comparable(run: Run, other: Run) -> bool:
    """Tell whether both went from the same start down the same loss."""
    same = run.labels == other.labels and run.setting("optimizer") == other.setting("optimizer")
    drawn = all("batch_size" in _code_of(each) or each.setting("noise", 0.0) for each in (run, other))
    same = same and _made_of(run, seed=drawn) == _made_of(other, seed=drawn)
    same = same and np.array_equal(run.positions[0], other.positions[0]) and run.losses[0] == other.losses[0]
    named = all(run.setting(n) == other.setting(n) for n in ("criterion", "problem", "start"))
    return bool(same and named and run.minimum == other.minimum)


def _code_of(run: Run) -> Mapping[str, Any]:
    told = run.fact("position", "code")
    return told if isinstance(told, Mapping) else {}


def _made_of(run: Run, *, seed: bool) -> list[Any]:
    """Return what makes a run besides the settings that are compared: other settings, schedule, groups, batches."""
    compared = {*SETTINGS, *LOOP_SETTINGS, "run", *(() if seed else ("seed",))}
    others = {str(n): run.setting(str(n)) for n, each in run.data.coords.items() if not each.ndim and n not in compared}
    settings = run.fact("position", "settings")
    told = settings if isinstance(settings, Mapping) else {}
    code = {name: _code_of(run).get(name) for name in ("scheduler", "groups", "batch_size", "create_graph")}
    return [{n: v for n, v in others.items() if v is not None}, {n: told.get(n) for n in SEVERAL}, code]


def _setting(run: Run, name: str) -> Any:
    return run.setting(name, LOOP_SETTINGS.get(name))


def _settings_text(run: Run, turned: list[str]) -> str:
    values = {name: _setting(run, name) for name in turned}
    return names([_text_of(name, each) for name, each in values.items()])


def _text_of(name: str, value: Any) -> str:
    if name in LOOP_SETTINGS and value == LOOP_SETTINGS[name]:
        return f"no {name.replace('_', ' ')}"
    return f"{name.replace('_', ' ')} {value if isinstance(value, bool) else setting(float(value))}"
