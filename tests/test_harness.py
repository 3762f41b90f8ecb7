"""Flipped bits, files, tables, command lines and stores of every kind: another each time, and long with ``-m slow``."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import struct
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import ravine
from ravine._store.ledger import read_record, write_record
from ravine._sweep import plan
from ravine.cli import app


def amounts(short, long):
    return pytest.mark.parametrize("amount", [short, pytest.param(long, marks=pytest.mark.slow)])


@contextmanager
def no_longer_than(seconds, what):
    """Complain of what hangs, with what it was."""

    def late(*_):
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(words):
    """Run a command line; it may refuse, in a line, and never breaks."""
    with no_longer_than(60, words), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = CliRunner().invoke(app, [str(word) for word in words])
    assert told.exception is None or isinstance(told.exception, SystemExit), (words, repr(told.exception))
    assert told.exit_code in (0, 1, 2), (words, told.output)
    assert "Traceback" not in told.output, (words, told.output)
    if told.exit_code == 2 and "Usage:" not in told.output:  # typer's own has a frame, with standalone_mode
        assert len([line for line in told.output.splitlines() if line.startswith("ravine: ")]) <= 2, (
            words,
            told.output,
        )
    return told


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "runs.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_BYTES", 1500)
        words = ["sweep", "article", "--criterion", "MSELoss", "--lr", "0.01:1:6:log", "--momentum", "0,0.9"]
        words += ["--steps", "30", "-o"]
        told = CliRunner().invoke(app, [*words, str(path)])
    assert told.exit_code == 0, told.output
    return path


# -- flipped bits ----------------------------------------------------------------------------------------------------


@amounts(25, 545)
def test_no_flipped_bit_is_ever_drawn(amount, store, chance):
    """It is found by verify; and who reads before hears of it, or reads what was written."""
    expected = ravine.open(store).load()
    files = [
        each for each in sorted(store.rglob("*")) if each.is_file() and each.stat().st_size and each.name != "signature"
    ]
    for _ in range(amount):
        file = chance.choice(files)
        whole = file.read_bytes()
        held, place = bytearray(whole), chance.randrange(len(whole))
        held[place] ^= 1 << chance.randrange(8)
        file.write_bytes(held)
        where = (file, place)
        with suppress(ValueError):
            assert ravine.verify(store), where
        found = None
        with suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ravine.open(store).load()
        if found is not None:
            taken = found.get("steps_taken")
            made = slice(None) if taken is None else taken.values == 30
            for name in ("loss", "position"):
                assert np.array_equal(found[name].values[made], expected[name].values[made], equal_nan=True), where
            for name in expected.coords:
                assert found[name].identical(expected[name]), where
        file.write_bytes(whole)
    assert ravine.verify(store) == []


# -- stores that somebody has made up --------------------------------------------------------------------------------

ODD = [
    None,
    True,
    -1,
    0,
    3,
    10**30,
    1e300,
    "",
    "../x",
    "/etc/passwd",
    "os:abort",
    "evil:prob",
    "\x00",
    "é" * 50,
    [],
    {},
]
ODD += [[[]], {"a": None}, ["a", 1], {"..": "x"}, [-1], [10**18], "<f4", "|O", "nan"]


def places_of(facts, at=()):
    """Walk through everything in a record."""
    yield at
    inner = facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else ()
    for name, each in inner:
        yield from places_of(each, (*at, name))


def changed(facts, chance):
    facts = copy.deepcopy(facts)
    for _ in range(chance.choice([1, 1, 1, 3])):
        places = [each for each in places_of(facts) if each]
        if not places:  # all of it was taken away
            break
        *way, last = chance.choice(places)
        home = facts
        for name in way:
            home = home[name]
        how = chance.randrange(3)
        if how == 0 and isinstance(home, dict):
            del home[last]
        elif how == 1 and isinstance(home, dict):
            home[chance.choice(["../../payload", "x", "a/b", "/tmp/p"])] = chance.choice(ODD)
        else:
            home[last] = chance.choice(ODD)
    return facts


@amounts(8, 300)
def test_stores_that_somebody_has_made_up(amount, store, chance, tmp_path):
    """Their checksums fit. They are refused in words or serve; nothing beside them is touched or run."""
    for number in range(amount):
        home = tmp_path / str(number)
        shutil.copytree(store, home / "runs.zarr")
        (home / "payload").write_text("mine")
        (home / "evil.py").write_text("open('ran', 'w')\nprob = 3\n")
        hidden = home / "runs.zarr/.ravine"
        record = chance.choice(
            [hidden / "plan.json"] * 4 + [hidden / "complete.json", chance.choice(sorted(hidden.glob("ledger/*")))]
        )
        facts = changed(read_record(record), chance)
        for file in [record, hidden / "plan.copy.json"] if record.name == "plan.json" else [record]:
            write_record(file, facts)
        if chance.random() < 0.5:
            shutil.rmtree(home / "runs.zarr/loss/c")
        for call in (ravine.open, ravine.verify):
            refusals = (ValueError, MemoryError, FileNotFoundError)
            with suppress(*refusals), warnings.catch_warnings(), no_longer_than(60, facts):
                warnings.simplefilter("ignore")
                call(home / "runs.zarr")
        run(["resume", home / "runs.zarr"])
        assert sorted(each.name for each in home.iterdir()) in (
            ["evil.py", "payload", "runs.zarr"],
            ["evil.py", "payload", "runs.png", "runs.zarr"],
        )
        assert (home / "payload").read_text() == "mine"
        shutil.rmtree(home)


# -- files of others -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    article = ravine.gallery.article()
    runs = ravine.descend(article["MSELoss"], lr=0.1, momentum=0.9, steps=12)
    land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8), points=7)
    made = [
        runs,
        runs.assign(surface=land["surface"]),
        ravine.sweep(article["MSELoss"], lr=[0.01, 0.1], momentum=[0.0, 0.9], steps=6),
    ]
    return [ravine.save(each, folder / f"{k}.nc") for k, each in enumerate(made)]


def foreign(path, sources, chance, kind):
    """Write some file that ends in .nc, of one of six kinds."""
    whole = chance.choice(sources).read_bytes()
    if kind == 0:
        path.write_bytes(bytes(chance.randrange(256) for _ in range(chance.randrange(400))))
    elif kind == 1:
        path.write_bytes(whole[: chance.randrange(len(whole))])
    elif kind == 2:  # bytes of the head: names, kinds and lengths
        held = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            held[chance.randrange(min(len(held), 3000))] = chance.randrange(256)
        path.write_bytes(held)
    elif kind == 3:
        path.write_bytes(b"CDF\x01" + struct.pack(">I", chance.choice([0, 5, 2**32 - 1])) + whole[8:])
    else:
        with xr.open_dataset(chance.choice(sources), engine="scipy") as held:
            study = held.load()
        study = odd(study, chance) if kind == 4 else strange(chance)
        with warnings.catch_warnings():  # xarray does not like a space in a name
            warnings.simplefilter("ignore", xr.SerializationWarning)
            study.to_netcdf(path, engine="scipy")


def odd(study, chance):
    """Take away, rename or change something."""
    name = chance.choice(sorted(map(str, study.variables)))
    dim = chance.choice(sorted(map(str, study.dims)))
    how = chance.randrange(6)
    if how == 0:
        return study.drop_vars(name)
    if how == 1:
        return study.isel({dim: slice(0, chance.choice([0, 1]))})
    if how == 2:
        return study.rename({name: chance.choice(["other", "loss2", "x y", "$a_b$"])})
    if how == 3:
        return study.isel({dim: 0}, drop=chance.random() < 0.5)
    if how == 4:
        words = ["null", "3", "[]", "{", '{"engine": 3}', '{"engine": null, "settings": []}', "ä\u0007"]
        study[name].attrs["provenance"] = chance.choice(words)
        return study
    study.attrs["dtypes"] = chance.choice(
        ["null", "{}", "[3]", '{"loss": "x"}', '{"nothing": "<f4"}', '{"loss": "<U3"}']
    )
    return study


def strange(chance):
    sizes = {dim: chance.choice([0, 1, 3]) for dim in ("time", "step", "parameter", "lat")}
    names = ["temperature", "loss", "position", "surface", "error", "steps_taken", "minimizer", "lr"]
    data = {}
    for name in chance.sample(names, 3):
        dims = chance.sample(sorted(sizes), chance.randrange(3))
        data[name] = (dims, np.full([sizes[d] for d in dims], chance.choice([0.0, np.nan, 1e38])))
    return xr.Dataset(data)


@amounts(18, 700)
def test_files_of_others_are_refused_in_a_line_or_serve(amount, studies, chance, tmp_path):
    path = tmp_path / "foreign.nc"
    for number in range(amount):
        foreign(path, studies, chance, kind=number % 6)
        view = chance.choice(["", "losses", "descent", "phase", "stability", "fit"])
        if chance.random() < 0.5:
            run(["explain", path])
        else:
            run(["plot", path, *([view] if view else []), "-o", tmp_path / "picture.png", "--force"])


# -- tables ----------------------------------------------------------------------------------------------------------


def table(chance):
    separator = chance.choice([",", ";", "\t", " ", "|", ", "])
    columns = chance.choice([1, 2, 2, 2, 3, 4])
    cells = ["1", "2.5", "-3", "1e5", "0", "0", "7", "", "nan", "inf", "x", '"a,b"', "1e400", "½", "\x00", "1_000"]
    weights = [9] * 7 + [1] * (len(cells) - 7)
    names = [chance.choice(["a", "b", "a", "Größe", "loss", "$x$", "\x07", "", "step", "x y"]) for _ in range(columns)]
    rows = [chance.choices(cells, weights, k=columns) for _ in range(chance.choice([0, 1, 2, 5, 9]))]
    lines = [separator.join(row) for row in ([names] if chance.random() < 0.8 else []) + rows]
    if lines and chance.random() < 0.2:
        lines[-1] += separator + "8"
    return (
        chance.choice(["\n", "\r\n"])
        .join(lines)
        .encode(chance.choice(["utf-8", "utf-8", "latin-1", "utf-16"]), "replace")
    )


@amounts(12, 200)
def test_tables_of_any_kind(amount, chance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(amount):
        Path("points.csv").write_bytes(table(chance))
        words = chance.choice([[], ["--x", "a", "--y", "b"], ["--standardize"], ["--y", "b"]])
        run(["descend", "points.csv", *words, "--steps", "3", "--force"])


# -- command lines ---------------------------------------------------------------------------------------------------

SOURCES = [
    "article",
    "rosenbrock",
    "quadratic(condition=5)",
    "quadratic(",
    "rosenbrok",
    "none.csv",
    "none:x",
    "json:x",
    "",
]
VALUES = [
    "0.1",
    "0",
    "-1",
    "nan",
    "inf",
    "1e400",
    "x",
    "",
    "0.1,0.2",
    "0:1:3",
    "1:0:log",
    "0.1:1:3:log",
    "0.1:1:-3",
    "true",
]
VALUES += ["None", "[1]", "(0.9, 0.99)", "é", "99999999999", "0x10", "1,1", "'", "__import__('os')", "--", "-x"]
OPTIONS = {
    "descend": (
        "lr momentum dampening weight-decay batch-size seed set scheduler optimizer start criterion x y format style "
        "nesterov maximize foreach"
    ),
    "sweep": (
        "lr momentum dampening weight-decay nesterov maximize set scheduler batch-size seed optimizer start criterion "
        "summary format out"
    ),
    "explain": "at",
    "plot": "at x y step mark style",
    "resume": "style format",
    "verify": "forget",
}
WORDS = {
    "--set": ["betas=(0.9,0.99)", "lr=0.1", "amsgrad=true", "=", "a=b=c", "momentum=0.5"],
    "--scheduler": [
        "StepLR(step_size=2)",
        "StepLR",
        "StepLR(step_size='a')",
        "CosineAnnealingLR(T_max=3)",
        "OneCycleLR()",
    ],
    "--optimizer": ["Adam", "SGD", "LBFGS", "Optimizer", "adam", "json:loads", "none:x", "AdamW", "SparseAdam"],
    "--start": ["x=1", "y=nan", "z=1", "x=", "weight=3"],
    "--criterion": ["MSELoss", "HuberLoss(delta=0.5)", "HuberLoss(delta=-1)", "NLLLoss", "CTCLoss", "x"],
    "--at": ["lr=0.1", "step=3", "momentum=x", "criterion=MSELoss", "parameter=weight"],
    "--mark": ["mine: lr=0.1 momentum=0.9", "mine", ": lr=x"],
    "--format": ["png", "svg", "bmp"],
    "--style": ["dark", "none", "article"],
    "--out": ["runs.zarr", "a.nc", "a.txt", "memory://x.zarr", "none/x.nc", "."],
}
SWITCHES = ("--nesterov", "--maximize", "--foreach", "--summary", "--forget")


def _some(names, chance):
    return chance.sample(names, chance.randrange(min(4, len(names) + 1)))


def command_line(command, chance, files):
    words = [command, chance.choice(SOURCES) if command in ("descend", "sweep") else chance.choice(files)]
    if command == "plot" and chance.random() < 0.7:
        words.append(
            chance.choice(["losses", "descent", "phase", "stability", "fit", "anatomy", "none", "surface", "panel"])
        )
    for option in (f"--{each}" for each in _some(OPTIONS[command].split(), chance)):
        words.append(option)
        if option not in SWITCHES or (command == "sweep" and option != "--summary"):
            words.append(chance.choice(WORDS.get(option, VALUES) if chance.random() < 0.9 else VALUES))
    if command in ("descend", "sweep"):
        words += ["--steps", chance.choice(["3", "3", "3", "0", "-1", "99999999999", "x"])]
        words += [] if "--out" in words else ["--force"]
    if command == "plot":
        words += ["-o", "picture.png", "--force"]
    return words


@amounts(24, 2000)
def test_command_lines_of_any_kind(amount, studies, store, chance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store, "runs.zarr")
    Path("notes.json").write_text(json.dumps({"a": 1}))
    files = [*map(str, studies), "runs.zarr", "none.nc", "notes.json", ".", "", "memory://none.nc"]
    for number in range(amount):
        run(command_line(list(OPTIONS)[number % len(OPTIONS)], chance, files))
