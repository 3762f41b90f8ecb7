"""surface: every bit where it says so, in any order of the grid, and one by one where batching is impossible."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import ravine
from ravine._landscape import evaluate, of_neuron
from ravine._study import contract, provenance


def singly(problem, land):
    """The loss at every point of the grid by one plain call each."""
    x, y = contract.axes(land)
    shapes = {name: value.shape for name, value in problem.start.items()}

    def loss(h, v):
        values = torch.cat([value.reshape(-1) for value in problem.start.values()]).clone()
        values[problem.labels.index(x)] = h
        values[problem.labels.index(y)] = v
        parameters, begin = {}, 0
        for name, shape in shapes.items():
            parameters[name] = values[begin : begin + shape.numel()].reshape(shape)
            begin += shape.numel()
        with torch.no_grad():
            return problem.loss(parameters).item()

    return np.array([[loss(h, v) for h in land[x].values] for v in land[y].values])


def test_four_problems(case):
    land = ravine.surface(case.problem, case.axes, points=21)
    reference = singly(case.problem, land)
    told = provenance.describe(land, "surface")["equals_torch"]
    if told.startswith("every bit"):
        assert np.array_equal(land.surface.values.astype(float), reference)
    assert np.allclose(land.surface, reference, rtol=1e-5)
    assert contract.axes(land) == tuple(case.axes)
    assert land.surface.dims == tuple(reversed(case.axes))


def test_the_article_and_rosenbrock_claim_every_bit(all_cases, chance):
    """Of the whole map 25 rows by 25 columns are evaluated singly, others each time."""
    for name in ("article", "rosenbrock", "csv"):
        land = ravine.surface(all_cases[name].problem, all_cases[name].axes)
        assert provenance.describe(land, "surface")["equals_torch"].startswith("every bit")
        some = land.isel({axis: sorted(chance.sample(range(land.sizes[axis]), 25)) for axis in all_cases[name].axes})
        assert np.array_equal(some.surface.values.astype(float), singly(all_cases[name].problem, some))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "criterion",
    [
        torch.nn.MSELoss(),
        torch.nn.L1Loss(),
        torch.nn.HuberLoss(delta=0.3),
        torch.nn.SmoothL1Loss(beta=0.0),
        torch.nn.SmoothL1Loss(beta=2.5),
        torch.nn.MSELoss(reduction="sum"),
    ],
    ids=str,
)
@pytest.mark.parametrize("samples", [1, 7, 500])
def test_neurons_in_every_bit(criterion, dtype, samples):
    random = np.random.RandomState(samples)
    x, y = (torch.tensor(random.randn(samples, 1), dtype=dtype) for _ in range(2))
    with torch.random.fork_rng():
        neuron = torch.nn.Linear(1, 1, dtype=dtype)
    problem = ravine.Problem.of(neuron, criterion, (x, y))
    land = ravine.surface(problem, weight=(-3, 3), bias=(-2, 5), points=13)
    expected = [
        [criterion(x[:, 0] * w + b, y[:, 0]).item() for w in land.weight.values.tolist()]
        for b in land.bias.values.tolist()
    ]
    assert np.array_equal(land.surface.values.astype(float), np.array(expected))


def test_grids_given_in_any_order(article):
    problem = article["MSELoss"]
    whole = ravine.surface(problem, bias=(-5, 8), weight=(-5, 8), points=5)
    order = [3, 0, 4, 1]
    part = ravine.surface(problem, bias=whole.bias.values[order], weight=whole.weight.values[[2, 1]].tolist())
    assert part.bias.values.tolist() == whole.bias.values[order].tolist()
    assert np.array_equal(part.surface, whole.surface.isel(bias=order, weight=[2, 1]))


def test_the_first_axis_is_horizontal(article):
    one = ravine.surface(article["MSELoss"], bias=(-5, 8), weight=(-1, 1), points=5)
    other = ravine.surface(article["MSELoss"], weight=(-1, 1), bias=(-5, 8), points=5)
    assert (contract.axes(one), contract.axes(other)) == (("bias", "weight"), ("weight", "bias"))
    assert np.array_equal(one.surface, other.surface.transpose("weight", "bias"))


def test_a_mapping_is_its_problems(article):
    land = ravine.surface(article, points=9)
    for name, problem in article.items():
        assert np.array_equal(land.surface.sel(criterion=name), ravine.surface(problem, points=9).surface)


def test_many_more_samples_than_a_chunk_holds():
    x = torch.linspace(-1, 1, 30_000)[:, None]
    with torch.random.fork_rng():
        problem = ravine.Problem.of(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (x, x**2))
    land = ravine.surface(problem, weight=(-1, 1), bias=(-1, 1), points=4)
    assert np.array_equal(land.surface.values.astype(float), singly(problem, land))


def test_train_mode_dropout_goes_one_by_one_with_one_mask():
    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), (torch.randn(12, 3), torch.randn(12, 1)))
    axes = {"0.weight[0,1]": (-1, 1), "2.bias": (-1, 1)}
    assert provenance.describe(ravine.surface(problem, axes, points=5), "surface")["engine"] == "torch.func.vmap"
    land = ravine.surface(problem.in_mode("train"), axes, points=5)
    assert provenance.describe(land, "surface")["engine"] == "one evaluation after another"
    # one mask: along an output bias the MSE is a parabola, so its third difference vanishes
    assert np.abs(np.diff(land.surface, n=3, axis=0)).max() < 1e-4 * float(land.surface.max())


def test_recurrent_networks_go_one_by_one():
    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = torch.nn.GRU(2, 3, batch_first=True), torch.nn.Linear(3, 1)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])

    with torch.random.fork_rng():
        problem = ravine.Problem.of(Reader(), torch.nn.L1Loss(), (torch.randn(6, 4, 2), torch.randn(6, 1)))
    land = ravine.surface(problem, {"gru.weight_ih_l0[0,1]": (-1, 1), "head.bias": (-1, 1)}, points=4)
    assert np.array_equal(land.surface.values.astype(float), singly(problem, land))


def test_losses_that_branch_or_are_not_finite_keep_their_values():
    def odd(p):
        return p["x"] * p["y"] if p["x"] > 0 else torch.log(p["x"]) + p["y"]

    problem = ravine.Problem(odd, start={"x": 1.0, "y": 1.0})
    land = ravine.surface(problem, x=(-1, 1), y=(0, 1), points=5)
    assert np.array_equal(land.surface.values.astype(float), singly(problem, land), equal_nan=True)
    assert np.isnan(land.surface).any()


def test_a_loss_that_vmap_gets_wrong_is_found_out():
    calls = []

    def counting(p):  # vmap calls it once for the whole grid
        calls.append(1)
        return p["x"] ** 2 + p["y"] + 0.01 * len(calls)

    land = ravine.surface(ravine.Problem(counting, start={"x": 1.0, "y": 1.0}), x=(0, 1), y=(0, 1), points=3)
    assert provenance.describe(land, "surface")["engine"] == "one evaluation after another"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            {"wieght": (-1, 1), "bias": (-1, 1)},
            "no parameter 'wieght' (did you mean weight?); the problem has weight, bias",
        ),
        ({"bias": (-1, 1)}, "a surface needs two parameters with their ranges, got bias"),
        ({"bias": (1, 1), "weight": (0, 1)}, "axis 'bias' needs values that are all different, got (1, 1)"),
        ({"bias": (0, float("nan")), "weight": (0, 1)}, "all finite"),
        ({"bias": "wide", "weight": (0, 1)}, "axis 'bias' must be a range (low, high) or grid values, got 'wide'"),
        ({"bias": (-1, 1), "weight": (0, 1), "points": 1}, "points must be a whole number of at least 2, got 1"),
    ],
    ids=str,
)
def test_errors_name_value_and_remedy(article, call, words):
    with pytest.raises(ValueError) as caught:
        ravine.surface(article, **call)
    assert words in str(caught.value)


def test_axes_must_be_named_where_there_is_no_range_to_take(all_cases):
    with pytest.raises(ValueError, match=r'for example ravine.surface\(problem, {"x": \(-5, 5\), "y": \(-5, 5\)}\)'):
        ravine.surface(all_cases["rosenbrock"].problem)


def test_around_shows_converging_and_diverging_runs(article):
    problem = article["MSELoss"]
    ranges = ravine.around(ravine.descend(problem, lr=0.1))
    assert list(ranges) == ["bias", "weight"]
    assert ranges["bias"][0] < -3 < 2.48 < ranges["bias"][1]
    wild = ravine.around(ravine.descend(problem, lr=1.5))
    assert all(high - low < 100 for low, high in wild.values())
    still = ravine.around(ravine.descend(problem, lr=0.0, steps=3))
    assert all(high > low for low, high in still.values())
    land = ravine.surface(problem, ranges, points=3)
    assert land.surface.shape == (3, 3)


def test_bfloat16_becomes_the_float32_that_holds_it():
    with torch.random.fork_rng():
        neuron = torch.nn.Linear(1, 1).bfloat16()
        problem = ravine.Problem.of(
            neuron, torch.nn.MSELoss(), (torch.randn(9, 1).bfloat16(), torch.randn(9, 1).bfloat16())
        )
    land = ravine.surface(problem, weight=(-1, 1), bias=(-1, 1), points=5)
    assert land.surface.dtype == ravine.descend(problem, lr=0.1, steps=2).position.dtype == np.float32
    assert torch.equal(torch.tensor(land.surface.values), torch.tensor(land.surface.values).bfloat16().float())


# -------------------------------------------------------------------------------------------------- with its slope


def gradient_at(problem, values):
    """The gradient by the parameters of one number each, by one plain call."""
    leaves = {n: torch.full_like(v, values[n]).requires_grad_() for n, v in problem.start.items()}
    found = torch.autograd.grad(problem.loss(leaves), list(leaves.values()))
    return torch.cat([each.reshape(-1) for each in found]).numpy()


def test_slopes_of_four_problems(case):
    if len(case.problem.labels) > 2:
        with pytest.raises(ValueError, match="slope=True is for two parameters, and this problem has 17: leave it out"):
            ravine.surface(case.problem, case.axes, slope=True)
        return
    land = ravine.surface(case.problem, case.axes, points=9, slope=True)
    assert land.slope.dims == (*land.surface.dims, "parameter")
    assert land.slope.dtype == land.surface.dtype
    assert land.parameter.values.tolist() == list(case.problem.labels)
    assert land.drop_dims("parameter").equals(ravine.surface(case.problem, case.axes, points=9))
    x, y = contract.axes(land)
    for i, j in np.ndindex(9, 9):
        here = land.slope[i, j]
        single = gradient_at(case.problem, {x: float(here[x]), y: float(here[y])})
        assert np.allclose(here, single, rtol=1e-5, atol=1e-5)
    assert not np.allclose(land.slope[..., 0], land.slope[..., 1])


def test_slopes_of_a_mapping_in_any_order_of_the_grid(article):
    land = ravine.surface(article, bias=[3.0, -2.0, 0.5], weight=(-5, 8), points=4, slope=True)
    assert land.slope.dims == ("criterion", "weight", "bias", "parameter")
    for name, problem in article.items():
        for i, j in np.ndindex(4, 3):
            here = land.slope.sel(criterion=name)[i, j]
            single = gradient_at(problem, {"weight": float(here.weight), "bias": float(here.bias)})
            assert np.allclose(here, single, rtol=1e-5, atol=1e-6)


def test_a_land_with_its_slope_joins_the_runs_over_it(article):
    runs, land = ravine.descend(article, lr=0.1, steps=5), ravine.surface(article, points=5, slope=True)
    both = xr.merge([runs, land], join="exact")
    assert ravine.check(both, "position", "surface", "slope") is both
    assert both.slope.variable.identical(land.slope.variable)
    assert both.position.variable.identical(runs.position.variable)
    assert np.array_equal(both.parameter, land.parameter)


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_a_figure_draws_its_arrows_by_the_slope(article, decay):
    problems = {name: article[name] for name in ("MSELoss", "L1Loss")}
    # so coarse a grid that differences of it would point elsewhere
    land = ravine.surface(problems, points=15, slope=True)
    runs = ravine.descend(problems, lr=0.1, steps=5, weight_decay=decay)
    worst = {}
    for by, below in (("slope", land), ("grid", land.drop_vars("slope"))):
        figure = ravine.plot.descent(runs, below, field=True)
        assert any("from the grid" in text.get_text() for text in figure.texts) == (by == "grid")
        cosines = []
        for ax, problem in zip(figure.axes, problems.values(), strict=True):
            (arrows,) = (each for each in ax.collections if each.get_gid() == "downhill")
            for b, w, *drawn in zip(arrows.X, arrows.Y, arrows.U, arrows.V, strict=True):
                by_weight, by_bias = gradient_at(problem, {"weight": w, "bias": b}) + decay * np.array([w, b])
                cosines.append(-np.array([by_bias, by_weight]) @ drawn / np.hypot(by_bias, by_weight))
        assert len(cosines) > 100
        worst[by] = min(cosines)
    assert worst["slope"] > 1 - 1e-6
    assert worst["grid"] < 1 - 1e-3


def test_a_single_value_on_an_axis_is_a_slice(case):
    (across, wide), (down, high) = case.axes.items()
    whole = ravine.surface(case.problem, case.axes, points=5)
    there = float(whole[down][2])
    row = ravine.surface(case.problem, {across: wide, down: [there]}, points=5)
    assert row.surface.shape == (1, 5)
    assert np.allclose(row.surface[0], whole.surface[2], rtol=1e-6)
    column = ravine.surface(case.problem, {across: [float(whole[across][1])], down: high}, points=5)
    assert np.allclose(column.surface[:, 0], whole.surface[:, 1], rtol=1e-6)
    point = ravine.surface(case.problem, {across: [float(whole[across][1])], down: np.array([there])})
    assert point.surface.item() == pytest.approx(float(whole.surface[2, 1]), rel=1e-6)
    assert len(ravine.plot.slice(row, along=across, at={down: there}).axes[0].lines) >= 1


def test_the_words_say_how_many_points_were_looked_at(case):
    land = ravine.surface(case.problem, case.axes, points=21)
    told = provenance.describe(land, "surface")["equals_torch"]
    count = int(told.partition(" at ")[2].partition(" of 441 points checked")[0])
    neuron = case.problem.labels == ("weight", "bias")  # criteria that share their predictions share the points too
    assert (6 if neuron else 30) <= count <= 34
    small = provenance.describe(ravine.surface(case.problem, case.axes, points=11), "surface")["equals_torch"]
    assert small.endswith(", at all 121 points")


@pytest.mark.parametrize("points", [7, 11])
@pytest.mark.parametrize("features", [3, 5])
def test_of_a_small_grid_all_points_are_compared(features, points):
    """Under vmap a few points of these maps have other bits than singly: "every bit" is said where none has."""
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(40, features, generator=generator)
        targets = (torch.rand(40, 1, generator=generator) > 0.5).float()
        layer = torch.nn.utils.skip_init(torch.nn.Linear, features, 1)  # which draws nothing
        torch.nn.init.normal_(layer.weight, generator=generator)
        torch.nn.init.zeros_(layer.bias)
        problem = ravine.Problem.of(layer, torch.nn.BCEWithLogitsLoss(), (inputs, targets))
        down, across = problem.labels[:2]
        land = ravine.surface(problem, {across: (-1000, 1000), down: (-1000, 1000)}, points=points)
        one = evaluate.loss_at(problem, (across, down))
        single = [[one(torch.tensor(x), torch.tensor(y)) for x in land[across].values] for y in land[down].values]
        with torch.no_grad():
            same = np.array_equal(land.surface.values, np.array(single, dtype=np.float32))
        told = provenance.describe(land, "surface")["equals_torch"]
        assert told.endswith(f", at all {points**2} points")
        assert told.startswith("every bit") == same
        share = float(abs(land.surface.values - np.array(single, np.float32)).max() / np.max(single))
        assert same or told.startswith(f"within {share:.1e} of the largest value")


def test_torch_is_asked_once_for_the_same_bits(article, monkeypatch):
    """A point of the same data, criterion and grid has the same loss again; of others nothing is known."""
    monkeypatch.setattr(of_neuron, "_remembered", {})
    asked, huber = [], article["HuberLoss"]
    plain = torch.nn.functional.huber_loss
    watched = lambda *given, **how: asked.append(how.get("reduction")) or plain(*given, **how)  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "huber_loss", watched)

    def count(problem, **axes):
        asked.clear()
        land = ravine.surface(problem, {"bias": (-5, 8), "weight": (-5, 8)} | axes, points=11)
        assert provenance.describe(land, "surface")["equals_torch"].startswith("every bit, at ")
        return land, asked.count("mean")

    first, calls = count(huber)
    assert calls >= 6
    again, later = count(huber)
    assert later == 0
    assert again.identical(first)
    assert count(huber, weight=(-5, 9))[1] >= 6
    moved = huber.parts.targets.clone()
    moved[0] += 1
    assert count(huber.with_parts(replace(huber.parts, targets=moved)))[1] >= 6
    assert count(huber.in_double())[1] >= 6
    hooked = copy.deepcopy(huber.parts.criterion)
    hooked.register_forward_hook(lambda *given: None)
    hooked = huber.with_parts(replace(huber.parts, criterion=hooked))
    assert count(hooked)[1] >= 6
    assert count(hooked)[1] >= 6


def test_the_lowest_point_is_among_those_looked_at():
    """Where the loss is lowest, rounding is the largest share of it: a logistic loss of 4e-8 came out as 0."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(40, 2)
        model = torch.nn.Linear(2, 1)
    y = (x[:, :1] > 0).float()
    for weight in (3.0, 0.5):
        problem = ravine.Problem.of(model, torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([weight])), (x, y))
        land = ravine.surface(problem, {"weight[0,0]": (-5, 800), "bias": (-5, 5)}, points=31)
        told = provenance.describe(land, "surface")["equals_torch"]
        low = land.surface.argmin(...)
        here = {name: float(land[name][int(low[name])]) for name in land.surface.dims}
        place = problem.starting_at(weight=[[here["weight[0,0]"], model.weight[0, 1].item()]], bias=here["bias"])
        true = float(ravine.descend(place, steps=0).loss[0])
        assert not told.startswith("every bit") or float(land.surface.min()) == true


def test_a_map_of_one_point_at_which_nothing_is_finite(article):
    land = ravine.surface(article, weight=[3e38], bias=[3e38])
    assert np.isinf(land.surface.sel(criterion="MSELoss")).all()
