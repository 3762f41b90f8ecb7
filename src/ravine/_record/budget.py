"""What snapshots may cost of the time that a training takes."""

from __future__ import annotations

import statistics
import time
from collections import deque

FREE = 0.02
"""Seconds that snapshots may take of any training: nobody notices, and a tiny model is recorded step by step."""

SHARE = 0.02
"""Share of the training's time that they may take beyond: of one that lasts a second they then take 4 %."""

SEEN = 5
"""Snapshots from whose costs that of the next one is foreseen."""

STALL = 4.0
"""How many times the usual cost one snapshot counts at most: a disk that stalls once thins nothing out."""


class Budget:
    """The time that snapshots took, and what they may take.

    Attributes
    ----------
    spent
        Seconds that went into snapshots.
    """

    def __init__(self) -> None:
        self.spent = self._charged = 0.0
        self._costs: deque[float] = deque(maxlen=SEEN)
        self._start = time.perf_counter()
        self._end = 0.0

    @property
    def share(self) -> float:
        """Share of the time since the beginning that went into snapshots."""
        whole = self._end - self._start if self._end else self._elapsed
        return self.spent / whole if whole > 0 else 0.0

    def pay(self, seconds: float) -> None:
        """Enter what one snapshot took."""
        self.spent += seconds
        self._costs.append(seconds)
        self._charged += min(seconds, STALL * self._usual)

    def affords_another(self) -> bool:
        """Tell whether another snapshot may be taken now, if one is to be taken at the end as well."""
        return self._charged + 2 * self._usual <= FREE + SHARE * self._elapsed

    def affords_one_in(self, every: int, step: int) -> bool:
        """Tell whether one at every so many steps may be taken, as fast as they were made up to this one."""
        return self._usual <= SHARE * every * self._elapsed / step

    def close(self) -> None:
        """Stop the clock."""
        self._end = time.perf_counter()

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._start

    @property
    def _usual(self) -> float:
        return statistics.median(self._costs) if self._costs else 0.0
