"""landmarks: minima against independent solvers, NaN where there is none; derivatives against plain autograd."""

from __future__ import annotations

import gc
import itertools
import weakref
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import torch

import bare
import ravine
from ravine._landscape.surface import slopes
from ravine._study import contract, provenance
from ravine.curvature import hessian, hessian_product, top_eigenpairs

CRITERIA = {
    "mse": torch.nn.MSELoss(),
    "l1": torch.nn.L1Loss(),
    "huber": torch.nn.HuberLoss(),
    "smooth": torch.nn.SmoothL1Loss(),
    "huber .3": torch.nn.HuberLoss(delta=0.3),
    "smooth 2": torch.nn.SmoothL1Loss(beta=2.0),
    "smooth 0": torch.nn.SmoothL1Loss(beta=0.0),
    "l1 sum": torch.nn.L1Loss(reduction="sum"),
    "mse sum": torch.nn.MSELoss(reduction="sum"),
    "huber 1e-6 sum": torch.nn.HuberLoss(reduction="sum", delta=1e-6),
}


def cost(criterion, residual):
    """What a criterion makes of residuals, written out."""
    size, kind = np.abs(residual), type(criterion).__name__
    if kind == "MSELoss":
        each = size**2
    elif kind == "L1Loss" or (kind == "SmoothL1Loss" and criterion.beta == 0):
        each = size
    elif kind == "HuberLoss":
        each = np.where(size < criterion.delta, size**2 / 2, criterion.delta * (size - criterion.delta / 2))
    else:
        each = np.where(size < criterion.beta, size**2 / (2 * criterion.beta), size - criterion.beta / 2)
    return each.mean(-1) if criterion.reduction == "mean" else each.sum(-1)


def linear(inputs, targets, criterion, dtype=torch.float32, bias=True):
    inputs, targets = torch.tensor(inputs, dtype=dtype), torch.tensor(targets, dtype=dtype)
    model = torch.nn.utils.skip_init(torch.nn.Linear, inputs.shape[1], targets.shape[1], bias=bias, dtype=dtype)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    return ravine.Problem.of(model, criterion, (inputs, targets))


def design_of(problem):
    inputs = problem.parts.inputs.double().numpy()
    return np.hstack([inputs, np.ones((len(inputs), 1))]), problem.parts.targets.double().numpy()[:, 0]


def scope(found):
    return provenance.describe(found, "minimizer")["scope"]


def vector(problem, place):
    """A flat place as leaves in float64, for plain autograd."""
    shapes = [value.shape for value in problem.start.values()]
    pieces = torch.tensor(place).split([shape.numel() for shape in shapes])
    return {n: p.reshape(s) for n, p, s in zip(problem.start, pieces, shapes, strict=True)}


# ---------------------------------------------------------------------------------------------- linear models


def test_the_article_to_all_printed_digits(article):
    found = ravine.landmarks(article["MSELoss"])
    assert np.abs(found.minimizer.values - [0.92582731926873609, 2.48438424529315239]).max() <= 4.5e-16
    assert abs(float(found.minimum_loss) - 0.49944128134986410) <= 1.2e-16
    assert np.allclose(found.hessian, [[1.3412582826, -0.1880619500], [-0.1880619500, 2]], atol=1e-10)
    assert np.allclose(np.linalg.eigvalsh(found.hessian), [1.29135027348653, 2.04990800913520], atol=1e-14)
    assert scope(found) == "exact"


@pytest.mark.parametrize("decay", [0, 2])
def test_the_mean_square_in_rational_numbers(article, decay):
    x, y = ([Fraction(float(v)) for v in data] for data in bare.article_data())
    n = len(x)
    a, b, d = 2 * sum(u * u for u in x) / n + decay, 2 * sum(x) / n, Fraction(2 + decay)
    e, f = 2 * sum(u * v for u, v in zip(x, y, strict=True)) / n, 2 * sum(y) / n
    weight, bias = (e * d - b * f) / (a * d - b * b), (a * f - b * e) / (a * d - b * b)
    least = sum((weight * u + bias - v) ** 2 for u, v in zip(x, y, strict=True)) / n
    least += Fraction(decay, 2) * (weight**2 + bias**2)
    found = ravine.landmarks(article["MSELoss"], decay)
    assert np.allclose(found.minimizer, [float(weight), float(bias)], rtol=4e-16, atol=0)
    assert np.isclose(float(found.minimum_loss), float(least), rtol=4e-16, atol=0)


def test_what_the_article_reaches_with_decay(article):
    found = ravine.landmarks(article, [0, 2])
    places = found.minimizer.values.round(4).tolist()
    assert places[0] == [[0.9258, 2.4844], [0.3001, 1.2128]]
    assert places[1] == [[0.8058, 2.3403], [-0.0470, 0.5000]]
    assert places[2] == places[3] == [[0.8586, 2.4198], [-0.0428, 0.4906]]
    assert scope(found) == "exact"


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("name", CRITERIA)
def test_linear_models_against_numpy_and_nelder_mead(name, inputs, decay):
    criterion, random = CRITERIA[name], np.random.RandomState(inputs)
    x = random.randn(41, inputs) * [1.0, 30.0, 0.2][:inputs]
    y = x @ [[1.5], [-0.1], [4.0]][:inputs] + random.standard_t(2, (41, 1)) + 2
    problem = linear(x, y, criterion)
    design, target = design_of(problem)

    def minimised(place):
        return float(cost(criterion, design @ place - target)) + decay / 2 * float(place @ place)

    found = ravine.landmarks(problem, decay)
    place, least = found.minimizer.values, float(found.minimum_loss)
    assert scope(found) == "exact"
    assert np.isclose(least, minimised(place), rtol=1e-13)
    # one-sided derivatives in many directions: none leads down, which for a convex loss is the proof
    residual, scale = design @ place - target, np.linalg.norm(design, axis=0)
    kink = np.abs(residual) < 1e-10 * np.abs(target).max()
    room = 1e-9 if name == "huber 1e-6 sum" else 1e-11  # so narrow a parabola magnifies the residuals' rounding
    for direction in np.vstack([random.randn(400, inputs + 1), np.eye(inputs + 1), -np.eye(inputs + 1)]) / scale:
        change = design @ direction
        each = slope_of(criterion, residual) * change
        if kinked(criterion):
            each = np.where(kink, np.abs(change), each)
        total = each.mean() if criterion.reduction == "mean" else each.sum()
        assert total + decay * place @ direction >= -room * np.abs(each).sum()
    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000}
    other = scipy.optimize.minimize(minimised, place * 1.3 + 0.1, method="Nelder-Mead", options=options)
    other = scipy.optimize.minimize(minimised, other.x, method="Nelder-Mead", options=options)
    assert least <= other.fun * (1 + 1e-14)
    assert other.fun <= least * (1 + 1e-5)


def slope_of(criterion, residual):
    kind = type(criterion).__name__
    if kind == "MSELoss":
        return 2 * residual
    if kinked(criterion):
        return np.sign(residual)
    turn = criterion.delta if kind == "HuberLoss" else criterion.beta
    return np.clip(residual / turn, -1, 1) * (turn if kind == "HuberLoss" else 1)


def kinked(criterion):
    return type(criterion) is torch.nn.L1Loss or getattr(criterion, "beta", 1.0) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", ["plain", "rounded", "repeated", "on a line", "equal columns", "few rows", "unlike"])
def test_l1_against_linear_programming(case, reduction):
    for seed in range(6):
        random = np.random.RandomState(seed)
        x, y = random.randn(30, 3), random.randn(30, 1) * 3
        if case == "rounded":
            x, y = x.round(), y.round()
        elif case == "repeated":
            x, y = np.repeat(x[:7], 4, axis=0), np.repeat(y[:7], 4, axis=0)
        elif case == "on a line":
            y = x @ [[1.0], [2.0], [-3.0]] + 0.5
        elif case == "equal columns":
            x[:, 2] = x[:, 0]
        elif case == "few rows":
            x, y = x[:2], y[:2]
        elif case == "unlike":
            x *= [1e-3, 1.0, 1e4]
        problem = linear(x, y, torch.nn.L1Loss(reduction=reduction), torch.float64)
        design, target = design_of(problem)
        n, p = design.shape
        share = 1 / n if reduction == "mean" else 1.0
        solved = scipy.optimize.linprog(
            [0.0] * p + [share] * (2 * n),
            A_eq=np.hstack([design, -np.eye(n), np.eye(n)]),
            b_eq=target,
            bounds=[(None, None)] * p + [(0, None)] * (2 * n),
        )
        other = share * np.abs(design @ solved.x[:p] - target).sum()
        found = ravine.landmarks(problem)
        assert scope(found).startswith("exact")
        assert abs(float(found.minimum_loss) - other) <= 1e-12 * share * np.abs(target).sum()
        assert np.isclose(float(found.minimum_loss), share * np.abs(design @ found.minimizer.values - target).sum())


@pytest.mark.parametrize("name", ["mse", "huber", "smooth 2", "l1"])
def test_decay_is_what_torch_adds_to_the_gradient(name):
    """A long run of the real optimizer ends at the minimizer."""
    random = np.random.RandomState(8)
    x, y = random.randn(25, 1), random.randn(25, 1) + 2
    problem = linear(x, y, CRITERIA[name], torch.float64)
    found = ravine.landmarks(problem, 0.7)
    smooth = name != "l1"  # which hops around its kinks, in proportion to lr
    positions, _ = bare.train(
        problem.parts.model,
        CRITERIA[name],
        *(torch.tensor(each) for each in (x, y)),
        steps=1500 if smooth else 3000,
        lr=0.1 if smooth else 4e-3,
        weight_decay=0.7,
    )
    assert np.allclose(positions[-1], found.minimizer, atol=1e-9 if smooth else 1e-2)


def test_two_outputs_frozen_parameters_and_no_bias():
    random = np.random.RandomState(1)
    x, y = random.randn(20, 2), random.randn(20, 2)
    both = ravine.landmarks(linear(x, y, torch.nn.L1Loss(reduction="sum")), 0.1)
    assert [str(label) for label in both.parameter.values][:2] == ["weight[0,0]", "weight[0,1]"]
    singles = [ravine.landmarks(linear(x, y[:, [k]], torch.nn.L1Loss(reduction="sum")), 0.1) for k in (0, 1)]
    assert np.isclose(both.minimum_loss, sum(each.minimum_loss for each in singles), rtol=1e-13)
    assert np.allclose(both.minimizer.values[:4].reshape(2, 2), [each.minimizer.values[:2] for each in singles])

    without = ravine.landmarks(linear(x, y[:, :1], torch.nn.MSELoss(), torch.float64, bias=False))
    assert np.allclose(without.minimizer, np.linalg.lstsq(x, y[:, 0], rcond=None)[0])

    held = linear(x, y[:, :1], torch.nn.MSELoss(), torch.float64).parts.model
    held.weight.requires_grad_(False)
    found = ravine.landmarks(ravine.Problem.of(held, torch.nn.MSELoss(), (torch.tensor(x), torch.tensor(y[:, :1]))))
    assert found.parameter.values.tolist() == ["bias"]
    assert np.isclose(float(found.minimizer[0]), np.mean(y[:, 0] - x.sum(axis=1)))


def test_a_flat_stretch_is_told():
    y = np.array([[0.0], [1.0], [5.0], [7.0]])
    for count, alone in ((4, False), (3, True)):
        model = linear(np.zeros((count, 1)), y[:count], torch.nn.L1Loss()).parts.model
        model.weight.requires_grad_(False)
        problem = ravine.Problem.of(
            model, torch.nn.L1Loss(), (np.zeros((count, 1), np.float32), torch.tensor(y[:count]).float())
        )
        found = ravine.landmarks(problem)
        assert (scope(found) == "exact") is alone
        assert scope(found) == "exact" or "not shown to be the only place" in scope(found)
        assert float(found.minimum_loss) == pytest.approx(np.abs(y[:count] - np.median(y[:count])).mean(), rel=1e-14)
        assert scope(ravine.landmarks(problem, 0.1)) == "exact"
    same = linear(np.ones((9, 2)) * np.arange(9)[:, None], np.arange(9)[:, None], torch.nn.MSELoss())
    assert "not shown to be the only place" in scope(ravine.landmarks(same))
    assert scope(ravine.landmarks(same, 0.1)) == "exact"


def test_kinks_are_counted_and_l1_does_not_curve(article):
    found = ravine.landmarks(article["L1Loss"], [0, 2])
    assert np.array_equal(found.hessian, [np.zeros((2, 2)), 2 * np.eye(2)])
    kinks = provenance.describe(found, "hessian")["kinks"]
    design, target = design_of(article["L1Loss"])
    for decay, place in zip([0.0, 2.0], found.minimizer.values, strict=True):
        assert kinks[str(decay)] == (np.abs(design @ place - target) < 1e-12).sum()


def test_hessians_of_linear_models_are_torchs(article):
    for problem in article.values():
        found = ravine.landmarks(problem, 0.5)
        own = hessian(problem, found.minimizer.values)
        assert np.allclose(found.hessian, own + 0.5 * np.eye(2), atol=1e-14)


def test_numbers_beyond_float64_are_told():
    found = ravine.landmarks(linear([[1e200], [2e200]], [[1e200], [0.0]], torch.nn.MSELoss(), torch.float64))
    assert np.isnan(found.minimum_loss)
    assert "too large" in scope(found)


# ------------------------------------------------------------------------------------------------ any problem


def test_four_problems(all_cases):
    for name in ("article", "csv"):
        found = ravine.landmarks(all_cases[name].problem)
        design, target = design_of(all_cases[name].problem)
        assert np.allclose(found.minimizer, np.linalg.lstsq(design, target, rcond=None)[0], rtol=1e-12)
        assert scope(found) == "exact"
    found = ravine.landmarks(all_cases["rosenbrock"].problem)
    assert np.allclose(found.minimizer, [1, 1], atol=1e-12)
    assert abs(float(found.minimum_loss)) < 1e-24
    assert np.allclose(found.hessian, [[802, -400], [-400, 200]])
    assert scope(found) == "local: found from the start"
    with pytest.raises(ValueError, match=r"17 parameters, landmarks are found for at most 16; .*top_eigenpairs"):
        ravine.landmarks(all_cases["network"].problem)


def test_rosenbrock_with_decay_solves_its_equations():
    found = ravine.landmarks(ravine.gallery.rosenbrock(), [0.1, 0.5, 3.0])
    for decay, (x, y), least in zip([0.1, 0.5, 3.0], found.minimizer.values, found.minimum_loss.values, strict=True):
        assert abs(-2 * (1 - x) - 400 * x * (y - x**2) + decay * x) < 1e-12
        assert abs(200 * (y - x**2) + decay * y) < 1e-12
        assert np.isclose(least, (1 - x) ** 2 + 100 * (y - x**2) ** 2 + decay / 2 * (x**2 + y**2), rtol=1e-14)
    assert scope(found) == "local: found from the problem's own minimizers"


def test_stated_minima_are_taken_as_they_are():
    for name in ("quadratic", "rosenbrock", "beale", "himmelblau", "rastrigin", "styblinski_tang"):
        problem = getattr(ravine.gallery, name)()
        found = ravine.landmarks(problem)
        assert scope(found) == "stated by the problem"
        assert dict(zip(problem.labels, found.minimizer.values.tolist(), strict=True)) == problem.minimizers[0]
        assert found.minimum_loss.dtype == np.float64


def test_himmelblau_near_each_of_its_minima():
    problem = ravine.gallery.himmelblau()
    for place in problem.minimizers:
        near = {name: value + 0.4 for name, value in place.items()}
        for where in (near, list(near.values())):
            assert ravine.landmarks(problem, near=where).minimizer.values.tolist() == list(place.values())
        free = ravine.Problem(problem.loss, problem.start)
        found = ravine.landmarks(free, near=near)
        assert np.allclose(found.minimizer, list(place.values()), atol=1e-12)
        assert scope(found) == "local: found from the place given"
        decayed = ravine.landmarks(problem, 0.5, near=near)
        assert 1e-3 < np.abs(decayed.minimizer - list(place.values())).max() < 0.2
    # of all minima with decay the lowest is the one nearest to the origin
    assert np.allclose(ravine.landmarks(problem, 0.5).minimizer, [2.985325, 1.979173], atol=1e-6)


NO_MINIMUM = {
    "a saddle": (lambda p: p["x"] ** 2 - p["y"] ** 2, {"x": -1.8, "y": 1e-3}, "falls without end"),
    "on a saddle": (lambda p: p["x"] ** 2 - p["y"] ** 2, {"x": 0.0, "y": 0.0}, "bends down"),
    "on a hill": (lambda p: (p["x"] ** 2 - 1) ** 2, {"x": 0.0}, "bends down"),
    "on a flat hill": (lambda p: -(p["x"] ** 4), {"x": 0.0}, "still falls"),
    "an inflexion": (lambda p: p["x"] ** 3, {"x": 1.0}, "still falls"),
    "a slope": (lambda p: p["x"] + p["y"], {"x": 0.0, "y": 0.0}, "falls without end"),
    "levelling off": (lambda p: torch.exp(-p["x"]), {"x": 0.0}, "slope does not vanish"),
    "levelling off, raised": (lambda p: 1 + torch.exp(-p["x"]), {"x": 0.0}, "slope does not vanish"),
    "a kink": (lambda p: p["x"].abs() + p["y"] ** 2, {"x": 1.0, "y": 2.0}, "slope does not vanish"),
    "an edge": (lambda p: torch.sqrt(p["x"]), {"x": 1.0}, "not finite"),
    "a cliff": (
        lambda p: torch.where(p["x"] > 0.5, (p["x"] - 0.1) ** 2, torch.nan),
        {"x": 1.0},
        "not ended after 100 iterations",
    ),
    "chance": (lambda p: (torch.nn.functional.dropout(p["x"]) ** 2).sum(), {"x": [1.0, 2.0]}, "draws random numbers"),
}


@pytest.mark.parametrize("name", NO_MINIMUM)
def test_where_there_is_no_minimum_the_numbers_are_nan_and_the_reason_is_told(name):
    loss, start, words = NO_MINIMUM[name]
    found = ravine.landmarks(ravine.Problem(loss, start))
    assert np.isnan(found.minimizer).all()
    assert np.isnan(found.minimum_loss)
    assert np.isnan(found.hessian).all()
    assert scope(found).startswith("none found: ")
    assert words in scope(found)


def test_a_loss_that_raises_away_from_the_start():
    def picky(p):
        if p["x"] < 0.5:
            raise ValueError("x is too small")
        return p["x"] ** 2

    found = ravine.landmarks(ravine.Problem(picky, {"x": 1.0}))
    assert np.isnan(found.minimum_loss)
    assert "x is too small" in scope(found)
    with pytest.raises(ValueError, match="x is too small"):
        ravine.landmarks(ravine.Problem(picky, {"x": 0.0}))


def test_flat_and_quartic_minima_are_minima():
    quartic = ravine.landmarks(ravine.Problem(lambda p: p["x"] ** 4 + p["y"] ** 2, {"x": 1.0, "y": 1.0}))
    assert np.allclose(quartic.minimizer, 0, atol=1e-4)
    assert float(quartic.minimum_loss) < 1e-16
    valley = ravine.landmarks(ravine.Problem(lambda p: (p["x"] * p["y"] - 1) ** 2, {"x": 2.0, "y": 3.0}))
    assert np.isclose(float(valley.minimizer.prod()), 1, rtol=1e-12)


def small_network(activation=torch.nn.Tanh, dtype=torch.float32):
    random = np.random.RandomState(4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), activation(), torch.nn.Linear(3, 1)).to(dtype)
    points = torch.tensor(random.randn(20, 2), dtype=dtype)
    return ravine.Problem.of(model, torch.nn.MSELoss(), (points, points[:, :1] * points[:, 1:]))


def test_a_small_network_has_a_local_minimum():
    problem, decay = small_network(), 0.01
    found = ravine.landmarks(problem, decay)
    assert found.sizes["parameter"] == 13
    assert scope(found) == "local: found from the start"
    assert found.minimizer.dtype == found.minimum_loss.dtype == found.hessian.dtype == np.float64

    exact = small_network(dtype=torch.float64)
    weights = [value.double() for value in problem.start.values()]
    inputs, targets = problem.parts.inputs.double(), problem.parts.targets.double()

    def minimised(flat):
        pieces = flat.split([w.numel() for w in weights])
        named = {n: p.reshape(w.shape) for n, p, w in zip(problem.start, pieces, weights, strict=True)}
        output = torch.func.functional_call(exact.parts.model, named, (inputs,))
        return torch.nn.functional.mse_loss(output, targets) + decay / 2 * flat @ flat

    leaf = torch.tensor(found.minimizer.values, requires_grad=True)
    value = minimised(leaf)
    value.backward()
    assert leaf.grad.abs().max() < 1e-13
    assert np.isclose(value.item(), float(found.minimum_loss), rtol=1e-14)
    whole = torch.autograd.functional.hessian(minimised, leaf.detach())
    assert np.allclose(found.hessian, whole, atol=1e-13)
    assert np.linalg.eigvalsh(found.hessian)[0] > 0


def test_a_minimum_on_a_kink_of_a_network_is_no_smooth_one():
    problem = small_network(torch.nn.ReLU)
    found = ravine.landmarks(problem, [0.003, 0.01])
    assert np.isfinite(found.minimum_loss).values.tolist() == [True, False]
    assert "slope does not vanish" in scope(found)["0.01"]
    assert "flat along 3 directions" in scope(ravine.landmarks(problem))  # each ReLU can trade one layer for the other


def test_convex_problems_of_other_criteria_are_found_too():
    random = np.random.RandomState(2)
    x, classes = torch.tensor(random.randn(40, 2)).float(), torch.tensor(random.randint(3, size=40))
    with torch.random.fork_rng():
        model = torch.nn.Linear(2, 3)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    problem = ravine.Problem.of(model, criterion, (x, classes))
    found = ravine.landmarks(problem, 0.1)
    leaves = [value.double().clone().requires_grad_() for value in problem.start.values()]
    rule = torch.optim.LBFGS(leaves, lr=1, max_iter=500, tolerance_grad=1e-14, tolerance_change=1e-16)

    def closure():
        rule.zero_grad()
        scores = x.double() @ leaves[0].T + leaves[1]
        loss = torch.nn.functional.cross_entropy(scores, classes, weight=criterion.weight.double())
        loss = loss + 0.05 * sum((leaf**2).sum() for leaf in leaves)
        loss.backward()
        return loss

    rule.step(closure)
    assert np.allclose(found.minimizer, torch.cat([leaf.detach().reshape(-1) for leaf in leaves]), atol=1e-7)
    assert np.isclose(float(found.minimum_loss), closure().item(), rtol=1e-13)


# ---------------------------------------------------------------------------------------------- the contract's shape


def test_dimensions_labels_and_provenance(article):
    found = ravine.landmarks(article, np.array([0.0, 0.5, 2.0]))
    assert found.minimizer.dims == ("criterion", "weight_decay", "parameter")
    assert found.minimum_loss.dims == ("criterion", "weight_decay")
    assert found.hessian.dims == ("criterion", "weight_decay", "parameter", "parameter_")
    assert found.parameter.values.tolist() == found.parameter_.values.tolist() == ["weight", "bias"]
    assert contract.check(found, "minimizer", "minimum_loss", "hessian") is found
    for label, problem in article.items():
        for decay in (0.0, 0.5, 2.0):
            one = ravine.landmarks(problem, decay)
            assert one.minimizer.dims == ("parameter",)
            assert float(one.weight_decay) == decay
            assert str(one.criterion.values) == label
            cell = ravine.at(found, criterion=label, weight_decay=decay)
            assert all(np.array_equal(one[name], cell[name]) for name in ("minimizer", "minimum_loss", "hessian"))
    engines = provenance.describe(found, "minimum_loss")["engine"]
    assert engines["MSELoss"] == "closed form"
    assert "subgradient" in engines["L1Loss"]
    assert ravine.landmarks(article["MSELoss"], [2.0]).minimizer.dims == ("weight_decay", "parameter")
    pair = {"bowl": ravine.gallery.quadratic(), "valley": ravine.gallery.rosenbrock()}
    assert ravine.landmarks(pair).minimizer.dims == ("problem", "parameter")


def test_it_can_be_saved_and_opened(tmp_path, article):
    found = ravine.landmarks(article, [0.0, 2.0])
    again = ravine.open(ravine.save(found, tmp_path / "landmarks.nc"))
    assert all(np.array_equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_float64_whatever_the_dtype(dtype):
    problem = linear([[0.5], [1.0], [3.0]], [[1.0], [2.5], [3.0]], torch.nn.MSELoss(), dtype)
    found = ravine.landmarks(problem)
    assert np.allclose(found.minimizer, np.polyfit([0.5, 1.0, 3.0], [1.0, 2.5, 3.0], 1), rtol=1e-13)
    network = small_network(dtype=dtype) if dtype != torch.float16 else None
    if network is not None:
        assert "float64" in provenance.describe(ravine.landmarks(network, 0.01), "hessian")["engine"]


def test_functions_that_fall_back_to_float32_say_so():
    x = torch.linspace(-1, 1, 9)
    y = 2 * x + 1
    losses = [
        lambda p: ((p["w"] * x + p["b"] - y) ** 2).mean(),  # a number times a float32 vector is float32
        lambda p: ((p["w"] * x + p["b"] - y) ** 2).mean() + 0 * p["w"],  # and float64 again at the end
        lambda p: torch.nn.functional.mse_loss(x[:, None] @ p["w"].reshape(1, 1) + p["b"], y[:, None]),  # an error
    ]
    for loss in losses:
        found = ravine.landmarks(ravine.Problem(loss, {"w": 1.0, "b": 0.0}))
        assert np.allclose(found.minimizer, [2, 1], atol=1e-6)
        assert provenance.describe(found, "minimizer")["engine"].endswith("float32")
    doubled = ravine.Problem(
        lambda p: ((p["w"] * x.to(p["w"]) + p["b"] - y.to(p["b"])) ** 2).mean(), {"w": 1.0, "b": 0.0}
    )
    assert provenance.describe(ravine.landmarks(doubled), "minimizer")["engine"].endswith("float64")


def test_a_minimum_is_searched_for_once_and_no_problem_kept_alive():
    calls = []

    def loss(p):
        calls.append(1)
        return (p["x"] - 3) ** 2

    problem = ravine.Problem(loss, {"x": 1.0})
    first = ravine.landmarks(problem)
    first.minimizer[:] = 7  # what is remembered is not what was handed out
    count = len(calls)
    assert ravine.landmarks(problem).minimizer.values.tolist() == [3.0]
    assert len(calls) == count
    ravine.landmarks(problem, near={"x": 2.0})
    assert len(calls) > count
    gone = weakref.ref(problem)
    del problem
    gc.collect()
    assert gone() is None


def test_no_start_matters_to_what_is_exact(article):
    for problem in article.values():
        moved = problem.starting_at(weight=-50.0, bias=1e3)
        assert np.array_equal(ravine.landmarks(moved, 0.3).minimizer, ravine.landmarks(problem, 0.3).minimizer)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight_decay": -1.0}, "finite and not negative, got -1.0"),
        ({"weight_decay": [0.0, np.inf]}, "finite and not negative"),
        ({"weight_decay": []}, "a number or several"),
        ({"weight_decay": "much"}, "weight_decay must be a number or several, got 'much'"),
        ({"near": {"wieght": 1.0}}, "no parameter 'wieght' (did you mean weight?); the problem has weight, bias"),
        ({"near": [1.0, 2.0, 3.0]}, "the place has 3 numbers, expected 2"),
        ({"near": {"weight": "up"}}, "'weight' must be a number or an array, got 'up'"),
        ({"near": {"weight": np.nan}}, "the place is not finite"),
    ],
    ids=str,
)
def test_errors_name_value_and_remedy(article, arguments, words):
    with pytest.raises(ValueError) as caught:
        ravine.landmarks(article, **arguments)
    assert words in str(caught.value)


# --------------------------------------------------------------------------------------------------- Hessians


def plain_hessian(problem, place):
    model = problem.parts.model
    inputs, targets = problem.parts.inputs.double(), problem.parts.targets.double()
    shapes = [value.shape for value in problem.start.values()]

    def loss(flat):
        named = dict(
            zip(
                problem.start,
                (p.reshape(s) for p, s in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)),
                strict=True,
            )
        )
        return torch.nn.functional.mse_loss(torch.func.functional_call(model, named, (inputs,)), targets)

    return torch.autograd.functional.hessian(loss, torch.tensor(place)).numpy()


def test_hessian_and_products_of_the_network(all_cases):
    problem = all_cases["network"].problem
    start = torch.cat([value.reshape(-1) for value in problem.start.values()]).double().numpy()
    place = start + np.random.RandomState(0).randn(17) / 3
    for at, flat in ((None, start), (place, place), (vector(problem, place), place)):
        whole = plain_hessian(problem, flat)
        assert np.allclose(hessian(problem, at), whole, atol=1e-14)
        along = np.random.RandomState(1).randn(17)
        assert np.allclose(hessian_product(problem, at, along), whole @ along, atol=1e-13)
        assert np.allclose(hessian_product(problem, at, {"2.bias": 2.0}), 2 * whole[:, -1], atol=1e-13)


@pytest.mark.parametrize("hidden", [4, 12])
def test_top_eigenpairs_against_the_whole_hessian(hidden):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))
        points = torch.randn(20, 2)
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), (points, points.prod(dim=1, keepdim=True)))
    start = torch.cat([value.reshape(-1) for value in problem.start.values()]).double().numpy()
    values, directions = np.linalg.eigh(plain_hessian(problem, start))
    found, along = top_eigenpairs(problem, count=3)
    assert found.shape == (3,)
    assert along.shape == (len(start), 3)
    assert np.allclose(found, values[::-1][:3], rtol=1e-12)
    assert np.allclose(np.abs(np.sum(along * directions[:, ::-1][:, :3], axis=0)), 1, atol=1e-10)
    assert (along[np.abs(along).argmax(axis=0), range(3)] > 0).all()
    again = top_eigenpairs(problem, count=3)
    assert np.array_equal(found, again[0])
    assert np.array_equal(along, again[1])


def test_what_does_not_curve():
    random = np.random.RandomState(0)
    problem = linear(random.randn(50, 30), random.randn(50, 1), torch.nn.L1Loss())
    assert not hessian(problem).any()
    assert not hessian_product(problem, None, np.ones(31)).any()
    values, directions = top_eigenpairs(problem, count=2)
    assert values.tolist() == [0.0, 0.0]
    assert np.array_equal(directions.T @ directions, np.eye(2))
    assert not hessian(ravine.Problem(lambda p: 3 * p["x"] + p["y"], {"x": 1.0, "y": 2.0})).any()


def test_hessians_where_batching_or_chance_come_in():
    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = torch.nn.GRU(1, 1, batch_first=True), torch.nn.Linear(1, 1)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        recurrent = ravine.Problem.of(Reader(), torch.nn.MSELoss(), (torch.randn(6, 4, 1), torch.randn(6, 1)))
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
        chance = ravine.Problem.of(model, torch.nn.MSELoss(), (torch.randn(12, 2), torch.randn(12, 1)), mode="train")
    assert np.allclose(hessian(recurrent), plain_hessian(recurrent, flat_start(recurrent)), atol=1e-12)
    assert np.array_equal(hessian(chance), hessian(chance))  # one mask
    along = np.ones(13)
    assert np.allclose(hessian_product(chance, None, along), hessian(chance) @ along, atol=1e-13)
    assert "draws random numbers" in scope(ravine.landmarks(chance))


def flat_start(problem):
    return torch.cat([value.reshape(-1) for value in problem.start.values()]).double().numpy()


@pytest.mark.parametrize("count", [0, 3, 1.5, True])
def test_count_must_fit(count):
    with pytest.raises(ValueError, match="count must be a whole number from 1 to 2"):
        top_eigenpairs(ravine.gallery.rosenbrock(), count=count)


# ----------------------------------------------------------------------------------------------------- slopes


def plain_slopes(problem, land, labels):
    """The gradient at each point by one plain backward each."""
    x, y = contract.axes(land)
    start = torch.cat([value.reshape(-1) for value in problem.start.values()])
    shapes = [value.shape for value in problem.start.values()]
    field = np.empty((*land.surface.shape[-2:], len(labels)))
    for (i, v), (j, h) in itertools.product(enumerate(land[y].values), enumerate(land[x].values)):
        flat = start.clone()
        flat[problem.labels.index(x)], flat[problem.labels.index(y)] = h, v
        flat.requires_grad_()
        pieces = flat.split([shape.numel() for shape in shapes])
        named = {n: p.reshape(s) for n, p, s in zip(problem.start, pieces, shapes, strict=True)}
        (gradient,) = torch.autograd.grad(problem.loss(named), flat)
        field[i, j] = gradient.numpy()[[problem.labels.index(label) for label in labels]]
    return field


def test_slopes_of_four_problems(case):
    land = ravine.surface(case.problem, case.axes, points=9)
    found = slopes(case.problem, land)
    assert found.name == "slope"
    assert found.dims == (*land.surface.dims, "parameter")
    assert found.dtype == land.surface.dtype == np.float32
    labels = [label for label in case.problem.labels if label in case.axes]
    assert found.parameter.values.tolist() == labels
    reference = plain_slopes(case.problem, land, labels)
    assert np.allclose(found, reference, rtol=1e-5, atol=1e-5)
    told = provenance.describe(found.to_dataset(), "slope")
    assert told["engine"] == "torch.func.vmap of torch.func.grad"
    assert told["equals_torch"].split()[0] in ("every", "within")


def test_slopes_of_a_mapping_are_its_problems_own(article):
    land = ravine.surface(article, bias=(-5, 8), weight=(-5, 8), points=7)
    found = slopes(article, land)
    assert found.dims == ("criterion", "weight", "bias", "parameter")
    for name, problem in article.items():
        assert np.array_equal(found.sel(criterion=name), slopes(problem, land))
    both = land.assign(slope=found)
    assert contract.check(both, "slope") is both
    # down the slope the loss falls
    steps = (
        1e-2 * found.sel(criterion="MSELoss") / np.linalg.norm(found.sel(criterion="MSELoss"), axis=-1, keepdims=True)
    )
    design, target = design_of(article["MSELoss"])
    here = np.stack(np.broadcast_arrays(land.weight.values[:, None], land.bias.values[None, :]), -1)
    before, after = (((p @ design.T - target) ** 2).mean(-1) for p in (here, here - steps.values))
    assert (after < before).all()


def test_slopes_where_batching_fails():
    calls = []

    def counting(p):
        calls.append(1)
        return p["x"] ** 2 * (1 + 0.01 * (len(calls) % 3)) + p["y"]

    problem = ravine.Problem(counting, {"x": 1.0, "y": 1.0})
    land = ravine.surface(ravine.Problem(lambda p: p["x"] + p["y"], problem.start), x=(-1, 1), y=(-1, 1), points=3)
    assert provenance.describe(slopes(problem, land).to_dataset(), "slope")["engine"] == "one gradient after another"

    def odd(p):
        return p["x"] ** 2 * p["y"] if p["x"] > 0 else torch.log(p["x"]) + 0 * p["y"]

    found = slopes(ravine.Problem(odd, problem.start), land)
    assert found.sel(x=1, y=1).values.tolist() == [2.0, 1.0]
    assert found.sel(x=-1, y=1).values.tolist() == [-1.0, 0.0]
    assert np.isinf(found.sel(x=0, y=1, parameter="x"))
    with pytest.raises(ValueError, match=r"axis 'x' is no parameter of the problem, which has a, b"):
        slopes(ravine.Problem(lambda p: p["a"] + p["b"], {"a": 1.0, "b": 1.0}), land)


def test_slopes_of_a_constant_and_of_chance():
    flat = ravine.Problem(lambda p: torch.tensor(3.0), {"x": 1.0, "y": 1.0})
    land = ravine.surface(flat, x=(-1, 1), y=(-1, 1), points=3)
    assert not slopes(flat, land).any()
    chance = ravine.Problem(lambda p: p["x"] * torch.rand(()) + p["y"], {"x": 1.0, "y": 1.0})
    found = slopes(chance, land)
    assert np.unique(found.sel(parameter="x")).size == 1


def test_no_curvature_where_a_run_diverged():
    bowl = ravine.gallery.rosenbrock()
    wide = ravine.Problem(lambda p: (p["x"] ** 4).sum(), start={"x": np.ones(30)})  # by Lanczos's method
    for problem, lr in ((bowl, 1.0), (wide, 10.0)):
        far = ravine.descend(problem.in_double(), lr=lr, steps=30)
        last = int(np.flatnonzero(np.isfinite(far.position.values).all(1))[-1])
        with pytest.raises(ValueError) as caught:
            ravine.sharpness(problem, far, steps=[last])
        assert f"sharpness at step {last}: the Hessian is not finite here" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert float(ravine.sharpness(problem, far, steps=[0])[0]) > 0
    with pytest.raises(ValueError, match="the Hessian is not finite here"):
        ravine.curvature.top_eigenpairs(bowl, {"x": 1e200})
    with pytest.raises(ValueError, match="no position of this run is finite"):
        ravine.sharpness(bowl, far.isel(step=[-1], parameter=slice(2)))
