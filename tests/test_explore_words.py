"""The page's theory, minima and sentences against Python's, word for word."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

import ravine
from node import NODE, Page
from ravine import _format, theory
from ravine._explore.state import GOOD_LR, make_card
from ravine._findings.explain import shape_of
from ravine._findings.finding import LOCALLY
from ravine._problem.neuron import neuron

pytestmark = [pytest.mark.skipif(NODE is None, reason="no node here"), pytest.mark.filterwarnings("ignore")]

NOT_PORTED = {"no curvature"}  # it names calls of Python's


@pytest.fixture(scope="module")
def page():
    running = Page()
    yield running
    running.close()


article = functools.cache(ravine.gallery.article)


def flat(dtype):
    return neuron(torch.zeros(1, 1, dtype=dtype), torch.zeros(1, dtype=dtype))


def random_settings(random, scale):
    momentum = float(random.choice([0.0, 0.9, round(random.uniform(0, 1), 2)]))
    nesterov = bool(momentum and random.random() < 0.4)
    return {
        "lr": float(f"{scale * 10 ** random.uniform(-1.5, 1):.3g}"),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else float(random.choice([0.0, round(random.uniform(0, 1.1), 2)])),
        "weight_decay": float(random.choice([0.0, round(random.uniform(0, 3), 2)])),
        "nesterov": nesterov,
        "maximize": bool(random.random() < 0.05),
    }


def random_problem(random, k):
    if k % 3 == 0:
        return list(article().values())[int(random.integers(4))], 0.1
    if k % 3 == 1:
        known = sorted({*ravine.gallery.__all__} - {"article", "rastrigin"})  # the browser's cosine is not torch's
        name = known[int(random.integers(len(known)))]
        arguments = {"condition": round(float(random.uniform(1, 50)), 1)} if name == "quadratic" else {}
        return getattr(ravine.gallery, name)(**arguments), GOOD_LR.get(name, 0.1)
    dtype, count = (torch.float32, torch.float64)[int(random.integers(2))], int(random.choice([3, 10, 50]))
    x = torch.tensor((random.normal(size=(count, 1)) * random.uniform(0.2, 2) + random.normal()).round(2), dtype=dtype)
    y = torch.tensor((random.normal(size=(count, 1)) * 2 + 1).round(2), dtype=dtype)
    turn = round(float(random.uniform(0.2, 2)), 2)
    criteria = [torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(delta=turn), torch.nn.SmoothL1Loss(beta=turn)]
    return ravine.Problem.of(flat(dtype), criteria[int(random.integers(4))], (x, y)), 0.1


def both(page, problem, start, settings, steps):
    """What explain and the page say of one run, and the sentence that explains its shape."""
    run = ravine.descend(problem.starting_at(dict(zip(problem.start, start, strict=True))), steps=steps, **settings)
    said = [[each.kind, each.told] for each in ravine.explain(run) if each.kind not in NOT_PORTED]
    shape = shape_of(run)
    found = page.ask(
        "explain", card=make_card(problem), panel=0, turned={}, start=start, settings=settings, steps=steps
    )
    return (said, shape and shape.told), (found["findings"], found["shape"])


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_every_sentence_is_that_of_explain(page, seed):
    random, kinds = np.random.default_rng(100 + seed), set()
    for k in range(30):
        problem, scale = random_problem(random, k)
        card = make_card(problem)
        start = (np.array(card["start"]) + random.normal(size=2) * 0.5 * (random.random() < 0.7)).round(2).tolist()
        settings, steps = random_settings(random, scale), int(random.choice([100, 30, 7, 1, 300]))
        theirs, mine = both(page, problem, start, settings, steps)
        assert mine == theirs, (card["name"], settings, start, steps)
        kinds |= {kind for kind, _ in mine[0]}
    assert len(kinds) >= 10  # else little was compared


def far_settings(random, scale):
    """As `random_settings`, up to a hundred times the usual lr, with dampening and momentum more often."""
    settings = random_settings(random, scale) | {"lr": float(f"{scale * 10 ** random.uniform(-2.5, 2):.3g}")}
    settings["momentum"] = float(random.choice([settings["momentum"], 0.9, 0.99]))
    if not settings["nesterov"]:
        settings["dampening"] = float(random.choice([settings["dampening"], 0.8]))
    return settings


def narrow_problem(random):
    """A line over inputs that lie far from 0: its loss is hardly bent along one direction."""
    dtype, turn = (torch.float32, torch.float64)[int(random.integers(2))], round(float(random.uniform(0.2, 2)), 2)
    spread, far = 10 ** random.uniform(-1, 2), float(random.choice([20.0, 300.0]))
    x = torch.tensor((random.normal(size=(12, 1)) * spread + far).round(1), dtype=dtype)
    y = torch.tensor((random.normal(size=(12, 1)) * 3).round(1) + (x.numpy() / 100).round(1), dtype=dtype)
    criteria = [torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(delta=turn), torch.nn.SmoothL1Loss(beta=turn)]
    problem = ravine.Problem.of(flat(dtype), criteria[int(random.integers(4))], (x, y))
    return problem, make_card(problem)["lr"]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_every_sentence_from_afar_and_over_many_steps(page, seed):
    random, kinds = np.random.default_rng(200 + seed), set()
    for k in range(40):
        narrow = k % 4 == 3
        problem, scale = narrow_problem(random) if narrow else random_problem(random, k)
        card, away = make_card(problem), float(random.choice([0.0, 3.0, 30.0]))
        start = (np.array(card["start"]) + random.normal(size=2) * away).round(2).tolist()
        settings, steps = far_settings(random, scale), int(random.choice([1, 2, 30, 300, 1000]))
        if narrow:
            settings["weight_decay"] = 0.0  # under it the page is not certain of minima that Python finds
        theirs, mine = both(page, problem, start, settings, steps)
        assert mine == theirs, (card["name"], settings, start, steps)
        kinds |= {kind for kind, _ in mine[0]}
    assert kinds >= {"dampening", "swing", "diverged"}


@pytest.mark.parametrize("criterion", ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_flat_direction_that_has_hardly_moved(page, criterion, momentum):
    x = torch.arange(100.0, 160.0, 5.0).reshape(-1, 1)
    made = {"HuberLoss": {"delta": 0.5}, "SmoothL1Loss": {"beta": 2.0}}.get(criterion, {})
    problem = ravine.Problem.of(
        flat(torch.float32), getattr(torch.nn, criterion)(**made), (x, 0.5 * x - 5 + torch.sin(x))
    )
    settings = {"lr": 1e-5, "momentum": momentum, "dampening": 0.0, "weight_decay": 0.0}
    settings |= {"nesterov": False, "maximize": False}
    theirs, mine = both(page, problem, [0.0, 3.0], settings, 1000)
    assert mine == theirs
    assert "With standardized columns the condition number is 1." in dict(mine[0])["unmoved"]


HOME = [("himmelblau", lr, steps, 0.0) for lr in (0.005, 0.0076, 0.008, 0.01) for steps in (300, 1000)]
UNDAMPENED = [("article", lr, 100, dampening) for lr in (1.2, 1.9, 2.5, 6.0) for dampening in (0.5, 0.8)]


@pytest.mark.parametrize(
    ("name", "lr", "momentum"),
    [("styblinski_tang", 0.01, 0.0), ("rastrigin", 0.002, 0.0), ("rastrigin", 0.002, 0.5), ("himmelblau", 0.01, 0.9)],
)
def test_what_rests_in_another_minimum(page, name, lr, momentum):
    problem = getattr(ravine.gallery, name)()
    settings = {"lr": lr, "momentum": momentum, "dampening": 0.0, "weight_decay": 0.0}
    settings |= {"nesterov": False, "maximize": False}
    theirs, mine = both(page, problem, make_card(problem)["start"], settings, 300)
    assert mine == theirs
    if name != "himmelblau":
        assert "at a minimum of its own, or on a plateau" in theirs[0][0][1]


@pytest.mark.parametrize(("name", "lr", "steps", "dampening"), [*HOME, *UNDAMPENED])
def test_what_rests_at_a_minimum_and_what_diverged_without_dampening(page, name, lr, steps, dampening):
    problem = getattr(ravine.gallery, name)()
    problem = problem["MSELoss"] if name == "article" else problem
    settings = {"lr": lr, "momentum": 0.9 * bool(dampening), "dampening": dampening, "weight_decay": 0.0}
    settings |= {"nesterov": False, "maximize": False}
    theirs, mine = both(page, problem, make_card(problem)["start"], settings, steps)
    assert mine == theirs
    assert "still" not in {kind for kind, _ in mine[0]}
    assert not (lr > 1.85 and "die no faster" in str(mine))  # without dampening it diverges from there on


OTHERS = {
    "Adam": {"beta1": 0.9, "beta2": 0.999},
    "AdamW": {"beta1": 0.9, "beta2": 0.99},
    "RMSprop": {"alpha": 0.9, "momentum": 0.5},
    "Adagrad": {},
}


@pytest.mark.parametrize("name", OTHERS)
def test_of_other_optimizers_nothing_is_said_that_only_sgd_does(page, name):
    random, kinds = np.random.default_rng(17), set()
    for k in range(10):
        problem, _ = random_problem(random, k)
        problem = problem.in_double()  # the library's square root in float32 is no sentence's matter
        common = {"lr": float(f"{0.1 * 10 ** random.uniform(-1, 0.3):.3g}"), "maximize": k == 7}
        common["weight_decay"] = float(random.choice([0.0, round(random.uniform(0, 2), 2)]))
        own, card, steps = OTHERS[name], make_card(problem), int(random.choice([100, 30, 300]))
        betas = {"betas": (own["beta1"], own["beta2"])} if "beta1" in own else own
        run = ravine.descend(problem, name, steps=steps, **common, **betas)
        said = [[each.kind, each.told] for each in ravine.explain(run) if each.kind not in NOT_PORTED]
        shape = shape_of(run)
        settings = {"optimizer": name, "momentum": 0.0, "dampening": 0.0, "nesterov": False, **common, **own}
        asked = {"start": card["start"], "settings": settings, "steps": steps}
        found = page.ask("explain", card=card, panel=0, turned={}, **asked)
        assert found["findings"] == said, (card["name"], common, steps)
        assert found["shape"] == (shape and shape.told)
        kinds |= {kind for kind, _ in said}
    assert {"arrival", "climb"} <= kinds
    assert ("decoupled" in kinds) is (name == "AdamW")


SAID = {
    "still": {"lr": 0.0},
    "swing": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "goal": {"weight_decay": 2.0},
    "dampening": {"momentum": 0.9, "dampening": 0.8},
    "beyond the limit": {"lr": 0.8, "momentum": 0.9, "nesterov": True},
    "bend": {"lr": 0.03},
    "climb": {"maximize": True},
    "diverged": {"lr": 3.0},
    "floor": {"lr": 0.5},
}


@pytest.mark.parametrize("kind", SAID)
def test_kinds_that_people_come_for(page, kind):
    settings = {
        "lr": 0.1,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
        **SAID[kind],
    }
    theirs, mine = both(page, article()["MSELoss"], [6.0, -3.0], settings, 100)
    assert mine == theirs
    assert kind in {each for each, _ in mine[0]}


@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"lr": 0.01, "weight_decay": 0.5}, {"lr": 0.01}], ids=str)
def test_a_momentum_above_1(page, settings):
    settings = {
        "momentum": 1.02,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    } | settings
    theirs, mine = both(page, article()["MSELoss"], [6.0, -3.0], settings, 100)
    assert mine == theirs
    assert "diverged" in {each for each, _ in mine[0]}


@pytest.mark.parametrize(("kind", "lr"), [("jitter", 0.3), ("bounded slope", 0.1)])
def test_what_slopes_that_do_not_fade_do(page, kind, lr):
    settings = {"lr": lr, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    theirs, mine = both(page, article()["L1Loss"], [6.0, -3.0], settings, 200)
    assert mine == theirs
    assert kind in {each for each, _ in mine[0]}


def test_brief_sentences_are_beginnings_that_fit_and_are_pythons(page):
    random, found = np.random.default_rng(11), []
    for k in range(24):
        problem, scale = random_problem(random, k)
        settings = random_settings(random, scale) | {"maximize": False}
        found += ravine.explain(ravine.descend(problem, **settings))
    told = [each.brief for each in found]
    assert page.ask("brief", sentences=[each.sentence for each in found]) == told
    assert any(brief != each.sentence for brief, each in zip(told, found, strict=True))
    assert any(brief.startswith("lr ") and brief != each.sentence for brief, each in zip(told, found, strict=True))
    assert not any(brief.startswith("Lr") for brief in told)  # a setting is written as it is typed
    for brief, each in zip(told, found, strict=True):
        bare = each.sentence if len(each.sentence) <= 100 else each.sentence.removeprefix(LOCALLY)
        assert bare.lower().startswith(brief[:-1].lower())
        assert brief.endswith(".")
        assert len(brief) <= 100 or brief.lower() == bare.lower()
    assert any(LOCALLY in each.sentence and LOCALLY not in brief for brief, each in zip(told, found, strict=True))


@pytest.mark.parametrize("name", OTHERS)
def test_the_script_of_another_optimizer(page, name, capsys):
    card, settings = (
        make_card(article()["MSELoss"]),
        {"optimizer": name, "momentum": 0.0, **OTHERS[name]},
    )
    state = {"start": [6.0, -3.0], "steps": 20, "lr": 0.05, "weight_decay": 0.5, "maximize": False, **settings}
    text = page.ask("script", card=card, panel=0, state=state)
    with torch.random.fork_rng():
        exec(text, {})
    _, loss = page.run(card, [6.0, -3.0], {name: state[name] for name in state if name not in ("start", "steps")}, 20)
    assert float(capsys.readouterr().out) == pytest.approx(float(loss[-1]), rel=1e-5)
    assert f"torch.optim.{name}(model.parameters(), lr=0.05, " in text


@pytest.mark.parametrize("name", ["MSELoss", "HuberLoss", "quadratic"])
def test_the_script_prints_the_last_loss_of_the_run(page, name, capsys):
    problem = ravine.gallery.quadratic(condition=7) if name == "quadratic" else article()[name]
    settings = {"lr": 0.05, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.5, "nesterov": True, "maximize": False}
    card = make_card(problem)
    state = {**settings, "start": card["start"], "steps": 30, "delta": 0.7, "condition": 7.0}
    with torch.random.fork_rng():  # torch.nn.Linear draws
        exec(page.ask("script", card=card, panel=0, state=state), {})  # the text is the page's own
    _, loss = page.run(card, card["start"], settings, 30, turned={"delta": 0.7, "condition": 7.0})
    assert np.float32(capsys.readouterr().out) == loss[-1]


# ---- what the sentences stand on ------------------------------------------------------------------


def test_theory(page):
    random, asked, names = np.random.default_rng(3), [], ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    for _ in range(100):
        settings = random_settings(random, 0.3)
        if settings["nesterov"]:
            settings["dampening"] = 0.0
        asked.append([float(10 ** random.uniform(-3, 2)), {name: settings[name] for name in names}])
    for mine, theirs in (("rate", theory.rate), ("period", theory.period), ("halfLife", theory.half_life)):
        found = page.ask("theory", name=mine, args=asked)
        np.testing.assert_allclose(found, [theirs(curvature, **settings) for curvature, settings in asked], rtol=1e-12)
    pairs = [[[curvature, curvature * 7], settings] for curvature, settings in asked]
    bare = [{k: v for k, v in settings.items() if k != "lr"} for _, settings in pairs]
    expected = [theory.stability_limit(pair, **rest) for (pair, _), rest in zip(pairs, bare, strict=True)]
    np.testing.assert_allclose(page.ask("theory", name="stabilityLimit", args=pairs), expected, rtol=1e-12)
    best = [theory.best_lr(pair, **rest).lr for (pair, _), rest in zip(pairs, bare, strict=True)]
    np.testing.assert_allclose(page.ask("theory", name="bestLr", args=pairs), best, rtol=1e-9)
    momenta = [
        theory.best_momentum(
            pair, lr=s["lr"], dampening=s["dampening"], weight_decay=s["weight_decay"], nesterov=s["nesterov"]
        ).momentum
        for pair, s in pairs
        if s["dampening"] < 1
    ]
    sound = [each for each in pairs if each[1]["dampening"] < 1]
    found = [each["momentum"] for each in page.ask("theory", name="bestMomentum", args=sound)]
    np.testing.assert_allclose(found, momenta, rtol=1e-9)


NUMBERS = [
    0.97565,
    12.0,
    1234567.0,
    2.5e-7,
    1e9,
    344.0,
    999.9,
    0.125,
    2.5,
    0.5,
    100.0,
    1e-5,
    99995.0,
    0.0,
    -3.25,
    1e22,
    37.0,
    122.0,
    9.5,
    0.0625,
]


@pytest.mark.parametrize(
    ("mine", "theirs", "digits"),
    [("number", _format.number, 3), ("number", _format.number, 2), ("number", _format.number, 4)],
)
def test_numbers_as_python_writes_them(page, mine, theirs, digits):
    random = np.random.default_rng(0)
    values = NUMBERS + [float(10 ** random.uniform(-8, 9)) for _ in range(500)] + [k / 32 for k in range(1, 400)]
    found = page.ask("format", name=mine, args=[[value, digits] for value in values])
    assert found == [theirs(value, digits) for value in values]


def test_bounds_and_pairs_as_python_writes_them(page):
    random = np.random.default_rng(1)
    values = [v for v in NUMBERS if v] + [float(10 ** random.uniform(-8, 9)) for _ in range(300)] + [0.1, 0.3, 0.7, 1.1]
    for mine, theirs in (("atMost", _format.at_most), ("atLeast", _format.at_least)):
        for digits in (2, 3):
            found = page.ask("format", name=mine, args=[[value, digits] for value in values])
            assert found == [theirs(value, digits) for value in values]
    pairs = [[a, a * (1 + 10.0 ** -float(random.uniform(0, 12)))] for a in values] + [[0.5, 0.5], [2.0, 1.0]]
    found = page.ask("format", name="toldApart", args=pairs)
    assert [each and tuple(each) for each in found] == [_format.told_apart(*pair) for pair in pairs]


def test_shares_and_factors_as_python_writes_them(page):
    values = [0.0513, 0.9999, 1 - 1e-8, 1.0, 0.99, 0.005, 0.125, 1e-5, 3.7, 0.5, 0.25, 130.2, 9.757, 14.1, 2.25]
    assert page.ask("format", name="percent", args=[[v] for v in values]) == [_format.percent(v) for v in values]
    assert page.ask("format", name="times", args=[[v] for v in values]) == [_format.times(v) for v in values]


@pytest.mark.parametrize("criterion", ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"])
@pytest.mark.parametrize("decay", [0.0, 0.3, 2.0])
def test_minima_of_neurons(page, criterion, decay):
    random = np.random.default_rng(7)
    made = {"HuberLoss": {"delta": 0.7}, "SmoothL1Loss": {"beta": 0.4}}.get(criterion, {})
    for count in (3, 8, 50, 201):
        x = torch.tensor((random.normal(size=(count, 1)) * 3 + 10).round(3))
        y = torch.tensor((x.numpy() * 2 - 5 + random.standard_cauchy(size=(count, 1))).round(3))
        problem = ravine.Problem.of(flat(torch.float64), getattr(torch.nn, criterion)(**made), (x, y))
        truth = ravine.landmarks(problem, decay)
        found = page.ask("minimum", card=make_card(problem), panel=0, decay=decay)
        np.testing.assert_allclose(found["minimum"], truth.minimum_loss, rtol=1e-11)
        if "only place" not in truth.minimizer.attrs["provenance"]:
            np.testing.assert_allclose(found["place"], truth.minimizer, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["quadratic", "rosenbrock", "beale", "himmelblau", "styblinski_tang", "rastrigin"])
def test_minima_of_the_gallery(page, name):
    problem = getattr(ravine.gallery, name)()
    for decay in (0.0, 0.05, 1.0):
        end = [float(problem.minimizers[-1][label]) + 0.1 for label in "xy"]
        near = dict(problem.minimizers[-1])
        truth = ravine.landmarks(problem, decay, near=near)
        found = page.ask("minimum", card=make_card(problem), panel=0, decay=decay, end=end)
        np.testing.assert_allclose(found["place"], truth.minimizer, rtol=1e-7, atol=1e-9)
        hessian = truth.hessian.values
        np.testing.assert_allclose(
            found["hessian"], [hessian[0, 0], hessian[0, 1], hessian[1, 1]], rtol=1e-6, atol=1e-9
        )


def test_points_above_one_another_have_no_minimum_of_their_own(page):
    x, y = torch.ones(5, 1), torch.arange(5.0).reshape(-1, 1)
    problem = ravine.Problem.of(flat(torch.float32), torch.nn.MSELoss(), (x, y))
    assert page.ask("minimum", card=make_card(problem), panel=0, decay=0.0) is None


def test_cards_say_what_the_page_can_compute():
    article = make_card(ravine.gallery.article(), "article")
    assert (article["family"], article["axes"], len(article["inputs"])) == ("neuron", ["bias", "weight"], 50)
    assert make_card(ravine.gallery.rosenbrock().in_double())["dtype"] == "float64"
    mine = ravine.Problem(lambda p: p["x"] ** 2 + p["y"] ** 2, {"x": 1.0, "y": 1.0})
    assert make_card(mine)["family"] == "python"
    x = torch.arange(6.0).reshape(-1, 1)
    for criterion in (torch.nn.MSELoss(reduction="sum"), torch.nn.BCEWithLogitsLoss(), torch.nn.SmoothL1Loss(beta=0.0)):
        assert make_card(ravine.Problem.of(flat(torch.float32), criterion, (x, x / 6)))["family"] == "python"
    assert all(math.isfinite(each) for each in article["start"])


def test_a_learning_rate_to_begin_with_that_does_not_diverge():
    x = torch.arange(100.0, 160.0).reshape(-1, 1)
    problem = ravine.Problem.of(flat(torch.float32), torch.nn.MSELoss(), (x, 2 * x))
    lr = make_card(problem)["lr"]
    assert not bool(ravine.measure.diverged(ravine.descend(problem, lr=lr)))
    assert bool(ravine.measure.diverged(ravine.descend(problem, lr=20 * lr)))
