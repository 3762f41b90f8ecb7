"""Columns of a table in a file as arrays, with a clear word on everything that can be wrong with such a file."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import hint, kind_of, listed
from ravine._problem.read_frame import name_of_source, read_frame
from ravine._problem.read_numbers import GAPS, has_decimal_commas, is_number, read_numbers
from ravine._problem.read_rows import Rows, cleaned, cut, decode, rows_of

UNNAMED = re.compile(r"Unnamed: 0(\.\d+)?")
"""What a first column is called that has no name, here and by pandas."""

Asked = str | int
"""A column, by its name or by its place from 0."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Input columns and target column: names and float64 arrays of shape (rows, columns).

    `dropped` is how many rows were left out for their gaps, `gaps` names the columns that had them, and `said`
    tells how the file was read where it could have been read otherwise. `scales` holds mean and deviation of each input
    and of the target, where they were standardized.
    """

    x: tuple[str, ...]
    y: str
    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]
    dropped: int = 0
    gaps: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    scales: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """A file as it is written: cells by column, and the line that each row begins in."""

    columns: dict[str, list[str]]
    lines: list[int]
    separator: str
    headless: bool = False


def read(
    source: Path | IO[Any],
    x: Asked | Sequence[Asked] | None,
    y: Asked | None,
    *,
    standardize: bool = False,
    encoding: str | None = None,
    drop_missing: bool = False,
    decimal: str | None = None,
) -> Columns:
    """Read the named columns; the names may be left out where the file has just two columns.

    `decimal` is the sign before the decimals, found out if left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, has fewer than two rows, lacks a column, or holds text or gaps in one.
    """
    if decimal not in (None, ".", ","):
        raise ValueError(f'decimal is the sign before the decimals, "." or ",", got {decimal!r}')
    path = name_of_source(source)
    frame = read_frame(source)
    table = _table_of(frame, path) if frame is not None else _table(decode(source, encoding), path)
    names, target, index = _columns(table, x, y)
    used = list(dict.fromkeys([*names, target]))
    said = []
    if index is not None:
        does = "counts" if _counts(table.columns[index]) else "names"
        said.append(f"column {index!r} is left out: it only {does} the rows")
    if table.headless and x is None and y is None:
        said.append(f"it has no header: its first row is data, and its columns are called {listed(table.columns)}")
    if decimal is None and has_decimal_commas([cell for name in used for cell in table.columns[name]]):
        decimal = ","
        said.append("numbers are read with a comma before the decimals, as in 1,5")
    missing = {name: np.array([cell in GAPS for cell in table.columns[name]]) for name in used}
    whole = ~np.any(list(missing.values()), axis=0) if drop_missing else np.ones(len(table.lines), dtype=bool)
    if whole.sum() < 2:
        raise ValueError(f"{path}: without the rows that have gaps {whole.sum()} are left; expected at least two")
    grouped = table.separator == ","
    numbers = {
        name: read_numbers(table.columns[name], whole, decimal, f"{path}: column {name!r}", grouped=grouped)
        for name in used
    }
    scales: tuple[tuple[float, float], ...] = ()
    if standardize:
        scales = tuple((float(numbers[name].mean()), float(numbers[name].std())) for name in [*names, target])
        numbers = {name: _standardized(name, column) for name, column in numbers.items()}
    inputs = np.stack([numbers[name] for name in names], axis=1)
    gaps = tuple(name for name in used if drop_missing and missing[name].any())
    dropped = int((~whole).sum())
    return Columns(tuple(names), target, inputs, numbers[target][:, None], dropped, gaps, tuple(said), scales)


def _table(text: str, path: Path | str) -> Table:
    """Cut a text into columns."""
    try:
        rows = cut(text)
    except csv.Error as reason:
        raise ValueError(f"{path} is no table: {reason}") from None
    if not rows.cells:
        raise ValueError(f"{path} is empty; expected a header and at least two rows of numbers")
    headless = _is_data(rows.cells[0])
    commented = _commented_header(rows, len(rows.cells[0])) if headless else []
    names, body, lines = (commented, rows.cells, rows.numbers) if headless else _below_header(rows)
    width = max(map(len, body), default=0)
    if not headless and names[-1:] == [""] and all(row[len(names) - 1 : len(names)] in ([], [""]) for row in body):
        names = names[:-1]  # every row ends in a separator, the header too
    names = names or [str(i + 1) for i in range(width)]
    body = [row[: len(names)] if all(cell == "" for cell in row[len(names) :]) else row for row in body]
    if body and all(len(row) == len(names) + 1 for row in body) and _names_rows(body, rows.begins):
        body = [row[1:] for row in body]  # as R writes them: the names of rows have none themselves
    for row, line in zip(body, lines, strict=True):
        if len(row) > len(names):
            raise ValueError(f"{path} is no table: line {line} has {len(row)} cells, expected {len(names)}")
    if len(body) < 2:
        raise ValueError(f"{path} has {len(body)} row{'' if len(body) == 1 else 's'} of data; expected at least two")
    filled = [row + [""] * (len(names) - len(row)) for row in body]
    return Table(
        dict(zip(_apart(names), map(list, zip(*filled, strict=True)), strict=True)),
        lines,
        rows.separator,
        headless and not commented,
    )


def _table_of(frame: Any, path: Path | str) -> Table:
    """Return a table of pandas as cells: numbers as they are written, gaps empty."""
    if len(frame) < 2:
        raise ValueError(f"{path} has {len(frame)} row{'' if len(frame) == 1 else 's'} of data; expected at least two")
    names = _apart(["" if str(name).startswith("Unnamed: ") else str(name) for name in frame.columns])
    cells = [
        ["" if gap else str(value) for value, gap in zip(column.tolist(), column.isna(), strict=True)]
        for _, column in frame.items()
    ]
    return Table(dict(zip(names, cells, strict=True)), list(range(2, len(frame) + 2)), "\t")


def _below_header(rows: Rows) -> tuple[list[str], list[list[str]], list[int]]:
    return rows.cells[0], rows.cells[1:], rows.numbers[1:]


def _is_data(row: Sequence[str]) -> bool:
    """Tell whether a first row holds numbers, and so is no header."""
    some = any(is_number(cell) for cell in row)
    return some and all(is_number(cell) or cell in GAPS for cell in row)


def _commented_header(rows: Rows, width: int) -> list[str]:
    """Return names that stand in the comment above the numbers, as numpy.savetxt writes them; else nothing."""
    if not rows.notes:
        return []
    _, names = next(rows_of([rows.notes[-1]], rows.separator), (0, []))
    names = cleaned(names)
    return names if len(names) == width and all(names) and not any(map(is_number, names)) else []


def _names_rows(body: Sequence[Sequence[str]], begins: Sequence[str]) -> bool:
    """Tell whether the first cells name the rows: they are words, count, or stand in quotes."""
    first = [row[0] for row in body]
    if not any(map(is_number, first)) or _counts(first):
        return True
    return all(line.lstrip().startswith('"') for line in begins[-len(body) :])


def _apart(names: Sequence[str]) -> list[str]:
    """Give columns of one name a number, and columns without one a place, as pandas does."""
    found: list[str] = []
    for place, name in enumerate(names):
        plain = name or f"Unnamed: {place}"
        again = (f"{plain}.{k}" for k in itertools.count(1))
        found.append(plain if plain not in found else next(each for each in again if each not in found))
    return found


def _columns(table: Table, x: Asked | Sequence[Asked] | None, y: Asked | None) -> tuple[list[str], str, str | None]:
    """Return the names of inputs and target, and of a column that was left out because it only labels the rows."""
    present = list(table.columns)
    asked = [part for each in ([x] if isinstance(x, str | int) else x or []) for part in _split(each, present)]
    found = _find_columns(table, [*asked, *([] if y is None else [y])])
    names = found[: len(asked)]
    target = found[-1] if y is not None else None
    if len(set(names)) < len(names):
        raise ValueError(f"x names a column twice: {listed(asked)}")
    rest = [name for name in present if name not in names and name != target]
    index = next((name for name in rest[:1] if name == present[0] and _only_labels(name, table.columns[name])), None)
    needed = 2 - (1 if names else 0) - (target is not None)
    if index is not None and len(rest) > needed:
        rest = rest[1:]
    else:
        index = None
    if not names and (len(rest) == 1 if target is not None else len(rest) == 2):
        names, rest = rest[:1], rest[1:]
    if names and target is None and len(rest) == 1:
        target = rest[0]
    if not names or target is None:
        raise ValueError(f"say which columns are x (input) and y (target); the file has {listed(present)}")
    if target in names:
        raise ValueError(f"column {target!r} cannot be both x and y")
    return names, target, index if not asked or y is None else None


def _split(asked: Asked, present: Sequence[str]) -> list[Asked]:
    """Take "rooms, age" as two columns, where none is called so and each of its parts is one."""
    parts = [each.strip() for each in asked.split(",")] if isinstance(asked, str) and asked not in present else []
    return [*parts] if parts and all(each in present for each in parts) else [asked]


def _find_columns(table: Table, asked: Sequence[Asked]) -> list[str]:
    """Return columns by their names, or by their places from 0 where no column is called so."""
    present = list(table.columns)
    words = [each for each in asked if isinstance(each, str)]
    as_places = [each for each in words if each not in present and re.fullmatch(r"\d+", each)]
    as_names = [each for each in words if each in present and re.fullmatch(r"\d+", each)]
    found = []
    for each in asked:
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise TypeError(f"a column is given by its name, or by its place from 0, got {kind_of(each)}")
        if isinstance(each, str) and each in present:
            found.append(each)
            continue
        if isinstance(each, str) and each not in as_places:
            raise ValueError(f"no column {each!r}; the file has {listed(present)}{hint(each, present)}")
        if isinstance(each, str) and (as_names or table.headless):
            called = "it has no header, and its columns are called" if table.headless else "it has columns called"
            raise ValueError(f"no column {each!r} in the file: {called} {listed(present)}")
        if not -len(present) <= int(each) < len(present):
            raise ValueError(f"no column {each} in the file: it has {len(present)}, from 0 to {len(present) - 1}")
        found.append(present[int(each)])
    return found


def _only_labels(name: str, cells: Sequence[str]) -> bool:
    """Tell whether a column without a name counts the rows or names them, as pandas and R write their index."""
    if not UNNAMED.fullmatch(name):
        return False
    return _counts(cells) or not any(cell in GAPS or is_number(cell) for cell in cells)


def _counts(cells: Sequence[str]) -> bool:
    """Tell whether cells count from 0 or 1."""
    return any([*map(str, range(begin, begin + len(cells)))] == list(cells) for begin in (0, 1))


def _standardized(name: str, column: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = column.std()
    if spread == 0:
        raise ValueError(f"column {name!r} is constant and cannot be standardized")
    result: NDArray[np.float64] = (column - column.mean()) / spread
    return result
