"""The page's rules against live torch: every bit of every position and loss."""

from __future__ import annotations

import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

import bare
import ravine
from node import NODE, STATIC, Page
from ravine._explore.standalone import make_page
from ravine._explore.state import digest, make_card, make_proofs, order_of_operations
from ravine._problem.neuron import neuron
from test_bits import CAPABLE

pytestmark = pytest.mark.skipif(NODE is None, reason="no node here")

CRITERIA = {
    "MSELoss": lambda turn: torch.nn.MSELoss(),
    "L1Loss": lambda turn: torch.nn.L1Loss(),
    "HuberLoss": lambda turn: torch.nn.HuberLoss(delta=turn),
    "SmoothL1Loss": lambda turn: torch.nn.SmoothL1Loss(beta=turn),
}
GALLERY = [
    "quadratic",
    "rosenbrock",
    "beale",
    "himmelblau",
    "saddle",
    "styblinski_tang",
]  # Rastrigin's cosine is not torch's


@pytest.fixture(scope="module")
def page():
    running = Page()
    yield running
    running.close()


def random_settings(random, scale=0.1):
    momentum = float(random.choice([0.0, 0.9, random.uniform(0, 1)]))
    nesterov = bool(momentum and random.random() < 0.4)
    return {
        "lr": float(scale * 10 ** random.uniform(-2, 1.5)),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else float(random.choice([0.0, random.uniform(0, 1)])),
        "weight_decay": float(random.choice([0.0, random.uniform(0, 3)])),
        "nesterov": nesterov,
        "maximize": bool(random.random() < 0.1),
    }


def random_neuron(random, dtype, criterion, count):
    turn = float(random.choice([1.0, random.uniform(0.1, 3)]))
    x = torch.tensor(random.normal(size=(count, 1)) * random.uniform(0.1, 3) + random.normal(), dtype=dtype)
    y = torch.tensor(random.normal(size=(count, 1)) * 2, dtype=dtype)
    start = torch.tensor(random.normal(size=2) * 4, dtype=dtype)
    return neuron(start[:1].reshape(1, 1), start[1:]), CRITERIA[criterion](turn), x, y


def same_bits(mine, theirs):
    """Equal in every bit, NaN where it is NaN."""
    mine, theirs = np.asarray(mine), np.asarray(theirs, dtype=np.asarray(mine).dtype)
    return np.array_equal(mine, theirs, equal_nan=True) and np.array_equal(
        np.signbit(mine[~np.isnan(mine)]), np.signbit(theirs[~np.isnan(theirs)])
    )


def off_runs(page, cases):
    """Labels of the runs that are not equal."""
    off = []
    for label, card, start, settings, steps, (positions, losses) in cases:
        position, loss = page.run(card, start, settings, steps)
        if not (same_bits(position, positions) and same_bits(loss, losses)):
            off.append((label, settings, start, steps))
    return off


def neuron_cases(seed, count, sizes, most=50):
    """Random runs of single neurons, of fewer than `most` steps."""
    random = np.random.default_rng(seed)
    for k in range(count):
        dtype, criterion = (torch.float32, torch.float64)[k % 2], list(CRITERIA)[k // 2 % 4]
        points, steps = sizes(random), int(random.integers(1, most))
        model, loss, x, y = random_neuron(random, dtype, criterion, points)
        card = make_card(ravine.Problem.of(model, loss, (x, y)))
        settings = random_settings(random)
        truth = bare.train(model, loss, x, y, steps=steps, **settings)
        yield f"{criterion} {dtype} {points} points", card, card["start"], settings, steps, truth


@pytest.mark.parametrize("count", [96, pytest.param(960, marks=pytest.mark.slow)])
def test_own_data_of_few_and_of_many_points(page, count):
    """Each criterion in each dtype a dozen times; with ``-m slow`` ten dozen."""
    sizes = lambda random: int(random.choice([50, random.integers(1, 40), random.integers(40, 600)]))  # noqa: E731
    assert off_runs(page, neuron_cases(1, count, sizes)) == []


@pytest.mark.parametrize("points", [1, 7, 8, 15, 16, 31, 255, 256, 511, 512, 513, 2047, 4100, 9_999])
def test_sizes_at_which_torch_adds_in_another_way(page, points):
    assert off_runs(page, neuron_cases(points, 8, lambda random: points, most=7)) == []


def test_the_article_over_a_thousand_steps_and_beyond_every_limit(page):
    x, y = (torch.from_numpy(each).reshape(-1, 1) for each in bare.article_data())
    cases = []
    for k, (name, problem) in enumerate(ravine.gallery.article().items()):
        for lr, steps in ((0.1, 1000), (40.0, 300)):
            settings = {
                "lr": lr,
                "momentum": 0.9,
                "dampening": 0.0,
                "weight_decay": 0.5 * (k % 2),
                "nesterov": False,
                "maximize": False,
            }
            start = neuron(torch.tensor([[6.0]]), torch.tensor([-3.0]))
            truth = bare.train(start, CRITERIA[name](1.0), x, y, steps=steps, **settings)
            cases.append((name, make_card(problem), [6.0, -3.0], settings, steps, truth))
    assert any(np.isnan(case[5][1]).any() for case in cases)  # torch itself came to NaN
    assert off_runs(page, cases) == []


@pytest.mark.parametrize("count", [12, pytest.param(120, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery(page, name, count):
    """Half of the runs begin so far away that numbers soon, or at once, are larger than their dtype holds."""
    random = np.random.default_rng(GALLERY.index(name))
    for k in range(2 * count):
        made = (
            ravine.gallery.quadratic(float(random.uniform(1, 300)))
            if name == "quadratic"
            else getattr(ravine.gallery, name)()
        )
        problem = made.in_double() if k % 2 else made
        card, dtype = make_card(problem), problem.start["x"].dtype
        scale = {"rosenbrock": 1e-3, "quadratic": 0.3, "saddle": 0.3}.get(name, 0.01)
        away = 1.0 if k < count else 10.0 ** random.uniform(0, np.log10(torch.finfo(dtype).max) - 1)
        settings, start = random_settings(random, scale), (random.normal(size=2) * 2 * away).tolist()
        leaves = {
            label: torch.tensor(value, dtype=dtype, requires_grad=True)
            for label, value in zip("xy", start, strict=True)
        }
        rule, positions, losses = torch.optim.SGD(leaves.values(), **settings), [], []
        for step in range(41):
            positions.append([leaf.item() for leaf in leaves.values()])
            rule.zero_grad()
            loss = problem.loss(leaves)
            losses.append(loss.item())
            if step < 40:
                loss.backward()
                rule.step()
        position, loss = page.run(card, start, settings, 40)
        assert same_bits(position, positions), (settings, start)
        if CAPABLE:
            assert same_bits(loss, losses), (settings, start)
        else:  # torch's fourth power is another function there
            assert np.allclose(loss, losses, rtol=1000 * torch.finfo(dtype).eps, atol=0.0, equal_nan=True)


def test_rastrigin_is_near(page):
    problem = ravine.gallery.rastrigin()
    settings = {
        "lr": 0.002,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    }
    run = ravine.descend(problem, lr=0.002, steps=50)
    position, _ = page.run(make_card(problem), make_card(problem)["start"], settings, 50)
    np.testing.assert_allclose(position, run.position.values, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_rounding_for_product_and_sum(page, dtype):
    random, numbers = np.random.default_rng(5), np.dtype(dtype).type
    triples = []
    for _ in range(3000):
        spread = (
            random.uniform(-30, 30, 2)
            if dtype == "float32"
            else random.uniform(-300, 300, 2) * random.choice([0.02, 1.0])
        )
        a, b = (numbers(random.normal() * 2.0**e) for e in spread)
        near = (
            -numbers(a) * numbers(b) * numbers(1 + random.choice([0, 1e-7, 1e-15]))
            if random.random() < 0.6
            else random.normal()
        )
        triples.append([float(a), float(b), float(numbers(near))])
    triples = [t for t in triples if np.isfinite(t).all() and abs(t[0] * t[1]) < float(np.finfo(dtype).max)]
    found = page.ask("fma", dtype=dtype, triples=triples)
    for (a, b, c), mine in zip(triples, found, strict=True):
        exact, mine = Fraction(a) * Fraction(b) + Fraction(c), float(mine)  # JSON writes 1e18 as a whole number
        if abs(exact) > Fraction(float(np.finfo(dtype).max)):
            continue
        assert abs(exact) < Fraction(float(np.finfo(dtype).tiny)) or mine == nearest(exact, dtype), (a, b, c)


def nearest(exact, dtype):
    """Round a fraction once."""
    if dtype == "float64":
        return exact.numerator / exact.denominator  # Python rounds the quotient of whole numbers once
    kind = np.float32
    first = kind(exact.numerator / exact.denominator)
    around = [np.nextafter(first, kind(-np.inf)), first, np.nextafter(first, kind(np.inf))]
    even = lambda v: int(np.asarray(v).view(np.int32)) % 2  # noqa: E731
    return float(min(around, key=lambda v: (abs(Fraction(float(v)) - exact), even(v))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_is_torchs(page, dtype):
    random = np.random.default_rng(2)
    for count in [*range(1, 70), 127, 128, 255, 256, 257, 511, 512, 1000, 1023, 2048, 4095, 5000, 9999]:
        values = random.normal(size=count).astype(dtype) * 100
        assert page.ask("sum", dtype=dtype, values=values.tolist()) == torch.from_numpy(values).sum().item(), count


ADAPTIVE = {
    "Adam": lambda random: {
        "beta1": float(random.choice([0.9, random.uniform(0, 0.99)])),
        "beta2": float(random.choice([0.999, random.uniform(0.5, 1)])),
        "eps": float(random.choice([1e-8, 10 ** random.uniform(-6, 0)])),
        "amsgrad": bool(random.random() < 0.5),
    },
    "RMSprop": lambda random: {
        "alpha": float(random.choice([0.99, random.uniform(0.5, 1)])),
        "momentum": float(random.choice([0.0, 0.9])),
        "eps": float(random.choice([1e-8, 10 ** random.uniform(-6, 0)])),
        "centered": bool(random.random() < 0.5),
    },
    "Adagrad": lambda random: {
        "lr_decay": float(random.choice([0.0, random.uniform(0, 1)])),
        "initial_accumulator_value": float(random.choice([0.0, random.uniform(0, 5)])),
        "eps": float(random.choice([1e-10, 10 ** random.uniform(-6, 0)])),
    },
}
ADAPTIVE["AdamW"] = ADAPTIVE["Adam"]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_other_optimizers_where_a_root_is_rounded_once(page, name, monkeypatch):
    """On some processors the library's square root is off by a last bit: all other operations are compared here."""
    root = lambda tensor: torch.from_numpy(np.asarray(np.sqrt(tensor.detach().numpy())))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "sqrt", root)
    monkeypatch.setattr(torch.Tensor, "sqrt_", lambda tensor: tensor.copy_(root(tensor)))
    random, problems, equal = np.random.default_rng(3), list(ravine.gallery.article().values()), 0
    for k in range(24):
        problem = ravine.gallery.himmelblau() if k % 6 == 5 else problems[k % 4]
        problem = problem.in_double() if k % 2 else problem
        own = ADAPTIVE[name](random)
        common = {"lr": float(0.1 * 10 ** random.uniform(-1, 1)), "maximize": bool(random.random() < 0.1)}
        common["weight_decay"] = float(random.choice([0.0, random.uniform(0, 2)]))
        card, asked = make_card(problem), {"optimizer": name, "momentum": 0.0, **common, **own}
        run = ravine.descend(problem, name, steps=40, **common, **as_torch(own))
        position, loss = page.run(card, card["start"], asked, 40)
        equal += same_bits(position, run.position.values) and same_bits(loss, run.loss.values)
        np.testing.assert_allclose(position, run.position.values, rtol=1e-12 if k % 2 else 1e-5, atol=1e-5)
    assert equal >= 22  # powers of beta may differ in a last bit


def as_torch(settings):
    betas = {"betas": (settings["beta1"], settings["beta2"])} if "beta1" in settings else {}
    return {name: value for name, value in settings.items() if "beta" not in name} | betas


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {"beta1": 1.0}),
        ("AdamW", {"beta2": -0.5}),
        ("Adam", {"lr": -1.0, "beta1": 2.0}),
        ("RMSprop", {"alpha": -1.0}),
        ("RMSprop", {"momentum": -0.1, "alpha": -1.0}),
        ("Adagrad", {"weight_decay": -1.0}),
        ("Adagrad", {"weight_decay": -1.0, "eps": -1.0}),
        ("Adagrad", {"initial_accumulator_value": -1.0, "eps": -1.0}),
        ("Adagrad", {"lr_decay": -0.5, "weight_decay": -1.0}),
        ("Adam", {"eps": -1.0, "beta1": 2.0}),
        ("RMSprop", {"eps": -1.0, "momentum": -1.0}),
        ("Adagrad", {"lr": 0.0}),
    ],
)
def test_what_other_optimizers_refuse_in_torchs_words(page, name, settings):
    usual = {"Adam": {"beta1": 0.9, "beta2": 0.999}, "RMSprop": {"alpha": 0.99, "momentum": 0.0}}
    own = {**usual.get(name.removesuffix("W"), {}), "lr": 0.1, "weight_decay": 0.0, **settings}
    said = ""
    try:
        getattr(torch.optim, name)([torch.zeros(1)], **as_torch(own))
    except ValueError as reason:
        said = str(reason)
    assert page.ask("refusal", settings={"optimizer": name, **own}) == said


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -0.1},
        {"momentum": -1.0},
        {"weight_decay": -1e-5},
        {"nesterov": True},
        {"nesterov": True, "momentum": 0.5, "dampening": 0.1},
        {},
    ],
)
def test_refused_settings_in_torchs_words(page, settings):
    full = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, **settings}
    try:
        torch.optim.SGD([torch.zeros(1)], **full)
        said = ""
    except ValueError as reason:
        said = str(reason)
    assert page.ask("refusal", settings=full) == said


# ---- the page's own proof -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given():
    return make_page(ravine.gallery.article(), "article")


def test_the_page_proves_itself(page, given):
    results = page.ask("proof", proofs=given["proofs"], cards=given["cards"])
    plain = [
        (proof["of"], found)
        for proof, found in zip(given["proofs"], results, strict=True)
        if "optimizer" not in proof["settings"]
    ]
    assert {name for name, found in plain if not found["equal"]} <= {"rastrigin"}
    assert sum(name in ("article", "") for name, _ in plain) == 24
    assert all(found["off"] < 1e-3 for found in results)  # of the other optimizers too, whose root is the library's
    assert {proof["of"] for proof in given["proofs"]} == {*ravine.gallery.__all__, ""}


CHANGES = [
    (
        "neuron.js",
        "out.loss = round(sum(data.losses, n) / n);",
        "out.loss = round(sum(data.losses, n) * round(1 / n));",
    ),
    ("arithmetic.js", "fround(fround(fround(p0 + p1) + p2) + p3)", "fround(fround(p0 + p1) + fround(p2 + p3))"),
    ("sgd.js", "vp = k === 0 ? gp :", "vp = k === 0 ? round(kept * gp) :"),
]


@pytest.mark.parametrize(("name", "old", "new"), CHANGES, ids=["mean", "sum", "first push"])
def test_the_proof_fails_when_one_operation_is_changed(given, tmp_path, name, old, new):
    folder = tmp_path / "static"
    shutil.copytree(STATIC, folder)
    source = (folder / name).read_text()
    assert old in source
    (folder / name).write_text(source.replace(old, new))
    changed = Page(folder)
    results = changed.ask("proof", proofs=given["proofs"][:24], cards=given["cards"])
    changed.close()
    assert not all(each["equal"] for each in results)
    assert all(0 <= each["off"] <= np.inf for each in results)


def test_proofs_are_torchs_runs():
    problems = ravine.gallery.article()
    for proof in make_proofs(problems, make_card(problems, "article"), count=6):
        if proof["of"]:
            problem = list(problems.values())[proof["panel"]].starting_at(
                dict(zip(("weight", "bias"), proof["start"], strict=True))
            )
            run = ravine.descend(problem, steps=proof["steps"], **proof["settings"])
            assert digest(run.position.values, run.loss.values) == proof["digest"]


def test_the_order_is_asked_of_torch_once():
    assert order_of_operations() is order_of_operations()
    x, y = bare.article_data()
    slopes = (2 / 50) * (6 * x - 3 - y)
    fused = split = np.float32(0)
    for slope, each in zip(slopes.astype(np.float32), x, strict=True):
        exact = Fraction(float(slope)) * Fraction(float(each)) + Fraction(float(fused))
        fused, split = np.float32(nearest(exact, "float32")), np.float32(split + slope * each)
    weight = torch.zeros(1, 1, requires_grad=True)
    torch.nn.functional.linear(torch.from_numpy(x).reshape(-1, 1), weight).backward(
        torch.from_numpy(slopes.astype(np.float32)).reshape(-1, 1)
    )
    assert weight.grad.item() == {"fused": fused, "split": split}[order_of_operations()["gradient"]]
