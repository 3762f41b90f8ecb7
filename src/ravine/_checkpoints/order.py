"""Which files are meant, and which step each is of."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ravine._format import kind_of, listed
from ravine._store.remote import local_path

Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[int, str | os.PathLike[str]]
"""A pattern, several files, or step to file."""

STEP = re.compile(r"(?<![a-z])(?:step|steps|iter|iters|iteration)[-_= ]*(\d+)(?!\.?\d)", re.IGNORECASE)
EPOCH = re.compile(r"(?<![a-z])(?:epoch|epochs|ep)[-_= ]*(\d+)(?!\.?\d)", re.IGNORECASE)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Steps:
    """The step of each file, and what it is that was counted."""

    values: tuple[int, ...]
    counted: str


def find_files(files: Files) -> tuple[list[Path], Steps | None]:
    """Return the files that are meant, and their steps where they are given.

    Raises
    ------
    FileNotFoundError
        If no file matches, or one is not there.
    TypeError, ValueError
        If it is neither a pattern nor files, or a step is no whole number.
    """
    given = None
    if isinstance(files, Mapping):
        for step in files:
            if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
                raise ValueError(f"a step must be a whole number from 0 on, got {step!r}: give {{step: file}}")
        found, given = [local_path(each) for each in files.values()], Steps(tuple(map(int, files)), "steps, as given")
    elif isinstance(files, str | os.PathLike):
        found = _matching(files)
    elif isinstance(files, Iterable) and not hasattr(files, "columns"):  # a table has its columns for members
        found = [local_path(each) for each in files]
    else:
        raise TypeError(
            'files must be a pattern, as in "out/checkpoint-*", a list of files, or {step: file}, got '
            f"{kind_of(files)}"
        )
    if not found:
        raise FileNotFoundError("no files were given: the list is empty")
    for path in found:
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
    return found, given


def _matching(pattern: str | os.PathLike[str]) -> list[Path]:
    literal = local_path(pattern)
    if literal.exists():  # a name may have brackets of its own
        return [literal]
    found = sorted(map(Path, glob.glob(str(literal), recursive=True)))
    if not found:
        here = literal.parent if literal.parent.is_dir() else Path()
        beside = sorted(each.name for each in here.iterdir())
        raise FileNotFoundError(f"no file matches {os.fspath(pattern)!r}: {here.resolve()} has {listed(beside, 4)}")
    return found


def is_unnumbered(path: Path) -> bool:
    """Tell whether no number is in a file's own name, as in ``best.pt``."""
    return NUMBER.search(_name_of(path)) is None


def find_series(
    files: Files, paths: Sequence[Path], counted: Sequence[Mapping[str, int]]
) -> tuple[Steps, tuple[Path, ...]]:
    """Find the step of each file, and the files that are of no step.

    Beside those that a pattern matches there may lie one that is none of the series, as ``best.pt``: what has no number
    in its own name is left out where the others can be ordered without it. Files that were listed are all meant.
    """
    try:
        return find_steps(paths, counted), ()
    except ValueError:
        beside = [k for k, path in enumerate(paths) if is_unnumbered(path)]
        rest = [k for k in range(len(paths)) if k not in beside]
        if not isinstance(files, str | os.PathLike) or not beside or len(rest) < 2:
            raise
        try:
            steps = find_steps([paths[k] for k in rest], [counted[k] for k in rest])
        except ValueError:
            steps = None
        if steps is None:
            raise
        return steps, tuple(paths[k] for k in beside)


def find_steps(paths: Sequence[Path], counted: Sequence[Mapping[str, int]]) -> Steps:
    """Find the step of each file: as the file says, else its name; else by epochs, else the one number that differs.

    Examples
    --------
    >>> find_steps([Path("epoch=0-step=20.ckpt"), Path("last.ckpt")], [{}, {"step": 40}])
    Steps(values=(20, 40), counted='steps')
    >>> find_steps([Path("resnet18_5.pt"), Path("resnet18_10.pt")], [{}, {}])
    Steps(values=(5, 10), counted='the number in each name')

    Raises
    ------
    ValueError
        If there is none for some of them.
    """
    tries: dict[str, list[int | None]] = {
        "steps": [told.get("step", _named(STEP, path)) for path, told in zip(paths, counted, strict=True)],
        "epochs": [told.get("epoch", _named(EPOCH, path)) for path, told in zip(paths, counted, strict=True)],
        "the number in each name": _numbers(paths),
    }
    whole = {what: [each for each in found if each is not None] for what, found in tries.items()}
    known = {what: found for what, found in whole.items() if len(found) == len(paths)}
    if not known:
        path = next((path for path in paths if not NUMBER.search(_name_of(path))), paths[0])
        several = max((_differing(names) for names in _names(paths)), key=len)
        if len(several) > 1:
            raise ValueError(
                f"{path} has no step to order it by: the names differ in more than one number (here "
                f"{listed(column[0] for column in several)}), and which is the step cannot be told; give "
                "{step: file}, or a pattern that matches one series"
            )
        raise ValueError(
            f"{path} has no step to order it by: a number in its name, as in checkpoint-500, or 'step' in the file is "
            "expected; give {step: file}, or a pattern that leaves it out"
        )
    # several files of one epoch are told apart by what else is known of them
    unit = next((what for what, found in known.items() if len(set(found)) == len(found)), next(iter(known)))
    return Steps(tuple(known[unit]), unit)


def _named(pattern: re.Pattern[str], path: Path) -> int | None:
    """Return the last number of a kind in a name, else in that of the folder around it."""
    for name in (_name_of(path), path.parent.name):
        if found := pattern.findall(name):
            return int(found[-1])
    return None


def _name_of(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _names(paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return the names of files, and those of the folders around them."""
    return [_name_of(path) for path in paths], [path.parent.name for path in paths]


def _numbers(paths: Sequence[Path]) -> list[int | None]:
    """Return the one whole number of each name that differs between them; of a single file its only one."""
    for names in _names(paths):
        differ = _differing(names)
        if len(differ) == 1:
            return [*differ[0]]
    return [None] * len(paths)


def _differing(names: Sequence[str]) -> list[list[int]]:
    """Return the whole numbers at each place of the names at which they differ; of a single name all of them."""
    rows = [[int(each) for each in NUMBER.findall(name) if "." not in each] for name in names]
    if len({len(row) for row in rows}) > 1:
        return []
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [column for column in columns if len(set(column)) > 1 or len(names) == 1]
