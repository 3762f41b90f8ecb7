"""Numbers as people and programs write them into cells, and what stands where there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ERRORS = ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")
"""What spreadsheets write where a formula gives no number; a line that begins so is no comment."""

GAPS = frozenset(
    {
        *("", "?", ".", "-", "--", "*", "NA", "N/A", "n/a", "n.a.", "N.A.", "#NA", "#N/A N/A", "<NA>", "NaN", "nan"),
        *("-nan", "-NaN", "NaT", "NULL", "null", "None", "none", "\\N", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
        *ERRORS,
    }
)
"""What stands in a cell that holds nothing."""

DECIMAL_COMMA = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?([eE][-+]?\d+)?")
"""A number that has a comma before its decimals, if any, and points between thousands, if any."""

THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")
"""A number as 1,234 in a file whose separator is the comma: such a cell was quoted."""

GROUPS = re.compile(r"[-+]?\d{1,3}([ \u00a0\u2009\u202f'\u2019]\d{3})+([.,]\d*)?")
"""A number with spaces or apostrophes between thousands, as in 1 234,5 and 1'234.5."""


def simplify(cell: str) -> str:
    """Return a number without what stands between its thousands but commas and points, its minus as Python's.

    Examples
    --------
    >>> simplify("1 234,5"), simplify("1'234.5"), simplify("\N{MINUS SIGN}0.5"), simplify("about 3")
    ('1234,5', '1234.5', '-0.5', 'about 3')
    """
    plain = cell.replace("\N{MINUS SIGN}", "-")
    return re.sub(r"[^-+.,\d]", "", plain) if GROUPS.fullmatch(plain) else plain


def is_number(cell: str) -> bool:
    """Tell whether a cell holds a number."""
    plain = simplify(cell.strip())
    try:
        return math.isfinite(float(plain))
    except ValueError:
        return bool(re.fullmatch(r"[-+]?\d+,\d+", plain))  # cut at commas none is left: only other files have it


def has_decimal_commas(written: Sequence[str]) -> bool:
    """Tell whether numbers are surely written as 1,5: some cannot be thousands, and none may have a decimal point."""
    cells = [simplify(cell) for cell in written if cell not in GAPS]
    commas = [cell for cell in cells if "," in cell]
    if all(THOUSANDS.fullmatch(cell) for cell in commas):
        return False
    return all(DECIMAL_COMMA.fullmatch(cell) and ("," in cell or "." not in cell) for cell in cells)


def read_numbers(
    cells: Sequence[str], whole: NDArray[np.bool_], decimal: str | None, what: str, *, grouped: bool
) -> NDArray[np.float64]:
    """Read those cells of a column that are whole; `grouped` is whether 1,234 is a thousand and some.

    Raises
    ------
    ValueError
        If one holds no finite number; `what` is what the column is called in the message.
    """
    found = np.empty(int(whole.sum()))
    for place, row in enumerate(np.flatnonzero(whole).tolist()):
        cell = cells[row]
        plain = simplify(cell)
        if decimal == ",":  # 1.5 is no number then, and 1.234 is a thousand and some
            plain = plain.replace(".", "").replace(",", ".") if DECIMAL_COMMA.fullmatch(plain) else "no number"
        elif (grouped or decimal == ".") and THOUSANDS.fullmatch(plain):
            plain = plain.replace(",", "")
        try:
            found[place] = math.nan if cell in GAPS or "_" in cell else float(plain)
        except ValueError:
            found[place] = math.nan
        if math.isfinite(found[place]):
            continue
        where = f"{what}, data row {row + 1}"
        if cell in GAPS:
            held = (
                f"is {cell!r}, which is no number" if cell.strip("-").lower() not in ("", "nan") else "is empty or NaN"
            )
            raise ValueError(
                f"{where} {held}; remove or fill such rows first, or leave them out with drop_missing=True "
                "(--drop-missing)"
            )
        if re.fullmatch(r"[-+]?\d+(,\d+)+", cell):
            raise ValueError(
                f'{where} is {cell!r}, which may be thousands or decimals: say which with decimal="," or decimal="." '
                "(--decimal)"
            )
        raise ValueError(f"{where} is {cell!r}, expected a finite number; remove or fill such rows first")
    return found
