"""Capacity: whether a result fits into memory or onto the disk, asked before any work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ravine.jobs import Job
from ravine.keeping import bytes_free, bytes_of_paths, bytes_of_summary

__all__ = ["check_disk", "check_memory"]

SHARE_OF_MEMORY = 0.7
"""Share of the free memory that a result may take."""

SQUEEZED = 0.5
"""What compressing leaves at the least, measured on paths and summaries; below that no disk is refused."""


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
            f"the summaries of {runs} take {_size(summary)}, {_size(free)} are free: "
            f"run at most {fewer:,} of these settings at a time"
        )
    fewer = int(job.size * SHARE_OF_MEMORY * free / paths)
    raise MemoryError(
        f"the paths of {runs} take {_size(paths)}, {_size(free)} are free. Two ways out: "
        f'keep="summary" (--summary) takes {_size(summary)}; or run at most {fewer:,} of these settings at a time'
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def check_disk(job: Job, path: str | os.PathLike[str], *, summary: bool) -> None:
    """Complain before any work of a store that the disk could not hold."""
    paths = bytes_of_paths(job.size, job.steps, job.parameters, job.like)
    needed = SQUEEZED * (bytes_of_summary(job.size, job.like) if summary else paths)
    folder = next(each for each in Path(path).absolute().parents if each.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        other = "" if summary else ', or keep="summary" (--summary)'
        raise OSError(
            f"{job.size:,} runs take at least {_size(needed)} on disk, {_size(free)} are free in {folder}: "
            f"choose another place{other}"
        )
