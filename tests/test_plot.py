"""Pictures are read back from their artists: numbers, labels, and what is said when something cannot be drawn."""

from __future__ import annotations

import dataclasses
import inspect
import io
import itertools
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import cbook, font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.text import Text
from PIL import Image

import bare
import ravine
from artists import line_of
from ravine import plot
from ravine.plot._canvas import style as paper
from ravine.plot._canvas import words
from ravine.plot._canvas.canvas import Canvas
from ravine.plot._map import levels, marks


def write(figure, kind="png"):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    return buffer.getvalue()


@pytest.fixture
def drawn(case):
    """Run and surface of the case, on a plane where it has two parameters."""
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5, steps=40)
    return run, ravine.surface(case.problem, case.axes, points=31)


@pytest.mark.parametrize("style", ["ravine", "article"])
def test_descent_on_four_problems(drawn, style):
    run, land = drawn
    if run.sizes["parameter"] > 2:
        with pytest.raises(ValueError, match="a path needs a position of two parameters; this run has 17"):
            plot.descent(run, land, style=style)
        return
    figure = plot.descent(run, land, style=style)
    ax = figure.axes[0]
    line = ax.lines[0] if style == "article" else line_of(ax, "path")
    names = list(land.surface.dims)[::-1]
    assert bare.same_bits(line.get_xdata(), run.position.sel(parameter=names[0]))
    assert bare.same_bits(line.get_ydata(), run.position.sel(parameter=names[1]))
    assert len(write(figure)) > 5000


def test_losses_fit_and_scatter_on_four_problems(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=40)
    ax = plot.losses(run.drop_vars("minimum_loss", errors="ignore")).axes[0]
    assert bare.same_bits(line_of(ax, "loss").get_ydata(), run.loss)
    assert ax.get_yscale() == ("log" if run.loss.max() > 20 * run.loss.min() else "linear")
    if "inputs" not in run:
        for draw in (plot.fit, plot.scatter):
            with pytest.raises(ValueError, match=r"the study has no 'inputs' .*: make it with"):
                draw(run)
    elif run.inputs.ndim > 1:
        with pytest.raises(ValueError, match="one column of inputs expected"):
            plot.fit(run)
    else:
        line = line_of(plot.fit(run).axes[0], "fit")
        order = np.argsort(run.inputs.values)
        assert bare.same_bits(line.get_ydata(), run.prediction.values[order])
        assert bare.same_bits(line_of(plot.scatter(run).axes[0], "data").get_xdata(), run.inputs)


def test_equal_curves_share_one_name(article):
    runs = ravine.descend(article, lr=0.1)
    for figure in (plot.losses(runs.drop_vars("minimum_loss")), plot.fit(runs)):
        names = [t.get_text() for t in figure.axes[0].texts]
        assert sorted(names) == ["HuberLoss = SmoothL1Loss", "L1Loss", "MSELoss"]


def test_the_path_keeps_every_number_even_where_it_diverges(article):
    problem = article["MSELoss"]
    run, land = ravine.descend(problem, lr=30.0), ravine.surface(problem)
    figure = plot.descent(run, land)
    ax = figure.axes[0]
    assert bare.same_bits(line_of(ax, "path").get_xdata(), run.position.sel(parameter="bias"))
    assert ax.get_xlim() == (-5, 8)  # the picture stays where the surface is
    assert any(patch.get_gid() == "leaves" for patch in ax.patches)
    said = " ".join(t.get_text() for t in ax.texts)
    assert "leaves at step 1" in said
    first = int(np.flatnonzero(~np.isfinite(run.loss))[0])
    assert f"→ inf at step {first}: it diverged" in said
    assert not any(artist.get_gid() == "end" for artist in ax.lines)
    assert len(write(figure)) > 5000


def test_the_article_run_stays_and_ends(article):
    problem = article["MSELoss"]
    run, land = ravine.descend(problem, lr=0.1), ravine.surface(problem)
    ax = plot.descent(run, land).axes[0]
    assert not ax.patches
    end = np.ravel(line_of(ax, "end").get_data())
    assert bare.same_bits(end, run.position.sel(parameter=["bias", "weight"])[-1])
    minimum = np.ravel(line_of(ax, "minimum").get_data())
    assert bare.same_bits(minimum, run.minimizer.sel(parameter=["bias", "weight"]))
    # where it is not known, the lowest point of the grid is marked
    lowest = np.ravel(line_of(plot.descent(run.drop_vars("minimizer"), land).axes[0], "lowest").get_data())
    row, column = np.unravel_index(land.surface.values.argmin(), land.surface.shape)
    assert lowest.tolist() == [land.bias.values[column], land.weight.values[row]]


def test_decay_is_drawn_into_what_is_minimised(article):
    problem = article["MSELoss"]
    land = ravine.surface(problem)
    x, y, values = marks.objective(land, 2.0)
    assert values[3, 5] == pytest.approx(float(land.surface[3, 5]) + x[5] ** 2 + y[3] ** 2)
    decayed = ravine.descend(problem, lr=0.1, weight_decay=2.0)
    figure = plot.descent(decayed, land)
    assert any("contours: loss + weight decay" in t.get_text() for t in figure.texts)
    # where it ends is where the drawn surface is lowest
    end = decayed.position.sel(parameter=["bias", "weight"]).values[-1]
    assert np.ravel(line_of(figure.axes[0], "minimum").get_data()) == pytest.approx(end, rel=1e-4)
    assert bare.same_bits(np.ravel(line_of(figure.axes[0], "data minimum").get_data()), decayed.data_minimizer[::-1])
    on_the_grid = plot.descent(decayed.drop_vars(["minimizer", "data_minimizer"]), land)
    assert np.abs(np.ravel(line_of(on_the_grid.axes[0], "lowest").get_data()) - end).max() < 0.13
    import torch

    apart = ravine.descend(problem, torch.optim.AdamW, lr=0.1, weight_decay=2.0)
    assert words.coupled_decay(apart) == 0.0
    assert words.coupled_decay(ravine.descend(problem, torch.optim.Adam, lr=0.1, weight_decay=2.0)) == 2.0
    assert words.coupled_decay(ravine.descend(problem, lr=0.1, weight_decay=2.0, maximize=True)) == 0.0


def test_odd_surfaces():
    flat = ravine.Problem(lambda p: 0 * p["x"] * p["y"] + 3, start={"x": 0.5, "y": 0.5})
    land = ravine.surface(flat, x=(0, 1), y=(0, 1), points=5)
    figure = plot.descent(ravine.descend(flat, steps=1), land)
    assert "the same loss everywhere" in [t.get_text() for t in figure.axes[0].texts]
    write(figure)
    hole = ravine.Problem(lambda p: -(p["x"].log()) + p["y"] ** 2, start={"x": 0.5, "y": 0.5})
    land = ravine.surface(hole, x=(-1, 1), y=(-1, 1), points=21)
    assert not np.isfinite(land.surface).all()
    figure = plot.descent(ravine.descend(hole, lr=0.01), land)
    assert figure.axes[0].patch.get_hatch() == "////"
    write(figure)
    nothing = land.assign(surface=land.surface * np.nan)
    write(plot.surface(nothing).figure)


def test_unequal_axes_thousand_steps_and_uneven_grids():
    valley = ravine.Problem(lambda p: 1e-4 * p["x"] ** 2 + p["y"] ** 2, start={"x": 90.0, "y": 1.0})
    run = ravine.descend(valley, lr=0.1, steps=1000)
    land = ravine.surface(valley, x=(-100, 100), y=[-1, -0.5, -0.1, 0.0, 0.2, 0.7, 1.5], points=21)
    figure = plot.descent(run, land)
    assert figure.axes[0].get_aspect() == "auto"
    assert len(line_of(figure.axes[0], "steps").get_xdata()) == 101
    assert any("a dot every 10 steps" in t.get_text() for t in figure.texts)
    write(figure)
    mesh = plot.surface(land, style="article")
    assert bare.same_bits(mesh.collections[0].get_array(), land.surface)


def test_a_grid_in_any_order_draws_the_same_map(article):
    problem = article["MSELoss"]
    ordered = ravine.surface(problem, points=9)
    rows = [4, *range(4), *range(5, 9)]
    shuffled = ravine.surface(problem, bias=ordered.bias.values[::-1].copy(), weight=ordered.weight.values[rows])
    one, other = plot.surface(ordered), plot.surface(shuffled)
    for a, b in zip(one.collections, other.collections, strict=True):
        for p, q in zip(a.get_paths(), b.get_paths(), strict=True):
            assert np.array_equal(p.vertices, q.vertices)


def test_files_of_every_kind_are_the_same_each_time(article, tmp_path):
    two = {name: article[name] for name in ("MSELoss", "L1Loss")}
    runs, land = ravine.descend(two, lr=0.1, steps=20), ravine.surface(two, points=31)
    heads = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for k in range(2):
        figure = plot.descent(runs, land)
        for kind in heads:
            figure.savefig(tmp_path / f"{k}.{kind}")
    for kind, head in heads.items():
        one, other = ((tmp_path / f"{k}.{kind}").read_bytes() for k in range(2))
        assert one == other
        assert one.startswith(head)
    assert b"FontFile2" in (tmp_path / "0.pdf").read_bytes()  # fonts are embedded as TrueType


def test_a_png_is_the_one_that_is_asked_for(article):
    """The same pixels however it is compressed, and Pillow's settings and facts of one's own."""
    figure, sizes = plot.losses(ravine.descend(article["MSELoss"], steps=5)), []
    for asked in ({}, {"pil_kwargs": {"compress_level": 0}}, {"metadata": {"Author": "I"}, "dpi": figure.dpi}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", **asked)
        image = Image.open(buffer)
        assert image.tobytes() == figure.canvas.buffer_rgba().tobytes()
        assert image.info.get("Author") == ("I" if "metadata" in asked else None)
        assert image.info["Software"] == f"Matplotlib version{mpl.__version__}, https://matplotlib.org/"
        assert image.info["dpi"] == pytest.approx([asked.get("dpi", 150)] * 2, abs=0.02)
        sizes.append(len(buffer.getvalue()))
    assert sizes[1] > 5 * sizes[0]
    with pytest.raises(TypeError, match="pil_kwarg"):
        figure.savefig(io.BytesIO(), format="png", pil_kwarg={})


def test_matplotlibs_arrangement_is_made_once_and_stays(article):
    """A PNG is the same as one for which matplotlib draws all twice; the figure goes on to arrange itself."""
    run = ravine.descend(article["MSELoss"], lr=0.1, steps=20)
    land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8), points=31)
    figure, plain = (plot.descent(run, land, style="article") for _ in range(2))
    engine, dpi, drawn = figure.get_layout_engine(), figure.dpi, []
    figure.canvas.mpl_connect("draw_event", drawn.append)
    buffer = io.BytesIO()
    with paper.own_settings():
        Figure.savefig(plain, buffer, format="png")
    assert write(figure) == buffer.getvalue()
    assert len(drawn) == 1
    assert figure.get_layout_engine() is engine
    assert figure.dpi == dpi


def test_a_level_text_is_matplotlibs_own_that_begins_at_a_whole_pixel():
    """Whatever its letters reach beyond where they begin, and whether it was drawn before."""
    figure = paper.new_figure(4, 1, paper.RAVINE)
    ours = figure.canvas.get_renderer()
    words = ("weight", "The path orbits the minimum", "−4", "jog", "x", "")
    for text, size, _ in itertools.product(words, (6.5, 8.2, 13.0), range(2)):
        font = font_manager.FontProperties(family=["DejaVu Sans"], size=size)
        pixels = []
        for draw in (ours.draw_text, super(type(ours), ours).draw_text):
            ours.clear()
            draw(ours.new_gc(), 7, 40, text, font, 0)
            pixels.append(np.asarray(ours.buffer_rgba()).astype(int))
        assert np.abs(pixels[0] - pixels[1]).max() <= 4  # where letters touch, their ink is joined before it is drawn
        ours.clear()
        ours.draw_text(ours.new_gc(), 7.4, 39.6, text, font, 0)
        assert (np.asarray(ours.buffer_rgba()) == pixels[0]).all()
        assert pixels[0][..., 3].any() == bool(text)


@pytest.mark.parametrize("text", ["שלום", "سلام", "\u0301x", "lr שלום"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_text_that_does_not_go_right_is_drawn_by_matplotlib(text):
    ours = paper.new_figure(4, 1, paper.RAVINE).canvas.get_renderer()
    font, pixels = font_manager.FontProperties(family=["DejaVu Sans"], size=10), []
    for draw in (ours.draw_text, super(type(ours), ours).draw_text):
        ours.clear()
        draw(ours.new_gc(), 17, 40, text, font, 0)
        pixels.append(np.array(ours.buffer_rgba()))
    assert (pixels[0] == pixels[1]).all()


def test_contours_are_matplotlibs_own(article):
    land = ravine.surface(article["HuberLoss"], bias=(-5, 8), weight=(-5, 8), points=31)
    holed = land.surface.values.astype(float)
    holed[:3, 4:9] = np.nan
    x, y = land.bias.values, land.weight.values
    for values in (land.surface.values.astype(float), holed):
        lowest, highest = np.nanmin(values), np.nanmax(values)
        edges = np.linspace(lowest, highest, 6)
        ours, theirs = (paper.new_figure(4, 4, paper.RAVINE) for _ in range(2))
        ax, plain = (each.add_axes((0, 0, 1, 1), xlim=(-5, 8), ylim=(-5, 8)) for each in (ours, theirs))
        drawn = levels.fill_between(ax, x, y, values, edges, [f"C{k}" for k in range(5)])
        assert (drawn.levels == edges).all()
        levels.draw_lines(ax, x, y, values, edges[1:4], "k", 0.75, zorder=1.1)
        shown = np.ma.masked_invalid(values)
        plain.contourf(x, y, shown, levels=edges, colors=[f"C{k}" for k in range(5)], zorder=0)
        plain.contour(x, y, shown, levels=edges[1:4], colors="k", linewidths=0.75, linestyles="solid", zorder=1.1)
        assert write(ours) == write(theirs)
        assert (ax.dataLim.extents == plain.dataLim.extents).all()


def test_a_text_is_as_large_as_its_font_whatever_was_drawn_before(article):
    run = ravine.descend(article["MSELoss"], steps=2)
    figure = plot.losses(run)
    usual = write(figure)
    for font in ("DejaVu Sans Mono", "DejaVu Serif"):
        with mpl.rc_context({"font.family": [font]}):
            figure.canvas.draw()
            drawn = [text.get_window_extent().width for text in figure.axes[0].get_xticklabels()]
            plain = Figure(dpi=figure.dpi)
            FigureCanvasAgg(plain)
            numbers = figure.axes[0].get_xticklabels()
            told = [plain.text(0, 0, each.get_text(), font=each.get_font()) for each in numbers]
            assert drawn == [each.get_window_extent().width for each in told]
    assert write(figure) == usual


def test_a_font_that_is_registered_later_counts(monkeypatch):
    def width(canvas):
        figure = Figure(dpi=100)
        renderer = canvas(figure).get_renderer()
        return figure.text(0, 0, "a long name", family=["House Font", "DejaVu Sans"]).get_window_extent(renderer).width

    fonts = font_manager.fontManager
    before = width(Canvas)
    entry = dataclasses.replace(
        font_manager.ttfFontProperty(get_font(fonts.findfont("DejaVu Serif"))), name="House Font"
    )
    with monkeypatch.context() as patch:
        patch.setattr(fonts, "ttflist", [*fonts.ttflist, entry])
        fonts._findfont_cached.cache_clear()
        assert before != width(Canvas) == width(FigureCanvasAgg)
    fonts._findfont_cached.cache_clear()
    assert width(Canvas) == before


def test_the_users_settings_play_no_part(article):
    runs, land = ravine.descend(article["MSELoss"], lr=0.1, steps=5), ravine.surface(article["MSELoss"], points=11)
    usual = write(plot.descent(runs, land))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "savefig.dpi": 17}):
        assert write(plot.descent(runs, land)) == usual
        assert mpl.rcParams["font.size"] == 30


def test_figures_show_themselves_in_a_notebook(article):
    run = ravine.descend(article["MSELoss"], steps=2)
    assert plot.losses(run)._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said(article):
    runs, land = ravine.descend(article, lr=0.1, steps=3), ravine.surface(article, points=5)
    with pytest.raises(ValueError, match="no style 'fancy'; there are ravine, article"):
        plot.descent(runs, land, style="fancy")
    with pytest.raises(ValueError, match=r"one run expected; .* \.sel\(criterion='MSELoss'\)"):
        plot.path(runs)
    with pytest.raises(ValueError, match="one surface expected"):
        plot.surface(land)
    with pytest.raises(ValueError, match="the study has no 'surface'"):
        plot.descent(runs, runs)
    with pytest.raises(ValueError, match="no surface: ravine.surface of the same problems"):
        plot.descent(runs, land.isel(criterion=[0, 1]))
    joined = ravine.join({"a": runs, "b": runs})
    thrice = ravine.join({"c": joined, "d": joined}, dim="problem")
    with pytest.raises(ValueError, match="runs differ in problem, run, criterion; a figure has panels for two of them"):
        plot.descent(thrice, land)
    other = ravine.surface(
        ravine.Problem(lambda p: p["u"] * p["v"], start={"u": 1.0, "v": 1.0}), u=(0, 1), v=(0, 1), points=3
    )
    with pytest.raises(ValueError, match="the surface lies over u, v, the run goes through weight, bias"):
        plot.descent(runs.isel(criterion=0), other)
    many = ravine.join({f"{k}": runs.isel(criterion=0) for k in range(17)})
    with pytest.raises(ValueError, match="17 panels are too many to read"):
        plot.descent(many, land.isel(criterion=0))


def test_labels_stay_inside_and_off_the_path(article):
    runs, land = ravine.descend(article, lr=0.1, momentum=0.9), ravine.surface(article, points=31)
    figure = plot.descent(runs, land)
    figure.draw_without_rendering()
    for ax in figure.axes:
        (start,) = [t for t in ax.texts if t.get_text() == "start"]
        box, frame = start.get_window_extent(), ax.get_window_extent()
        assert frame.contains(box.x0, box.y0)
        assert frame.contains(box.x1, box.y1)
        pixels = ax.transData.transform(np.c_[line_of(ax, "path").get_data()])
        assert not box.count_contains(pixels)


def test_right_hand_labels_never_overlap():
    run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.1, steps=3)
    runs = ravine.join({f"number {k}": run.assign(loss=run.loss * (1 + 1e-3 * k)) for k in range(6)})
    figure = plot.losses(runs)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in figure.axes[0].texts]  # without the leading line
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])


def test_words_are_computed(article):
    run = ravine.descend(article["MSELoss"], lr=0.1, momentum=0.9, nesterov=True, weight_decay=2.0)
    assert words.settings_text(run) == "SGD(lr=0.1, momentum=0.9, weight_decay=2, nesterov=True)"
    assert words.knobs(run) == "SGD, lr 0.1, momentum 0.9, weight decay 2, nesterov"
    joined = ravine.join({"a": run, "b": ravine.descend(article["MSELoss"], lr=0.1)}).sel(run="a")
    assert words.settings_text(joined) == words.settings_text(run)
    losses = run.loss.values
    assert words.outcome(run) == f"loss {losses[0]:.4g} → {losses[-1]:.4g} in 100 steps"
    assert words.steps_text(ravine.descend(article, steps=1)) == "1 step"
    assert [words.dot_every(n) for n in (1, 200, 201, 2000, 2001, 10**6)] == [1, 1, 10, 10, 100, 10_000]


@pytest.mark.parametrize("name", sorted(words.UNSAID_OF))
def test_settings_at_what_torch_takes_by_itself_are_not_written(name):
    torchs = inspect.signature(getattr(torch.optim, name)).parameters
    for setting, usual in words.UNSAID_OF[name].items():
        if setting in torchs:  # max_eval is 5/4 of max_iter, and AdamW hands its switch on to Adam
            assert torchs[setting].default in (usual, None), setting
    run = ravine.descend("rosenbrock", name, lr=0.001, steps=1)
    said = {"AdamW": "AdamW(lr=0.001, weight_decay=0.01)"}.get(name, f"{name}(lr=0.001)")
    assert words.settings_text(run) == said
    turned = run.assign_coords(dict.fromkeys(words.UNSAID_OF[name], 0.125))
    assert all(f"{setting}=0.125" in words.settings_text(turned) for setting in words.UNSAID_OF[name])


def test_one_surface_serves_runs_that_differ_in_a_setting(article):
    problem = article["MSELoss"]
    runs = ravine.join({f"momentum {m}": ravine.descend(problem, lr=0.1, momentum=m) for m in (0.0, 0.5, 0.9)})
    figure = plot.descent(runs, ravine.surface(problem, points=21))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["momentum 0.0", "momentum 0.5", "momentum 0.9"]
    assert isinstance(figure, paper.Figure)
    assert isinstance(runs, xr.Dataset)


NAMES = "$w_1$", "β^2 $5 to $9 <b>\x07"
"""Names as a file or a model may have them: mathtext to matplotlib, and a character that no SVG may hold."""


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Runs, surface and a sweep whose parameters, labels and columns have such names."""
    one, other = NAMES
    problem = ravine.Problem(lambda p: p[one] ** 2 + 3 * p[other] ** 2, start={one: 2.0, other: 1.0})
    run = ravine.descend(problem, lr=0.1, momentum=0.5, steps=30, also=("gradient", "velocity"))
    land = ravine.surface(problem, {one: (-3, 3), other: (-3, 3)}, points=31)
    path = tmp_path_factory.mktemp("csv") / "points.csv"
    path.write_text("$price_$,cost $5 to $9\n0,1\n1,2\n2,4\n")
    line = ravine.descend(ravine.Problem.from_csv(path, x="$price_$", y="cost $5 to $9"), lr=0.1, steps=20)
    return problem, run, land, line


def draw_all(awkward, style):
    problem, run, land, line = awkward
    several = ravine.join(dict.fromkeys(("$a_1$", "b $5$"), run) | {"c\x08": run.isel(step=slice(0, 20))}, dim="who$")
    yield "descent", plot.descent(run, land, style=style), NAMES
    yield "surface", plot.surface(land, style=style).figure, NAMES if style != "article" else ()
    yield "anatomy", plot.anatomy(run, land, 3, style=style), NAMES[:1]
    yield "vectors", plot.vectors(run, 3, land=land, style=style).figure, NAMES
    yield "slice", plot.slice(land, NAMES[0], {NAMES[1]: 0.0}, style=style), NAMES[:1]
    yield "fit", plot.fit(line, style=style), ("$price_$", "cost $5 to $9") if style != "article" else ()
    yield "losses", plot.losses(several, style=style), ("$a_1$ = b $5$", "c\x08")
    if style != "article":
        yield "hue", plot.descent(several, land, hue="who$", style=style), ("$a_1$", "b $5$")
        yield "film", plot.animate(several, land, hue="who$", style=style).frame(-1), ("$a_1$", "b $5$")
    sweep = ravine.sweep(problem, lr=[0.05, 0.1, 0.2], momentum=[0.0, 0.5, 0.9], steps=30)
    values = ravine.measure.arrival(sweep).expand_dims({"who$": ["$a_1$", "c\x08"]})
    yield "phase", plot.phase(values, style=style, marks={"$m_1$": {"lr": 0.1, "momentum": 0.5}}), ("$a_1$",)


@pytest.mark.parametrize("style", ["ravine", "article"])  # in the dark only colours differ
def test_names_are_drawn_as_they_are(awkward, style):
    """No name is mathtext, and an SVG is well-formed whatever a name holds."""
    for kind, figure, names in draw_all(awkward, style):
        texts = [text.get_text() for text in figure.findobj(Text) if "mathdefault" not in text.get_text()]
        assert not [text for text in texts if cbook.is_math_text(text)], kind
        shown = "\n".join(text.replace(r"\$", "$") for text in texts)
        for name in names:  # one style begins names with a capital letter
            visible = re.sub("[\x07\x08]", lambda found: f"\\x{ord(found[0]):02x}", name)
            assert visible.casefold() in shown.casefold(), (kind, name)
        ET.fromstring(write(figure, "svg"))


def test_a_title_of_ones_own_may_be_mathtext(awkward):
    _, run, land, _ = awkward
    assert plot.descent(run, land, title=r"$\beta_1 = 0.5$").texts[0].get_text() == r"$\beta_1 = 0.5$"


def test_numbers_are_written_in_one_way():
    from ravine._format import number

    assert [words.number_text(v) for v in (53.0783, 20000, 1.5e-7, -1e9, np.inf)] == [
        "53.08", "20,000", "1.5 × 10⁻⁷", "−10⁹", "inf",
    ]  # fmt: skip
    for value in 10.0 ** np.arange(-12.0, 13) * 1.23456:
        for digits in (2, 3, 4, 6):
            plain = number(value, digits).replace(",", "").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
            mantissa, _, power = plain.partition(" × 10")
            assert float(mantissa) * 10.0 ** int(power or 0) == pytest.approx(float(f"{value:.{digits}g}"), rel=1e-12)
            assert number(-value, digits) == "−" + number(value, digits)
