"""Ledger: small records that are whole or not there at all, each with a checksum of its own."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["DRAFT", "Ledger", "digest", "read_record", "write_record"]

DRAFT = ".partial"
"""How the files end that are being written: those of the ledger, and those of zarr's chunks."""


def digest(*parts: Any) -> str:
    """Return a short digest of bytes, arrays and texts.

    Examples
    --------
    >>> digest("loss", b"12") == digest("loss", memoryview(b"12")) != digest("loss1", b"2")
    True
    """
    found = hashlib.sha256()
    for part in parts:
        data = memoryview(part.encode() if isinstance(part, str) else part).cast("B")
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()[:32]


def write_record(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a record so that at any instant it is there whole or not at all: a draft, synced, then renamed."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    try:
        with draft.open("wb") as file:
            file.write(_sealed(facts))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _sealed(facts: Mapping[str, Any]) -> bytes:
    """Return the one way in which facts are written down."""
    text = json.dumps(facts, sort_keys=True)
    return json.dumps({"digest": digest(text), "facts": facts}, sort_keys=True).encode()


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is not what was written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_record(Path(folder, "a.json"), {"block": 3})
    ...     read_record(Path(folder, "a.json"))
    {'block': 3}
    """
    try:
        held = path.read_bytes()
        facts: dict[str, Any] = json.loads(held)["facts"]
        sound = held == _sealed(facts)  # in every byte: an E for an e says the same, and was not written
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise ValueError(f"{path} is damaged: its checksum does not fit what it says")
    return facts


class Ledger:
    """The finished blocks of a store, a record for each, under a key made from what the block is."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def key(self, block: int) -> str:
        """Return the name of a block's record: made from the sweep and the block's place in it, and nothing else."""
        return digest(self.identity, str(block))

    def path(self, block: int) -> Path:
        """Return where a block's record lies, once the block is finished."""
        return self.folder / f"{self.key(block)}.json"

    def enter(self, block: int, facts: Mapping[str, Any]) -> None:
        """Record that a block is finished."""
        write_record(self.path(block), {"block": block, **facts})

    def read(self, block: int) -> dict[str, Any]:
        """Return a block's record; it must speak of that very block."""
        facts = read_record(self.path(block))
        if facts.get("block") != block:
            raise ValueError(f"{self.path(block)} is damaged: it speaks of block {facts.get('block')}, not of {block}")
        return facts

    def finished(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Walk through the blocks whose records are there and sound."""
        for block in self.entered(count):
            try:
                yield block, self.read(block)
            except (ValueError, FileNotFoundError):
                continue

    def entered(self, count: int) -> Iterator[int]:
        """Walk through the blocks that have a record, sound or not."""
        there = {entry.name for entry in os.scandir(self.folder)} if self.folder.is_dir() else set[str]()
        for block in range(count):
            if self.path(block).name in there:
                yield block

    def forget(self, block: int) -> None:
        """Take a block's record away, so that the block is made again."""
        self.path(block).unlink(missing_ok=True)
