"""Pictures on the user's own Axes, and many runs in one picture; read back from artists."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure as PlainFigure

import ravine
from artists import line_of, of_gid, said, words
from ravine import plot
from ravine.plot._canvas.hues import MOST, choose_hues
from ravine.plot._canvas.style import DARK, RAVINE

LRS = np.geomspace(0.01, 1.0, 12)


@pytest.fixture(scope="module")
def swept():
    return ravine.sweep(ravine.gallery.article()["MSELoss"], lr=LRS, momentum=[0.0, 0.9], steps=40)


@pytest.fixture(scope="module")
def land():
    return ravine.surface(ravine.gallery.article()["MSELoss"], points=41)


@pytest.fixture(scope="module")
def race():
    both = {torch.optim.SGD: {"lr": [0.05, 0.1], "momentum": 0.7}, torch.optim.Adam: {"lr": 0.5}}
    return ravine.sweep(ravine.gallery.quadratic(20), both, steps=40)


@pytest.fixture
def own():
    """A figure of hers, with a title, a line, and no name at the axes."""
    figure = PlainFigure(figsize=(6, 4.5))
    ax = figure.add_subplot()
    ax.set_title("hers")
    ax.plot([0, 50], [0.5, 0.6], color="green", gid="hers")
    return ax


def draw_each(swept, land):
    one = swept.isel(lr=6, momentum=0)
    watched = ravine.descend(ravine.gallery.article()["MSELoss"], steps=9, also=("gradient", "velocity"), momentum=0.9)
    return {
        "descent": lambda ax: plot.descent(swept.isel(momentum=0), land, hue="lr", ax=ax),
        "losses": lambda ax: plot.losses(swept.isel(momentum=0), ax=ax),
        "band": lambda ax: plot.losses(swept, band=True, ax=ax),
        "fit": lambda ax: plot.fit(ravine.descend(ravine.gallery.article(), steps=9), ax=ax),
        "scatter": lambda ax: plot.scatter(watched, ax=ax),
        "slice": lambda ax: plot.slice(land, "bias", {"weight": 0.0}, ax=ax),
        "stability": lambda ax: plot.stability(swept, ax=ax),
        "phase": lambda ax: plot.phase(swept, ax=ax),
        "surface": lambda ax: plot.surface(land, ax),
        "path": lambda ax: plot.path(one, ax),
        "vectors": lambda ax: plot.vectors(watched, 3, ax),
    }


NAMES = ("descent", "losses", "band", "fit", "scatter", "slice", "stability", "phase", "surface", "path", "vectors")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hers_stays_hers(name, swept, land, own):
    figure = own.get_figure()
    spines = [spine.get_visible() for spine in own.spines.values()]
    before = own.get_facecolor(), figure.get_facecolor(), tuple(figure.get_size_inches()), own.xaxis.label.get_color()
    with mpl.rc_context({"font.size": 13}):
        count = len(own.get_children())
        given = draw_each(swept, land)[name](own)
        assert mpl.rcParams["font.size"] == 13
    assert given is own
    assert own.get_title() == "hers"
    assert not figure.texts
    assert spines == [spine.get_visible() for spine in own.spines.values()]
    after = own.get_facecolor(), figure.get_facecolor(), tuple(figure.get_size_inches()), own.xaxis.label.get_color()
    assert before == after
    assert line_of(own, "hers").get_color() == "green"
    assert len(own.get_children()) > count
    figure.savefig("/dev/null", format="png", dpi=40)


def test_what_is_drawn_already_stays_in_sight_and_names_stay(swept, own):
    own.set_ylabel("my name")
    own.plot([0, 400], [3.0, 3.0])
    plot.losses(swept.isel(momentum=0, lr=[0, 5]), ax=own)
    assert own.get_xlim()[1] >= 400
    assert own.get_ylim()[1] >= 3
    assert own.get_ylabel() == "my name"
    assert own.get_xlabel() == "step"
    plot.losses(swept.isel(momentum=1, lr=[0, 5]), ax=own, title="and this I asked for")
    assert own.get_title() == "and this I asked for"


def test_names_of_curves_stand_within_her_axes(swept, own):
    plot.losses(swept.isel(momentum=0, lr=slice(0, 5)), ax=own)
    own.get_figure().draw_without_rendering()
    names = sorted((text for text in own.texts if text.get_gid() == "end"), key=lambda text: text.get_text())
    assert [text.get_text() for text in names] == ["lr 0.01", "lr 0.0152", "lr 0.0231", "lr 0.03511", "lr 0.05337"]
    for text in names:
        box = text.get_window_extent()
        assert own.bbox.x0 <= box.x0 < box.x1 <= own.bbox.x1


def test_names_of_lines_leave_the_title_alone(article, own):
    plot.fit(ravine.descend(article, steps=9), ax=own)
    names = [text for text in own.texts if text.get_gid() == "end"]
    top = own.get_window_extent().y1
    assert len(names) == 3
    assert all(name.get_window_extent().y1 <= top for name in names)


def test_names_that_are_too_long_for_that_are_a_legend(race):
    figure = PlainFigure(figsize=(3, 2.5))
    ax = plot.losses(race, ax=figure.add_subplot())
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["SGD(lr=0.05, momentum=0.7)", "SGD(lr=0.1, momentum=0.7)", "Adam(lr=0.5)"]


def test_on_dark_paper_the_style_is_dark(swept):
    with plt.style.context("dark_background"):
        figure = PlainFigure()
        ax = plot.losses(swept.isel(momentum=0, lr=0), ax=figure.add_subplot())
    assert line_of(ax, "loss").get_color() == DARK.accent
    light = plot.losses(swept.isel(momentum=0, lr=0), ax=PlainFigure().add_subplot())
    assert line_of(light, "loss").get_color() == RAVINE.accent


def test_several_panels_are_refused_with_the_remedy(article, swept, land, own):
    runs = ravine.descend(article, steps=3, also=("gradient",))
    one = runs.sel(criterion="MSELoss")
    lands = ravine.surface(article, points=9)
    residuals = ravine.residuals([torch.nn.MSELoss(), torch.nn.L1Loss()])
    for draw, remedy in (
        (lambda: plot.panel(one, land, ax=own), "plot.descent, plot.losses and plot.fit"),
        (lambda: plot.criteria(residuals, ax=own), "loss_of_residual"),
        (lambda: plot.anatomy(one, land, 1, ax=own), "plot.vectors"),
        (lambda: plot.descent(runs, lands, ax=own), "ravine.at.runs, criterion"),
    ):
        with pytest.raises(ValueError, match=f"and ax= is one.*{remedy}"):
            draw()
    with pytest.raises(
        TypeError, match=r"ax must be one matplotlib Axes, as in figure, ax = plt.subplots.., got ndarray"
    ):
        plot.losses(one, ax=np.array([own, own]))


def test_a_mark_shows_its_picture(land):
    assert plot.surface(land)._repr_png_().startswith(b"\x89PNG")


# -- many runs ---------------------------------------------------------------------------------------------------


def test_numbers_have_a_ramp_that_knows_logarithms(swept):
    hues = choose_hues("lr", LRS.tolist(), RAVINE)
    assert hues.shades is not None
    assert hues.shades.log
    assert not choose_hues("momentum", np.linspace(0, 0.9, 8).tolist(), RAVINE).shades.log
    assert len(set(hues.colors)) == 12
    ax, key = plot.losses(swept.isel(momentum=0)).axes
    assert [line.get_color() for line in ax.lines[:12]] == list(hues.colors)
    assert {line.get_linestyle() for line in ax.lines[:12]} == {"-"}
    assert words(key, "key") == ["lr"]
    assert {"0.01", "0.1", "1"} <= set(words(key, "number"))
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(mpl.colors.to_rgb, hues.colors)]
    assert light == sorted(light)  # told apart in grey, too


def test_few_of_a_ramp_bear_their_number(swept):
    (ax,) = plot.losses(swept.isel(momentum=0, lr=slice(0, 10, 2))).axes
    assert [text.get_text() for text in ax.texts if text.get_gid() == "end"]


def test_names_have_colours_and_dashes(swept):
    hues = choose_hues("run", [f"run {k}" for k in range(MOST)], RAVINE)
    assert hues.shades is None
    assert len(set(zip(hues.colors, hues.dashes, strict=True))) == MOST


def test_a_map_holds_24_runs_and_says_when_there_are_more(land):
    problem = ravine.gallery.article()["MSELoss"]
    many = ravine.sweep(problem, lr=np.geomspace(0.01, 0.5, 25), steps=20)
    figure = plot.descent(many.isel(lr=slice(0, 24)), land, hue="lr")
    ax, key = figure.axes
    paths = of_gid(ax, "path")
    assert len(paths) == 24
    assert len({line.get_color() for line in paths}) == 24
    assert words(key, "key") == ["lr"]
    with pytest.raises(ValueError, match="25 runs in one panel are too many .* .at most 24.: select some along 'lr'"):
        plot.descent(many, land, hue="lr")


def test_hue_must_be_something_that_differs(swept):
    with pytest.raises(ValueError, match="runs do not differ in 'lrr'; they differ in lr, momentum.*lr"):
        plot.losses(swept, hue="lrr")
    ax = plot.losses(swept.isel(lr=slice(0, 4)), hue="momentum").axes[0]
    assert "momentum 0.9, lr 0.01" in {line.get_gid() for line in ax.lines}


def test_a_race_names_the_settings_of_each_optimizer(race):
    figure = plot.losses(race)
    told = {"SGD(lr=0.05, momentum=0.7)", "SGD(lr=0.1, momentum=0.7)", "Adam(lr=0.5)"}
    assert told <= {text.get_text() for text in figure.axes[0].texts}
    under = said(plot.descent(race, ravine.surface(ravine.gallery.quadratic(20)), hue="run"))
    assert all(settings in under for settings in told)
