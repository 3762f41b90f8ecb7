"""Executors: the workers that were asked for on the command line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

from ravine.parcels import deaf, leave_with_parent

__all__ = ["hired"]

ANSWER = 10
"""Seconds that a cluster has to answer."""


@contextmanager
def hired(workers: int | None, cluster: str | None) -> Iterator[Executor | None]:
    """Give workers on this machine, or those of a dask cluster, or none.

    Raises
    ------
    ValueError
        If both were asked for, or fewer than one worker.
    OSError
        If the cluster does not answer.
    """
    if workers is not None and cluster is not None:
        raise ValueError("--workers is for this machine and --cluster for others: give one of them")
    if workers is not None:
        if workers < 1:
            raise ValueError(f"--workers must be at least 1, got {workers}")
        with ProcessPoolExecutor(workers, _context(), settle, (os.getcwd(),)) as executor:
            yield executor
    elif cluster is not None:
        with _client(cluster) as client:
            yield client.get_executor(retries=3)
    else:
        yield None


def settle(here: str) -> None:
    """Begin as a worker: Ctrl-C is for the process that hands out blocks, and when that is gone, so is this one.

    A problem of one's own is imported from the folder in which the command was typed, as it is there.
    """
    sys.path.insert(0, here)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with_parent()


def _context() -> BaseContext:
    """Choose how workers begin: a plain fork of a process that has used torch's threads may hang in the child."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ravine.sweeps"])  # imported once for all workers
    with deaf():  # as are those that it makes, while they begin
        forkserver.ensure_running()
    return context


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from dask.distributed import Client
    except ImportError:
        raise ImportError("--cluster needs dask: pip install 'ravine[cluster]'") from None
    try:
        client = Client(address, timeout=ANSWER)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as reason:
        raise OSError(
            f"no dask scheduler answers at {address} ({reason}): is it running, as `dask scheduler` prints its address?"
        ) from None
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]
