"""Frames: which steps a moving picture shows, and for how long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["durations_of", "frames_of"]

MOST = 101
"""Frames of a moving picture, at most: each of the usual hundred steps, and the start."""

WHOLE, SHORTEST, LONGEST = 8000, 80, 250
"""Milliseconds that all frames take together, and that one takes at least and at most."""

FIRST, LAST = 600, 2500
"""Milliseconds for which the start and the end stay."""


def frames_of(last: int, most: int = MOST) -> NDArray[np.intp]:
    r"""Return the steps that are shown of `last` + 1, among them always the first two and the last.

    All of them, while there are no more than `most`. Of more, frame :math:`j` of :math:`F` shows step
    :math:`\mathrm{round}(K\,(j/F)^p)` with :math:`p = \ln K / \ln F`: the second frame is one step after the first,
    and the strides grow steadily from there, because a run goes fastest at its beginning.

    Examples
    --------
    >>> frames_of(5).tolist()
    [0, 1, 2, 3, 4, 5]
    >>> frames_of(1000, most=11).tolist()
    [0, 1, 8, 27, 64, 125, 216, 343, 512, 729, 1000]
    """
    if last < most:
        return np.arange(last + 1)
    power = np.log(last) / np.log(most - 1)
    chosen: NDArray[np.intp] = np.rint(last * np.linspace(0, 1, most) ** power).astype(np.intp)
    return chosen


def durations_of(count: int) -> list[int]:
    """Return how long each frame stays, in milliseconds: the first a moment longer, the last until it is read.

    Examples
    --------
    >>> durations_of(5), sum(durations_of(101)[1:-1])
    ([600, 250, 250, 250, 2500], 7920)
    """
    each = int(np.clip(WHOLE / count, SHORTEST, LONGEST)) // 10 * 10  # GIF counts in hundredths of a second
    return [FIRST, *[each] * (count - 2), LAST][:count] if count > 1 else [LAST]
