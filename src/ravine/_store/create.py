"""Creating a store without a block in it, there whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine._store.complete import mark_group
from ravine._store.ledger import DRAFT, Tiling, write_record
from ravine._store.lock import name_store_in_errors
from ravine._store.plan import FORMAT, PLANS, Field, is_store
from ravine._store.remote import local_path
from ravine._store.store import Store
from ravine._store.trust import HIDDEN, import_zarr, sign
from ravine._study.provenance import digest
from ravine._system import process_state

REMOVALS = 20
"""Times that a draft is taken away, a twentieth of a second apart."""

CHUNK_BYTES = 16_000_000
"""Beyond this the chunks of a block are cut along their steps too."""


@dataclass(frozen=True)
class StorePath(os.PathLike[str]):
    """Where a store lies, with what was typed to begin it: from that ``ravine resume`` goes on.

    A `fresh` one takes the place of a store that is there, once the new sweep is known to be one.
    """

    path: str
    typed: Mapping[str, Any]
    fresh: bool = False

    def __fspath__(self) -> str:
        return self.path


def remove_old(path: str | os.PathLike[str]) -> None:
    """Take away the store at a place that is to be fresh, if nobody writes it."""
    if isinstance(path, StorePath) and path.fresh and is_store(local_path(path)):
        store = Store(path)
        with store.writing():
            pass
        shutil.rmtree(store.path)


def create(
    path: str | os.PathLike[str],
    skeleton: xr.Dataset,
    lead: Sequence[str],
    tiling: Tiling,
    fields: Mapping[str, Field],
    identity: Mapping[str, str],
    problems: Sequence[str],
) -> Store:
    """Make a store.

    Parameters
    ----------
    path
        Where; nothing must be there.
    skeleton
        Everything that is known before any run: coordinates, data, minima.
    lead, tiling
        Dimensions of choice, and how their product is cut into blocks.
    fields
        What each block brings.
    identity
        What the sweep is, aspect by aspect: it goes on only where all of them are the same.
    problems
        A label for each problem, in the order of the runs.

    Raises
    ------
    BlockingIOError
        If another process has just begun it.
    OSError
        If there is something already, or the disk does not take it.
    """
    typed = path.typed if isinstance(path, StorePath) else None
    path = local_path(path)
    with name_store_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _draft_beside(path) as draft:
            chunks = _write_arrays(draft, skeleton, lead, tiling, fields)
            group = draft / "zarr.json"
            whole = mark_group(group.read_bytes(), complete=True)
            files = {each.relative_to(draft).as_posix(): digest(each.read_bytes()) for each in _files_in(draft)}
            manifest = {
                "format": FORMAT,
                "identity": dict(identity),
                "lead": list(lead),
                "shape": list(tiling.shape),
                "block": list(tiling.block),
                "fields": {name: asdict(field) for name, field in fields.items()},
                "dtypes": {str(name): v.dtype.str for name, v in skeleton.variables.items()},
                "problems": list(problems),
                "chunks": chunks,
                "files": files,
                "marked": {group.name: digest(whole)},
                "typed": typed,
                "program": _find_program(),
                "folder": os.getcwd(),
            }
            (draft / HIDDEN / "ledger").mkdir(parents=True)
            for name in PLANS:
                write_record(draft / HIDDEN / name, manifest)
            if typed is not None:  # it may be resumed from what was typed, and so import what that names
                sign(draft / HIDDEN, manifest)
            _publish(draft, path)
    return Store(path)


def repair_files(store: Store, skeleton: xr.Dataset) -> None:
    """Write again what was there before any block, where it is damaged; the blocks are not touched.

    Raises
    ------
    ValueError
        If it does not come out as it was.
    """
    damaged = store.find_damage()
    if not damaged:
        return
    with name_store_in_errors(store.path), _draft_beside(store.path) as draft:
        _write_arrays(draft, skeleton, store.manifest["lead"], store.tiling, store.fields)
        for name in damaged:
            made = draft / name
            known = (store.manifest["files"][name], store.manifest.get("marked", {}).get(name))
            if not made.exists() or digest(made.read_bytes()) not in known:
                raise ValueError(
                    f"{store.path / name} is damaged, and cannot be written again as it was, on this machine and with "
                    "these versions: sweep into a new store"
                )
            (store.path / name).parent.mkdir(parents=True, exist_ok=True)
            made.replace(store.path / name)


@contextlib.contextmanager
def _draft_beside(path: Path) -> Iterator[Path]:
    """Give a place for a draft beside a store that is begun; who was killed there before is cleared away."""
    _remove_dead_drafts(path)
    room = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    room.mkdir()
    try:
        with _lock_draft(room):
            yield room / "draft"
    finally:
        _remove(room)


def _remove(room: Path) -> None:
    """Take a draft away; after a failed write zarr's other writes may still be under way for a moment."""
    for _ in range(REMOVALS):
        shutil.rmtree(room, ignore_errors=True)
        if not room.exists():
            return
        time.sleep(0.05)


def _lock_draft(room: Path) -> Any:
    """Hold what only a living process holds, or complain at once that another does."""
    from filelock import FileLock

    return FileLock(room / "alive").acquire(timeout=0)


def _remove_dead_drafts(path: Path) -> None:
    """Clear away the drafts of those who were killed while they began this very store, and of nobody else.

    A draft holds the lock of who makes it, the store that is made, and nothing else; or nothing at all.
    """
    from filelock import Timeout

    ours = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{32}}{re.escape(DRAFT)}")
    for room in path.parent.iterdir():
        if not ours.fullmatch(room.name) or room.is_symlink() or not room.is_dir():
            continue
        with contextlib.suppress(Timeout, FileNotFoundError):
            held = {each.name for each in room.iterdir()}
            if not held:
                with contextlib.suppress(OSError):  # somebody has begun just now
                    room.rmdir()
            elif held <= {"alive", "draft"} and (room / "alive").is_file() and not (room / "alive").is_symlink():
                with _lock_draft(room):
                    shutil.rmtree(room, ignore_errors=True)


def _publish(draft: Path, path: Path) -> None:
    try:
        os.rename(draft, path)
    except OSError:
        if is_store(path):
            raise BlockingIOError(f"{path} was begun by another process just now: wait for it, then go on") from None
        raise


def _find_program() -> str:
    """Return the script that this process runs, if it runs one."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.abspath(script) if script else ""


def _write_arrays(
    draft: Path, skeleton: xr.Dataset, lead: Sequence[str], tiling: Tiling, fields: Mapping[str, Field]
) -> dict[str, list[int]]:
    """Write what is known before any block, and say how each array is cut along its own dimensions.

    Zarr writes it into memory: on the disk each of its many small files, some of them twice, is a turn of two threads.
    """
    zarr = import_zarr()
    held: dict[str, Any] = {}
    memory = zarr.storage.MemoryStore(held)
    # Zarr 3 has a settled form for texts of any length, not for numpy's of one length
    texts = {
        n: (v.dims, v.values.astype(object), v.attrs) for n, v in skeleton.variables.items() if v.dtype.kind == "U"
    }
    plain = skeleton.assign({n: v for n, v in texts.items() if n in skeleton.data_vars})
    plain = plain.assign_coords({n: v for n, v in texts.items() if n in skeleton.coords})
    plain.to_zarr(memory, mode="w-", zarr_format=3, consolidated=False)
    group = zarr.open_group(memory, mode="r+")
    chunks = {name: _create_array(group, name, field, lead, tiling) for name, field in fields.items()}
    with process_state(), warnings.catch_warnings():
        # a reader that does not know the group's index looks at each array instead
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(memory)
    for name, content in held.items():
        file, made = draft / name, content.to_bytes()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(mark_group(made, complete=False) if name == "zarr.json" else made)
    return chunks


def _create_array(group: Any, name: str, field: Field, lead: Sequence[str], tiling: Tiling) -> list[int]:
    from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec

    dtype = np.dtype(field.dtype)
    tail = list(field.shape)
    bytes_of_block = math.prod(tiling.block) * math.prod(tail) * dtype.itemsize
    if tail and bytes_of_block > CHUNK_BYTES:
        tail[0] = max(1, tail[0] * CHUNK_BYTES // bytes_of_block)
    # measured on paths and summaries: smaller than zstd on shuffled bits, and four times as fast
    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=dtype.itemsize)
    group.create_array(
        name,
        shape=(*tiling.shape, *field.shape),
        chunks=(*tiling.block, *tail),
        dtype=dtype,
        filters=[TransposeCodec(order=_order_steps_first(len(tiling.shape), len(tail)))] if tail else [],
        compressors=[blosc, Crc32cCodec()],  # the sum over what blosc made: a flipped bit is told on reading
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=(*lead, *field.dims),
        attributes=dict(field.attrs),
    )
    return tail


def _order_steps_first(lead: int, tail: int) -> tuple[int, ...]:
    """Return the order of a chunk's numbers: that of an engine's memory, which needs no copy."""
    return (*range(lead, lead + tail), *range(lead))


def _files_in(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())
