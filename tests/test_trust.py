"""What a store promises: it never mixes sweeps, runs nothing, says what is missing, and leaves the rest alone."""

from __future__ import annotations

import functools
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import processes
import ravine
from ravine import _system
from ravine._store import trust
from ravine._store.ledger import read_record, write_record
from ravine._store.store import Store
from ravine._sweep import execute, identity
from ravine._sweep import plan as recipes
from ravine.cli import app

RATES = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.zarr"


@pytest.fixture
def small(monkeypatch):
    """Blocks of a run or two."""
    monkeypatch.setattr(recipes, "BLOCK_BYTES", 600)


@functools.cache  # a problem remembers its minima
def bowl():
    return ravine.Problem(lambda p: p["x"] ** 2 + 3 * p["y"] ** 2, start={"x": 2.0, "y": 1.0})


def swept(path, **changed):
    return ravine.sweep(changed.pop("problem", bowl()), store=path, **{"lr": RATES, "steps": 30} | changed)


def typed(path, *words):
    result = CliRunner().invoke(app, ["sweep", *words, "--lr", "0.1,0.2", "--steps", "5", "-o", str(path)])
    assert result.exit_code == 0, result.output
    return path


def swept_in_blocks(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "BLOCK_BYTES", 600)
        return swept(path)


MADE = {
    "one block": swept,
    "some blocks": swept_in_blocks,
    "typed": lambda path: ravine.open(typed(path, "rosenbrock")),
}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Stores that many tests begin with and what they hold, each made once."""
    folder = tmp_path_factory.mktemp("made")
    return functools.cache(lambda name: (folder / f"{name}.zarr", MADE[name](folder / f"{name}.zarr").load()))


@pytest.fixture
def made(made_once, path):
    """Put a copy of such a store at `path`, for the test to do to it what it likes; return what it holds."""

    def copy(name="some blocks"):
        folder, expected = made_once(name)
        shutil.copytree(folder, path)
        return expected

    return copy


def resumed(path, *words):
    return CliRunner().invoke(app, ["resume", str(path), *words])


def bytes_of(path):
    return {str(each): each.read_bytes() for each in sorted(Path(path).rglob("*")) if each.is_file()}


def lose_a_block(path):
    """A store that has something to go on with."""
    Store(path).forget(0)


# -- 1: the same sweep, proved ---------------------------------------------------------------------------------------


def away(factor):
    """Alike at the start and wherever a store looks to know a loss again."""
    return ravine.Problem(
        lambda p: p["x"] ** 2 + factor * torch.relu(-p["x"] - 5) ** 2, start={"x": 2.0}, minimizers=[{"x": 0.0}]
    )


def line(criterion=None, hook=None):
    x = torch.linspace(-1, 1, 9)[:, None]
    model = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    if hook:
        model.register_forward_hook(hook)
    return ravine.Problem.of(model, criterion or torch.nn.MSELoss(), (x, 3 * x + 1))


class Criterion(torch.nn.Module):
    """Mean square, and something more of outputs that are large."""

    def __init__(self, more):
        super().__init__()
        self._more = [more]  # not in the repr

    def forward(self, prediction, target):
        return ((prediction - target) ** 2).mean() + self._more[0] * torch.relu(prediction.abs() - 4).sum()


def cut(most):
    return lambda module, given, output: torch.where(output.abs() > 4, most * output, output)


def doubled(factor):
    return lambda module, given: (torch.where(given[0] > 1e3, factor * given[0], given[0]),)


class Scaled(torch.optim.SGD):
    factor = 1.0

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(self.factor)
        return super().step(closure)


SCALE = 1.0


class Global(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(SCALE)
        return super().step(closure)


class Helped(torch.optim.SGD):
    """Changes through what a function of its module does."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(helped())
        return super().step(closure)


def helped():
    return SCALE


def late(step, factor):
    return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: factor if k > step else 1.0)


def late_multiplied(step, factor):
    return lambda o: torch.optim.lr_scheduler.MultiplicativeLR(o, lambda k: factor if k == step else 1.0)


WIDE = {"lr": [3.0, 4.0], "steps": 12}
LONG = {"lr": [1e-3], "steps": 110}
OTHERS = {
    "loss away from the start": lambda _: ({**WIDE, "problem": away(0.0)}, {**WIDE, "problem": away(1e-3)}),
    "criterion away from the start": lambda _: (
        {**WIDE, "problem": line(Criterion(0.0))},
        {**WIDE, "problem": line(Criterion(1e-3))},
    ),
    "forward hook on large outputs": lambda _: (
        {**WIDE, "problem": line(hook=cut(1.0))},
        {**WIDE, "problem": line(hook=cut(0.5))},
    ),
    "class attribute": lambda patch: ({"optimizer": Scaled}, {"optimizer": Scaled, "do": (Scaled, "factor", 0.5)}),
    "module global": lambda patch: (
        {"optimizer": Global},
        {"optimizer": Global, "do": (sys.modules[__name__], "SCALE", 0.5)},
    ),
    "schedule after the steps that are looked at": lambda _: (
        {**LONG, "scheduler": late(200, 0.5)},
        {**LONG, "scheduler": late(104, 0.5)},
    ),
    # and what the list above does not name
    "function of a module": lambda patch: (
        {"optimizer": Helped},
        {"optimizer": Helped, "do": (sys.modules[__name__], "SCALE", 0.5)},
    ),
    "multiplied schedule": lambda _: (
        {**LONG, "scheduler": late_multiplied(200, 0.5)},
        {**LONG, "scheduler": late_multiplied(104, 0.5)},
    ),
    "loss of what it remembers": lambda _: (
        {**WIDE, "problem": ravine.Problem(remembering(1.0), start={"x": 2.0}), "engine": "torch"},
        {**WIDE, "problem": ravine.Problem(remembering(2.0), start={"x": 2.0}), "engine": "torch"},
    ),
}


def remembering(factor):
    """A loss that asks a table only far out."""
    table = {"far": factor}
    return lambda p: p["x"] ** 2 * (table["far"] if float(p["x"].detach().abs()) > 6 else 1.0)


@pytest.mark.parametrize("name", OTHERS)
def test_another_sweep_is_told_by_a_block_that_is_made_again(name, path, monkeypatch):
    monkeypatch.setattr(identity, "SCHEDULED", 100)  # which is 1,000
    first, second = OTHERS[name](monkeypatch)
    change = second.pop("do", None)
    swept(path, **first)
    lose_a_block(path) if Store(path).tiling.count > 1 else None
    swept(path, **first)  # the same goes on
    before = bytes_of(path)
    if change:
        monkeypatch.setattr(*change)
    with pytest.raises(
        ValueError, match=r"holds another sweep: block \d+ \(runs? .*\) was made again, and .* of run \d"
    ):
        swept(path, **second)
    assert bytes_of(path) == before


def test_the_first_run_that_differs_is_named(path):
    """Runs of small steps never come to where the loss differs."""
    swept(path, problem=away(0.0), lr=[0.1, 0.2, 3.0, 4.0], steps=12)
    assert Store(path).tiling.count == 1
    with pytest.raises(
        ValueError, match=r"block 0 \(runs 0 to 3\) was made again, and .* of run 2 \(lr 3\.0\) came out"
    ):
        swept(path, problem=away(1e-3), lr=[0.1, 0.2, 3.0, 4.0], steps=12)


def test_another_block_is_made_each_time(path, small, monkeypatch, made):
    made()
    made, make = [], execute.Blocks.__call__
    monkeypatch.setattr(execute.Blocks, "__call__", lambda self, block: made.append(block) or make(self, block))
    for _ in range(12):
        swept(path)
        if len(set(made)) > 1:
            break
    assert len(set(made)) > 1  # fails once in four million times where there are four


def test_a_store_without_a_finished_block_is_known_by_what_it_is(path, small, made):
    made()
    for block in range(Store(path).tiling.count):
        Store(path).forget(block)
    with pytest.raises(ValueError, match="holds another sweep: steps was 30, now 31"):
        swept(path, steps=31)
    swept(path)


# -- 2: nothing in a file is executed or written elsewhere -----------------------------------------------------------


def craft(path, change):
    """Change a store's plan, with checksums that fit, as somebody would who means harm."""
    plan = read_record(path / ".ravine/plan.json")
    change(plan)
    for name in ("plan.json", "plan.copy.json"):
        write_record(path / ".ravine" / name, plan)


@pytest.mark.parametrize(
    "name", ["../../payload", "/tmp/payload", "lr/../../payload", "a\\..\\..\\payload", "C:payload", ".ravine/lock", ""]
)
def test_names_that_leave_the_store_are_refused(name, path, tmp_path, made):
    made("one block")
    victim = tmp_path.parent / "payload"
    craft(path, lambda plan: plan["files"].update({name: "0" * 32}))
    before = bytes_of(path)
    for call in (swept, ravine.open, ravine.verify):
        with pytest.raises(ValueError, match="is no plan that ravine wrote: it names .* no file of a store"):
            call(path)
    assert resumed(path).exit_code == 2
    assert bytes_of(path) == before
    assert not victim.exists()


def evil(folder, marker):
    folder.mkdir(exist_ok=True)
    (folder / "evil.py").write_text(
        f"import pathlib; pathlib.Path({str(marker)!r}).touch()\nimport ravine\nprob = ravine.gallery.rosenbrock()\n"
        "import torch\nclass Opt(torch.optim.SGD): pass\n"
    )


@pytest.mark.parametrize(
    "what", [{"source": "evil:prob"}, {"source": "os:abort"}, {"optimizer": "evil:Opt"}, {"source": "evil.sub:prob"}]
)
def test_a_plan_of_somebody_else_imports_nothing(what, path, tmp_path, made):
    made("typed")
    marker = tmp_path / "marker"
    evil(tmp_path / "there", marker)

    def change(plan):
        plan["typed"].update(what)
        plan["folder"] = str(tmp_path / "there")

    craft(path, change)
    lose_a_block(path)
    told = resumed(path)
    assert told.exit_code == 2
    assert len(told.output.strip().splitlines()) == 1
    assert repr(next(iter(what.values()))) in told.output
    assert "--trust" in told.output
    assert not marker.exists()
    assert "evil" not in sys.modules


def test_trust_is_asked_for_and_given(path, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    evil(tmp_path, marker)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        typed(path, "evil:prob")
        marker.unlink()
        lose_a_block(path)
        told = resumed(path)  # this user made the plan
        assert told.exit_code == 0, told.output
        craft(path, lambda plan: plan.update(program="changed"))  # and not this one
        lose_a_block(path)
        assert resumed(path).exit_code == 2
        told = resumed(path, "--trust")
        assert told.exit_code == 0, told.output
    finally:
        sys.modules.pop("evil", None)


def test_a_plan_without_modules_needs_no_trust(path, tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("a,b\n1,2\n2,4\n3,5\n")
    for name, source in {"gallery": "rosenbrock", "table": str(table)}.items():
        store = typed(tmp_path / f"{name}.zarr", source)
        (store / ".ravine/signature").unlink()
        lose_a_block(store)
        told = resumed(store)
        assert told.exit_code == 0, told.output
        assert Store(store).find_missing() == []


def test_nothing_is_imported_from_inside_a_store(path, tmp_path, monkeypatch, made):
    made("typed")
    marker = tmp_path / "marker"
    evil(path / "code", marker)
    (path / "evil_package").mkdir()
    (path / "evil_package/__init__.py").write_text(f"open({str(marker)!r}, 'a')")
    craft(path, lambda plan: (plan["typed"].update(source="evil:prob"), plan.update(folder=str(path / "code"))))
    told = resumed(path, "--trust")
    assert told.exit_code == 2
    assert "lies in a store" in told.output
    monkeypatch.chdir(path)
    for source in ("evil_package:prob", "evil_package.part:prob"):
        told = CliRunner().invoke(app, ["descend", source, "-o", str(tmp_path / "run.nc")])
        assert told.exit_code == 2
        assert "lies in a store" in told.output
    told = CliRunner().invoke(
        app, ["sweep", "rosenbrock", "--lr", "0.1", "--workers", "2", "-o", str(tmp_path / "b.nc")]
    )
    assert told.exit_code == 2
    assert "workers would import from there" in told.output
    assert not marker.exists()


@pytest.mark.parametrize(
    "place", ["loss/c", "lr/c/0", "lr/zarr.json", ".ravine/ledger", ".ravine/lock", ".ravine/plan.json"]
)
def test_links_inside_a_store_are_not_followed(place, path, tmp_path, small, made):
    made()
    moved = tmp_path / "outside"
    (path / place).rename(moved) if (path / place).exists() else moved.write_text("mine")
    (path / place).symlink_to(moved)
    before = bytes_of(moved) if moved.is_dir() else moved.read_bytes()
    for call in (swept, ravine.open, ravine.verify):
        with pytest.raises(ValueError, match="link"):
            call(path)
    assert (bytes_of(moved) if moved.is_dir() else moved.read_bytes()) == before


@pytest.mark.parametrize(
    "codec", [{"name": "numcodecs.pickle"}, {"name": "pickle", "configuration": {}}, {"name": "evil"}]
)
def test_arrays_that_other_codecs_would_read_are_refused(codec, path, made):
    made("one block")
    file = path / "lr/zarr.json"
    held = json.loads(file.read_bytes())
    held["codecs"] = [codec]
    file.write_text(json.dumps(held))
    craft(path, lambda plan: plan["files"].update({"lr/zarr.json": trust_digest(file)}))
    for call in (swept, ravine.open):
        with pytest.raises(ValueError, match=f"is read by '{codec['name']}'"):
            call(path)


def test_arrays_of_an_older_format_in_the_index_are_refused(path, made):
    """Format 2 knows objects, which are read by running what they say."""
    made("one block")
    file = path / "zarr.json"
    held = json.loads(file.read_bytes())
    held["consolidated_metadata"]["metadata"]["lr"] = {
        "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|O", "compressor": None, "fill_value": 0, "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    file.write_text(json.dumps(held))
    craft(path, lambda plan: plan["files"].update({"zarr.json": trust_digest(file)}))
    with pytest.raises(ValueError, match="has format 2"):
        ravine.open(path)


def trust_digest(file):
    from ravine._study.provenance import digest

    return digest(file.read_bytes())


def test_the_key_is_the_user_s_alone(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    store = Store(typed(path, "rosenbrock"))
    key = trust.config_folder() / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert trust.is_signed(store.hidden, store.manifest)
    assert not trust.is_signed(store.hidden, {**store.manifest, "folder": "/elsewhere"})
    key.chmod(0o644)  # others can read it, and so sign with it
    assert not trust.is_signed(store.hidden, store.manifest)
    key.chmod(0o600)
    key.write_bytes(b"1" * 32)
    assert not trust.is_signed(store.hidden, store.manifest)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path / "zarr.json"))  # where no key can lie
    typed(tmp_path / "unsigned.zarr", "rosenbrock")
    assert not (tmp_path / "unsigned.zarr/.ravine/signature").exists()


# -- 3: what is missing is missing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["loss", "position", "all"])
def test_chunk_files_that_are_gone_are_told(lost, path, small, made):
    expected = made()
    store = Store(path)
    assert store.tiling.count > 2
    for name in store.fields if lost == "all" else [lost]:
        for chunk in store.chunks(1, name):
            chunk.unlink()
    runs = store.tiling.runs_of(1)
    with pytest.warns(UserWarning, match=r"(is|are) gone: .* count as not made .*goes on and makes them again"):
        found = ravine.open(path)
    assert (found.steps_taken.values[runs] == 0).all()
    assert np.delete(found.steps_taken.values, np.arange(runs.start, runs.stop)).tolist().count(30) == 4 - (
        runs.stop - runs.start
    )
    said = [each.sentence for each in ravine.explain(found.isel(lr=runs.start))]
    assert said == ["This run was not made: nothing is known of it."]
    assert any("is gone" in each for each in ravine.verify(path))
    with pytest.warns(UserWarning, match="runs are made again|run is made again"):
        again = swept(path)
    xr.testing.assert_identical(again.load(), expected)
    assert ravine.verify(path) == []


@pytest.mark.parametrize("name", ["lr/c/0", "lr/zarr.json", "zarr.json", "parameter/c/0", "step/c/0"])
def test_a_flipped_bit_in_what_was_written_first_is_told_on_opening(name, path, made):
    expected = made("one block")
    file = path / name
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 4
    file.write_bytes(held)
    with pytest.raises(ValueError, match=rf"{name} is not what was written.*goes on"):
        ravine.open(path)
    xr.testing.assert_identical(swept(path).load(), expected)


def test_a_damaged_chunk_is_told_where_it_is_read(path, small, made):
    made()
    store = Store(path)
    chunk = store.chunks(2, "loss")[0]
    held = bytearray(chunk.read_bytes())
    held[-1] ^= 1
    chunk.write_bytes(held)
    opened = ravine.open(path)
    first = store.tiling.runs_of(2).start
    told = (
        rf"{chunk} is damaged .*; it holds loss of block 2 \(run.*\)\. ravine verify {path} --forget .* makes it again"
    )
    for read in (
        lambda: opened.loss.load(),
        lambda: opened.loss.isel(lr=first).values,
        lambda: opened.loss.isel(lr=[0, first], step=[0, 3]).values,
        lambda: opened.loss.isel(lr=xr.DataArray([0, first], dims="run")).values,
    ):
        with pytest.raises(ValueError, match=told):
            read()
    opened.loss.isel(lr=0).load()
    opened.position.load()
    chunk.unlink()
    with pytest.raises(ValueError, match=rf"{chunk} is gone"):
        opened.loss.isel(lr=first).load()


@pytest.mark.parametrize("which", ["plan.json", "plan.copy.json"])
@pytest.mark.parametrize("how", ["flip", "unlink", "empty"])
def test_one_plan_is_enough(which, how, path, small, made):
    expected = made()
    file = path / ".ravine" / which
    whole = file.read_bytes()
    if how == "unlink":
        file.unlink()
    else:
        held = bytearray(whole)
        held[random.Random(1).randrange(len(held))] ^= 2
        file.write_bytes(held if how == "flip" else b"")
    xr.testing.assert_identical(ravine.open(path).load(), expected)
    assert any(which in each for each in ravine.verify(path))
    lose_a_block(path)
    xr.testing.assert_identical(swept(path).load(), expected)
    assert file.read_bytes() == whole
    assert ravine.verify(path) == []


def test_an_incomplete_store_says_so_to_any_reader(path, small, made):
    made()
    assert "incomplete" not in xr.open_zarr(path, chunks=None).attrs
    lose_a_block(path)
    assert "runs are missing" in xr.open_zarr(path, chunks=None).attrs["incomplete"]
    assert ravine.verify(path) == []
    with pytest.warns(UserWarning, match="runs are in"):
        assert "incomplete" not in ravine.open(path).attrs
    swept(path)
    assert "incomplete" not in xr.open_zarr(path, chunks=None).attrs


def test_who_verifies_while_another_gathers_hears_no_false_alarm(path, small, monkeypatch, made):
    made()
    store = Store(path)
    store.complete.unlink()
    read = Store.read_gathered

    def overtaken(self):
        found = read(self)
        monkeypatch.setattr(Store, "read_gathered", read)
        store.gather()  # just after it was looked for
        return found

    monkeypatch.setattr(Store, "read_gathered", overtaken)
    assert ravine.verify(path) == []


# -- 4 is in test_threads.py; 5: the user's things -------------------------------------------------------------------


def test_the_start_method_of_multiprocessing_stays_open_and_random_untouched(tmp_path):
    code = f"""
{processes.FORGET}; import multiprocessing, random
random.seed(3); before = random.getstate()
import ravine
problem = ravine.gallery.rosenbrock()
runs = ravine.sweep(problem, lr=[1e-4, 1e-3], steps=5, store={str(tmp_path / "runs.zarr")!r})
ravine.open({str(tmp_path / "runs.zarr")!r}).load(); ravine.verify({str(tmp_path / "runs.zarr")!r})
ravine.save(runs, {str(tmp_path / "runs.nc")!r}); ravine.open({str(tmp_path / "runs.nc")!r})
assert multiprocessing.get_start_method(allow_none=True) is None
assert random.getstate() == before
multiprocessing.set_start_method("spawn")
"""
    processes.run(code, check=True)


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = swept("~/runs.zarr")
    assert (tmp_path / "runs.zarr").is_dir()
    xr.testing.assert_identical(ravine.open("~/runs.zarr").load(), expected.load())
    assert ravine.verify("~/runs.zarr") == []
    ravine.save(expected, "~/runs.nc")
    xr.testing.assert_identical(ravine.open(Path("~/runs.nc")), expected)
    assert not Path("~").exists()


def test_other_places_go_through_fsspec(tmp_path, monkeypatch, made):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    run = ravine.descend(bowl(), lr=0.1, steps=5)
    there = ravine.save(run, "memory://folder/run.nc")
    xr.testing.assert_identical(ravine.open("memory://folder/run.nc"), run)
    xr.testing.assert_identical(ravine.open(there), run)
    with pytest.raises(FileExistsError, match="memory://folder/run.nc exists already"):
        ravine.save(run, "memory://folder/run.nc")
    ravine.save(run, "memory://folder/run.nc", force=True)
    with pytest.raises(FileNotFoundError, match="there is no file memory://folder/none.nc"):
        ravine.open("memory://folder/none.nc")
    expected = made("one block")
    fsspec.filesystem("memory").put(str(tmp_path / "runs.zarr"), "/copy.zarr", recursive=True)
    xr.testing.assert_identical(ravine.open("memory://copy.zarr"), expected)
    for place in ("memory://new.zarr", "s3://bucket/new.zarr"):
        with pytest.raises(ValueError, match=f"{place} is no folder of this machine.*sweep into a folder here"):
            swept(place)
    with pytest.raises(ValueError, match="nowhere://x.nc cannot be reached"):
        ravine.open("nowhere://x.nc")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match="pip install fsspec"):
        ravine.open("memory://folder/run.nc")
    assert [each.name for each in tmp_path.iterdir()] == ["runs.zarr"]


# -- 6: input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["descend", "rosenbrock", "--steps", "99999999999"],
        ["sweep", "rosenbrock", "--lr", "0.1,0.2", "--steps", "99999999999"],
        ["sweep", "rosenbrock", "--lr", "0.1,0.2", "--steps", "99999999999", "--summary"],
        ["sweep", "rosenbrock", "--lr", "0.1,0.2", "--steps", "99999999999", "-o", "runs.zarr"],
        ["sweep", "rosenbrock", "--lr", "0.1:1:100000", "--momentum", "0:0.9:100000", "--steps", "10"],
    ],
)
def test_what_cannot_fit_is_refused_before_work(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2, told.output
    assert len(told.output.strip().splitlines()) == 1
    assert "GB" in told.output
    assert list(tmp_path.iterdir()) == []


def test_a_surface_that_cannot_fit_is_refused():
    with pytest.raises(MemoryError, match=r"a surface of 99,999,999 by 99,999,999 points takes .* GB, .* are free"):
        ravine.surface(ravine.gallery.rosenbrock(), x=(0, 1), y=(0, 1), points=99_999_999)


def test_limits_of_the_shell_are_seen():
    code = """
import resource, torch, ravine
from ravine._system import bytes_free
before = bytes_free()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 200_000_000, resource.RLIM_INFINITY))
assert bytes_free() <= 200_000_000 < before
try:
    ravine.sweep(ravine.gallery.rosenbrock(), lr=[0.1] + [0.1 + k / 1000 for k in range(1, 1000)], steps=20_000)
except MemoryError as reason:
    print(reason)
"""
    assert "are free" in processes.run(code, check=True).out


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_containers_are_seen(version, tmp_path):
    groups, root = tmp_path / "cgroup", tmp_path / "sys"
    home = root if version == 2 else root / "memory"
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    groups.write_text("0::/pod/job\n" if version == 2 else "5:cpu,cpuacct:/x\n4:memory:/pod/job\n")
    for folder, limit, used in (("pod/job", "max" if version == 2 else 2**63 - 4096, 5), ("pod", 1000, 400)):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder / names[0]).write_text(f"{limit}\n")
        (home / folder / names[1]).write_text(f"{used}\n")
    assert min(_system._cgroup_free(groups, root)) == 600


def test_a_store_that_is_moved_leaves_no_husk(path, tmp_path, small, monkeypatch, made_once):
    _, expected = made_once("some blocks")
    make, moved = recipes.SweepPlan.make, tmp_path / "moved.zarr"

    def taken_away(self, runs, advance):
        made = make(self, runs, advance)
        if runs.start and path.exists():
            path.rename(moved)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(recipes.SweepPlan, "make", taken_away)
        with pytest.raises(FileNotFoundError, match="moved or deleted while it was written.*the same sweep goes on"):
            swept(path)
    assert not path.exists()
    xr.testing.assert_identical(swept(moved).load(), expected)
    assert ravine.verify(moved) == []


def test_a_store_that_is_moved_in_the_middle_of_a_write_leaves_no_husk(path, tmp_path, small, monkeypatch):
    enter = execute.Store.write.__globals__["Ledger"].enter

    def taken_away(self, block, facts):
        if block == 1:
            path.rename(tmp_path / "moved.zarr")
            (path / "loss/c").mkdir(parents=True)  # as zarr does on its way
        return enter(self, block, facts)

    monkeypatch.setattr(execute.Store.write.__globals__["Ledger"], "enter", taken_away)
    with pytest.raises(FileNotFoundError, match="moved or deleted"):
        swept(path)
    assert not any(each.is_file() for each in path.rglob("*"))


def test_files_of_others_that_end_alike_stay(path, tmp_path, small, made):
    made()
    mine = [path / "notes.partial", path / ".ravine/download.partial", path / f"big.csv.{'a' * 32}.partial"]
    for each in mine:
        each.write_text("mine")
    dead = [path / f".ravine/plan.json.{'a' * 32}.partial", path / f"loss/c/0.{'b' * 32}.partial"]
    for each in dead:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("litter")
    beside = tmp_path / f"other.zarr.{'0' * 32}.partial"
    beside.mkdir()
    (beside / "thesis.txt").write_text("mine")
    lose_a_block(path)
    swept(path)
    swept(tmp_path / "other.zarr")
    assert all(each.read_text() == "mine" for each in [*mine, beside / "thesis.txt"])
    assert not any(each.exists() for each in dead)


def test_a_complete_store_opens_where_nobody_can_write(path, small, monkeypatch, made):
    expected = made()

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    before = bytes_of(path)
    monkeypatch.setattr("filelock.FileLock.acquire", forbidden)
    for room in ("store", "lock"):
        monkeypatch.setattr(f"ravine._store.{room}.write_record", forbidden)
    xr.testing.assert_identical(swept(path).load(), expected)
    assert bytes_of(path) == before


@pytest.mark.parametrize(
    "dtypes", ["null", "[]", '{"loss": "nonsense"}', '{"none": "<f4"}', '{"loss": "|O"}', "{", "3"]
)
def test_dtypes_that_ravine_did_not_write_are_one_line(dtypes, tmp_path):
    study = ravine.descend(bowl(), lr=0.1, steps=3)
    path = ravine.save(study, tmp_path / "run.nc")
    with xr.open_dataset(path, engine="scipy") as held:
        foreign = held.load()
    foreign.attrs["dtypes"] = dtypes
    foreign.to_netcdf(tmp_path / "foreign.nc", engine="scipy")
    told = CliRunner().invoke(app, ["explain", str(tmp_path / "foreign.nc")])
    assert told.exit_code in (0, 2)
    assert told.exception is None or isinstance(told.exception, SystemExit)
    if told.exit_code:
        assert len(told.output.strip().splitlines()) == 1
