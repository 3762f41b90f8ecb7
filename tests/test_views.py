"""Curves, criteria, slices and linked panels, read back from their artists."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.text import Annotation, Text

import artists
import bare
import ravine
from ravine import measure, plot
from ravine._format import setting
from ravine._problem.criteria import residuals
from ravine._problem.neuron import neuron
from ravine._study import provenance
from ravine.plot._canvas.labels import text_size


def of_gid(ax, gid):
    return [artist for artist in ax.lines if artist.get_gid() == gid]


def written(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return len(buffer.getvalue())


def words(ax):
    return [t.get_text() for t in ax.texts]


def numbers(ax):
    """The numbers of steps; those on contours are no annotations."""
    return [t.get_text() for t in ax.texts if isinstance(t, Annotation) and t.get_text().isdigit()]


def assert_apart(figure):
    """No two texts of a figure cover each other, and none leaves it."""
    figure.draw_without_rendering()
    boxes = [
        (t.get_text(), Text.get_window_extent(t))
        for where in (figure, *figure.axes)
        for t in [*where.texts, *((where._left_title, where.title) if where is not figure else ())]
        if t.get_text() and t.get_visible()
    ]
    for k, (text, box) in enumerate(boxes):
        assert figure.bbox.padded(1).contains(box.x0, box.y0), text
        assert figure.bbox.padded(1).contains(box.x1, box.y1), text
        for other, there in boxes[k + 1 :]:
            assert not box.padded(-1).overlaps(there.padded(-1)), (text, other)


FOUR = (torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss())


# -- the loss, or what is left of the gap ------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ravine", "article"])
def test_losses_with_and_without_a_minimum_on_four_problems(case, style):
    run = ravine.descend(case.problem, lr=case.lr, steps=60).drop_vars(["minimum_loss", "minimizer"], errors="ignore")
    (line,) = of_gid(plot.losses(run, style=style).axes[0], "loss")
    assert bare.same_bits(line.get_ydata(), run.loss)
    known = run.assign(minimum_loss=float(run.loss.min()) - 1e-3)
    figure = plot.losses(known, style=style)
    ax = figure.axes[0]
    gap = measure.gap(known).values
    assert np.allclose(of_gid(ax, "loss")[0].get_ydata(), gap / gap[0], rtol=1e-12)
    assert ax.get_yscale() == "log"
    step = float(measure.arrival(known))
    dots = of_gid(ax, "arrival")
    assert [float(d.get_xdata()[0]) for d in dots] == ([] if np.isnan(step) else [step])
    assert (f"arrives at step {step:.0f}" in words(ax)) == bool(dots)
    assert_apart(figure)
    assert written(figure) > 2000


def test_arrivals_of_the_article(article):
    runs = ravine.descend(article, lr=0.1, momentum=0.9)
    minima = [0.4994412813, 0.5278153794, 0.2265634595, 0.2265634595]
    figure = plot.losses(runs.assign(minimum_loss=("criterion", minima)))
    ax = figure.axes[0]
    said = words(ax)
    for name in ("arrives at step 42", "arrives at step 50", "arrives at step 46", "HuberLoss = SmoothL1Loss"):
        assert said.count(name) == 1
    (line,) = of_gid(ax, "share")
    assert set(line.get_ydata()) == {0.01}
    assert "share of the start's" in ax.get_title(loc="left")
    assert_apart(figure)


def test_curves_that_blow_up_say_so(article):
    runs = ravine.join({f"lr {lr}": ravine.descend(article["MSELoss"], lr=lr) for lr in (0.05, 0.1, 1.1, 30.0)})
    first = int(np.flatnonzero(~np.isfinite(runs.loss.sel(run="lr 30.0")))[0])
    for study in (runs, runs.assign(minimum_loss=0.4994412813)):
        figure = plot.losses(study)
        ax = figure.axes[0]
        assert f"lr 30.0: diverged at step {first}" in words(ax)
        (cross,) = of_gid(ax, "diverged")
        x, y = np.ravel(cross.get_data())
        assert 0 <= x <= first
        assert ax.get_ylim()[0] <= y <= ax.get_ylim()[1]
        assert_apart(figure)
    alone = plot.losses(runs.sel(run="lr 30.0")).axes[0]
    assert f"diverged at step {first}" in words(alone)
    assert np.isfinite(of_gid(alone, "loss")[0].get_ydata()[:first]).all()
    climbs = ravine.descend(article["MSELoss"], lr=0.01, steps=5, maximize=True).assign(minimum_loss=0.1)
    assert plot.losses(climbs).axes[0].get_ylabel() == "loss"


def test_mini_batches_lie_beneath_and_gaps_are_bridged():
    x = torch.linspace(-1, 1, 40).reshape(-1, 1)
    problem = ravine.Problem.of(neuron(torch.zeros(1, 1), torch.zeros(1)), FOUR[0], (x, 3 * x + 1))
    run = ravine.descend(problem, lr=0.1, steps=40, batch_size=4, loss_every=10).drop_vars("minimum_loss")
    ax = plot.losses(run).axes[0]
    (line,), (dots,) = of_gid(ax, "loss"), of_gid(ax, "batch_loss")
    assert line.get_xdata().tolist() == [0, 10, 20, 30, 40]
    assert bare.same_bits(line.get_ydata(), run.loss[::10])
    assert bare.same_bits(dots.get_ydata(), run.batch_loss)
    assert dots.get_zorder() < line.get_zorder()
    for study in (run, run.assign(loss=run.loss * 0 + 2.0)):  # a log scale and a linear one show all of it
        ax = plot.losses(study).axes[0]
        low, high = ax.get_xlim()
        assert low < 0 < 40 < high
        below, above = ax.get_ylim()
        assert below < np.nanmin(study.loss) <= np.nanmax(study.loss) < above


def test_too_many_curves_or_dimensions(article):
    run = ravine.descend(article["MSELoss"], steps=2).drop_vars("minimum_loss")
    many = ravine.join({str(k): run.assign(loss=run.loss + k) for k in range(9)})
    few = many.isel(run=slice(0, 8))
    assert [line.get_gid() for line in plot.losses(few).axes[0].lines[:8]] == [str(k) for k in range(8)]
    two = ravine.join({"x": few, "y": few.assign(loss=few.loss + 9)}, dim="b")
    assert (
        len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in plot.losses(two).axes[0].lines[:16]})
        == 16
    )
    for study, runs in ((many, 9), (two, 16)):
        figure = plot.losses(study, band=True)
        told = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
        assert f"quantiles of {runs} runs" in told
        assert not {"0", "8"} & {line.get_gid() for line in figure.axes[0].lines}


# -- criteria ----------------------------------------------------------------------------------------------------


def test_residuals_are_the_criteria_themselves():
    criteria = {"mse": FOUR[0], "l1": FOUR[1], "huber": torch.nn.HuberLoss(delta=0.3), "own": lambda a, b: (a - b) ** 4}
    study = residuals(criteria, (-2.0, 2.0), points=17)
    assert study.residual.values.tolist() == [-2 + 4 * k / 16 for k in range(17)]
    r = study.residual.values
    sizes = np.abs(r)
    exact = {
        "mse": (r**2, 2 * r),
        "l1": (sizes, np.sign(r)),
        "huber": (np.where(sizes < 0.3, r**2 / 2, 0.3 * (sizes - 0.15)), np.clip(r, -0.3, 0.3)),
        "own": (r**4, 4 * r**3),
    }
    for name, (loss, slope) in exact.items():
        one = study.sel(criterion=name)
        assert np.allclose(one.loss_of_residual, loss, rtol=1e-14, atol=1e-16), name
        assert np.allclose(one.pull, slope, rtol=1e-14, atol=1e-16), name
    assert study.arguments.values.tolist() == ["", "", "delta=0.3", ""]
    assert np.array_equal(study.turn, [np.nan, np.nan, 0.3, np.nan], equal_nan=True)
    assert provenance.describe(study, "pull")["equals_torch"] == "is torch"


def test_residuals_survive_the_file(tmp_path):
    study = residuals(FOUR, [-1.0, 0.0, 2.0])
    assert ravine.open(ravine.save(study, tmp_path / "criteria.nc")).identical(study)


def test_what_has_no_residual_is_said():
    with pytest.raises(ValueError, match="BCELoss cannot be drawn against a residual of -3: all elements of input"):
        residuals([torch.nn.BCELoss()])
    with pytest.raises(ValueError, match="there are two criteria 'L1Loss'"):
        residuals([torch.nn.L1Loss(), torch.nn.L1Loss()])
    two = residuals([torch.nn.HuberLoss(), torch.nn.HuberLoss(delta=2.0)], [1.0])
    assert two.criterion.values.tolist() == ["HuberLoss delta=1", "HuberLoss delta=2"]
    for one in (torch.nn.L1Loss(), "l1"):
        assert residuals(one).identical(residuals({"L1Loss": torch.nn.L1Loss()}))
    for wrong in (3, None):
        with pytest.raises(TypeError, match="criteria are a mapping or a list"):
            residuals(wrong)
    with pytest.raises(TypeError, match=r"expected a criterion such as torch.nn.MSELoss\(\)"):
        residuals([torch.nn.MSELoss])
    with pytest.raises(ValueError, match="no criteria"):
        residuals({})
    for wrong in ((1.0, -1.0), [np.nan], "abc"):
        with pytest.raises(ValueError, match="residual must be|a range goes from low to high"):
            residuals(FOUR, wrong)


@pytest.mark.parametrize("style", ["ravine", "article"])
def test_criteria_show_loss_pull_and_turn(style):
    study = residuals(FOUR)
    figure = plot.criteria(study, style=style)
    top, below = figure.axes
    for ax, variable in ((top, "loss_of_residual"), (below, "pull")):
        for gid, name in (("MSELoss", "MSELoss"), ("L1Loss", "L1Loss"), ("HuberLoss = SmoothL1Loss", "HuberLoss")):
            (line,) = of_gid(ax, gid)
            assert bare.same_bits(line.get_xdata(), study.residual)
            assert bare.same_bits(line.get_ydata(), study[variable].sel(criterion=name))
        (dots,) = of_gid(ax, "turn")
        assert dots.get_xdata().tolist() == [-1, 1]
    assert "delta=1, beta=1:\na line from here" in words(top)
    assert "L1Loss: the same however near" in words(below)
    assert_apart(figure)
    assert written(figure) > 2000


def test_criteria_in_other_places():
    figure = plot.criteria(residuals([torch.nn.HuberLoss(delta=0.5), torch.nn.SmoothL1Loss(beta=2.0), FOUR[1]]))
    turns = [line.get_xdata().tolist() for line in of_gid(figure.axes[0], "turn")]
    assert turns == [[-0.5, 0.5], [-2.0, 2.0]]
    assert_apart(figure)
    one_side = plot.criteria(residuals([torch.nn.HuberLoss()], (0.5, 4.0)))
    assert not of_gid(one_side.axes[0], "turn")
    with pytest.raises(ValueError, match=r"no 'loss_of_residual' .*: make it with ravine.residuals\(criteria\)"):
        plot.criteria(residuals(FOUR).drop_vars("loss_of_residual"))
    with pytest.raises(TypeError, match="expected an xarray.Dataset from ravine.residuals"):
        plot.criteria(FOUR)
    many = residuals({str(k): torch.nn.HuberLoss(delta=k) for k in range(1, 8)}, (-9.0, 9.0))
    with pytest.raises(ValueError, match="7 criteria are too many to tell apart"):
        plot.criteria(many)


# -- slices ------------------------------------------------------------------------------------------------------


def test_slices_on_four_problems(case):
    land = ravine.surface(case.problem, case.axes, points=21)
    along, other = case.axes
    low, high = case.axes[other]
    wanted = low + 0.4 * (high - low) + 1e-3 * (high - low)
    figure = plot.slice(land, along, {other: wanted})
    (line,) = of_gid(figure.axes[0], "loss")
    row = np.abs(land[other].values - wanted).argmin()
    assert bare.same_bits(line.get_ydata(), land.surface.isel({other: row}))
    assert bare.same_bits(line.get_xdata(), land[along])
    assert any(f"the row of the grid nearest to {setting(wanted)}" in t.get_text() for t in figure.texts)
    column = plot.slice(land, other, {along: float(land[along][3])})
    assert bare.same_bits(of_gid(column.axes[0], "loss")[0].get_ydata(), land.surface.isel({along: 3}))
    assert not any("nearest" in t.get_text() for t in column.texts)
    for style in ("ravine", "article"):
        assert written(plot.slice(land, along, {other: wanted}, style=style)) > 2000


def test_the_start_on_a_slice_says_its_slope(article):
    land, runs = ravine.surface(article), ravine.descend(article, lr=0.1, steps=3, also=("gradient",))
    figure = plot.slice(runs.assign(surface=land.surface), "bias", {"weight": 6.0})
    ax = figure.axes[0]
    said = [text for text in words(ax) if text.startswith("start")]
    slopes = [float(text.split("slope ")[1].replace("\N{MINUS SIGN}", "-")) for text in said]
    truth = runs.gradient.sel(parameter="bias").isel(step=0).values[:3]
    assert np.allclose(slopes, truth, rtol=0.02)
    assert [float(dot.get_xdata()[0]) for dot in of_gid(ax, "start")] == [-3.0] * 3
    assert_apart(figure)
    elsewhere = plot.slice(runs.assign(surface=land.surface), "bias", {"weight": 1.0})
    assert not of_gid(elsewhere.axes[0], "start")


def test_slices_that_cannot_be(article):
    land = ravine.surface(article, points=5)
    with pytest.raises(
        ValueError, match=r"no parameter 'wieght' \(did you mean weight\?\); the surface lies over bias"
    ):
        plot.slice(land, "wieght", {"bias": 0.0})
    for wrong in ({}, {"bias": 0.0}, {"weight": 0.0, "bias": 1.0}, 3.0):
        with pytest.raises(ValueError, match="at must say where 'weight' is held"):
            plot.slice(land, "bias", wrong)
    for outside in (20.0, np.nan):
        with pytest.raises(ValueError, match="lies outside the surface, which goes from -5 to 8"):
            plot.slice(land, "bias", {"weight": outside})


# -- panels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ravine", "article"])
def test_panels_on_four_problems(case, style):
    run = ravine.descend(case.problem, lr=case.lr, momentum=0.5, steps=60)
    land = ravine.surface(case.problem, case.axes, points=31)
    if run.sizes["parameter"] > 2:
        with pytest.raises(ValueError, match="a path needs a position of two parameters"):
            plot.panel(run, land, style=style)
        return
    figure = plot.panel(run, land, style=style)
    axes = {ax.get_label(): ax for ax in figure.axes if ax.get_label() in ("path", "loss", "fit")}
    assert ("fit" in axes) == ("prediction" in run)
    names = list(land.surface.dims)[::-1]
    places = run.position.sel(parameter=names).values.astype(float)
    on_curve = [int(dot.get_xdata()[0]) for dot in of_gid(axes["loss"], "marked")]
    steps = [int(t) for t in numbers(axes["path"])]
    assert len(steps) >= 2
    assert {0, 60} <= set(steps)
    assert set(on_curve) <= set(steps)
    dots = [np.ravel(dot.get_data()).tolist() for dot in of_gid(axes["path"], "marked")]
    assert sorted(dots) == sorted(places[steps].tolist())
    if "fit" in axes:
        x = run.inputs.values
        for step in steps:
            (line,) = of_gid(axes["fit"], f"step {step}")
            weight, bias = run.position.sel(parameter=["weight", "bias"]).values[step].astype(float)
            ends = np.array([x.min(), x.max()], dtype=float)
            assert np.allclose(line.get_ydata(), weight * ends + bias, rtol=1e-12)
    assert written(figure) > 5000


def test_the_same_steps_are_numbered_everywhere(article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, lr=0.1, momentum=0.9).assign(minimum_loss=0.4994412813)
    figure = plot.panel(run, ravine.surface(article))
    assert figure.axes[0].get_title(loc="left") == "MSELoss"
    said = [sorted(numbers(ax), key=int) for ax in figure.axes]
    assert said[0] == said[1] == said[2]
    assert {"0", "100"} <= set(said[0])
    assert "arrives at step 42" in words(figure.axes[1])
    assert_apart(figure)


def test_a_model_that_is_no_line_shows_its_end_alone(article):
    class Squared(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 2

    x = torch.linspace(0, 1, 20).reshape(-1, 1)
    model = torch.nn.utils.skip_init(Squared, 1, 1)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    problem = ravine.Problem.of(model, FOUR[0], (x, x**2))
    run = ravine.descend(problem, lr=0.05, steps=20)
    ax = plot.panel(run, ravine.surface(problem, weight=(-1, 2), bias=(-1, 1), points=11)).axes[2]
    (line,) = of_gid(ax, "fit")
    assert bare.same_bits(line.get_ydata(), run.prediction)
    assert not of_gid(ax, "step 0")


def test_a_panel_of_a_run_that_diverges(article):
    problem = article["MSELoss"]
    figure = plot.panel(ravine.descend(problem, lr=30.0), ravine.surface(problem, points=21))
    assert any("diverged at step" in text for text in words(figure.axes[1]))
    assert written(figure) > 5000
    with pytest.raises(ValueError, match="one run expected"):
        plot.panel(ravine.descend(article, steps=2), ravine.surface(problem, points=5))


def test_a_name_without_room_stands_beneath_in_its_colour():
    """A curve that leaves the picture early is named inside it, where a long name has no room."""
    bowl = ravine.gallery.quadratic()
    long = "made on Tuesday with the new settings of the optimizer, take number two, as told by mail"
    made = {"the blue one": (0.5, 0.5), "the orange one": (0.9, 0.0), "the slow one": (0.02, 0.0)}
    runs = {name: ravine.descend(bowl, lr=lr, momentum=momentum) for name, (lr, momentum) in made.items()}
    short = plot.losses(ravine.join(runs))
    assert not artists.words(short, "caption")
    figure = plot.losses(ravine.join({f"{name} {long}": run for name, run in runs.items()}))
    colors = {line.get_gid(): line.get_color() for line in figure.axes[0].lines}
    beneath = [text for text in figure.texts if text.get_gid() == "caption"]
    for name in ("the blue one", "the orange one"):
        lines = [text.get_text() for text in beneath if text.get_color() == colors[f"{name} {long}"]]
        assert " ".join(lines) == f"{name} {long}"
    assert len({text.get_color() for text in beneath}) == 2  # the third stands at its curve
    wide = figure.get_figwidth() * 72
    assert all(text_size(text.get_text(), text.get_size())[0] < wide for text in beneath)
    _, ax = plt.subplots()
    plot.losses(ravine.join({f"{name} {long}": run for name, run in runs.items()}), ax=ax)
    assert f"the blue one {long}" in [text.get_text() for text in ax.get_legend().get_texts()]
    plt.close()


def test_of_many_curves_that_leave_each_is_named():
    bowl = ravine.gallery.quadratic()
    runs = ravine.join({f"r{k}": ravine.descend(bowl, lr=0.1 + 0.07 * k, momentum=0.3) for k in range(12)})
    figure = plot.losses(runs)
    names = [text.removesuffix(" (dashed)") for text in artists.words(figure, "caption")]
    assert sorted(names + artists.words(figure.axes[0], "end")) == sorted(f"r{k}" for k in range(12))


def test_the_best_of_a_band_is_named_though_it_leaves():
    settings = {"lr": np.geomspace(0.001, 0.9, 12), "momentum": [0, 0.3], "nesterov": [False, True]}
    runs = ravine.sweep(
        ravine.gallery.quadratic(), **settings, dampening=[0, 0.0012345678], weight_decay=[0, 0.000123456]
    )
    assert artists.words(plot.losses(runs, band=True), "caption")[0].startswith("best: lr 0.9, momentum 0.3, nesterov")
