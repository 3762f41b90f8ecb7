"""Diagrams of two settings and bands of many losses, read back from their artists."""

from __future__ import annotations

import io
import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.path import Path
from matplotlib.text import Text

import bare
import ravine
from artists import of_gid, panels, said, words
from ravine import measure, plot
from ravine._format import number
from ravine.plot._canvas.style import style_of

LR = np.geomspace(0.01, 5.0, 40)
MOMENTUM = np.linspace(0.0, 0.975, 30)


def value_of(text):
    """Read a number as pictures write it back."""
    return float(text.get_text().replace(",", "").replace("\N{MINUS SIGN}", "-"))


def descents(curvatures, lr=LR, momentum=MOMENTUM, steps=200, start=(6.0, -3.0), floor=0.0):
    """Plain gradient descent with momentum on a quadratic, as a study: (lr, momentum, step)."""
    losses = np.empty((len(lr), len(momentum), steps + 1))
    rate, inertia = np.meshgrid(lr, momentum, indexing="ij")
    place = [np.full(rate.shape, each) for each in start]
    velocity = [np.zeros(rate.shape) for _ in start]
    with np.errstate(all="ignore"):
        for step in range(steps + 1):
            losses[..., step] = floor + sum(c / 2 * x * x for c, x in zip(curvatures, place, strict=True))
            for k, curvature in enumerate(curvatures):
                velocity[k] = inertia * velocity[k] + curvature * place[k]
                place[k] = place[k] - rate * velocity[k]
    return xr.Dataset(
        {"loss": (("lr", "momentum", "step"), losses), "minimum_loss": floor},
        coords={
            "lr": lr,
            "momentum": momentum,
            "step": np.arange(steps + 1),
            "optimizer": "SGD",
            "nesterov": False,
            "weight_decay": 0.0,
        },
    )


@pytest.fixture(scope="module")
def valley():
    return descents((0.02, 2.0))


@pytest.fixture(scope="module")
def bowl():
    return descents((1.3, 2.0))


@pytest.fixture(scope="module")
def diagram(valley):
    """A diagram of the valley that many tests read."""
    return plot.phase(valley)


def both(**studies):
    return xr.concat(
        studies.values(),
        xr.DataArray(list(studies), dims="problem", name="problem"),
        data_vars="all",
        coords="minimal",
        compat="override",
    )


def cells(ax):
    """The values of a panel, NaN where there is none; row by row."""
    (mesh,) = of_gid(ax, "values")
    return mesh.get_array().filled(np.nan)


def edges(ax):
    (mesh,) = of_gid(ax, "values")
    corners = mesh.get_coordinates()
    return corners[0, :, 0], corners[:, 0, 1]


def key_of(figure):
    return next(ax for ax in figure.axes if ax.get_label() == "key")


def written(figure, form="png"):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=60)
    return buffer.getvalue()


def assert_apart(figure):
    """No two texts of a figure cover each other, none leaves it, and none is too small to read."""
    figure.draw_without_rendering()
    texts = [
        t
        for where in (figure, *figure.axes)
        for t in [
            *where.texts,
            *((where._left_title, where.xaxis.label, where.yaxis.label) if where is not figure else ()),
        ]
        if t.get_text() and t.get_visible()
    ]
    for ax in panels(figure):
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            texts += [text for place, text in ticks if text.get_text() and low <= place <= high]
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in texts]
    for k, (text, box) in enumerate(boxes):
        assert texts[k].get_size() >= 6, text
        assert figure.bbox.padded(1).contains(box.x0, box.y0), text
        assert figure.bbox.padded(1).contains(box.x1, box.y1), text
        for j, (other, there) in enumerate(boxes[k + 1 :]):
            if texts[k].get_rotation() in (0, 90) and texts[k + 1 + j].get_rotation() in (0, 90):
                assert not box.padded(-1).overlaps(there.padded(-1)), (text, other)


def arrival_of(losses, floor=0.0):
    """First step from which the gap stays within 1 % of the start's: one run, in plain Python."""
    gaps = [float(loss) - floor for loss in losses]
    for step in range(len(gaps)):
        if all(math.isfinite(g) and g <= 0.01 * gaps[0] for g in gaps[step:]):
            return step
    return None


# -- cells -------------------------------------------------------------------------------------------------------


def test_each_cell_is_one_run(valley, diagram):
    (ax,) = panels(diagram)
    shown = cells(ax)
    assert shown.shape == (30, 40)
    for row, column in ((0, 20), (14, 30), (29, 5), (10, 0), (20, 36), (3, 39)):
        step = arrival_of(valley.loss.values[column, row])
        assert (np.isnan(shown[row, column]) and step is None) or shown[row, column] == step
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    across, up = edges(ax)
    ratio = LR[1] / LR[0]
    assert np.allclose(across, [LR[0] / ratio**0.5, *(LR * ratio**0.5)], rtol=1e-12)
    assert np.allclose(up, np.arange(31) * 0.975 / 29 - 0.975 / 58, atol=1e-12)
    assert ax.get_xlim() == (across[0], across[-1])
    assert ax.get_ylim() == (up[0], up[-1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "momentum")


def test_on_four_problems(case):
    runs = ravine.join(
        {
            momentum: ravine.join(
                {lr: ravine.descend(case.problem, lr=lr, momentum=momentum, steps=12) for lr in (1e-3, 1e-2, 30.0)},
                dim="lr",
            )
            for momentum in (0.0, 0.9)
        },
        dim="momentum",
    )
    last = runs.loss.isel(step=-1)
    before = last.copy(deep=True)
    figure = plot.phase(last)
    shown = cells(panels(figure)[0])
    truth = last.transpose("momentum", "lr").values.astype(float)
    assert bare.same_bits(shown, np.where(np.isfinite(truth), truth, np.nan))
    assert last.identical(before)
    lowest = np.nanmin(np.where(np.isfinite(truth), truth, np.nan))
    row, column = np.argwhere(truth == lowest)[0]
    star = of_gid(panels(figure)[0], "best")[0]
    assert np.ravel(star.get_data()).tolist() == [runs.lr[column], runs.momentum[row]]
    for drawn in (figure, plot.phase(last, style="dark"), plot.phase(last, style="article")):
        assert len(written(drawn)) > 2000


def test_irregular_values_lie_where_they_are():
    lr, momentum = [0.3, 0.01, 0.1, 2.0], [0.99, 0.0, 0.9]
    values = xr.DataArray(
        np.arange(12.0).reshape(4, 3), coords={"lr": lr, "momentum": momentum}, dims=("lr", "momentum")
    )
    ax = panels(plot.phase(values))[0]
    assert cells(ax).tolist() == values.sel(lr=sorted(lr), momentum=sorted(momentum)).values.T.tolist()
    across, up = edges(ax)
    logs = np.log10(sorted(lr))
    assert np.allclose(np.log10(across[1:-1]), (logs[1:] + logs[:-1]) / 2, atol=1e-12)
    assert np.allclose(up, [-0.45, 0.45, 0.945, 1.035], atol=1e-12)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.01", "0.1", "0.3", "2"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.geomspace(0.1, 0.9, 7), "log"),
        (np.linspace(0.01, 0.99, 7), "linear"),
        ([0.0, 0.01, 1.0, 100.0], "linear"),
        ([0.01, 0.02, 0.5], "log"),
        ([0.5, 0.6, 0.9], "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_its_values_want_it(values, scale):
    array = xr.DataArray(
        np.ones((len(values), 2)), coords={"lr": values, "momentum": [0.0, 0.5]}, dims=("lr", "momentum")
    )
    assert panels(plot.phase(array))[0].get_xscale() == scale


def test_labels_and_booleans_are_axes():
    rng = np.random.default_rng(5)
    array = xr.DataArray(
        rng.random((4, 2)),
        coords={"criterion": ["MSELoss", "L1Loss", "HuberLoss", "BCEWithLogitsLoss"], "nesterov": [False, True]},
        dims=("criterion", "nesterov"),
        name="rate",
    )
    figure = plot.phase(array, x="criterion", y="nesterov", marks={"mine": {"criterion": "L1Loss", "nesterov": True}})
    ax = panels(figure)[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == array.criterion.values.tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["False", "True"]
    assert cells(ax).tolist() == array.values.T.tolist()
    assert edges(ax)[0].tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    (ring,) = of_gid(ax, "mark")
    assert np.ravel(ring.get_data()).tolist() == [1, 1]
    assert any(text.split("mine:")[-1].strip() == f"{array.values[1, 1]:.4g}" for text in words(ax, "mark"))
    assert_apart(figure)
    assert_apart(plot.phase(array, x="nesterov", y="criterion", width=3.5))


# -- regions -----------------------------------------------------------------------------------------------------


def outcome_names(ax):
    (mesh,) = of_gid(ax, "outcome")
    names = mesh.get_label().split(", ")
    codes = mesh.get_array()
    return np.where(codes.mask, "arrived", np.array(names)[codes.filled(0)])


def test_regions_come_from_the_outcome(valley):
    arrival = measure.arrival(valley)
    told = arrival.outcome.astype(object).copy(deep=True)
    told[:4, :4] = "invalid"
    arrival = arrival.where(told.values != "invalid").assign_coords(outcome=told.drop_vars("outcome"))
    arrival.attrs["steps"] = 200
    figure = plot.phase(arrival)
    (ax,) = panels(figure)
    assert (outcome_names(ax) == arrival.outcome.transpose("momentum", "lr").values).all()
    labels = words(ax, "outcome")
    assert "diverged" in labels
    assert "invalid" in labels
    assert any(label.replace("\n", " ") == "not arrived within 200 steps" for label in labels)
    assert len(of_gid(ax, "hatch")) == 1
    counts = {name: int((arrival.outcome == name).sum()) for name in ("arrived", "diverged", "not arrived", "invalid")}
    assert all(counts.values())
    percent = {name: f"{100 * count / 1200:.0f} %" for name, count in counts.items()}
    (caption,) = words(ax, "caption")
    assert caption.replace("\n", " ") == (
        f"{percent['arrived']} arrive within 200 steps; {percent['diverged']} diverge; "
        f"{percent['not arrived']} do not arrive; {percent['invalid']} are invalid"
    )
    assert_apart(figure)


def test_a_region_is_named_inside_itself(diagram):
    diagram.draw_without_rendering()
    (ax,) = panels(diagram)
    names = outcome_names(ax)
    across, up = edges(ax)
    for text in ax.texts:
        if text.get_gid() != "outcome":
            continue
        box = Text.get_window_extent(text)
        for x in np.linspace(box.x0, box.x1, 9):
            for y in np.linspace(box.y0, box.y1, 5):
                place = ax.transData.inverted().transform((x, y))
                row, column = np.searchsorted(up, place[1]) - 1, np.searchsorted(across, place[0]) - 1
                assert names[row, column] == text.get_text().split(" within")[0].split("\n")[0]


@pytest.mark.parametrize(("columns", "rows"), [(40, 30), (150, 120)])
def test_the_border_lies_between_what_diverges_and_what_does_not(columns, rows):
    runs = descents((0.02, 2.0), np.geomspace(0.01, 5.0, columns), np.linspace(0.0, 0.975, rows), steps=60)
    (ax,) = panels(plot.phase(runs))
    diverged = outcome_names(ax) == "diverged"
    lines = of_gid(ax, "border")
    assert lines
    across, up = edges(ax)
    for line in lines:
        for x, y in zip(*line.get_data(), strict=True):
            row = np.clip(np.searchsorted(up, y) - 1, 0, len(up) - 2)
            column = np.clip(np.searchsorted(across, x) - 1, 0, len(across) - 2)
            near = diverged[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert near.any(), (x, y)
            assert not near.all(), (x, y)


def test_without_outcomes_nan_and_inf_are_told_apart():
    values = np.ones((12, 12))
    values[:5] = np.nan
    values[7:, :] = np.inf
    array = xr.DataArray(values, coords={"lr": np.arange(12.0), "momentum": np.arange(12.0)}, dims=("momentum", "lr"))
    figure = plot.phase(array)
    (ax,) = panels(figure)
    assert set(words(ax, "outcome")) == {"no value", "diverged"}
    assert (outcome_names(ax)[:5] == "no value").all()
    assert (outcome_names(ax)[7:] == "diverged").all()
    assert words(ax, "caption") == ["17 % stay finite; 42 % diverge; 42 % have no value"]


def test_a_region_without_room_is_in_the_key(valley):
    arrival = measure.arrival(valley)
    told = arrival.outcome.astype(object).copy(deep=True)
    told[20, 15] = "invalid"
    figure = plot.phase(arrival.assign_coords(outcome=told))
    assert "invalid" not in words(panels(figure)[0], "outcome")
    assert words(key_of(figure), "swatch") == ["invalid"]
    assert "under 1 % are invalid" in words(panels(figure)[0], "caption")[0].replace("\n", " ")


def test_where_nothing_arrives(valley):
    slow = valley.isel(lr=slice(0, 6), momentum=slice(0, 8))
    figure = plot.phase(slow)
    assert figure.texts[0].get_text() == "No setting arrives"
    assert words(panels(figure)[0], "caption") == ["all 48 do not arrive within 200 steps"]
    assert not of_gid(panels(figure)[0], "values")
    assert written(figure)
    ends = slow.assign(loss=slow.loss * np.nan).loss[..., -1]
    assert plot.phase(ends).texts[0].get_text() == "No setting has a loss"


# -- what is best ------------------------------------------------------------------------------------------------


def test_the_best_setting_has_a_star(valley, diagram):
    (ax,) = panels(diagram)
    steps = {
        (lr, momentum): arrival_of(valley.loss.values[i, j])
        for i, lr in enumerate(LR)
        for j, momentum in enumerate(MOMENTUM)
    }
    fastest = min(step for step in steps.values() if step is not None)
    (star,) = of_gid(ax, "best")[:1]
    spot = tuple(np.ravel(star.get_data()))
    assert steps[spot] == fastest
    where = f"at lr {spot[0]:.3g}, momentum {spot[1]:.3g}"
    assert diagram.texts[0].get_text() == f"Fastest {where}: {fastest} steps"
    ties = sum(step == fastest for step in steps.values())
    (label,) = words(ax, "best")
    assert label.startswith(f"fastest: {fastest} steps\n{where}")
    assert (f"and {ties - 1} other setting" in label) == (ties > 1)
    plain = {lr: step for (lr, momentum), step in steps.items() if momentum == 0 and step is not None}
    (diamond,) = of_gid(ax, "without")
    (lr,), (momentum,) = diamond.get_data()
    assert momentum == 0
    assert plain[lr] == min(plain.values()) > fastest
    assert words(ax, "without") == [f"best without momentum:\n{plain[lr]} steps"]


def test_equally_good_settings_are_drawn_round(bowl):
    fine = descents((1.3, 2.0), np.geomspace(0.01, 5, 120), np.linspace(0, 0.99, 100), steps=100)
    figure = plot.phase(fine)
    (ax,) = panels(figure)
    arrival = measure.arrival(fine).transpose("momentum", "lr")
    best = arrival.values == np.nanmin(arrival)
    assert best[0].any()
    lines = of_gid(ax, "best")
    assert len(lines) == 1
    path = Path(lines[0].get_xydata())
    grid = np.stack(np.meshgrid(np.log10(arrival.lr), arrival.momentum), axis=-1).reshape(-1, 2)
    path = Path(np.c_[np.log10(path.vertices[:, 0]), path.vertices[:, 1]])
    assert (path.contains_points(grid).reshape(best.shape) == best).all()
    (label,) = words(ax, "best")
    assert label == f"fastest: {np.nanmin(arrival):.0f} steps,\nanywhere inside;\nno momentum needed"
    assert not of_gid(ax, "without")
    assert figure.texts[0].get_text().endswith(f"momentum 0: {np.nanmin(arrival):.0f} steps")


def test_of_equally_good_settings_the_plainest_stands_for_all():
    values = xr.DataArray(
        [[3.0, 2.0, 4.0], [2.0, 5.0, 6.0]],
        coords={"momentum": [0.0, 0.5], "lr": [0.1, 0.2, 0.3]},
        dims=("momentum", "lr"),
    )
    (ax,) = panels(plot.phase(values))
    (star,) = of_gid(ax, "best")
    assert np.ravel(star.get_data()).tolist() == [0.2, 0.0]
    assert not of_gid(ax, "without")


def test_marks_are_ringed_with_what_became_of_them(valley):
    marks = {
        "slow": {"lr": LR[0], "momentum": 0.0},
        "mine": {"lr": LR[20], "momentum": MOMENTUM[15]},
        "between": {"lr": float(np.sqrt(LR[20] * LR[21]) * 1.001), "momentum": MOMENTUM[10]},
        "too far": {"lr": 5.0, "momentum": 0.0},
    }
    figure = plot.phase(valley, marks=marks)
    (ax,) = panels(figure)
    rings = [np.ravel(a.get_data()).tolist() for a in of_gid(ax, "mark")]
    assert rings == [[each["lr"], each["momentum"]] for each in marks.values()]
    labels = {text.split(":")[0]: text.split(":")[1].strip() for text in words(ax, "mark")}
    assert labels == {
        "slow": "not arrived",
        "mine": f"{arrival_of(valley.loss.values[20, 15])} steps",
        "between": f"about {arrival_of(valley.loss.values[21, 10])} steps",
        "too far": "diverged",
    }
    assert_apart(figure)


def test_marks_that_cannot_be(valley, bowl):
    with pytest.raises(ValueError, match=r"mark 'far' lies at lr = 50, outside the diagram, which goes from 0.01 to 5"):
        plot.phase(valley, marks={"far": {"lr": 50.0, "momentum": 0.0}})
    for wrong in ({"lr": 0.1}, 0.1, {"lr": 0.1, "momentum": 0.0, "wieght": 1.0}):
        with pytest.raises(ValueError, match=r"mark 'x' must say where it lies, for example \{'lr': 0.01, 'momentum'"):
            plot.phase(valley, marks={"x": wrong})
    two = measure.arrival(both(valley=valley, bowl=bowl))
    with pytest.raises(ValueError, match="mark 'x' lies at problem = 'hill'; there are valley, bowl"):
        plot.phase(two, marks={"x": {"lr": 0.1, "momentum": 0.0, "problem": "hill"}})
    figure = plot.phase(two, marks={"x": {"lr": 0.1, "momentum": 0.0, "problem": "bowl"}})
    assert [len(words(ax, "mark")) for ax in panels(figure)] == [0, 1]
    names = xr.DataArray(np.eye(2), coords={"a": ["one", "two"], "b": [1.0, 2.0]}, dims=("a", "b"))
    with pytest.raises(ValueError, match=r"mark 'x' lies at a = 'tow' \(did you mean two\?\); there are one, two"):
        plot.phase(names, x="a", y="b", marks={"x": {"a": "tow", "b": 1.0}})


# -- panels ------------------------------------------------------------------------------------------------------


def test_panels_share_scale_axes_and_key(valley, bowl):
    figure = plot.phase(both(valley=valley, bowl=bowl))
    one, other = panels(figure)
    assert [ax.get_title(loc="left") for ax in (one, other)] == ["valley", "bowl"]
    norms = [of_gid(ax, "values")[0].norm for ax in (one, other)]
    lowest = min(np.nanmin(cells(ax)) for ax in (one, other))
    assert [(n.vmin, n.vmax) for n in norms] == [(lowest, max(np.nanmax(cells(ax)) for ax in (one, other)))] * 2
    assert all(isinstance(norm, LogNorm) for norm in norms)
    assert [t.get_text() for t in other.get_yticklabels()] == [""] * len(other.get_yticks())
    assert [t.get_text() for t in one.get_xticklabels()] == [t.get_text() for t in other.get_xticklabels()]
    fast = [int(np.nanmin(cells(ax))) for ax in (one, other)]
    assert figure.texts[0].get_text() == f"Fastest: valley in {fast[0]} steps, bowl in {fast[1]} steps"
    assert words(key_of(figure), "key") == ["steps"]
    for ax in (one, other):
        best, _ = words(ax, "caption")
        spot = np.argwhere(cells(ax) == np.nanmin(cells(ax)))
        told = [f"fastest at lr {LR[column]:.3g}, momentum {MOMENTUM[row]:.3g}" for row, column in spot]
        assert any(best.replace("\n", " ").startswith(each) for each in told)
    assert_apart(figure)
    for dims in (("lr", "problem", "momentum"), ("momentum", "lr", "problem")):
        turned = plot.phase(measure.arrival(both(valley=valley, bowl=bowl)).transpose(*dims))
        assert all(bare.same_bits(cells(a), cells(b)) for a, b in zip(panels(turned), (one, other), strict=True))


def test_a_panel_where_nothing_arrives_is_not_left_out(valley, bowl):
    never = valley.assign(loss=valley.loss.where(valley.step == 0, valley.loss.isel(step=0)))
    figure = plot.phase(both(never=never, bowl=bowl))
    assert figure.texts[0].get_text().startswith("Fastest: never never, bowl in ")


@pytest.mark.parametrize(("style", "count"), [*itertools.product(("ravine", "article"), (3, 4, 7, 12)), ("dark", 4)])
def test_many_panels_and_styles_stay_legible(valley, count, style):
    arrival = measure.arrival(valley)
    many = xr.concat([arrival * (1 + k) for k in range(count)], "weight_decay", coords="minimal", compat="override")
    many = many.assign_coords(weight_decay=np.arange(count) / 10).rename("arrival")
    figure = plot.phase(many, style=style)
    assert [ax.get_title(loc="left") for ax in panels(figure)][1] == "weight decay 0.1"
    assert len(panels(figure)) == count
    assert_apart(figure)


def test_in_the_dark_everything_has_the_same_place():
    """Only colours differ: what is legible in one style has room enough in the other."""
    colours = {"ground", "ink", "quiet", "accents", "ramp", "hairline", "contour", "number", "hole", "grid"}
    colours |= {"diverging", "late", "cells", "runs"}
    dark, light = (vars(style_of(name)) for name in ("dark", "ravine"))
    assert {name for name in light if dark[name] != light[name]} == colours | {"name"}


@pytest.mark.parametrize("width", [3.5, 7.2, 12.0])
def test_widths_of_print(valley, bowl, width):
    figure = plot.phase(both(valley=valley, bowl=bowl), width=width)
    assert figure.get_figwidth() == pytest.approx(width)
    assert len({ax.get_position().y0 for ax in panels(figure)}) == (2 if width < 4 else 1)
    assert_apart(figure)


# -- colours and lines -------------------------------------------------------------------------------------------


def lab(colors):
    """Colours in OKLab (Ottosson 2020)."""
    rgb = np.array([to_rgb(each) for each in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    first = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones = linear @ np.array([*first, [0.0883024619, 0.2817188376, 0.6299787005]]).T
    second = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    return np.cbrt(cones) @ np.array([*second, [0.0259040371, 0.7827717662, -0.8086757660]]).T


@pytest.mark.parametrize("style", ["ravine", "dark"])
def test_ramps_are_even_and_monotone_in_lightness(style):
    ramp = style_of(style).cells
    points = lab([ramp(k / 96) for k in range(97)])
    sizes = np.linalg.norm(np.diff(points[::8], axis=0), axis=1)
    assert sizes.max() < 1.15 * sizes.min()
    light = np.diff(points[:, 0])
    assert (light > 0).all() or (light < 0).all()
    ground = lab([style_of(style).ground])[0, 0]
    assert abs(points[0, 0] - ground) > abs(points[-1, 0] - ground)  # the best is the most prominent


def scaled(values, **coords):
    values = np.asarray(values, dtype=float)
    return xr.DataArray(
        values,
        coords={"momentum": np.arange(values.shape[0]) / 10, "lr": np.arange(1.0, 1 + values.shape[1])},
        dims=("momentum", "lr"),
        name="rate",
    )


def test_the_colour_scale_follows_the_values():
    norm = of_gid(panels(plot.phase(scaled([[1, 5], [3, 19]])))[0], "values")[0].norm
    assert (type(norm).__name__, norm.vmin, norm.vmax) == ("Normalize", 1, 19)
    norm = of_gid(panels(plot.phase(scaled([[1, 5], [3, 21]])))[0], "values")[0].norm
    assert (type(norm).__name__, norm.vmin, norm.vmax) == ("LogNorm", 1, 21)
    norm = of_gid(panels(plot.phase(scaled([[-1, 5], [3, 21]])))[0], "values")[0].norm
    assert (type(norm).__name__, norm.vmin, norm.vmax) == ("Normalize", -1, 21)
    figure = plot.phase(scaled([[0, 5], [3, 200]]))
    norm = of_gid(panels(figure)[0], "values")[0].norm
    assert (type(norm).__name__, norm.vmin, norm.vmax) == ("LogNorm", 3, 200)
    assert "≤ 3" in words(key_of(figure), "number")
    assert float(norm(0.0)) == 0.0
    same = plot.phase(scaled([[2, 2], [2, 2]]))
    assert words(key_of(same), "number") == ["2"]
    assert words(panels(same)[0], "best") == ["lowest: 2,\neverywhere;\nno momentum needed"]


def test_a_scale_of_too_many_decades_says_where_it_ends():
    values = 10.0 ** np.linspace(-30, 3, 400).reshape(20, 20)
    figure = plot.phase(scaled(values))
    norm = of_gid(panels(figure)[0], "values")[0].norm
    numbers = words(key_of(figure), "number")
    assert any(n.startswith("≤ ") for n in numbers)
    assert any(n.startswith("≥ ") for n in numbers)
    assert 1e-30 < norm.vmin < 1e-28
    assert bare.same_bits(cells(panels(figure)[0]), values)


def test_key_numbers_are_round_and_at_their_colours(diagram):
    key, norm = key_of(diagram), of_gid(panels(diagram)[0], "values")[0].norm
    (image,) = of_gid(key, "key")[:1]
    _, _, bottom, top = image.get_extent()
    numbers = [(value_of(t), t.get_position()[1]) for t in key.texts if t.get_gid() == "number"]
    assert len(numbers) >= 3
    for value, y in numbers:
        assert f"{value:.0e}"[0] in "1235"
        assert (y - bottom) / (top - bottom) == pytest.approx(float(norm(value)), abs=1e-9)


def plane(shape=(60, 80)):
    """A field that triples from left to right and doubles upwards, known everywhere: 40 · 30^u · 2^v."""
    v, u = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    return 40.3 * 30.0**u * 2.0**v


def test_isolines_lie_where_the_field_has_their_number():
    array = scaled(plane()).assign_coords(lr=np.linspace(0, 1, 80), momentum=np.linspace(0, 1, 60))
    (ax,) = panels(plot.phase(array))
    lines = of_gid(ax, "isoline")
    assert len(lines) >= 3
    levels = []
    for line in lines:
        for path in line.get_paths():
            truth = 40.3 * 30.0 ** path.vertices[:, 0] * 2.0 ** path.vertices[:, 1]
            levels.append(float(line.levels[0]))
            assert np.allclose(truth[3:-3], levels[-1], rtol=0.03)
    numbers = [t for t in ax.texts if t.get_gid() == "level"]
    assert sorted(value_of(t) for t in numbers) == sorted(levels)
    for text in numbers:
        x, y = text.get_position()
        assert 40.3 * 30.0**x * 2.0**y == pytest.approx(value_of(text), rel=0.03)


def test_isolines_of_whole_numbers_hold_what_is_at_most_that():
    array = scaled(np.floor(plane())).assign_coords(lr=np.linspace(0, 1, 80), momentum=np.linspace(0, 1, 60))
    (ax,) = panels(plot.phase(array))
    for line in of_gid(ax, "isoline"):
        for path in line.get_paths():
            truth = 40.3 * 30.0 ** path.vertices[:, 0] * 2.0 ** path.vertices[:, 1]
            # floored values are half a step lower on average; the line stands half a step above its number
            assert np.allclose(truth[3:-3], line.levels[0] + 1, rtol=0.03)


def test_values_without_an_index_are_drawn_over_their_places():
    bare = xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("momentum", "lr"))
    labelled = bare.assign_coords(lr=[0.1, 0.2, 0.3, 0.4], momentum=[0.0, 0.5, 0.9]).drop_indexes(["lr", "momentum"])
    for values in (bare, labelled):
        (ax,) = panels(plot.phase(values, x="lr", y="momentum"))
        assert np.nansum(cells(ax)) == 66


def test_numbers_stay_on_their_lines_whatever_the_axes_measure():
    """A unit of an axis may be the whole picture: lines are followed at each of their places all the same."""
    for span in (1.0, 1e-3):
        x = y = np.linspace(0, span, 61)
        bowl = (x[None, :] - 0.4 * span) ** 2 + 3 * (y[:, None] - 0.5 * span) ** 2
        land = xr.Dataset({"surface": (("y", "x"), bowl / span**2)}, coords={"y": y, "x": x})
        ax = plot.surface(land)
        numbers = [text for text in ax.texts if text.get_gid() == "level"]
        assert len(numbers) >= 3
        for text in numbers:
            across, up = text.get_position()
            there = ((across - 0.4 * span) ** 2 + 3 * (up - 0.5 * span) ** 2) / span**2
            assert there == pytest.approx(value_of(text), rel=0.03)


def test_no_isolines_where_the_field_is_rough_or_coarse():
    rng = np.random.default_rng(7)
    rough = plane() * np.exp(rng.normal(0, 0.5, (60, 80)))
    assert not of_gid(panels(plot.phase(scaled(rough)))[0], "isoline")
    assert not of_gid(panels(plot.phase(scaled(plane((12, 14)))))[0], "isoline")


# -- words and errors --------------------------------------------------------------------------------------------


def test_the_subtitle_says_settings_and_measure(valley):
    figure = plot.phase(valley.assign_coords(nesterov=True))
    told = figure.texts[1].get_text().replace("\n", " ")
    assert "SGD(nesterov=True)" in told
    assert measure.arrival(valley).attrs["long_name"] in told
    assert "1,200 settings" in told
    assert plot.phase(valley, title="My words").texts[0].get_text() == "My words"


def test_other_measures_are_called_by_their_names(valley):
    last = valley.loss.isel(step=-1)
    last = last.where(last < 1e6, np.inf).rename("final_loss")
    last.attrs["units"] = "J"
    figure = plot.phase(last)
    lowest = number(float(last.min()), 4)
    assert figure.texts[0].get_text().replace("\n", " ").startswith(f"Lowest final loss: {lowest} J at lr ")
    assert words(key_of(figure), "key") == ["final loss (J)"]
    assert "stay finite" in words(panels(figure)[0], "caption")[0]


def test_what_cannot_be_a_diagram_says_what_to_do(valley, bowl):
    arrival = measure.arrival(valley)
    with pytest.raises(
        ValueError, match=r"'momentum' has one value only; the values differ in lr.*plot.losses\(runs\)"
    ):
        plot.phase(arrival.isel(momentum=0))
    with pytest.raises(ValueError, match=r"'momentum' has one value only.*draw ravine.plot.losses"):
        plot.phase(arrival.isel(momentum=[0]))
    with pytest.raises(ValueError, match=r"do not lie along 'momentun' \(did you mean momentum\?\); they differ in lr"):
        plot.phase(arrival, y="momentun")
    with pytest.raises(ValueError, match="x and y are both 'lr'"):
        plot.phase(arrival, y="lr")
    with pytest.raises(
        ValueError, match=r"one number for each setting: choose a step, for example values.isel\(step=-1"
    ):
        plot.phase(valley.loss)
    four = measure.arrival(both(a=valley, b=bowl)).expand_dims(seed=[0, 1])
    with pytest.raises(ValueError, match=r"differ in seed, problem; .* for example values.sel\(seed=0\)"):
        plot.phase(four)
    assert len(panels(plot.phase(four.isel(seed=[0])))) == 2
    with pytest.raises(ValueError, match=r"13 panels are too many to read \(at most 12\): select some along 'seed'"):
        plot.phase(arrival.expand_dims(seed=range(13)))
    with pytest.raises(ValueError, match="'lr' has the value 0.1 more than once"):
        plot.phase(arrival.isel(lr=[0, 1, 2]).assign_coords(lr=[0.1, 0.1, 0.2]))
    with pytest.raises(ValueError, match="'lr' has values that are no numbers: nan"):
        plot.phase(arrival.isel(lr=[0, 1, 2]).assign_coords(lr=[0.1, np.nan, 0.2]))
    with pytest.raises(TypeError, match="expected one number for each setting .* got an array of shape"):
        plot.phase(arrival.values)
    with pytest.raises(TypeError, match="a diagram shows numbers"):
        plot.phase(arrival.outcome)
    with pytest.raises(ValueError, match="no style 'noir'"):
        plot.phase(arrival, style="noir")
    with pytest.raises(ValueError, match="width must be from 2.5 to 20 inches, got 1"):
        plot.phase(arrival, width=1.0)


def test_a_study_without_its_minimum_names_another_measure(valley):
    with pytest.raises(ValueError, match=r"minimum_loss.*ravine.plot.phase\(runs.loss\[..., -1\]\)"):
        plot.phase(valley.drop_vars("minimum_loss"))


def test_steps_are_said_where_they_are_known(valley, diagram):
    arrival = measure.arrival(valley)
    assert arrival.attrs["steps"] == 200
    assert "within 200 steps" in said(plot.phase(arrival))
    assert "within 200 steps" in said(plot.phase(arrival.isel(lr=slice(0, 30))))
    arrival.attrs.pop("steps")
    assert "within" not in said(plot.phase(arrival)).replace("stays within", "")
    assert "do not arrive" in said(plot.phase(arrival))
    assert "within 200 steps" in said(diagram)
    assert "within 200 steps" in said(plot.phase(arrival.assign_coords(steps=200)))


def test_large_grids_stay_small_files(tmp_path):
    rng = np.random.default_rng(2)
    values = rng.random((400, 500))
    array = xr.DataArray(
        values, coords={"lr": np.geomspace(1e-4, 1, 500), "momentum": np.linspace(0, 1, 400)}, dims=("momentum", "lr")
    )
    figure = plot.phase(array)
    assert bare.same_bits(cells(panels(figure)[0]), values)
    figure.savefig(tmp_path / "one.svg")
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn.count(b"<image") >= 1
    assert len(drawn) < 2_000_000
    plot.phase(array).savefig(tmp_path / "two.svg")
    assert (tmp_path / "two.svg").read_bytes() == drawn


# -- bands -------------------------------------------------------------------------------------------------------


def quantile(heights, share):
    """The smallest height that this share of the runs do not exceed; what is not finite is infinite."""
    ordered = sorted(h if math.isfinite(h) else math.inf for h in heights)
    return ordered[max(math.ceil(share * len(ordered) - 1e-9) - 1, 0)]


def filled(ax, gid):
    """The lower and the upper border of a band, by step."""
    (band,) = of_gid(ax, gid)
    (path,) = band.get_paths()
    low, high = {}, {}
    for x, y in path.vertices:
        low[x], high[x] = min(low.get(x, np.inf), y), max(high.get(x, -np.inf), y)
    return low, high


def test_many_runs_are_a_band(valley):
    runs = valley.isel(step=slice(0, 61))
    figure = plot.losses(runs, band=True)
    (ax,) = figure.axes
    heights = runs.loss.values.reshape(-1, 61) / runs.loss.values[0, 0, 0]
    (median,) = of_gid(ax, "median")
    for step, height in zip(*median.get_data(), strict=True):
        assert height == quantile(heights[:, int(step)], 0.5) or np.isnan(height)
    bottom, top = ax.get_ylim()
    for gid, shares in (("middle half", (0.25, 0.75)), ("nine tenths", (0.05, 0.95))):
        low, high = filled(ax, gid)
        for step in range(0, 61, 6):
            truth = [quantile(heights[:, step], share) for share in shares]
            assert low[step] == pytest.approx(np.clip(truth[0], bottom / 10, top * 10))
            assert high[step] == pytest.approx(np.clip(truth[1], bottom / 10, top * 10))
            assert truth[1] < np.inf or high[step] > top
    diverged = int(measure.diverged(runs).sum())
    assert diverged > 100
    assert f"{diverged:,} diverged; what is not finite counts as infinite" in said(figure)
    assert "quantiles of 1,200 runs" in said(figure)
    assert_apart(figure)
    assert_apart(plot.losses(runs, style="article", band=True))


def test_the_best_run_is_named_by_its_settings(valley):
    steps = {(i, j): arrival_of(valley.loss.values[i, j]) for i in range(40) for j in range(30)}
    fastest = min(step for step in steps.values() if step is not None)
    i, j = min((place for place, step in steps.items() if step == fastest), key=lambda p: valley.loss.values[p][-1])
    figure = plot.losses(valley, band=True)
    (ax,) = figure.axes
    (best,) = of_gid(ax, "best")
    assert np.allclose(best.get_ydata(), valley.loss.values[i, j] / valley.loss.values[0, 0, 0], rtol=1e-12)
    assert f"best: lr {LR[i]:.3g}, momentum {MOMENTUM[j]:.3g}" in words(ax)
    assert f"arrives at step {fastest}" in words(ax)
    ordered = sorted(step if step is not None else math.inf for step in steps.values())
    half = ordered[599]
    title = figure.texts[0].get_text().replace("\n", " ")
    if math.isfinite(half):
        assert title == f"The best of 1,200 runs arrives at step {fastest}, half by step {half}"
    else:
        assert title.startswith(f"The best of 1,200 runs arrives at step {fastest}; ")


def test_room_at_the_right_is_for_names_that_stand_there(valley):
    """Where the best run and the median sink out of the picture their names stand within."""
    sunk = ravine.sweep(ravine.gallery.article()["MSELoss"], lr=np.geomspace(0.01, 0.95, 40), steps=60)
    seen = valley.isel(lr=slice(0, 10), step=slice(0, 41))
    for runs, at_right in ((sunk, False), (seen, True)):
        figure = plot.losses(runs, band=True)
        (ax,) = figure.axes
        assert bool(words(ax, "end")) == at_right
        room = figure.get_figwidth() * (1 - ax.get_position().x1)
        assert (room > 2) == at_right
        assert room < 0.5 or at_right
        assert_apart(figure)


def test_words_on_the_line_hide_few_dots():
    run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.05, batch_size=5, seed=1, steps=150)
    figure = plot.losses(run)
    figure.canvas.draw()
    (ax,) = figure.axes
    (words,) = (text for text in ax.texts if "stays below" in text.get_text())
    box, (dots,) = words.get_window_extent(), of_gid(ax, "batch_loss")
    spots = ax.transData.transform(np.transpose(dots.get_data()))
    assert sum(box.contains(*spot) for spot in spots if np.isfinite(spot).all()) <= 1


def test_without_a_minimum_the_band_is_of_losses(valley):
    runs = valley.drop_vars("minimum_loss").isel(momentum=0, step=slice(0, 41))
    figure = plot.losses(runs, band=True)
    (ax,) = figure.axes
    assert ax.get_ylabel() == "loss"
    (median,) = of_gid(ax, "median")
    assert median.get_ydata()[7] == quantile(runs.loss.values[:, 7], 0.5)
    k = int(np.nanargmin(np.where(np.isfinite(runs.loss[:, -1]), runs.loss[:, -1], np.nan)))
    assert f"best: lr {LR[k]:.3g}" in words(ax)
    assert_apart(figure)


def test_labels_have_a_band_each(valley, bowl):
    runs = both(valley=valley, bowl=bowl, again=bowl).isel(step=slice(0, 81))
    figure = plot.losses(runs, band=True)
    (ax,) = figure.axes
    medians = of_gid(ax, "median")
    assert len(medians) == len(of_gid(ax, "middle half")) == 2
    assert len({line.get_color() for line in medians}) == 2
    assert not of_gid(ax, "best")
    for median, study in zip(medians, (valley, bowl), strict=True):
        heights = study.loss.values.reshape(-1, 201) / study.loss.values[0, 0, 0]
        assert median.get_ydata()[30] == quantile(heights[:, 30], 0.5)
    captions = [t.get_text() for t in figure.texts if t.get_gid() == "caption"]
    assert [c.split(",")[0] for c in captions] == ["valley", "bowl = again"]
    fastest = min(s for s in (arrival_of(run[:81]) for run in bowl.loss.values.reshape(-1, 201)) if s is not None)
    assert captions[1].endswith(f"arrives at step {fastest}")
    assert_apart(figure)


def test_settings_that_torch_refused_are_no_runs(valley):
    runs = valley.isel(lr=slice(0, 30, 3), momentum=slice(0, 30, 3), step=slice(0, 41))
    error = xr.full_like(runs.loss.isel(step=0, drop=True), "", dtype=object)
    error[2] = "Invalid learning rate"
    broken = runs.assign(error=error, loss=runs.loss.where(error == ""))
    figure = plot.losses(broken, band=True)
    kept = runs.isel(lr=[k for k in range(10) if k != 2])
    (median,) = of_gid(figure.axes[0], "median")
    (truth,) = of_gid(plot.losses(kept, band=True).axes[0], "median")
    assert bare.same_bits(median.get_ydata(), truth.get_ydata())
    assert "quantiles of 90 runs" in said(figure)
    with pytest.raises(ValueError, match="no runs to draw: torch refused all of the settings"):
        plot.losses(broken.assign(error=xr.full_like(error, "no")), band=True)


def test_steps_that_were_not_looked_at_are_no_part_of_a_band(valley):
    thin = valley.loss.where(valley.step % 10 == 0)
    thin.attrs["loss_every"] = 10
    (ax,) = plot.losses(valley.assign(loss=thin), band=True).axes
    (median,) = of_gid(ax, "median")
    assert median.get_xdata().tolist() == list(range(0, 201, 10))
    (whole,) = of_gid(plot.losses(valley, band=True).axes[0], "median")
    assert bare.same_bits(median.get_ydata(), whole.get_ydata()[::10])


def test_runs_stay_curves_unless_a_band_is_asked_for(valley):
    some = valley.isel(momentum=0, lr=slice(0, 24))
    (ax, key) = plot.losses(some).axes
    assert key.get_label() == "key"
    assert [line.get_gid() for line in ax.lines[:24]] == [f"lr {v:.4g}" for v in LR[:24]]
    assert not of_gid(ax, "middle half")
    assert of_gid(plot.losses(some, band=True).axes[0], "middle half")
    too_many = r"25 curves are too many .* .at most 24.: select some along 'lr' .25.*plot.losses.runs, band=True"
    with pytest.raises(ValueError, match=too_many):
        plot.losses(valley.isel(momentum=0, lr=slice(0, 25)))


def test_a_diagram_leaves_the_settings_of_matplotlib_alone(valley):
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        figure = plot.phase(valley)
        assert mpl.rcParams["font.size"] == 30
    assert panels(figure)[0].get_facecolor() != (1, 0, 0, 1)


def test_a_band_that_leaves_the_picture_has_no_name_at_its_border():
    bowl = ravine.gallery.quadratic(10)
    mostly = ravine.sweep(bowl, lr=np.geomspace(0.5, 50, 30), steps=60)
    assert float(ravine.measure.diverged(mostly).mean()) > 0.5
    said = [text.get_text() for text in ravine.plot.losses(mostly, band=True).axes[0].texts]
    assert "median" not in said
    assert any(word.startswith("best: lr ") for word in said)
    wholly = ravine.sweep(bowl, lr=np.geomspace(5, 50, 30), steps=60)
    said = [text.get_text() for text in ravine.plot.losses(wholly, band=True).axes[0].texts]
    assert not any("median" in word or "best" in word for word in said)


def test_zero_beside_a_logarithmic_range_has_even_cells():
    bowl = ravine.gallery.quadratic(10)
    runs = ravine.sweep(bowl, lr=np.geomspace(0.01, 1, 10), weight_decay=[0.0, 1e-4, 1e-3, 1e-2, 0.1], steps=60)
    ax = ravine.plot.phase(ravine.measure.arrival(runs), "lr", "weight_decay").axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.0001", "0.001", "0.01", "0.1"]
    assert np.allclose(np.diff(ax.get_yticks()), 1)
    assert "weight decay " in ax.figure.texts[0].get_text().replace("\n", " ")


def test_runs_that_were_not_made_have_not_failed_to_arrive():
    settings = {"lr": np.linspace(0.05, 1.2, 10), "momentum": np.linspace(0, 0.9, 10)}
    runs = ravine.sweep(ravine.gallery.quadratic(condition=10), **settings, steps=60)
    for first, heading in ((6, "Fastest"), (0, "Nothing to tell so far")):
        made = xr.DataArray(np.arange(10) < first, dims="lr") & xr.ones_like(runs.momentum, dtype=bool)
        part = runs.assign(loss=runs.loss.where(made), steps_taken=60 * made.astype(int))
        expected = measure.arrival(runs).outcome.where(made, "not made")
        assert np.array_equal(measure.arrival(part).outcome.values, expected.values)
        figure = plot.phase(part, x="lr", y="momentum")
        assert figure.texts[0].get_text().startswith(heading)
        words = " ".join(text.get_text() for text in [*figure.texts, *figure.axes[0].texts])
        assert f"{100 - 10 * first} % are not made" in words or "all 100 are not made" in words


def test_a_limit_of_zero_lies_nowhere_on_a_logarithmic_axis():
    runs = ravine.sweep(
        ravine.gallery.quadratic(10), steps=60, lr=np.geomspace(0.01, 10, 12), momentum=[0.0, 0.5, 0.9, 1.0]
    )
    ax = ravine.plot.phase(runs).axes[0]
    assert {"limit"} <= {line.get_gid() for line in ax.lines}


def test_a_race_is_no_grid_and_is_told_so():
    bowl = ravine.gallery.quadratic()
    entries = {"sgd": {"lr": np.geomspace(0.01, 1, 20), "momentum": [0.0, 0.5]}, "adam": {"lr": np.linspace(2, 3, 10)}}
    race = measure.arrival(ravine.sweep(bowl, entries))
    with pytest.raises(ValueError, match=r"'lr' has 30 values, but each run has its own: .* a grid .*one optimizer"):
        plot.phase(race)
    with pytest.raises(ValueError, match=r"'momentum' has 2 values, but each run has its own"):
        plot.phase(race.expand_dims(start=[0, 1]), x="start")
    other = race.isel(run=slice(40)).set_index(run=["lr", "momentum"]).unstack("run")
    other = other.assign_coords(angle=("lr", np.arange(20.0)))
    with pytest.raises(ValueError, match=r"'angle' has 20 values, but goes with lr: choose x and y among lr"):
        plot.phase(other, x="angle")


def test_infinite_settings_have_a_cell_of_their_own_or_are_said_to_be_left_out():
    bowl = ravine.gallery.quadratic()
    figure = plot.phase(ravine.sweep(bowl, lr=[0.1, 0.5, 1.0, np.inf], momentum=[0.0, 0.5, 0.9]))
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0.1", "0.5", "1", "inf"]
    assert "diverged" in words(panels(figure)[0], "outcome")
    many = ravine.sweep(bowl, lr=[*np.geomspace(0.01, 4, 20), np.inf], momentum=np.linspace(0, 0.9, 5))
    assert "lr inf left out: no scale holds it" in plot.phase(many).texts[1].get_text().replace("\n", " ")
    shown = plot.phase(many.isel(lr=slice(20))).axes[0]
    assert plot.phase(many).axes[0].get_xlim() == shown.get_xlim()


def test_values_too_near_each_other_have_even_cells():
    momentum = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0]
    runs = ravine.sweep(ravine.gallery.quadratic(), lr=np.geomspace(0.01, 4, 30), momentum=momentum)
    ax = plot.phase(runs).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.5", "0.9", "0.99", "0.999", "0.9999", "1"]
    assert np.allclose(np.diff(ax.get_yticks()), 1)
    ax = plot.phase(runs.isel(momentum=slice(4))).axes[0]  # these are seen on a scale
    assert np.allclose(ax.get_yticks(), momentum[:4])


def test_the_limit_among_even_cells_lies_where_the_cells_below_it_end():
    """On cells of 0, 0.001, 0.01, 0.1, 1 and 1.7 there is no scale: limits of 1, 1.5 and 1.9 lie among the last."""
    lr = [0.0, 0.001, 0.01, 0.1, 1.0, 1.7]
    runs = ravine.sweep(ravine.gallery.quadratic(), lr=lr, momentum=[0.0, 0.5, 0.9])
    assert np.allclose(measure.arrival(runs).stability_limit, [1.0, 1.5, 1.9])
    ax = plot.phase(runs).axes[0]
    (line,) = (each for each in ax.lines if each.get_gid() == "limit")
    assert line.get_xdata()[::2].tolist() == [4.0, 4.5, 5.5]
    assert np.allclose(np.diff(line.get_ydata())[1::2], 0)


def test_where_no_setting_is_better_the_title_names_none():
    arrival = measure.arrival(ravine.sweep(ravine.gallery.quadratic(), lr=[0.2, 0.3, 0.5], momentum=[0.0, 0.5]))
    same = arrival.copy(data=np.full(arrival.shape, 7.0))
    assert plot.phase(same).texts[0].get_text() == "All 6 settings are equally fast: 7 steps"
    some = same.where(same.lr < 0.4)
    some["outcome"] = some.outcome.where(some.notnull(), "not arrived")
    assert plot.phase(some).texts[0].get_text() == "All 4 settings that arrive are equally fast: 7 steps"
    loss = xr.DataArray(np.full((3, 2), 0.5), {n: arrival[n] for n in ("lr", "momentum")}, ("lr", "momentum"), "loss")
    assert plot.phase(loss).texts[0].get_text() == "Loss: 0.5 at all 6 settings"
    assert plot.phase(loss.where(loss.lr > 0.2)).texts[0].get_text() == "Loss: 0.5 at all 4 settings that have a value"
