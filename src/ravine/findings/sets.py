"""Sets: what several runs of a study say together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from ravine.findings.facts import SETTINGS
from ravine.findings.finding import Finding
from ravine.findings.phrases import number, so_many, steps
from ravine.findings.runs import Run, choices_of
from ravine.words import listed

__all__ = ["same_runs", "with_and_without"]

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
                groups.setdefault(bits, []).append(label if isinstance(label, str) else f"{dim} {label:g}")
        for alike in groups.values():
            if len(alike) > 1:
                yield _same(dim, alike)


def _same(dim: str, alike: list[str]) -> Finding:
    names = " and ".join(alike) if len(alike) == 2 else listed(alike)
    sentence = f"{names} took the same path, in every bit of position and loss"
    if dim == "criterion" and set(alike) == ONE_FUNCTION:
        sentence += ": with delta 1 and beta 1 they are the same function"
    return Finding("same run", sentence + ".", {"labels": ", ".join(alike), "count": float(len(alike))}, "measured")


def with_and_without(run: Run, other: Run) -> Finding | None:
    """Set a run's arrival against that of one that was really made with other settings."""
    told = _arrival(run), _arrival(other)
    if None in told or not _comparable(run, other):
        return None
    (ours, here), (theirs, there) = told[0] or ("", 0.0), told[1] or ("", 0.0)
    turned = [name for name in SETTINGS if run.setting(name) != other.setting(name)]
    if not turned or {"weight_decay", "maximize"} & set(turned) or (np.isnan(here) and np.isnan(there)):
        return None
    values: dict[str, float | str | bool] = {"step": here, "step_instead": there, "turned": ", ".join(turned)}
    if here == there:
        verdict = "makes no difference"
    else:
        better = np.nan_to_num(here, nan=np.inf) < np.nan_to_num(there, nan=np.inf)
        verdict = "helps" if better else "does not help"
    sentence = f"Here {_named(run, turned)} {verdict}: it {ours}; with {_named(other, turned)} it {theirs}."
    return Finding("with and without", sentence, values, "measured", about=run.about)


def _arrival(run: Run) -> tuple[str, float] | None:
    if run.climbs or run.refused or run.minimum is None:
        return None
    outcome, step = run.arrival
    if outcome == "arrived":
        return f"arrives at step {steps(step)}", step
    return "diverges" if outcome == "diverged" else f"is not there after {so_many(run.taken)}", np.nan


def _comparable(run: Run, other: Run) -> bool:
    """Tell whether both went from the same start down the same loss."""
    same = run.labels == other.labels and run.setting("optimizer") == other.setting("optimizer")
    same = same and np.array_equal(run.positions[0], other.positions[0]) and run.losses[0] == other.losses[0]
    named = all(run.setting(n) == other.setting(n) for n in ("criterion", "problem", "start"))
    return bool(same and named and run.minimum == other.minimum)


def _named(run: Run, names: list[str]) -> str:
    values = {name: run.setting(name) for name in names}
    return listed(f"{name} {each if isinstance(each, bool) else number(float(each))}" for name, each in values.items())
