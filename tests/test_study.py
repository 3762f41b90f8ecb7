"""The contract: what is checked, selected, joined, and that a saved contract is the contract."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import ravine
from ravine._study import contract, provenance
from ravine._study.choose import choose

pytestmark = pytest.mark.quick


def whole(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=6, momentum=0.5, also=("gradient", "velocity"))
    return run.assign(surface=ravine.surface(case.problem, case.axes, points=4).surface)


def test_everything_follows_the_contract(case):
    made = whole(case)
    assert ravine.check(made, "position", "loss", "gradient", "velocity", "surface") is made
    for name in made.data_vars:
        assert made[name].attrs["long_name"], name
        if name not in ("inputs", "targets"):
            assert {"engine", "equals_torch", "torch", "processor"} <= set(provenance.describe(made, name)), name


def test_save_and_open_give_the_very_study(case, tmp_path):
    made = whole(case)
    path = ravine.save(made, tmp_path / "deep" / "study.nc")
    again = ravine.open(path)
    assert again.identical(made)
    assert {n: v.dtype for n, v in again.variables.items()} == {n: v.dtype for n, v in made.variables.items()}
    assert again.attrs == made.attrs
    assert [p.name for p in path.parent.iterdir()] == ["study.nc"]  # no draft is left behind


def test_inf_nan_and_odd_dtypes_survive(tmp_path):
    made = ravine.descend(ravine.gallery.article()["MSELoss"], lr=30.0)
    assert not np.isfinite(made.loss).all()
    with np.errstate(over="ignore"):
        half = made.assign(position=made.position.astype(np.float16), count=("step", np.arange(101, dtype=np.int64)))
    again = ravine.open(ravine.save(half, tmp_path / "half.nc"))
    assert again.identical(half)
    assert (again.position.dtype, again["count"].dtype) == (np.float16, np.int64)
    assert again.indexes["step"].dtype == made.indexes["step"].dtype
    with pytest.raises(ValueError, match="'count' holds integers beyond 2³¹"):
        ravine.save(made.assign(count=2**40), tmp_path / "big.nc")


def test_nothing_is_overwritten_unless_told(tmp_path, case):
    path = tmp_path / "study.nc"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"exists already: choose another name, or force=True"):
        ravine.save(whole(case), path)
    assert path.read_text() == "precious"
    ravine.save(whole(case), path, force=True)
    assert ravine.open(path).sizes["step"] == 7


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ravine.open(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(ValueError, match="is no study that ravine can open"):
        ravine.open(tmp_path / "text.nc")
    with pytest.raises(TypeError, match="expected a study"):
        ravine.check({"position": 1})


def test_check_names_what_is_missing_and_the_call_that_makes_it(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=2)
    with pytest.raises(ValueError, match=r"no 'gradient' .*: make it with ravine.descend\(problem, also="):
        ravine.check(run, "gradient")
    with pytest.raises(ValueError, match="the contract says"):
        ravine.check(run.rename(step="epoch"))
    with pytest.raises(ValueError, match="the contract says"):
        ravine.check(xr.Dataset({"surface": ("x", [1.0])}))


def test_join_keeps_what_differs_and_what_does_not(article):
    runs = {f"{lr}": ravine.descend(article, lr=lr, steps=4) for lr in (0.01, 0.1)}
    joined = ravine.join(runs)
    assert joined.position.dims == ("run", "criterion", "step", "parameter")
    assert joined.lr.dims == ("run",)
    assert joined.momentum.dims == joined.inputs.dims[1:] == ()
    for label, run in runs.items():
        assert np.array_equal(joined.position.sel(run=label), run.position)
    assert provenance.describe(joined, "loss")["settings"]["0.1"]["lr"] == 0.1
    with pytest.raises(ValueError, match="nothing to join"):
        ravine.join({})
    with pytest.raises(ValueError, match="do not hold the same variables|do not have the same parameters"):
        ravine.join({"a": runs["0.1"], "b": ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}))})


def test_at_finds_floats_labels_and_steps(article):
    runs = ravine.join({f"m{m}": ravine.descend(article, lr=0.1, momentum=m, steps=4) for m in (0.0, 0.3, 0.9)})
    assert ravine.at(runs, momentum=0.1 + 0.2).run.item() == "m0.3"  # 0.30000000000000004
    assert ravine.at(runs, criterion="L1Loss", run="m0.9").position.dims == ("step", "parameter")
    assert ravine.at(runs, lr=0.1).sizes == runs.sizes
    assert ravine.at(runs, step=2).loss.dims == ("run", "criterion")
    assert ravine.at(ravine.at(runs, momentum=0.9), criterion="MSELoss").loss.dims == ("step",)
    with pytest.raises(KeyError, match=r"no momentum = 0.31 in the study; it has 0.0, 0.3, 0.9"):
        ravine.at(runs, momentum=0.31)
    with pytest.raises(KeyError, match=r"it has .* \(did you mean L1Loss"):
        ravine.at(runs, criterion="l1")
    with pytest.raises(KeyError, match="no coordinate 'speed'"):
        ravine.at(runs, speed=1)


def test_large_models_get_numbers_for_labels():
    with torch.random.fork_rng():
        problem = ravine.Problem.of(
            torch.nn.Linear(101, 101), torch.nn.MSELoss(), (torch.randn(3, 101), torch.randn(3, 101))
        )
    run = ravine.descend(problem, lr=0.1, steps=1)
    assert run.parameter.dtype.kind == "i"
    assert json.loads(run.parameter.attrs["shapes"]) == {"weight": [101, 101], "bias": [101]}
    assert (problem.size, problem.known) == (10302, ("weight", "bias"))


def test_join_of_unlike_optimizers_and_lengths():
    bowl = ravine.gallery.quadratic(4)
    parts = {
        "sgd": ravine.descend(bowl, lr=0.1, momentum=0.5, nesterov=True, steps=3),
        "adam": ravine.descend(bowl, torch.optim.Adam, steps=5),
    }
    joined = ravine.join(parts)
    assert joined.optimizer.values.tolist() == ["SGD", "Adam"]
    assert joined.steps_taken.values.tolist() == [3, 5]
    assert np.isfinite(joined.loss).sum("step").values.tolist() == [4, 6]
    assert float(joined.momentum[0]) == 0.5
    assert np.isnan(joined.momentum[1])
    assert joined.nesterov.values.tolist() == [True, False]
    assert "torch.optim.Adam(" in ravine.code(joined.sel(run="adam"))
    assert "range(3)" in ravine.code(joined.sel(run="sgd"))


def test_every_variable_of_the_contract_is_told():
    page = (Path(__file__).parent.parent / "docs" / "study.md").read_text()
    table = page.partition("## The table")[2]
    assert [name for name in contract.CONTRACT if f"`{name}`" not in table] == []


PLANE = {"kind": "ends", "axes": ["axis 1", "axis 2"], "explained": None, "null": None, "cosine": 0.0, "size": 10}


def projected(plane):
    steps = np.arange(0, 40, 10)
    flat = {name: ("step", np.ones(4)) for name in ("loss", "drawn_loss", "off_plane", "squares")}
    labels = xr.Variable("parameter", np.array(PLANE["axes"]), {"plane": plane})
    return xr.Dataset(
        {"position": (("step", "parameter"), np.ones((4, 2))), **flat}, {"step": steps, "parameter": labels}
    )


def test_runs_and_surfaces_on_a_plane_are_checked(tmp_path):
    run = projected(json.dumps(PLANE))
    assert ravine.check(run, "off_plane", "drawn_loss", "squares") is run
    assert contract.plane_of(ravine.open(ravine.save(run, tmp_path / "run.nc"))) == PLANE
    grid = (("axis 2", "axis 1"), np.ones((3, 3)))
    land = xr.Dataset({"surface": (*grid, {"plane": json.dumps(PLANE)}), "squares": grid})
    assert ravine.check(land, "surface", "squares") is land
    assert contract.plane_of(land) == PLANE
    with pytest.raises(ValueError, match=r"'squares' has dimensions .*; the contract says \(…, step\)"):
        ravine.check(land.drop_vars("surface"))
    for wrong in ("flat", json.dumps({"kind": "cube", "axes": ["a", "b"]}), json.dumps({"kind": "pca"}), "[]", 3):
        with pytest.raises(ValueError, match="the attribute 'plane' of 'parameter' is"):
            ravine.check(projected(wrong))
    with pytest.raises(ValueError, match=r"no 'off_plane' .*: make it with ravine.Plane"):
        ravine.check(ravine.descend(ravine.gallery.quadratic(), steps=1), "off_plane")
    with pytest.raises(ValueError, match=r"'update_ratio' has dimensions .*\(…, step, layer\)"):
        ravine.check(run.assign(update_ratio=("step", np.ones(4))))


def test_two_lengths_of_one_dimension_are_not_made_alike():
    both = xr.Variable("lr", [True, False])
    with pytest.raises(ValueError, match="'lr' has 2 values in one and 1 in another"):
        choose(both, xr.Variable("lr", [1.0]), 0.0)
    assert choose(both, xr.Variable("momentum", [1.0]), 0.0).sizes == {"lr": 2, "momentum": 1}
