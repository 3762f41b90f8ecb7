"""Limits of stability: in studies, on diagrams of settings, and as a figure of their own; read back from artists."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.text import Text

import bare
import ravine
from artists import of_gid, panels, said, words
from ravine import measure, plot
from ravine.measure import _stability
from ravine.plot._curves.stability import is_near

LR = np.geomspace(0.01, 5.0, 40)
MOMENTUM = np.linspace(0.0, 0.975, 14)


@pytest.fixture(scope="module")
def bowl():
    """The article's mean square: exactly quadratic."""
    problem = ravine.gallery.article()["MSELoss"]
    return ravine.sweep(problem, lr=LR, momentum=MOMENTUM, steps=300)


@pytest.fixture(scope="module")
def valley():
    return ravine.sweep(ravine.gallery.quadratic(100), lr=LR, momentum=MOMENTUM, steps=300)


@pytest.fixture(scope="module")
def four():
    return ravine.sweep(ravine.gallery.article(), lr=LR[::2], momentum=[0.0, 0.5, 0.9], steps=60)


def curvatures_of_the_article():
    """Eigenvalues of the mean square's Hessian, from the data alone."""
    x, _ = bare.article_data()
    design = np.stack([x.astype(float), np.ones(len(x))], axis=1)
    return np.linalg.eigvalsh(2 * design.T @ design / len(x))


def assert_apart(figure):
    """No two texts cover each other or leave the figure, and none is too small."""
    figure.draw_without_rendering()
    texts = [t for where in (figure, *figure.axes) for t in where.texts if t.get_text() and t.get_visible()]
    texts += [t for ax in figure.axes for t in (ax._left_title, ax.xaxis.label) if t.get_text()]
    boxes = [Text.get_window_extent(t) for t in texts]
    for k, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        assert text.get_size() >= 6
        assert figure.bbox.padded(1).contains(box.x0, box.y0), text.get_text()
        assert figure.bbox.padded(1).contains(box.x1, box.y1), text.get_text()
        for other, there in zip(texts[k + 1 :], boxes[k + 1 :], strict=True):
            if text.get_rotation() in (0, 90) and other.get_rotation() in (0, 90):
                assert not box.padded(-1).overlaps(there.padded(-1)), (text.get_text(), other.get_text())


# -- studies -----------------------------------------------------------------------------------------------------


def test_sweeps_know_the_curvature_at_their_minima(four):
    decays = [0.0, 0.5]
    runs = ravine.sweep(ravine.gallery.article(), lr=[0.1, 0.2], weight_decay=decays, steps=2)
    assert runs.hessian.dims == ("criterion", "weight_decay", "parameter", "parameter_")
    assert runs.parameter_.values.tolist() == ["weight", "bias"]
    for name, problem in ravine.gallery.article().items():
        alone = ravine.landmarks(problem, weight_decay=decays)
        assert bare.same_bits(runs.hessian.sel(criterion=name).values, alone.hessian.values)
    mean_square = np.linalg.eigvalsh(runs.hessian.sel(criterion="MSELoss").values)
    assert np.allclose(mean_square, curvatures_of_the_article() + np.array(decays)[:, None], rtol=1e-12)
    assert four.hessian.dims == ("criterion", "parameter", "parameter_")
    assert four.quadratic.values.tolist() == [True, False, False, False]


def test_on_four_problems_the_curvature_is_that_of_landmarks(case):
    runs = ravine.sweep(case.problem, lr=[case.lr / 2, case.lr], steps=3)
    if len(case.problem.labels) > 16:
        assert "hessian" not in runs
        assert "stability_limit" not in measure.summary(runs).coords
        return
    found = ravine.landmarks(case.problem)
    if not np.isfinite(found.minimum_loss):
        assert "hessian" not in runs
        return
    assert bare.same_bits(runs.hessian.values, found.hessian.values)
    linear = getattr(case.problem.parts, "model", None).__class__ is torch.nn.Linear
    assert bool(runs.quadratic) == linear
    arrived = measure.arrival(runs)
    assert str(arrived.stability_scope.values) == ("exact" if linear else "local")
    assert float(arrived.stability_limit) == pytest.approx(2 / np.linalg.eigvalsh(found.hessian.values)[-1], rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "quadratic"),
    [
        (lambda p: (p["x"] - 1) ** 2 + 3 * p["x"] * p["y"] + 5 * p["y"] ** 2, True),
        (lambda p: p["x"] ** 2 + p["y"] ** 2 + 1e-4 * p["y"] ** 4, False),
        (lambda p: torch.cosh(p["x"]) + p["y"] ** 2, False),
        (lambda p: p["x"] ** 2 + p["y"] ** 2 + 0.01 * torch.relu(p["x"] - 20), False),
    ],
    ids=["quadratic", "quartic", "cosh", "kink far off"],
)
def test_what_is_quadratic_is_found_out(loss, quadratic):
    runs = ravine.sweep(ravine.Problem(loss, start={"x": 6.0, "y": -3.0}), lr=[0.01, 0.02], steps=2)
    assert bool(runs.quadratic) is quadratic


def test_arrival_keeps_the_limit_through_selections_and_the_disk(tmp_path, four):
    arrived = measure.arrival(four)
    top = {name: np.linalg.eigvalsh(four.hessian.sel(criterion=name).values)[-1] for name in four.criterion.values}
    for momentum in four.momentum.values:
        for name in ("MSELoss", "HuberLoss", "SmoothL1Loss"):
            one = arrived.sel(criterion=name, momentum=momentum)
            assert float(one.stability_limit) == pytest.approx(2 * (1 + momentum) / top[name], rel=1e-12)
        assert np.isnan(arrived.sel(criterion="L1Loss", momentum=momentum).stability_limit)
    assert arrived.stability_scope.values.tolist() == ["exact", "local", "local", "local"]
    assert arrived.attrs["steps"] == 60
    assert arrived.isel(lr=slice(0, 3)).attrs["steps"] == 60
    again = ravine.open(ravine.save(four, tmp_path / "runs.nc"))
    assert measure.arrival(again).identical(arrived)
    assert measure.arrival(measure.summary(four)).identical(arrived)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"optimizer": torch.optim.Adam, "lr": [0.1, 0.2]}, "theory speaks of SGD, the runs are of Adam"),
        (
            {"lr": [0.1, 0.2], "scheduler": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)},
            "the runs have a scheduler",
        ),
        ({"lr": [0.1, 0.2], "groups": {"bias": {"momentum": 0.5}}}, "the study does not say the runs' momentum"),
        ({"lr": [0.1, 0.2], "groups": {"bias": {"lr": 0.5}}}, "the runs have groups of their own"),
        ({"lr": [0.1, 0.2], "batch_size": 10}, "the runs have mini-batches"),
    ],
)
def test_where_theory_does_not_speak_there_is_no_limit(article, settings, why):
    runs = ravine.sweep(article["MSELoss"], steps=5, **settings)
    assert why in _stability.why_no_theory(runs)
    assert "stability_limit" not in measure.arrival(runs).coords
    with pytest.raises(ValueError, match=why):
        plot.stability(runs)


def test_a_scheduler_in_one_of_joined_runs_is_enough(article):
    plain = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=5)
    falling = ravine.sweep(
        article["MSELoss"], lr=[0.1, 0.2], steps=5, scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)
    )
    assert _stability.why_no_theory(ravine.join({"a": plain, "b": plain})) is None
    assert "a scheduler" in _stability.why_no_theory(ravine.join({"a": plain, "b": falling}))


# -- on diagrams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bowl", "valley"])
def test_the_line_is_the_limit_and_runs_diverge_there(name, request):
    runs = request.getfixturevalue(name)
    steepest = curvatures_of_the_article()[-1] if name == "bowl" else 2.0
    figure = plot.phase(runs)
    (ax,) = panels(figure)
    (line,) = of_gid(ax, "limit")
    assert line.get_linestyle() == "-"
    lr, momentum = line.get_data()
    assert np.allclose(lr, 2 * (1 + momentum) / steepest, rtol=1e-12)
    assert momentum.tolist() == MOMENTUM.tolist()
    outcome = measure.arrival(runs).outcome.transpose("momentum", "lr").values
    ratio = LR[1] / LR[0]
    for limit, row in zip(lr, outcome, strict=True):
        first = LR[int(np.argmax(row == "diverged"))]
        assert limit / ratio < first < limit * ratio**2  # just beyond it, runs need more steps to show it
    assert not of_gid(ax, "border")
    assert words(ax, "limit") == ["stability limit"]
    assert "line: stability limit in theory, exact: the loss is quadratic" in said(figure)
    assert "stability_" not in said(figure)
    for drawn in (figure, plot.phase(runs, style="article")):  # in the dark only colours differ
        assert_apart(drawn)


def test_local_limits_are_dashed_and_say_so(four):
    figure = plot.phase(four)
    by_name = {ax.get_title(loc="left"): ax for ax in panels(figure)}
    assert not of_gid(by_name["L1Loss"], "limit")
    assert "limit" not in " ".join(words(by_name["L1Loss"]))
    for name in ("HuberLoss", "SmoothL1Loss"):
        (line,) = of_gid(by_name[name], "limit")
        assert line.get_linestyle() == "--"
        top = np.linalg.eigvalsh(four.hessian.sel(criterion=name).values)[-1]
        assert np.allclose(line.get_xdata(), 2 * (1 + line.get_ydata()) / top, rtol=1e-12)
        told = " ".join(words(by_name[name], "caption")).replace("\n", " ")
        assert "dashes: local limit in theory, from the curvature at the minimum" in told
        assert words(by_name[name], "limit") in ([], ["local limit"])
    (line,) = of_gid(by_name["MSELoss"], "limit")
    assert line.get_linestyle() == "-"
    assert "exact" in " ".join(words(by_name["MSELoss"], "caption"))


@pytest.mark.parametrize(
    ("loss", "place"),
    [
        (lambda p: p["x"].abs() + p["y"] ** 2, {"x": 0.0, "y": 0.0}),
        (lambda p: p["x"].abs() ** 1.5 + p["y"] ** 2, {"x": 0.0, "y": 0.0}),
        (
            lambda p: (p["x"] - 1) ** 2 + (p["y"] - 0.1) ** 2 + 0.5 * (p["x"].abs() + p["y"].abs()),
            {"x": 0.75, "y": 0.0},
        ),
        (lambda p: torch.relu(p["x"]) + torch.relu(-2 * p["x"]) + p["y"] ** 2, {"x": 0.0, "y": 0.0}),
    ],
    ids=["one axis", "a power of 1.5", "lasso", "two slopes"],
)
def test_at_a_kink_no_limit_is_drawn_or_measured_against(loss, place):
    """Beside it the slope does not fade: below any limit of a Hessian steps go to and fro."""
    problem = ravine.Problem(loss, start={"x": 2.3, "y": 1.7}, minimizers=[place])
    runs = ravine.sweep(problem, lr=[0.1, 0.3, 0.9], momentum=[0.0, 0.5], steps=30)
    assert runs.minimum_loss.notnull().all()
    arrived = measure.arrival(runs)
    assert np.isnan(arrived.stability_limit).all()
    assert np.isnan(measure.summary(runs).stability_limit).all()
    assert "limits" not in {each.kind for each in ravine.explain(runs)}
    (ax,) = panels(plot.phase(runs))
    assert not of_gid(ax, "limit")
    with pytest.raises(ValueError, match="or the minimum lies on a kink"):
        plot.stability(runs)


def test_beside_a_kinked_problem_the_others_keep_their_limit():
    smooth = ravine.Problem(
        lambda p: p["x"] ** 2 + p["y"] ** 2, {"x": 2.0, "y": 1.0}, minimizers=[{"x": 0.0, "y": 0.0}]
    )
    kinked = ravine.Problem(lambda p: p["x"].abs() + p["y"] ** 2, smooth.start, minimizers=[{"x": 0.0, "y": 0.0}])
    limit = measure.arrival(ravine.sweep({"smooth": smooth, "kinked": kinked}, lr=[0.1, 0.3], steps=20)).stability_limit
    assert limit.dims == ("problem",)
    assert limit.sel(problem="smooth").item() == pytest.approx(1.0)
    assert np.isnan(limit.sel(problem="kinked"))


def test_weight_decay_and_nesterov_move_the_line(article):
    decays = np.geomspace(0.1, 10, 8)
    runs = ravine.sweep(article["MSELoss"], lr=LR, weight_decay=decays, momentum=0.9, nesterov=[False, True], steps=40)
    axes = panels(plot.phase(runs, y="weight_decay"))
    steepest = curvatures_of_the_article()[-1]
    for ax, factor in zip(axes, (2 * 1.9, 2 * 1.9 / 2.8), strict=True):
        (line,) = of_gid(ax, "limit")
        assert np.allclose(line.get_xdata(), factor / (steepest + line.get_ydata()), rtol=1e-12)
        assert np.allclose(line.get_ydata(), decays, rtol=1e-15)
    turned = panels(plot.phase(runs.sel(nesterov=False), x="weight_decay", y="lr"))[0]
    (line,) = of_gid(turned, "limit")
    assert np.allclose(line.get_ydata(), 2 * 1.9 / (steepest + line.get_xdata()), rtol=1e-12)
    steps = panels(plot.phase(runs.isel(weight_decay=0), y="nesterov"))[0]
    (line,) = of_gid(steps, "limit")
    base = 2 * 1.9 / (steepest + decays[0])
    assert np.allclose(line.get_xdata(), [base, base, base / 2.8, base / 2.8], rtol=1e-12)
    assert line.get_ydata().tolist() == [-0.5, 0.5, 0.5, 1.5]


def test_dampening_raises_the_line(article):
    runs = ravine.sweep(article["MSELoss"], lr=LR * 4, dampening=[0.0, 0.4, 0.8], momentum=0.5, steps=20)
    (line,) = of_gid(panels(plot.phase(runs, y="dampening"))[0], "limit")
    steepest = curvatures_of_the_article()[-1]
    assert np.allclose(line.get_xdata(), 2 * 1.5 / ((1 - line.get_ydata()) * steepest), rtol=1e-12)


def test_no_line_without_lr_or_beyond_the_map(bowl):
    assert not of_gid(panels(plot.phase(bowl.isel(lr=slice(0, 10))))[0], "limit")
    few = bowl.isel(lr=[5, 10], momentum=[0, 5]).drop_vars("hessian")
    assert not of_gid(panels(plot.phase(few))[0], "limit")
    figure = plot.phase(bowl.isel(lr=slice(0, 10)).drop_vars("hessian"))
    assert "limit" not in said(figure)


def test_a_border_apart_from_the_limit_stays():
    runs = ravine.sweep(
        ravine.gallery.rosenbrock(), lr=np.geomspace(1e-4, 2e-2, 30), momentum=MOMENTUM, steps=150, keep="summary"
    )
    (ax,) = panels(plot.phase(runs))
    (line,) = of_gid(ax, "limit")
    assert line.get_linestyle() == "--"
    curvature = np.linalg.eigvalsh([[802.0, -400.0], [-400.0, 200.0]])[-1]
    assert np.allclose(line.get_xdata(), 2 * (1 + line.get_ydata()) / curvature, rtol=1e-9)
    assert of_gid(ax, "border")


# -- the figure --------------------------------------------------------------------------------------------------


def rate_by_roots(curvature, lr, momentum=0.0, nesterov=False):
    """Spectral radius of one mode's step, by numpy's eigenvalues."""
    a = lr * curvature
    if nesterov:
        matrix = [[(1 + momentum) * (1 - a), -momentum * (1 - a)], [1.0, 0.0]]
    else:
        matrix = [[1 + momentum - a, -momentum], [1.0, 0.0]]
    return max(abs(np.linalg.eigvals(matrix)))


@pytest.fixture(scope="module")
def few():
    return ravine.sweep(ravine.gallery.quadratic(100), lr=LR, momentum=[0.0, 0.5, 0.9], steps=400)


def test_curves_are_theory_and_dots_are_runs(few):
    figure = plot.stability(few)
    (ax,) = figure.axes
    rates = measure.rate(few)
    for momentum in (0.0, 0.5, 0.9):
        (curve,) = of_gid(ax, f"theory momentum {momentum:g}")
        for lr, height in list(zip(*curve.get_data(), strict=True))[::60]:
            slowest = max(rate_by_roots(c, lr, momentum) for c in (0.02, 2.0))
            assert height == pytest.approx(slowest, abs=1e-7)
        (dots,) = of_gid(ax, f"measured momentum {momentum:g}")
        bottom, top = ax.get_ylim()
        heights = rates.sel(momentum=momentum).values
        seen = (heights >= bottom) & (heights <= top)  # no dot off the axes
        assert dots.get_xdata().tolist() == LR[seen].tolist()
        assert bare.same_bits(dots.get_ydata(), heights[seen])
    limits_drawn = [line.get_xdata()[0] for line in of_gid(ax, "limit")]
    assert np.allclose(limits_drawn, [1.0, 1.5, 1.9], rtol=1e-12)
    assert all(line.get_ydata()[0] == 1.0 for line in of_gid(ax, "limit"))
    best = [(line.get_xdata()[0], line.get_ydata()[0]) for line in of_gid(ax, "best")]
    for (lr, height), momentum in zip(best, (0.0, 0.5, 0.9), strict=True):
        assert lr == pytest.approx(2 * (1 + momentum) / 2.02, rel=1e-12)
        assert height == pytest.approx(max(rate_by_roots(c, lr, momentum) for c in (0.02, 2.0)), abs=1e-7)
    (border,) = of_gid(ax, "border")
    assert set(border.get_ydata()) == {1.0}
    assert ax.get_xscale() == "log"


def test_what_is_said_is_computed(few):
    figure = plot.stability(few)
    at, rate = {}, {}
    for momentum in (0.0, 0.5, 0.9):
        at[momentum] = 2 * (1 + momentum) / 2.02
        rate[momentum] = max(rate_by_roots(c, at[momentum], momentum) for c in (0.02, 2.0))
    fastest = min(rate, key=rate.get)
    title = figure.texts[0].get_text().replace("\n", " ")
    assert title == (
        f"Fastest: momentum {fastest:g} at lr {at[fastest]:.3g}, each step leaves {rate[fastest]:.4g} of the distance"
    )
    told = words(figure, "caption")
    for line, momentum in zip(told, (0.0, 0.5, 0.9), strict=False):
        assert line == (
            f"momentum {momentum:g}: stable below lr {1 + momentum:g}; "
            f"fastest at lr {at[momentum]:.4g}, a step leaves {rate[momentum]:.4g}"
        )
    away = []
    for momentum in (0.0, 0.5, 0.9):
        measured = measure.rate(few.sel(momentum=momentum)).values
        for m, lr in zip(measured, LR, strict=True):
            theory = max(rate_by_roots(c, lr, momentum) for c in (0.02, 2.0))
            away.append(abs(m - theory) / abs(1 - theory))
    known = [each for each in away if not np.isnan(each)]
    share = round(100 * sum(each <= 0.05 for each in known) / len(known))
    agreement = next(line for line in told if line.startswith("dots: "))
    assert f"of the {len(known)} measured runs, 1 − rate is within 5 % of theory's" in agreement
    assert f"{share} %" in agreement or "over 99 %" in agreement
    assert "exact: the loss is quadratic" in said(figure)
    assert plot.stability(few, title="My words").texts[0].get_text() == "My words"


def test_nesterov_and_weight_decay_are_curves(article):
    runs = ravine.sweep(article["MSELoss"], lr=LR, momentum=0.9, nesterov=[False, True], steps=60)
    (ax,) = plot.stability(runs).axes
    modes = curvatures_of_the_article()
    for name, switch in (("no nesterov", False), ("nesterov", True)):
        (curve,) = of_gid(ax, f"theory {name}")
        for lr, height in list(zip(*curve.get_data(), strict=True))[::100]:
            assert height == pytest.approx(max(rate_by_roots(c, lr, 0.9, switch) for c in modes), abs=1e-7)
    runs = ravine.sweep(article["MSELoss"], lr=LR, weight_decay=[0.0, 2.0], steps=60)
    (ax,) = plot.stability(runs).axes
    drawn = [line.get_xdata()[0] for line in of_gid(ax, "limit")]
    assert np.allclose(drawn, [2 / modes[-1], 2 / (modes[-1] + 2)], rtol=1e-12)


def test_elsewhere_theory_is_local_and_says_so(four):
    figure = plot.stability(four.sel(criterion="HuberLoss"))
    assert "local theory, from the curvature at the minimum" in said(figure)
    assert "near the minimum" in figure.texts[0].get_text().replace("\n", " ")
    assert "exact" not in said(figure)


def test_one_curve_and_many_styles(few, four, tmp_path):
    (ax,) = plot.stability(few.sel(momentum=0.5)).axes
    assert len(of_gid(ax, "theory")) == len(of_gid(ax, "measured")) == 1
    several = (few, few.isel(momentum=[0]), four.sel(criterion="MSELoss"), four.sel(criterion="HuberLoss"))
    for style, studies in (("ravine", several), ("dark", several[:1]), ("article", several)):
        for runs in studies:
            figure = plot.stability(runs, style=style)
            assert_apart(figure)
        figure.savefig(tmp_path / "picture.png", dpi=40)
    before = few.copy(deep=True)
    plot.stability(few)
    assert few.identical(before)


def test_runs_that_made_nothing_of_it_are_counted(few):
    broken = few.assign(loss=few.loss.where(few.lr > 0.02))
    missing = int(np.isnan(measure.rate(broken)).sum())
    assert missing >= 12
    assert f"{missing} runs were too short or too wild to measure" in said(plot.stability(broken))


def test_twice_as_slow_is_no_agreement():
    near = is_near(np.array([0.5, 0.98, 0.99, 1.0]), np.array([0.51, 0.99, 0.9904, 1.0]))
    assert near.tolist() == [True, False, True, True]


def test_settings_off_the_axis_have_no_dot_and_are_counted(few):
    still = ravine.sweep(ravine.gallery.quadratic(100), lr=[0.0, *LR], momentum=0.5, steps=150)
    figure = plot.stability(still)
    (ax,) = figure.axes
    (dots,) = of_gid(ax, "measured")
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x, y = dots.get_data()
    assert len(x) > 10
    assert ((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).all()
    known = measure.rate(still)
    beyond = int((np.isfinite(known) & ~((known <= top) & (known >= bottom) & (known.lr > 0))).sum())
    assert f"{beyond} runs with lr 0 or a rate over" in said(figure)


def test_what_cannot_be_drawn_says_what_to_do(few, four, bowl):
    with pytest.raises(ValueError, match=r"no 'hessian' .*: ravine.sweep attaches .* ravine.landmarks\(problem\)"):
        plot.stability(few.drop_vars("hessian"))
    with pytest.raises(ValueError, match="x must be 'lr', got 'momentum'"):
        plot.stability(few, x="momentum")
    with pytest.raises(ValueError, match="do not lie along 'lr'"):
        plot.stability(few.isel(lr=3))
    with pytest.raises(ValueError, match="14 curves are too many to tell apart: select at most 6 along 'momentum'"):
        plot.stability(bowl)
    with pytest.raises(ValueError, match=r"differ in criterion, momentum besides lr.*ravine.at\(runs, criterion='MSE"):
        plot.stability(four)
    with pytest.raises(ValueError, match="the curvature at the minimum is zero"):
        plot.stability(four.sel(criterion="L1Loss"))
    with pytest.raises(ValueError, match="no style 'noir'"):
        plot.stability(few, style="noir")
    with pytest.raises(ValueError, match="maximize=True climbs"):
        plot.stability(few.assign_coords(maximize=True))


def test_landmarks_make_theory_speak_of_joined_runs(article):
    problem = article["MSELoss"]
    runs = ravine.join({lr: ravine.descend(problem, lr=lr, steps=40) for lr in (0.1, 0.5, 1.2)}, dim="lr")
    found = ravine.landmarks(problem)
    runs = runs.drop_vars(["hessian", "minimum_loss", "minimizer", "parameter_"], errors="ignore")
    runs = runs.assign(hessian=found.hessian.drop_vars("weight_decay"), minimum_loss=found.minimum_loss.item())
    figure = plot.stability(runs)
    assert "exact: the loss is quadratic" in said(figure)
    drawn = [line.get_xdata()[0] for line in of_gid(figure.axes[0], "limit")]
    assert drawn == pytest.approx([2 / curvatures_of_the_article()[-1]], rel=1e-12)
    assert isinstance(_stability.limit(runs), xr.DataArray)


def test_refused_runs_are_counted_and_end_no_picture():
    """torch refuses a negative lr and a negative momentum: a sweep keeps such cells, and pictures say so."""
    bowl = ravine.gallery.quadratic()
    one = ravine.sweep(bowl, lr=[-1.0, 0.0, 0.1, 0.5, 1.0, 1.5])
    lines = words(plot.stability(one), "caption")
    assert lines[-1] == "2 runs with lr 0 or a rate over 1.05 have no dot; torch refuses 1 run"
    assert lines[:-1] == words(plot.stability(one.isel(lr=slice(1, None))), "caption")[:-1]
    runs = ravine.sweep(bowl, lr=[-1.0, 0.0, 0.1, 0.5, 1.0, 1.5, np.inf], momentum=[-1, 0, 0.5])
    figure = plot.stability(runs)
    assert words(figure, "caption")[-1].endswith("torch refuses 9 runs")
    assert [line.get_gid() for line in figure.axes[0].lines if line.get_gid().startswith("theory")] == [
        "theory momentum 0",
        "theory momentum 0.5",
    ]
    assert np.isfinite(figure.axes[0].get_xlim()).all()
    made = runs.isel(momentum=slice(1, None))
    for measured in (measure.arrival, measure.summary):
        xr.testing.assert_equal(measured(runs).isel(momentum=slice(1, None)), measured(made))
    assert np.isnan(measure.arrival(runs).stability_limit[0])
    nesterov = ravine.sweep(bowl, lr=[0.1, 0.5, 1.0], nesterov=[False, True])  # which needs a momentum
    assert "torch refuses 3 runs" in words(plot.stability(nesterov), "caption")[-1]
    assert not any("nesterov:" in line for line in words(plot.stability(nesterov), "caption")[1:])
