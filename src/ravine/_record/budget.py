"""What snapshots may cost of the time that a training takes."""

from __future__ import annotations

import statistics
import time
from collections import deque

from ravine._record.clock import TICK, Clock

FREE = 0.02
"""Seconds that the snapshots of a tiny model may take, whatever its training takes: nobody notices them.

Tiny is one of which `MANY` take no longer. Of a larger one those could not be had either, and what is taken too early
is dropped again as soon as the training lasts: it gets less, and soon nothing.
"""

MANY = 128
"""Snapshots of a tiny model that are free."""

SHARE = 0.015
"""Share of the training's own time that snapshots may take beyond.

By their own clock: what a training has to fetch back into the processor's caches afterwards is as much as half of that
again, and hooks take another 1 % of steps of a quarter of a millisecond. Of half a second of those all of it
took 4 % (3 to 7, with other work beside the measurement).
"""

SEEN = 5
"""Snapshots from whose costs that of the next one is foreseen."""

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
        self._charged = self._usual = self._end = 0.0
        self._costs: deque[float] = deque(maxlen=SEEN)

    @property
    def share(self) -> float:
        """Share of the time since the beginning that went into the recording."""
        whole = self._end - self._start if self._end else self._elapsed
        return self.spent / whole if whole > 0 else 0.0

    def pay(self, cost: Clock) -> None:
        """Enter what one snapshot took."""
        self.spent += cost.seconds
        self._costs.append(cost.seconds)
        known = len(self._costs) > 2
        worked = cost.worked if cost.worked >= TICK else cost.seconds
        self._usual = statistics.median(self._costs) if known else min(min(self._costs), STALL * worked)
        self._charged += min(cost.seconds, STALL * self._usual)

    def pay_for_thinning(self, seconds: float) -> None:
        """Enter what it took to drop snapshots and to move others."""
        self.spent += seconds
        self._charged += seconds

    def affords_another(self, every: int) -> bool:
        """Tell whether another snapshot may be taken now, if one is to be taken at the end as well.

        Each distance may take three quarters of what is still free, or half: one that is found to be too small must
        leave something to those after it, which drop half of what was paid for.
        """
        free = FREE * (1 - 0.25 / every) / max(1.0, self._usual * MANY / FREE) ** 4
        return self._charged + 2 * self._usual <= free + SHARE * self._own

    def affords_one_in(self, every: int, step: int) -> bool:
        """Tell whether one at every so many steps may be taken, as fast as they were made up to this one.

        What is dropped does not come back: only where the fastest of those seen would be too slow.
        """
        own, least = self._own, min(self._usual, *self._costs) if self._costs else 0.0
        return own <= 0 or least <= SHARE * every * own / step

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
