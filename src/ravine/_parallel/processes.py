"""A call packed for another process, what happens to it there, and pools of processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from ravine._study.provenance import digest, versions
from ravine._system import process_state


@dataclass(frozen=True)
class PackedCall:
    """A packed call, or the file that it lies in, and the versions of what it was packed with."""

    key: str
    data: Any
    versions: Mapping[str, str]


def pack(call: Callable[[int], Any]) -> PackedCall:
    """Pack a call; what was defined in a notebook, and lambdas, go along as they are.

    Raises
    ------
    TypeError
        If something in it cannot leave its process: an open file, say.

    Examples
    --------
    >>> run_packed(pack(lambda number: number**2), 3)
    9
    """
    import cloudpickle  # type: ignore[import-untyped]

    try:
        data = cloudpickle.dumps(call)
    except Exception as reason:  # each thing that cannot be packed says so in its own kind of error
        raise TypeError(f"the problem cannot be sent to other processes ({reason}): leave executor out") from reason
    return PackedCall(digest(data), data, dict(versions()))


def run_packed(packed: PackedCall, number: int) -> Any:
    """Unpack a call, once in each process, and make it: alone in this process, and not disturbed by Ctrl-C."""
    # one call at a time: a dask worker has several threads, and torch's settings belong to the process
    with process_state(), _interrupts_left_to_parent():
        try:
            return _unpack(packed)(number)
        except Exception as reason:
            if _can_travel(reason):
                raise
            told = f"{type(reason).__name__}: {reason}"
    # raised out here, where no other error is being handled: where dask is loaded, that one would be packed too
    raise RuntimeError(told)


def _can_travel(reason: Exception) -> bool:
    """Tell whether an error arrives as it was sent: one that cannot be unpacked would break the pool."""
    try:
        return type(pickle.loads(pickle.dumps(reason))) is type(reason)
    except Exception:
        return False


_unpacked_calls: dict[str, Callable[[int], Any]] = {}


def _unpack(packed: PackedCall) -> Callable[[int], Any]:
    if packed.key not in _unpacked_calls:
        leave_with_parent()
        _check_versions(packed.versions)
        _unpacked_calls.clear()  # another sweep's is not needed any more
        data = packed.data.read_bytes() if isinstance(packed.data, Path) else packed.data
        try:
            _unpacked_calls[packed.key] = pickle.loads(data)
        except (ImportError, AttributeError) as reason:
            raise ImportError(
                f"a worker cannot import what the problem is made of ({reason}): install that module where the workers "
                "run, the same as here, or put its folder on their PYTHONPATH"
            ) from None
    return _unpacked_calls[packed.key]


def _check_versions(wanted: Mapping[str, str]) -> None:
    """Refuse to compute with other versions than the one who asks: bits would differ, and packed calls break."""
    here = versions()
    for name in ("ravine", "torch", "numpy", "python"):
        if here[name] != wanted[name]:
            raise RuntimeError(
                f"a worker has {name} {here[name]}, and here it is {wanted[name]}: install the same on both sides"
            )


def _interrupts_left_to_parent() -> AbstractContextManager[None]:
    """Leave Ctrl-C to the process that handed out the block: a terminal sends it to all."""
    import multiprocessing

    return ignore_interrupts() if multiprocessing.parent_process() is not None else nullcontext()


@contextmanager
def ignore_interrupts() -> Iterator[None]:
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


CLUSTER_SECONDS = 10
"""Seconds that a cluster has to answer."""


@contextmanager
def start_workers(workers: int | None, cluster: str | None) -> Iterator[Executor | None]:
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
        with ProcessPoolExecutor(workers, _choose_context(), init_worker, (os.getcwd(),)) as executor:
            yield executor
    elif cluster is not None:
        with _connect(cluster) as client:
            yield client.get_executor(retries=3)
    else:
        yield None


def init_worker(here: str) -> None:
    """Begin as a worker: Ctrl-C is for the process that hands out blocks, and when that is gone, so is this one.

    A problem of one's own is imported from the folder in which the command was typed, as it is there.
    """
    sys.path.insert(0, here)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with_parent()


def _choose_context() -> BaseContext:
    """Choose how workers begin: a plain fork of a process that has used torch's threads may hang in the child."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ravine._sweep.sweep"])  # imported once for all workers
    with ignore_interrupts():  # as are those that it makes, while they begin
        forkserver.ensure_running()
    return context


@contextmanager
def _connect(address: str) -> Iterator[Any]:
    try:
        from dask.distributed import Client
    except ImportError:
        raise ImportError("--cluster needs dask: pip install 'ravine[cluster]'") from None
    try:
        client = Client(address, timeout=CLUSTER_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as reason:
        raise OSError(
            f"no dask scheduler answers at {address} ({reason}): is it running, as `dask scheduler` prints its address?"
        ) from None
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]
