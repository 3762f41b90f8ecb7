"""Surfaces over planes in a store, and by workers: killed and gone on with, in the bits of one process."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import killed_surface
import processes
import ravine
from ravine._store.store import Store
from ravine.cli import app


@pytest.fixture(scope="module")
def expected():
    return killed_surface.made()


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_surface_goes_on(tmp_path, expected, kills):
    path, seed = tmp_path / "land.zarr", str(int.from_bytes(os.urandom(4), "big"))
    print(f"seed {seed}")
    told = json.loads(processes.run(Path(killed_surface.__file__), path, kills, seed, check=True, seconds=300).out)
    assert told["killed"] <= kills
    made = [row for rows in told["rows"] for row in rows]
    assert len(made) - len(set(made)) <= told["killed"]  # at each kill one row was at work
    assert set(made) == set(range(killed_surface.POINTS))
    store = Store(path)
    assert sorted(store.records()) == list(range(killed_surface.POINTS))
    found = ravine.open(path).load()
    assert found.surface.values.tolist() == expected.surface.values.tolist()
    assert found.surface.attrs["plane"] == expected.surface.attrs["plane"]
    assert ravine.verify(path) == []


def test_what_is_there_is_not_evaluated_again(tmp_path, expected, monkeypatch):
    path, written = tmp_path / "land.zarr", []
    write = Store.write

    def stopping(self, block, *more):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(block)
        write(self, block, *more)

    monkeypatch.setattr(Store, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        killed_surface.made(path)
    with pytest.warns(UserWarning, match="36 of 81 points are in"):
        half = ravine.open(path)
    assert int(np.isfinite(half.surface).sum()) == 4 * killed_surface.POINTS
    monkeypatch.setattr(Store, "write", lambda self, block, *more: (written.append(block), write(self, block, *more)))
    whole = killed_surface.made(path)
    assert sorted(written) == list(range(killed_surface.POINTS))
    assert whole.surface.identical(killed_surface.made(path).surface)
    assert whole.surface.values.tolist() == expected.surface.values.tolist()
    assert whole.squares.values == pytest.approx(expected.squares.values)
    assert len(written) == killed_surface.POINTS  # the third call evaluated nothing that is kept
    assert ravine.plot.surface(whole) is not None
    told = CliRunner().invoke(app, ["verify", str(path)]).output
    assert told == f"{path}: all 81 points are there, every bit as it was written\n"
    refused = CliRunner().invoke(app, ["resume", str(path)])
    assert "holds a surface and was begun from Python, not by ravine sweep: the same call" in refused.output


def test_workers_give_the_same_bits(tmp_path, expected):
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        alone = killed_surface.made(executor=pool)
        stored = killed_surface.made(tmp_path / "land.zarr", executor=pool)
        fast = killed_surface.made(points=13, accuracy="fast", executor=pool)
    for found in (alone, stored):
        assert found.surface.values.tolist() == expected.surface.values.tolist()
    assert fast.surface.values.tolist() == killed_surface.made(points=13, accuracy="fast").surface.values.tolist()


def test_on_the_four_problems(case, tmp_path):
    run = ravine.descend(case.problem, lr=case.lr, steps=4)
    plane = ravine.Plane.pca(run)
    plain = ravine.surface(case.problem, plane=plane, points=4)
    stored = ravine.surface(case.problem, plane=plane, points=4, store=tmp_path / "land.zarr")
    assert stored.surface.values.tolist() == plain.surface.values.tolist()
    assert stored.squares.values.tolist() == plain.squares.values.tolist()
    assert stored.surface.dims == plain.surface.dims
    assert set(stored.coords) == set(plain.coords)


def test_a_loss_that_draws_random_numbers(tmp_path):
    problem = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] * torch.rand(()), {"x": 1.0, "y": 1.0})
    plane = ravine.Plane.through(*({"x": x, "y": y} for x, y in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))))
    with pytest.warns(UserWarning, match="draws random numbers"):
        plain = ravine.surface(problem, plane=plane, points=3)
    with pytest.warns(UserWarning, match="draws random numbers"):
        stored = ravine.surface(problem, plane=plane, points=3, store=tmp_path / "land.zarr")
    assert stored.surface.values.tolist() == plain.surface.values.tolist()


def test_another_surface_is_refused(tmp_path):
    path = tmp_path / "land.zarr"
    killed_surface.made(path)
    with pytest.raises(ValueError, match="holds something else than this surface: plane differ"):
        killed_surface.made(path, seed=1)
    with pytest.raises(ValueError, match="axis random 1, axis random 2 differ"):
        killed_surface.made(path, points=5)
    with pytest.raises(ValueError, match="holds another surface: row . came out otherwise"):
        killed_surface.made(path, targets=torch.ones(20, 1))
    swept = tmp_path / "sweep.zarr"
    ravine.sweep(ravine.gallery.quadratic(), lr=[0.1, 0.2], steps=2, store=swept)
    with pytest.raises(ValueError, match="holds something else than this surface"):
        killed_surface.made(swept)
    with pytest.raises(ValueError, match="store is for surfaces over a plane="):
        ravine.surface(ravine.gallery.rosenbrock(), store=tmp_path / "other.zarr")
    with pytest.raises(ValueError, match="takes one problem, without slope"):
        killed_surface.made(tmp_path / "other.zarr", slope=True)
