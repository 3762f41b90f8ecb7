"""What became of the settings of a diagram: a word for each cell, and how many cells have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import share_of

Mask = NDArray[np.bool_]

ARRIVED = "arrived"
"""Outcome of the cells that have a value."""

NOT_MADE = "not made"
"""Outcome of the runs of an interrupted sweep that were not begun."""

DIVERGED, LATE, INVALID, NOTHING = "diverged", "not arrived", "invalid", "no value"

SENTENCES = {
    ARRIVED: "arrive",
    DIVERGED: "diverge",
    LATE: "do not arrive",
    INVALID: "are invalid",
    NOT_MADE: "are not made",
}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of each cell: `codes` (row, column) are places among `words`, which are sorted and all occur."""

    codes: NDArray[np.intp]
    words: tuple[str, ...]

    @property
    def regions(self) -> list[str]:
        """The outcomes of cells that have no value."""
        return [word for word in self.words if word != ARRIVED]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many cells have each."""
        return dict(zip(self.words, np.bincount(self.codes.ravel()).tolist(), strict=True))

    def code(self, word: str) -> int:
        """Return the code of an outcome, -1 where no cell has it."""
        return self.words.index(word) if word in self.words else -1

    def are(self, word: str) -> Mask:
        """Tell which cells have an outcome."""
        return np.asarray(self.codes == self.code(word))

    def word(self, row: int, column: int) -> str:
        """Return the outcome of one cell."""
        return self.words[int(self.codes[row, column])]


def outcomes_of(values: xr.DataArray) -> Outcomes:
    """Return what became of each cell; `ARRIVED` where it has a value to show.

    From the coordinate ``outcome`` where there is one; otherwise ±inf has diverged, and NaN has no value.

    Examples
    --------
    >>> found = outcomes_of(xr.DataArray([[3.0, np.nan, np.inf]]))
    >>> [found.word(0, column) for column in range(3)], found.counts
    (['arrived', 'no value', 'diverged'], {'arrived': 1, 'diverged': 1, 'no value': 1})
    """
    numbers = values.values.astype(float)
    finite = np.isfinite(numbers)
    if "outcome" not in values.coords:
        return _sorted(np.where(finite, 0, np.where(np.isnan(numbers), 1, 2)), (ARRIVED, NOTHING, DIVERGED))
    told = values["outcome"].broadcast_like(values).transpose(*values.dims).values.astype(str, copy=False)
    words, codes = [ARRIVED, NOTHING], np.full(told.shape, -1)
    for code, word in enumerate(words):
        codes[told == word] = code
    while codes.size and codes.min() < 0:  # words are few, and sorting a million of them takes longer
        word = str(told.flat[codes.argmin()])
        codes[told == word] = len(words)
        words.append(word)
    codes[(codes == 0) & ~finite] = 1
    return _sorted(codes, words)


def _sorted(codes: NDArray[np.intp], words: Sequence[str]) -> Outcomes:
    """Return outcomes without words that no cell has, in order."""
    counts = np.bincount(codes.ravel(), minlength=len(words))
    kept = sorted(word for word, count in zip(words, counts, strict=True) if count)
    places = np.array([kept.index(word) if word in kept else -1 for word in words])
    return Outcomes(places[codes], tuple(kept))


def count_text(outcomes: Outcomes, within: str, judged: bool) -> str:
    """Say which share of the settings met which end.

    `within` is how many steps they had, in words; `judged` tells whether arriving was asked at all.
    """
    names = outcomes.words
    order = [name for name in (ARRIVED, DIVERGED, LATE, INVALID, NOTHING) if name in names]
    order += [name for name in names if name not in order]
    sentences = SENTENCES | {NOTHING: "have no value"}
    if judged and ARRIVED in order:
        sentences[ARRIVED] = f"arrive{within}"
    elif judged:
        sentences[LATE] = f"do not arrive{within}"
    else:
        sentences[ARRIVED] = "stay finite" if DIVERGED in order else "have a value"
    size = outcomes.codes.size
    if len(order) == 1:
        return f"all {size:,} {sentences.get(order[0], order[0])}"
    parts = [f"{share_of(outcomes.counts[name], size)} {sentences.get(name, f'are {name}')}" for name in order]
    return "; ".join(parts)
