"""Tables that pandas reads: Excel, parquet and JSON files."""

from __future__ import annotations

import importlib.util
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

INSTALLED_AS = {"odf": "odfpy"}
"""What a package is called where it is installed from."""


def name_of_source(source: Path | IO[Any]) -> Path | str:
    """Return what a table is called in messages."""
    if isinstance(source, Path):
        return source
    name = getattr(source, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else "the table"


def read_frame(source: Path | IO[Any]) -> Any:
    """Read a table with pandas, if its file ends as one of `READERS` says; else None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError, ValueError
        If what reads it is not installed (the message has the command), or it cannot be read.
    """
    ending = source.suffix.lower() if isinstance(source, Path) else ""
    if ending not in READERS:
        return None
    assert isinstance(source, Path)
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}")
    name, packages = READERS[ending]
    if packages and not any(importlib.util.find_spec(each) for each in packages):
        command = INSTALLED_AS.get(packages[0], packages[0])
        raise ModuleNotFoundError(f"{source} needs {packages[0]} to be read: pip install {command}")
    import pandas as pd

    try:
        frame = getattr(pd, name)(source, **({"lines": True} if ending == ".jsonl" else {}))
    except Exception as reason:  # of whatever library reads it
        raise ValueError(f"{source} cannot be read as {ending[1:]}: {' '.join(str(reason).split())}") from reason
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"{source} holds no table with columns; expected one, as DataFrame.to_{name[5:]} writes it")
    return frame
