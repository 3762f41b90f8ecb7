"""Both ends of the spectrum along a run, Adam's preconditioned one, and what is said and drawn of them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

import ravine
from artists import line_of, said
from ravine.curvature import _eigenvalues, hessian
from ravine.measure._adam import bearable_preconditioned, read_adam

MSE = torch.nn.MSELoss()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 3, generator=generator)
    return inputs, torch.sin(2 * inputs.sum(1, keepdim=True))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))


@pytest.fixture(scope="module")
def problem(data):
    return ravine.Problem.of(network(), MSE, data)


@pytest.fixture(scope="module")
def adam(problem):
    run = ravine.descend(problem, torch.optim.Adam, lr=0.03, steps=6, also=("gradient",))
    return run.assign(ravine.eigenvalues(problem, run))


def of(told):
    return {each.kind: each for each in told}


def ends(problem, place):
    return np.linalg.eigvalsh(hessian(problem, place))[[0, -1]]


# -- numbers ---------------------------------------------------------------------------------------------------------


def test_both_ends_are_those_of_the_whole_hessian(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=3)
    found = ravine.eigenvalues(case.problem, run)
    for k in range(4):
        low, high = ends(case.problem, run.position[k].values)
        assert float(found.sharpness[k]) == pytest.approx(high, rel=1e-6)
        assert float(found.lowest_curvature[k]) == pytest.approx(low, rel=1e-6, abs=1e-6 * abs(high))
    assert "preconditioned_sharpness" not in found
    whole = run.assign(found)
    assert ravine.check(whole, "sharpness", "lowest_curvature") is whole


def test_lanczos_finds_what_the_whole_hessian_has(problem, monkeypatch):
    """Also at the second step, where the search begins with the eigenvectors of the first."""
    monkeypatch.setattr(_eigenvalues, "WHOLE", 5)
    run = ravine.descend(problem, "adam", lr=0.03, steps=2)
    found = ravine.eigenvalues(problem, run)
    monkeypatch.undo()
    exact = ravine.eigenvalues(problem, run)
    for name in ("sharpness", "lowest_curvature", "preconditioned_sharpness"):
        assert found[name].values == pytest.approx(exact[name].values, rel=1e-6), name
    low, high = ends(problem, run.position[1].values)
    assert float(exact.sharpness[1]) == pytest.approx(high, rel=1e-9)
    assert float(exact.lowest_curvature[1]) == pytest.approx(low, rel=1e-9)
    assert low < 0 < high


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"amsgrad": True}, {"betas": (0.5, 0.9), "eps": 1e-2}])
def test_adams_is_that_of_its_definition(problem, settings):
    """From torch's own state: the step divides its momentum by (1 - β₁ᵗ) (√(v / (1 - β₂ᵗ)) + ε)."""
    run = ravine.descend(problem, torch.optim.Adam, lr=0.03, steps=3, **settings)
    found = ravine.eigenvalues(problem, run)
    double = problem.in_double()
    leaves = {name: value.clone().requires_grad_() for name, value in double.start.items()}
    rule = torch.optim.Adam(leaves.values(), lr=0.03, **settings)
    group = rule.param_groups[0]
    for k in range(4):
        place = torch.nn.utils.parameters_to_vector(leaves.values()).detach().numpy().copy()
        rule.zero_grad()
        double.loss(leaves).backward()
        rule.step()
        states = [rule.state[leaf] for leaf in leaves.values()]
        name = "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"
        squares = torch.cat([state[name].reshape(-1) for state in states]).numpy()
        one, two = group["betas"]
        scale = (1 - one ** (k + 1)) * (np.sqrt(squares) / np.sqrt(1 - two ** (k + 1)) + group["eps"])
        curved = hessian(problem, place) + group["weight_decay"] * np.eye(len(place))
        largest = np.linalg.eigvals(curved / scale[:, None]).real.max()
        assert float(found.preconditioned_sharpness[k]) == pytest.approx(largest, rel=1e-4)  # it trained in float32
    limit = (2 + 2 * one) / ((1 - one) * 0.03)
    assert bearable_preconditioned(run).values == pytest.approx([limit] * 4)


def test_gradients_that_were_recorded_are_taken(problem, adam):
    without = ravine.eigenvalues(problem, adam.drop_vars("gradient"))
    assert adam.preconditioned_sharpness.values == pytest.approx(without.preconditioned_sharpness.values, rel=1e-4)


def test_steps_are_chosen_and_what_is_not_finite_is_left_out(problem):
    run = ravine.descend(problem, lr=0.1, steps=6)
    found = ravine.eigenvalues(problem, run, steps=[4, 2])
    assert np.flatnonzero(np.isfinite(found.sharpness)).tolist() == [2, 4]
    broken = run.copy(deep=True)
    broken["position"][3] = np.inf
    assert np.flatnonzero(np.isnan(ravine.eigenvalues(problem, broken).sharpness)).tolist() == [3]
    with pytest.raises(ValueError, match="there is no step 9 in this run; it has 0, 1, 2"):
        ravine.eigenvalues(problem, run, steps=[9])


def test_a_recording_over_a_loader(data):
    """Of a loader the loss is that of all data, and of a recording each snapshot is looked at."""
    model = network()
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    with ravine.record(model, rule, MSE, every=3) as recorder:
        for _ in range(7):
            rule.zero_grad()
            MSE(model(data[0]), data[1]).backward()
            rule.step()
    run = recorder.dataset()
    problem = ravine.Problem.of(network(), MSE, DataLoader(TensorDataset(*data), 8))
    found = ravine.eigenvalues(problem, run)
    assert found.step.values.tolist() == [0, 3, 6, 7]
    assert float(found.sharpness[-1]) == pytest.approx(ends(problem, run.position[-1].values)[1], rel=1e-6)


def recorded(data, kind, rows=None, **settings):
    """A loop of one's own, over all data or over some rows."""
    model = network()
    rule = kind(model.parameters(), **settings)
    with ravine.record(model, rule, MSE, every=1) as recorder:
        for k in range(6):
            taken = slice(None) if rows is None else slice(rows * (k % 3), rows * (k % 3 + 1))
            rule.zero_grad()
            MSE(model(data[0][taken]), data[1][taken]).backward()
            rule.step()
    return recorder.dataset()


def test_recordings_of_adam_over_all_data_are_as_descended(problem, data, adam):
    run = recorded(data, torch.optim.Adam, lr=0.03)
    run = run.assign(ravine.eigenvalues(problem, run))
    assert run.preconditioned_sharpness.values == pytest.approx(adam.preconditioned_sharpness.values, rel=1e-4)
    told = of(ravine.explain(run))["edge"].sentence
    assert "as Adam's preconditioner scales it" in told
    assert "whole batch" not in told
    figure = ravine.plot.stability(run)
    assert "Below its limit" in said(figure)
    assert line_of(figure.axes[0], "limit").get_ydata() == pytest.approx([2 * 1.9 / (0.1 * 0.03)] * 7)


def test_of_recordings_of_batches_the_limit_is_that_of_the_whole_batch(problem, data):
    run = recorded(data, torch.optim.SGD, rows=10, lr=0.3)
    run = run.assign(ravine.eigenvalues(problem, run))
    assert "for steps over the whole batch" in of(ravine.explain(run))["edge"].sentence
    assert "limit: of steps over the whole batch" in said(ravine.plot.stability(run))
    whole = recorded(data, torch.optim.SGD, lr=0.3)
    whole = whole.assign(ravine.eigenvalues(problem, whole))
    assert "whole batch" not in of(ravine.explain(whole))["edge"].sentence


def test_why_a_run_of_adam_has_no_preconditioned_sharpness_is_said(problem, data):
    for run, why in (
        (recorded(data, torch.optim.Adam, rows=10, lr=0.03), "not the loss over all data"),
        (ravine.descend(problem, "adam", lr=0.03, steps=2, batch_size=10), "not the loss over all data"),
        (ravine.descend(problem, "adamw", lr=0.03, steps=2), "its weight decay is decoupled"),
    ):
        with pytest.warns(UserWarning, match=f"there is no preconditioned_sharpness: .*{why}"):
            assert "preconditioned_sharpness" not in ravine.eigenvalues(problem, run, steps=[0])
    ravine.eigenvalues(problem, ravine.descend(problem, "nadam", lr=0.03, steps=2), steps=[0])  # warns of nothing


@pytest.mark.parametrize("look", [ravine.eigenvalues, ravine.sharpness])
def test_what_are_no_steps_is_refused_in_words(look):
    bowl = ravine.gallery.quadratic()
    run = ravine.descend(bowl, lr=0.1, steps=3)
    for given in (5, 2.0, "1", np.array(2), True):
        with pytest.raises(TypeError, match=r"steps takes the numbers of steps, as in steps=\[1\]; got"):
            look(bowl, run, steps=given)
    for given in (2.5, "1", None, True, np.nan, [1]):
        with pytest.raises(TypeError, match="is no number of a step"):
            look(bowl, run, steps=[0, given])
    for given in ([2, 0], (0, 2), np.array([0, 2]), run.step[::2], [0.0, np.float32(2)], torch.tensor([0, 2])):
        found = look(bowl, run, steps=given)
        values = found if isinstance(found, xr.DataArray) else found["sharpness"]
        assert np.flatnonzero(np.isfinite(values)).tolist() == [0, 2]
    with pytest.raises(ValueError, match="there is no step -1 in this run; it has 0, 1, 2, 3"):
        look(bowl, run, steps=[-1])


class Words(torch.nn.Module):
    """Attention over sparse embeddings: neither the fast kernel nor their gradients can be differentiated twice."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = torch.nn.Embedding(5, 4, sparse=True)
            self.head = torch.nn.Linear(4, 5)

    def forward(self, words):
        x = self.embed(words)[:, None]
        return self.head(torch.nn.functional.scaled_dot_product_attention(x, x, x)[:, 0, -1])


def test_attention_and_sparse_embeddings():
    words = torch.randint(0, 5, (12, 3), generator=torch.Generator().manual_seed(0))
    problem = ravine.Problem.of(Words(), torch.nn.CrossEntropyLoss(), (words, words[:, 0]))
    run = ravine.descend(problem, lr=0.1, steps=1)
    found = ravine.eigenvalues(problem, run, steps=[0])
    assert [float(found[n][0]) for n in ("lowest_curvature", "sharpness")] == pytest.approx(
        ends(problem, run.position[0].values), rel=1e-6
    )


# -- where it does not speak -----------------------------------------------------------------------------------------


def test_what_cannot_be_preconditioned_is_said(problem, data):
    run = ravine.descend(problem, "adam", lr=0.03, steps=6)
    with pytest.warns(UserWarning, match="this run holds only some of them"):
        assert "preconditioned_sharpness" not in ravine.eigenvalues(problem, run.isel(step=slice(None, None, 2)))
    for other, settings, why in (
        ("adamw", {"weight_decay": 0.1}, "its weight decay is decoupled"),
        ("adam", {"batch_size": 10}, "what it sees is not the loss over all data"),
        ("adam", {"maximize": True}, "it climbs"),
        ("adam", {"clip_norm": 0.1}, "its gradients are clipped"),
        ("adam", {"groups": {"*bias": {"lr": 0.1}}}, "groups of parameters have settings of their own"),
        ("nadam", {}, "it is not of torch.optim.Adam"),
    ):
        found = read_adam(ravine.descend(problem, other, lr=0.03, steps=2, **settings))
        assert isinstance(found, str), other
        assert why in found
    assert read_adam(ravine.descend(problem, "adamw", lr=0.03, steps=2, weight_decay=0.0)).beta2 == 0.999
    cycle = ravine.descend(problem, "adam", lr=0.03, steps=4, scheduler="OneCycleLR(max_lr=0.1, total_steps=10)")
    rule = read_adam(cycle)
    assert rule.beta1.tolist() == cycle.scheduled_beta1.values.tolist()
    expected = (2 + 2 * rule.beta1) / ((1 - rule.beta1) * cycle.scheduled_lr.values)
    assert bearable_preconditioned(cycle).values == pytest.approx(expected)


def test_other_runs_are_refused(problem):
    run = ravine.descend(problem, lr=0.1, steps=4)
    with pytest.raises(ValueError, match="the run has 2 parameters and the problem 31"):
        ravine.eigenvalues(problem, ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=2))
    with pytest.raises(ValueError, match="the run is of other parameters than the problem: 'a' there is 'x' here"):
        ravine.eigenvalues(
            ravine.gallery.rosenbrock(),
            ravine.descend(ravine.Problem(lambda p: p["a"] ** 2 + p["y"], {"a": 1.0, "y": 0.0})),
        )
    with pytest.raises(ValueError, match="this run is projected onto a plane"):
        ravine.eigenvalues(problem, ravine.Plane.ends(run).project(run, problem))
    with pytest.raises(TypeError, match="expected a study"):
        ravine.eigenvalues(problem, "run.nc")


# -- what is said ----------------------------------------------------------------------------------------------------


def made(problem, sharpness, **settings):
    """A real run with curvature that is stated: what is said of it must follow from these numbers alone."""
    run = ravine.descend(problem, **{"lr": 0.1, "steps": len(sharpness) - 1, **settings})
    return run.assign(sharpness=("step", np.asarray(sharpness, dtype=float)))


def test_progressive_sharpening_is_said_where_it_rose_all_the_way(problem):
    rising = np.r_[np.linspace(5, 20, 8), np.full(6, 20.5)]
    told = of(ravine.explain(made(problem, rising)))["sharpening"]
    assert told.values["limit"] == 20
    assert told.values["step"] == np.flatnonzero(rising >= 18)[0]
    assert told.scope == "measured"
    silent = {
        "never near": np.linspace(5, 12, 14),
        "there from the start": np.full(14, 19.0),
        "up and down": np.r_[5, 12, 4, 11, 3, 10, 2, 9, 19, np.full(5, 20)],
    }
    for name, values in silent.items():
        assert "sharpening" not in of(ravine.explain(made(problem, values))), name
    assert "sharpening" not in of(ravine.explain(made(problem, rising, batch_size=10)))
    assert "sharpening" not in of(ravine.explain(made(problem, rising, optimizer="rmsprop", lr=0.01)))


def test_adam_is_held_against_its_own_limit(problem, adam):
    told = of(ravine.explain(adam))["edge"]
    share = adam.preconditioned_sharpness.values / bearable_preconditioned(adam).values
    assert told.values["largest_share"] == pytest.approx(share.max())
    assert "as Adam's preconditioner scales it" in told.sentence
    assert told.scope == "local"
    plain = adam.drop_vars("preconditioned_sharpness")
    assert "edge" not in of(ravine.explain(plain))  # of the plain Hessian no limit is known for Adam


def test_both_ends_are_told(problem, adam):
    told = of(ravine.explain(adam))["spectrum"]
    assert told.values["lowest"] == float(adam.lowest_curvature[-1]) < 0
    assert "the loss curves down along some direction" in told.sentence
    bowl = ravine.gallery.quadratic()
    run = ravine.descend(bowl, lr=0.1, steps=2)
    convex = of(ravine.explain(run.assign(ravine.eigenvalues(bowl, run))))["spectrum"]
    assert "curves down" not in convex.sentence
    assert "spectrum" not in of(ravine.explain(run.assign(sharpness=ravine.sharpness(bowl, run))))


# -- the picture -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ravine", "dark", "article"])
def test_the_picture_shows_curvature_under_its_limit(problem, style):
    run = ravine.descend(problem, lr=0.3, steps=12, scheduler="exponential(gamma=0.95)")
    run = run.assign(ravine.eigenvalues(problem, run))
    (ax,) = ravine.plot.stability(run, style=style).axes
    assert line_of(ax, "sharpness").get_ydata().tolist() == run.sharpness.values.tolist()
    assert line_of(ax, "lowest").get_ydata().tolist() == run.lowest_curvature.values.tolist()
    assert line_of(ax, "limit").get_ydata() == pytest.approx(2 / run.scheduled_lr.values)
    assert ax.get_xlabel() == "step"


def test_pictures_of_momentum_of_adam_and_of_several(problem, adam):
    nesterov = ravine.descend(problem, lr=0.05, momentum=0.5, nesterov=True, steps=4)
    nesterov = nesterov.assign(ravine.eigenvalues(problem, nesterov))
    (ax,) = ravine.plot.stability(nesterov).axes
    assert line_of(ax, "limit").get_ydata() == pytest.approx([2 * 1.5 / (2 * 0.05)] * 5)
    figure = ravine.plot.stability(adam)
    assert line_of(figure.axes[0], "limit").get_ydata() == pytest.approx([2 * 1.9 / (0.1 * 0.03)] * 7)
    assert figure.axes[0].get_ylabel() == "preconditioned sharpness"
    heavy = ravine.descend(problem, lr=0.05, momentum=0.5, steps=4)
    heavy = heavy.assign(ravine.eigenvalues(problem, heavy))
    both = ravine.join({"nesterov": nesterov, "heavy ball": heavy})
    (ax,) = ravine.plot.stability(both).axes
    assert {"nesterov", "heavy ball", "limit", "lowest"} <= {each.get_gid() for each in ax.lines}
    assert not any(each.get_gid() == "limit" for each in ax.texts)  # each has a formula of its own
    figure, hers = plt.subplots()
    assert ravine.plot.stability(nesterov, ax=hers) is hers
    plt.close(figure)
    other = ravine.descend(problem, "rmsprop", lr=0.01, steps=3)
    found = ravine.eigenvalues(problem, other)
    assert "no limit is known" in said(ravine.plot.stability(other.assign(found)))
    assert "no limit without the run: run.assign(" in said(ravine.plot.stability(found))


def test_runs_of_sgd_of_adam_and_of_others_side_by_side(problem, adam):
    plain = made(problem, np.full(7, 9.0))
    other = ravine.descend(problem, "rmsprop", lr=0.01, steps=6).assign(sharpness=("step", np.full(7, 9.0)))
    two = ravine.join({"SGD": plain, "Adam": adam.drop_vars("gradient")})
    assert two.sharpness.sel(run="SGD").values.tolist() == [9.0] * 7
    assert np.isnan(two.preconditioned_sharpness.sel(run="SGD")).all()
    assert np.isnan(two.lowest_curvature.sel(run="SGD")).all()
    for runs, unbounded in ((two, False), (ravine.join([plain, adam.drop_vars("gradient"), other]), True)):
        figure = ravine.plot.stability(runs)
        (ax,) = figure.axes
        assert ax.get_ylabel() == "sharpness, of Adam preconditioned"
        assert "dotted: the largest curvature, for Adam as its preconditioner scales it," in said(figure)
        assert ("no limit is known for RMSprop" in said(figure)) == unbounded
        assert not any(each.get_gid() == "limit" for each in ax.texts)  # no formula speaks of both
    last = ravine.plot.stability(ravine.join([other, plain]))
    assert any(each.get_gid() == "limit" for each in last.axes[0].texts)
    without = ravine.descend(problem, lr=0.1, steps=6)
    told = ravine.explain(ravine.join({"with": plain, "without": without}))
    assert [each.about["run"] for each in told if each.kind == "edge"] == ["with"]


def test_titles_say_where_the_run_stands(problem):
    over, below = made(problem, np.full(12, 30.0)), made(problem, np.full(12, 10.0))
    assert "Over its limit at 12 of 12 places" in said(ravine.plot.stability(over))
    assert "Below its limit: at most 50 % of it" in said(ravine.plot.stability(below))
    near = made(problem, np.r_[5, 10, np.full(10, 19.5)])
    assert "At the edge of stability from step 2 on" in said(ravine.plot.stability(near))


def test_a_run_without_curvature_is_told_how_to_get_it(problem):
    run = ravine.descend(problem, lr=0.1, steps=2)
    with pytest.raises(ValueError, match=r"run.assign\(ravine.eigenvalues\(problem, run\)\)"):
        ravine.plot.stability(run)
    both = xr.concat([made(problem, np.full(5, 9.0)), made(problem, np.full(5, np.nan))], dim="run")
    with pytest.raises(ValueError, match="nobody looked at the curvature of"):
        ravine.plot.stability(both)
