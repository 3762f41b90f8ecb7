"""Blocks: what a page is made of, before it is HTML: paragraphs, plates, tables, listings, claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ravine.plot.paper import Figure

__all__ = ["Block", "Claim", "Listing", "Plate", "Section", "Sentences", "Table", "Text"]


@dataclass(frozen=True)
class Text:
    """A paragraph, or with `points` a list; words between backticks are code, between asterisks stressed."""

    words: str = ""
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Sentences:
    """Findings about one run, or about runs that are one in every bit: what stands above, and the rest to open."""

    whose: str
    first: Sequence[str]
    rest: Sequence[str] = ()


@dataclass(frozen=True)
class Listing:
    """Text in a fixed pitch: a program, or what one prints. Shut, it opens by its title."""

    title: str
    text: str
    shut: bool = True
    copied: bool = True


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Plate:
    """A picture with a reason to look at it, what can be seen on it in words, and what belongs beneath it."""

    id: str
    name: str
    caption: str
    draw: Callable[[], Figure]
    alt: str
    look: str
    told: Sequence[Sentences] = ()
    beneath: Sequence[Listing] = ()


@dataclass(frozen=True)
class Claim:
    """What the article says, whether it is so, and the numbers that show it."""

    id: str
    said: str
    verdict: str
    holds: bool
    answer: str
    values: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    table: Table | None = None


Block = Text | Plate | Table | Listing | Claim


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page with a heading of its own; inner ones stand a level lower."""

    id: str
    title: str
    blocks: Sequence[Block] = ()
    inner: Sequence[Section] = ()
