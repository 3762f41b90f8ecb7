from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import pickle
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
import typer.testing
from filelock import FileLock
from typer.testing import CliRunner

import bare
import planes
import ravine
from ravine._html import page as html
from ravine.article import claims, figures, knobs, valley
from ravine.cli import app
from ravine.plot._canvas.style import OURS


def rosenbrock(p):
    return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2


@dataclass
class Case:
    """One problem, a bare torch loop over it, settings that suit it, and two axes with ranges."""

    problem: ravine.Problem
    loop: Any
    lr: float
    axes: dict[str, tuple[float, float]]


def cases(folder):
    x, y = bare.article_data()
    inputs, targets = torch.from_numpy(x).reshape(-1, 1), torch.from_numpy(y).reshape(-1, 1)
    article = ravine.gallery.article()["MSELoss"]

    table = folder / "points.csv"
    rows = [f"{a},{b}" for a, b in zip([0.5, 1.0, 2.0, 3.5], [1.0, 2.5, 3.0, 6.5], strict=True)]
    table.write_text("\n".join(["dose,effect", *rows]))
    neuron = torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(neuron.weight)
    torch.nn.init.zeros_(neuron.bias)
    dose, effect = torch.tensor([[0.5], [1.0], [2.0], [3.5]]), torch.tensor([[1.0], [2.5], [3.0], [6.5]])

    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    points = torch.randn(20, 2)
    heights = points[:, :1] * points[:, 1:]
    mse = torch.nn.MSELoss()
    return {
        "article": Case(
            article,
            lambda **k: bare.train(bare.article_neuron(), mse, inputs, targets, **k),
            0.1,
            {"bias": (-5, 8), "weight": (-5, 8)},
        ),
        "rosenbrock": Case(
            ravine.Problem(rosenbrock, start={"x": -1.2, "y": 1.0}),
            lambda **k: bare.minimise(rosenbrock, {"x": -1.2, "y": 1.0}, **k),
            1e-3,
            {"x": (-2, 2), "y": (-1, 3)},
        ),
        "csv": Case(
            ravine.Problem.from_csv(table),
            lambda **k: bare.train(neuron, mse, dose, effect, **k),
            0.05,
            {"weight": (-1, 4), "bias": (-2, 2)},
        ),
        "network": Case(
            ravine.Problem.of(network, mse, (points, heights)),
            lambda **k: bare.train(network, mse, points, heights, **k),
            0.1,
            {"0.weight[0,1]": (-1, 1), "2.bias": (-2, 2)},
        ),
    }


def pytest_collection_modifyitems(items):
    """The article's page comes first: another process that wants it later finds it written, and does not wait."""
    items.sort(key=lambda item: not item.nodeid.endswith("test_article_writes_all_and_prints_the_log[ravine]"))


def pytest_collection_finish():
    """What is there before the first test stays to the end: no collection of garbage walks through it again.

    And there are fewer of them: a figure, or a loop of torch, makes more objects than Python expects of a program.
    Matplotlib's choice of a backend is made here, which is a change of its settings, and not by a test that draws.
    """
    mpl.rcParams["backend"]
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    typer.testing._get_command = functools.cache(typer.testing._get_command)  # else made anew for each command line


@pytest.fixture(scope="session", autouse=True)
def settings_folder(tmp_path_factory):
    """The key that signs plans lies in the user's own folder, and not in a test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # else every process of a test compiles ravine anew
        yield


@pytest.fixture
def chance():
    """Chance that is another each time; RAVINE_SEED repeats what a failure printed."""
    seed = int(os.environ.get("RAVINE_SEED") or int.from_bytes(os.urandom(4), "big"))
    print(f"RAVINE_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(name="random")
def random_numbers():
    """Numbers that are others each time; RAVINE_TEST_SEED repeats what a failure printed."""
    seed = int(os.environ.get("RAVINE_TEST_SEED", np.random.SeedSequence().entropy % 2**32))
    print(f"RAVINE_TEST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def all_cases(tmp_path_factory):
    return cases(tmp_path_factory.mktemp("data"))


@pytest.fixture(params=["article", "rosenbrock", "csv", "network"])
def case(request, all_cases):
    return all_cases[request.param]


@pytest.fixture(scope="session")
def told():
    """The article's study, computed once."""
    return make_parts_once()["ravine.article.study"]()


@pytest.fixture(scope="session")
def trained():
    """A small network's training."""
    return planes.train(lr=0.3, momentum=0.9)


@pytest.fixture(scope="session")
def run(trained):
    """The same on the plane of its principal components."""
    return planes.project(trained)


@pytest.fixture(scope="session")
def written_article(tmp_path_factory):
    """What `ravine article` writes and prints with some words more, once for all processes that test: it takes long."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def write(*words):
        place = root / f"article-{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"
        printed = place / "printed.txt"
        with FileLock(f"{place}.lock"):
            if not printed.exists():
                with keep_page(place), pytest.MonkeyPatch.context() as patch:
                    for name, make in make_parts_once().items():
                        patch.setattr(name, make)
                    patch.setitem(OURS, "savefig.dpi", COARSE if words else FINE)  # the usual one is looked at
                    result = CliRunner().invoke(app, ["article", "--out", str(place / "figures"), *words])
                assert result.exit_code == 0, result.output
                printed.write_text(result.output)
        return place / "figures", printed.read_text()

    return write


FINE, COARSE = OURS["savefig.dpi"], 50
"""Dots per inch of our pictures, and of those that are drawn and written, but that nobody looks at."""


@pytest.fixture
def coarsely(monkeypatch):
    """Write pictures with a third of their dots: what they show, where, and in what kind of file is the same."""
    monkeypatch.setitem(OURS, "savefig.dpi", COARSE)


@functools.cache
def make_parts_once():
    """Return what makes the parts that pages of the article have in common, each for the first page alone."""
    make_study = functools.cache(figures.study)
    check_claims = functools.cache(lambda: claims.check_claims(make_study()))  # on each page at the article's settings
    return {
        "ravine.article.study": make_study,
        "ravine.article.figures.study": make_study,
        "ravine.article.page.check_claims": lambda _: check_claims(),
        "ravine.article.page.make_switch_sections": functools.cache(knobs.make_switch_sections),
        "ravine.article.knobs.sweep_knobs": functools.cache(knobs.sweep_knobs),
        "ravine.article.valley.sweep_valley": functools.cache(valley.sweep_valley),
        "ravine.article.page.make_valley_section": functools.cache(
            lambda style: html.draw_plates(valley.make_valley_section(style))
        ),
    }


@contextlib.contextmanager
def keep_page(place):
    """Keep the page of which a command makes a file, without what draws its pictures, as ``page.pickle`` beside it."""
    make = html.make_html

    def kept(page, *styles):
        place.mkdir(parents=True, exist_ok=True)
        (place / "page.pickle").write_bytes(pickle.dumps(without_drawings(page)))
        return make(page, *styles)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "make_html", kept)
        yield


def without_drawings(part):
    """Return a page or a section whose plates draw nothing: a figure is too much to keep."""
    if isinstance(part, html.Plate):
        return replace(part, picture=None)
    changed = {name: [without_drawings(each) for each in getattr(part, name)]
               for name in ("sections", "blocks", "inner") if hasattr(part, name)}  # fmt: skip
    return replace(part, **changed) if changed else part


@pytest.fixture(scope="session")
def written_page(written_article):
    """The article's page as ``ravine article`` makes it, and the file that it becomes."""
    figures, _ = written_article()
    return pickle.loads((figures.parent / "page.pickle").read_bytes()), (figures / "index.html").read_text("utf-8")


@pytest.fixture
def houses(tmp_path):
    """A file of two columns of very unlike size, and the columns."""
    chance = np.random.default_rng(0)
    area = chance.uniform(800, 4200, 60)
    price = 102_114 + 220 * area + chance.normal(0, 40_000, 60)
    path = tmp_path / "houses.csv"
    np.savetxt(path, np.c_[area, price], delimiter=",", header="area,price", comments="")
    return path, area, price


@pytest.fixture(scope="session")
def made_article():
    return ravine.gallery.article()


@pytest.fixture
def article(made_article):
    """The article's four problems, made once: nothing that is done with a problem changes it."""
    return dict(made_article)


@pytest.fixture(autouse=True)
def untouched():
    """Nothing that ravine does may leave a trace in the process."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, settings = torch.get_num_threads(), read_settings()
    yield
    assert torch.equal(torch.get_rng_state(), torch_state), "torch's random state was changed"
    assert np.array_equal(np.random.get_state()[1], numpy_state), "numpy's random state was changed"
    assert torch.get_num_threads() == threads
    assert read_settings() == settings


def read_settings():
    """Matplotlib's settings as they are held: asking for one of them by name takes it a hundred times as long."""
    return dict(dict.items(mpl.rcParams))


CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")  # no longer: while it is open, nothing else can run an event loop
def browser():
    """Chromium, for pages to be looked at."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        started.close()
