"""A million settings, in memory and on disk, a run of a million steps, large checkpoints: seconds, memory, bytes."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

RATES, MOMENTA = 1000, {"summary": 1000, "path": 300}
"""How many of each are combined; 100 steps."""

STORED = 1000
"""Momenta where the runs go to disk."""


def main() -> None:
    # processes of their own, begun before anything large was imported here: a child's peak counts its parent's
    context = multiprocessing.get_context("spawn")
    targets: list[tuple[Callable[..., None], tuple[Any, ...]]]
    targets = [(target, (keep,)) for target in (sweep, store) for keep in MOMENTA]
    targets += [(run, (more,)) for more in RUNS]
    for target, given in [*targets, (checkpoints, ())]:
        child = context.Process(target=target, args=given)
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)


def store(keep: Literal["path", "summary"]) -> None:
    """Sweep into a store, open it, read one run, and print two lines."""
    import numpy as np
    import torch

    import ravine

    torch.set_num_threads(1)
    problem = ravine.gallery.article()["MSELoss"]
    rates, momenta = np.geomspace(1e-3, 1, RATES), np.linspace(0, 0.99, STORED)
    with tempfile.TemporaryDirectory() as folder:
        ravine.sweep(problem, lr=[0.1], keep=keep, store=f"{folder}/small.zarr")  # what is imported on first use
        before, cpu, wall = peak(), time.process_time(), time.perf_counter()
        ravine.sweep(problem, lr=rates, momentum=momenta, keep=keep, store=f"{folder}/runs.zarr")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        most = peak()
        files = [Path(at, name) for at, _, names in os.walk(f"{folder}/runs.zarr") for name in names]
        print(
            f"{rates.size * momenta.size:,} runs, {keep}, into a store: {cpu:.1f} s of CPU, {wall:.1f} s of the clock, "
            f"peak {most / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before it began; "
            f"{sum(file.stat().st_size for file in files) / 1e6:,.0f} MB in {len(files):,} files"
        )
        seconds = []
        for k in range(11):
            began = time.perf_counter()
            runs = ravine.open(f"{folder}/runs.zarr")
            opened = time.perf_counter()
            runs.isel(lr=90 * k, momentum=80 * k).load()
            seconds.append((opened - began, time.perf_counter() - opened))
        openings, readings = zip(*seconds, strict=True)
        print(f"    opened in {np.median(openings) * 1e3:.0f} ms, one run read in {np.median(readings) * 1e3:.0f} ms")


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


STEPS = 1_000_000
"""Steps of one run."""

RUNS: tuple[dict[str, Any], ...] = (
    {},
    {"also": ("gradient", "velocity")},
    {"every": 100},
    {"scheduler": "CosineAnnealingLR(T_max=1000000)"},
)
"""What is asked of such a run besides its loss and its positions."""


def run(more: dict[str, Any]) -> None:
    """Make one long run, and print one line."""
    import torch

    import ravine

    torch.set_num_threads(1)
    problem = ravine.gallery.article()["MSELoss"]
    ravine.descend(problem, lr=0.1, momentum=0.9, steps=100, **more)  # what is imported on first use
    before, cpu, wall = peak(), time.process_time(), time.perf_counter()
    made = ravine.descend(problem, lr=0.1, momentum=0.9, steps=STEPS, **more)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    data = sum(each.nbytes for each in made.data_vars.values())
    print(
        f"a run of {STEPS:,} steps, {more or 'losses and positions'}: {cpu:.0f} s of CPU, {wall:.0f} s of the clock, "
        f"peak {peak() / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before it began; data {data / 1e6:,.0f} MB"
    )


def checkpoints() -> None:
    """Read saved states of ten million parameters as a recording, and print one line."""
    import torch

    import ravine

    torch.set_num_threads(1)
    model = torch.nn.Linear(3161, 3161)
    with tempfile.TemporaryDirectory() as folder:
        ravine.checkpoints(torch.nn.Linear(1, 1), {0: save(torch.nn.Linear(1, 1), f"{folder}/small.pt")})
        for step in range(FILES):
            save(model, f"{folder}/{step}.pt")
        before, cpu, wall = peak(), time.process_time(), time.perf_counter()
        run = ravine.checkpoints(model, f"{folder}/[0-9]*.pt")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(
            f"{FILES} checkpoints of {run.sizes['parameter']:,} parameters: {cpu:.1f} s of CPU, {wall:.1f} s of the "
            f"clock, peak {peak() / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before it began; "
            f"data {run.position.nbytes / 1e6:,.0f} MB"
        )


FILES = 20
"""How many checkpoints are read."""


def save(model: Any, path: str) -> str:
    """Save the state of a model."""
    import torch

    torch.save(model.state_dict(), path)
    return path


def peak() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
