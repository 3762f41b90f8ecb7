"""Levels: at which losses a surface changes colour, and which of them bear a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["bottom", "gaps_of", "numbered", "shared"]

Array = NDArray[np.floating[Any]]

BANDS = 22
"""Filled bands of a surface, evenly spaced in the logarithm of the gap."""

FARTHEST = 1e-7
"""Smallest gap drawn, as a share of the largest."""

FEW_ISLANDS = 4
"""Himmelblau's function has four minima."""


def bottom(values: Array) -> float:
    """Return the lowest finite loss of a surface, 0 where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else 0.0


def gaps_of(values: Array) -> Array | None:
    """Return the upper edges of the bands, as gaps over the lowest loss; None where the loss is the same everywhere."""
    return shared([values])


def shared(surfaces: Sequence[Array]) -> Array | None:
    """Return one scale for several surfaces: a colour then means the same gap in each.

    Examples
    --------
    >>> slope = np.array([[0.0, 1.0], [2.0, 9.0]])
    >>> edges = shared([slope, slope + 5])
    >>> len(edges), float(edges[-1])
    (22, 9.0)
    """
    lowest, highest = [], []
    for values in surfaces:
        base = bottom(values)
        gaps = np.sort(values[np.isfinite(values)] - base)
        gaps = gaps[gaps > 0]
        if gaps.size and gaps[-1] >= 1e-12 * max(abs(base), 1e-300):
            lowest.append(_lowest_band(values - base, gaps))
            highest.append(float(gaps[-1]))
    if not highest:
        return None
    edges: Array = np.unique(np.geomspace(min(lowest), max(highest), BANDS))
    edges[-1] = max(highest)  # not a bit below the highest corner
    return edges


def _lowest_band(gap: Array, gaps: Array) -> float:
    """Return the upper edge of the lowest band: what lies within one cell of the lowest point, at least.

    In a valley narrower than the grid a low band falls into islands that show the grid and not the loss; it
    is widened until few are left.
    """
    lowest = max(gaps[min(8, gaps.size - 1)], FARTHEST * gaps[-1])
    while lowest < gaps[-1] / 30 and ndimage.label(gap <= lowest, structure=np.ones((3, 3)))[1] > FEW_ISLANDS:
        lowest *= 1.5
    return float(min(lowest, gaps[-1] / 10))


def numbered(base: float, lowest: float, top: float, most: int = 4) -> Array:
    """Choose losses of the form 1, 2, 5 · 10ⁿ (either sign), spread over the logarithm of the gap.

    Examples
    --------
    >>> numbered(base=0.5, lowest=0.51, top=140.0).tolist()
    [1.0, 2.0, 20.0, 100.0]
    """
    scale = max(abs(base), abs(top))
    powers = np.arange(np.floor(np.log10(scale)) - 8, np.ceil(np.log10(scale)) + 1)
    positive = np.concatenate([np.array([1.0, 2.0, 5.0]) * 10.0**p for p in powers])
    candidates: Array = np.unique(np.concatenate([-positive, [0.0], positive]))
    low, high = base + (lowest - base) * 6, base + (top - base) * 0.75
    candidates = candidates[(candidates > low) & (candidates < high)]
    if not candidates.size:
        return candidates
    wanted = np.linspace(np.log(low - base), np.log(high - base), most + 1)[1:]
    nearest = [int(np.abs(np.log(candidates - base) - w).argmin()) for w in wanted]
    chosen: Array = candidates[np.unique(nearest)]
    return chosen
