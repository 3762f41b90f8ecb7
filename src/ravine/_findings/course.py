"""What a loss did on its way, where no minimum is known to measure it by: only what was seen."""

from __future__ import annotations

import numpy as np

from ravine._findings.divergence import diverged
from ravine._findings.finding import Finding
from ravine._findings.run import Run
from ravine._format import number, percent, so_many, steps, times, told_apart
from ravine.measure._quadratic import ulps

LATE = 10
"""The last part of a run, one in so many of its losses, that tells whether it still falls."""

PLAIN = 0.01
"""Change of the loss over the last part, relatively, that is worth a word."""

MANIFOLD = 2.0
"""Rise over that part, relatively, from which it is told in times."""

FEWEST = 10
"""Losses below which there is no last part."""

HIGH = 2.0
"""Height over the start, in sizes of the loss at the start, from which a rise is told beside a known minimum."""

NOISY = 2.5
"""Standard deviations of the difference of two means within which scatter alone may make it."""

IN_A_ROW = 3
"""Rises in a row, at least, by which a loss grows at the end where there is no last part to tell it by."""


def course(run: Run) -> Finding | None:
    """Say how the loss went: first, best, largest and last, how often it rises, and whether it still falls."""
    if run.climbs or run.refused or run.diverged or run.taken < 2:
        return None
    seen = np.flatnonzero(np.isfinite(run.losses))
    if len(seen) < 3 or (diverged(run) is not None and not run.decay):
        return None
    losses, at = run.losses[seen] + 0.0, run.steps[seen]  # -0 is 0
    noise = 2 * ulps(np.maximum(abs(losses[1:]), abs(losses[:-1])), run.loss_eps)
    rose = np.diff(losses) > noise
    rises = int(rose.sum())
    best, worst = int(losses.argmin()), int(losses.argmax())
    first, last, high = float(losses[0]), float(losses[-1]), float(losses[worst])
    if run.minimum is not None and not high - first > HIGH * abs(first):
        return None
    values: dict[str, float | str | bool] = {
        "start_loss": first,
        "last_loss": last,
        "best": float(losses[best]),
        "best_step": float(at[best]),
        "largest": high,
        "largest_step": float(at[worst]),
        "rises": float(rises),
        "of": float(len(losses) - 1),
    }
    if np.ptp(losses) <= noise.max():
        sentence = f"The loss stays at {number(first)} for all {so_many(run.taken)}"
        if len(losses) - 1 < run.taken:
            sentence = f"The loss is {number(first)} at all {steps(len(losses))} steps that were looked at"
        return Finding("course", f"{sentence}.", values, "measured")
    rises_over = worst not in (0, len(losses) - 1) and high > first + noise.max()
    falls_under = best not in (0, len(losses) - 1) and losses[best] < last - noise.max()
    extremes = [high] * bool(rises_over) + [float(losses[best])] * bool(falls_under)
    pairs = [(first, last), *((each, end) for each in extremes for end in (first, last))]
    digits = max(_digits_apart(*pair) for pair in pairs)
    parts = [f"The loss goes from {number(first, digits)} to {number(last, digits)} in {so_many(run.taken)}"]
    compared = "steps" if len(losses) - 1 == run.taken else "evaluations"
    if rises:
        of = "each" if rises == len(losses) - 1 else steps(rises)
        parts.append(f"it rises at {of} of {steps(len(losses) - 1)} {compared}")
    if rises_over:
        parts.append(f"is highest at step {steps(at[worst])} ({number(high, digits)})")
    if best == 0 and rises < len(losses) - 1:
        parts.append("is never lower than at the start")
    elif falls_under:
        parts.append(f"is best at step {steps(at[best])} ({number(float(losses[best]), digits)})")
    tail = _tail(losses, values)
    since = len(rose) - int(np.append(~rose[::-1], True).argmax())
    if not tail and rises < len(rose) and len(rose) - since >= IN_A_ROW and last - first > HIGH * abs(first):
        values |= {"grows_from": float(losses[since]), "grows_since": float(at[since])}
        tail = f". It grows at the end, from {number(float(losses[since]))} at step {steps(at[since])} on"
    sentence = parts[0] + (f"; {_joined(parts[1:])}" if len(parts) > 1 else "") + tail
    return Finding("course", f"{sentence}.", values, "measured")


def late(run: Run) -> Finding | None:
    """Say that the study does not hold the run from its start."""
    if run.begins:
        return None
    sentence = f"The study holds this run from step {steps(run.steps[0])} on: how it came there is not told"
    return Finding("no start", f"{sentence}.", {"step": float(run.steps[0])}, "measured")


def _joined(parts: list[str]) -> str:
    if not parts[0].startswith("it "):
        parts = [f"it {parts[0]}", *parts[1:]]
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def _digits_apart(one: float, other: float) -> int:
    """Return how many digits two numbers of one sentence take, so that the larger one reads as the larger."""
    return next((count for count in range(3, 8) if told_apart(one, other, count, count)), 3)


def _tail(losses: np.ndarray, values: dict[str, float | str | bool]) -> str:
    """Say what the mean loss of the last part is against that of the part before."""
    count = len(losses) // LATE
    if len(losses) < 2 * FEWEST or count < 1:
        return ""
    late, before = float(losses[-count:].mean()), float(losses[-2 * count : -count].mean())
    if not before > 0 or not late > 0:
        return ""
    change = late / before - 1
    turns = np.diff(losses[-2 * count :])
    scatter = float(np.sqrt(np.mean(turns**2) / count))  # of the difference of two such means
    values |= {"late_mean": late, "mean_before": before, "late_count": float(count), "scatter": scatter}
    if abs(change) <= PLAIN:
        return f". Over the last tenth its mean is that of the tenth before, within {percent(PLAIN)}"
    far = times(1 + change) if change > MANIFOLD else f"{percent(abs(change))} {'above' if change > 0 else 'below'}"
    mean = f"over the last tenth its mean is {far} that of the tenth before"
    if abs(late - before) <= NOISY * scatter and (turns * change < 0).any():
        return f". O{mean[1:]}, which its scatter from one to the next may make"
    half = count // 2
    onwards = float(losses[-half:].mean() - losses[-count : half - count].mean())
    # it was lower before, and goes to and fro since; or it has turned by now
    if onwards * change <= 0 or (change < 0 and losses[-count:].min() > losses.min()):
        return f". O{mean[1:]}"
    return f". It {'still falls' if change < 0 else 'rises'} at the end: {mean}"
