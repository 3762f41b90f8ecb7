"""Updates opened: their parts add up to what torch did, and the pictures carry these numbers."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from typer.testing import CliRunner

import bare
import ravine
from ravine import plot
from ravine.cli import app
from ravine.measure._update import update_of
from ravine.plot._anatomy import formula as workings
from test_views import written

WATCHED = ("gradient", "velocity")
STYLES = ("ravine", "article", "dark")


def watched(problem, *given, **settings):
    return ravine.descend(problem, *given, also=WATCHED, **settings)


def arrows(ax):
    """Each arrow as it is drawn: tail and vector, by its name."""
    found = {c.get_gid(): c for c in ax.collections if isinstance(c, Quiver)}
    return {gid: (np.ravel(q.XY[0]), np.array([q.U[0], q.V[0]])) for gid, q in found.items()}


def plain(text):
    return text.get_text().replace("\N{MINUS SIGN}", "-").strip()


def number_of(text):
    """Read a number as people read it: thousands, and powers of ten."""
    plain_one, _, power = text.replace(",", "").partition(" \N{MULTIPLICATION SIGN} 10")
    return float(plain_one) * 10.0 ** int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)


def formula(figure):
    """The lines of the formula by their names: words, and the numbers in the order of the axes."""
    found = {}
    for text in figure.texts:
        gid = text.get_gid()
        if gid:
            *words, a, b = ["", "", *re.split(r"\s{2,}", plain(text))]
            try:
                numbers = np.array([number_of(each) for each in (a, b)])
                found[gid] = "  ".join(words).strip(), numbers
            except ValueError:
                found[gid] = plain(text), None
    return found


def loss_at(problem, weight_and_bias):
    """The loss of the article's neuron."""
    values = zip(("weight", "bias"), weight_and_bias, strict=True)
    return float(problem.loss({name: torch.tensor(v).reshape(problem.start[name].shape) for name, v in values}))


def title(figure):
    return next(t.get_text() for t in figure.texts if t.get_text().startswith("Step")).replace("\n", " ")


def subtitle(figure):
    return " ".join(figure.texts[-1].get_text().split())


def by_hand(run, step, names, lr=None):
    """torch's rule in plain Python, one parameter at a time, in torch's order."""
    says = {name: run.coords[name].item() for name in ("lr", "momentum", "dampening", "weight_decay")}
    lr = says["lr"] if lr is None else lr
    momentum, decay = says["momentum"], says["weight_decay"]
    rows = {}
    for name in names:
        one = run.sel(parameter=name)
        at = float(one.position.values[step])
        g = float(one.gradient.values[step])
        lines = {"θ": at, "g": g}
        if run.maximize.item():
            g = lines["-g"] = -g
        if decay != 0:
            g = lines["decayed g"] = g + decay * at
        d = g
        if momentum != 0:
            before = float(one.velocity.values[step])
            first = before != before
            lines["v"] = 0.0 if first else before
            v = lines["next v"] = g if first else momentum * before + (1 - says["dampening"]) * g
            d = v
            if run.nesterov.item():
                d = lines["d"] = g + momentum * v
        lines["next θ"] = at - lr * d
        lines["update"] = -lr * d
        for gid, value in lines.items():
            rows.setdefault(gid, []).append(value)
    return rows


SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.5},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 2.0},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.8},
    {"lr": 0.01, "momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1, "maximize": True},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "foreach": True},
]


# -- the parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_updates_of_the_article_add_up(told, every):
    """Of each run the first and five others, all of them in some run; with ``-m slow`` all in each."""
    runs = [told.sel(run=name, criterion=criterion) for name in told.run.values for criterion in told.criterion.values]
    for number, run in enumerate(runs):
        steps = sorted({0, *range(number % every, 100, every)})
        position = run.position.values.astype(float)
        sizes = abs(position[:-1]) + abs(position[1:]) + 1
        for step in steps:
            update = update_of(run, step)
            assert update.why == ""
            total = sum(update.parts.values())
            assert (abs(position[step] + total - position[step + 1]) <= 2e-6 * sizes[step]).all()
            assert np.array_equal(update.moved, position[step + 1] - position[step])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_random_settings_add_up_to_what_torch_did(dtype, count):
    """Each implementation with each scheduler; with ``-m slow`` five times."""
    rng = np.random.default_rng(8)
    schedulers = [
        None,
        partial(torch.optim.lr_scheduler.StepLR, step_size=3),
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8),
    ]
    for number in range(count):
        momentum = float(rng.choice([0.0, 0.3, 0.9]))
        nesterov = bool(momentum and rng.integers(2))
        settings = {
            "lr": float(10 ** rng.uniform(-3, -0.3)),
            "momentum": momentum,
            "nesterov": nesterov,
            "dampening": 0.0 if nesterov else float(rng.choice([0, 0.5, 1.0, -0.5])),
            "weight_decay": float(rng.choice([0, 0.1, 2.0])),
            "maximize": bool(rng.integers(2)),
        } | [{}, {"foreach": True}, {"fused": True}, {"differentiable": True}][number % 4]
        steep = float(rng.uniform(0.1, 3))
        problem = ravine.Problem(
            lambda p, steep=steep: steep * p["x"] ** 2 + 0.3 * (p["y"] - p["x"]) ** 2,
            start={"x": dtype(rng.normal() * 10.0 ** rng.integers(-3, 4)), "y": dtype(rng.normal())},
        )
        run = watched(problem, steps=12, scheduler=schedulers[number % 3], **settings)
        for step in range(12):
            update = update_of(run, step)
            assert update.why == "", (settings, step)
            lr = float(run.scheduled_lr[step]) if "scheduled_lr" in run else None
            exact = by_hand(run, step, ["x", "y"], lr)
            terms = sum(map(abs, update.parts.values())) + abs(update.following)
            assert (abs(sum(update.parts.values()) - exact["update"]) <= 20 * np.finfo(dtype).eps * terms).all()
            names = {"gradient"} | {
                n for n, on in (("weight decay", settings["weight_decay"]), ("look-ahead", nesterov)) if on
            }
            assert set(update.parts) == names | ({"velocity"} if momentum and step else set())


def test_the_first_step_is_undamped_and_has_no_velocity(article):
    run = watched(article["MSELoss"], lr=0.1, momentum=0.9, dampening=0.8, steps=2)
    first, second = update_of(run, 0), update_of(run, 1)
    gradient = run.gradient.values.astype(float)
    assert set(first.parts) == {"gradient"}
    assert np.array_equal(first.parts["gradient"], -0.1 * gradient[0])
    assert np.allclose(second.parts["gradient"], -0.1 * 0.2 * gradient[1], rtol=1e-12)
    ahead = update_of(watched(article["MSELoss"], lr=0.1, momentum=0.9, nesterov=True, steps=1), 0)
    assert np.allclose(ahead.parts["look-ahead"], 0.9 * ahead.parts["gradient"], rtol=1e-12)


def test_updates_of_four_problems(case):
    run = watched(case.problem, lr=case.lr, momentum=0.9, nesterov=True, steps=10)
    for step in range(10):
        update = update_of(run, step)
        assert update.why == ""
        moved = run.position.values[step + 1].astype(float) - run.position.values[step]
        assert np.allclose(sum(update.parts.values()), moved, rtol=1e-4, atol=1e-6)


def test_what_does_not_add_up_is_not_taken_apart(article):
    run = watched(article["MSELoss"], lr=0.1, momentum=0.9)
    wrong = "torch's rule with these settings does not give the recorded update"
    assert update_of(run, 5).why == ""
    for name, value in {"lr": 0.1001, "momentum": 0.899, "weight_decay": 1e-4, "maximize": True}.items():
        assert update_of(run.assign_coords({name: value}), 5).why == wrong, name
    ulp = run.position.copy(deep=True)
    for _ in range(40):
        ulp.values[6] = np.nextafter(ulp.values[6], np.float32(100))
    assert update_of(run.assign(position=ulp), 5).why == wrong
    assert update_of(run.assign(gradient=run.gradient * np.float32(1.0001)), 5).why == wrong
    # OneCycleLR turns momentum, which a study holds step by step
    cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=100)
    turned = watched(article["MSELoss"], lr=0.1, momentum=0.9, scheduler=cycle)
    assert update_of(turned, 30).why == ""
    assert update_of(turned.drop_vars("scheduled_momentum"), 30).why == wrong


def test_parameters_that_begin_later_are_not_taken_apart():
    """Torch skips what has no gradient: no decay, no velocity; its first step comes later."""
    lame = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0, "y": 1.0})
    late = ravine.Problem(lambda p: p["x"] ** 2 + (p["y"] ** 2 if p["x"] < 0.9 else 0.0), start={"x": 1.0, "y": 1.0})
    for problem, steps in ((lame, (0, 1, 5)), (late, (0, 1))):
        run = watched(problem, lr=0.05, momentum=0.9, steps=8)
        for step in steps:
            assert "no velocity for y" in update_of(run, step).why
    assert update_of(run, 5).why == ""
    decayed = watched(lame, lr=0.05, weight_decay=0.5, steps=3)
    assert "does not give the recorded update" in update_of(decayed, 1).why


class Own(torch.optim.SGD):
    pass


def foreign(article):
    problem = article["MSELoss"]
    yield "Adam", ravine.descend(problem, torch.optim.Adam, lr=0.3, also=("gradient",)), "Adam is not torch.optim.SGD"
    yield "own", watched(problem, Own, lr=0.1, momentum=0.9), "Own is not torch.optim.SGD"
    groups = watched(problem, lr=0.1, momentum=0.9, groups={"bias": {"lr": 0.01}})
    yield "groups", groups, "groups of parameters have settings of their own"
    named = type("SGD", (torch.optim.SGD,), {})
    yield "named", watched(problem, named, lr=0.1), f"{__name__}.SGD is not torch.optim.SGD"


def test_other_rules_are_drawn_as_update_and_gradient_only(article):
    land = ravine.surface(article["MSELoss"], points=41)
    for name, run, why in foreign(article):
        update = update_of(run, 9)
        assert (update.rule, dict(update.parts), update.why) == (None, {}, why), name
        figure = plot.anatomy(run, land, step=9)
        drawn = arrows(figure.axes[0])
        assert set(drawn) == {"update", "downhill"}
        pair = run.sel(parameter=["bias", "weight"])
        assert np.allclose(drawn["update"][1], np.diff(pair.position.values[9:11].astype(float), axis=0)[0], rtol=1e-12)
        down = drawn["downhill"][1]
        gradient = pair.gradient.values[9].astype(float)
        assert np.isclose(down @ gradient, -np.linalg.norm(down) * np.linalg.norm(gradient), rtol=1e-9)
        assert f"no parts: {why}" in subtitle(figure)
        moved = drawn["update"][1]
        angle = np.degrees(np.arccos(moved @ down / np.linalg.norm(moved) / np.linalg.norm(down)))
        assert title(figure) == f"Step 9 to 10: the update points {angle:.0f}° away from downhill"
        assert set(formula(figure)) == {"axes", "θ", "g", "next θ", "update"}


# -- the picture -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_picture_carries_the_numbers_of_the_run(article, settings):
    """At the first step, which has no velocity before it, and at one of those behind it."""
    names = ("bias", "weight")
    run = watched(article["MSELoss"], steps=20, **settings)
    land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8), points=41)
    for step in (0, (1, 4, 19)[SETTINGS.index(settings) % 3]):
        figure = plot.anatomy(run, land, step=step)
        drawn = arrows(figure.axes[0])
        pair = run.sel(parameter=list(names))
        origin = pair.position.values[step].astype(float)
        here = origin - drawn["update"][0]  # 0, unless the axes count from the position
        assert np.allclose(here, 0) or np.allclose(here, origin)
        assert np.allclose(drawn["update"][1], pair.position.values[step + 1] - origin, rtol=1e-12)
        tail = drawn["update"][0]
        for name in ("velocity", "gradient", "weight decay", "look-ahead"):  # head to tail
            if name in drawn:
                assert np.allclose(drawn[name][0], tail, atol=1e-12)
                tail = tail + drawn[name][1]
        assert np.allclose(tail, drawn["update"][0] + drawn["update"][1], atol=3e-6)
        exact = by_hand(run, step, names)
        lines = formula(figure)
        assert set(exact) <= set(lines)
        for gid, numbers in exact.items():
            assert np.allclose(lines[gid][1], numbers, rtol=1e-3, atol=3e-6), (gid, step)
        for gid in set(drawn) - {"update"}:
            assert np.allclose(lines[gid][1], drawn[gid][1], rtol=1e-3), gid
        order = [gid for gid in lines if gid in exact]
        assert order == [g for g in ("θ", "v", "g", "-g", "decayed g", "next v", "d", "next θ", "update") if g in exact]


def test_the_formula_says_what_was_done(article):
    problem = article["MSELoss"]
    land = ravine.surface(problem, points=41)

    def words(step, **settings):
        return {gid: said for gid, (said, _) in formula(plot.anatomy(watched(problem, **settings), land, step)).items()}

    told = words(3, lr=0.1, momentum=0.9, dampening=0.8, weight_decay=2.0, maximize=True, steps=5)
    assert told["-g"] == "g ← -g  maximize"
    assert told["decayed g"] == "g ← g + 2·θ"
    assert told["next v"] == "v ← 0.9·v + 0.2·g"
    assert told["next θ"] == "θ ← θ - 0.1·v"
    assert words(0, lr=0.1, momentum=0.9, dampening=0.8)["next v"] == "v ← g  undamped"
    ahead = words(3, lr=0.1, momentum=0.9, nesterov=True)
    assert (ahead["d"], ahead["next θ"]) == ("d ← g + 0.9·v", "θ ← θ - 0.1·d")
    assert words(3, lr=0.1)["next θ"] == "θ ← θ - 0.1·g"
    halved = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    assert words(3, lr=0.1, scheduler=halved)["next θ"] == "θ ← θ - 0.05·g"


def test_the_title_is_measured(article):
    problem = article["MSELoss"]
    land = ravine.surface(problem, points=41)
    run = watched(problem, lr=0.1, momentum=0.9)
    loss = run.loss.values
    for step in (2, 6, 12, 40):
        said = title(plot.anatomy(run, land, step=step))
        velocity = -0.09 * run.velocity.values[step].astype(float)
        pull = -0.1 * run.gradient.values[step].astype(float)
        one, other = np.arctan2(*velocity), np.arctan2(*(velocity + pull))
        turn = np.degrees(abs((other - one + np.pi) % (2 * np.pi) - np.pi))
        way = "uphill" if velocity @ pull < 0 else "downhill"
        assert said == f"Step {step} to {step + 1}: the velocity carries {way}, the gradient turns it by {turn:.0f}°"
        if step == 6:  # uphill is uphill: a short way along it the loss rises
            here = run.position.values[step]
            assert loss_at(problem, here + np.float32(0.05) * velocity.astype(np.float32)) > loss[step]
    assert (
        title(plot.anatomy(run, land, 0)) == "Step 0 to 1: the first step has no velocity yet, straight down the slope"
    )
    ahead = watched(problem, lr=0.1, momentum=0.9, nesterov=True)
    assert title(plot.anatomy(ahead, land, 0)).endswith("straight down the slope, 1.9 times lr·g")
    assert title(plot.anatomy(ahead, land, 4)).startswith("Step 4 to 5: the velocity carries uphill, gradient and look")
    assert title(plot.anatomy(watched(problem, lr=0.1), land, 3)) == "Step 3 to 4: straight down the slope"
    up = watched(problem, lr=0.01, maximize=True)
    assert title(plot.anatomy(up, land, 3)) == "Step 3 to 4: straight up the slope"
    assert plot.anatomy(run, land, 6, title="Step it up").texts[-2].get_text() == "Step it up"


def test_one_dimension_of_motion_is_told_without_angles():
    line = ravine.Problem(lambda p: p["x"] ** 2 + 0 * p["y"], start={"x": 1.0, "y": 0.0})
    land = ravine.surface(line, x=(-2, 2), y=(-2, 2), points=41)
    run = watched(line, lr=0.05, momentum=0.9, steps=40)
    endings = set()
    for step in range(1, 40, 3):
        velocity, pull = -0.045 * float(run.velocity[step, 0]), -0.05 * float(run.gradient[step, 0])
        said = title(plot.anatomy(run, land, step))
        if velocity * pull > 0:
            ending = "the velocity carries downhill, the gradient speeds it up"
        elif abs(pull) < abs(velocity):
            ending = "the velocity carries uphill, the gradient slows it"
        else:
            ending = "the velocity carries uphill, the gradient turns it round"
        assert said.endswith(ending)
        endings.add(ending)
    assert len(endings) == 3


def test_still_updates_are_drawn_and_told():
    flat = ravine.Problem(lambda p: 0 * p["x"] + 0 * p["y"] + 1, start={"x": 1.0, "y": 1.0})
    bowl = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] ** 2, start={"x": 1.0, "y": 1.0})
    lands = [ravine.surface(each, x=(-2, 2), y=(-2, 2), points=21) for each in (flat, bowl)]
    still = plot.anatomy(watched(bowl, lr=0.0, momentum=0.9, steps=4), lands[1], 2)
    assert title(still) == "Step 2 to 3: nothing moves, the lr is 0"
    assert "steps 2 and 3" in [t.get_text() for t in still.axes[0].texts]
    none = plot.anatomy(watched(flat, lr=0.1, momentum=0.9, steps=4), lands[0], 2)
    assert title(none) == "Step 2 to 3: nothing moves, the gradient is 0"
    lost = watched(bowl, lr=1e-12, steps=4)
    assert title(plot.anatomy(lost, lands[1], 2)) == "Step 2 to 3: nothing moves, the step is lost in float32 rounding"
    assert arrows(still.axes[0]) == arrows(none.axes[0]) == {}
    kink = ravine.Problem(lambda p: torch.relu(p["x"]) + torch.relu(p["y"]), start={"x": 0.05, "y": 0.05})
    coasting = watched(kink, lr=0.1, momentum=0.5, steps=4)
    figure = plot.anatomy(coasting, ravine.surface(kink, x=(-2, 2), y=(-2, 2), points=21), 2)
    assert title(figure) == "Step 2 to 3: the gradient is 0, the velocity carries on"
    assert set(arrows(figure.axes[0])) == {"update", "velocity"}
    for each in (still, none, figure):
        assert "-0" not in [t for text in each.texts for t in plain(text).split()]
        assert written(each) > 4000


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1.0, 1e6, 1e12])
def test_tiny_and_huge_steps_fill_the_window(size, style):
    bowl = ravine.Problem(
        lambda p: (p["x"] - 3) ** 2 + 2 * (p["y"] + 1) ** 2, start={"x": np.float64(1), "y": np.float64(1)}
    )
    run = watched(bowl, lr=0.1, momentum=0.9, steps=6)
    middle = run.position.isel(step=3)
    small = (run.position - middle) * size + (middle if size <= 1 else middle * size)
    run = run.assign(position=small, gradient=run.gradient * size, velocity=run.velocity * size)
    run = run.assign_coords(lr=0.1)
    figure = plot.anatomy(run, ravine.surface(bowl, x=(-2, 4), y=(-2, 4), points=41), 3, style=style)
    assert written(figure) > 4000
    ax = figure.axes[0]
    tail, whole = arrows(ax)["update"]
    pixels = ax.transData.transform([tail, tail + whole])
    assert np.linalg.norm(pixels[1] - pixels[0]) > 0.25 * min(ax.bbox.width, ax.bbox.height)
    moved = small.values[4] - small.values[3]
    assert np.allclose(whole, moved, rtol=1e-6)
    texts = [t.get_text() for t in ax.texts]
    assert {"step 3", "step 4", "update"} <= set(texts)


def test_contours_are_drawn_only_where_the_grid_has_them(article):
    problem = article["MSELoss"]
    run = watched(problem, lr=0.1, momentum=0.9)
    coarse = ravine.surface(problem, bias=(-5, 8), weight=(-5, 8), points=101)
    early, late = plot.anatomy(run, coarse, 6), plot.anatomy(run, coarse, 95)
    dashed = [[line for line in f.axes[0].lines if line.get_gid() == "same loss"] for f in (early, late)]
    assert [len(each) for each in dashed] == [0, 1]
    assert "no contours" not in subtitle(early)
    assert "no contours: the surface has a value every 0.13 only" in subtitle(late)
    across = np.diff(np.array(dashed[1][0].get_data()), axis=1)[:, 0]
    gradient = run.gradient.sel(parameter=["bias", "weight"]).values[95].astype(float)
    assert abs(across @ gradient) < 1e-6 * np.linalg.norm(across) * np.linalg.norm(gradient)
    numbers = [t.get_text() for t in early.axes[0].texts if t.get_gid() == "level"]
    assert len(numbers) > 3
    here = run.position.sel(parameter=["bias", "weight"]).values[95]
    near = {name: (float(v) - 0.02, float(v) + 0.04) for name, v in zip(("bias", "weight"), here, strict=True)}
    assert "no contours" not in subtitle(plot.anatomy(run, ravine.surface(problem, **near), 95))
    far = ravine.surface(problem, bias=(20, 30), weight=(20, 30), points=21)
    assert "no contours: the update lies outside the surface" in subtitle(plot.anatomy(run, far, 6))
    # a surface so near the minimum that float32 no longer tells its losses apart
    flat = {
        name: (float(v) - 1e-4, float(v) + 1e-4) for name, v in zip(("bias", "weight"), (2.48438, 0.92583), strict=True)
    }
    rest = plot.anatomy(watched(problem, lr=0.1), ravine.surface(problem, **flat, points=401), 80)
    assert "no contours: the loss differs here by its rounding only" in subtitle(rest)


def test_contours_of_few_cells_lie_within_a_quarter_of_their_distance(article):
    """Between the values of a coarse grid lines are drawn only where the true loss is near what they say."""
    x, y = (each.astype(float) for each in bare.article_data())
    run = watched(article["MSELoss"], lr=0.1, momentum=0.9)
    drawn = left_out = 0
    for points in (9, 14, 27):
        land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8), points=points)
        for step in (2, 5, 8, 15, 19, 24):
            figure = plot.anatomy(run, land, step)
            if "no contours" in subtitle(figure):
                left_out += 1
                continue
            lines = figure.axes[0].collections[1]
            apart = np.diff(lines.levels).min()
            for level, path in zip(lines.levels, lines.get_paths(), strict=True):
                for piece in path.to_polygons(closed_only=False):
                    between = np.concatenate([piece[:-1] + share * np.diff(piece, axis=0) for share in (0, 0.3, 0.5)])
                    loss = ((between[:, 1:] * x + between[:, :1] - y) ** 2).mean(axis=1)
                    assert (abs(loss - level) <= 0.25 * apart).all(), (points, step)
                    drawn += 1
    assert drawn > 30
    assert left_out > 5


def test_numbered_contours_lie_where_the_loss_has_their_value(article):
    from scipy.interpolate import RegularGridInterpolator

    land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8))
    run = watched(article["MSELoss"], lr=0.1, momentum=0.9, nesterov=True, weight_decay=2.0)
    ax = plot.anatomy(run, land, 3).axes[0]
    total = land.surface.astype(float) + land.bias**2 + land.weight**2
    at = RegularGridInterpolator((land.weight.values, land.bias.values), total.transpose("weight", "bias").values)
    lines = ax.collections[1]
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        assert np.allclose(at(path.vertices[:, ::-1]), level, rtol=1e-9)


def test_the_map_shows_the_window(article):
    run = watched(article["MSELoss"], lr=0.1, momentum=0.9)
    land = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-5, 8), points=41)
    close, whole = plot.anatomy(run, land, 6).axes
    (frame,) = [line for line in whole.lines if line.get_gid() == "window"]
    assert np.allclose([frame.get_xdata().min(), frame.get_xdata().max()], close.get_xlim())
    assert np.allclose([frame.get_ydata().min(), frame.get_ydata().max()], close.get_ylim())
    before = next(line for line in whole.lines if line.get_gid() == "before")
    assert np.array_equal(before.get_xdata(), run.position.sel(parameter="bias").values[:8])
    (ring,) = [line for line in plot.anatomy(run, land, 95).axes[1].lines if line.get_gid() == "window"]
    assert ring.get_marker() == "o"


def test_anatomy_of_four_problems(case):
    run = watched(case.problem, lr=case.lr, momentum=0.9, steps=10)
    land = ravine.surface(case.problem, **case.axes, points=21)
    if run.sizes["parameter"] != 2:
        with pytest.raises(ValueError, match="a path needs a position of two parameters; this run has 17"):
            plot.anatomy(run, land, 3)
        return
    names = tuple(case.axes)
    for step in (0, 3, 9):
        figure = plot.anatomy(run, land, step)
        assert figure.axes[0].get_xlabel().startswith(names[0])
        drawn = arrows(figure.axes[0])
        moved = np.diff(run.position.sel(parameter=list(names)).values[step : step + 2].astype(float), axis=0)[0]
        assert np.allclose(drawn["update"][1], moved, rtol=1e-12)
        assert np.allclose(formula(figure)["update"][1], moved, rtol=1e-3)


def assert_legible(figure):
    """No label covers another, none leaves its picture; the formula stays on the paper."""
    figure.draw_without_rendering()
    ax = figure.axes[0]
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in ax.texts if t.get_gid() != "level"]
    for k, (text, box) in enumerate(boxes):
        frame = ax.get_window_extent()
        assert frame.padded(2).contains(box.x0, box.y0), text
        assert frame.padded(2).contains(box.x1, box.y1), text
        for other, there in boxes[k + 1 :]:
            assert not box.padded(-2).overlaps(there.padded(-2)), (text, other)
    words = [(t.get_text(), t.get_window_extent()) for t in figure.texts]
    for k, (text, box) in enumerate(words):
        assert figure.bbox.contains(box.x0, box.y0), text
        assert figure.bbox.contains(box.x1, box.y1), text
        assert not any(box.padded(-1).overlaps(there.padded(-1)) for _, there in words[k + 1 :]), text
        assert not any(box.overlaps(each.get_tightbbox()) for each in figure.axes), text


@pytest.fixture(scope="module")
def watched_long():
    """The article's neuron with each of the settings, and the map under its paths."""
    problem = ravine.gallery.article()["MSELoss"]
    land = ravine.surface(problem, bias=(-5, 8), weight=(-5, 8), points=41)
    return [watched(problem, **settings) for settings in SETTINGS], land


@pytest.mark.parametrize("style", [*STYLES, pytest.param("every step", marks=pytest.mark.slow)])
def test_labels_find_room(watched_long, style):
    """In each style every setting, each at another step; with ``-m slow`` each at all of them."""
    runs, land = watched_long
    for number, run in enumerate(runs):
        turn = number + number // 4  # two settings at each of these steps
        steps = {"ravine": ((0, 3, 8, 60)[turn % 4],), "every step": (0, 3, 8, 60)}.get(style, (3 + number,))
        for step in steps:
            assert_legible(plot.anatomy(run, land, step, style="ravine" if style == "every step" else style))


def test_a_mini_batch_is_named(article):
    problem = article["MSELoss"]
    run = watched(problem, lr=0.05, momentum=0.9, batch_size=10)
    figure = plot.anatomy(run, ravine.surface(problem, points=41), 5)
    drawn = arrows(figure.axes[0])
    assert set(drawn) == {"update", "velocity", "gradient"}
    assert "on this mini-batch" in title(figure)
    assert formula(figure)["g"][0].startswith("g  mini-batch")


def test_selecting_a_criterion_selects_its_surface(article):
    runs, land = watched(article, lr=0.1, momentum=0.9), ravine.surface(article, points=41)
    one = runs.sel(criterion="L1Loss")
    chosen = plot.anatomy(one, land, 6)
    alone = plot.anatomy(one, land.sel(criterion="L1Loss"), 6)
    assert written(chosen) == written(alone)
    joined = ravine.join({"a": one, "b": watched(article["L1Loss"], Own, lr=0.1)})
    assert update_of(joined.sel(run="a"), 6).why == ""
    assert update_of(joined.sel(run="b"), 6).why == "Own is not torch.optim.SGD"


def test_what_cannot_be_opened_is_said(article):
    problem = article["MSELoss"]
    land = ravine.surface(problem, points=11)
    run = watched(problem, lr=0.1, momentum=0.9, steps=20)
    for step in (-1, 20, 100):
        with pytest.raises(ValueError, match=f"step must be from 0 to 19: each leads to the next, got {step}"):
            plot.anatomy(run, land, step)
    for step in (2.0, True, "3"):
        with pytest.raises(ValueError, match="step must be a whole number"):
            plot.anatomy(run, land, step)
    remedy = r'record it with ravine\.descend\(…, also=\("gradient", "velocity"\)\)'
    with pytest.raises(ValueError, match=f"the study has no gradient, velocity .*{remedy}"):
        plot.anatomy(ravine.descend(problem, lr=0.1, momentum=0.9), land, 3)
    with pytest.raises(ValueError, match=f"the study has no velocity .*{remedy}"):
        plot.anatomy(run.drop_vars("velocity"), land, 3)
    plot.anatomy(watched(problem, lr=0.1).drop_vars("velocity"), land, 3)  # without momentum none is needed
    with pytest.raises(ValueError, match=r"one run expected; .*\.sel\(criterion='MSELoss'\)"):
        plot.anatomy(watched(article, lr=0.1), land, 3)
    with pytest.raises(ValueError, match="one run expected"):
        update_of(watched(article, lr=0.1), 3)
    with pytest.raises(ValueError, match="the study has no 'surface' .*make it with ravine.surface"):
        plot.anatomy(run, run, 3)
    thinned = run.isel(step=[0, 1, 5, 6, 10])
    assert update_of(thinned, 5).step == 5
    assert np.array_equal(update_of(thinned, 5).position, run.position.values[5])
    with pytest.raises(ValueError, match="step must be one of 0, 5"):
        update_of(thinned, 1)
    with pytest.raises(ValueError, match="no two steps in a row"):
        update_of(run.isel(step=[0, 2]), 0)


def test_diverged_steps_name_the_last_finite_one(article):
    problem = article["MSELoss"]
    run = watched(problem, lr=30.0, momentum=0.9, steps=60)
    finite = np.isfinite(run.position.values).all(axis=1) & np.isfinite(run.gradient.values).all(axis=1)
    broken = int(np.flatnonzero(~np.isfinite(run.position.values).all(axis=1))[0])
    last = max(k for k in range(broken) if finite[k] and finite[: k + 1].all() and k + 1 < broken)
    land = ravine.surface(problem, points=11)
    assert written(plot.anatomy(run, land, last)) > 4000
    for step in (broken - 1, broken, 59):
        with pytest.raises(ValueError, match=f"from step {step} to {step + 1} is not finite.*finite update is {last}$"):
            plot.anatomy(run, land, step)


# -- the command line --------------------------------------------------------------------------------------------


def test_descend_writes_what_anatomy_opens(tmp_path):
    def ravine_does(*words):
        return CliRunner().invoke(app, [*map(str, words)])

    study = tmp_path / "run.nc"
    assert ravine_does("descend", "article", "--lr", 0.1, "--momentum", 0.9, "--steps", 9, "-o", study).exit_code == 0
    chosen = ("plot", study, "anatomy", "--at", "criterion=HuberLoss")
    for step in (0, 8):
        drawn = ravine_does(*chosen, "--step", step, "-o", tmp_path / f"{step}.png")
        assert drawn.exit_code == 0, drawn.output
        assert (tmp_path / f"{step}.png").stat().st_size > 20_000
    untold = ravine_does(*chosen)
    assert (untold.exit_code, "say which, as in --step 6" in untold.output) == (2, True)
    beyond = ravine_does(*chosen, "--step", 9)
    assert (beyond.exit_code, "step must be from 0 to 8" in beyond.output) == (2, True)
    for words in (("--optimizer", "Adam"), ("--momentum", 0)):
        again = ravine_does("descend", "rosenbrock", "--lr", 1e-3, *words, "--steps", 4, "-o", study, "--force")
        assert again.exit_code == 0, again.output
        assert "velocity" not in ravine.open(study)
        assert ravine_does("plot", study, "anatomy", "--step", 2, "--force").exit_code == 0


def test_a_run_may_grow_to_the_end_of_its_numbers():
    bowl = ravine.Problem(lambda p: p["x"] ** 2 + 2 * p["y"] ** 2, start={"x": np.float64(1), "y": np.float64(1)})
    run = watched(bowl, lr=1e4, momentum=0.9, steps=80)
    finite = np.isfinite(run.position.values).all(axis=1) & np.isfinite(run.gradient.values).all(axis=1)
    last = int(np.flatnonzero(~finite)[0]) - 1
    land = ravine.surface(bowl, x=(-2, 2), y=(-2, 2), points=21)
    for step in (last - 1, last - 30):
        figure = plot.anatomy(run, land, step)
        assert written(figure) > 4000
        assert np.allclose(
            formula(figure)["update"][1], np.diff(run.position.values[step : step + 2], axis=0), rtol=1e-3
        )


# -- figure 7 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("style", STYLES)
def test_vectors_add_up_in_the_textbooks_frame(settings, style):
    problem = ravine.Problem(
        lambda p: p["x"] ** 2 + 3 * p["y"] ** 2 + p["x"] * p["y"], start={"x": np.float64(2), "y": np.float64(1)}
    )
    settings = settings | {"lr": 0.05}
    run = watched(problem, steps=20, **settings)
    velocity = np.nan_to_num(run.velocity.values)
    frame = run.position.values + 0.05 * settings.get("momentum", 0) * velocity * settings.get("nesterov", False)
    for step in (0, 1, 7, 19):
        drawn = arrows(plot.vectors(run, step, style=style))
        assert np.allclose(drawn["update"][0], frame[step], rtol=1e-12)
        assert np.allclose(drawn["update"][1], frame[step + 1] - frame[step], rtol=1e-9, atol=1e-14)
        total = sum(part for name, (_, part) in drawn.items() if name != "update")
        assert np.allclose(total, drawn["update"][1], rtol=1e-9, atol=1e-14)
        gradient = run.gradient.values[step] * (-1 if settings.get("maximize") else 1)
        kept = 1 - settings.get("dampening", 0) * (step > 0)
        assert np.allclose(drawn["gradient"][1], -0.05 * kept * gradient, rtol=1e-12)


def test_workings_are_aligned():
    from ravine.plot._canvas.style import RAVINE

    run = watched(ravine.gallery.quadratic(), lr=0.1, momentum=0.9, steps=5)
    rows = workings.rows_of(update_of(run, 3), RAVINE)
    lines = [line for line in workings.align_rows(rows, ("x", "a_very_long_name_of_a_parameter")) if line]
    assert lines[0].endswith("…parameter")
    assert len({len(line) for line in lines if line != "the arrows"}) == 1
