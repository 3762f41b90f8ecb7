"""Pictures of runs on a plane: the strips under the map, what the axes hold, and regions without a finite loss."""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

import planes
import ravine
from artists import line_of, of_gid, said, words
from ravine import plot
from ravine.plot._map.contours import gaps_of
from test_legible import assert_legible


@pytest.fixture(scope="module")
def land(trained, run):
    return planes.surface(trained, run)


@pytest.fixture(scope="module")
def several():
    """Three optimizers from one start, on the plane of all their places."""
    each = {
        "momentum": planes.train(lr=0.3, momentum=0.9),
        "plain": planes.train(lr=0.3),
        "AdamW": planes.train(torch.optim.AdamW, lr=0.03),
    }
    _, directions, shares = planes.pca(np.concatenate([one.recorded for one in each.values()]))
    plane = each["plain"].recorded[0], directions, shares
    facts = {"explained": shares, "null": None}
    runs = ravine.join({name: planes.project(one, plane, **facts) for name, one in each.items()})
    return runs, planes.surface(each["plain"], runs, plane, **facts)


def strips_of(figure):
    return {ax.get_label(): ax for ax in figure.axes if ax.get_label() in ("gap", "sharpness")}


def largest_gap(run):
    off = np.abs(run.drawn_loss - run.loss).values
    return int(run.step[off.argmax()]), float(off.max())


# -- the places that a plane was made through


@pytest.mark.parametrize("style", ["ravine", "dark", "article"])
def test_the_three_places_of_a_plane_are_marked(style):
    """Where they are: the plane at each mark is the place itself."""
    problem = ravine.gallery.quadratic(condition=3)
    places = [[0.5, 0.5], [-1.0, 2.0], [2.0, -0.5]]
    plane = ravine.Plane.through(*map(problem.starting_at, places))
    land = ravine.surface(problem, plane=plane, points=15)
    ax = plot.surface(land, style=style)
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_gid() == "place"]
    assert [plane.at(*each).tolist() for each in marks] == [pytest.approx(each) for each in places]
    assert {"a", "b", "c"} <= {text.get_text() for text in ax.texts}
    near = ravine.surface(problem, {"a to b": (-0.2, 0.2)}, plane=plane, points=15)
    assert len([line for line in plot.surface(near, style=style).lines if line.get_gid() == "place"]) == 1
    other = ravine.surface(problem, plane=ravine.Plane.random(problem, normalize=None), points=15)
    assert not [line for line in plot.surface(other, style=style).lines if line.get_gid() == "place"]


# -- the gap


def blown_up(run, loss):
    """The same run with other losses, true and drawn nearly alike."""
    loss = np.asarray(loss, dtype=float)
    return run.assign(loss=("step", loss), drawn_loss=("step", loss * 0.9))


def test_a_strip_shows_what_is_far_up_for_most_of_its_steps_and_says_where_it_is_cut(run, land):
    """Losses of 1e20 from step 1 on are in the strip; of a run that blows up at its end the beginning is read."""
    count = run.sizes["step"]
    far = blown_up(run, [2.3, *[1e20] * (count - 1)])
    strip = strips_of(plot.descent(far, land))["gap"]
    assert strip.get_ylim()[1] > 1e20
    assert "cut" not in strip.get_title(loc="left")
    inside = line_of(strip, "true loss").get_ydata() < strip.get_ylim()[1]
    assert inside.all()
    (note,) = words(strip, "largest gap")
    assert note.startswith("10¹⁹ apart at step ")
    assert "above" not in note
    late = blown_up(run, [*[2.3] * (count - 3), 1e9, 1e14, 1e20])
    strip = strips_of(plot.descent(late, land))["gap"]
    top = strip.get_ylim()[1]
    assert top < 1e5
    assert f"; cut at {top:.4g}" in strip.get_title(loc="left").replace(",", "")
    assert words(strip, "largest gap")[0].endswith("above the cut")
    calm = strips_of(plot.descent(run, land))["gap"]
    assert "cut" not in calm.get_title(loc="left")


def test_the_strip_holds_true_and_drawn_loss_and_names_where_they_are_farthest_apart(run, land):
    strip = strips_of(plot.descent(run, land))["gap"]
    for gid, name in (("true loss", "loss"), ("drawn loss", "drawn_loss")):
        line = line_of(strip, gid)
        assert np.array_equal(line.get_xdata(), run.step)
        assert np.array_equal(line.get_ydata(), run[name])
    assert line_of(strip, "true loss").get_linestyle() != line_of(strip, "drawn loss").get_linestyle()
    step, off = largest_gap(run)
    mark = line_of(strip, "gap")
    assert set(mark.get_xdata()) == {step}
    assert sorted(mark.get_ydata()) == sorted([float(run.loss.sel(step=step)), float(run.drawn_loss.sel(step=step))])
    share = 100 * off / float(run.loss.max() - run.loss.min())
    assert words(strip, "largest gap") == [f"{off:.3g} apart at step {step}, {share:.2g} % of the loss's range"]
    assert "dashed" in strip.get_title(loc="left")
    assert strip.get_xlabel() == "step"
    assert strip.get_yscale() == "log"


def test_the_strip_stands_under_the_map_and_its_words_and_is_as_wide(run, land):
    figure = plot.descent(run, land)
    above, strip = figure.axes[0].get_position(), strips_of(figure)["gap"].get_position()
    assert (above.x0, above.x1) == pytest.approx((strip.x0, strip.x1))
    figure.draw_without_rendering()
    captions = [text.get_window_extent().y0 for text in figure.axes[0].texts if text.get_gid() == "caption"]
    assert strip.y1 * figure.bbox.height < min(captions)
    assert_legible(figure)


@pytest.mark.parametrize("how", [{"width": 3.5}, {"style": "article"}], ids=str)
def test_strips_in_each_style_and_width(trained, run, land, how):
    sharp = planes.sharpness(trained, trained.steps[::8])
    figure = plot.descent(run.assign(sharpness=sharp), land, **how)
    assert list(strips_of(figure)) == ["gap", "sharpness"]
    assert_legible(figure)
    for strip in strips_of(figure).values():
        title = next(t for t in strip.get_children() if getattr(t, "get_text", str)() == strip.get_title(loc="left"))
        assert title.get_window_extent().x1 <= figure.bbox.x1


def test_a_run_that_is_on_no_plane_has_no_strip():
    problem = ravine.gallery.article()["MSELoss"]
    figure = plot.descent(ravine.descend(problem, lr=0.1), ravine.surface(problem, points=11))
    assert len(figure.axes) == 1
    assert "plane" not in said(figure)


def test_a_loss_that_is_not_finite_is_named_and_marked(run, land):
    broken = run.copy(deep=True)
    broken["loss"][-1] = np.inf
    strip = strips_of(plot.descent(broken, land))["gap"]
    assert words(strip, "largest gap") == [f"at step 160 the loss is inf, drawn {float(run.drawn_loss[-1]):.4g}"]
    assert line_of(strip, "gap").get_marker() == "X"
    assert np.isinf(line_of(strip, "true loss").get_ydata()[-1])


def test_runs_that_share_a_panel_each_have_their_lines_and_the_worst_is_named(several):
    runs, land = several
    figure = plot.descent(runs, land, hue="run")
    strip = strips_of(figure)["gap"]
    true, drawn, marks = (of_gid(strip, gid) for gid in ("true loss", "drawn loss", "gap"))
    paths = of_gid(figure.axes[0], "path")
    worst = max(runs.run.values, key=lambda name: largest_gap(runs.sel(run=name))[1])
    for name, one, beneath, mark, path in zip(runs.run.values, true, drawn, marks, paths, strict=True):
        assert np.array_equal(one.get_ydata(), runs.loss.sel(run=name))
        assert np.array_equal(beneath.get_ydata(), runs.drawn_loss.sel(run=name))
        assert {to_rgba(each.get_color()) for each in (one, beneath, mark)} == {to_rgba(path.get_color())}
        assert mark.get_xdata()[0] == largest_gap(runs.sel(run=name))[0]
    step, off = largest_gap(runs.sel(run=worst))
    assert words(strip, "largest gap")[0].startswith(f"{worst}: {off:.3g} apart at step {step}")
    assert_legible(figure)


def test_panels_side_by_side_each_have_a_strip(several):
    runs, land = several
    figure = plot.descent(runs, land)
    strips = [ax for ax in figure.axes if ax.get_label() == "gap"]
    for name, strip in zip(runs.run.values, strips, strict=True):
        assert np.array_equal(line_of(strip, "true loss").get_ydata(), runs.loss.sel(run=name))
    assert_legible(figure)


def test_where_no_strip_can_stand_the_picture_says_the_gap(run, land, several):
    step, off = largest_gap(run)
    said_there = f"true and drawn loss: up to {off:.3g} apart at step {step}"
    figure, ax = plt.subplots()
    assert plot.descent(run, land, ax=ax) is ax
    assert len(figure.axes) == 1
    assert words(ax, "error") == [said_there]
    plot.path(run, ax)  # the names of its axes are still those of the run's parameters
    plt.close(figure)
    many = ravine.join({f"run {k}": run for k in range(7)})
    crowd = plot.descent(many, land)
    assert not strips_of(crowd)
    assert f"{said_there} (run 0)" in said(crowd)
    assert said_there in said(plot.panel(run, land))
    assert said_there in said(plot.animate(run, land).figure)


# -- sharpness


def settles(curvature, **settings):
    """Whether torch's SGD comes down a parabola of this curvature."""
    place = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([place], **settings)
    for _ in range(300):
        place.grad = curvature * place.detach()
        rule.step()
    return abs(float(place.detach())) < 1


@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        ({"lr": 0.5}, "2 / lr"),
        ({"lr": 0.5, "momentum": 0.8}, "2 (1 + momentum) / lr"),
        ({"lr": 0.5, "momentum": 0.8, "nesterov": True}, "2 (1 + momentum) / ((1 + 2 momentum) lr)"),
        ({"lr": 0.5, "momentum": 0.5, "dampening": 0.5}, "2 (1 + momentum) / ((1 − dampening) lr)"),
        ({"lr": 0.5, "weight_decay": 1.0}, "2 / lr − decay"),
    ],
    ids=str,
)
def test_the_limit_is_the_curvature_up_to_which_torch_settles(settings, formula):
    trained = planes.train(steps=8, **settings)
    run = planes.project(trained).assign(sharpness=planes.sharpness(trained, trained.steps))
    strip = strips_of(plot.descent(run, planes.surface(trained, run, points=5)))["sharpness"]
    limit = line_of(strip, "limit").get_ydata()
    assert len(set(limit)) == 1
    assert settles(0.98 * limit[0], **settings)
    assert not settles(1.02 * limit[0], **settings)
    assert words(strip, "limit")[0].startswith(formula)
    assert np.array_equal(line_of(strip, "sharpness").get_ydata(), run.sharpness)


def test_the_limit_follows_the_schedule_of_the_lr():
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.1)
    trained = planes.train(lr=1.0, steps=20, every=1, scheduler=schedule)
    run = planes.project(trained).assign(sharpness=planes.sharpness(trained, [0, 20]))
    strip = strips_of(plot.descent(run, planes.surface(trained, run, points=5)))["sharpness"]
    assert line_of(strip, "limit").get_ydata() == pytest.approx([2.0] * 10 + [20.0] * 10 + [200.0])
    assert line_of(strip, "sharpness").get_xdata().tolist() == [0, 20]
    assert "whole-batch" not in strip.get_title(loc="left")


def test_for_mini_batches_the_limit_is_said_to_be_of_whole_batches():
    trained = planes.train(lr=0.5, steps=20, batch=10)
    run = planes.project(trained).assign(sharpness=planes.sharpness(trained, [0, 20]))
    strip = strips_of(plot.descent(run, planes.surface(trained, run, points=5)))["sharpness"]
    assert "whole-batch limit" in strip.get_title(loc="left")


def test_other_optimizers_have_no_limit_and_the_strip_says_so():
    trained = planes.train(torch.optim.Adam, lr=0.01, steps=8)
    run = planes.project(trained).assign(sharpness=planes.sharpness(trained, [0, 8]))
    strip = strips_of(plot.descent(run, planes.surface(trained, run, points=5)))["sharpness"]
    assert not of_gid(strip, "limit")
    assert "no limit" in strip.get_title(loc="left")


# -- the axes


def test_the_axes_bear_their_share_and_that_of_a_random_walk(trained, several):
    run, land = planes.project(trained), None
    land = planes.surface(trained, run, points=5, margin=2.0)
    _, sizes, _ = np.linalg.svd(trained.recorded - trained.recorded.mean(axis=0))
    share = 100 * sizes[0] ** 2 / (sizes**2).sum()
    walk = 100 * planes.walk_shares(trained, 0.9)[0]
    ax = plot.descent(run, land).axes[0]
    assert ax.get_xlabel() == f"pc 1: {share:.2g} % of the variance, a random walk's {walk:.2g} %"
    assert plot.descent(several[0], several[1], hue="run").axes[0].get_xlabel().endswith("% of the variance")
    other = planes.project(trained, kind="random", explained=None, null=None)
    assert plot.descent(other, land.assign(surface=land.surface.drop_attrs())).axes[0].get_xlabel() == "pc 1"


def test_the_subtitle_says_what_the_plane_is(trained, land):
    sample = {"samples": 512, "of": 1797, "standard_error": 0.0213}
    run = planes.project(trained, statistics="batch", cosine=0.25, **sample)
    text = said(plot.descent(run, land))
    assert "a plane through 63 parameters" in text
    assert "cosine of its axes 0.25" in text
    assert "BatchNorm: statistics of the data at each point" in text
    assert "loss of 512 of 1,797 samples, standard error 0.021" in text
    assert "cosine" not in said(plot.descent(planes.project(trained), land))


def test_on_a_plane_the_lowest_point_is_not_called_the_goal():
    trained = planes.train(lr=0.5, weight_decay=0.05, steps=60)
    run = planes.project(trained)
    figure = plot.descent(run, planes.surface(trained, run, margin=0.8))
    assert of_gid(figure.axes[0], "lowest")
    assert not {"the goal", "minimum", "minimum of\nthe data loss"} & set(words(figure.axes[0]))


# -- regions without a finite loss


def with_holes(land):
    holed = land.copy(deep=True)
    holed.surface.values[:6, 12:] = np.nan
    holed.surface.values[14:, :5] = np.inf
    return holed


@pytest.mark.parametrize("style", ["ravine", "article"])  # in the dark only colours differ
def test_regions_without_a_finite_loss_are_named_where_they_are(run, land, style):
    holed = with_holes(land)
    figure = plot.descent(run, holed, style=style)
    ax = figure.axes[0]
    for word, values in (("loss NaN", np.isnan(holed.surface)), ("loss inf", np.isinf(holed.surface))):
        (text,) = [each for each in ax.texts if each.get_text() == word]
        across, up = text.get_position()
        assert bool(values.sel({"pc 1": across, "pc 2": up}, method="nearest"))
    assert ax.patch.get_hatch()
    if style != "article":
        assert "hatched: the loss is not finite" in said(figure)
        assert_legible(figure)
        edges = gaps_of(holed.surface.values)
        assert edges[-1] == pytest.approx(np.ptp(holed.surface.values[np.isfinite(holed.surface.values)]))


def test_a_mark_names_them_too_and_a_finite_surface_has_none(land):
    assert {"loss NaN", "loss inf"} <= set(words(plot.surface(with_holes(land))))
    ax = plot.surface(land)
    assert not [text for text in words(ax) if text.startswith("loss ")]
    assert not ax.patch.get_hatch()


def test_a_surface_without_any_finite_loss_is_one_region(run, land):
    blank = land.assign(surface=land.surface * np.nan)
    assert "loss NaN" in words(plot.descent(run, blank).axes[0])


# -- other pictures


def test_a_panel_counts_steps_by_their_numbers(run, land):
    figure = plot.panel(run, land)
    numbers = {
        ax.get_label(): {int(w) for w in words(ax) if w.isdigit() and w not in words(ax, "level")} for ax in figure.axes
    }
    assert {0, 160} <= numbers["path"] <= set(run.step.values.tolist())
    assert numbers["loss"] == numbers["path"]


def test_a_picture_without_a_surface_says_how_that_of_a_plane_is_made(run):
    with pytest.raises(ValueError, match=r"ravine\.surface\(problem, plane=plane\)"):
        plot.descent(run)


@pytest.mark.parametrize("refuses", [plot.anatomy, plot.vectors], ids=["anatomy", "vectors"])
def test_an_update_is_not_taken_apart_on_a_plane(run, land, refuses):
    given = (run, land) if refuses is plot.anatomy else (run,)
    with pytest.raises(ValueError, match=r"coordinates are no parameters"):
        refuses(*given, step=0)


def test_runs_of_several_optimizers_say_how_each_was_made(several):
    runs, land = several
    text = said(plot.descent(runs, land, hue="run"))
    assert "momentum: SGD(lr=0.3, momentum=0.9), loss" in text
    assert "AdamW: AdamW(lr=0.03" in text


def test_stability_speaks_of_no_plane(run):
    with pytest.raises(ValueError, match="lie on a plane"):
        plot.stability(run)


# -- the film


def test_trainings_on_one_plane_are_one_film(several):
    runs, land = several
    uneven = runs.isel(step=[0, 1, 2, 4, 8, 16, 32, 40])  # as saved states are
    film = plot.animate(uneven, land, hue="run")
    assert film.steps == (0, 4, 8, 16, 32, 64, 128, 160)
    for k in (0, 3, 7):
        figure = film.frame(k)
        tracks = [line.get_xydata() for line in of_gid(figure.axes[0], "path")]
        for track, name in zip(tracks, uneven.run.values, strict=True):
            assert np.allclose(track, uneven.position.sel(run=name)[: k + 1], atol=1e-6)
        clock = next(ax for ax in figure.axes if ax.get_label() == "clock")
        (way,), (gone,) = of_gid(clock, "way"), of_gid(clock, "gone")
        assert np.ptp(gone.get_xdata()) == pytest.approx(film.steps[k] / 160 * np.ptp(way.get_xdata()))
    step, _ = max((largest_gap(uneven.sel(run=name)) for name in uneven.run.values), key=lambda each: each[1])
    assert f"apart at step {step} " in said(film.figure)
