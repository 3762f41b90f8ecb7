"""Rows: what a sweep costs that is kept on disk, and what it takes to read one run of it."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

import ravine
from loops import MSE
from sweeps import MOMENTA
from turns import Goal, Row


def sweep_into_a_store(keep: Literal["path", "summary"], goal: Goal, *, written: bool = False) -> Row:
    """The cost of a sweep that is written to disk against that of one in memory, which xarray may then write too."""
    rates = np.geomspace(1e-3, 1, 600)

    def kept() -> xr.Dataset:
        return ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep)

    def kept_and_written() -> None:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr's, of text that has no specification: ravine writes it otherwise
            kept().to_zarr(Path(folder, "runs.zarr"))

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep, store=Path(folder, "runs.zarr"))

    def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = ravine.sweep(MSE, lr=rates, momentum=MOMENTA, keep=keep, store=Path(folder, "runs.zarr"))
            xr.testing.assert_equal(found.load(), kept())  # how many whole runs were compared may differ

    name = f"store-{keep}{'-beside-xarray' * written}"
    return Row(name, stored, kept_and_written if written else kept, goal, check, turns=5)


def one_run_of_a_store() -> Row:
    """The cost of opening a store and reading one of its runs against that of reading all of it."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "runs.zarr")

    def one() -> xr.Dataset:
        assert folder  # it goes away with this function
        return ravine.at(ravine.open(path), lr=0.1, momentum=0.5).load()

    def whole() -> xr.Dataset:
        return ravine.open(path).load()

    def check() -> None:
        ravine.sweep(MSE, lr=np.geomspace(1e-3, 1, 601), momentum=MOMENTA, store=path)
        xr.testing.assert_identical(one(), ravine.at(whole(), lr=0.1, momentum=0.5))

    return Row("store-one-run", one, whole, Goal("one / all"), check, turns=5)
