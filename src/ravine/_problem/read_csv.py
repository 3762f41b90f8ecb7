"""Columns of a table in a file as arrays, with a clear word on everything that can be wrong with such a file."""

from __future__ import annotations

import codecs
import csv
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import hint, kind_of, listed
from ravine._problem.read_frame import name_of_source, read_frame

GAPS = frozenset(
    {
        "",
        "?",
        ".",
        "-",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "<NA>",
        "NaN",
        "nan",
        "-nan",
        "-NaN",
        "NULL",
        "null",
        "None",
        "none",
    }
)
"""What stands in a cell that holds nothing."""

SEPARATORS = (";", "\t", "|", ",", " ")

LOOKED_AT = 200
"""Rows that the separator is chosen by."""

DECIMAL_COMMA = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?([eE][-+]?\d+)?")
"""A number that has a comma before its decimals, if any, and points between thousands, if any."""

UNNAMED = re.compile(r"Unnamed: 0(\.\d+)?")
"""What a first column is called that has no name, here and by pandas."""

Asked = str | int
"""A column, by its name or by its place from 0."""

THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")
"""A number as 1,234 in a file whose separator is the comma: such a cell was quoted."""


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
    table = _table_of(frame, path) if frame is not None else _table(_text(source, encoding), path)
    names, target, index = _columns(table, x, y)
    used = list(dict.fromkeys([*names, target]))
    said = [f"column {index!r} is left out: it only counts the rows"] if index is not None else []
    if decimal is None and _has_decimal_commas(table, used):
        decimal = ","
        said.append("numbers are read with a comma before the decimals, as in 1,5")
    missing = {name: np.array([cell in GAPS for cell in table.columns[name]]) for name in used}
    whole = ~np.any(list(missing.values()), axis=0) if drop_missing else np.ones(len(table.lines), dtype=bool)
    if whole.sum() < 2:
        raise ValueError(f"{path}: without the rows that have gaps {whole.sum()} are left; expected at least two")
    numbers = {name: _numbers(table, name, path, whole, decimal) for name in used}
    scales: tuple[tuple[float, float], ...] = ()
    if standardize:
        scales = tuple((float(numbers[name].mean()), float(numbers[name].std())) for name in [*names, target])
        numbers = {name: _standardized(name, column) for name, column in numbers.items()}
    inputs = np.stack([numbers[name] for name in names], axis=1)
    gaps = tuple(name for name in used if drop_missing and missing[name].any())
    dropped = int((~whole).sum())
    return Columns(tuple(names), target, inputs, numbers[target][:, None], dropped, gaps, tuple(said), scales)


def _text(source: Path | IO[Any], encoding: str | None) -> str:
    path = name_of_source(source)
    if isinstance(source, Path):
        if not source.exists():
            raise FileNotFoundError(f"there is no file {source}")
        data = source.read_bytes()
    else:
        held = source.read()
        if isinstance(held, str):
            return held.removeprefix("\ufeff")
        data = held
    if encoding is None:
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if marked and b"\x00" in data else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}; common ones are utf-8, latin-1, cp1252, utf-16") from None
    except UnicodeError:
        if encoding == "utf-8-sig":
            raise ValueError(
                f'{path} is no text file in UTF-8; if it is text, name its encoding, as in encoding="latin-1" '
                "(--encoding latin-1)"
            ) from None
        raise ValueError(f"{path} is no text file in {encoding}") from None
    return text.removeprefix("\ufeff")


def _table(text: str, path: Path | str) -> Table:
    """Cut a text into columns."""
    lines, numbers, notes = _lines(text)
    if not lines:
        raise ValueError(f"{path} is empty; expected a header and at least two rows of numbers")
    separator = _separator(lines)
    try:
        parsed = list(_rows(lines, separator))
    except csv.Error as reason:
        raise ValueError(f"{path} is no table: {reason}") from None
    rows = [(_cleaned(row), numbers[place]) for place, row in parsed]
    headless = _is_data(rows[0][0])
    commented = _commented_header(notes, separator, len(rows[0][0])) if headless else []
    names = commented if headless else rows.pop(0)[0]
    body = [row for row, _ in rows]
    width = max(map(len, body), default=0)
    if not headless and names[-1:] == [""] and all(row[len(names) - 1 : len(names)] in ([], [""]) for row in body):
        names = names[:-1]  # every row ends in a separator, the header too
    names = names or [str(i + 1) for i in range(width)]
    body = [row[: len(names)] if all(cell == "" for cell in row[len(names) :]) else row for row in body]
    if body and all(len(row) == len(names) + 1 for row in body) and _names_rows(parsed, body, lines):
        body = [row[1:] for row in body]  # as R writes them: the names of rows have none themselves
    for row, (_, line) in zip(body, rows, strict=True):
        if len(row) > len(names):
            raise ValueError(f"{path} is no table: line {line} has {len(row)} cells, expected {len(names)}")
    if len(body) < 2:
        raise ValueError(f"{path} has {len(body)} row{'' if len(body) == 1 else 's'} of data; expected at least two")
    filled = [row + [""] * (len(names) - len(row)) for row in body]
    return Table(
        dict(zip(_apart(names), map(list, zip(*filled, strict=True)), strict=True)),
        [n for _, n in rows],
        separator,
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


def _lines(text: str) -> tuple[list[str], list[int], list[str]]:
    """Return the lines that hold something, their numbers, and the comments that stand before them."""
    lines: list[str] = []
    numbers: list[int] = []
    notes: list[str] = []
    quoted = False  # a line that begins within quotes belongs to the cell before, whatever it begins with
    for number, line in enumerate(text.splitlines(), 1):
        if not quoted and not line.strip():
            continue
        if not quoted and line.lstrip().startswith("#"):
            if not lines:
                notes.append(line.lstrip().lstrip("#").strip())
            continue
        quoted ^= line.count('"') % 2 == 1
        lines.append(line)
        numbers.append(number)
    return lines, numbers, notes


def _rows(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Return the cells of each row, and which line it begins in."""
    if separator == " ":
        lines = (line.replace("\t", " ").strip() for line in lines)
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for line in lines:
            count += 1
            yield line + "\n"

    reader, begin = csv.reader(counted(), delimiter=separator, skipinitialspace=True), 0
    for row in reader:
        yield begin, row
        begin = count


def _separator(lines: Sequence[str]) -> str:
    """Choose what cuts the rows alike, and leaves most numbers; of two that do, the first of `SEPARATORS`."""
    best, most = ",", (-1, -1)
    for separator in SEPARATORS:
        try:
            rows = [row for _, row in itertools.islice(_rows(lines[: 2 * LOOKED_AT], separator), LOOKED_AT)]
        except csv.Error:
            continue
        header, body = rows[0], rows[1:] or rows
        if len(header) < 2:
            continue
        alike = sum(abs(len(row) - len(header)) <= 1 for row in body)
        found = sum(_is_number(cell) or cell.strip() in GAPS - {""} for row in body for cell in row)
        if (found, alike) > most:
            best, most = separator, (found, alike)
    return best


def _cleaned(row: Iterable[str]) -> list[str]:
    """Return cells without the spaces and single quotes around them."""
    cells = (cell.strip() for cell in row)
    return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == "'" else cell for cell in cells]


def _is_data(row: Sequence[str]) -> bool:
    """Tell whether a first row holds numbers, and so is no header."""
    some = any(_is_number(cell) for cell in row)
    return some and all(_is_number(cell) or cell in GAPS for cell in row)


def _commented_header(notes: Sequence[str], separator: str, width: int) -> list[str]:
    """Return names that stand in the comment above the numbers, as numpy.savetxt writes them; else nothing."""
    if not notes:
        return []
    _, names = next(_rows([notes[-1]], separator), (0, []))
    names = _cleaned(names)
    return names if len(names) == width and all(names) and not any(map(_is_number, names)) else []


def _names_rows(parsed: Sequence[tuple[int, list[str]]], body: Sequence[Sequence[str]], lines: Sequence[str]) -> bool:
    """Tell whether the first cells name the rows: they are words, or in quotes where numbers are not."""
    if not any(_is_number(row[0]) for row in body):
        return True
    return all(lines[place].lstrip().startswith('"') for place, _ in parsed[-len(body) :])


def _apart(names: Sequence[str]) -> list[str]:
    """Give columns of one name a number, and columns without one a place, as pandas does."""
    found: list[str] = []
    for place, name in enumerate(names):
        plain = name or f"Unnamed: {place}"
        again = (f"{plain}.{k}" for k in itertools.count(1))
        found.append(plain if plain not in found else next(each for each in again if each not in found))
    return found


def _columns(table: Table, x: Asked | Sequence[Asked] | None, y: Asked | None) -> tuple[list[str], str, str | None]:
    """Return the names of inputs and target, and of a column that was left out because it only counts the rows."""
    present = list(table.columns)
    asked = [part for each in ([x] if isinstance(x, str | int) else x or []) for part in _split(each, present)]
    found = _find_columns(table, [*asked, *([] if y is None else [y])])
    names = found[: len(asked)]
    target = found[-1] if y is not None else None
    if len(set(names)) < len(names):
        raise ValueError(f"x names a column twice: {listed(asked)}")
    rest = [name for name in present if name not in names and name != target]
    index = next((name for name in rest[:1] if name == present[0] and _counts_rows(name, table.columns[name])), None)
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


def _counts_rows(name: str, cells: Sequence[str]) -> bool:
    """Tell whether a column without a name counts the rows, as pandas and R write their index."""
    if not UNNAMED.fullmatch(name):
        return False
    return any([*map(str, range(begin, begin + len(cells)))] == list(cells) for begin in (0, 1))


def _has_decimal_commas(table: Table, used: Sequence[str]) -> bool:
    """Tell whether numbers are surely written as 1,5: some cannot be thousands, and none may have a decimal point."""
    cells = [cell for name in used for cell in table.columns[name] if cell not in GAPS]
    commas = [cell for cell in cells if "," in cell]
    if all(THOUSANDS.fullmatch(cell) for cell in commas):
        return False
    return all(DECIMAL_COMMA.fullmatch(cell) and ("," in cell or "." not in cell) for cell in cells)


def _numbers(
    table: Table, name: str, path: Path | str, whole: NDArray[np.bool_], decimal: str | None
) -> NDArray[np.float64]:
    found = np.empty(int(whole.sum()))
    for place, row in enumerate(np.flatnonzero(whole)):
        cell = table.columns[name][row]
        plain = cell
        if decimal == ",":  # 1.5 is no number then, and 1.234 is a thousand and some
            plain = cell.replace(".", "").replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else "no number"
        elif (table.separator == "," or decimal == ".") and THOUSANDS.fullmatch(cell):
            plain = cell.replace(",", "")
        try:
            found[place] = math.nan if cell in GAPS or "_" in cell else float(plain)
        except ValueError:
            found[place] = math.nan
        if math.isfinite(found[place]):
            continue
        where = f"{path}: column {name!r}, data row {row + 1}"
        if cell in GAPS:
            raise ValueError(
                f"{where} is empty or NaN; remove or fill such rows first, or leave them out with drop_missing=True "
                "(--drop-missing)"
            )
        if re.fullmatch(r"[-+]?\d+(,\d+)+", cell):
            raise ValueError(
                f'{where} is {cell!r}, which may be thousands or decimals: say which with decimal="," or decimal="." '
                "(--decimal)"
            )
        raise ValueError(f"{where} is {cell!r}, expected a finite number; remove or fill such rows first")
    return found


def _standardized(name: str, column: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = column.std()
    if spread == 0:
        raise ValueError(f"column {name!r} is constant and cannot be standardized")
    result: NDArray[np.float64] = (column - column.mean()) / spread
    return result


def _is_number(cell: str) -> bool:
    plain = cell.strip()
    try:
        return math.isfinite(float(plain))
    except ValueError:
        return bool(re.fullmatch(r"[-+]?\d+,\d+", plain))  # cut at commas none is left: only other files have it
