"""The ledger of a store: the blocks that a sweep is cut into, and a record of each that is finished.

A record is there whole or not at all, with a checksum of its own. A block is a chunk of an array and a stretch of
run numbers at once.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._study.provenance import Agreement, digest

DRAFT = ".partial"
"""How the files end that are being written: those of the ledger, and those of zarr's chunks."""

OWN_DRAFT = re.compile(r"(?:\d+|zarr|[a-z.]+\.json|[0-9a-f]{32}\.json)\.[0-9a-f]{32}" + re.escape(DRAFT))
"""What a draft of ravine's or zarr's is called; other files may end alike, and are somebody else's."""


def write_record(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a record so that at any instant it is there whole or not at all: a draft, synced, then renamed."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    try:
        with draft.open("wb") as file:
            file.write(seal(facts))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def seal(facts: Mapping[str, Any]) -> bytes:
    """Return the one way in which facts are written down."""
    text = json.dumps(facts, sort_keys=True)
    return json.dumps({"digest": digest(text), "facts": facts}, sort_keys=True).encode()


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is not what was written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_record(Path(folder, "a.json"), {"block": 3})
    ...     read_record(Path(folder, "a.json"))
    {'block': 3}
    """
    try:
        held = path.read_bytes()
        facts: dict[str, Any] = json.loads(held)["facts"]
        if not isinstance(facts, dict):
            raise TypeError
        sound = held == seal(facts)  # in every byte: an E for an e says the same, and was not written
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ValueError(f"{path} is damaged: its checksum does not fit what it says")
    return facts


def check_block(facts: Any) -> None:
    """Complain of a block's record that ravine cannot have written.

    Raises
    ------
    ValueError
        If it does not hold what a record holds.
    """
    try:
        sound = all(isinstance(each, str) for each in facts["sums"].values())
        if "told" in facts:  # format 1
            sound &= all(isinstance(each, str) for each in facts["told"].values())
        else:
            sound &= all(each is None or Agreement(**each) is not None for each in facts["agreement"].values())
        for stretches in facts["errors"].values():
            sound &= all(type(first) is int and type(last) is int and 0 <= first < last for first, last in stretches)
    except (KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise ValueError("a record is damaged: it does not hold what the record of a block holds")


def sum_of(values: NDArray[Any]) -> str:
    """Return the digest of one field of a block (run, …), its numbers in the order in which engines make them.

    Examples
    --------
    >>> sum_of(np.zeros((3, 2))) == sum_of(np.zeros((3, 2), order="F")) != sum_of(np.zeros((2, 3)))
    True
    """
    # runs last, as in an engine's memory and in a chunk: nothing has to be moved about
    made = np.ascontiguousarray(np.moveaxis(values, 0, -1))
    return digest(made.dtype.str, str(made.shape), made)


class Ledger:
    """The finished blocks of a store, a record for each, under a key made from what the block is."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def key(self, block: int) -> str:
        """Return the name of a block's record: made from the sweep and the block's place in it, and nothing else."""
        return digest(self.identity, str(block))

    def path(self, block: int) -> Path:
        """Return where a block's record lies, once the block is finished."""
        return self.folder / f"{self.key(block)}.json"

    def enter(self, block: int, facts: Mapping[str, Any]) -> None:
        """Record that a block is finished."""
        write_record(self.path(block), {"block": block, **facts})

    def read(self, block: int) -> dict[str, Any]:
        """Return a block's record; it must speak of that very block."""
        facts = read_record(self.path(block))
        if facts.get("block") != block:
            raise ValueError(f"{self.path(block)} is damaged: it speaks of block {facts.get('block')}, not of {block}")
        check_block(facts)
        return facts

    def finished(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Walk through the blocks whose records are there and sound."""
        for block in self.recorded(count):
            try:
                yield block, self.read(block)
            except (ValueError, FileNotFoundError):
                continue

    def recorded(self, count: int) -> Iterator[int]:
        """Walk through the blocks that have a record, sound or not."""
        there = {entry.name for entry in os.scandir(self.folder)} if self.folder.is_dir() else set[str]()
        for block in range(count):
            if self.path(block).name in there:
                yield block

    def forget(self, block: int) -> None:
        """Take a block's record away, so that the block is made again."""
        self.path(block).unlink(missing_ok=True)


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
