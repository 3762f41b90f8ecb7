"""Tables that pandas reads: Excel, parquet and JSON, from files or piped in."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path
from typing import IO, Any

READERS = {
    ".xlsx": ("read_excel", ("openpyxl",)),
    ".xlsm": ("read_excel", ("openpyxl",)),
    ".xls": ("read_excel", ("xlrd",)),
    ".ods": ("read_excel", ("odf",)),
    ".parquet": ("read_parquet", ("pyarrow", "fastparquet")),
    ".pq": ("read_parquet", ("pyarrow", "fastparquet")),
    ".json": ("read_json", ()),
    ".jsonl": ("read_json", ()),
}
"""Ending of a file to the function of pandas that reads it, and the packages of which it needs one."""

BEGINNINGS = {rb"PK\x03\x04": ".xlsx", rb"PAR1": ".parquet", rb"\s*(\[\s*[\[{]|\{\s*\")": ".json"}
"""How a table that is piped in begins, if it is no CSV, as patterns: JSON is a list of rows, or has names in quotes."""

LOOKED_AT = 64
"""Characters, or bytes, from which that is told."""

INSTALLED_AS = {"odf": "odfpy"}
"""What a package is called where it is installed from."""


def name_of_source(source: Path | IO[Any]) -> Path | str:
    """Return what a table is called in messages."""
    if isinstance(source, Path):
        return source
    name = getattr(source, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else "the table"


def read_frame(source: Path | IO[Any]) -> Any:
    """Read a table with pandas, if it ends as one of `READERS` says, or begins as one of `BEGINNINGS`; else None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError, ValueError
        If what reads it is not installed (the message has the command), or it cannot be read.
    """
    ending, held = (source.suffix.lower(), source) if isinstance(source, Path) else _piped(source)
    if ending not in READERS:
        return None
    path = name_of_source(source)
    if isinstance(source, Path) and not source.exists():
        raise FileNotFoundError(f"there is no file {source}")
    name, packages = READERS[ending]
    if packages and not any(importlib.util.find_spec(each) for each in packages):
        command = INSTALLED_AS.get(packages[0], packages[0])
        raise ModuleNotFoundError(f"{path} needs {packages[0]} to be read: pip install {command}")
    import pandas as pd

    try:
        frame = getattr(pd, name)(held, **({"lines": True} if ending == ".jsonl" else {}))
    except Exception as reason:  # of whatever library reads it
        raise ValueError(f"{path} cannot be read as {ending[1:]}: {' '.join(str(reason).split())}") from reason
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"{path} holds no table with columns; expected one, as DataFrame.to_{name[5:]} writes it")
    return frame


def _piped(source: IO[Any]) -> tuple[str, IO[Any] | None]:
    """Tell what kind of table an open file holds from how it begins, and read it if it is no CSV.

    Examples
    --------
    >>> _piped(io.BytesIO(b' [{"x": 1}]'))[0], _piped(io.StringIO('{"x": [1, 2]}'))[0], _piped(io.BytesIO(b"[m],y"))
    ('.json', '.json', ('', None))
    """
    if not source.seekable():
        return "", None
    at = source.tell()
    head = source.read(LOOKED_AT)
    source.seek(at)
    begins = head.encode(errors="ignore") if isinstance(head, str) else head
    ending = next((kind for pattern, kind in BEGINNINGS.items() if re.match(pattern, begins)), "")
    if not ending:
        return "", None
    held = source.read()
    source.seek(at)
    if ending == ".json":
        rows = [row for row in map(type(held).strip, held.splitlines()) if row]
        braces = "{}" if isinstance(held, str) else b"{}"
        if len(rows) > 1 and all(row[:1] + row[-1:] == braces for row in rows):
            ending = ".jsonl"
    return ending, io.StringIO(held) if isinstance(held, str) else io.BytesIO(held)
