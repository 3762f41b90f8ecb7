"""Turns: two ways to the same numbers, measured side by side, and the table of their ratios."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

TURNS = 11
"""Turns of each side, one after the other: A B A B …"""

TURN = 0.05
"""CPU seconds that a turn lasts at least; a short call is repeated within it."""


@dataclass(frozen=True)
class Goal:
    """How many times faster ravine should at least be, or which share of the cost it may at most have."""

    kind: Literal["theirs / ravine", "ravine / theirs", "many / few"]
    bound: float | None = None

    def ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.kind == "theirs / ravine" else ours / theirs

    def met(self, ratio: float) -> bool | None:
        if self.bound is None:
            return None
        return ratio >= self.bound if self.kind == "theirs / ravine" else ratio <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.kind == "theirs / ravine" else "<="
        return "" if self.bound is None else f"{sign} {self.bound:,g}"


def faster(times: float | None = None) -> Goal:
    return Goal("theirs / ravine", times)


def cost(share: float | None = None) -> Goal:
    return Goal("ravine / theirs", share)


@dataclass(frozen=True)
class Row:
    """Two ways to the same numbers; `check` raises where they are not `equal`: in every bit, or closely.

    `scale` is how often the work that `theirs` does goes into the work that `ours` does.
    """

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    goal: Goal
    check: Callable[[], None]
    scale: float = 1.0
    equal: Literal["every bit", "closely"] = "every bit"
    turns: int = TURNS


def same_bits(ours: Any, theirs: Any) -> None:
    one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)  # float64 holds each float32
    if one.shape != other.shape or one.tobytes() != other.tobytes():
        raise AssertionError(f"not equal in every bit:\n{one}\n{other}")


def counted_equal(runs: Any) -> None:
    """Complain where runs do not say of themselves that they have torch's bits."""
    facts = json.loads(runs.loss.attrs["provenance"])
    if not facts["equals_torch"].startswith("every bit"):
        raise AssertionError(f"{facts['engine']}: {facts['why']}; {facts['equals_torch']}")


def apart(ours: Any, theirs: Any) -> float:
    """Return the largest difference as a share of the largest number."""
    one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float(abs(one - other).max() / abs(other).max())


def seconds(work: Callable[[], Any], calls: int) -> float:
    """CPU seconds of one call, from a turn of several."""
    gc.collect()
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls


def measured(row: Row) -> list[float]:
    """Check a row, warm up, and return the ratio of each pair of turns."""
    row.check()
    calls = [max(1, round(TURN / seconds(work, 1))) for work in (row.ours, row.theirs)]
    for work, several in zip((row.ours, row.theirs), calls, strict=True):
        seconds(work, several)
    ratios = []
    for _ in range(row.turns):
        ours, theirs = seconds(row.ours, calls[0]), seconds(row.theirs, calls[1])
        ratios.append(row.goal.ratio(ours, row.scale * theirs))
    return ratios


def print_table(rows: Sequence[Row]) -> None:
    """Measure the rows and print what was seen."""
    table = Table(title="CPU time, one thread")
    for heading in ("row", "equal", "ratio of", "median", "quartiles", "goal", "met"):
        table.add_column(heading, justify="left" if heading in ("row", "equal", "ratio of") else "right")
    try:
        for row in track(rows, "measuring", console=Console(stderr=True), transient=True):
            low, middle, high = statistics.quantiles(measured(row), n=4)
            met = {True: "yes", False: "no", None: ""}[row.goal.met(middle)]
            spread = f"{rounded(low)} to {rounded(high)}"
            table.add_row(row.name, row.equal, row.goal.kind, rounded(middle), spread, str(row.goal), met)
    finally:  # what was seen before a row failed, or before Ctrl-C
        Console(width=max(100, Console().width)).print(table)


def rounded(ratio: float) -> str:
    """Return three figures, without a power of ten."""
    return f"{float(f'{ratio:.3g}'):,g}"
