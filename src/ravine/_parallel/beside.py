"""One call made in a process of its own while this one goes on."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NoReturn, TypeVar

Result = TypeVar("Result")

LOOKS = 0.5
"""Seconds from one look at whether the process that wants the answer is still there to the next."""


@contextmanager
def call_beside(call: Callable[[], Result], *, fork: bool) -> Iterator[Callable[[], Result]]:
    """Begin a call, and give what waits for its result, which has to be picklable; its error is raised there.

    A forked process makes it, so it may be any function; with it ends whatever of the call is not done. Ctrl-C ends
    both. Where there is one core alone, where processes are not forked, and with ``fork=False`` (as is right once
    torch has worked in this process: its threads are not there in the child), it is made here, when it is asked for.

    Examples
    --------
    >>> with call_beside(lambda: 6 * 7, fork=False) as answer:
    ...     answer()
    42
    """
    if not (fork and sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1):
        yield functools.cache(call)
        return
    reader, writer = os.pipe()
    asking = os.getpid()
    try:
        child = os.fork()
    except OSError:  # no room for another process
        os.close(reader)
        os.close(writer)
        yield functools.cache(call)
        return
    if child == 0:
        os.close(reader)
        _answer(call, writer, asking)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        try:
            yield functools.cache(lambda: _read_answer(pipe))
        finally:
            with suppress(ProcessLookupError, ChildProcessError):  # gone at once where SIGCHLD is ignored
                os.kill(child, signal.SIGKILL)  # else a process that has ended stays until it is waited for
                os.waitpid(child, 0)


def _answer(call: Callable[[], object], writer: int, asking: int) -> NoReturn:
    """Make the call, write what came of it, and leave: what the other process has at its end is not for this one."""
    try:
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as it is where a script began this in the background
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a word, which the other has
        threading.Thread(target=_leave_with, args=(asking,), daemon=True).start()
        try:
            answer: tuple[bool, object] = True, call()
        except Exception as reason:
            answer = False, reason
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(_pack(*answer))
    finally:
        os._exit(0)


def _pack(done: bool, found: object) -> bytes:
    try:
        packed = pickle.dumps((done, found))
        pickle.loads(packed)
    except Exception as reason:  # an error of the user's module may be of a kind that does not travel
        told = reason if done else found
        return pickle.dumps((False, RuntimeError(f"{type(told).__name__}: {told}")))
    return packed


def _leave_with(asking: int) -> None:
    while os.getppid() == asking:
        time.sleep(LOOKS)
    os._exit(1)


def _read_answer(pipe: BinaryIO) -> Any:
    packed = pipe.read()
    if not packed:
        raise RuntimeError("a process that did half of the work was ended from outside: is there memory enough?")
    done, found = pickle.loads(packed)
    if not done:
        raise found
    return found
