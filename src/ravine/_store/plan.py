"""The plan of a store: what it is to hold, written once before any block, and kept twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ravine._store.ledger import read_record
from ravine._store.trust import HIDDEN

FORMAT = 2
"""What this ravine writes; in stores of format 1 a block says in words how near to torch it came."""

FORMATS = (1, FORMAT)
PLANS = ("plan.json", "plan.copy.json")
"""The plan and its second copy: a flipped bit in one of them costs nothing."""


@dataclass(frozen=True)
class Field:
    """One array of a store: what comes after the dimensions of choice, and what is said of it."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any]


def is_store(path: str | os.PathLike[str]) -> bool:
    """Tell whether a sweep was begun there."""
    return any((Path(path) / HIDDEN / name).exists() for name in PLANS)


def read_plan(store: Path) -> dict[str, Any]:
    """Read the plan, or its copy where the plan is damaged or gone.

    Raises
    ------
    ValueError
        If neither of them is what was written.
    """
    told = None
    for name in PLANS:
        try:
            return read_record(store / HIDDEN / name)
        except FileNotFoundError:
            continue
        except ValueError as reason:
            told = told or reason
    raise ValueError(
        f"{told}; without its plan a store cannot go on, or be proved: delete it and sweep again. "
        "xarray.open_zarr reads what it holds"
    )


def find_damaged_plans(store: Path, plan: Mapping[str, Any]) -> list[Path]:
    """Return which copies of the plan are damaged or gone; stores were once begun with one."""
    found = []
    for name in PLANS:
        try:
            sound = read_record(store / HIDDEN / name) == plan
        except FileNotFoundError:
            sound = name != PLANS[0] and "marked" not in plan
        except ValueError:
            sound = False
        if not sound:
            found.append(store / HIDDEN / name)
    return found
