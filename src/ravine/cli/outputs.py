"""Files that the command line wrote: the same command on the same input may write them again, others never.

What was written is noted in the user's own folder: which command on which input wrote a file, and a digest of it.
A file that is not noted, or was changed since, is somebody's, and is overwritten with --force alone.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ravine._store.trust import config_folder
from ravine._system import write_text

MOST = 2_000
"""Files that are noted, the last ones."""

ASIDE = frozenset({"force", "verbose", "browser", "workers", "cluster"})
"""What can be typed and changes nothing of what is written."""

READ = ("source", "study")
"""Arguments that name what is read."""


def key_of(command: str, typed: Mapping[str, Any]) -> str | None:
    """Return a digest of a command, all that was typed with it, and the bytes of what it reads; None if unknown.

    Examples
    --------
    >>> key_of("descend", {"source": "rosenbrock", "lr": 0.1}) == key_of("descend", {"source": "rosenbrock", "lr": 0.2})
    False
    >>> key_of("descend", {"source": "-"}) is None
    True
    """
    said = {name: str(value) for name, value in sorted(typed.items()) if name not in ASIDE}
    if "checkpoints" in said:
        said["files"] = json.dumps(_files_of(said["checkpoints"]))
    for name in READ:
        words = said.get(name)
        if words == "-":
            return None
        for each in filter(None, (words, *_modules(said, name))):
            path = Path(each)
            if path.is_dir():
                return None
            if path.is_file():
                said[f"{name} {each}"] = _digest(path)
            elif each != words:
                return None  # a module that lies elsewhere may have changed
    return hashlib.sha256(json.dumps([command, said]).encode()).hexdigest()


def _files_of(pattern: str) -> list[tuple[str, int, int]]:
    """Return what changes when a file that a pattern matches is another: checkpoints are too large to be read."""
    found = [Path(pattern)] if Path(pattern).exists() else map(Path, sorted(glob.glob(pattern, recursive=True)))
    every = (own for each in found for own in ([each] if each.is_file() else sorted(each.rglob("*"))) if own.is_file())
    return [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in every]


def _modules(said: Mapping[str, str], name: str) -> list[str]:
    """Return the files of modules that are named as module:name or file.py:name."""
    named = [said.get(each, "") for each in ((name, "optimizer") if name == "source" else (name,))]
    homes = [each.rpartition(":")[0] for each in named if ":" in each and not Path(each).exists()]
    return [home if home.endswith(".py") else f"{home.replace('.', '/')}.py" for home in homes]


def are_ours(paths: Iterable[Path], key: str | None) -> bool:
    """Tell whether files were written by the command of this key, and are as it left them."""
    noted = _read()
    return key is not None and all(noted.get(str(path.absolute())) == [key, _digest(path)] for path in paths)


def note(paths: Iterable[Path], key: str | None) -> None:
    """Note that the command of this key wrote these files."""
    if key is None:
        return
    noted = _read()
    for path in paths:
        noted.pop(str(path.absolute()), None)
        noted[str(path.absolute())] = [key, _digest(path)]
    kept = dict(list(noted.items())[-MOST:])
    with contextlib.suppress(OSError):  # without it --force is needed, no more
        _place().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(json.dumps(kept, indent=0), _place())


def state_of(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written: None where there is none."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _place() -> Path:
    return config_folder() / "written.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
