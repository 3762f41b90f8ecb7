"""Blocks handed out to an executor, also when a worker is killed, none answers, or the pool breaks."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ravine._parallel.processes import PackedCall, pack, run_packed

Result = TypeVar("Result")

ANSWER_SECONDS = 60.0
"""Seconds in which some worker must have answered; what no worker can give would be waited for for ever."""

MOST_BREAKS = 3
"""Times in a row that a pool may break without a single block finished in between."""

AHEAD = 2
"""Blocks that are handed out for each worker: one to work on, one to begin with next."""

SHARED_BYTES = 1_000_000
"""Bytes beyond which a packed call does not go along with each number."""

ASSUMED_WORKERS = 32
"""Workers that an executor is taken to have if it does not say."""

GIVEN_UP = (
    "the executor gave up its work: it was shut down, or the cluster's scheduler is gone; what is in a store stays, "
    "and the same call with a new executor goes on"
)


class WorkerPool:
    """An executor, seen as somebody to hand out blocks to.

    Only ``submit`` of `concurrent.futures.Executor` is called; a process pool and a dask cluster are asked besides how
    many workers they have.
    """

    def __init__(self, executor: futures.Executor) -> None:
        self.executor = executor
        self.own: futures.Executor | None = None
        self.breaks_in_a_row = 0

    @property
    def size(self) -> int:
        """Number of workers."""
        return int(getattr(self.executor, "_max_workers", None) or ASSUMED_WORKERS)

    def results(self, call: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        """Call for each number, somewhere; yield numbers and results as they come.

        Raises
        ------
        TimeoutError
            If no worker answers.
        RuntimeError
            If workers die again and again.
        Exception
            What `call` raises.
        """
        todo, waiting = deque(numbers), dict[futures.Future[Any], int]()
        with self.share_call(pack(call)) as packed:
            self._wait_for_answer()
            try:
                while todo or waiting:
                    whole = self._hand_out(packed, todo, waiting)
                    done = futures.wait(waiting, timeout=1.0, return_when=futures.FIRST_COMPLETED).done
                    if waiting and not done:
                        self.check_workers()
                    for future in done:
                        number = waiting.pop(future)
                        try:
                            result = future.result()
                        except futures.BrokenExecutor:
                            todo.append(number)
                            whole = False
                        except futures.CancelledError:
                            raise RuntimeError(GIVEN_UP) from None
                        else:
                            self.breaks_in_a_row = 0
                            yield number, result
                    if not whole:  # what its other workers had in hand is lost with it
                        todo.extend(waiting.values())
                        waiting.clear()
                        self._renew_pool()
            finally:
                for future in waiting:
                    future.cancel()
                self.close()

    def submit(self, call: Callable[..., Any], *given: Any) -> futures.Future[Any]:
        """Hand out one call."""
        return self.executor.submit(call, *given)

    @contextmanager
    def share_call(self, packed: PackedCall) -> Iterator[Any]:
        """Give what to hand out with each number: of a heavy call only where it lies."""
        if len(packed.data) < SHARED_BYTES:
            yield packed
            return
        with tempfile.TemporaryDirectory(prefix="ravine-") as folder:
            place = Path(folder, "call")
            place.write_bytes(packed.data)
            yield replace(packed, data=place)

    def check_workers(self) -> None:
        """See whether there are still workers; a pool tells by itself."""

    def close(self) -> None:
        """Send home the workers of a pool that took the place of a broken one."""
        if self.own is not None:
            self.own.shutdown(wait=True, cancel_futures=True)
            self.own = None

    def _hand_out(self, packed: Any, todo: deque[int], waiting: dict[futures.Future[Any], int]) -> bool:
        """Hand out as many blocks as workers can have in hand; tell whether the pool took them."""
        try:
            for _ in range(min(len(todo), AHEAD * self.size - len(waiting))):
                waiting[self.submit(run_packed, packed, todo[0])] = todo[0]
                todo.popleft()
        except futures.BrokenExecutor:
            return False
        return True

    def _wait_for_answer(self) -> None:
        """Wait until some worker answers, but not for ever."""
        question = None
        try:
            question = self.submit(time.time)
            question.result(timeout=ANSWER_SECONDS)
        except futures.BrokenExecutor:
            self._renew_pool()
        except RuntimeError as reason:  # of Python's own: it was shut down
            raise RuntimeError(f"the executor takes no work ({reason}): give another, or leave executor out") from None
        except futures.CancelledError:
            raise RuntimeError(GIVEN_UP) from None
        except futures.TimeoutError:
            if question is not None:
                question.cancel()
            raise TimeoutError(
                f"no worker answered in {ANSWER_SECONDS:.0f} seconds: are there any, and are they free? Start some, or "
                "leave executor out"
            ) from None

    def _renew_pool(self) -> None:
        """Put a new pool in the place of a broken one, made as that was."""
        self.breaks_in_a_row += 1
        if self.breaks_in_a_row > MOST_BREAKS:
            raise RuntimeError(
                f"the workers died {self.breaks_in_a_row} times before any block was finished: they may be out of "
                "memory, or the problem ends its process; without executor it would be seen how"
            )
        made = ("_max_workers", "_mp_context", "_initializer", "_initargs", "_max_tasks_per_child")
        if not all(hasattr(self.executor, name) for name in made):
            raise RuntimeError("the executor broke, and cannot be made anew from here: give a new one, and go on")
        workers, context, initializer, initargs, most = (getattr(self.executor, name) for name in made)
        self.close()
        self.own = self.executor = futures.ProcessPoolExecutor(
            workers, context, initializer, initargs, max_tasks_per_child=most
        )


class DaskPool(WorkerPool):
    """A dask cluster behind ``Client.get_executor()``."""

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self.client = executor._client
        self.alone_since: float | None = None

    @property
    def size(self) -> int:
        """Number of workers; the threads of one take turns."""
        return max(1, self._count_workers())

    def submit(self, call: Callable[..., Any], *given: Any) -> futures.Future[Any]:
        """Hand out one call, to be made whatever dask remembers: the store it wrote into may have been deleted."""
        return self.executor.submit(call, *given, pure=False)

    @contextmanager
    def share_call(self, packed: PackedCall) -> Iterator[Any]:
        """Send a heavy call to the cluster once, instead of with each number."""
        yield self.client.scatter(packed) if len(packed.data) >= SHARED_BYTES else packed

    def check_workers(self) -> None:
        """Complain when all workers have been gone for a while: dask would wait for new ones for ever."""
        if self._count_workers():
            self.alone_since = None
            return
        self.alone_since = self.alone_since or time.monotonic()
        if time.monotonic() - self.alone_since > ANSWER_SECONDS:
            raise TimeoutError(f"the cluster has had no worker for {ANSWER_SECONDS:.0f} seconds: start some, and go on")

    def _count_workers(self) -> int:
        """Return how many workers there are."""
        try:
            return len(self.client.nthreads())
        except Exception as reason:  # dask, tornado and the system each raise their own kinds
            raise RuntimeError(GIVEN_UP) from reason


def wrap_executor(executor: futures.Executor) -> WorkerPool:
    """Return somebody to hand out blocks to."""
    return DaskPool(executor) if hasattr(executor, "_client") else WorkerPool(executor)


def check_executor(executor: Any, *, hooked: bool) -> None:
    """Complain of what cannot run blocks, also where torch is `hooked`: has hooks on all modules or optimizers here.

    Raises
    ------
    TypeError
        If it is no executor.
    ValueError
        If its workers are threads, or would not have these hooks.
    """
    if executor is None:
        return
    if not isinstance(executor, futures.Executor):
        remedy = "give client.get_executor()" if hasattr(executor, "get_executor") else "such as ProcessPoolExecutor(4)"
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}: {remedy}")
    if isinstance(executor, futures.ThreadPoolExecutor):
        raise ValueError(
            "threads would share torch's random state, and gain nothing here: give a ProcessPoolExecutor, or leave "
            "executor out"
        )
    if hooked:
        raise ValueError(
            "torch has hooks on all modules or optimizers here, such as register_module_forward_hook hangs on, and "
            "other processes may not have them: take them off, or leave executor out"
        )
