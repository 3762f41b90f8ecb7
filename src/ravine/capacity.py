"""Capacity: whether a result fits into memory or onto the disk, asked before any work."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from ravine.jobs import Job
from ravine.keeping import bytes_free, bytes_of_paths, bytes_of_summary

__all__ = ["check_disk", "check_memory"]

SHARE_OF_MEMORY = 0.7
"""Share of the free memory that a result may take."""

ON_DISK = 'store="runs.zarr" (-o runs.zarr) keeps them on disk'


def check_memory(job: Job, keep: str) -> None:
    """Complain before any work of a result that would not fit into memory."""
    paths = bytes_of_paths(job.size, job.steps, job.parameters, job.like)
    summary = bytes_of_summary(job.size, job.like)
    free = bytes_free()
    if free is None or (paths if keep == "path" else summary) < SHARE_OF_MEMORY * free:
        return
    runs = f"{job.size:,} runs of {job.steps:,} steps with {job.parameters:,} parameters"
    if summary > SHARE_OF_MEMORY * free:
        fewer = int(job.size * SHARE_OF_MEMORY * free / summary)
        raise MemoryError(
            f"the summaries of {runs} take {_size(summary)}, {_size(free)} are free: {ON_DISK}; or run "
            f"at most {fewer:,} of these settings at a time"
        )
    fewer = int(job.size * SHARE_OF_MEMORY * free / paths)
    raise MemoryError(
        f"the paths of {runs} take {_size(paths)}, {_size(free)} are free. Three ways out: {ON_DISK}; "
        f'keep="summary" (--summary) takes {_size(summary)}; or run at most {fewer:,} of these settings at a time'
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def check_disk(job: Job, path: str | os.PathLike[str], *, summary: bool) -> None:
    """Warn before any work of a store that the disk may not hold.

    How far numbers can be pressed together is known only afterwards: diverged runs to a fiftieth, others hardly to a
    half. What was written before the disk was full goes on, so this is no error.
    """
    paths = bytes_of_paths(job.size, job.steps, job.parameters, job.like)
    needed = bytes_of_summary(job.size, job.like) if summary else paths
    folder = next(each for each in Path(path).absolute().parents if each.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        warnings.warn(
            f"{job.size:,} runs are {_size(needed)} before they are compressed, and {_size(free)} are free in "
            f"{folder}: should the disk get full, make room, and the sweep goes on where it stopped",
            stacklevel=5,
        )
