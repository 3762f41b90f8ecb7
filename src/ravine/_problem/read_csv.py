"""Columns of a CSV file as arrays, with a clear word on everything that can be wrong with such a file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ravine._format import hint, listed


@dataclass(frozen=True, eq=False)
class Columns:
    """Input columns and target column: names and float64 arrays of shape (rows, columns)."""

    x: tuple[str, ...]
    y: str
    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]


def read(path: Path, x: str | Sequence[str] | None, y: str | None, *, standardize: bool = False) -> Columns:
    """Read the named columns; the names may be left out where the file has just two columns.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, has fewer than two rows, lacks a column, or holds text or gaps in one.
    """
    table = _read_csv(path)
    names, target = _columns(table, x, y)
    numbers = {name: _numbers(table, name, path) for name in (*names, target)}
    if standardize:
        numbers = {name: _standardized(name, column) for name, column in numbers.items()}
    inputs = np.stack([numbers[name] for name in names], axis=1)
    return Columns(tuple(names), target, inputs, numbers[target][:, None])


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text file in UTF-8") from None
    if not text.strip():
        raise ValueError(f"{path} is empty; expected a header and at least two rows of numbers")
    first = next(line for line in text.splitlines() if line.strip())
    separator = next((each for each in ";\t|," if each in first), None)
    headless = all(_is_number(cell) for cell in first.split(separator))
    try:
        table = pd.read_csv(
            path,
            sep=separator or r"\s+",
            header=None if headless else 0,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )
    except pd.errors.ParserError as reason:
        raise ValueError(f"{path} is no table: {str(reason).strip()}") from None
    table.columns = [str(i + 1) if headless else str(name).strip() for i, name in enumerate(table.columns)]
    if len(table) < 2:
        raise ValueError(f"{path} has {len(table)} row{'' if len(table) == 1 else 's'} of data; expected at least two")
    return table


def _columns(table: pd.DataFrame, x: str | Sequence[str] | None, y: str | None) -> tuple[list[str], str]:
    present = list(table.columns)
    asked = [x] if isinstance(x, str) else list(x or [])
    for name in [*asked, *([y] if y else [])]:
        if name not in present:
            raise ValueError(f"no column {name!r}; the file has {listed(present)}{hint(name, present)}")
    rest = [name for name in present if name not in asked and name != y]
    if not asked and (len(rest) == 1 if y else len(rest) == 2):
        asked = rest[:1]
        rest = rest[1:]
    if asked and not y and len(rest) == 1:
        y = rest[0]
    if not asked or not y:
        raise ValueError(f"say which columns are x (input) and y (target); the file has {listed(present)}")
    if y in asked:
        raise ValueError(f"column {y!r} cannot be both x and y")
    return asked, y


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    import pandas as pd

    column = table[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        cell = column.iloc[row]
        what = "is empty or NaN" if pd.isna(cell) else f"is {cell!r}, expected a finite number"
        if re.fullmatch(r"-?\d+,\d+", str(cell)):
            raise ValueError(f"{path}: column {name!r}, data row {row + 1} {what}; write decimals with a point")
        raise ValueError(f"{path}: column {name!r}, data row {row + 1} {what}; remove or fill such rows first")
    return numbers


def _standardized(name: str, column: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = column.std()
    if spread == 0:
        raise ValueError(f"column {name!r} is constant and cannot be standardized")
    result: NDArray[np.float64] = (column - column.mean()) / spread
    return result


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell.strip().strip('"')))
    except ValueError:
        return False
