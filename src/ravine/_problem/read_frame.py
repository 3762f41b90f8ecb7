"""Tables that pandas reads: Excel, parquet and JSON, from files or piped in."""

from __future__ import annotations

import importlib.util
import io
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

BEGINNINGS = {b"PK\x03\x04": ".xlsx", b"PAR1": ".parquet", b"[": ".json", b"{": ".json"}
"""How a table that is piped in begins, if it is no CSV."""

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


def _piped(source: IO[Any]) -> tuple[str, IO[bytes] | None]:
    """Tell what kind of table an open file holds from how it begins, and read it if it is no CSV.

    Examples
    --------
    >>> _piped(io.BytesIO(b' [{"x": 1}]'))[0], _piped(io.StringIO('{"x": [1, 2]}'))[0], _piped(io.BytesIO(b"x,y"))
    ('.json', '.json', ('', None))
    """
    if not source.seekable():
        return "", None
    at = source.tell()
    held = source.read()
    source.seek(at)
    data = held.encode() if isinstance(held, str) else held
    ending = next((kind for begins, kind in BEGINNINGS.items() if data.lstrip().startswith(begins)), "")
    lines = [line for line in map(bytes.strip, data.splitlines()) if line]
    if ending == ".json" and len(lines) > 1 and all(line[:1] + line[-1:] == b"{}" for line in lines):
        ending = ".jsonl"
    return ending, io.BytesIO(data) if ending else None
