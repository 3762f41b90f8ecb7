"""Names and notes of users are data: files bring back whatever they are called, and whatever was noted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import netcdf_file

import ravine

NAMES = [
    "θ",
    "学",
    "ä",
    "a/b",
    "double",
    "x ",
    " x",
    "a\nb",
    "$w_$",
    "name_0",
    "_x",
    "9",
    "0.weight[3,0]",
    "\U0001d6fc",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back(name, tmp_path):
    problem = ravine.Problem(lambda p: p[name] ** 2 + p["η"] ** 2, start={name: 1.0, "η": 1.0})
    run = ravine.descend(problem, lr=0.1, steps=3)
    land = ravine.surface(problem, {name: (-1, 1), "η": (-1, 1)}, points=3, slope=True)
    whole = run.assign(surface=land.surface, slope=land.slope)
    again = ravine.open(ravine.save(whole, tmp_path / "study.nc"))
    assert again.identical(whole)
    assert again.surface.dims == ("η", name)
    with netcdf_file(tmp_path / "study.nc", mmap=False) as plain:  # any other reader opens it too
        assert all(key.isascii() for key in plain.variables)


def test_labels_and_long_names_come_back(tmp_path):
    bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    runs = ravine.join({"größer λ": ravine.descend(bowl, lr=0.1), "学 $5": ravine.descend(bowl, lr=0.2)})
    runs.loss.attrs["long_name"] = "Verlust (λ) in $"
    assert ravine.open(ravine.save(runs, tmp_path / "runs.nc")).identical(runs)


NOTES = {
    "tags": ["a", "b"],
    "flag": np.True_,
    "yes": True,
    "nothing": None,
    "nested": {"k": (1, 2.5, [True, {"λ": None}])},
    "large": 2**40,
    "small": -3,
    "text": "λ°",
    "empty": "",
    "number": 0.1,
    "single": np.float32(0.1),
    "numbers": np.arange(3),
    "words": np.array(["a", "λ"]),
    "unknown": float("nan"),
    "without end": float("inf"),
    "naïve λ": "x",
    "no items": [],
}


@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("of", ["study", "loss", "lr"])
def test_notes_come_back_as_they_were(note, of, tmp_path):
    run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.1, steps=2)
    (run if of == "study" else run[of]).attrs[note] = NOTES[note]
    again = ravine.open(ravine.save(run, tmp_path / "run.nc"))
    found = (again if of == "study" else again[of]).attrs
    assert type(found[note]) is type(NOTES[note])
    assert repr(found[note]) == repr(NOTES[note])
    kept = set((run if of == "study" else run[of]).attrs)
    assert set(found) == kept  # nothing of the file's own is left


@pytest.mark.parametrize(
    "note", [object(), np.datetime64("2020-01-01"), 1j, {1: 2}, torch.ones(2), {"a"}], ids=lambda n: type(n).__name__
)
def test_notes_that_no_file_holds_are_named(note, tmp_path):
    run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.1, steps=2)
    with pytest.raises(ValueError, match="the attribute 'mine' of loss is a") as caught:
        ravine.save(run.assign(loss=run.loss.assign_attrs(mine=note)), tmp_path / "run.nc")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
