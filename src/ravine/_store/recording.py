"""A recording on disk: a folder that grows by one snapshot at a time, and is whole at any instant.

A snapshot's numbers are one row of ``position.bin``, and where the model has buffers one of ``buffers.bin``; that they
are there is said by an entry of ``entries.bin``, which is only ever appended to. The row is written first, then the
entry: a process may be killed at any instant, and every row that an entry speaks of is whole. Before a row is written
over, an entry says that it no longer holds anything. ``recording.json`` says what the numbers are.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.contract import CONTRACT, check
from ravine._study.counted import COUNTED, name_steps
from ravine._study.labels import Shapes, label_variable, size_of
from ravine._system import check_fits, write_text

ABOUT, END, FORMAT = "recording.json", "end.json", 1
"""What is said when a recording begins and when it ends, and the form that it has."""

POSITION, BUFFERS, ENTRIES = "position.bin", "buffers.bin", "entries.bin"

NOTHING = -1
"""The step of a row that holds nothing."""

MOVED = 1 << 18
"""Bytes of rows that are moved at once: what is read is written while it is in the cache."""


@dataclass(frozen=True)
class About:
    """What the numbers of a recording are.

    `shapes` are those of the parameters in their order, `buffers` those of the buffers; `layers` are the names along
    which the ratios of updates are told, `moving` the settings that are read at each snapshot; `coords` are the
    settings of the optimizer and `facts` what the provenance says; `planned` are those of both where a scheduler moves
    the lr: as it was given, and not as the first step had it. Where there are no `positions` the entries are all.
    """

    shapes: Shapes
    dtype: str
    buffers: Shapes = field(default_factory=dict)
    layers: Sequence[str] = ()
    moving: Sequence[str] = ()
    coords: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    positions: bool = True
    planned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> np.dtype[Any]:
        """The form of one entry."""
        return np.dtype(
            [
                ("row", "<i8"),
                ("step", "<i8"),
                ("batch_loss", "<f8"),
                ("settings", "<f8", (len(self.moving),)),
                ("ratios", "<f8", (len(self.layers),)),
                ("check", "<u4"),
            ]
        )

    @property
    def width(self) -> int:
        """Bytes of one row of positions."""
        return size_of(self.shapes) * np.dtype(self.dtype).itemsize if self.positions else 0

    @property
    def of_rows(self) -> tuple[str, ...]:
        """The files that hold a row for each snapshot."""
        return (POSITION,) * self.positions + (BUFFERS,) * bool(self.buffers)

    def save(self, folder: Path) -> None:
        """Write it beside the numbers."""
        write_text(json.dumps({"format": FORMAT, **vars(self)}), folder / ABOUT, alone=True)

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read it; a ValueError says what is wrong with it."""
        try:
            told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            known = told.pop("format")
        except (OSError, ValueError, KeyError, AttributeError) as reason:
            raise ValueError(f"{folder} is no recording that can be read: {reason}") from None
        if known != FORMAT:
            raise ValueError(f"{folder} is a recording of format {known}; this ravine reads {FORMAT}")
        return cls(**told)


class Writer:
    """The rows of a recording that is being made; an OSError leaves what was written before as it was."""

    def __init__(self, folder: Path, about: About) -> None:
        self.folder, self.about, self.form = folder, about, about.entry
        about.save(folder)
        self.files = {name: io.FileIO(folder / name, "w+") for name in (ENTRIES, *about.of_rows)}
        self.entered = 0
        """Entries that were written."""
        self.steps: list[int] = []
        self.kept: list[NDArray[Any]] = []
        """The entry of each row."""
        self.told: set[int] = set()
        """Rows of which the last entry says that they hold something."""

    @property
    def size(self) -> int:
        """Bytes of the snapshots that were written, and of what is said of them."""
        return self.entered * self.form.itemsize + len(self.steps) * sum(map(self._width, self.about.of_rows))

    def add(
        self,
        step: int,
        position: NDArray[Any],
        buffers: NDArray[Any] | None,
        settings: Sequence[float],
        batch_loss: float = np.nan,
        ratios: Sequence[float] | None = None,
    ) -> None:
        """Write one snapshot behind the others."""
        row = len(self.steps)
        if row in self.told:  # an interrupt came in between
            self._enter([row])
        for name, values in ((POSITION, position), (BUFFERS, buffers)):
            if name in self.files and values is not None:
                self._put(name, row * self._width(name), values)
        entry = np.zeros((), self.form)
        entry["step"], entry["batch_loss"] = step, batch_loss
        entry["settings"], entry["ratios"] = settings, np.nan if ratios is None else ratios
        self._enter([row], [entry])
        self.steps.append(step)
        self.kept.append(entry)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all snapshots but these, which are given in ascending order, and move those behind one another.

        As many are moved at once as lie behind their new places: what is written over is not needed any more.
        """
        new, most = 0, max(1, MOVED // max(1, self.about.width))
        room = np.empty(0, np.uint8)
        while new < len(rows):
            end = min(len(rows), rows[new], new + most)
            if rows[new] > new:
                room = self._move(rows[new:end], new, room)
            new = max(end, new + 1)
        self._enter(range(len(rows), len(self.steps)))
        del self.steps[len(rows) :], self.kept[len(rows) :]

    def _move(self, rows: Sequence[int], to: int, room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Move rows that lie behind where they go to, so that each is whole in one of its places at any instant.

        They are read into `room`, which is returned, larger where it was too small.
        """
        places = range(to, to + len(rows))
        self._enter(places)
        for name in self.about.of_rows:
            width, count = self._width(name), rows[-1] + 1 - rows[0]
            if len(room) < count * width:
                room = np.empty(count * width, np.uint8)
            held = self._read(name, rows[0], room[: count * width]).reshape(-1, width)
            self._put(name, to * width, held if count == len(rows) else held[np.subtract(rows, rows[0])])
        self._enter(places, [self.kept[row] for row in rows])
        self.steps[to : places.stop] = [self.steps[row] for row in rows]
        self.kept[to : places.stop] = [self.kept[row] for row in rows]
        return room

    def end(self, facts: Mapping[str, Any]) -> None:
        """Say what is known at the end, and give back the room that nothing lies in."""
        for name in self.about.of_rows:
            self.files[name].truncate(len(self.steps) * self._width(name))
        write_text(json.dumps(dict(facts)), self.folder / END, alone=True)

    def close(self) -> None:
        """Close the files."""
        for each in self.files.values():
            each.close()

    def _width(self, name: str) -> int:
        return self.about.width if name == POSITION else size_of(self.about.buffers) * 8

    def _read(self, name: str, row: int, held: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read as many bytes as are asked for, from a row on."""
        width, file = self._width(name), self.files[name]
        file.seek(row * width)
        into = held.data
        while len(into):
            got = file.readinto(into)
            if not got:
                raise OSError(f"{self.folder / name} ends before row {row + len(held) // width}")
            into = into[got:]
        return held

    def _enter(self, rows: Sequence[int], entries: Sequence[NDArray[Any]] | None = None) -> None:
        """Say what rows hold from now on: nothing where no entries are given."""
        said = np.zeros(len(rows), self.form)
        if entries is None:
            said["step"] = NOTHING
        else:
            said[:] = entries
            self.told.update(rows)  # before: an interrupt may come as soon as it is written
        said["row"], said["check"] = rows, 0
        said["check"] = [zlib.crc32(each.tobytes()) for each in said]
        self._put(ENTRIES, self.entered * said.itemsize, said)
        self.entered += len(said)
        if entries is None:
            self.told.difference_update(rows)

    def _put(self, name: str, where: int, values: NDArray[Any]) -> None:
        file = self.files[name]
        file.seek(where)
        left = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        while len(left):  # a disk that fills up takes a part of it first
            left = left[file.write(left) :]


def is_recording(folder: Path) -> bool:
    """Tell whether a recording was begun in a folder."""
    return (folder / ABOUT).is_file()


def read_entries(folder: Path, about: About) -> NDArray[Any]:
    """Return the entry of each snapshot that is whole, in the order of the steps."""
    form = about.entry
    held = (folder / ENTRIES).read_bytes()
    last: dict[int, NDArray[Any]] = {}
    for entry in np.frombuffer(held, form, len(held) // form.itemsize):
        bare = entry.copy()
        bare["check"] = 0
        if zlib.crc32(bare.tobytes()) == entry["check"]:
            last[int(entry["row"])] = entry
    by_step = {int(each["step"]): each for _, each in sorted(last.items(), reverse=True)}
    return np.array([by_step[step] for step in sorted(by_step) if step != NOTHING], form)


def open_recording(folder: Path) -> xr.Dataset:
    """Open a recording, finished or killed: its positions are mapped into memory and read when they are looked at.

    Raises
    ------
    ValueError
        If it holds no whole snapshot, or cannot be read.
    """
    about = About.read(folder)
    entries = read_entries(folder, about)
    if not len(entries):
        raise ValueError(f"{folder} holds no whole snapshot: it was killed, or its disk was full, before the first one")
    try:
        end = json.loads((folder / END).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        end = {"stopped": "its process ended before the recording did"}
    rates = {name: entries["settings"][:, k] for k, name in enumerate(about.moving)}
    moving = {
        n
        for n, values in rates.items()
        if n in end.get("moved", ()) or ((values != values[0]) & np.isfinite(values)).any()
    }
    planned = about.planned if "lr" in {*moving, *end.get("moved", ())} else {}
    told = json.dumps({**about.facts, **planned.get("facts", {}), **end})

    def variable(name: str, dims: Sequence[str], values: NDArray[Any]) -> xr.Variable:
        entry = CONTRACT.get(name)
        said = entry.long_name if entry else f"{name.removeprefix('scheduled_')} at position[step]"
        return xr.Variable(dims, values, {"long_name": said, "provenance": told})

    data: dict[str, xr.Variable] = {}
    unit = COUNTED.get(str(about.facts.get("counted")), "step")
    steps = ("step", entries["step"], name_steps(unit))
    coords: dict[str, Any] = {**planned.get("coords", about.coords), "step": steps}
    if about.positions:
        position = _rows(folder / POSITION, entries["row"], size_of(about.shapes), np.dtype(about.dtype))
        data["position"] = variable("position", ("step", "parameter"), position)
        coords["parameter"] = label_variable("parameter", about.shapes)
    if np.isfinite(entries["batch_loss"]).any() or "loss_dtype" in end:
        losses = entries["batch_loss"].astype(end.get("loss_dtype", about.dtype))
        data["batch_loss"] = variable("batch_loss", ("step",), losses)
    for name in about.moving:
        if (
            name in moving and np.isfinite(rates[name]).all()
        ):  # else groups differ in it: no one number is that of a step
            data[f"scheduled_{name}"] = variable(f"scheduled_{name}", ("step",), rates[name])
    if about.buffers:
        held = _rows(folder / BUFFERS, entries["row"], size_of(about.buffers), np.dtype("<f8"))
        data["buffers"] = variable("buffers", ("step", "buffer"), held)
        coords["buffer"] = label_variable("buffer", about.buffers)
    if about.layers:
        data["update_ratio"] = variable("update_ratio", ("step", "layer"), entries["ratios"])
        coords["layer"] = np.array(about.layers)
    return check(xr.Dataset(data, coords))


def _rows(path: Path, rows: NDArray[np.int64], size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map rows of a file into memory; where a kill left them in another order they are read."""
    count = int(rows.max()) + 1
    if path.stat().st_size < count * size * dtype.itemsize:
        raise ValueError(f"{path} is cut off: it ends before row {listed([count - 1])}")
    mapped = np.memmap(path, dtype, "r", shape=(count, size))
    if np.array_equal(rows, np.arange(count)):
        return mapped
    check_fits("the recording was killed while it moved its rows; in order they take", len(rows) * mapped[0].nbytes, "")
    return np.asarray(mapped[rows])
