"""Who writes a store: one process at a time, and told by name where it cannot."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ravine._store.ledger import read_record, write_record
from ravine._store.trust import HIDDEN


@contextlib.contextmanager
def hold_lock(store: Path) -> Iterator[None]:
    """Be the only one who writes this store.

    Raises
    ------
    BlockingIOError
        If another process is at it.
    """
    from filelock import FileLock, Timeout

    lock, who = FileLock(store / HIDDEN / "lock"), store / HIDDEN / "writer.json"
    with name_store_in_errors(store):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            by = "another process"
            with contextlib.suppress(ValueError, OSError, KeyError):
                facts = read_record(who)
                by = f"process {facts['process']} on {facts['host']}"
            raise BlockingIOError(f"{store} is being written by {by}: wait for it or stop it, then go on") from None
    try:
        with name_store_in_errors(store):
            write_record(who, {"process": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        who.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def name_store_in_errors(path: Path) -> Iterator[None]:
    """Name the store and the remedy where the disk is full or may not be written."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as reason:
        if "moved or deleted" in str(reason):
            raise
        told = type(reason)(
            f"cannot write into {path} ({reason.strerror or reason}): what is finished stays; make room or give the "
            "right to write there, then start again, and it goes on"
        )
        told.errno = reason.errno
        raise told from reason
