"""save and open: a study as one netCDF file, which comes back as it went."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine._store.race import is_race, open_race
from ravine._store.read import study_of_store
from ravine._store.recording import is_recording, open_recording
from ravine._store.remote import exists, fetch, local_path, put, url_of
from ravine._store.store import Store
from ravine._study.contract import check
from ravine._system import name_file_in_errors


def save(study: xr.Dataset, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a study to one netCDF file that any netCDF reader opens.

    Parameters
    ----------
    study
        Any dataset that follows the contract.
    path
        Where to write; `.nc` by custom. ``~`` is the home folder, and a URL (``s3://…``, ``memory://…``) is written to
        through fsspec.
    force
        Overwrite an existing file. The old file stays whole until the new one is complete.

    Raises
    ------
    FileExistsError
        If the file exists and `force` is not given.
    IsADirectoryError
        If it is a folder.
    OSError
        If the disk is full, or may not be written to; the message names the file.
    ValueError
        If the name ends in ``.zarr``, which only `ravine.sweep` writes, or a value does not survive the trip (an
        integer beyond 2³¹, say, or an attribute that is no number, text, list or mapping); the message names it.

    Examples
    --------
    >>> import ravine, tempfile
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), steps=3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = ravine.open(ravine.save(run, f"{folder}/run.nc"))
    >>> again.identical(run)
    True
    """
    if (url := url_of(path)) is not None:
        return _save_there(study, url, force=force)
    path = local_path(path)
    if path.suffix.lower() == ".zarr":
        raise ValueError(
            f"a study is saved as one netCDF file, by custom .nc, got {path}: a folder .zarr is written by "
            "ravine.sweep(…, store=…) while it makes the runs"
        )
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a study is saved as one file")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already: choose another name, or force=True to overwrite it")
    check(study)
    attrs = {"": study.attrs, **{str(name): each.attrs for name, each in study.variables.items()}}
    held = {
        name: {k: _told(name, k, v) for k, v in each.items() if not isinstance(v, str)} for name, each in attrs.items()
    }
    portable = _retyped(study, {n: _portable(str(n), v) for n, v in study.variables.items()})
    for name, each in attrs.items():
        kept = {k: v for k, v in each.items() if isinstance(v, str | float | np.floating) and str(k).isascii()}
        kept = {k: v for k, v in kept.items() if not (isinstance(v, str) and "\0" in v)}  # netCDF3 pads with it
        held[name] |= {k: v for k, v in each.items() if k not in kept and isinstance(v, str)}
        (portable if name == "" else portable[name]).attrs = kept  # what other readers can use
    portable.attrs["dtypes"] = json.dumps({str(name): v.dtype.str for name, v in study.variables.items()})
    if any(held.values()):
        portable.attrs["attributes"] = json.dumps({name: each for name, each in held.items() if each})
    plain = _plain_names(portable)
    if plain:
        portable = portable.rename(plain)
        portable.attrs["names"] = json.dumps({new: old for old, new in plain.items()})
    with name_file_in_errors(path):
        _write(portable, path)
    return path


def _write(portable: xr.Dataset, path: Path) -> None:
    """Write beside the target and then rename: a crash half-way leaves the old file, never half a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        portable.to_netcdf(draft, engine="scipy")
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)


def open(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a study: a file that `save` wrote, whole; or a sweep's store, or a recording, read when looked at.

    What several optimizers brought into one folder is read whole. In a store that is not complete, the runs that are
    missing have ``steps_taken`` 0, and a warning says so. Of a training that was killed each whole snapshot that
    `ravine.record` took is there. What lies at a URL is fetched through fsspec and read whole.
    Nothing in a file or a store is executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no study, or a store is damaged.
    """
    if (url := url_of(path)) is not None:
        with fetch(url) as copy:
            return open(copy).load()
    path = local_path(path)
    if path.is_dir():
        if is_race(path):
            return open_race(path)
        if is_recording(path):
            return open_recording(path)
        store = Store(path)
        return study_of_store(store, incomplete=store.remedy)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # from memory: of a file that breaks on the way, neither it nor its map in memory stays open
        with xr.open_dataset(io.BytesIO(path.read_bytes()), engine="scipy") as stored:
            study = stored.load()
    except Exception as reason:  # scipy raises half a dozen kinds for what is no netCDF3
        raise ValueError(f"{path} is no study that ravine can open (netCDF3 expected): {reason}") from reason
    try:
        dtypes = {n: np.dtype(t) for n, t in json.loads(study.attrs.pop("dtypes", "{}")).items()}
        if objects := [n for n, t in dtypes.items() if t.kind not in "biufcUSmM"]:
            raise ValueError(f"{objects[0]!r} is said to hold {dtypes[objects[0]]}")
        study = study.rename(json.loads(study.attrs.pop("names", "{}")))
        study = _retyped(study, dtypes)
        for name, each in json.loads(study.attrs.pop("attributes", "{}")).items():
            where = (study if name == "" else study[name]).attrs
            where.update({k: v if isinstance(v, str) else _value(v) for k, v in each.items()})
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as reason:
        raise ValueError(
            f"{path} is no study that ravine wrote: what is said of its variables cannot be read ({reason})"
        ) from None
    study.encoding.clear()
    for name in study.variables:
        study[name].encoding.clear()
    return check(study)


def _save_there(study: xr.Dataset, url: str, *, force: bool) -> Path:
    """Write a study here, and then to a URL."""
    if not force and exists(url):
        raise FileExistsError(f"{url} exists already: choose another name, or force=True to overwrite it")
    with tempfile.TemporaryDirectory(prefix="ravine-") as folder:
        put(save(study, Path(folder, url.rstrip("/").rpartition("/")[2])), url)
    return Path(url)


def _retyped(study: xr.Dataset, dtypes: Mapping[Hashable, np.dtype[Any]]) -> xr.Dataset:
    """Return a copy with these dtypes; assigning tuples, not arrays, makes xarray build its indexes anew."""
    fresh = {n: (study[n].dims, study[n].values.astype(t), study[n].attrs) for n, t in dtypes.items()}
    return study.assign({n: v for n, v in fresh.items() if n in study.data_vars}).assign_coords(
        {n: v for n, v in fresh.items() if n in study.coords}
    )


def _portable(name: str, variable: xr.Variable) -> np.dtype[Any]:
    """Return the dtype that netCDF3 can hold without loss."""
    dtype: np.dtype[Any] = variable.dtype
    if dtype.kind not in "biufUSmM" and not _is_text(variable):
        raise ValueError(f"{name!r} holds values of dtype {dtype}, which no file holds: make them numbers or texts")
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "iu" and dtype.itemsize > 4:
        if variable.size and (abs(int(variable.min())) >= 2**31 or abs(int(variable.max())) >= 2**31):
            raise ValueError(f"{name!r} holds integers beyond 2³¹, which netCDF3 cannot store: make it a float")
        return np.dtype(np.int32)
    return dtype


def _is_text(variable: xr.Variable) -> bool:
    """Tell whether an array of objects holds nothing but texts."""
    return variable.dtype.kind == "O" and all(isinstance(each, str) for each in variable.values.flat)


def _plain_names(study: xr.Dataset) -> dict[str, str]:
    """Give names that netCDF3 cannot hold, Greek ones say, others that stand for them in the file."""
    names = dict.fromkeys(map(str, [*study.variables, *study.dims]))
    odd = [name for name in names if not PLAIN.fullmatch(name) or name in TYPES]
    free = (each for each in (f"name_{k}" for k in itertools.count()) if each not in names)
    return dict(zip(odd, free, strict=False))


PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\-\[\], ()]*(?<! )")
"""Names that netCDF3 holds."""

TYPES = frozenset(
    {"byte", "char", "short", "ushort", "int", "uint", "int64", "uint64", "float", "real", "double", "bool"}
)
"""Names that netCDF3 keeps for itself."""


def _told(owner: str, name: Any, value: Any) -> Any:
    """Write an attribute as JSON that brings back its very type.

    Raises
    ------
    ValueError
        If it cannot be written so.
    """
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return {"is": value}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufU":
        return {"numpy": value.dtype.str, "values": value.tolist(), "scalar": isinstance(value, np.generic)}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_told(owner, name, each) for each in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _told(owner, name, each) for key, each in value.items()}}
    raise ValueError(
        f"the attribute {name!r} of {owner or 'the study'} is a {type(value).__name__} ({value!r:.60}), which no file "
        "holds: make it a number, a text, a list or a mapping of such, or leave it out"
    )


def _value(told: Any) -> Any:
    if "numpy" in told:
        found = np.array(told["values"], dtype=told["numpy"])
        return found[()] if told["scalar"] else found
    if "list" in told or "tuple" in told:
        inner = [_value(each) for each in told.get("list", told.get("tuple"))]
        return inner if "list" in told else tuple(inner)
    if "dict" in told:
        return {key: _value(each) for key, each in told["dict"].items()}
    return told["is"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
