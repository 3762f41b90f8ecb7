"""A progress bar for long work, and silence for short."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

__all__ = ["tracked"]

Item = TypeVar("Item", covariant=True)

PATIENCE = 2.0
"""Seconds of work before a bar appears."""


class SizedIterable(Sized, Iterable[Item], Protocol[Item]):
    """Something that has a length and can be walked through."""


def tracked(items: SizedIterable[Item], what: str) -> Iterator[Item]:
    """Walk through items; show a bar on stderr once the walk has taken longer than two seconds.

    Examples
    --------
    >>> list(tracked(range(3), "squares"))
    [0, 1, 2]
    """
    began = time.perf_counter()
    walk = iter(items)
    for done, item in enumerate(walk, start=1):
        yield item
        if time.perf_counter() - began > PATIENCE:
            yield from _with_bar(walk, what, done, len(items))


def _with_bar(walk: Iterator[Item], what: str, done: int, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):  # a log is no place for a bar
        yield from walk
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done)
        for item in walk:
            yield item
            progress.advance(task)
