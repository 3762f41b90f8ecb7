"""What snapshots may cost of the time that a training takes."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque

from ravine._record.clock import TICK, Clock

FREE = 0.1
"""Seconds that the snapshots of a small model may take, whatever its training takes: nobody notices them."""

SHARE = 0.015
"""Share of the training's own time that snapshots may take in the long run.

By their own clock: what a training has to fetch back into the processor's caches afterwards is as much as half of that
again, and hooks take another 1 % of steps of a quarter of a millisecond.
"""

LEAST = 20
"""Snapshots that a picture needs: until there are twice as many they may take `HASTE` of the time."""

HASTE = 1 / 5
"""Share of the training's own time that they may take until then."""

PATIENCE = 2.0
"""Seconds before which they may not where snapshots are dear: what is over by then can be made again with `every`."""

DEAR = 0.25
"""Steps that a dear snapshot takes."""

SEEN = 5
"""Snapshots from whose costs that of the next one is foreseen."""

KNOWN = 16
"""Snapshots of which the fastest tells what one takes: new memory may take several times as long as what is reused."""

STALL = 4.0
"""How many times the usual cost one snapshot counts at most: a disk that stalls once thins nothing out.

Before three are known, it is how many times the work of one: what lasts longer may be another process's turn.
"""


class Budget:
    """The time that a recording took, and what its snapshots may take.

    Parameters
    ----------
    start
        When the recording began, by `time.perf_counter`; what was done since then is its cost.

    Attributes
    ----------
    spent
        Seconds that went into the recording: its beginning, snapshots, and thinning them out.
    """

    def __init__(self, start: float | None = None) -> None:
        now = time.perf_counter()
        self._start = now if start is None else start
        self.spent = now - self._start
        self._charged = self._usual = self._end = self._worked = 0.0
        self._costs: deque[tuple[float, float]] = deque(maxlen=KNOWN)
        """Of the last snapshots what each took, and for how long of that the thread had the processor."""
        self._least = math.inf, math.inf
        """The same of the fastest one so far, by either clock."""
        self._thread = threading.get_ident(), time.thread_time()

    @property
    def share(self) -> float:
        """Share of the time since the beginning that went into the recording."""
        whole = self._end - self._start if self._end else self._elapsed
        return self.spent / whole if whole > 0 else 0.0

    def pay(self, cost: Clock) -> None:
        """Enter what one snapshot took."""
        self.spent += cost.seconds
        self._worked += cost.worked
        self._costs.append((cost.seconds, cost.worked))
        self._least = min(self._least[0], cost.seconds), min(self._least[1], cost.worked)
        seconds = [each for each, _ in self._costs][-SEEN:]
        worked = cost.worked if cost.worked >= TICK else cost.seconds
        self._usual = statistics.median(seconds) if len(seconds) > 2 else min(*seconds, STALL * worked)
        self._charged += min(cost.seconds, STALL * self._usual)

    def pay_for_thinning(self, cost: Clock) -> None:
        """Enter what it took to drop snapshots and to move others."""
        self.spent += cost.seconds
        self._worked += cost.worked
        self._charged += cost.seconds

    @property
    def is_free(self) -> bool:
        """Whether another snapshot of a small model may be taken, and one at the end."""
        return self._charged + 2 * self._usual <= FREE + SHARE * self._own

    @property
    def is_paid(self) -> bool:
        """Whether the training has paid for what was taken so far."""
        return self._charged <= SHARE * self._own

    def cost_in_steps(self, steps: int) -> float:
        """Return what one snapshot takes beside one of so many steps: the fastest of those that are known.

        What is dropped does not come back, and one that had to wait is no measure.
        """
        if not self._costs:
            return 0.0
        seconds, worked = zip(*self._costs, strict=True)
        return self._in_steps(steps, min(self._usual, *seconds), min(worked))

    def hurries(self, steps: int) -> bool:
        """Tell whether snapshots may take `HASTE` of the time by now, if so many steps were made."""
        return self._in_steps(steps, *self._least) <= DEAR or min(self._own, self._own_work or self._own) >= PATIENCE

    def _in_steps(self, steps: int, seconds: float, worked: float) -> float:
        """Return what a snapshot takes beside a step, by the clock of the wall or of the thread, whichever is more.

        A training that has to wait for other processes looks slow, and a disk takes time without the processor.
        """
        pairs = (seconds, self._own), (worked, self._own_work)
        return max(cost * steps / own if own > 0 else 0.0 for cost, own in pairs)

    def close(self) -> None:
        """Stop the clock."""
        self._end = time.perf_counter()

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._start

    @property
    def _own(self) -> float:
        """Seconds that the training took without what the recording took."""
        return self._elapsed - self.spent

    @property
    def _own_work(self) -> float:
        """The same by the clock of the thread; 0 in another one than it began in."""
        thread, since = self._thread
        return time.thread_time() - since - self._worked if thread == threading.get_ident() else 0.0
