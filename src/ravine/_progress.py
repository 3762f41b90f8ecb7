"""A progress bar for long work, and silence for short."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

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
    with work(len(items), what) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def work(total: float, what: str) -> Iterator[Callable[[float], None]]:
    """Give a function to be told how much more is done; a bar with speed and time left appears as in `tracked`.

    Work inside of other work is part of it, and shows no bar of its own.

    Examples
    --------
    >>> with work(100, "runs") as advance:
    ...     advance(50)
    ...     advance(50)
    """
    bar = _Bar(total, what)
    try:
        yield bar.advance
    finally:
        bar.close()


class _Bar:
    outermost: _Bar | None = None

    def __init__(self, total: float, what: str) -> None:
        self.total, self.what, self.done = total, what, 0.0
        self.began = time.perf_counter()
        self.progress: Any = None
        self.silent = _Bar.outermost is not None
        if not self.silent:
            _Bar.outermost = self

    def advance(self, amount: float) -> None:
        self.done += amount
        if self.silent:
            return
        if self.progress is not None:
            self.progress.update(self.task, completed=self.done)
        elif time.perf_counter() - self.began > PATIENCE:
            self.show()

    def show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.text import Text

        console = Console(stderr=True)
        if not (console.is_terminal or console.is_jupyter):  # a log is no place for a bar
            self.silent = True
            return

        class Speed(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text("" if task.speed is None else f"{task.speed:,.0f} {task.description}/s")

        done = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
        columns = (TextColumn("{task.description}"), BarColumn(), done, Speed(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, transient=True)
        self.progress.start()
        self.task = self.progress.add_task(self.what, total=self.total, completed=self.done)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
        if _Bar.outermost is self:
            _Bar.outermost = None
