"""How runs in one picture are told apart: by a ramp where their setting is a number, else by colour and dashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from ravine.plot._canvas.scales import Shades, is_log
from ravine.plot._canvas.style import Style

MOST = 24
"""Runs in one picture, at most."""

FEW = 3
"""Numbers up to which each has a colour of its own: a ramp needs more to be seen as one."""

NAMED = 10
"""Runs of a ramp up to which each bears its number; more are read off a bar."""

COUNTED = ("start", "seed", "run")
"""What is numbered, but is no quantity: its numbers are names."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.4)), (0, (1.6, 1.2)), (0, (7, 1.4, 1.6, 1.4)), (0, (3, 1)), (0, (9, 2)))


@dataclass(frozen=True, eq=False)
class Hues:
    """A colour for each run, dashes for it, and what the ramp means where there is one."""

    colors: tuple[str, ...]
    dashes: tuple[Any, ...]
    shades: Shades | None = None
    heading: str = ""

    @property
    def bar(self) -> Shades | None:
        """The ramp, where so many runs lie on it that a bar says which is which."""
        return self.shades if len(self.colors) > NAMED else None

    def of(self, theme: Style) -> Style:
        """Return the style in which the k-th run has the k-th accent."""
        return replace(theme, accents=self.colors)


def choose_hues(name: str, values: Sequence[Any], theme: Style) -> Hues:
    """Choose colours for runs by the values of the setting that tells them apart, in the order of these.

    More than three numbers get a ramp, on a logarithmic scale where they are spaced so. Labels get the accents in
    turn; beyond the first six, dashes tell apart what shares a colour.

    Examples
    --------
    >>> from ravine.plot._canvas.style import RAVINE
    >>> rates = choose_hues("lr", [0.001, 0.01, 0.1, 1.0], RAVINE)
    >>> rates.shades.log, rates.colors[0], len(set(rates.colors))
    (True, '#0d0887', 4)
    >>> len({*zip(*(lambda each: (each.colors, each.dashes))(choose_hues("run", list("abcdefghij"), RAVINE)))})
    10
    """
    count = len(values)
    numbers = np.array([np.nan if isinstance(v, str | bool | np.bool_) else float(v) for v in values], dtype=float)
    if (
        name in COUNTED
        or len(np.unique(numbers[np.isfinite(numbers)])) <= FEW
        or not np.isfinite(numbers).all()
        or theme.frame
    ):
        accents, own = theme.accents, len(theme.accents)
        return Hues(
            tuple(accents[k % own] for k in range(count)), tuple(DASHES[k // own % len(DASHES)] for k in range(count))
        )
    ordered = np.unique(numbers)
    shades = Shades(float(ordered[0]), float(ordered[-1]), is_log(ordered), (False, False), theme.runs)
    colors = tuple(to_hex(shades.color(float(number))) for number in numbers)
    turns = [sum(other == number for other in numbers[:k]) for k, number in enumerate(numbers)]  # runs of one number
    return Hues(colors, tuple(DASHES[turn % len(DASHES)] for turn in turns), shades, name.replace("_", " "))
