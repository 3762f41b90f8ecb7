"""What the loop did to gradients before the optimizer saw them: clipping and noise, as they were measured."""

from __future__ import annotations

import numpy as np

from ravine._findings.finding import Finding
from ravine._findings.run import Run
from ravine._format import number, setting, so_many, steps


def clipped(run: Run) -> Finding | None:
    """Say at how many steps a gradient was clipped, and how long the longest of them was."""
    bound = run.setting("clip_norm")
    if run.refused or bound is None or "gradient_norm" not in run.data or not run.gapless or run.taken < 1:
        return None
    norms = np.asarray(run.study["gradient_norm"].values[:-1], dtype=np.float64)
    if not np.isfinite(norms).all():
        return None
    cut = np.flatnonzero(norms > bound)
    values = {"clip_norm": bound, "clipped": float(len(cut)), "of": float(run.taken), "largest": float(norms.max())}
    if not len(cut):
        sentence = (
            f"Clipping never acts: in {so_many(run.taken)} no gradient is longer than {setting(bound)}, "
            f"the longest is {number(norms.max())}"
        )
        return Finding("clipping", f"{sentence}.", values, "measured")
    values["last"] = float(cut[-1])
    at = "every step" if len(cut) == run.taken else f"{steps(len(cut))} of {so_many(run.taken)}"
    until = f", the last of them step {steps(cut[-1])}" * (len(cut) < run.taken)
    sentence = f"The gradient is clipped to {setting(bound)} at {at}{until}; the longest is {number(norms.max())}"
    return Finding("clipping", f"{sentence}.", values, "measured")


def noisy(run: Run) -> Finding | None:
    """Say that noise is added, so that what is measured is that of one draw."""
    noise = run.setting("noise")
    if run.refused or not noise or "noise" not in run.conditions.treated or run.taken < 1:
        return None
    values: dict[str, float | str | bool] = {"noise": noise}
    seed = run.setting("seed")
    which = f" (seed {steps(int(seed))})" if seed is not None else ""
    added = f"Noise of deviation {setting(noise)} is added to each entry of the gradient"
    return Finding("noise", f"{added}: what is told is of one draw{which}.", values, "measured")
