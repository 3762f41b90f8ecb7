"""A million settings as summaries, and 300,000 whole paths: seconds and the most memory that was taken."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from typing import Literal

RATES, MOMENTA = 1000, {"summary": 1000, "path": 300}
"""How many of each are combined; 100 steps."""


def main() -> None:
    # processes of their own, begun before anything large was imported here: a child's peak counts its parent's
    context = multiprocessing.get_context("spawn")
    for keep in MOMENTA:
        child = context.Process(target=sweep, args=(keep,))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)


def sweep(keep: Literal["summary", "path"]) -> None:
    """Sweep, and print one line."""
    import numpy as np
    import torch

    import ravine

    torch.set_num_threads(1)
    problem = ravine.gallery.article()["MSELoss"]
    ravine.sweep(problem, lr=[0.1], keep=keep)  # what is imported on first use
    rates, momenta = np.geomspace(1e-3, 1, RATES), np.linspace(0, 0.99, MOMENTA[keep])
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    runs = ravine.sweep(problem, lr=rates, momentum=momenta, keep=keep)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    data = sum(each.nbytes for each in runs.data_vars.values())
    print(
        f"{rates.size * momenta.size:,} runs, {keep}: {cpu:.1f} s of CPU, {wall:.1f} s of the clock, "
        f"peak {peak() / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before it began; data {data / 1e6:,.0f} MB"
    )


def peak() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
