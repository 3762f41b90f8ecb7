"""Studies, stores and scripts that were made before the gate (at a70e9e4) do what they did."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ravine
from ravine._study import optimizer as classes
from ravine._study import provenance, rule
from ravine.cli import app
from ravine.cli.report import format_report
from ravine.measure import _stability

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def study():
    return ravine.open(DATA / "study.nc")


def test_joined_runs_are_explained(study):
    said = [str(finding) for finding in ravine.explain(study)]
    assert said[1].startswith("momentum, MSELoss: The learning rate could be 18.5 times as high")
    assert not any("orbits" in each for each in said)  # 12 steps are less than one of its turns
    assert len(said) == 8
    assert not any("is not torch.optim" in each for each in said)
    assert classes.optimizers_of(study).values.tolist() == ["torch.optim.sgd:SGD", "torch.optim.adam:Adam"]
    assert _stability.why_no_theory(study) == "theory speaks of SGD, the runs are of Adam, SGD"
    assert provenance.fact_of(study.sel(criterion="L1Loss"), "hessian", "kinks") == 2


def test_the_script_of_a_run_is_the_one_it_was(study, tmp_path):
    one = study.sel(run="momentum", criterion="MSELoss")
    assert ravine.code(one) == (DATA / "script.txt").read_text()


def test_a_study_is_drawn_and_joined(study):
    figure = ravine.plot.descent(study.sel(run="momentum"), study)
    assert "none of 2 runs arrive" in " ".join(figure.texts[0].get_text().split())
    again = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9, steps=12)
    old = study.sel(run="momentum", criterion="MSELoss")[list(again.data_vars)].drop_vars("run")
    both = ravine.join({"old": old, "new": again})
    assert both.position.sel(run="old").values == pytest.approx(both.position.sel(run="new").values, rel=1e-5)
    assert isinstance(rule.rule_of(both.sel(run="old")), rule.Rule)


def test_words_by_label_without_a_dimension():
    runs = ravine.open(DATA / "sweep.nc")
    lines = format_report(runs, verbose=True)
    for label, engine in (("neuron", "gradient written out"), ("loss", "gradient by autograd")):
        assert f"{label}: SGD's rule on a batch, {engine}" in lines
        assert any(line.startswith(f"{label}: of torch: every bit") for line in lines)
    assert ravine.measure.arrival(runs).stability_scope.values.tolist() == ["exact", "exact"]
    found = ravine.open(DATA / "landmarks.nc")
    kinks = provenance.facts_of(ravine.at(found, criterion="L1Loss", weight_decay=0.0), "hessian", "kinks")
    assert kinks == [2]
    assert provenance.fact_of(found.sel(criterion="MSELoss"), "minimizer", "engine") == "closed form"


@pytest.fixture
def store(tmp_path):
    with tarfile.open(DATA / "store.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "old.zarr"


def test_a_store_opens_and_is_proved(store):
    assert ravine.verify(store) == []
    runs = ravine.open(store)
    assert rule.conditions_of(runs).optimizers == (classes.SGD,)
    assert provenance.fact_of(runs, "loss", "equals_torch").startswith("every bit")
    assert ravine.measure.arrival(runs).stability_limit.values.tolist() == [1.0, 1.9]
    assert "optimizer = torch.optim.SGD" in ravine.code(runs.isel(lr=1, momentum=1))


def test_a_store_goes_on(store, tmp_path):
    whole = ravine.open(store).load()
    for record in [*(store / ".ravine" / "ledger").iterdir(), store / ".ravine" / "complete.json"]:
        record.unlink()
    shutil.rmtree(store / "position" / "c")
    result = CliRunner().invoke(app, ["resume", str(store)])
    if "was 0" in result.stderr or "torch was" in result.stderr or "numpy was" in result.stderr:
        pytest.skip(f"other versions than the store's: {result.stderr}")
    assert result.exit_code == 0, result.stderr
    again = ravine.open(store)
    assert np.array_equal(again.position, whole.position)
    assert np.array_equal(again.loss, whole.loss)
