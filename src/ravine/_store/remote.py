"""Places that are named as people name them: a home folder, or a file that fsspec knows how to reach."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ravine._format import kind_of

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/{1,3})(.*)", re.DOTALL)


def url_of(path: str | os.PathLike[str]) -> str | None:
    """Return the URL that is meant: ``s3://…``, ``memory://…``; None for a place on this machine.

    A `pathlib.Path` has made one slash of two.

    Examples
    --------
    >>> [url_of(each) for each in ("s3://bucket/runs.zarr", Path("memory://a.nc"), "runs.zarr", "C:/runs.zarr", "a:b")]
    ['s3://bucket/runs.zarr', 'memory://a.nc', None, None, None]
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f'a path is a text or a pathlib.Path, as in "runs.nc", got {kind_of(path)}')
    found = _URL.fullmatch(os.fspath(path))
    if found is None:
        return None
    scheme, slashes, rest = found.groups()
    if slashes == "/":
        return None if isinstance(path, str) else f"{scheme}://{rest}"
    return os.fspath(path)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return a place on this machine, ``~`` being the home folder.

    Raises
    ------
    ValueError
        If it is elsewhere: a store grows by renaming files and under a lock, which such places do not have.
    """
    if (url := url_of(path)) is not None:
        raise ValueError(
            f"{url} is no folder of this machine: a store grows by renaming files and under a lock, which "
            "it would not have there; sweep into a folder here, and copy that"
        )
    return Path(path).expanduser()


def exists(url: str) -> bool:
    """Tell whether there is something at a URL."""
    system, place = _find_system(url)
    with _plain_errors(url):
        return bool(system.exists(place))


@contextmanager
def fetch(url: str) -> Iterator[Path]:
    """Give a copy, on this machine, of the file or folder at a URL, for as long as it is looked at.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If fsspec is not installed, or knows no way there.
    OSError
        If it cannot be reached.
    """
    system, place = _find_system(url)
    with tempfile.TemporaryDirectory(prefix="ravine-") as folder:
        copy = Path(folder, Path(place.rstrip("/")).name or "study")
        with _plain_errors(url):
            if not system.exists(place):
                raise FileNotFoundError(f"there is no file {url}")
            if system.isdir(place):
                _fetch_folder(system, place.rstrip("/"), copy)
            else:
                system.get_file(place, str(copy))
        yield copy


def _fetch_folder(system: Any, place: str, copy: Path) -> None:
    for name in system.find(place):
        inside = Path(name.lstrip("/")).relative_to(place.lstrip("/"))
        if ".." in inside.parts:
            raise ValueError(f"{name} does not lie in {place}")
        (copy / inside).parent.mkdir(parents=True, exist_ok=True)
        system.get_file(name, str(copy / inside))


def put(file: Path, url: str) -> None:
    """Write a file of this machine to a URL."""
    system, place = _find_system(url)
    with _plain_errors(url), file.open("rb") as held, system.open(place, "wb") as there:
        shutil.copyfileobj(held, there)


def _find_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(
            f"{url} is reached through fsspec: pip install fsspec, or give a file of this machine"
        ) from None
    try:
        system, place = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as reason:
        raise ValueError(f"{url} cannot be reached: {reason}") from None
    return system, str(place)


@contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as reason:  # each file system has errors of its own
        raise OSError(f"{url} cannot be reached: {type(reason).__name__}: {reason}") from reason
