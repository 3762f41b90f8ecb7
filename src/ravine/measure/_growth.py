"""Whether losses grow without an end in sight: late further than early, and not ever more slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine.measure._objective import NOISE

GROWTH = 4.0
"""A loss that rises this many times as far late in a run as it went early grows without bound (see `diverged`)."""

STEADY = 0.85
"""Share of the growth in the quarter before that growth in the last quarter must have (see `diverged`)."""

EVEN = 0.99
"""The same of single rises, where the loss rises at each step."""

SOME = 4096
"""Runs that are asked at once how they grow: copies of all would take too much memory."""

FEWEST = 8
"""Steps below which growth without bound cannot be told from the first swing of momentum."""


def is_growing(losses: NDArray[Any], steps: NDArray[Any], hidden: NDArray[np.bool_] | None, eps: float) -> NDArray[Any]:
    """Tell which runs (…, step) rise late further than early; `hidden` says where the loss was not evaluated."""
    since = steps - steps[0]
    seen = np.ones(len(since), dtype=bool) if hidden is None else ~hidden
    last = np.where(seen, since, 0).max(-1, keepdims=True)
    middle = np.where(seen & (2 * since >= last), since, last).min(-1, keepdims=True)
    early, late = seen & (since <= middle), seen & (4 * since >= 3 * last)
    if hidden is None:  # views, because copies would cost more than all the rest
        head, tail = losses[..., : early.sum()], losses[..., -late.sum() :]
    else:
        head, tail = np.where(early, losses, np.nan), np.where(late, losses, np.nan)
    start, high, low, later = (
        each.astype(np.float64)
        for each in (losses[..., 0], np.fmax.reduce(head, -1), np.fmin.reduce(head, -1), np.fmax.reduce(tail, -1))
    )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a loss that lay still in between: no slowing
        rise = later - start
        beyond = (rise / GROWTH > np.maximum(high - start, start - low)) & (rise > abs(start))
        beyond &= last[..., 0] >= FEWEST
    if beyond.any():  # the rest is rarely asked
        flat, shown = losses.reshape(-1, len(since)), np.broadcast_to(seen, losses.shape).reshape(-1, len(since))
        grows, lows, noise = beyond.ravel(), low.ravel(), NOISE * eps * abs(start.ravel())
        asked = np.flatnonzero(grows)
        for first in range(0, len(asked), SOME):
            some = asked[first : first + SOME]
            part, there = flat[some].astype(np.float64), shown[some]
            grows[some] = ~_is_slackening(part, since, there)
            with np.errstate(over="ignore", invalid="ignore"):
                grows[some] &= ~_is_slowing(part - lows[some, None], since, there, noise[some])
        beyond = grows.reshape(beyond.shape)
    return np.asarray(beyond)


def _is_slowing(
    heights: NDArray[np.float64], since: NDArray[Any], seen: NDArray[np.bool_], noise: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which runs (run, step) rose by a smaller factor in the last quarter than in the one before."""
    last = np.where(seen, since, 0).max(-1, keepdims=True)
    quarter = last // 4
    peaks, ends = [], []
    for k in range(3):  # from the end on, of equally many steps, however few
        part = seen & ~np.isnan(heights) & (since <= last - k * quarter) & (since > last - (k + 1) * quarter)
        peaks.append(np.fmax.reduce(np.where(part, heights, -np.inf), -1))
        ends.append(np.where(part, since, -1).max(-1))
    after, between, before = peaks
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        share = (ends[0] - ends[1]) / (ends[1] - ends[2])  # 1, where the loss was evaluated at every step
        # what still grows fourfold a quarter does not level off: its swings may only fall otherwise
        factor = np.minimum((between / before) ** share, GROWTH)
        return np.asarray((before > noise) & (after / between < STEADY * factor))


def _is_slackening(losses: NDArray[np.float64], since: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which runs (run, step) rise at each step of their second half, by rises that grow ever more slowly.

    The rises of a loss that grows by a constant factor grow by that factor, wherever its zero lies; those of one that
    levels off begin to fall behind long before it does.
    """
    counts, at = seen.sum(-1), np.broadcast_to(since, seen.shape)
    if not seen.all():
        order = np.argsort(~seen, axis=-1, kind="stable")  # what was evaluated comes first
        losses, at = np.take_along_axis(losses, order, -1), since[order]
    places, quarter, end = np.arange(len(since) - 1), (counts - 1) // 4, counts - 2
    half = (places <= end[:, None]) & (2 * places >= counts[:, None] - 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rises, strides = np.diff(losses, axis=-1), np.diff(at, axis=-1)
        one, two, three = (
            np.take_along_axis(rises, np.maximum(end - k * quarter, 0)[:, None], -1)[:, 0] for k in range(3)
        )
        stride = np.take_along_axis(strides, np.maximum(end, 0)[:, None], -1)
        rising = (((rises > 0) & (strides == stride)) | ~half).all(-1)
        return np.asarray(rising & (quarter > 0) & (one / two < EVEN * np.minimum(two / three, GROWTH)))
