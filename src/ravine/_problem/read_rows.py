"""The rows of a text file, as whoever wrote them cut them: its encoding, its separator, its comments."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ravine._problem.read_frame import name_of_source
from ravine._problem.read_numbers import ERRORS, GAPS, is_number

SEPARATORS = (";", "\t", "|", ",", " ")

LOOKED_AT = 200
"""Rows that the separator is chosen by."""

SAID = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""A first line that says what separates the cells, as Excel writes and reads it."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file begins with that says its encoding."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Cells of each row, the line that it begins in and its number, the separator, and comments before it all."""

    cells: list[list[str]]
    begins: list[str]
    numbers: list[int]
    separator: str
    notes: list[str]


def decode(source: Path | IO[Any], encoding: str | None) -> str:
    """Return the text of a file, in the encoding that is named or that it says itself; else UTF-8.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not in that encoding.
    """
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
    marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
    if marked in ("utf-16", "utf-32") and b"\x00" not in data:
        marked = None
    try:
        own = marked and encoding and not codecs.lookup(encoding).name.startswith(marked.removesuffix("-sig"))
        text = data.decode(encoding or marked or "utf-8")
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}; common ones are utf-8, latin-1, cp1252, utf-16") from None
    except UnicodeError:
        if encoding is None:
            raise ValueError(
                f'{path} is no text file in UTF-8; if it is text, name its encoding, as in encoding="latin-1" '
                "(--encoding latin-1)"
            ) from None
        raise ValueError(f"{path} is no text file in {encoding}") from None
    if own:
        raise ValueError(
            f"{path} begins with the mark of {marked}, and so is not in {encoding}: leave the encoding out"
        )
    return text.removeprefix("\ufeff").rstrip("\x1a")  # with which files of DOS end


def cut(text: str) -> Rows:
    """Cut a text into rows.

    Raises
    ------
    csv.Error
        If that cannot be done.
    """
    lines, numbers, notes = _lines(text)
    said = SAID.fullmatch(lines[0].rstrip(" ")) if lines else None
    if said:
        lines, numbers = lines[1:], numbers[1:]
    if not lines:
        return Rows([], [], [], ",", notes)
    separator = said[1] if said else _separator(lines)
    parsed = list(rows_of(lines, separator))
    cells, places = [cleaned(row) for _, row in parsed], [place for place, _ in parsed]
    return Rows(cells, [lines[k] for k in places], [numbers[k] for k in places], separator, notes)


def cleaned(row: Iterable[str]) -> list[str]:
    """Return cells without the spaces and single quotes around them."""
    cells = (cell.strip() for cell in row)
    return [cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == "'" else cell for cell in cells]


def _lines(text: str) -> tuple[list[str], list[int], list[str]]:
    """Return the lines that hold something, their numbers, and the comments that stand before them."""
    lines: list[str] = []
    numbers: list[int] = []
    notes: list[str] = []
    quoted = False  # a line that begins within quotes belongs to the cell before, whatever it begins with
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):  # other ends of lines may stand in a name
        if not quoted and not line.strip():
            continue
        if not quoted and line.lstrip().startswith("#") and not line.lstrip().startswith(ERRORS):
            if not lines:
                notes.append(line.lstrip().lstrip("#").strip())
            continue
        quoted ^= line.count('"') % 2 == 1
        lines.append(line)
        numbers.append(number)
    return lines, numbers, notes


def rows_of(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
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
            rows = [row for _, row in itertools.islice(rows_of(lines[: 2 * LOOKED_AT], separator), LOOKED_AT)]
        except csv.Error:
            continue
        header, body = rows[0], rows[1:] or rows
        if len(header) < 2:
            continue
        alike = sum(abs(len(row) - len(header)) <= 1 for row in body)
        found = sum(is_number(cell) or cell.strip() in GAPS - {""} for row in body for cell in row)
        if (found, alike) > most:
            best, most = separator, (found, alike)
    return best
