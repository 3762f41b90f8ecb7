"""What is written on pictures can be read: no text covers another, is struck through, or is cut at the edge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

import ravine
from ravine import plot
from ravine.plot._canvas.scales import Axis
from ravine.plot._canvas.ticks import round_numbers, write_ticks

RULES = (
    "joint",
    "share",
    "border",
    "window",
    "same loss",
    "start",
    "end",
    "steps",
    "minimum",
    "lowest",
    "data minimum",
)
"""Lines that are no curve: marks, and quiet lines under words that have a halo."""


def texts_of(figure):
    """Every text with its box; of an annotation the box of the words alone, without its leader."""
    figure.draw_without_rendering()
    found = []
    for ax in figure.axes:
        inner = list(ax.child_axes)
        for where in (ax, *inner):
            found += [(where, t, Text.get_window_extent(t)) for t in where.texts if t.get_text() and t.get_visible()]
    return found


def strikes(path, box):
    """Whether a line through these pixels passes through the middle of a box."""
    core = Bbox.from_extents(box.x0 + 1, box.y0 + 0.28 * box.height, box.x1 - 1, box.y1 - 0.28 * box.height)
    pixels = path[np.isfinite(path).all(axis=1)]
    ends = itertools.pairwise(pixels)
    return any(core.count_contains(np.linspace(a, b, 60)) > 0 for a, b in ends)


def assert_legible(figure):
    found = texts_of(figure)
    for k, (ax, text, box) in enumerate(found):
        words = text.get_text()
        assert figure.bbox.padded(1).contains(box.x0, box.y0), words
        assert figure.bbox.padded(1).contains(box.x1, box.y1), words
        upright = text.get_rotation() == 0
        for _, other, there in found[k + 1 :]:
            if upright and other.get_rotation() == 0:
                assert not box.padded(-1).overlaps(there.padded(-1)), (words, other.get_text())
        for _, other, _ in found:  # leaders
            if isinstance(other, Annotation) and other.arrow_patch is not None and other is not text and upright:
                line = other.arrow_patch.get_path().interpolated(20).vertices
                pixels = other.arrow_patch.get_transform().transform(line)
                assert not box.padded(-2).count_contains(pixels), (words, "under the leader of", other.get_text())
        if not upright or text.get_gid() == "level":
            continue
        for line in ax.lines:
            if line.get_gid() in RULES or line.get_gid() == "casing" or len(line.get_xdata()) < 3:
                continue
            assert not strikes(ax.transData.transform(np.c_[line.get_data()].astype(float)), box), (
                words,
                line.get_gid(),
            )


@pytest.fixture(scope="module")
def article_runs():
    problems = ravine.gallery.article()
    return ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems)


def descents(**settings):
    return ravine.descend(ravine.gallery.article(), lr=0.1, momentum=0.9, **settings)


def on_map(problem, **settings):
    return ravine.descend(problem, momentum=0.9, **settings), ravine.surface(problem)


def race():
    bowl = ravine.gallery.quadratic(condition=20)
    runs = {
        "plain": ravine.descend(bowl, lr=0.1, steps=60),
        "momentum 0.7": ravine.descend(bowl, lr=0.1, momentum=0.7, steps=60),
        "Adam": ravine.descend(bowl, torch.optim.Adam, lr=0.5, steps=60),
    }
    return ravine.join(runs), ravine.surface(bowl)


def swept(lr, **settings):
    return ravine.sweep(ravine.gallery.article()["MSELoss"], lr=lr, **settings)


def ramp():
    return swept(np.geomspace(0.01, 0.95, 24), steps=60)


def border():
    return swept(np.geomspace(0.02, 3, 40), momentum=[0.0, 0.13, 0.5, 0.9], steps=200)


PICTURES = {
    "figure 6": lambda runs, land: plot.descent(runs, land),
    "figure 8": lambda runs, land: plot.descent(descents(nesterov=True), land),
    "decay": lambda runs, land: plot.descent(descents(weight_decay=2.0), land),
    "rosenbrock": lambda runs, land: plot.descent(*on_map(ravine.gallery.rosenbrock(), lr=1e-3, steps=300)),
    "valley": lambda runs, land: plot.descent(*on_map(ravine.gallery.quadratic(condition=100), lr=0.9)),
    "race": lambda runs, land: plot.descent(*race(), hue="run"),
    "losses": lambda runs, land: plot.losses(race()[0]),
    "some": lambda runs, land: plot.losses(ramp().isel(lr=slice(0, 24, 4))),
    "ramp": lambda runs, land: plot.losses(ramp()),
    "map": lambda runs, land: plot.surface(land.sel(criterion="MSELoss")).get_figure(),
    "stability": lambda runs, land: plot.stability(border()),
    "fit": lambda runs, land: plot.fit(runs),
    "slice": lambda runs, land: plot.slice(land, "bias", {"weight": 1.0}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_struck_through_covered_or_cut(name, article_runs):
    assert_legible(PICTURES[name](*article_runs))


def test_the_measure_sees_a_struck_text_and_a_cut_one(article_runs):
    figure = plot.losses(article_runs[0].sel(criterion="MSELoss"))
    (ax,) = figure.axes
    line = ax.lines[0]
    ax.text(float(line.get_xdata()[20]), float(line.get_ydata()[20]), "struck", va="center", ha="center")
    with pytest.raises(AssertionError, match="struck"):
        assert_legible(figure)
    ax.texts[-1].remove()
    ax.text(float(line.get_xdata()[-1]), 1.0, "a long name that leaves the figure at its right edge" * 2)
    with pytest.raises(AssertionError, match="leaves the figure"):
        assert_legible(figure)


def test_numbers_of_an_axis_differ():
    generator = np.random.default_rng(5)
    for _ in range(400):
        middle = generator.choice([0.0, 1.0, -1.0]) * 10 ** generator.uniform(-8, 9)
        low, high = middle - 10 ** generator.uniform(-9, 9), middle + 10 ** generator.uniform(-9, 9)
        if high - low < 1e-12 * abs(middle):
            continue
        start = 10 ** generator.uniform(-8, 5)
        stop = start * 10 ** generator.uniform(1e-4, 9)
        for ticks in (
            write_ticks(round_numbers(low, high, 6)),
            write_ticks(round_numbers(start, stop, 6, log=True), log=True),
            Axis("a", np.array([low, high])).ticks(3, 8),
            Axis("a", np.array([start, stop]), True).ticks(3, 8, upright=True),
            write_ticks(np.sort(generator.uniform(low, high, 5))),
        ):
            assert len(set(ticks.words)) == len(ticks.words), (ticks.places, ticks.words)


def test_settings_that_six_digits_do_not_tell_apart_differ_on_an_axis():
    bowl = ravine.gallery.quadratic(10)
    decays = [0.0, 0.0010000001, 0.0010000002, 0.02]
    runs = ravine.sweep(bowl, lr=[0.1, 0.2, 0.3], weight_decay=decays, steps=30)
    labels = [text.get_text() for text in plot.phase(runs, "lr", "weight_decay").axes[0].get_yticklabels()]
    assert len(set(labels)) == len(labels)
