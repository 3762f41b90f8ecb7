"""Round numbers on an axis, written so that they can be told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import Formatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from ravine._format import MINUS, TIMES, number

Array = NDArray[np.floating[Any]]

DECADES = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Round numbers of a decade, from the most to the fewest."""

LONGEST = 6
"""Digits of a number on an axis beyond which only what tells them apart is written, and the rest with the name."""


def round_numbers(low: float, high: float, most: int, log: bool = False) -> Array:
    """Return at most about so many round numbers from `low` to `high`.

    Examples
    --------
    >>> round_numbers(2, 600, 9, log=True).tolist(), round_numbers(2, 600, 5, log=True).tolist()
    ([2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0], [3.0, 10.0, 30.0, 100.0, 300.0])
    >>> round_numbers(0.0, 0.99, 6).tolist()
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    if log and high > 5 * low > 0:
        first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
        for digits in DECADES:
            found = np.array([float(f"{digit:g}e{power}") for power in range(first, last + 1) for digit in digits])
            found = found[(found >= low * (1 - 1e-9)) & (found <= high * (1 + 1e-9))]
            if len(found) <= most:
                return found
        return found[:: -(-len(found) // most)]
    found = np.asarray(MaxNLocator(max(most, 1), steps=[1, 2, 5, 10]).tick_values(low, high))
    step = float(np.diff(found).min())
    found = found[(found >= low - 1e-9 * step) & (found <= high + 1e-9 * step)]
    return np.round(found, max(0, 1 - int(np.floor(np.log10(step))))) + 0.0  # a zero has no sign


def write_numbers(numbers: ArrayLike, log: bool = False) -> list[str]:
    """Write numbers that belong together so that they can be told apart: with the same decimals, unless `log`.

    Examples
    --------
    >>> write_numbers([0, 0.5, 1]), write_numbers([1, 10, 2000], log=True), write_numbers([25792.25, 25792.5])
    (['0', '0.5', '1.0'], ['1', '10', '2,000'], ['25,792.25', '25,792.50'])
    """
    values = np.atleast_1d(np.asarray(numbers, dtype=float))
    largest, step = _largest_and_step(values)
    if not log and len(values) > 1 and (1e-4 <= largest < 1e6 or largest == 0):
        wanted = (d for d in range(9) if np.allclose(values, np.round(values, d), rtol=0, atol=1e-3 * step))
        decimals = next(wanted, 9)
        words = [f"{value:,.{decimals}f}".replace("-", MINUS) for value in values.tolist()]
        return ["0" if value == 0 else word for value, word in zip(values, words, strict=True)]
    digits = min(max(4, int(np.ceil(np.log10(largest / step))) + 1), 15) if step else 4
    return [number(value, digits) for value in values.tolist()]


def _largest_and_step(values: Array) -> tuple[float, float]:
    steps = np.diff(np.sort(values))
    return float(np.abs(values).max(initial=0.0)), float(steps[steps > 0].min(initial=np.inf)) if steps.any() else 0.0


@dataclass(frozen=True, eq=False)
class Ticks:
    """Numbers of an axis as they are written: less `base`, in units of ten to the `power`."""

    places: list[float]
    words: list[str]
    base: float = 0.0
    power: int = 0

    def name(self, name: str) -> str:
        """Return the axis's name, with what its numbers leave out.

        Examples
        --------
        >>> write_ticks([1e6 - 1e-3, 1e6, 1e6 + 1e-3]).name("a")
        'a − 1,000,000'
        """
        less = f"{name} {MINUS if self.base > 0 else '+'} {_whole(abs(self.base))}" if self.base else name
        if not self.power:
            return less
        return f"({less}) / {number(10.0**self.power)}" if self.base else f"{less} / {number(10.0**self.power)}"

    @property
    def left_out(self) -> str:
        """What the numbers leave out, by itself."""
        base = f"{'+' if self.base > 0 else MINUS} {_whole(abs(self.base))}" if self.base else ""
        return f"{TIMES} {number(10.0**self.power)} {base}".strip() if self.power else base


def write_ticks(places: ArrayLike, log: bool = False, longest: int = LONGEST) -> Ticks:
    """Write numbers of an axis so that they are short and can be told apart.

    Examples
    --------
    >>> write_ticks([0, 1e-6, 2e-6]).words, write_ticks([0, 1e-6, 2e-6]).name("a")
    (['0', '1', '2'], 'a / 10⁻⁶')
    """
    values = np.asarray(places, dtype=float)
    largest, step = _largest_and_step(values)
    if log or not step:
        return Ticks(values.tolist(), write_numbers(values, log=True))
    base = 0.0
    if largest >= 10.0**longest * step:
        coarse = 10.0 ** (np.ceil(np.log10(np.ptp(values))) + 1)
        base = float(f"{np.round((values.min() + values.max()) / 2 / coarse) * coarse:.15g}")
    rest = values - base
    largest = float(np.abs(rest).max())
    power = 0 if 5e-4 <= largest < 1e6 else int(np.floor(np.log10(largest) + 1e-9))
    return Ticks(values.tolist(), write_numbers(rest / 10.0**power), base, power)


def _whole(value: float) -> str:
    """Write a round number in full."""
    return number(value, max(4, len(f"{value:.15g}".replace(".", "").rstrip("0"))))


class NumberFormatter(Formatter):
    """Numbers of an axis whose places matplotlib chooses, written as everywhere; what they leave out at its end."""

    def __init__(self) -> None:
        self.left_out = ""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Write one number."""
        return number(x, 4)

    def format_ticks(self, values: Any) -> list[str]:
        """Write all numbers of the axis."""
        if not len(values):
            return []
        ticks = write_ticks(values, longest=4)  # the room at the left is not measured
        self.left_out = ticks.left_out
        return ticks.words

    def get_offset(self) -> str:
        """Return what all of them leave out."""
        return self.left_out
