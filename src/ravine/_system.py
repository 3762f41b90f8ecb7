"""What belongs to the process or the system: global state, memory, files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_state_lock = threading.RLock()


@contextmanager
def process_state() -> Iterator[None]:
    """Be the only thread that changes what the whole process shares, and puts it back.

    Torch's random state and number of threads, a module whose parameters are swapped for a call, matplotlib's
    rcParams, warning filters. There is one lock for all of them, so that no two can wait for each other, and one thread
    may take it again. Never wait for another thread or process with it in hand.

    Examples
    --------
    >>> with process_state(), process_state():
    ...     print("alone")
    alone
    """
    lock = _state_lock
    with lock:
        yield


def _renew_lock() -> None:
    """Begin a forked child with a lock of its own: the thread that held it is not there to give it back."""
    global _state_lock
    _state_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
"""What the system answers where a disk is full, or may not be written to."""


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Name the file and the remedy where the disk is full or may not be written to: the system names a draft, or none.

    Examples
    --------
    >>> with name_file_in_errors(Path("run.nc")):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    OSError: cannot write run.nc (No space left on device): make room, or choose another place
    """
    try:
        yield
    except OSError as reason:
        if reason.errno not in NOT_WRITTEN:
            raise
        remedy = "have the right to write there" if reason.errno in (errno.EROFS, errno.EACCES) else "make room"
        told = type(reason)(f"cannot write {path} ({reason.strerror}): {remedy}, or choose another place")
        told.errno = reason.errno
        raise told from reason


@contextmanager
def write_whole(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Give a place to write to, and move what was written there to its name once it is complete.

    The old file stays whole until then; an interrupt leaves nothing behind. The place is a folder of its own, unless
    nobody else writes in that of the file (`alone`): to remove one may take milliseconds.
    """
    if alone:
        draft = path.with_name(f".{path.name}")
        try:
            yield draft
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return
    with name_file_in_errors(path), _draft_in_folder(path) as draft:
        yield draft
        draft.replace(path)


@contextmanager
def _draft_in_folder(path: Path) -> Iterator[Path]:
    """Give a place to write to, in a folder of its own beside a file that is to be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder) / path.name


def write_text(text: str, path: Path, *, alone: bool = False) -> None:
    """Write a text whole or not at all, in UTF-8 and with the same line ends on every system; see `write_whole`."""
    with write_whole(path, alone=alone) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def bytes_free() -> int | None:
    """Return how much memory there is left for this process, where the system tells.

    The least of what the machine has, what the container or service may take (cgroups of both versions, and those
    around it), and what ``ulimit -v`` and ``ulimit -d`` leave.
    """
    found = [*_machine_free(), *_cgroup_free(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")), *_ulimit_free()]
    return max(0, min(found)) if found else None


SHARE_OF_MEMORY = 0.7
"""Share of the free memory that a result may take."""


def check_fits(what: str, needed: int, remedy: str) -> None:
    """Complain before any work of what would not fit into memory.

    Raises
    ------
    MemoryError
        With both sizes and the remedy.

    Examples
    --------
    >>> check_fits("a run of 3 steps takes", 100, "take fewer steps")
    """
    free = bytes_free()
    if free is not None and needed > SHARE_OF_MEMORY * free:
        raise MemoryError(f"{what} {format_bytes(needed)}, and {format_bytes(free)} are free: {remedy}")


def format_bytes(count: float) -> str:
    """Say how many bytes.

    Examples
    --------
    >>> [format_bytes(each) for each in (12, 1234, 5e6, 2e12)]
    ['12 bytes', '1.23 kB', '5 MB', '2,000 GB']
    """
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _read_short(path: str | Path) -> bytes:
    """Read a file of the system, which is short; a third of the time that pathlib takes."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 65536)
    finally:
        os.close(file)


def _machine_free() -> Iterator[int]:
    try:
        for line in _read_short("/proc/meminfo").splitlines():
            if line.startswith(b"MemAvailable:"):
                yield int(line.split()[1]) * 1024
                break
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_free(groups: Path, root: Path) -> Iterator[int]:
    """Give what each group around this process leaves; a limit that is not set is no number, or a very large one."""
    try:
        lines = [line.split(":", 2) for line in os.fsdecode(_read_short(groups)).splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            home, limit, used = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            home, limit, used = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = home / path.strip("/")
        for each in (group, *group.parents):
            if each != home and home not in each.parents:
                break
            try:
                yield int(_read_short(f"{each}/{limit}")) - int(_read_short(f"{each}/{used}"))
            except (OSError, ValueError):
                continue


def _ulimit_free() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limits = [resource.getrlimit(each)[0] for each in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    if all(most == resource.RLIM_INFINITY for most in limits):
        return
    try:
        words = _read_short("/proc/self/statm").split()
    except OSError:
        return
    page = resource.getpagesize()
    for most, pages in zip(limits, (int(words[0]), int(words[5])), strict=True):
        if most != resource.RLIM_INFINITY:
            yield most - pages * page
