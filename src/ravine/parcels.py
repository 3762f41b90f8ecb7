"""Parcels: a call packed for another process, and what happens to it there."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ravine import study
from ravine.ledger import digest

__all__ = ["Parcel", "deaf", "leave_with_parent", "pack", "perform"]


@dataclass(frozen=True)
class Parcel:
    """A packed call, or the file that it lies in, and the versions of what it was packed with."""

    key: str
    data: Any
    versions: Mapping[str, str]


def pack(call: Callable[[int], Any]) -> Parcel:
    """Pack a call; what was defined in a notebook, and lambdas, go along as they are.

    Raises
    ------
    TypeError
        If something in it cannot leave its process: an open file, say.

    Examples
    --------
    >>> perform(pack(lambda number: number**2), 3)
    9
    """
    import cloudpickle  # type: ignore[import-untyped]

    try:
        data = cloudpickle.dumps(call)
    except Exception as reason:  # each thing that cannot be packed says so in its own kind of error
        raise TypeError(f"the problem cannot be sent to other processes ({reason}): leave executor out") from reason
    return Parcel(digest(data), data, dict(study.versions()))


def perform(parcel: Parcel, number: int) -> Any:
    """Unpack a call, once in each process, and make it: alone in this process, and not disturbed by Ctrl-C."""
    with _ALONE, _undisturbed():
        try:
            return _unpacked(parcel)(number)
        except Exception as reason:
            if _travels(reason):
                raise
            told = f"{type(reason).__name__}: {reason}"
    # raised out here, where no other error is being handled: where dask is loaded, that one would be packed too
    raise RuntimeError(told)


def _travels(reason: Exception) -> bool:
    """Tell whether an error arrives as it was sent: one that cannot be unpacked would break the pool."""
    try:
        return type(pickle.loads(pickle.dumps(reason))) is type(reason)
    except Exception:
        return False


_ALONE = threading.Lock()
"""One call at a time: a dask worker has several threads, and torch's settings belong to the process."""

_HELD: dict[str, Callable[[int], Any]] = {}


def _unpacked(parcel: Parcel) -> Callable[[int], Any]:
    if parcel.key not in _HELD:
        leave_with_parent()
        _check_versions(parcel.versions)
        _HELD.clear()  # another sweep's is not needed any more
        data = parcel.data.read_bytes() if isinstance(parcel.data, Path) else parcel.data
        try:
            _HELD[parcel.key] = pickle.loads(data)
        except (ImportError, AttributeError) as reason:
            raise ImportError(
                f"a worker cannot import what the problem is made of ({reason}): install that module where the workers "
                "run, the same as here, or put its folder on their PYTHONPATH"
            ) from None
    return _HELD[parcel.key]


def _check_versions(wanted: Mapping[str, str]) -> None:
    """Refuse to compute with other versions than the one who asks: bits would differ, and packed calls break."""
    here = study.versions()
    for name in ("ravine", "torch", "numpy", "python"):
        if here[name] != wanted[name]:
            raise RuntimeError(
                f"a worker has {name} {here[name]}, and here it is {wanted[name]}: install the same on both sides"
            )


def _undisturbed() -> AbstractContextManager[None]:
    """Leave Ctrl-C to the process that handed out the block: a terminal sends it to all."""
    import multiprocessing

    return deaf() if multiprocessing.parent_process() is not None else nullcontext()


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C for a while, and let what begins meanwhile ignore it from birth."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave_with_parent() -> None:
    """End this process of a pool when the one that made it is gone; else it would wait for work for ever."""
    _watch_parent(os.getpid())


@functools.cache
def _watch_parent(_own: int) -> None:
    """Watch once in each process: what is remembered goes along with a fork, and the thread does not."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent, born_to = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return

    def watch() -> None:
        # a process that was forked later holds the other end of the sentinel open: the parent's number tells too
        while not wait([parent.sentinel], timeout=1.0) and os.getppid() == born_to:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
