"""Creating a store without a block in it, there whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine._store.ledger import DRAFT, Tiling, write_record
from ravine._store.store import FORMAT, HIDDEN, Field, Store, full, is_store
from ravine._study.provenance import digest

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
    if isinstance(path, StorePath) and path.fresh and is_store(path):
        with Store(path).writing():
            pass
        shutil.rmtree(path)


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
    path, typed = Path(path), path.typed if isinstance(path, StorePath) else None
    with full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _aside(path) as draft:
            _write_arrays(draft, skeleton, lead, tiling, fields)
            files = {str(each.relative_to(draft)): digest(each.read_bytes()) for each in _files(draft)}
            manifest = {
                "format": FORMAT,
                "identity": dict(identity),
                "lead": list(lead),
                "shape": list(tiling.shape),
                "block": list(tiling.block),
                "fields": {name: asdict(field) for name, field in fields.items()},
                "dtypes": {str(name): v.dtype.str for name, v in skeleton.variables.items()},
                "problems": list(problems),
                "files": files,
                "typed": typed,
                "program": _program(),
                "folder": os.getcwd(),
            }
            (draft / HIDDEN / "ledger").mkdir(parents=True)
            write_record(draft / HIDDEN / "plan.json", manifest)
            _publish(draft, path)
    return Store(path)


def repair_files(store: Store, skeleton: xr.Dataset) -> None:
    """Write again what was there before any block, where it is damaged; the blocks are not touched.

    Raises
    ------
    ValueError
        If it does not come out as it was.
    """
    damaged = store.damaged()
    if not damaged:
        return
    with full(store.path), _aside(store.path) as draft:
        _write_arrays(draft, skeleton, store.manifest["lead"], store.tiling, store.fields)
        for name in damaged:
            made = draft / name
            if not made.exists() or digest(made.read_bytes()) != store.manifest["files"][name]:
                raise ValueError(
                    f"{store.path / name} is damaged, and cannot be written again as it was, on this machine and with "
                    "these versions: sweep into a new store"
                )
            (store.path / name).parent.mkdir(parents=True, exist_ok=True)
            made.replace(store.path / name)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Give a place for a draft beside a store that is begun; who was killed there before is cleared away."""
    _clear(path)
    room = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    room.mkdir()
    try:
        with _alive(room):
            yield room / "draft"
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _alive(room: Path) -> Any:
    """Hold what only a living process holds, or complain at once that another does."""
    from filelock import FileLock

    return FileLock(room / "alive").acquire(timeout=0)


def _clear(path: Path) -> None:
    """Clear away the drafts of those who were killed while they began this very store, and of nobody else."""
    from filelock import Timeout

    ours = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{32}}{re.escape(DRAFT)}")
    for room in path.parent.iterdir():
        if ours.fullmatch(room.name) and room.is_dir():
            with contextlib.suppress(Timeout, FileNotFoundError), _alive(room):
                shutil.rmtree(room, ignore_errors=True)


def _publish(draft: Path, path: Path) -> None:
    try:
        os.rename(draft, path)
    except OSError:
        if is_store(path):
            raise BlockingIOError(f"{path} was begun by another process just now: wait for it, then go on") from None
        raise


def _program() -> str:
    """Return the script that this process runs, if it runs one."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.abspath(script) if script else ""


def _write_arrays(
    draft: Path, skeleton: xr.Dataset, lead: Sequence[str], tiling: Tiling, fields: Mapping[str, Field]
) -> None:
    import zarr

    # Zarr 3 has a settled form for texts of any length, not for numpy's of one length
    texts = {
        n: (v.dims, v.values.astype(object), v.attrs) for n, v in skeleton.variables.items() if v.dtype.kind == "U"
    }
    plain = skeleton.assign({n: v for n, v in texts.items() if n in skeleton.data_vars})
    plain = plain.assign_coords({n: v for n, v in texts.items() if n in skeleton.coords})
    plain.to_zarr(draft, mode="w-", zarr_format=3, consolidated=False)
    group = zarr.open_group(str(draft), mode="r+")
    for name, field in fields.items():
        _create(group, name, field, lead, tiling)
    with warnings.catch_warnings():
        # a reader that does not know the group's index looks at each array instead
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(str(draft))


def _create(group: Any, name: str, field: Field, lead: Sequence[str], tiling: Tiling) -> None:
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
        filters=[TransposeCodec(order=_steps_first(len(tiling.shape), len(tail)))] if tail else [],
        compressors=[blosc, Crc32cCodec()],  # the sum over what blosc made: a flipped bit is told on reading
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=(*lead, *field.dims),
        attributes=dict(field.attrs),
    )


def _steps_first(lead: int, tail: int) -> tuple[int, ...]:
    """Return the order of a chunk's numbers: that of an engine's memory, which needs no copy."""
    return (*range(lead, lead + tail), *range(lead))


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())
