"""Which places of a run are looked at, by the numbers of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import kind_of, listed


def choose_places(numbers: NDArray[np.int64], steps: Any) -> list[int]:
    """Return the places of the steps that are asked for, each once and in their order; all where none are.

    Examples
    --------
    >>> choose_places(np.array([0, 10, 20]), [20, 0, 20])
    [0, 2]
    >>> choose_places(np.array([0, 10, 20]), 10)
    Traceback (most recent call last):
    ...
    TypeError: steps takes the numbers of steps, as in steps=[10]; got 10
    """
    if steps is None:
        return list(range(len(numbers)))
    example = f"steps takes the numbers of steps, as in steps=[{numbers[min(1, len(numbers) - 1)]}]"
    try:
        asked = None if isinstance(steps, str) else list(steps)
    except TypeError:  # no list, or an array of no dimension
        asked = None
    if asked is None:
        raise TypeError(f"{example}; got {kind_of(steps)}")
    place_of = {int(number): k for k, number in enumerate(numbers)}
    places = set()
    for step in asked:
        number = _as_step(step)
        if number is None:
            raise TypeError(f"{example}; {kind_of(step)} is no number of a step")
        if number not in place_of:
            whole = len(numbers) > 8 and len(numbers) == numbers[-1] - numbers[0] + 1
            held = f"{numbers[0]} to {numbers[-1]}" if whole else listed(numbers.tolist())
            raise ValueError(f"there is no step {number} in this run; it has {held}")
        places.add(place_of[number])
    return sorted(places)


def _as_step(step: Any) -> int | None:
    """Return a whole number, also one that is held as a float, by a tensor or an array; None of anything else."""
    try:
        found = None if isinstance(step, bool | str | np.bool_) else float(step)
    except (TypeError, ValueError, RuntimeError):
        return None
    return int(found) if found is not None and found.is_integer() else None
