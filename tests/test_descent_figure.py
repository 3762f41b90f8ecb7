"""The figure of a descent: overlays, grids, folding, labels, insets, widths, both styles and every odd case."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

import bare
import ravine
from ravine import plot
from ravine.plot._canvas import style as paper
from ravine.plot._canvas.labels import Box, FreeSpace, text_size
from ravine.plot._canvas.layout import wrap
from ravine.plot._map import contours, inset


def all_of(ax, gid):
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


def of_gid(ax, gid):
    (found,) = all_of(ax, gid)
    return found


def write(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert buffer.getvalue().startswith(b"\x89PNG")


def texts(ax):
    return [t.get_text() for t in ax.texts]


def inside_words(ax):
    """What is written on the map itself, and not under it."""
    return [t for t in ax.texts if getattr(t, "xycoords", "data") == "data"]


def boxes(ax):
    """Extents of all words on the map, without leading lines."""
    return {t.get_text() + f"@{k}": Text.get_window_extent(t) for k, t in enumerate(inside_words(ax))}


def dense(ax, gid="path"):
    """Points every half pixel along the drawn path."""
    found = []
    for line in all_of(ax, gid):
        corners = ax.transData.transform(np.c_[line.get_data()].astype(float))
        corners = corners[np.isfinite(corners).all(axis=1)]
        for a, b in pairwise(corners):
            count = int(np.clip(np.hypot(*(b - a)) * 2, 1, 4000))
            found.append(a + np.linspace(0, 1, count)[:, None] * (b - a))
    return np.concatenate(found) if found else np.empty((0, 2))


def assert_tidy(figure):
    """Every word on a map is inside it, off the path, and off every other word."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        frame, track = ax.get_window_extent(), dense(ax)
        items = list(boxes(ax).items())
        items += [("inset", small.get_window_extent()) for small in ax.child_axes]
        for small in ax.child_axes:
            (scale,) = [Text.get_window_extent(t) for t in small.texts]
            assert small.get_window_extent().containsx(scale.x1)
        for k, (name, box) in enumerate(items):
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1, name  # noqa: PT018
            assert frame.y0 <= box.y0 and box.y1 <= frame.y1, name  # noqa: PT018
            shrunk = box.padded(-0.12 * box.height)
            assert not shrunk.count_contains(track), f"{name} lies on the path"
            for other, there in items[k + 1 :]:
                assert not shrunk.overlaps(there.padded(-0.12 * there.height)), (name, other)


@pytest.fixture(scope="module")
def four():
    problems = ravine.gallery.article()
    return ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems)


@pytest.fixture(scope="module")
def of_four(four):
    """Their figure, drawn once for all that only look at it."""
    return plot.descent(*four)


@pytest.fixture(scope="module")
def three():
    """Three momenta by four criteria, and the surfaces."""
    problems = ravine.gallery.article()
    runs = {m: ravine.descend(problems, lr=0.1, momentum=m) for m in (0.0, 0.5, 0.9)}
    return ravine.join(runs, dim="momentum"), ravine.surface(problems)


def rosenbrock():
    return ravine.Problem(lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2, start={"x": -1.2, "y": 1.0})


# -- overlays


def test_overlaid_runs_carry_their_own_numbers_and_differ_by_more_than_colour(three):
    runs, land = three
    figure = plot.descent(runs, land, hue="momentum")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"]
    for ax, criterion in zip(figure.axes, runs.criterion.values, strict=True):
        lines = all_of(ax, "path")
        for line, momentum in zip(lines, runs.momentum.values, strict=True):
            cell = runs.sel(criterion=criterion, momentum=momentum).position
            assert bare.same_bits(line.get_xdata(), cell.sel(parameter="bias"))
            assert bare.same_bits(line.get_ydata(), cell.sel(parameter="weight"))
        assert len({line.get_color() for line in lines}) == 3
        assert len({line.get_linestyle() + str(line._dash_pattern) for line in lines}) == 3
        assert len({line.get_marker() for line in all_of(ax, "steps")}) == 3
        said = texts(ax)
        assert {"momentum 0", "momentum 0.5", "momentum 0.9", "start"} <= set(said)
        losses = runs.loss.sel(criterion=criterion, momentum=0.9).values
        step = float(ravine.measure.arrival(runs.sel(criterion=criterion, momentum=0.9)))
        end = "has not arrived" if np.isnan(step) else f"arrives at step {step:.0f}"
        wanted = f"momentum 0.9: loss {losses[0]:.4g} → {losses[-1]:.4g}, {end}"
        assert wanted in [word.replace("\n", " ") for word in said]
        colours = {
            line.get_color(): t for line, t in zip(lines, ("momentum 0", "momentum 0.5", "momentum 0.9"), strict=True)
        }
        for t in inside_words(ax):
            if t.get_text().startswith("momentum"):
                assert colours[t.get_color()] == t.get_text()
    assert_tidy(figure)
    write(figure)


def test_a_setting_along_a_dimension_is_a_hue_too(article):
    problem = article["MSELoss"]
    runs = ravine.join({f"number {k}": ravine.descend(problem, lr=0.1, momentum=m) for k, m in enumerate((0.1, 0.8))})
    land = ravine.surface(problem, points=31)
    assert {"momentum 0.1", "momentum 0.8"} <= set(texts(plot.descent(runs, land, hue="momentum").axes[0]))
    assert {"number 0", "number 1"} <= set(texts(plot.descent(runs, land, hue="run").axes[0]))


def test_runs_with_goals_of_their_own_mark_each(article):
    problem = article["MSELoss"]
    runs = ravine.join({d: ravine.descend(problem, lr=0.1, weight_decay=d) for d in (0.0, 2.0)}, dim="weight_decay")
    goals = np.array([[0.94, 2.52], [0.3, 1.25]])
    runs = runs.drop_vars("minimizer", errors="ignore").assign(minimizer=(("weight_decay", "parameter"), goals))
    figure = plot.descent(runs, ravine.surface(problem, points=31), hue="weight_decay")
    crosses = all_of(figure.axes[0], "minimum")
    order = [list(runs.parameter.values).index(name) for name in ("bias", "weight")]
    assert [np.ravel(c.get_data()).tolist() for c in crosses] == goals[:, order].tolist()
    assert any("contours: loss without weight decay" in t.get_text() for t in figure.texts)


def test_hue_says_what_it_cannot_do(three, article):
    runs, land = three
    with pytest.raises(ValueError, match="surfaces differ along 'criterion', so runs over them cannot share a panel"):
        plot.descent(runs, land, hue="criterion")
    with pytest.raises(ValueError, match=r"runs do not differ in 'momentun'; they differ in .*did you mean momentum"):
        plot.descent(runs, land, hue="momentun")
    single = runs.isel(momentum=0, criterion=0)
    with pytest.raises(ValueError, match="there is one run only, and hue tells several apart: leave it out, got 'lr'"):
        plot.descent(single, land, hue="lr")
    many = ravine.join({f"{k}": single for k in range(25)})
    with pytest.raises(ValueError, match=r"25 runs in one panel are too many .* \(at most 24\)"):
        plot.descent(many, land, hue="run")
    with pytest.raises(ValueError, match="style 'article' draws one run in each panel"):
        plot.descent(runs, land, hue="momentum", style="article")


# -- grids and folding


def test_two_dimensions_make_a_grid(three):
    runs, land = three
    figure = plot.descent(runs, land)
    assert len(figure.axes) == 12
    for k, ax in enumerate(figure.axes):
        row, column = divmod(k, 4)
        cell = runs.isel(momentum=row, criterion=column).position
        assert bare.same_bits(of_gid(ax, "path").get_xdata(), cell.sel(parameter="bias"))
        assert ax.get_title(loc="left") == (str(runs.criterion.values[column]) if row == 0 else "")
        left, below = ax.get_position().x0, ax.get_position().y0
        assert np.isclose(left, figure.axes[column].get_position().x0)
        assert np.isclose(below, figure.axes[4 * row].get_position().y0)
    assert {"momentum 0", "momentum 0.5", "momentum 0.9"} <= {t.get_text() for t in figure.texts}
    assert_tidy(figure)
    write(figure)


def test_equal_panels_fold_on_request(four, of_four, three):
    runs, land = four
    names = ["MSELoss", "L1Loss", "HuberLoss = SmoothL1Loss"]
    figure = plot.descent(runs, land, fold=True)
    assert [ax.get_title(loc="left") for ax in figure.axes] == names
    tops = {round(ax.get_position().y1, 6) for ax in figure.axes}
    assert len(tops) == 1  # side by side
    assert len(of_four.axes) == 4
    grid = plot.descent(three[0], three[1], fold=True)
    assert [ax.get_title(loc="left") for ax in grid.axes[:3]] == names
    assert len(grid.axes) == 9
    one_bit = runs.copy(deep=True)
    one_bit.position[3, 50, 0] = np.nextafter(one_bit.position[3, 50, 0].values, np.float32(9))
    assert len(plot.descent(one_bit, land, fold=True).axes) == 4


def test_panels_over_one_surface_share_a_scale(article):
    problem = article["MSELoss"]
    runs = ravine.join({d: ravine.descend(problem, lr=0.1, weight_decay=d) for d in (0.0, 2.0)}, dim="weight_decay")
    figure = plot.descent(runs, ravine.surface(problem, points=31))
    gaps = [ax.collections[0].levels - ax.collections[0].levels[0] for ax in figure.axes]
    assert np.allclose(gaps[0][:-1], gaps[1][:-1])
    assert np.array_equal(figure.axes[0].collections[0].get_facecolor(), figure.axes[1].collections[0].get_facecolor())
    apart = plot.descent(ravine.descend(article, steps=3), ravine.surface(article, points=31))
    tops = [ax.collections[0].levels[-1] for ax in apart.axes[:2]]
    assert tops[0] > 5 * tops[1]


# -- words on the map


def test_words_are_tidy_in_every_width_and_style(four, of_four):
    runs, land = four
    one = runs.sel(criterion="MSELoss")
    for panels, width in ((one, 3.5), (one, None), (runs, 7.2), (runs, None), (runs, 3.5)):
        figure = of_four if panels is runs and width is None else plot.descent(panels, land, width=width)
        if width:
            assert figure.get_figwidth() == width
        assert_tidy(figure)
        sizes = [t.get_size() for t in figure.findobj(Text) if t.get_text()]
        assert min(sizes) >= 6
        canvas = figure.bbox
        for t in figure.findobj(Text):
            if t.get_text() and t.get_visible():
                box = Text.get_window_extent(t)
                assert canvas.x0 - 1 <= box.x0 and box.x1 <= canvas.x1 + 1, t  # noqa: PT018
                assert canvas.y0 - 1 <= box.y0 and box.y1 <= canvas.y1 + 1, t  # noqa: PT018
    for width in (1.0, 30.0):
        with pytest.raises(ValueError, match="width must be from 2.5 to 20 inches"):
            plot.descent(one, land, width=width)
    wide = ravine.join({f"{k}": one for k in range(16)})
    narrow = plot.descent(wide, land, width=2.5)
    assert len({round(ax.get_position().x0, 3) for ax in narrow.axes}) == 2  # fewer stand in a row
    grid = ravine.join({"one": runs, "other": runs})  # whose rows belong together
    with pytest.raises(ValueError, match="4 panels in a row do not fit into 2.5 inches"):
        plot.descent(grid, land, width=2.5)


def test_numbers_of_an_axis_can_be_told_apart():
    """Far from 0, on tiny and on huge scales: labels differ, and the axis says what they leave out."""
    from ravine.plot._canvas.ticks import round_numbers, write_ticks

    for low, high in ((1e6 - 1e-3, 1e6 + 1e-3), (25791.8, 25793.2), (-3e9, -3e9 + 40), (0, 3e-7), (-2e12, 5e12)):
        ticks = write_ticks(round_numbers(low, high, 6))
        assert len(set(ticks.words)) == len(ticks.places) >= 2, ticks.words
        assert max(map(len, ticks.words)) <= 9, ticks.words
        said = [float(word.replace(",", "").replace("−", "-")) for word in ticks.words]
        again = ticks.base + np.array(said) * 10.0**ticks.power
        assert np.allclose(again, ticks.places, rtol=1e-15, atol=1e-6 * (high - low))
        assert (ticks.name("a") == "a") == (ticks.base == 0 and ticks.power == 0)


def test_a_map_far_from_zero_says_from_where_its_axes_count():
    def loss(p):
        return (p["a"] - 1e6) ** 2 + (p["b"] - 1e6) ** 2

    far = torch.tensor(1e6 + 2e-3, dtype=torch.float64)
    run = ravine.descend(ravine.Problem(loss, start={"a": far, "b": far}), lr=0.1, steps=40)
    land = ravine.surface(ravine.Problem(loss, start={"a": far, "b": far}), ravine.around(run), points=21)
    (ax,) = plot.descent(run, land).axes
    for axis, name in ((ax.xaxis, "a"), (ax.yaxis, "b")):
        words = [label.get_text() for label in axis.get_ticklabels()]
        assert len(set(words)) == len(words) > 2
        assert axis.get_label_text() == f"{name} − 1,000,000"


def test_words_around_panels_do_not_meet(three):
    runs, land = three
    figure = plot.descent(runs, land, hue="momentum", width=7.2)
    figure.draw_without_rendering()
    around = [
        Text.get_window_extent(t)
        for ax in figure.axes
        for t in ax.texts
        if getattr(t, "xycoords", "") == "axes fraction"
    ]
    around += [Text.get_window_extent(t) for t in figure.texts]
    around += [ax.get_window_extent() for ax in figure.axes]
    around += [ax.xaxis.label.get_window_extent() for ax in figure.axes if ax.get_xlabel()]
    assert not any(a.overlaps(b) for k, a in enumerate(around) for b in around[k + 1 :])


def test_numbers_stand_on_their_contours_whole(four, of_four):
    _, land = four
    of_four.draw_without_rendering()
    for ax in of_four.axes:
        numbers = [t for t in ax.texts if t.get_gid() == "level"]
        assert 2 <= len(numbers) <= 4
        values = land.surface.sel(criterion=ax.get_title(loc="left"))
        for number in numbers:
            x, y = number.get_position()
            here = float(values.interp(bias=x, weight=y))
            assert here == pytest.approx(float(number.get_text()), rel=0.05)
            assert abs(number.get_rotation()) <= 90 or number.get_rotation() >= 270
    assert_tidy(of_four)


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_a_known_minimum_is_named(article, decay):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.1, weight_decay=decay).drop_vars(
        ["minimizer", "data_minimizer"], errors="ignore"
    )
    land = ravine.surface(problem)
    unknown = plot.descent(run, land).axes[0]
    assert of_gid(unknown, "lowest")
    spot = {"weight": 0.33, "bias": 1.27} if decay else {"weight": 0.94, "bias": 2.52}
    known = run.assign(minimizer=("parameter", [spot[str(name)] for name in run.parameter.values]))
    ax = plot.descent(known, land).axes[0]
    assert np.ravel(of_gid(ax, "minimum").get_data()).tolist() == [spot["bias"], spot["weight"]]
    assert not all_of(ax, "lowest")
    if decay:
        data = np.ravel(of_gid(ax, "data minimum").get_data())
        row, column = np.unravel_index(land.surface.values.argmin(), land.surface.shape)
        assert data.tolist() == [land.bias.values[column], land.weight.values[row]]
        for each in (ax, unknown):
            assert {"the goal", "minimum of\nthe data loss"} <= set(texts(each))
    else:
        assert "minimum" in texts(ax)
        assert "minimum" not in texts(unknown)
    assert_tidy(ax.figure)


# -- insets


def test_an_inset_enlarges_the_same_numbers(four):
    runs, land = four
    run = runs.sel(criterion="MSELoss")
    figure = plot.descent(run, land)
    (ax,) = figure.axes
    (small,) = ax.child_axes
    tail = of_gid(small, "tail")
    x, y = (run.position.sel(parameter=name).values for name in ("bias", "weight"))
    count = len(tail.get_xdata())
    assert bare.same_bits(tail.get_xdata().astype(np.float32), x[-count:])
    assert bare.same_bits(tail.get_ydata().astype(np.float32), y[-count:])
    (scale,) = [t.get_text() for t in small.texts]
    assert scale == f"3\N{MULTIPLICATION SIGN} from step {101 - count + 1}"
    factor = (13 * inset.SIDE) / (small.get_xlim()[1] - small.get_xlim()[0])
    assert factor == pytest.approx(3)
    window = np.c_[of_gid(ax, "window").get_data()]
    assert [window[:, 0].min(), window[:, 0].max()] == pytest.approx(list(small.get_xlim()))
    # the later steps are all in the window, the one before is not
    low, high = window.min(axis=0), window.max(axis=0)
    later = np.c_[x, y][-count + 1 :]
    assert ((later > low) & (later < high)).all()
    figure.draw_without_rendering()
    assert not small.get_window_extent().count_contains(dense(ax))
    write(figure)


def test_no_inset_where_it_would_show_nothing_new(article):
    problem = article["MSELoss"]
    land = ravine.surface(problem, points=31)
    for settings in ({"lr": 0.1}, {"lr": 30.0}, {"lr": 0.01, "steps": 500}, {"lr": 0.1, "steps": 1}):
        assert not plot.descent(ravine.descend(problem, **settings), land).axes[0].child_axes
    still = np.zeros((50, 2))
    assert inset.tail_of(still, np.array([-1.0, -1.0]), np.array([1.0, 1.0]), 200) is None


# -- schedulers, fields


def test_line_width_follows_a_schedule(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.1, momentum=0.9, steps=60)
    run = run.drop_vars("scheduled_lr", errors="ignore")
    land = ravine.surface(problem, points=31)
    lr = np.repeat([0.1, 0.03, 0.01], [20, 20, 21])
    figure = plot.descent(run.assign(scheduled_lr=("step", lr)), land)
    (ax,) = figure.axes
    widths = np.array(of_gid(ax, "lr").get_linewidths())
    assert len(widths) == 60
    assert np.allclose((widths - 0.5) / (widths[0] - 0.5), lr[:60] / 0.1)
    assert bare.same_bits(of_gid(ax, "path").get_xdata(), run.position.sel(parameter="bias"))
    assert any("line width: lr" in t.get_text() for t in figure.texts)
    assert {"lr 0.03", "lr 0.01"} <= set(texts(ax))
    smooth = plot.descent(run.assign(scheduled_lr=("step", 0.05 * (1 + np.cos(np.pi * np.arange(61) / 60)))), land)
    assert not any(t.startswith("lr ") for t in texts(smooth.axes[0]))
    constant = plot.descent(run.assign(scheduled_lr=("step", np.full(61, 0.1))), land)
    assert not all_of(constant.axes[0], "lr")
    assert not any("line width" in t.get_text() for t in constant.texts)
    write(figure)


def test_arrows_point_downhill():
    tilted = ravine.Problem(lambda p: 3 * p["x"] ** 2 + p["y"] ** 2 + p["x"] * p["y"], start={"x": 1.5, "y": 1.0})
    land, run = ravine.surface(tilted, x=(-2, 2), y=(-2, 2)), ravine.descend(tilted, lr=0.05)
    from_grid = plot.descent(run, land.drop_vars("slope", errors="ignore"), field=True)
    assert any("arrows: downhill, from the grid" in t.get_text() for t in from_grid.texts)
    x, y = np.meshgrid(land.x.values, land.y.values)
    slope = np.stack([2 * y + x, 6 * x + y], axis=-1)  # the labels' order is y, x on purpose
    exact = land.drop_vars("slope", errors="ignore").assign_coords(parameter=["y", "x"])
    exact = exact.assign(slope=(("y", "x", "parameter"), slope))
    recorded = plot.descent(run, exact, field=True)
    assert not any("from the grid" in t.get_text() for t in recorded.texts)
    for figure, tolerance in ((from_grid, 0.02), (recorded, 1e-9)):
        arrows = of_gid(figure.axes[0], "downhill")
        px, py = arrows.X, arrows.Y
        wanted = -np.stack([6 * px + py, 2 * py + px], axis=-1)
        known = np.hypot(*wanted.T) > 0.5
        drawn = np.stack([arrows.U, arrows.V], axis=-1)
        assert np.allclose(np.hypot(*drawn.T), 1)
        cosine = (drawn * wanted).sum(axis=1) / np.hypot(*wanted.T)
        assert (cosine[known] > 1 - tolerance).all()
        assert known.sum() > 100
    write(from_grid)


# -- styles and odd cases


def test_dark_has_the_same_layout_in_its_own_colours(four, of_four):
    light, dark = of_four, plot.descent(*four, style="dark")
    assert dark.get_facecolor() != light.get_facecolor()
    for a, b in zip(light.axes, dark.axes, strict=True):
        assert a.get_position().bounds == b.get_position().bounds
        assert bare.same_bits(of_gid(a, "path").get_xdata(), of_gid(b, "path").get_xdata())
    assert of_gid(dark.axes[0], "path").get_color() == paper.DARK.accent
    assert_tidy(dark)


@pytest.mark.parametrize("style", [paper.RAVINE, paper.DARK], ids=lambda s: s.name)
def test_accents_are_told_apart_in_grey(style):
    """Contrast of the path with the whole map, and of neighbours with each other, by lightness alone."""
    from matplotlib.colors import to_rgb

    def light(colour):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(a, b):
        one, other = sorted((light(a), light(b)))
        return (other + 0.05) / (one + 0.05)

    assert all(contrast(accent, style.far) > 3 for accent in style.accents)
    assert contrast(style.ink, style.ground) > 10
    assert contrast(style.quiet, style.ground) > 4.5
    assert contrast(style.accents[0], style.accents[1]) > 1.2


def odd_cases():
    m = ravine.gallery.article()["MSELoss"]
    wide = ravine.surface(m, points=31)
    yield "leaves and returns", ravine.descend(m, lr=0.6, momentum=0.9), wide, "outside"
    yield "diverges", ravine.descend(m, lr=30.0), wide, "it diverged"
    yield "one step", ravine.descend(m, steps=1), wide, "start"
    yield "no step", ravine.descend(m, steps=1).isel(step=[0]), wide, "no step taken"
    yield (
        "starts outside",
        ravine.descend(m, lr=0.1),
        ravine.surface(m, bias=(-1, 6), weight=(-1, 4), points=31),
        "starts outside",
    )
    yield (
        "unseen",
        ravine.descend(m, steps=3),
        ravine.surface(m, bias=(6, 8), weight=(-1, 0), points=9),
        "outside this map",
    )
    bowl = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] ** 2, start={"x": 0.0, "y": 0.0})
    yield "on the minimum", ravine.descend(bowl, lr=0.1), ravine.surface(bowl, x=(-1, 1), y=(-1, 1), points=31), "start"
    flat = ravine.Problem(lambda p: 0 * p["x"] * p["y"] + 3, start={"x": 0.5, "y": 0.5})
    yield (
        "flat",
        ravine.descend(flat, steps=1),
        ravine.surface(flat, x=(0, 1), y=(0, 1), points=5),
        "the same loss everywhere",
    )
    hole = ravine.Problem(lambda p: -(p["x"].log()) + p["y"] ** 2, start={"x": 0.5, "y": 0.5})
    land = ravine.surface(hole, x=(-1, 1), y=(-1, 1), points=21)
    yield "hole", ravine.descend(hole, lr=0.01), land, "leaves at step"
    yield "nothing finite", ravine.descend(hole, lr=0.01), land.assign(surface=land.surface * np.nan), "start"
    valley = rosenbrock()
    ground = ravine.surface(valley, x=(-2, 2), y=(-1, 3), points=51)
    yield "thousand", ravine.descend(valley, lr=1e-3, steps=1000), ground, "start"
    long = ravine.descend(valley, torch.optim.Adam, lr=0.05, steps=300)
    far = xr.concat([long.isel(step=slice(0, 300))] * 33 + [long.isel(step=slice(0, 101))], dim="step")
    yield "ten thousand", far.assign_coords(step=np.arange(far.sizes["step"])), ground, "start"
    a, b = "encoder.layers.0.self_attention.weight[12,34]", "decoder.layers.11.feed_forward.bias[7]"
    named = ravine.Problem(lambda p: (p[a] - 3e-4) ** 2 + 20 * p[b] ** 2, start={a: 1e-3, b: 1e-3})
    yield (
        "long names",
        ravine.descend(named, lr=0.02),
        ravine.surface(named, {a: (-0.001, 0.0015), b: (-0.001, 0.0012)}, points=31),
        "start",
    )
    uneven = ravine.Problem(lambda p: 1e-4 * p["x"] ** 2 + p["y"] ** 2, start={"x": 90.0, "y": 1.0})
    yield (
        "unequal axes",
        ravine.descend(uneven, lr=0.9),
        ravine.surface(uneven, x=(-100, 100), y=(-1.5, 1.5), points=31),
        "start",
    )


@pytest.fixture(scope="module")
def odd():
    return {name: rest for name, *rest in odd_cases()}


@pytest.mark.parametrize(
    ("width", "style"),
    [
        (None, "ravine"),
        (3.5, "dark"),
        pytest.param(None, "dark", marks=pytest.mark.slow),
        pytest.param(3.5, "ravine", marks=pytest.mark.slow),
    ],
)
def test_every_odd_case_is_drawn_and_speaks(odd, width, style):
    for name, (run, land, said) in odd.items():
        figure = plot.descent(run, land, width=width, style=style, field=True)
        (ax,) = figure.axes
        assert said in " ".join(texts(ax)).replace("\n", " "), name
        names = list(land.surface.dims)[::-1]
        assert bare.same_bits(of_gid(ax, "path").get_xdata(), run.position.sel(parameter=names[0])), name
        assert bare.same_bits(of_gid(ax, "path").get_ydata(), run.position.sel(parameter=names[1])), name
        every = 1 if run.sizes["step"] <= 201 else 10 if run.sizes["step"] <= 2001 else 100
        assert bare.same_bits(of_gid(ax, "steps").get_xdata(), run.position.sel(parameter=names[0])[::every]), name
        heading = " ".join(t.get_text() for t in figure.texts)
        assert ("axes not to one scale" in heading) == (name == "unequal axes")
        assert_tidy(figure)
        write(figure)


def test_runs_of_unequal_length_are_cut_where_they_end(article):
    problem = article["MSELoss"]
    short, long = ravine.descend(problem, lr=0.1, steps=20), ravine.descend(problem, lr=0.1, steps=60)
    both = ravine.join({"short": short, "long": long}).drop_vars("steps_taken", errors="ignore")
    both = both.assign(steps_taken=("run", [20, 60]))
    figure = plot.descent(both, ravine.surface(problem, points=31))
    assert "loss 53.08 → 0.5" in texts(figure.axes[0])[-1] or "in 20 steps" in " ".join(texts(figure.axes[0]))
    assert not any("diverged" in t for t in texts(figure.axes[0]))
    assert len(of_gid(figure.axes[0], "path").get_xdata()) == 21
    assert of_gid(figure.axes[0], "end")


# -- finding places


def test_room_finds_the_nearest_free_place():
    ax = paper.new_figure(4, 4, paper.RAVINE).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    room = FreeSpace(ax)
    room.line(room.points([[0.0, 0.5], [1.0, 0.5]]), 3.0)
    place = room.beside(room.points([0.5, 0.5])[0], 60, 12, 4, 100)
    assert place is not None
    middle = room.size[1] / 2
    assert abs(place.y - middle) - place.height / 2 >= 2
    assert abs(place.y - middle) < 20
    room.box(Box(*(room.size / 2), *(2 * room.size)))
    assert room.beside([100, 100], 60, 12, 4, 500) is None
    assert room.corner(20, 20, 2) is None
    assert room.beside([10, 10], 1000, 12, 4, 500) is None


def test_a_clearance_is_known_when_a_box_is_taken():
    chance = np.random.default_rng(4)
    for _ in range(20):
        figure = Figure(figsize=chance.uniform(1, 4, 2))
        room = FreeSpace(figure.add_axes((0.1, 0.1, 0.8, 0.8)))
        room.mark(chance.uniform(-10, 300, (chance.integers(6), 2)), 3.0)
        clear = room.clearance(border=True)
        for _ in range(3):
            box = Box(*chance.uniform(-20, 300, 2), *chance.uniform(0, 80, 2))
            room.box(box)
            clear = room.clearance_beside(clear, box)
            assert np.array_equal(clear, room.clearance(border=True))


def test_lines_are_as_long_as_they_can_be():
    text = (
        "It swings on its way, there and back, in ever smaller turns: iiiiii iiiiiiiii WWWWWW a WWWWWWWWW, and rests."
    )
    for inches in np.linspace(0.05, 6, 60):
        lines = wrap(text, inches, 8.2).split("\n")
        assert " ".join(lines) == text
        for line, after in pairwise(lines):
            longer = f"{line} {after.split(' ')[0]}"
            assert text_size(line, 8.2)[0] <= inches * 72 or " " not in line
            assert text_size(longer, 8.2)[0] > inches * 72


def test_room_knows_where_a_line_crosses_even_from_far_outside():
    ax = paper.new_figure(4, 4, paper.RAVINE).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    for far in (10.0, 1e4, 1e9):
        room = FreeSpace(ax)
        room.line(room.points([[-far, -far], [far, far]]), 0.0)
        assert np.diag(room.taken).mean() > 0.9
        assert room.taken.mean() < 0.1
    room = FreeSpace(ax)
    room.line(np.array([[np.nan, 1.0], [np.inf, 2.0], [3.0, 4.0]]), 1.0)
    assert room.taken.sum() < 10


def test_one_scale_for_several_surfaces():
    slope = np.linspace(0, 9, 100).reshape(10, 10)
    edges = contours.shared_gaps([slope, 3 * slope + 5])
    assert edges[-1] == 27
    assert contours.shared_gaps([np.full((3, 3), 2.0)]) is None
    assert contours.shared_gaps([np.full((3, 3), np.nan)]) is None


def test_panels_of_the_article_stand_below_each_other(article):
    """However wide the numbers beside their colour bars are."""
    runs, land = ravine.descend(article, lr=0.1, steps=3), ravine.surface(article, points=9)
    figure = plot.descent(runs, land, style="article")
    figure.draw_without_rendering()
    maps = [ax.get_position().bounds for ax in figure.axes if ax.get_title()]
    for one, below in zip(maps[:2], maps[2:], strict=True):
        assert (one[0], one[2], one[3]) == pytest.approx((below[0], below[2], below[3]), abs=1e-6)


def test_the_start_of_a_run_that_diverges_is_named_beside_it(article):
    """Its later legs cross the map in pale lines, all over it: words stand on those, not across the map on a leader."""
    figure = plot.descent(ravine.descend(article, lr=1.2))
    for ax in figure.axes:
        (note,) = (text for text in ax.texts if text.get_text() == "start")
        assert note.arrow_patch is None
        assert np.hypot(*note.xyann) < 40  # points
