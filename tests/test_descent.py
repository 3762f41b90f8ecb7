"""descend equals a bare loop, records what it says, and leaves everything as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import bare
import ravine
from ravine._study import provenance

pytestmark = pytest.mark.quick

WAYS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5},
    {"momentum": 0.5, "nesterov": True},
    {"weight_decay": 0.3},
    {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    {"foreach": True, "momentum": 0.9, "nesterov": True},
    {"fused": True, "momentum": 0.9},
    {"maximize": True},
]


@pytest.mark.parametrize("settings", WAYS, ids=str)
def test_equals_a_bare_loop_in_every_bit(case, settings):
    run = ravine.descend(case.problem, steps=30, lr=case.lr, **settings)
    with torch.random.fork_rng():
        positions, losses = case.loop(steps=30, lr=case.lr, **settings)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    assert run.position.dtype == run.loss.dtype == np.float32


def test_tensor_lr_and_differentiable_are_the_same_path_as_in_torch(case):
    with torch.random.fork_rng():
        positions, _ = case.loop(steps=20, lr=torch.tensor(case.lr), momentum=0.9)
    for settings in ({"lr": torch.tensor(case.lr)}, {"lr": torch.tensor(case.lr), "differentiable": True}):
        run = ravine.descend(case.problem, steps=20, momentum=0.9, **settings)
        assert bare.same_bits(run.position, positions)
        assert float(run.lr) == torch.tensor(case.lr).item()


def test_float64_problems_stay_float64():
    problem = ravine.Problem(lambda p: p["x"] ** 2, start={"x": np.float64(3.0)})
    run = ravine.descend(problem, lr=0.1, steps=3)
    assert run.position.dtype == run.loss.dtype == np.float64
    assert (
        run.loss.values.tolist()
        == bare.minimise(lambda p: p["x"] ** 2, {"x": np.float64(3.0)}, lr=0.1, steps=3)[1].tolist()
    )


def test_gradient_and_velocity_are_torchs(case):
    settings = {"lr": case.lr, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}
    run = ravine.descend(case.problem, steps=10, also=("gradient", "velocity"), **settings)
    gradient, velocity = run.gradient.values, run.velocity.values
    assert np.isnan(velocity[0]).all()  # torch holds no buffer before the first step
    total = gradient + np.float32(0.1) * run.position.values
    assert np.allclose(velocity[1], total[0], rtol=1e-5)  # the first is not damped
    assert np.allclose(velocity[2:], 0.9 * velocity[1:-1] + 0.8 * total[1:-1], rtol=1e-4, atol=1e-6)
    assert np.allclose(np.diff(run.position, axis=0), -case.lr * velocity[1:], rtol=1e-3, atol=1e-6)
    # autograd's own gradient at a recorded position
    values = torch.tensor(run.position.values[7])
    leaves, start = {}, 0
    for name, value in case.problem.start.items():
        leaves[name] = values[start : start + value.numel()].reshape(value.shape).clone().requires_grad_()
        start += value.numel()
    case.problem.loss(leaves).backward()
    assert np.allclose(gradient[7], bare.flat([leaf.grad for leaf in leaves.values()]), rtol=1e-4, atol=1e-6)


def test_foreach_with_nesterov_overwrites_gradients_after_they_were_read(article):
    settings = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "also": ("gradient",), "steps": 5}
    problem = article["MSELoss"]
    assert ravine.descend(problem, **settings, foreach=True).gradient.equals(
        ravine.descend(problem, **settings).gradient
    )


def test_a_mapping_becomes_criterion_or_problem(article):
    assert ravine.descend(article, steps=1).position.dims == ("criterion", "step", "parameter")
    bowls = {f"{k}": ravine.Problem(lambda p, k=k: k * p["x"] ** 2, start={"x": 1.0}) for k in (1, 2)}
    runs = ravine.descend(bowls, steps=1)
    assert runs.position.dims == ("problem", "step", "parameter")
    assert runs.loss.values[:, 0].tolist() == [1.0, 2.0]


def test_each_run_of_a_mapping_is_the_run_alone(article):
    together = ravine.descend(article, lr=0.1, momentum=0.9)
    for name, problem in article.items():
        alone = ravine.descend(problem, lr=0.1, momentum=0.9)
        assert bare.same_bits(together.position.sel(criterion=name), alone.position)
        assert str(alone.criterion.values) == name


def test_settings_and_provenance_travel_with_the_run(article):
    run = ravine.descend(article["HuberLoss"], lr=0.1, momentum=0.9, nesterov=True, foreach=False, steps=7)
    assert (float(run.lr), float(run.momentum), bool(run.nesterov)) == (0.1, 0.9, True)
    assert str(run.optimizer.values) == "SGD"
    facts = provenance.describe(run, "position")
    assert facts["settings"]["foreach"] is False
    assert facts["settings"]["dampening"] == 0
    assert facts["torch"] == torch.__version__
    assert facts["problem"]["criterion"] == "HuberLoss()"


def test_divergence_is_kept_as_torch_left_it(article):
    run = ravine.descend(article["MSELoss"], lr=30.0, steps=100)
    with torch.random.fork_rng():
        x, y = (torch.from_numpy(a).reshape(-1, 1) for a in bare.article_data())
        positions, losses = bare.train(bare.article_neuron(), torch.nn.MSELoss(), x, y, lr=30.0)
    assert not np.isfinite(losses).all()
    assert bare.same_bits(run.loss, losses)
    assert bare.same_bits(run.position, positions)
    first = int(np.flatnonzero(~np.isfinite(losses))[0])
    with pytest.raises(FloatingPointError, match=f"at step {first}$"):
        ravine.descend(article["MSELoss"], lr=30.0, throw=True)


def test_the_users_model_is_never_touched():
    with torch.random.fork_rng():
        model = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
        )
        data = torch.randn(12, 3), torch.randn(12, 1)
    model[0].bias.requires_grad_(False)
    model[2].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), data)
    ravine.descend(problem, lr=0.1, steps=5)
    ravine.surface(problem, {"3.bias": (-1, 1), "3.weight[0,0]": (-1, 1)}, points=3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert not any(label.startswith("0.bias") for label in problem.labels)  # frozen stays frozen
    # and what happens to it afterwards does not reach the problem
    start = problem.start["3.bias"].clone()
    model[3].bias.data.fill_(9.0)
    assert torch.equal(problem.start["3.bias"], start)


def test_dropout_draws_what_a_bare_loop_draws():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        inputs, targets = torch.randn(12, 3), torch.randn(12, 1)
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), (inputs, targets))
        torch.manual_seed(7)
        run = ravine.descend(problem, lr=0.1, steps=8)
        torch.manual_seed(7)
        trained = ravine.descend(problem, lr=0.1, steps=8, mode="train")
        torch.manual_seed(7)
        positions, losses = bare.train(model, torch.nn.MSELoss(), inputs, targets, lr=0.1, steps=8)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.batch_loss[:-1], losses[:-1])
    assert bare.same_bits(trained.loss, losses)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"lr": torch.tensor([0.1, 0.2])}, ValueError, "Tensor lr must be 1-element"),
        ({"lr": -0.1}, ValueError, "Invalid learning rate: -0.1"),
        ({"lr": 0.1, "momentum": -0.1}, ValueError, "Invalid momentum value: -0.1"),
        ({"lr": 0.1, "weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
        ({"lr": 0.1, "nesterov": True}, ValueError, "Nesterov momentum requires a momentum and zero dampening"),
        (
            {"lr": 0.1, "nesterov": True, "momentum": 0.9, "dampening": 0.1},
            ValueError,
            "Nesterov momentum requires a momentum and zero dampening",
        ),
        ({"lr": 0.1, "fused": True, "differentiable": True}, RuntimeError, "`fused` does not support `differentiable`"),
        ({"lr": 0.1, "fused": True, "foreach": True}, RuntimeError, "`fused` and `foreach` cannot be `True` together."),
        ({"lr": None}, TypeError, "'<' not supported between instances of"),
        ({"lr": "0.1"}, TypeError, "'<' not supported between instances of"),
    ],
    ids=str,
)
def test_torchs_errors_come_in_torchs_words(case, settings, kind, words):
    with pytest.raises(kind) as caught:
        ravine.descend(case.problem, **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"lrr": 0.1}, "SGD takes no setting 'lrr' (did you mean lr?); it takes lr, momentum"),
        ({"steps": -1}, "steps must be a whole number, 0 or more, got -1"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"also": ("speed",)}, "also takes"),
        ({"also": "gradient"}, "also takes a tuple"),
        ({"optimizer": torch.optim.Adam, "also": ("velocity",)}, "Adam keeps no momentum_buffer"),
        ({"optimizer": 3}, 'optimizer must be a class such as torch.optim.SGD, or its name ("Adam"), got 3'),
    ],
    ids=str,
)
def test_our_errors_name_value_and_remedy(case, call, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        ravine.descend(case.problem, **call)
    assert words in str(caught.value)


def test_a_loss_that_is_no_number_is_refused_at_once():
    with pytest.raises(ValueError, match=r"returned 2 numbers \(shape \(2,\)\), expected one"):
        ravine.descend(ravine.Problem(lambda p: torch.stack([p["x"], p["x"]]), start={"x": 1.0}))
    with pytest.raises(ValueError, match="the loss at the start is nan"):
        ravine.descend(ravine.Problem(lambda p: p["x"].log(), start={"x": -1.0}))
    with pytest.raises(TypeError, match="must return a tensor with one element, got float"):
        ravine.descend(ravine.Problem(lambda p: 1.0, start={"x": -1.0}))


def test_zero_steps_and_one_parameter(case):
    run = ravine.descend(case.problem, steps=0)
    assert run.sizes["step"] == 1
    single = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), lr=0.1, steps=2)
    assert single.position.shape == (3, 1)


def test_prediction_is_the_models_output_at_the_end(all_cases):
    for name in ("article", "csv"):
        run = ravine.descend(all_cases[name].problem, lr=all_cases[name].lr)
        weight, bias = run.position.values[-1]
        assert np.allclose(run.prediction, weight * run.inputs + bias, rtol=1e-6)
    network = ravine.descend(all_cases["network"].problem, lr=0.1, steps=5)
    assert network.inputs.dims == ("sample", "feature")
    loss = float(((network.prediction - network.targets) ** 2).mean())
    assert loss == pytest.approx(float(network.loss[-1]), rel=1e-5)
