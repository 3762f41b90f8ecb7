"""Every printed number and every figure of the article, bit for bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.quiver import Quiver

import bare
import ravine
from artists import line_of
from ravine import article as article_module

PRINTED = {
    0: 53.078269958496094,
    1: 34.7295036315918,
    2: 22.891206741333008,
    3: 15.226042747497559,
    4: 10.242652893066406,
    5: 6.987757682800293,
    6: 4.85075569152832,
    7: 3.4395809173583984,
    8: 2.501774787902832,
    9: 1.8742430210113525,
    97: 0.4994412660598755,
    98: 0.4994412362575531,
    99: 0.4994412660598755,
}
CRITERIA = {
    "MSELoss": torch.nn.MSELoss(),
    "L1Loss": torch.nn.L1Loss(),
    "HuberLoss": torch.nn.HuberLoss(),
    "SmoothL1Loss": torch.nn.SmoothL1Loss(),
}


@pytest.fixture(scope="module")
def data():
    x, y = bare.article_data()
    return torch.from_numpy(x), torch.from_numpy(y)


def test_the_thirteen_printed_losses(told):
    lines = article_module.log(told)
    assert len(lines) == 100
    for epoch, loss in PRINTED.items():
        assert lines[epoch] == f"epoch {epoch}, loss {loss}"


@pytest.mark.parametrize("run", bare.SETTINGS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_twenty_runs_equal_a_bare_loop_in_every_bit(told, data, run, criterion):
    inputs, targets = (each.reshape(-1, 1) for each in data)
    with torch.random.fork_rng():
        positions, losses = bare.train(
            bare.article_neuron(), CRITERIA[criterion], inputs, targets, **bare.SETTINGS[run]
        )
    cell = told.sel(run=run, criterion=criterion)
    assert cell.position.dtype == cell.loss.dtype == np.float32
    assert bare.same_bits(cell.position.sel(parameter=["weight", "bias"]), positions)
    assert bare.same_bits(cell.loss, losses)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_maps_equal_ten_thousand_single_evaluations_in_every_bit(told, data, criterion):
    x, y = data
    grid = [-5.0 + 13.0 * i / 100.0 for i in range(101)]
    singly = [[CRITERIA[criterion](x * w + b, y).item() for b in grid] for w in grid]
    land = told.surface.sel(criterion=criterion)
    assert land.dims == ("weight", "bias")
    assert land.weight.values.tolist() == land.bias.values.tolist() == grid
    assert bare.same_bits(land, singly)


def test_huber_and_smooth_l1_are_one_function_at_their_defaults(told):
    for name in ("position", "loss", "surface"):
        assert bare.same_bits(told[name].sel(criterion="HuberLoss"), told[name].sel(criterion="SmoothL1Loss"))


# -- the figures' artists carry exactly those numbers


def assert_path(ax, cell, line):
    x, y = (cell.position.sel(parameter=name).values for name in ("bias", "weight"))
    assert bare.same_bits(line.get_xdata(), x)
    assert bare.same_bits(line.get_ydata(), y)


@pytest.fixture(scope="module")
def draw(told):
    """Each figure in each style, drawn once for all that look at it."""
    return functools.cache(lambda number, style: article_module.FIGURES[number].draw(told, style))


@pytest.mark.parametrize("style", ["ravine", "article"])
def test_figures_1_and_2_carry_points_and_line(told, data, draw, style):
    x, y = (each.numpy() for each in data)
    for number in (1, 2):
        ax = draw(number, style).axes[0]
        if style == "article":
            clouds = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
            assert len(clouds) == (2 if number == 1 else 1)
        else:
            clouds = [np.c_[line_of(ax, "data").get_data()]]
        for cloud in clouds:
            assert bare.same_bits(cloud, np.c_[x, y])
    cell = told.sel(run="plain", criterion="MSELoss")
    weight, bias = (cell.position.sel(parameter=name).values[-1].item() for name in ("weight", "bias"))
    line = ax.lines[-1]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (x.min(), x.max())
    ends = [weight * x.min() + bias, weight * x.max() + bias]
    assert bare.same_bits([line.get_ydata()[0], line.get_ydata()[-1]], ends)


def test_article_maps_lie_where_they_belong(told, draw):
    for number in (3, 4, 5, 6, 8, 9, 10):
        figure = draw(number, "article")
        maps = [ax for ax in figure.axes if ax.images]
        names = ["MSELoss"] if number < 5 else list(CRITERIA)
        assert len(maps) == len(names)
        for ax, name in zip(maps, names, strict=True):
            (image,) = ax.images
            assert image.get_cmap().name == "terrain"
            assert bare.same_bits(image.get_array(), told.surface.sel(criterion=name))
            assert image.origin == "lower"
            # the outermost cells' middles, not their edges, are at -5 and 8
            assert np.allclose(image.get_extent(), [-5.065, 8.065, -5.065, 8.065])
        bars = [ax for ax in figure.axes if any(isinstance(c, QuadMesh) for c in ax.collections)]
        assert len(bars) == len(maps)


RUN_OF = {5: "plain", 6: "momentum", 8: "nesterov", 9: "weight decay", 10: "dampening"}


@pytest.mark.parametrize("style", ["ravine", "article"])
@pytest.mark.parametrize("number", RUN_OF)
def test_four_paths_carry_the_recorded_positions(told, draw, number, style):
    figure = draw(number, style)
    maps = [ax for ax in figure.axes if ax.images] if style == "article" else figure.axes
    for ax, name in zip(maps, CRITERIA, strict=True):
        cell = told.sel(run=RUN_OF[number], criterion=name)
        assert name in (ax.get_title(), ax.get_title(loc="left"))
        assert_path(ax, cell, ax.lines[0] if style == "article" else line_of(ax, "path"))
        if style == "article":
            crosses = next(c for c in ax.collections if isinstance(c, PathCollection)).get_offsets()
            assert bare.same_bits(crosses, np.c_[ax.lines[0].get_data()])


def test_own_contours_lie_where_the_loss_has_their_value(told, draw):
    from scipy.interpolate import RegularGridInterpolator

    for number, decay in ((6, 0.0), (9, 2.0)):
        for ax, name in zip(draw(number, "ravine").axes, CRITERIA, strict=True):
            land = told.surface.sel(criterion=name).astype(float)
            total = land + decay / 2 * (land.bias**2 + land.weight**2)
            at = RegularGridInterpolator(
                (land.weight.values, land.bias.values), total.transpose("weight", "bias").values
            )
            lines = ax.collections[1]
            drawn = 0
            for level, path in zip(lines.levels, lines.get_paths(), strict=True):
                corners = np.clip(path.vertices[path.codes != path.CLOSEPOLY], -5, 8) if len(path.vertices) else []
                if len(corners):
                    # a corner lies on an edge of the grid, where linear interpolation is what contours mean
                    assert np.allclose(at(corners[:, ::-1]), level, rtol=1e-9)
                    drawn += len(corners)
            assert drawn > 1000


@pytest.mark.parametrize("style", ["ravine", "article", "dark"])
def test_figure_7_adds_up_to_the_recorded_update(told, draw, style):
    figure = draw(7, style)
    titles = ["(a) momentum", "(b) Nesterov momentum", "(c) the same update in torch"]
    assert [ax.get_title(loc="left").strip() for ax in figure.axes] == titles
    for ax, run in zip(figure.axes, ("momentum", "nesterov", "nesterov"), strict=True):
        quivers = {c.get_gid(): c for c in ax.collections if isinstance(c, Quiver)}
        vector = {gid: np.array([arrow.U[0], arrow.V[0]]) for gid, arrow in quivers.items()}
        tail = {gid: np.ravel(arrow.XY[0]) for gid, arrow in quivers.items()}
        step = article_module.figures.STEPS_SHOWN[run]
        cell = told.sel(run=run, criterion="MSELoss", parameter=["bias", "weight"])
        position = cell.position.values.astype(float)
        velocity, gradient = (cell[name].values[step].astype(float) for name in ("velocity", "gradient"))
        textbooks = ax is figure.axes[1]
        if textbooks:  # torch's parameters are one look-ahead further
            position = position + 0.1 * 0.9 * cell.velocity.values
            torch_at = np.ravel(line_of(ax, "torch").get_data())
            assert np.allclose(torch_at, cell.position.values[step], atol=1e-6)
            assert np.allclose(tail["gradient"], torch_at, atol=1e-6)
        assert np.allclose(vector["update"], position[step + 1] - position[step], atol=2e-6)
        assert np.allclose(vector["velocity"], -0.1 * 0.9 * velocity, rtol=1e-9)
        assert np.allclose(vector["gradient"], -0.1 * gradient, rtol=1e-9)
        parts = {"velocity", "gradient"} | ({"look-ahead"} if ax is figure.axes[2] else set())
        assert np.allclose(sum(vector[gid] for gid in parts), vector["update"], atol=2e-6)
        assert set(vector) == parts | {"update"}
    assert figure.axes[1].get_xlim() == figure.axes[2].get_xlim()


def test_figure_7_of_a_run_that_ends_early_shows_its_last_update(told):
    figure = article_module.FIGURES[7].draw(told.isel(step=slice(4)), "ravine")
    assert all("step 3" in [t.get_text() for t in ax.texts] for ax in figure.axes)


def test_the_article_is_the_default_problem_of_the_gallery(article):
    x, y = bare.article_data()
    for problem in article.values():
        assert np.array_equal(problem.parts.inputs.numpy().ravel(), x)
        assert np.array_equal(problem.parts.targets.numpy().ravel(), y)


def test_gradient_and_velocity_do_not_change_the_run(article):
    plain = ravine.descend(article, lr=0.1, momentum=0.9)
    watched = ravine.descend(article, lr=0.1, momentum=0.9, also=("gradient", "velocity"))
    assert watched.position.equals(plain.position)
    assert watched.loss.equals(plain.loss)
