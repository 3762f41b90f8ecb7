"""Founding: a store without a block in it, there whole or not at all."""

from __future__ import annotations

import math
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine.ledger import DRAFT, digest, write_record
from ravine.store import FORMAT, HIDDEN, Field, Store, full
from ravine.tiling import Tiling

__all__ = ["Place", "begin"]

CHUNK_BYTES = 16_000_000
"""Beyond this the chunks of a block are cut along their steps too."""


@dataclass(frozen=True)
class Place(os.PathLike[str]):
    """Where a store lies, with what was typed to begin it: from that ``ravine resume`` goes on."""

    path: str
    typed: Mapping[str, Any]

    def __fspath__(self) -> str:
        return self.path


def begin(
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
    OSError
        If there is something already, or the disk does not take it.
    """
    path, typed = Path(path), path.typed if isinstance(path, Place) else None
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{DRAFT}")
    with full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob(f"{path.name}.*{DRAFT}"):  # of those who were killed at this very point
            shutil.rmtree(old, ignore_errors=True)
        try:
            _write_arrays(draft, skeleton, lead, tiling, fields)
            (draft / HIDDEN / "ledger").mkdir(parents=True)
            plan = {
                "format": FORMAT,
                "identity": dict(identity),
                "lead": list(lead),
                "shape": list(tiling.shape),
                "block": list(tiling.block),
                "fields": {name: asdict(field) for name, field in fields.items()},
                "dtypes": {str(name): v.dtype.str for name, v in skeleton.variables.items()},
                "problems": list(problems),
                "files": {str(each.relative_to(draft)): digest(each.read_bytes()) for each in _files(draft)},
                "typed": typed,
                "program": os.path.abspath(sys.argv[0]) if sys.argv[0] else "",
                "folder": os.getcwd(),
            }
            write_record(draft / HIDDEN / "plan.json", plan)
            os.rename(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Store(path)


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
    from zarr.codecs import BloscCodec, Crc32cCodec

    dtype = np.dtype(field.dtype)
    tail = list(field.shape)
    bytes_of_block = math.prod(tiling.block) * math.prod(tail) * dtype.itemsize
    if tail and bytes_of_block > CHUNK_BYTES:
        tail[0] = max(1, tail[0] * CHUNK_BYTES // bytes_of_block)
    blosc = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=dtype.itemsize)
    group.create_array(
        name,
        shape=(*tiling.shape, *field.shape),
        chunks=(*tiling.block, *tail),
        dtype=dtype,
        compressors=[blosc, Crc32cCodec()],  # the sum over what blosc made: a flipped bit is told on reading
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=(*lead, *field.dims),
        attributes=dict(field.attrs),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())
