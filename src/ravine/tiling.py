"""Tiling: blocks of runs that are chunks of an array and stretches of run numbers at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Tiling", "tiling_of"]


@dataclass(frozen=True)
class Tiling:
    """The runs of a lattice, cut into blocks: whole rows of the last axes, and an even share of one before them.

    Such a block is one chunk of an array over the lattice, and its runs have consecutive numbers.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-length // part) for length, part in zip(self.shape, self.block, strict=True))

    @property
    def size(self) -> int:
        """Number of runs."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return math.prod(self.counts)

    def corner(self, number: int) -> tuple[int, ...]:
        """Return the place of a block among the blocks.

        Examples
        --------
        >>> tiling_of((4, 5, 6), at_most=12).corner(4)
        (1, 1, 0)
        """
        if not 0 <= number < self.count:
            raise IndexError(f"there are blocks 0 to {self.count - 1}, got {number}")
        corner = []
        for count in reversed(self.counts):
            number, place = divmod(number, count)
            corner.append(place)
        return tuple(reversed(corner))

    def shape_of(self, number: int) -> tuple[int, ...]:
        """Return the shape of one block: at the end of an axis it may be smaller."""
        places = zip(self.corner(number), self.block, self.shape, strict=True)
        return tuple(min(part, length - place * part) for place, part, length in places)

    def runs_of(self, number: int) -> slice:
        """Return the numbers of the runs of one block.

        Examples
        --------
        >>> tiling = tiling_of((4, 5, 6), at_most=12)
        >>> tiling.block, [tiling.runs_of(k) for k in range(3)]
        ((1, 2, 6), [slice(0, 12, None), slice(12, 24, None), slice(24, 30, None)])
        """
        first = 0
        for place, part, length in zip(self.corner(number), self.block, self.shape, strict=True):
            first = first * length + place * part
        return slice(first, first + self.runs_in(number))

    def runs_in(self, number: int) -> int:
        """Return how many runs one block has."""
        return math.prod(self.shape_of(number))


def tiling_of(shape: Sequence[int], at_most: int) -> Tiling:
    """Cut a lattice into blocks of at most so many runs, as equal as they can be.

    Examples
    --------
    >>> tiling_of((1000, 51), at_most=50).block, tiling_of((10, 3), at_most=1000).block, tiling_of((), 5).count
    ((1, 26), (10, 3), 1)
    """
    block: list[int] = []
    room = max(1, at_most)
    for length in reversed(shape):
        parts = -(-length // min(length, room))
        part = -(-length // parts)
        block.append(part)
        room = room // length if part == length else 1
        room = max(1, room)
    return Tiling(tuple(shape), tuple(reversed(block)))
