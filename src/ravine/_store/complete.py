"""A store that is complete: the records of its blocks gathered in one file, and what other readers are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ravine._store.ledger import check_block, read_record

INCOMPLETE = "runs are missing: a sweep is being made, or was stopped; ravine.open tells which"


def mark_group(held: bytes, *, complete: bool) -> bytes:
    """Return the description of a store's group with a word on runs that are missing, or without."""
    facts = json.loads(held)
    attributes = {name: value for name, value in facts.get("attributes", {}).items() if name != "incomplete"}
    facts["attributes"] = attributes if complete else attributes | {"incomplete": INCOMPLETE}
    return json.dumps(facts, indent=2).encode()


def read_gathered(path: Path, count: int) -> dict[int, dict[str, Any]] | None:
    """Read the records of all blocks, that many, from the file that gathers them; None where there is no such file.

    Raises
    ------
    ValueError
        If it is not what was written.
    """
    try:
        held = read_record(path)
    except FileNotFoundError:
        return None
    try:
        found = {int(block): facts for block, facts in held["blocks"].items()}
        for facts in found.values():
            check_block(facts)
        sound = found.keys() == set(range(count))
    except (KeyError, AttributeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(f"{path} is damaged: it does not hold the record of each block")
    return found
