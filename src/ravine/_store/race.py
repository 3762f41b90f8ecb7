"""Several optimizers side by side: what each brings, joined along ``run``; and in a folder, a store for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ravine._format import listed
from ravine._store.ledger import read_record, write_record
from ravine._store.plan import is_store
from ravine._store.read import study_of_store
from ravine._store.store import Store
from ravine._store.trust import refuse_links
from ravine._study.contract import CONTRACT
from ravine._study.select import join

PLAN, FORMAT = "race.json", 1
"""The file that says what lies in a race's folder, and the form that it has."""


@dataclass(frozen=True)
class Part:
    """What one optimizer brings: the settings of its own that are dimensions, and a label for each combination.

    Labels are in the order of the product, the last dimension fastest; ``folder`` is its store in the race's folder.
    """

    folder: str
    dims: tuple[str, ...]
    labels: tuple[str, ...]


def join_parts(parts: Sequence[Part], studies: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack all runs of several sweeps along ``run``."""
    runs: dict[str, xr.Dataset] = {}
    for part, study in zip(parts, studies, strict=True):
        shape = [study.sizes[dim] for dim in part.dims]
        for label, place in zip(part.labels, np.ndindex(*shape), strict=True):
            runs[label] = study.isel(dict(zip(part.dims, place, strict=True)))
    if any("error" in run for run in runs.values()):
        runs = {label: run if "error" in run else _without_error(run) for label, run in runs.items()}
    return join(runs, "run")


def _without_error(run: xr.Dataset) -> xr.Dataset:
    loss = run["loss"].isel(step=0, drop=True) if "loss" in run else run["final_loss"]
    attrs = {"long_name": CONTRACT["error"].long_name}
    return run.assign(error=loss.astype(str).copy(data=np.full(loss.shape, "")).assign_attrs(attrs))


def is_race(path: Path) -> bool:
    """Tell whether a race was begun in a folder."""
    return (path / PLAN).is_file()


def begin_race(path: Path, parts: Sequence[Part]) -> None:
    """Begin a race in a folder, or find that this one was.

    Raises
    ------
    ValueError
        If the folder holds something else: another race, the sweep of one optimizer, or other files.
    """
    if is_race(path):
        held = read_race(path)
        if held != list(parts):
            theirs, ours = (listed([label for part in some for label in part.labels]) for some in (held, parts))
            raise ValueError(
                f"{path} holds another race: its runs were {theirs}, now {ours}. Go on with what it was begun with, or "
                "race into a new folder"
            )
        return
    if is_store(path) or (path.exists() and any(path.iterdir())):
        what = "the sweep of one optimizer" if is_store(path) else "other files"
        raise ValueError(f"{path} holds {what}: race into a new folder")
    path.mkdir(parents=True, exist_ok=True)
    write_record(path / PLAN, {"format": FORMAT, "parts": [asdict(part) for part in parts]})


def read_race(path: Path) -> list[Part]:
    """Read what a race's folder is said to hold.

    Raises
    ------
    ValueError
        If it is damaged, or names what does not lie in the folder.
    """
    refuse_links(path, [PLAN])
    facts = read_record(path / PLAN)
    try:
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}")
        parts = [_part_of(each) for each in facts["parts"]]
    except (KeyError, TypeError, ValueError) as reason:
        raise ValueError(f"{path / PLAN} is no plan of a race that ravine wrote: {reason}") from None
    refuse_links(path, [part.folder for part in parts])
    return parts


def _part_of(facts: Mapping[str, Any]) -> Part:
    part = Part(facts["folder"], tuple(facts["dims"]), tuple(facts["labels"]))
    if not all(isinstance(each, str) for each in (part.folder, *part.dims, *part.labels)):
        raise ValueError("names are words")
    if Path(part.folder).name != part.folder or part.folder in ("", ".", ".."):
        raise ValueError(f"{part.folder!r} does not lie in it")
    return part


def stores_of(path: Path) -> list[Store]:
    """Return the stores of a race that were begun."""
    return [Store(path / part.folder) for part in read_race(path) if is_store(path / part.folder)]


def open_race(path: Path, *, level: int = 4) -> xr.Dataset:
    """Read a race whole.

    Raises
    ------
    ValueError
        If one of its stores was not begun, or is damaged.
    """
    parts = read_race(path)
    missing = [part.labels[0] for part in parts if not is_store(path / part.folder)]
    if missing:
        raise ValueError(f"{path} is not complete: {listed(missing)} was not begun; the same call goes on")
    stores = [Store(path / part.folder) for part in parts]
    return join_parts(parts, [study_of_store(each, incomplete=each.remedy, level=level) for each in stores])
