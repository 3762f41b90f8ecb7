"""Sweeps on disk: what is stored is what was made, what is damaged is found, and what is another sweep is refused."""

from __future__ import annotations

import errno
import functools
import random
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

import processes
import ravine
from ravine._engine import keep as capacity
from ravine._engine.batched import TorchEngine
from ravine._store import create, ledger
from ravine._store.ledger import read_record, write_record
from ravine._store.store import Store
from ravine._study import provenance
from ravine._sweep import execute, identity
from ravine._sweep import plan as recipes
from ravine.measure import _parts

SETTINGS = {"lr": [1e-3, 1e-2, 5.0], "momentum": [0.0, 0.9], "nesterov": [False, True]}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of a few runs, so that a small sweep has many."""
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 600)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.zarr"


@functools.cache  # a problem remembers its minima
def bowl(scale=1.0, far=0.0):
    return ravine.Problem(
        lambda p: scale * (p["x"] ** 2 + 3 * p["y"] ** 2) + far * p["x"].clamp(min=2.05), start={"x": 2.0, "y": 1.0}
    )


USUAL = {"lr": [0.01, 0.1, 0.2, 0.3], "momentum": [0.0, 0.5, 0.9], "steps": 15}


def small_sweep(path, **changed):
    given = USUAL | changed
    return ravine.sweep(given.pop("problem", bowl()), store=path, **given)


MADE = {
    "usual": lambda path: small_sweep(path),
    "nesterov": lambda path: small_sweep(path, lr=[0.01, 0.3], momentum=[0.0, 0.9], nesterov=[False, True]),
    "summary": lambda path: small_sweep(path, keep="summary"),
    "race": lambda path: ravine.sweep(bowl(), RACE, steps=12, store=path),
}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Stores that many tests begin with and what they hold, each made once."""
    folder = tmp_path_factory.mktemp("made")
    return functools.cache(lambda name: (folder / name, MADE[name](folder / name).load()))


@pytest.fixture
def made(small, made_once, path):
    """Put a copy of such a store at `path`, for the test to do to it what it likes; return what it holds."""

    def copy(name="usual"):
        folder, expected = made_once(name)
        shutil.copytree(folder, path)
        return expected

    return copy


def files_of(path):
    return sorted(each for each in Path(path).rglob("*") if each.is_file())


def bytes_of(path):
    return {str(each): each.read_bytes() for each in files_of(path)}


def blocks_of(path):
    return Store(path).tiling.count


# -- what is stored is what was made --------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["path", "summary"])
def test_the_store_holds_what_memory_would(case, path, keep):
    lr = [case.lr / 10, case.lr, case.lr * 1000]  # the last diverges
    given = {"lr": lr, "momentum": [0.0, 0.9], "nesterov": [False, True], "steps": 12, "keep": keep}
    stored = ravine.sweep(case.problem, store=path, **given)
    expected = ravine.sweep(case.problem, **given)
    assert "error" in expected  # nesterov without momentum
    xr.testing.assert_identical(stored.load(), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(ravine.open(path).load(), expected)
    assert ravine.verify(path) == []


def criteria():
    return ravine.gallery.article()


def network(**changed):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.25), torch.nn.Linear(3, 1)
        )
        points = torch.randn(12, 2)
    if changed.get("eval"):
        model.eval()
    if "buffer" in changed:
        model[1].running_mean[0] = changed["buffer"]
    if "weight" in changed:
        with torch.no_grad():
            model[0].weight[0, 0] += changed["weight"]
    targets = points.sum(1, keepdim=True) + changed.get("target", 0.0) * torch.eye(12, 1)
    return ravine.Problem.of(model, changed.get("criterion", torch.nn.MSELoss()), (points, targets))


def line():
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    model = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return ravine.Problem.of(model, torch.nn.HuberLoss(), (x, 3 * x + 1))


KINDS = {
    "criteria": lambda: (criteria(), {"lr": [0.01, 0.1]}),
    "problems": lambda: ({"a": bowl(), "b": bowl(2.0)}, {"lr": [0.01, 0.1]}),
    "argument": lambda: (line(), {"delta": [0.1, 1.0], "lr": [0.01, 0.1]}),
    "float64": lambda: (line(), {"lr": np.geomspace(0.01, 1, 7)}),
    "starts": lambda: (bowl(), {"starts": {"near": {"x": 0.1}, "far": {"x": 9.0, "y": 2}}, "lr": [0.01, 0.1]}),
    "seeds": lambda: (network(), {"seed": [1, 2, 3], "batch_size": 4, "lr": 0.05}),
    "batches": lambda: (network(), {"lr": [0.01, 0.1], "batch_size": 5, "seed": 7}),
    "scheduler": lambda: (bowl(), {"lr": [0.1, 0.2], "scheduler": step_size(4)}),
    "adam": lambda: (bowl(), {"optimizer": torch.optim.Adam, "betas": [(0.9, 0.99), (0.5, 0.9)], "lr": [0.1, 1.0]}),
    "groups": lambda: (bowl(), {"groups": {"x": {"lr": 0.01}}, "momentum": [0.0, 0.9], "lr": 0.1}),
    "maximize": lambda: (bowl(), {"lr": [0.01, 0.1], "maximize": [False, True]}),
    "single": lambda: (bowl(), {"lr": 0.1}),
    "single summary": lambda: (bowl(), {"lr": 0.1, "keep": "summary"}),
    "decay summary": lambda: (bowl(), {"lr": [0.1, 0.2], "weight_decay": [0.0, 0.1], "keep": "summary"}),
    "no step": lambda: (bowl(), {"lr": [0.1, 0.2], "steps": 0}),
}


def step_size(size):
    return functools.partial(torch.optim.lr_scheduler.StepLR, step_size=size)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sweep_comes_back_from_the_store(kind, path, monkeypatch):
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 300)
    problem, given = KINDS[kind]()
    given = {"steps": 9, **given}
    expected = ravine.sweep(problem, **given)
    stored = ravine.sweep(problem, store=path, **given)
    xr.testing.assert_identical(stored.load(), expected)
    before = bytes_of(path)
    xr.testing.assert_identical(ravine.sweep(problem, store=path, **given).load(), expected)
    assert bytes_of(path) == before
    assert ravine.verify(path) == []


def test_blocks_of_nothing_but_nan_are_kept_and_not_made_again(path, monkeypatch):
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 500)
    given = {"lr": [0.1, 0.2, -1.0, 1e30], "momentum": 0.9, "steps": 40}
    nothing = ravine.Problem(lambda p: torch.where(p["x"] < 1.5, torch.nan, p["x"] ** 2), start={"x": 2.0})
    stored = ravine.sweep(nothing, store=path, **given)
    assert stored.loss.sel(lr=-1.0).isnull().all()
    assert "Invalid learning rate" in str(stored.error.sel(lr=-1.0).values)
    assert blocks_of(path) == 4
    for block in range(4):
        assert all(chunk.exists() for name in ("loss", "position") for chunk in Store(path).chunks(block, name))
    monkeypatch.setattr(execute.StoredBlocks, "__call__", lambda *_: pytest.fail("a block was made again"))
    xr.testing.assert_identical(ravine.sweep(nothing, store=path, **given).load(), stored.load())


def test_every_run_refused_is_told_as_in_memory(path):
    with pytest.raises(ValueError, match="Invalid learning rate"):
        ravine.sweep(bowl(), lr=[-1.0, -2.0], store=path)
    assert not path.exists()


def test_long_runs_are_cut_along_their_steps_too(path, monkeypatch):
    monkeypatch.setattr(create, "CHUNK_BYTES", 500)
    expected = ravine.sweep(bowl(), lr=[0.1, 0.2], steps=150)
    xr.testing.assert_identical(ravine.sweep(bowl(), lr=[0.1, 0.2], steps=150, store=path).load(), expected)
    store = Store(path)
    chunks = [chunk for block in range(store.tiling.count) for chunk in store.chunks(block, "position")]
    assert len(chunks) > store.tiling.count
    assert sorted(chunks) == sorted(each for each in (path / "position/c").rglob("*") if each.is_file())
    chunks[-1].unlink()
    assert f"there is no {chunks[-1]}" in ravine.verify(path)[0]


# -- a flipped bit is found ------------------------------------------------------------------------------------------


def flip(file, chance):
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_is_found_in_every_file(path, made, seed):
    made("nesterov")
    chance = random.Random(seed)
    looked = 0
    for file in files_of(path):
        whole = file.read_bytes()
        if not whole:  # the lock
            continue
        flip(file, chance)
        try:
            faults = ravine.verify(path)
        except ValueError as reason:
            faults = [str(reason)]
            assert file.name == "plan.json"
        assert faults, f"a bit of {file} was flipped, and verify did not see it"
        name = str(file.relative_to(path).parts[0])
        assert all(str(file) in each or f"of {name} " in each for each in faults), (file, faults)
        file.write_bytes(whole)
        looked += 1
    assert looked > 30
    assert ravine.verify(path) == []


def test_every_single_bit_of_the_records_counts(path):
    """Some bits change what is written, and not what it says: e and E in a number, say."""
    path.mkdir()
    record = path / "a.json"
    write_record(record, {"small": 1e-05, "ä": ["é", 1.5, None, True], "block": 3})
    whole = record.read_bytes()
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        record.write_bytes(data)
        with pytest.raises(ValueError, match="damaged"):
            read_record(record)


def damage_of_a_chunk(store):
    chunk = store.chunks(2, "loss")[0]
    flip(chunk, random.Random(1))
    return [2]


def missing_chunk(store):
    store.chunks(1, "position")[0].unlink()
    return [1]


def swapped_chunks(store):
    one, other = store.chunks(0, "loss")[0], store.chunks(2, "loss")[0]
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    return [0, 2]


def other_record(store):
    store.ledger.path(1).write_bytes(store.ledger.path(0).read_bytes())
    return [1]


def lost_record(store):
    store.ledger.path(1).unlink()
    return [1]


def torn_record(store):
    store.ledger.path(2).write_text("{")
    return [2]


def damaged_gathering(store):
    flip(store.complete, random.Random(2))
    return []


DAMAGES = [damage_of_a_chunk, missing_chunk, swapped_chunks, other_record, lost_record, torn_record]


@pytest.mark.parametrize(
    ("damage", "gathered"), [*((each, how) for how in (True, False) for each in DAMAGES), (damaged_gathering, True)]
)
def test_damaged_blocks_are_named_forgotten_and_made_again(path, made, damage, gathered, monkeypatch):
    expected = made()
    if not gathered:
        Store(path).complete.unlink()
    blocks = damage(Store(path))
    faults = ravine.verify(path)
    if damage is lost_record and not gathered:
        assert faults == []  # a block that was not made yet
    else:
        assert len(faults) == max(1, len(blocks))
        assert all(any(f"block {block} " in each for each in faults) for block in blocks)
    assert ravine.verify(path, forget=True) == faults
    assert ravine.verify(path) == []
    assert Store(path).find_missing() == blocks
    made = []
    make = execute.StoredBlocks.__call__
    monkeypatch.setattr(execute.StoredBlocks, "__call__", lambda *given: made.append(given[1]) or make(*given))
    xr.testing.assert_identical(small_sweep(path).load(), expected)
    assert made == blocks
    assert ravine.verify(path) == []
    assert Store(path).complete.exists()


def test_a_deleted_record_makes_its_block_again_without_being_asked(path, made):
    expected = made()
    Store(path).ledger.path(1).unlink()
    assert Store(path).find_missing() == [1]
    xr.testing.assert_identical(small_sweep(path).load(), expected)
    assert Store(path).find_missing() == []


def test_a_chunk_of_the_fill_value_is_missed_too(path, made):
    """It would read the same; that it is gone is told all the same."""
    made("summary")
    Store(path).chunks(0, "diverged")[0].unlink()
    assert "block 0" in ravine.verify(path)[0]


def test_a_damaged_description_of_an_array_costs_no_block(path, made):
    made()
    description = path / "loss/zarr.json"
    whole = description.read_bytes()
    description.write_text("{}")
    faults = ravine.verify(path, forget=True)
    assert [str(description) in each for each in faults] == [True]
    assert Store(path).find_missing() == []
    description.write_bytes(whole)
    assert ravine.verify(path) == []


def test_what_was_written_first_is_written_again(path):
    """Coordinates, data, minima and what each array is: the same sweep mends them, and no block is made again."""
    expected = small_sweep(path, problem=ravine.gallery.article()["MSELoss"]).load()
    chance, before = random.Random(3), bytes_of(path)
    damaged = [path / name for name in Store(path).manifest["files"]]
    for file in damaged[::2]:
        flip(file, chance)
    for file in damaged[1::2]:
        file.unlink()
    assert len(ravine.verify(path)) == len(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.StoredBlocks, "__call__", lambda *_: pytest.fail("a block was made again"))
        again = small_sweep(path, problem=ravine.gallery.article()["MSELoss"])
    xr.testing.assert_identical(again.load(), expected)
    assert bytes_of(path) == before
    assert ravine.verify(path) == []
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_written_again_as_it_was_is_told(path, made, monkeypatch):
    made()
    (path / "lr/c/0").unlink()
    before = bytes_of(path)
    skeleton = execute.skeleton_of
    monkeypatch.setattr(
        execute, "skeleton_of", lambda sweep_plan: skeleton(sweep_plan).assign_coords(lr=[9.0, 8.0, 7.0, 6.0])
    )
    with pytest.raises(ValueError, match=r"runs\.zarr/lr/c/0 is damaged, and cannot be written again as it was"):
        small_sweep(path)
    assert bytes_of(path) == before


def test_verify_says_nothing_of_blocks_that_are_not_made(path, made):
    made()
    for block in (0, 2):
        Store(path).forget(block)
    assert ravine.verify(path) == []


def test_a_copy_that_lost_its_empty_folders_goes_on(path, made):
    expected = made()
    for block in range(blocks_of(path)):
        Store(path).forget(block)
    (path / ".ravine/ledger").rmdir()
    with pytest.warns(UserWarning, match="0 of 12 runs"):
        assert (ravine.open(path).steps_taken == 0).all()
    xr.testing.assert_identical(small_sweep(path).load(), expected)


# -- another sweep is refused ----------------------------------------------------------------------------------------


def first_rule(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


def other_rule(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.25**step)


def captured(factor):
    return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor**step)


def optimizer_of(factor):
    class Mine(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.mul_(factor)
            return super().step(closure)

    return Mine


plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
CHANGES = {
    "steps": ({}, {"steps": 16}, ["steps was 15, now 16"]),
    "keep": ({}, {"keep": "summary"}, ["keep was path, now summary"]),
    "values": ({}, {"momentum": [0.0, 0.5, 0.8]}, ["momentum was 0.0, 0.5, 0.9, now 0.0, 0.5, 0.8"]),
    "many": ({"lr": np.geomspace(0.01, 0.1, 9)}, {"lr": np.geomspace(0.01, 0.1, 9) * (1 + 1e-15)}, ["lr was 9 values"]),
    "one more list": ({"lr": 0.1}, {"lr": [0.1, 0.2]}, ["lr was 0.1, now 0.1, 0.2"]),
    "no list": ({}, {"momentum": 0.25}, ["momentum was 0.0, 0.5, 0.9, now 0.25"]),
    "one of a list": ({"momentum": [0.9]}, {"momentum": 0.9}, ["dimensions was lr, momentum, now lr"]),
    "order": ({}, {"momentum": [0.5, 0.0, 0.9]}, ["momentum"]),
    "setting": ({}, {"weight_decay": 0.1}, ["weight_decay was not given, now 0.1"]),
    "constant": ({}, {"problem": bowl(1.001)}, ["loss was 7 at the start"]),
    "away": ({}, {"problem": bowl(far=1e-3)}, ["loss was 7 at the start"]),
    "start": ({}, {"problem": bowl().starting_at({"x": 2.5})}, ["start was x 2.0"]),
    "starts": ({"starts": [{"x": 1.0}]}, {"starts": [{"x": 1.5}]}, ["starts[0] was x 1.0 float64, now x 1.5"]),
    "labels": ({"starts": {"a": {"x": 1.0}}}, {"starts": {"b": {"x": 1.0}}}, ["starts was 'a', now 'b'"]),
    "seed": ({"seed": 1}, {"seed": 2}, ["seed was 1, now 2"]),
    "seeds": ({"seed": [1, 2]}, {"seed": [1, 3]}, ["seed was 1.0, 2.0, now 1.0, 3.0"]),
    "weights": ({"problem": network()}, {"problem": network(weight=1e-3)}, ["start"]),
    "buffers": ({"problem": network(eval=True)}, {"problem": network(eval=True, buffer=1.0)}, ["model"]),
    "mode": ({"problem": network()}, {"problem": network(eval=True)}, ["now", "in eval mode"]),
    "data": ({"problem": network()}, {"problem": network(target=1e-3)}, ["data"]),
    "criterion": ({"problem": network()}, {"problem": network(criterion=torch.nn.L1Loss())}, ["was MSELoss()"]),
    "batch": ({"problem": network(), "batch_size": 3}, {"problem": network(), "batch_size": 4}, ["batch_size was 3"]),
    "argument": ({"problem": line(), "delta": [0.5, 1.0]}, {"problem": line(), "delta": [0.5, 2.0]}, ["delta was 0.5"]),
    "optimizer": ({}, {"optimizer": torch.optim.RMSprop}, ["optimizer was torch.optim.sgd.SGD"]),
    "own": ({"optimizer": optimizer_of(0.5)}, {"optimizer": optimizer_of(0.25)}, ["optimizer was"]),
    "scheduler": ({"scheduler": step_size(3)}, {"scheduler": step_size(4)}, ["step_size=3", "step_size=4"]),
    "rule": ({"scheduler": first_rule}, {"scheduler": other_rule}, ["scheduler was", "first_rule", "other_rule"]),
    "factor": ({"scheduler": captured(0.5)}, {"scheduler": captured(0.6)}, ["scheduler was"]),
    "patience": (
        {"scheduler": lambda o: plateau(o, patience=3)},
        {"scheduler": lambda o: plateau(o, patience=4)},
        ["scheduler was"],
    ),
    "none": ({"scheduler": step_size(3)}, {"scheduler": None}, ["scheduler was", "now not given"]),
    "groups": ({"groups": {"x": {"lr": 0.01}}}, {"groups": {"x": {"lr": 0.02}}}, ["groups was"]),
    "problems": ({"problem": {"a": bowl()}}, {"problem": {"a": bowl(2.0)}}, ["loss[a] was 7 at the start"]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_another_sweep_is_refused_before_any_work(path, made, change, monkeypatch):
    begun, changed, words = CHANGES[change]
    if begun and not {"lr", "momentum"} & begun.keys():
        begun = {"lr": [0.01, 0.1], "steps": 3, "momentum": 0.0} | begun
    small_sweep(path, **begun) if begun else made()
    before = bytes_of(path)
    monkeypatch.setattr(execute.StoredBlocks, "__call__", lambda *_: pytest.fail("work was done"))
    if begun or change == "steps":
        small_sweep(path, **begun)  # the same goes on
    with pytest.raises(ValueError, match="holds another sweep") as refusal:
        small_sweep(path, **(begun | changed))
    said = str(refusal.value)
    assert all(word in said for word in words), said
    assert said.count(", now ") == 1, said  # and nothing that did not change
    assert bytes_of(path) == before


def test_lists_in_another_order_are_another_sweep(path):
    """The blocks of one would land among those of the other."""
    ravine.sweep(bowl(), lr=[0.1, 0.2], momentum=[0.1, 0.2], store=path)
    with pytest.raises(ValueError, match="dimensions was lr, momentum, now momentum, lr"):
        ravine.sweep(bowl(), momentum=[0.1, 0.2], lr=[0.1, 0.2], store=path)


@pytest.mark.parametrize("name", ["ravine", "torch", "numpy"])
def test_another_version_is_refused_by_name(path, made, name, monkeypatch):
    made()
    older = {**provenance.versions(), name: "0.0.1"}
    monkeypatch.setattr(identity, "versions", lambda: older)
    with pytest.raises(ValueError, match=rf"holds another sweep: {name} was \S+, now 0\.0\.1\. Go on"):
        small_sweep(path)


def test_what_changes_no_number_is_no_other_sweep(path, tmp_path, monkeypatch):
    first = {
        "problem": ravine.Problem(lambda p: (p["x"] - 3) ** 2, start={"x": 0.0}),
        "scheduler": lambda o: plateau(o),
    }
    second = {
        "scheduler": lambda o: plateau(o),
        "problem": ravine.Problem(
            lambda p: (p["x"] - 3) ** 2,  # the same, elsewhere
            start={"x": 0.0},
        ),
    }
    small_sweep(path, **first)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(execute.StoredBlocks, "__call__", lambda *_: pytest.fail("work was done"))
    small_sweep("runs.zarr", **second)


def test_another_number_of_threads_is_no_other_sweep(path):
    """Sums over many numbers end in other bits with another number of threads."""
    given = {"lr": [0.1], "steps": 2}
    x = torch.linspace(-3, 3, 300_001)[:, None]
    problem = ravine.Problem(lambda p: ((p["w"] * x - 1) ** 2).mean() + (p["w"] * x).sin().sum(), start={"w": 0.3})
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        ravine.sweep(problem, store=path, **given)
        torch.set_num_threads(4)
        ravine.sweep(problem, store=path, **given)
    finally:
        torch.set_num_threads(threads)


ELSEWHERE = """
import functools, torch, ravine
{lines}
class Mine(torch.optim.SGD):
    def step(self, closure=None):
        if self.defaults["lr"] in {{"one", "two", "three", "four", "five"}}:  # a constant without an order
            return None
        return super().step(closure)
half = functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.5**step)
ravine.sweep(ravine.gallery.rosenbrock(), Mine, 3, lr=[1e-4, 1e-3], scheduler=half, store={path!r})
"""


def test_a_sweep_is_known_again_in_another_process(path):
    """Addresses and lines differ there."""
    exec(ELSEWHERE.format(lines="", path=str(path)), {"__name__": "__main__"})
    before = bytes_of(path / ".ravine")
    lines = "a = 1\nb = [2]\ndef other(): pass"
    processes.run(ELSEWHERE.format(lines=lines, path=str(path)), check=True)
    assert bytes_of(path / ".ravine") == before


def test_numbers_that_an_optimizer_holds_are_told_apart_in_every_digit(path):
    """A tensor's repr has four digits, and of many numbers leaves out most."""

    def holding(lr, many):
        def made(parameters, **given):
            assert many.ndim == 1
            return torch.optim.SGD(parameters, lr=lr.item(), **given)

        return made

    many, other = np.zeros(5000), np.zeros(5000)
    other[2500] = 1.0
    asked = {"steps": 2, "momentum": [0.0, 0.5], "store": path}
    problem = ravine.gallery.rosenbrock()
    ravine.sweep(problem, holding(torch.tensor(1.0001e-4), many), **asked)
    ravine.sweep(problem, holding(torch.tensor(1.0001e-4), many.copy()), **asked)
    for another in (holding(torch.tensor(1.0002e-4), many), holding(torch.tensor(1.0001e-4), other)):
        with pytest.raises(ValueError, match="holds another sweep: optimizer was"):
            ravine.sweep(problem, another, **asked)
    with pytest.raises(ValueError, match="holds another sweep: optimizer was"):
        ravine.sweep(problem, functools.partial(torch.optim.SGD, lr=torch.tensor(1.0001e-4)), **asked)


# -- writing ---------------------------------------------------------------------------------------------------------


def whole_block(store, block):
    return {name: store.read(block, name) for name in store.fields}


def test_writes_that_are_no_whole_block_are_refused(path, made):
    made()
    store = Store(path)
    before, good = bytes_of(path), whole_block(store, 1)
    assert store.tiling.count > 2
    facts = {"agreement": {}, "errors": {}}
    with pytest.raises(ValueError, match="block 1 of 'loss' is float32.*written whole"):
        store.write(1, {**good, "loss": good["loss"][:1]}, facts)
    with pytest.raises(ValueError, match="'loss' is float32.*got float64"):
        store.write(1, {**good, "loss": good["loss"].astype(np.float64)}, facts)
    with pytest.raises(ValueError, match="a block holds loss, position, got final_loss, loss, position"):
        store.write(1, {**good, "final_loss": good["loss"][:, 0]}, facts)
    with pytest.raises(ValueError, match="a block holds loss, position, got loss"):
        store.write(1, {"loss": good["loss"]}, facts)
    for block in (-1, store.tiling.count):
        with pytest.raises(IndexError, match=f"there are blocks 0 to {store.tiling.count - 1}, got {block}"):
            store.write(block, good, facts)
    assert bytes_of(path) == before


# -- opening ---------------------------------------------------------------------------------------------------------


def test_one_run_is_read_without_the_others(path, monkeypatch):
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 240)
    expected = small_sweep(path).load()
    store = Store(path)
    assert store.tiling.count == 12
    for block in range(12):
        for chunk in [*store.chunks(block, "loss"), *store.chunks(block, "position")]:
            if block != 7:
                chunk.write_bytes(b"no one may read this")
    opened = ravine.open(path)
    one = ravine.at(opened, lr=float(expected.lr[2]), momentum=0.5)
    wanted = ravine.at(expected, lr=float(expected.lr[2]), momentum=0.5)
    xr.testing.assert_identical(one.load(), wanted.load())
    with pytest.raises(Exception, match=r"checksum|crc|size|length|bytes|number"):
        opened.loss.load()


def test_an_incomplete_store_says_so(path, made):
    expected = made()
    store = Store(path)
    store.forget(1)
    runs = store.tiling.runs_of(1)
    with pytest.warns(
        UserWarning, match=rf"{12 - (runs.stop - runs.start)} of 12 runs are in .*: the same call"
    ) as told:
        opened = ravine.open(path)
    assert told[0].filename == __file__
    taken = opened.steps_taken.values.ravel()
    assert (taken[runs] == 0).all()
    assert (np.delete(taken, np.arange(runs.start, runs.stop)) == 15).all()
    made = opened.steps_taken > 0
    assert (
        opened.drop_vars("steps_taken")
        .load()
        .equals(expected.assign({name: expected[name].where(made) for name in ("loss", "position")}))
    )


def test_damage_in_a_block_that_is_not_finished_is_told_as_such(path, made):
    made()
    store = Store(path)
    store.forget(1)
    store.chunks(1, "loss")[0].write_bytes(b"no one may read this")
    with pytest.warns(UserWarning, match="of 12 runs are in"):
        opened = ravine.open(path)
    with pytest.raises(ValueError, match=r"loss of block 1 \(.*\), which is not finished: the same call .* makes it$"):
        opened.loss.load()


def test_runs_of_a_block_without_a_record_hold_no_numbers(path, made, monkeypatch):
    """Who is stopped between the arrays of a block and its record has written them, and the block does not count."""
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 500)
    given = {"lr": [0.01, 0.02, 0.05, 0.1], "momentum": [0.0, 0.5], "steps": 25}
    expected = ravine.sweep(bowl(), **given)
    enter, entered = ledger.Ledger.enter, []

    def pressed(self, block, facts):
        entered.append(block)
        if len(entered) == 4:
            raise KeyboardInterrupt
        enter(self, block, facts)

    monkeypatch.setattr(ledger.Ledger, "enter", pressed)
    with pytest.warns(UserWarning, match="interrupted"):
        part = ravine.sweep(bowl(), store=path, **given)
    there = part.steps_taken > 0
    assert 0 < int(there.sum()) < 8
    assert any(chunk.exists() for chunk in Store(path).chunks(entered[-1], "loss"))
    wanted = expected.where(there)
    for chosen in (
        {},
        {"lr": 1},
        {"lr": 3},
        {"lr": slice(1, 4), "momentum": 0},
        {"lr": [3, 0, 1]},
        {"lr": [2, 1], "step": [0, 7]},
        {"lr": 1, "momentum": 1, "step": -1},
        {"lr": 1, "momentum": 0, "step": -1},
        {"lr": xr.DataArray([1, 2, 3, 0], dims="chosen"), "momentum": xr.DataArray([1, 0, 1, 0], dims="chosen")},
        {"lr": xr.DataArray([1, 2, 3], dims="chosen"), "step": xr.DataArray([1, 0, 9], dims="chosen")},
    ):
        for name in ("loss", "position"):
            assert np.array_equal(part[name].isel(chosen), wanted[name].isel(chosen), equal_nan=True), (name, chosen)
    assert int(np.isfinite(ravine.measure.summary(part).final_loss).sum()) == int(there.sum())


def test_an_opened_store_serves_like_memory(case, path, tmp_path):
    given = {"lr": [case.lr / 10, case.lr], "momentum": [0.0, 0.5], "steps": 25}
    expected, stored = ravine.sweep(case.problem, **given), ravine.sweep(case.problem, store=path, **given)
    chosen = {"lr": case.lr, "momentum": 0.5}
    one, wanted = ravine.at(stored, **chosen), ravine.at(expected, **chosen)
    assert [f.sentence for f in ravine.explain(one)] == [f.sentence for f in ravine.explain(wanted)]
    assert ravine.code(one) == ravine.code(wanted)
    if "minimum_loss" in expected:
        xr.testing.assert_identical(ravine.measure.arrival(stored), ravine.measure.arrival(expected))
    figure = ravine.plot.phase(ravine.measure.diverged(stored).astype(float), "lr", "momentum")
    assert figure.axes
    ravine.save(stored, tmp_path / "x.nc")
    xr.testing.assert_identical(ravine.open(tmp_path / "x.nc"), expected)


def test_a_descent_is_drawn_from_a_store(path):
    problem = ravine.gallery.rosenbrock()
    stored = ravine.sweep(problem, lr=[1e-4, 1e-3], steps=20, store=path)
    land = ravine.surface(problem, points=9)
    assert ravine.plot.descent(ravine.at(stored, lr=1e-3), land).axes


def test_any_reader_of_zarr_opens_it(path, made):
    expected = made("nesterov")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = xr.open_zarr(path, chunks=None).load()
    for name in ("loss", "position", "lr", "momentum", "nesterov", "parameter"):
        assert read[name].dims == expected[name].dims
        assert np.array_equal(read[name].values, expected[name].values, equal_nan=expected[name].dtype.kind == "f")


# -- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_ctrl_c_leaves_a_store_that_goes_on(path, optimizer, monkeypatch):
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 500)
    expected = ravine.sweep(bowl(), optimizer, 25, lr=[0.01, 0.02, 0.05, 0.1])
    make, made = recipes.SweepPlan.make, []

    def pressed(self, runs, advance):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(runs)
        return make(self, runs, advance)

    monkeypatch.setattr(recipes.SweepPlan, "make", pressed)
    with pytest.warns(UserWarning, match="2 of 4 runs are in .*: interrupted; the same call .*goes on") as told:
        part = ravine.sweep(bowl(), optimizer, 25, lr=[0.01, 0.02, 0.05, 0.1], store=path)
    assert told[0].filename == __file__
    assert part.steps_taken.values.tolist() == [25, 25, 0, 0]
    assert part.loss.isel(lr=slice(2)).load().equals(expected.loss.isel(lr=slice(2)))
    monkeypatch.setattr(recipes.SweepPlan, "make", make)
    xr.testing.assert_identical(
        ravine.sweep(bowl(), optimizer, 25, lr=[0.01, 0.02, 0.05, 0.1], store=path).load(), expected
    )


def test_ctrl_c_inside_an_engine(path, monkeypatch):
    one, calls = TorchEngine._one, []

    def pressed(self, job, run, record):
        calls.append(run)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return one(self, job, run, record)

    monkeypatch.setattr(recipes, "BLOCK_BYTES", 1200)
    asked = {"optimizer": torch.optim.Adam, "steps": 40, "lr": np.linspace(0.01, 0.1, 8), "engine": "torch"}
    expected = ravine.sweep(bowl(), **asked)
    monkeypatch.setattr(TorchEngine, "_one", pressed)
    with pytest.warns(UserWarning, match="4 of 8 runs"):
        ravine.sweep(bowl(), **asked, store=path)
    stored = ravine.sweep(bowl(), **asked, store=path)
    xr.testing.assert_identical(stored.load(), expected)


# -- what cannot be --------------------------------------------------------------------------------------------------


def test_a_place_that_is_taken_is_left_alone(path, tmp_path):
    path.write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file, and a store is a folder"):
        small_sweep(path)
    assert path.read_text() == "mine"
    for name, fill in {
        "empty": lambda folder: None,
        "other": lambda folder: (folder / "notes.txt").write_text("mine"),
        "group": lambda folder: xr.Dataset({"a": ("x", [1.0])}).to_zarr(folder, zarr_format=3, consolidated=False),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        fill(folder)
        before = bytes_of(folder)
        for call in (small_sweep, ravine.open, ravine.verify):
            with pytest.raises(ValueError, match="is a folder, but no store of a sweep"):
                call(folder)
        assert bytes_of(folder) == before


def test_what_is_no_store_is_not_opened(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no store"):
        ravine.verify(path)
    study = ravine.save(ravine.descend(bowl(), steps=2), tmp_path / "run.nc")
    with pytest.raises(NotADirectoryError, match="is a file"):
        ravine.verify(study)


def test_a_damaged_plan_and_a_later_format_are_told(path, made):
    made()
    plan = path / ".ravine/plan.json"
    whole = plan.read_bytes()
    facts = read_record(plan)
    for copy in (plan, path / ".ravine/plan.copy.json"):
        copy.write_bytes(whole[:-20])
    for call in (small_sweep, ravine.open, ravine.verify):
        with pytest.raises(ValueError, match=r"plan\.json is damaged.*cannot go on.*delete it and sweep again"):
            call(path)
    write_record(plan, {**facts, "format": 9, "identity": {"ravine": "7.0"}})  # the copy is not asked
    for call in (small_sweep, ravine.open, ravine.verify):
        with pytest.raises(
            ValueError, match=r"has format 9, and this ravine reads format 1 and 2.*ravine 7\.0, which wrote it"
        ):
            call(path)


def test_one_process_hands_out_at_a_time(path, made):
    made()
    Store(path).forget(0)
    held = (
        "import sys; from ravine._store.store import Store\n"
        "with Store(sys.argv[1]).writing():\n    print('held', flush=True); sys.stdin.read()"
    )
    other = processes.start(held, path)
    try:
        assert other.wait_for_line() == "held"
        with pytest.raises(
            BlockingIOError, match=rf"is being written by process {other.pid} on .*: wait for it or stop it"
        ):
            small_sweep(path)
        assert ravine.verify(path) == []  # reading is free
    finally:
        other.close_stdin()
        other.wait()
    small_sweep(path)


def test_two_that_begin_at_once(path, monkeypatch):
    """The second finds what the first has begun in the meantime, and both leave nothing behind."""
    write = ledger.write_record

    def overtaken(*args):
        monkeypatch.setattr(create, "write_record", write)
        small_sweep(path)
        write(*args)

    monkeypatch.setattr(create, "write_record", overtaken)
    with pytest.raises(BlockingIOError, match="begun by another process just now"):
        small_sweep(path)
    assert [each.name for each in path.parent.iterdir()] == ["runs.zarr"]
    assert ravine.verify(path) == []


def test_only_litter_of_the_dead_is_cleared(path, tmp_path):
    kept = [tmp_path / "runs.zarr.backup.partial", tmp_path / f"runs.zarr.old.{'0' * 32}.partial"]
    dead = tmp_path / f"runs.zarr.{'0' * 32}.partial"
    for each in kept:
        each.mkdir()
        (each / "notes.txt").write_text("mine")
    (dead / "draft/loss").mkdir(parents=True)
    (dead / "alive").touch()
    small_sweep(path)
    assert all((each / "notes.txt").exists() for each in kept)
    assert not dead.exists()


FULL = """
import resource, sys, numpy as np, torch, ravine
from ravine._store.store import Store
from ravine._sweep import execute, plan as recipes

recipes.BLOCK_BYTES = 40_000
problem = ravine.Problem(lambda p: ((p["w"] - torch.arange(500.)) ** 2).sum(), start={"w": np.zeros(500)})

def tight(home, name, limit):
    call = getattr(home, name)
    def inner(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        setattr(home, name, call)  # the second time there is room
        try:
            return call(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    setattr(home, name, inner)

for home, name, limit in ((execute, "create", 600), (Store, "write", 2000), (Store, "gather", 600)):
    path = f"{sys.argv[1]}/{name}.zarr"
    tight(home, name, limit)
    try:
        ravine.sweep(problem, lr=np.geomspace(1e-4, 0.1, 6), steps=30, store=path)
    except OSError as reason:
        print(name, type(reason).__name__, reason.errno, reason)
    ravine.sweep(problem, lr=np.geomspace(1e-4, 0.1, 6), steps=30, store=path)
"""


def test_a_full_disk_loses_nothing(tmp_path):
    said = processes.run(FULL, tmp_path, check=True).out.splitlines()
    assert [line.split()[0] for line in said] == ["create", "write", "gather"]
    for line in said:
        name, _, told = line.partition(" ")
        path = tmp_path / f"{name}.zarr"
        assert told.startswith(
            f"OSError {errno.EFBIG} cannot write into {path} (File too large): what is finished stays"
        )
        assert ravine.verify(path) == []
        assert Store(path).complete.exists()
    assert not list(tmp_path.rglob("*.partial"))


FULL_FOR_FILES = """
import resource, sys, ravine
from pathlib import Path
from ravine._system import write_text

run = ravine.descend(ravine.gallery.quadratic(), lr=0.1)
film, figure = ravine.plot.animate(run), ravine.plot.losses(run)
writers = {
    "run.nc": lambda path: ravine.save(run, path, force=True),
    "run.gif": lambda path: film.save(path, force=True),
    "run.py": lambda path: write_text(ravine.code(run) * 100, path),
}
for name, write in writers.items():
    path = Path(sys.argv[1], name)
    path.write_text("what was there")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        write(path)
    except OSError as reason:
        print(type(reason).__name__, reason.errno, reason)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert path.read_text() == "what was there"
"""


def test_a_full_disk_is_told_with_the_file_and_a_remedy(tmp_path):
    said = processes.run(FULL_FOR_FILES, tmp_path, check=True).out.splitlines()
    assert said == [
        f"OSError {errno.EFBIG} cannot write {tmp_path / name} (File too large): make room, or choose another place"
        for name in ("run.nc", "run.gif", "run.py")
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run.gif", "run.nc", "run.py"]


def test_a_draft_that_is_written_to_while_it_is_taken_away_goes_all_the_same(tmp_path, monkeypatch):
    remove, late = create.shutil.rmtree, [tmp_path / "late"]

    def remove_then_write(room, **how):
        remove(room, **how)
        if late:  # as by a thread of zarr's that had not heard of the failure
            late.pop()
            room.mkdir()

    monkeypatch.setattr(create.shutil, "rmtree", remove_then_write)
    with create._draft_beside(tmp_path / "runs.zarr"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_without_the_right_to_write(path, made, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbidden)
        with pytest.raises(PermissionError, match=r"^cannot write into .* \(Permission denied\).*the right to write"):
            small_sweep(path)
    assert not path.exists()
    made()
    Store(path).forget(0)
    with monkeypatch.context() as patch:
        patch.setattr("filelock.FileLock.acquire", forbidden)
        with pytest.raises(PermissionError, match="cannot write into"):
            small_sweep(path)
    assert ravine.verify(path) == []


def test_too_little_disk_is_told_before_any_work(path, monkeypatch):
    """And no more than told: how far the runs can be compressed is not known before."""
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.warns(UserWarning, match=r"12 runs are .* before they are compressed, and 1 kB are free in .*: should"):
        small_sweep(path)
    assert ravine.verify(path) == []


RACE = {
    torch.optim.SGD: {"lr": [0.1, -1.0], "momentum": [0.0, 0.5]},
    torch.optim.Adam: {"betas": (0.8, 0.9), "lr": 0.1},
}


@pytest.mark.parametrize("keep", ["path", "summary"])
def test_a_race_goes_into_a_folder_of_stores(path, keep):
    here = ravine.sweep(bowl(), RACE, steps=12, keep=keep)
    stored = ravine.sweep(bowl(), RACE, steps=12, keep=keep, store=path)
    assert sorted(each.name for each in path.iterdir()) == ["1-SGD.zarr", "2-Adam.zarr", "race.json"]
    for found in (stored, ravine.open(path), ravine.open(str(path))):
        assert found.load().identical(here)
    assert here.run.values[-2:].tolist() == ["SGD lr -1.0 momentum 0.5", "Adam"]
    assert here.error.sel(run="SGD lr -1.0 momentum 0.5") == "Invalid learning rate: -1.0"
    before = bytes_of(path)
    assert ravine.sweep(bowl(), RACE, steps=12, keep=keep, store=path).load().identical(here)
    assert bytes_of(path) == before
    assert ravine.verify(path) == []


def test_a_race_goes_on_where_it_stopped(path, monkeypatch):
    here = ravine.sweep(bowl(), RACE, steps=12)
    begun = []

    def stop_at_adam(made, store, executor):
        begun.append(made.job.optimizer_name)
        if len(begun) == 2:
            raise OSError("no space left")
        return on_disk(made, store, executor)

    from ravine._sweep import sweep as verb

    on_disk = verb.on_disk
    monkeypatch.setattr(verb, "on_disk", stop_at_adam)
    with pytest.raises(OSError, match="no space left"):
        ravine.sweep(bowl(), RACE, steps=12, store=path)
    assert ravine.verify(path) == []
    with pytest.raises(ValueError, match="is not complete: Adam was not begun; the same call goes on"):
        ravine.open(path)
    assert ravine.sweep(bowl(), RACE, steps=12, store=path).load().identical(here)
    assert begun == ["SGD", "Adam", "SGD", "Adam"]


def test_a_damaged_race_is_found_out(path, made):
    made("race")
    (chunk,) = (each for each in (path / "2-Adam.zarr" / "loss").rglob("*") if each.is_file() and each.suffix == "")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    (fault,) = ravine.verify(path)
    assert fault.startswith("2-Adam.zarr: block 0 (run 0) of loss cannot be read")
    assert ravine.verify(path, forget=True) == [fault]
    ravine.sweep(bowl(), RACE, steps=12, store=path)
    assert ravine.verify(path) == []
    plan = path / "race.json"
    plan.write_bytes(plan.read_bytes().replace(b"Adam", b"Adan"))
    with pytest.raises(ValueError, match=r"race\.json is damaged"):
        ravine.open(path)


def test_a_folder_of_another_race_is_refused(path, made, made_once, tmp_path):
    made("race")
    with pytest.raises(ValueError, match="holds another race: its runs were SGD lr 0.1 .*, now SGD"):
        ravine.sweep(bowl(), {torch.optim.SGD: {"lr": 0.1}}, steps=12, store=path)
    with pytest.raises(ValueError, match="holds another sweep: steps was 12, now 13"):
        ravine.sweep(bowl(), RACE, steps=13, store=path)
    usual, _ = made_once("usual")
    with pytest.raises(ValueError, match="holds the sweep of one optimizer"):
        ravine.sweep(bowl(), RACE, steps=12, store=usual)
    with pytest.raises(ValueError, match="holds other files"):
        ravine.sweep(bowl(), RACE, steps=12, store=tmp_path)
    with pytest.raises(ValueError, match=r"a store is a folder"):
        ravine.sweep(bowl(), RACE, steps=12, store=tmp_path / "race.nc")


def test_a_plan_of_a_race_leads_nowhere_else(path, made, made_once, tmp_path):
    """It may come from somebody else."""
    made("race")
    shutil.copytree(made_once("usual")[0], tmp_path / "one.zarr")
    for folder in ("../one.zarr", "..", "", 3):
        parts = [{"folder": folder, "dims": ["lr"], "labels": ["a"]}]
        write_record(path / "race.json", {"format": 1, "parts": parts})
        with pytest.raises(ValueError, match="is no plan of a race that ravine wrote"):
            ravine.open(path)
    (path / "link.zarr").symlink_to(tmp_path / "one.zarr")
    write_record(path / "race.json", {"format": 1, "parts": [{"folder": "link.zarr", "dims": ["lr"], "labels": ["a"]}]})
    with pytest.raises(ValueError, match="links in a store are not followed"):
        ravine.verify(path)


def test_save_writes_no_folder(path, made, tmp_path):
    run = ravine.descend(bowl(), steps=2)
    with pytest.raises(ValueError, match=r"saved as one netCDF file.*got .*runs\.zarr"):
        ravine.save(run, path)
    made()
    before = bytes_of(path)
    for force in (False, True):
        with pytest.raises(ValueError, match="one netCDF file"):
            ravine.save(run, path, force=force)
        with pytest.raises(IsADirectoryError, match="is a folder"):
            ravine.save(run, tmp_path, force=force)
    assert bytes_of(path) == before


def test_a_store_does_not_bear_a_file_s_name(article, tmp_path):
    with pytest.raises(ValueError, match=r"a store is a folder, by custom .zarr"):
        ravine.sweep(article["MSELoss"], lr=[0.1], store=tmp_path / "runs.nc")
    assert not list(tmp_path.iterdir())


# -- measured part by part -------------------------------------------------------------------------------------------

MEASURES = ("arrival", "diverged", "first_nonfinite", "summary", "rises", "period", "rate")


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": np.geomspace(0.01, 3, 7), "momentum": [0.0, 0.5, 0.9]},
        {"lr": [-1.0, 0.1, np.inf], "weight_decay": [0.0, 1.0], "nesterov": [False, True]},
        {"optimizer": "adamw", "lr": np.geomspace(0.01, 3, 7), "weight_decay": [0.0, 0.1]},
        {"lr": np.geomspace(0.01, 3, 7), "seed": [1, 2], "batch_size": 10},
        {"lr": np.geomspace(0.01, 3, 7), "scheduler": "cosine"},
    ],
)
def test_measures_of_a_large_store_are_those_of_all_runs_at_once(path, article, settings, monkeypatch):
    """They are asked of parts of it, whatever these are, and the whole is never in memory."""
    problem = article if "seed" not in settings else article["MSELoss"]
    ravine.sweep(problem, steps=30, store=path, **settings)
    whole = ravine.open(path).load()
    expected = {name: getattr(ravine.measure, name)(whole) for name in MEASURES}
    for size in (1, 2000, 4000):
        opened = ravine.open(path)
        monkeypatch.setattr(_parts, "PART_BYTES", size)
        assert len(list(_parts.cuts_of(opened))) > 1
        assert len(list(_parts.cuts_of(whole))) == 0
        for name in MEASURES:
            xr.testing.assert_identical(getattr(ravine.measure, name)(opened), expected[name])
        xr.testing.assert_identical(ravine.measure.steps_to(opened, 1.0), ravine.measure.steps_to(whole, 1.0))


def test_measures_of_parts_tell_what_was_not_made(path, monkeypatch):
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 500)
    ravine.sweep(bowl(), steps=20, lr=[0.01, 0.1, 0.2, 0.3], momentum=[0.0, 0.5, 0.9], store=path)
    Store(path).forget(1)
    with pytest.warns(UserWarning, match="of 12 runs are in"):
        opened, whole = ravine.open(path), ravine.open(path).load()
    monkeypatch.setattr(_parts, "PART_BYTES", 1)
    for name in MEASURES:
        xr.testing.assert_identical(getattr(ravine.measure, name)(opened), getattr(ravine.measure, name)(whole))
    assert "not made" in ravine.measure.arrival(opened).outcome


def test_measures_of_parts_refuse_what_those_of_the_whole_refuse(path, monkeypatch):
    ravine.sweep(bowl(), steps=20, lr=[0.01, 0.1, 0.2, 0.3], maximize=[False, True], store=path)
    monkeypatch.setattr(_parts, "PART_BYTES", 1)
    opened, whole = ravine.open(path), ravine.open(path).load()
    with pytest.raises(ValueError, match="a run with maximize=True climbs"):
        ravine.measure.arrival(opened)
    for measure in (ravine.measure.summary, ravine.measure.diverged):
        xr.testing.assert_identical(measure(opened), measure(whole))
    with pytest.raises(ValueError, match="the study has no 'loss'"):
        ravine.measure.rises(opened.drop_vars("loss"))
    with pytest.raises(TypeError, match="loss must be a number"):
        ravine.measure.steps_to(opened, "low")


LARGE = """
import resource, sys, numpy as np, ravine

if len(sys.argv) > 2:
    ravine.sweep(ravine.gallery.rosenbrock(), lr=np.geomspace(1e-5, 1e-2, 250), momentum=np.linspace(0, 0.99, 80),
                 steps=500, store=sys.argv[1])
else:
    runs = ravine.open(sys.argv[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for measure in (ravine.measure.diverged, ravine.measure.arrival, ravine.measure.summary):
        measure(runs)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, runs.loss.nbytes + runs.position.nbytes)
"""


def test_a_store_is_measured_in_less_memory_than_it_holds(tmp_path):
    processes.run(LARGE, tmp_path / "runs.zarr", "make", check=True)
    grown, held = map(int, processes.run(LARGE, tmp_path / "runs.zarr", check=True).out.split())
    assert held > 120_000_000
    assert grown < 200_000_000  # 5 times the losses, and the positions, before
