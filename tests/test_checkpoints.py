"""Trainings read from the states that they saved: every kind of file, whose step it is, and what is refused."""

from __future__ import annotations

import argparse
import copy
import json
import re
import shutil
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from typer.testing import CliRunner

import ravine
from ravine.cli import app

STEPS = (0, 3, 12)
LETTERS = {0: "b", 3: "a", 12: "c"}
"""Names without a number, in another order."""


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


class Net(torch.nn.Module):
    """A network with BatchNorm, a tied weight and a parameter of one number."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.body = torch.nn.Linear(4, 4, bias=False)
        self.again = torch.nn.Linear(4, 4, bias=False)
        self.again.weight = self.body.weight
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.last = torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.again(self.body(self.norm(self.first(x))).tanh())) * self.scale


@pytest.fixture(scope="module")
def trained():
    """A network, its states by step, and the recording of the loop that made them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
        x, y = torch.randn(32, 3), torch.randn(32, 1)
        rule = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        states = {0: copy_of(model)}
        with ravine.record(model, rule, torch.nn.MSELoss(), every=1) as recorder:
            for step in range(1, 13):
                rule.zero_grad()
                recorder.criterion(model(x), y).backward()
                rule.step()
                states[step] = copy_of(model)
    problem = ravine.Problem.of(model, "mse", torch.utils.data.DataLoader(list(zip(x, y, strict=True)), 8))
    return model, states, recorder.dataset().isel(step=list(STEPS)), problem


def copy_of(model):
    return {name: each.clone() for name, each in model.state_dict().items()}


def same(found, expected):
    assert found.step.values.tolist() == expected.step.values.tolist()
    for name in ("position", "buffers"):
        assert found[name].dtype == expected[name].dtype
        assert found[name].values.tobytes() == expected[name].values.tobytes()
    for name in ("parameter", "buffer"):
        assert found[name].values.tolist() == expected[name].values.tolist()


def plain(state, step, path):
    torch.save(state, path / f"model-{step}.pt")


def legacy(state, step, path):
    torch.save(state, path / f"model-{step}.pth", _use_new_zipfile_serialization=False)


def parallel(state, step, path):
    torch.save({f"module.{name}": each for name, each in state.items()}, path / f"model-{step}.pt")


def compiled(state, step, path):
    inner = {name.replace("body.", "body._orig_mod."): each for name, each in state.items()}
    torch.save({f"_orig_mod.module.{name}": each for name, each in inner.items()}, path / f"model-{step}.pt")


def in_a_loop(state, step, path):
    average = {name: each + 1 for name, each in state.items()}
    held = {"ema": average, "model": state, "optimizer": {"state": {0: {"first": torch.ones(3)}}}, "step": step}
    torch.save({**held, "epoch": 0}, path / f"{LETTERS[step]}.pt")


def lightning(state, step, path):
    inner = {f"net.{name}": each for name, each in state.items()}
    held = {"epoch": 0, "global_step": step, "state_dict": inner, "loops": {"a": {"b": 1}}, "callbacks": {}}
    torch.save(held, path / f"epoch=0-v{step + 7}.ckpt")


def folder_of(step, path):
    folder = path / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": 0.5}))
    return folder


def hugging_face(state, step, path):
    torch.save(state, folder_of(step, path) / "pytorch_model.bin")


def sharded(state, step, path):
    folder, names = folder_of(step, path), list(state)
    for k in (0, 1):
        torch.save({name: state[name] for name in names[k::2]}, folder / f"pytorch_model-0000{k}-of-00002.bin")
    where = {name: f"pytorch_model-0000{k}-of-00002.bin" for k in (0, 1) for name in names[k::2]}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def untied(state):
    """What safetensors takes: each tensor once."""
    return {name: each for name, each in state.items() if name != "body.weight"}


def safe(state, step, path):
    save = pytest.importorskip("safetensors.torch").save_file
    save(untied(state), path / f"{LETTERS[step]}.safetensors", {"step": str(step), "format": "pt"})


def safe_shards(state, step, path):
    save = pytest.importorskip("safetensors.torch").save_file
    folder, names = folder_of(step, path), list(untied(state))
    for k in (0, 1):
        save({name: state[name] for name in names[k::2]}, folder / f"model-{k}.safetensors")
    where = {name: f"model-{k}.safetensors" for k in (0, 1) for name in names[k::2]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


WAYS = (plain, legacy, parallel, compiled, in_a_loop, lightning, hugging_face, sharded, safe, safe_shards)


@pytest.mark.parametrize("save", WAYS, ids=lambda save: save.__name__)
def test_files_of_every_kind_are_the_recording_of_their_training(save, trained, tmp_path):
    model, states, expected, _ = trained
    for step in STEPS:
        save(states[step], step, tmp_path)
    before = copy_of(model)
    found = ravine.checkpoints(model, tmp_path / "*")
    same(found, expected)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert ravine.check(found, "position", "buffers") is found
    assert "update_ratio" not in found


def test_checkpoints_of_the_four_problems(case, tmp_path):
    run = ravine.descend(case.problem, lr=case.lr, steps=6)
    for step in (0, 2, 6):
        parts = torch.from_numpy(run.position.values[step]).split([v.numel() for v in case.problem.start.values()])
        named = {name: part.view(v.shape) for part, (name, v) in zip(parts, case.problem.start.items(), strict=True)}
        torch.save(named, tmp_path / f"step{step}.pt")
    found = ravine.checkpoints(case.problem, f"{tmp_path}/*.pt")
    assert found.position.values.tobytes() == run.position.values[[0, 2, 6]].tobytes()
    path = ravine.Plane.ends(found).project(found, case.problem)
    assert np.allclose(path.loss, run.loss[[0, 2, 6]], rtol=1e-5)


def test_they_are_drawn_over_a_plane_and_explained(trained, tmp_path):
    _, states, expected, problem = trained
    for step in STEPS:
        plain(states[step], step, tmp_path)
    run = ravine.checkpoints(problem, tmp_path / "*.pt")
    plane = ravine.Plane.pca(run)
    assert np.array_equal(plane.directions, ravine.Plane.pca(expected).directions)
    path = plane.project(run, problem)
    land = ravine.surface(problem, plane=plane, points=5)
    figure = ravine.plot.descent(path, land)
    assert any(len(line.get_xdata()) == len(STEPS) for line in figure.axes[0].lines)
    assert "start" in [text.get_text() for text in figure.axes[0].texts]
    later = ravine.plot.descent(path.isel(step=[1, 2]), land)  # the first checkpoint is not the start
    assert {"step 3", "start"} & {text.get_text() for text in later.axes[0].texts} == {"step 3"}
    assert {"map", "plane"} & {finding.kind for finding in ravine.explain(path)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_dtype_is_that_of_the_files(dtype, tmp_path):
    model = torch.nn.Linear(3, 2)
    state = {
        name: torch.arange(each.numel()).reshape(each.shape).to(dtype) / 3 for name, each in copy_of(model).items()
    }
    torch.save(state, tmp_path / "1.pt")
    found = ravine.checkpoints(model, tmp_path / "1.pt").position
    assert found.dtype == (np.float32 if dtype == torch.bfloat16 else str(dtype).removeprefix("torch."))
    assert np.array_equal(found[0], torch.cat([each.reshape(-1) for each in state.values()]).double())


ORDERS = {
    "steps before epochs": (["epoch=1-step=40.ckpt", "epoch=0-step=20.ckpt"], [20, 40]),
    "epochs where there is nothing else": (["epoch_10_loss_0.25.pt", "epoch_9_loss_0.5.pt"], [9, 10]),
    "the number that differs": (["resnet18-100.pt", "resnet18-20.pt"], [20, 100]),
    "of the folder around": (["checkpoint-30/pytorch_model.bin", "checkpoint-4/pytorch_model.bin"], [4, 30]),
    "iterations": (["deep5_iter_000200.pth", "deep5_iter_001000.pth"], [200, 1000]),
}


@pytest.mark.parametrize("names", ORDERS)
def test_the_order_is_that_of_the_steps_in_the_names(names, tmp_path):
    model = torch.nn.Linear(1, 1)
    files, steps = ORDERS[names]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save(model.state_dict(), tmp_path / name)
    only_epochs = names.startswith("epochs")
    with pytest.warns(UserWarning, match="their epochs stand for steps") if only_epochs else nullcontext():
        found = ravine.checkpoints(model, [tmp_path / name for name in files])
    assert found.step.values.tolist() == steps
    assert json.loads(found.position.attrs["provenance"])["counted"] == (
        "epochs"
        if "epochs where" in names
        else "the number in each name"
        if "the number" in names or "folder" in names
        else "steps"
    )


def all_words(figure):
    return [each.get_text() for each in figure.findobj(Text) if each.get_text() and each.get_visible()]


@pytest.mark.parametrize(
    ("name", "unit", "way"),
    [
        ("epoch{}.pt", "epoch", "in 3 epochs"),
        ("ep{}.pt", "epoch", "in 3 epochs"),
        ("net{}.pt", "checkpoint", "up to checkpoint 3"),
        ("step{}.pt", "step", "in 3 steps"),
    ],
)
def test_what_is_counted_is_called_so_wherever_the_study_is_used(name, unit, way, tmp_path):
    """Steps that are epochs, or numbers in names, are called so in sentences, heads and axes, and when opened."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    x = torch.randn(32, 3)
    y = x.prod(1, keepdim=True)
    problem = ravine.Problem.of(copy.deepcopy(model), torch.nn.MSELoss(), (x, y))
    rule = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(4):
        torch.save(model.state_dict(), tmp_path / name.format(epoch))
        for _ in range(36):  # many steps in each
            rule.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            rule.step()
    with pytest.warns(UserWarning, match="epochs stand") if unit == "epoch" else nullcontext():
        run = ravine.checkpoints(problem, tmp_path / "*.pt", path=tmp_path / "kept")
    assert run.identical(ravine.open(tmp_path / "kept"))
    plane = ravine.Plane.pca(run)
    path = plane.project(run, problem)
    assert str(path.criterion.values) == "MSELoss"
    path = path.assign(surface=ravine.surface(problem, plane=plane, points=7).surface)
    ravine.save(path, tmp_path / "study.nc")
    others = {"epoch", "checkpoint", "step"} - {unit}
    for study in (path, ravine.open(tmp_path / "study.nc")):
        told = ravine.explain(study)
        course = next(each for each in told if each.kind == "course")
        assert way in course.sentence
        assert course.values["best_step"] <= 3
        drawn = {
            "descent": ravine.plot.descent(study),
            "losses": ravine.plot.losses(study),
        }
        for kind, figure in drawn.items():
            assert unit in all_words(figure), kind  # the name of the axis
            counted = re.compile(
                rf"\b({'|'.join(others)})s? \d|\d ({'|'.join(others)})s?\b|each ({'|'.join(others)})\b"
            )
            assert not [text for text in all_words(figure) if counted.search(text)], kind
            assert any(way.removeprefix("in ") in text for text in all_words(figure)), kind
        assert "MSELoss" in " ".join(all_words(drawn["descent"]))
        assert not [each for each in told if re.search(rf"\b({'|'.join(others)})s? \d", each.sentence)]
        film = ravine.plot.animate(study)
        assert film is not None


def test_a_step_may_be_given_and_the_last_one_saved_twice(trained, tmp_path):
    model, states, expected, _ = trained
    names = {0: "start.pt", 3: "early.pt", 12: "best.pt"}
    for step, name in names.items():
        torch.save(states[step], tmp_path / name)
    same(ravine.checkpoints(model, {step: tmp_path / names[int(step)] for step in (np.int64(12), 0, 3)}), expected)
    for step, name in ((0, "a.ckpt"), (3, "b.ckpt"), (12, "c.ckpt"), (12, "last.ckpt")):
        torch.save({"global_step": step, "state_dict": states[step]}, tmp_path / name)
    same(ravine.checkpoints(model, tmp_path / "*.ckpt"), expected)
    torch.save({"global_step": 12, "state_dict": states[11]}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"c\.ckpt and .*last\.ckpt are both of step 12, and differ"):
        ravine.checkpoints(model, tmp_path / "*.ckpt")


def test_a_recording_that_is_kept_is_opened_again_and_another_leaves_nothing(trained, tmp_path, monkeypatch):
    model, states, expected, _ = trained
    for step in STEPS:
        plain(states[step], step, tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    found = ravine.checkpoints(model, tmp_path / "*.pt")
    assert not list(scratch.iterdir())
    same(found, expected)  # what is mapped is still there
    kept = ravine.checkpoints(model, tmp_path / "*.pt", path=tmp_path / "runs" / "kept")
    assert kept.identical(ravine.open(tmp_path / "runs" / "kept"))
    with pytest.raises(FileExistsError, match="kept exists already: choose another name"):
        ravine.checkpoints(model, tmp_path / "*.pt", path=tmp_path / "runs" / "kept")
    (tmp_path / "model-12.pt").write_bytes((tmp_path / "model-3.pt").read_bytes())
    torch.save(states[5], tmp_path / "model-012.pt")
    with pytest.raises(ValueError, match="both of step 12"):
        ravine.checkpoints(model, tmp_path / "*.pt", path=tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: argparse.Namespace(free=10))
    with pytest.raises(OSError, match=r"takes \d+ bytes, and 10 bytes are free in .*scratch: give path="):
        ravine.checkpoints(model, tmp_path / "model-3.pt")


def test_what_is_missing_and_what_is_extra_is_said(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = {"0.weight": torch.ones(2, 2), "head.bias": torch.ones(3), "1.running_mean": torch.ones(2)}
    for step in (1, 2):
        torch.save(state, tmp_path / f"{step}.pt")
    with pytest.warns(UserWarning, match="the checkpoints hold") as said:
        found = ravine.checkpoints(model, tmp_path / "*.pt")
    assert [str(each.message) for each in said] == [
        "the checkpoints hold no '0.bias', '1.weight', '1.bias', '1.running_var' and 1 more of Sequential: they are "
        "not recorded, and stay where a problem starts",
        "the checkpoints hold 'head.bias', which Sequential has not: not recorded",
    ]
    assert {said[0].filename, said[1].filename} == {__file__}
    assert found.parameter.values.tolist() == ["0.weight[0,0]", "0.weight[0,1]", "0.weight[1,0]", "0.weight[1,1]"]
    assert found.buffer.values.tolist() == ["1.running_mean[0]", "1.running_mean[1]"]
    torch.save({**state, "0.bias": torch.ones(2)}, tmp_path / "2.pt")
    with pytest.raises(ValueError, match=r"1\.pt is of another model than 2\.pt: it lacks '0\.bias', which is there"):
        ravine.checkpoints(model, tmp_path / "*.pt")


def test_frozen_parameters_are_no_part_and_no_news(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    model[0].requires_grad_(False)
    torch.save(model.state_dict(), tmp_path / "1.pt")
    assert ravine.checkpoints(model, tmp_path / "1.pt").parameter.values.tolist() == ["1.weight", "1.bias"]
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        ravine.checkpoints(model, tmp_path / "1.pt")


class Refused:
    """What weights_only=True does not load."""


def written(path, content):
    torch.save(content, path) if not isinstance(content, bytes) else path.write_bytes(content)
    return path


def zipped(content):
    with tempfile.TemporaryFile() as file:
        torch.save(content, file)
        file.seek(0)
        return file.read()


STATE = torch.nn.Linear(2, 1).state_dict()
REFUSALS = {
    "of another model": (STATE | {"weight": torch.ones(3, 1)}, r"'weight' has the shape \(3, 1\) there, and \(1, 2\)"),
    "of quite another": ({"a": torch.ones(1)}, "is of another model than Linear: it holds a, and the model's param"),
    "nothing in it": ({"a": 1}, "is of another model than Linear: it holds none"),
    "quantised": (STATE | {"weight": torch.ones(1, 2, dtype=torch.int8)}, "holds 'weight' as int8, which is no"),
    "twice": ({"a": STATE, "b": STATE}, "holds Linear 2 times, as a, b: save one of them alone"),
    "a whole module": (Refused(), r"loaded with weights_only=True alone: Unsupported global: GLOBAL .*Refused was not"),
    "cut off": (zipped(STATE)[:300], "is corrupt, or no state that torch saved: PytorchStreamReader failed"),
    "empty": (b"", "is empty: the checkpoint was never written"),
    "a text": (b"hello", "is corrupt, or no state that torch saved: its pickle cannot be read"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_no_checkpoint_of_the_model_is_refused_in_one_sentence(what, tmp_path):
    content, said = REFUSALS[what]
    path = written(tmp_path / "model-1.pt", content)
    with pytest.raises(ValueError, match=said) as refused:
        ravine.checkpoints(torch.nn.Linear(2, 1), path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_safetensors_that_are_cut_off_or_of_odd_numbers_are_refused(tmp_path):
    save = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "1.safetensors"
    save(dict(STATE), path)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:20], b"", b"\xff" * 64):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"1\.safetensors is corrupt or cut off: .") as refused:
            ravine.checkpoints(torch.nn.Linear(2, 1), path)
        assert "\n" not in str(refused.value)


def test_without_the_package_safetensors_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "1.safetensors").write_bytes(b"")
    with pytest.raises(ImportError, match=r"1\.safetensors is read by the package safetensors: pip install 'ravine\["):
        ravine.checkpoints(torch.nn.Linear(2, 1), tmp_path / "1.safetensors")


def test_files_that_are_not_there_or_of_no_step(tmp_path):
    model = torch.nn.Linear(2, 1)
    for name in ("start.pt", "end-5.pt"):
        torch.save(model.state_dict(), tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no file matches '.*checkpoint-\*': .* has end-5\.pt, start\.pt"):
        ravine.checkpoints(model, f"{tmp_path}/checkpoint-*")
    with pytest.raises(FileNotFoundError, match="there is no file nowhere"):
        ravine.checkpoints(model, ["nowhere"])
    with pytest.raises(FileNotFoundError, match="the list is empty"):
        ravine.checkpoints(model, [])
    with pytest.raises(
        ValueError, match=r"start\.pt has no step to order it by: .*; give \{step: file\}, or a pattern that"
    ):
        ravine.checkpoints(model, tmp_path / "*.pt")
    with pytest.raises(ValueError, match=r"a step must be a whole number from 0 on, got -1: give \{step: file\}"):
        ravine.checkpoints(model, {-1: tmp_path / "start.pt"})
    with pytest.raises(TypeError, match="files must be a pattern, .* got 3"):
        ravine.checkpoints(model, 3)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, or a ravine.Problem made of one, got 'net'"):
        ravine.checkpoints("net", tmp_path / "*.pt")
    (tmp_path / "log-1.txt").write_text("")
    with pytest.raises(ValueError, match=r"log-1\.txt is no checkpoint: a file that ends in \.pt, .*; give a pattern"):
        ravine.checkpoints(model, tmp_path / "*1*")


def test_names_that_differ_in_more_than_one_number_are_told(tmp_path):
    model = torch.nn.Linear(2, 1)
    for name in ("m_1_10.pt", "m_2_20.pt", "run_1_10/m.pt", "run_2_20/m.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save(model.state_dict(), tmp_path / name)
    for pattern in ("m_*.pt", "run*/m.pt"):
        with pytest.raises(ValueError, match=r"differ in more than one number \(here 1, 10\), .*; give \{step: file\}"):
            ravine.checkpoints(model, tmp_path / pattern)


def test_folders_that_hold_something_else(tmp_path):
    model = torch.nn.Linear(2, 1)
    with pytest.raises(
        ValueError, match=rf"holds none of model.safetensors, .* as in '{re.escape(str(tmp_path))}/check"
    ):
        ravine.checkpoints(model, tmp_path)
    index = tmp_path / "pytorch_model.bin.index.json"
    for content, said in (
        ("{}", "is no index of shards that can be read"),
        ('{"weight_map": {"weight": "../a.bin"}}', r"names '\.\./a\.bin', which does not lie beside it"),
        ('{"weight_map": {"weight": "a.bin"}}', r"a\.bin is missing, and .*index\.json says that tensors lie there"),
        ('{"weight_map": {"bias": "b.bin", "x": "b.bin"}}', r"says that 'x' lies in b\.bin, and it does not"),
    ):
        torch.save({"bias": torch.ones(1)}, tmp_path / "b.bin")
        index.write_text(content)
        with pytest.raises(ValueError, match=said):
            ravine.checkpoints(model, tmp_path)
    index.unlink()
    (tmp_path / ".metadata").write_bytes(b"")
    with pytest.raises(ValueError, match="is a distributed checkpoint: make one file of it first, .*dcp_to_torch_save"):
        ravine.checkpoints(model, tmp_path)


SCRIPT = """
import torch
import ravine

model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))

def problem():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(8, 3, generator=generator)
    return ravine.Problem.of(model, "mse", (data[:, :2], data[:, 2:]))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train_a_network.py").write_text(SCRIPT)
    yield "own/train_a_network.py:problem"
    sys.modules.pop("train_a_network", None)


def test_the_command_draws_a_training_from_its_files(script, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    for step in (0, 10, 20):
        torch.save(copy_of(model), f"own/{step}.pt")
        with torch.no_grad():
            model[0].weight += torch.randn(3, 2)
    words = ["landscape", script, "--checkpoints", "own/*.pt", "--points", "5", "--plane", "pca"]
    words += ["--range", "PC 1=-2:3", "-o", "found.png"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "found.png  the picture" in result.output
    assert result.output.startswith("The loss goes from ")
    found = ravine.open("found.nc")
    assert found.step.values.tolist() == [0, 10, 20]
    assert found.surface["PC 1"].values.tolist() == [-2, -0.75, 0.5, 1.75, 3]
    assert Path("found.png").stat().st_size > 5000
    assert ravine.plot.descent(found, found).axes[0].lines
    stored = [*words[:-1], "kept.png", "--store", "land.zarr"]
    for _ in range(2):  # the second time all rows are there
        assert CliRunner().invoke(app, stored).exit_code == 0
        assert ravine.open("land.zarr").surface.values.tolist() == found.surface.values.tolist()
    fast = [*words[:-4], "-o", "fast.png", "--fast", "--points", "13", "--range", "PC 1=-0.1:0.1"]
    result = CliRunner().invoke(app, [*fast, "--range", "PC 2=-0.1:0.1"])
    assert result.exit_code == 0, result.output
    assert json.loads(ravine.open("fast.nc").surface.attrs["interpolant"])["nodes"]
    assert CliRunner().invoke(app, words).exit_code == 0  # what a command wrote it may write again
    torch.save(copy_of(model), "own/20.pt")  # of the same input
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "found.nc and 1 more exist already" in result.output
    written = ["descend", script, "--steps", "2", "-o", "run.nc"]
    for _ in range(2):  # what a command wrote it may write again
        assert CliRunner().invoke(app, written).exit_code == 0


@pytest.mark.parametrize("told", [{}, {"epoch": 8}])
@pytest.mark.parametrize("name", ["ep{}.pt", "net-{}.pt"])
def test_what_lies_beside_a_series_is_left_out_and_said(name, told, tmp_path):
    """The best of a training, saved beside its epochs, has no step of its own, or that of another file."""
    model = torch.nn.Linear(2, 1)
    for epoch in range(9):
        with torch.no_grad():
            model.weight.fill_(float(epoch))
        torch.save({"model": copy_of(model), **({"epoch": epoch} if told else {})}, tmp_path / name.format(epoch))
    with torch.no_grad():
        model.weight.fill_(7.5)
    torch.save({"model": copy_of(model), **told}, tmp_path / "best.pt")
    beside = [tmp_path / "best.pt"]
    if told:
        with torch.no_grad():
            model.weight.fill_(7.25)
        beside.append(tmp_path / "finest.pt")
        torch.save({"model": copy_of(model), **told}, beside[1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = ravine.checkpoints(model, tmp_path / "*.pt")
    said = [str(each.message) for each in caught if "left out" in str(each.message)]
    assert [path.name in words for path, words in zip(beside, said, strict=True)] == [True] * len(beside)
    assert run.step.values.tolist() == list(range(9))
    assert run.position.values[:, 0].tolist() == list(range(9))
    files = [*sorted(tmp_path.glob("*[0-9].pt")), tmp_path / "best.pt"]  # all of them are meant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not told:
            with pytest.raises(ValueError, match=r"best\.pt has no step to order it by"):
                ravine.checkpoints(model, files)
        for step in (9, 12):
            given = dict(enumerate(files[:-1])) | {step: files[-1]}
            assert ravine.checkpoints(model, given).step.values.tolist() == [*range(9), step]
        with pytest.raises(FileNotFoundError):
            ravine.checkpoints(model, tmp_path / "*.none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["own/train_a_network.py"],
            r"holds Python: name the problem in it too, as in own/train_a_network\.py:problem",
        ),
        (["own/some_numbers.py:number"], r"own/some_numbers\.py:number is 3, expected a ravine\.Problem"),
        (["own/train_a_network.py:problems"], r"own/train_a_network\.py has no 'problems' \(did you mean problem\?\)"),
        (["own/other.py:problem"], "there is no file own/other.py"),
        (["own/random.py:problem"], "own/random.py bears the name of another module, 'random', that is loaded: rename"),
        (["own/train_a_network.py:problem", "-o", "a.nc"], r"a picture ends in \.png, \.svg or \.pdf, got a\.nc"),
        (["own/train_a_network.py:problem", "--range", "x=3"], "x: expected low:high, as in -2:3, got '3'"),
        (["own/train_a_network.py:problem"], r"no file matches 'own/\*\.pt'"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(words, said, script):
    Path("own/random.py").write_text("problem = 1")
    Path("own/some_numbers.py").write_text("number = 3")
    result = CliRunner().invoke(app, ["landscape", *words, "--checkpoints", "own/*.pt"])
    assert result.exit_code == 2
    assert re.search(said, result.output)
    assert result.output.count("\n") == 1
