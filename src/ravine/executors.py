"""Executors: the workers that were asked for on the command line."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

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
        # a plain fork of a process that has used torch's threads may hang in the child
        ways = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
        with ProcessPoolExecutor(workers, context) as executor:
            yield executor
    elif cluster is not None:
        with _client(cluster) as client:
            yield client.get_executor(retries=3)
    else:
        yield None


@contextmanager
def _client(address: str) -> Iterator[object]:
    try:
        from dask.distributed import Client
    except ImportError:
        raise ImportError("--cluster needs dask: pip install 'ravine[cluster]'") from None
    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError, TimeoutError) as reason:
        raise OSError(
            f"no dask scheduler answers at {address} ({reason}): is it running, as `dask scheduler` prints its address?"
        ) from None
    try:
        yield client
    finally:
        client.close()
