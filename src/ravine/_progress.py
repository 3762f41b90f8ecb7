"""A progress bar for long work, and silence for short."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
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

    Work inside of other work is part of it, and shows no bar of its own; by `share` it moves the outer one.

    Examples
    --------
    >>> with work(100, "runs") as advance:
    ...     advance(50)
    ...     advance(50)
    """
    outer, amount = _share.get()
    if outer is not None:
        token = _share.set((None, 0.0))
        try:
            yield lambda more: outer(amount * more / total)
        finally:
            _share.reset(token)
        return
    outermost = _under_way.acquire(blocking=False)
    try:
        # None: no bar where nobody watches, as in a log
        silent = None if outermost else True
        with _bar_class()(total=total, desc=what, unit=f" {what}", delay=PATIENCE, leave=False, disable=silent) as bar:
            yield bar.update
    finally:
        if outermost:
            _under_way.release()


@contextmanager
def share(advance: Callable[[float], None], amount: float) -> Iterator[None]:
    """Let the first work inside of other work move the outer bar, by `amount` in all; what is left comes at the end.

    Examples
    --------
    >>> moved = []
    >>> with share(moved.append, 50):
    ...     squares = [each**2 for each in tracked(range(2), "squares")]
    >>> moved
    [25.0, 25.0]
    """
    left = amount

    def move(more: float) -> None:
        nonlocal left
        left -= more
        advance(more)

    token = _share.set((move, amount))
    try:
        yield
    finally:
        _share.reset(token)
    if left > 0:
        advance(left)


_share: ContextVar[tuple[Callable[[float], None] | None, float]] = ContextVar("share", default=(None, 0.0))
"""The outer bar that the next work moves, and by how much in all."""

_under_way = threading.Lock()
"""Held while some work may show a bar."""


@functools.cache
def _bar_class() -> Any:
    """Return tqdm's bar, of a notebook where we are in one, without its side effects on the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that notebooks are experimental, or lack ipywidgets
        from tqdm.autonotebook import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # else a thread stays behind that wakes slow bars
        _lock = threading.RLock()  # else a lock of multiprocessing, which settles how processes are started

    return Bar
