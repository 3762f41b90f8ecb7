"""What of a store may be believed: names that stay inside, arrays that run nothing, no links, and who made the plan."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import math
import os
import platform
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

CODECS = frozenset({"blosc", "bytes", "crc32c", "transpose", "vlen-utf8", "zstd"})
"""How ravine has zarr write numbers and texts; others may run code (pickle) when they are read."""

MOST_BLOCKS = 10_000_000
"""Blocks beyond which a plan is none of ravine's: a billion runs are some hundred thousand."""

HIDDEN = ".ravine"

_WINDOWS = platform.system() == "Windows"


def check_manifest(facts: Mapping[str, Any]) -> None:
    """Complain of a plan that ravine cannot have written.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    try:
        _check_tiling(facts)
        _check_fields(facts["fields"])
        for name, sum in facts["files"].items():
            _need(is_inside(name), f"it names {name!r}, which is no file of a store")
            _need(isinstance(sum, str), f"the digest of {name!r} is {sum!r}")
        for name, parts in facts.get("chunks", {}).items():
            sound = all(type(n) is int and n >= 1 for n in parts) and len(parts) == len(facts["fields"][name]["shape"])
            _need(sound, f"the chunks of {name!r} are {parts!r}")
        _need(all(is_inside(name) for name in facts.get("marked", {})), "it marks what is no file of a store")
        for name, each in facts["dtypes"].items():
            _need(np.dtype(each).kind in "biufU", f"the dtype of {name!r} is {each!r}")
        _need(all(isinstance(each, str) for each in facts["identity"].values()), "its identity is not in words")
        _need(
            facts["identity"]["steps"].isdecimal() and len(facts["identity"]["steps"]) < 16, "its steps are no number"
        )
        _need(facts["problems"] and all(isinstance(each, str) for each in facts["problems"]), "its problems are none")
        counts = [math.prod(facts["shape"][:k]) for k in range(len(facts["shape"]) + 1)]
        _need(len(facts["problems"]) in counts, "its problems are not along its first dimensions")
        _need(facts["typed"] is None or isinstance(facts["typed"], dict), "what was typed is not in words")
        _need(isinstance(facts["folder"], str) and isinstance(facts["program"], str), "its folder is no name")
    except (KeyError, TypeError, AttributeError) as reason:
        raise ValueError(f"it lacks what a plan has ({type(reason).__name__}: {reason})") from None


def _need(holds: Any, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_tiling(facts: Mapping[str, Any]) -> None:
    lead, shape, block = (facts[name] for name in ("lead", "shape", "block"))
    _need(all(isinstance(name, str) for name in lead), f"its dimensions are {lead!r}")
    _need(len(lead) == len(shape) == len(block), f"its shape is {shape!r}, in blocks of {block!r}, over {lead!r}")
    sound = all(type(n) is int and type(part) is int and 1 <= part <= n for n, part in zip(shape, block, strict=True))
    _need(sound, f"its shape is {shape!r}, in blocks of {block!r}")
    count = math.prod(-(-n // part) for n, part in zip(shape, block, strict=True))
    _need(count <= MOST_BLOCKS, f"it has {count:,} blocks")


def _check_fields(fields: Mapping[str, Any]) -> None:
    _need(len(fields) > 0, "it names no array")
    for name, field in fields.items():
        _need(is_inside(name) and "/" not in name, f"it names an array {name!r}")
        _need(len(field["dims"]) == len(field["shape"]), f"the dimensions of {name!r} are {field['dims']!r}")
        _need(all(type(n) is int and n >= 0 for n in field["shape"]), f"the shape of {name!r} is {field['shape']!r}")
        _need(np.dtype(field["dtype"]).kind in "biuf", f"the dtype of {name!r} is {field['dtype']!r}")
        _need(isinstance(json.loads(field["attrs"]["provenance"]), dict), f"the provenance of {name!r} is none")


def is_inside(name: Any) -> bool:
    r"""Tell whether a name is that of a file inside a store, beside what ravine keeps for itself there.

    Examples
    --------
    >>> [is_inside(each) for each in ("lr/c/0", "../../payload", "/etc/passwd", "a/./b", ".ravine/lock", "C:\\x", "")]
    [True, False, False, False, False, False, False]
    """
    if not isinstance(name, str) or "\\" in name or ":" in name or "\0" in name:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and parts[0] != HIDDEN


def check_arrays(store: Path, *names: str) -> None:
    """Complain of arrays (these, or all and the group's index) that zarr would read by other means than ravine's.

    Raises
    ------
    ValueError
        With the file and what is wrong.
    """
    for file in [store / name / "zarr.json" for name in names] or [store / "zarr.json", *store.glob("*/zarr.json")]:
        try:
            held = json.loads(file.read_bytes())
            gathered = (held.get("consolidated_metadata") or {}).get("metadata", {})
            for name, each in [(file.parent.name, held), *gathered.items()]:
                _check_array(name, each)
        except OSError:
            continue  # that it is gone is told by who looks at the plan's digests
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as reason:
            raise ValueError(f"{file} does not describe what ravine writes: {reason}") from None


def _check_array(name: str, facts: Mapping[str, Any]) -> None:
    _need(facts["zarr_format"] == 3, f"{name!r} has format {facts['zarr_format']!r}")
    _need(facts["node_type"] in ("array", "group"), f"{name!r} is a {facts['node_type']!r}")
    if facts["node_type"] == "array":
        for codec in facts["codecs"]:
            _need(codec["name"] in CODECS, f"{name!r} is read by {codec['name']!r}")
        _need(not facts.get("storage_transformers"), f"{name!r} is read by {facts.get('storage_transformers')!r}")
        _need(not facts.get("must_understand"), f"{name!r} asks for more than ravine knows")


def files_inside(folder: Path) -> Iterator[str]:
    """Walk through all files of a store by their names in it; a link is refused, wherever it leads.

    Raises
    ------
    ValueError
        If there is a link.
    """
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.is_symlink():
                    raise ValueError(
                        f"{folder / name} is a link to {os.readlink(entry.path)!r}: links in a store are not followed; "
                        "put there what it leads to, or take it away"
                    )
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                else:
                    yield name


def refuse_links(folder: Path, names: Iterator[str] | list[str]) -> None:
    """Complain of links among some files of a store, and the folders that they lie in.

    Raises
    ------
    ValueError
        If there is one.
    """
    seen = set[Path]()
    for name in names:
        for each in (Path(name), *Path(name).parents):
            if each not in seen and each != Path("."):
                seen.add(each)
                if (folder / each).is_symlink():
                    raise ValueError(f"{folder / each} is a link: links in a store are not followed")


def is_in_store(place: Path) -> bool:
    """Tell whether something lies in a store of any sweep, whatever links lead to it."""
    place = place.resolve()
    return any((each / HIDDEN).is_dir() for each in (place, *place.parents)) or HIDDEN in place.parts


# -- who made the plan -----------------------------------------------------------------------------------------------

SIGNATURE = "signature"
"""File of a store that says, with this user's own key, that the plan was made here."""


def sign(hidden: Path, manifest: Mapping[str, Any]) -> None:
    """Leave in a store this user's signature of its plan; without a place for a key nothing is left."""
    key = _key(make=True)
    if key is not None:
        (hidden / SIGNATURE).write_text(_signature(key, manifest))


def is_signed(hidden: Path, manifest: Mapping[str, Any]) -> bool:
    """Tell whether this user made the plan, on a machine with this user's key."""
    key = _key(make=False)
    try:
        held = (hidden / SIGNATURE).read_text(errors="replace")
    except OSError:
        return False
    return key is not None and hmac.compare_digest(held.encode(), _signature(key, manifest).encode())


def _signature(key: bytes, manifest: Mapping[str, Any]) -> str:
    return hmac.new(key, json.dumps(manifest, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """Return this user's key, which nobody else may read or write."""
    place = config_folder() / "key"
    try:
        if make and not place.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = place.with_name(f"key.{os.getpid()}.{os.urandom(8).hex()}")
            try:
                with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(os.urandom(32))
                if not place.exists():
                    os.replace(draft, place) if _WINDOWS else os.link(draft, place)
            except FileExistsError:  # another process was first
                pass
            finally:
                draft.unlink(missing_ok=True)
        with place.open("rb") as file:
            facts = os.fstat(file.fileno())
            key = file.read(33)
    except OSError:
        return None
    if not _WINDOWS and (facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077):
        return None
    return key if len(key) == 32 else None


def config_folder() -> Path:
    """Return the folder in which this user's settings of ravine lie, by the custom of the system."""
    if _WINDOWS:
        home = os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming"
    elif platform.system() == "Darwin":
        home = Path.home() / "Library" / "Application Support"
    else:
        home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "ravine"


@functools.cache
def import_zarr() -> Any:
    """Import zarr, and leave the choice of multiprocessing's start method open, which numcodecs fixes."""
    import multiprocessing

    chosen: Any = multiprocessing.get_start_method(allow_none=True)
    import zarr
    from numcodecs import Blosc  # type: ignore[import-untyped]

    Blosc(cname="lz4").encode(bytes(64))  # the lock that fixes it is made at the first use
    if chosen is None:
        multiprocessing.set_start_method(None, force=True)
    return zarr
