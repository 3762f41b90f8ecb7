"""Sweeps of linear layers and activations: the gradient written out has the bits of torch, or autograd is taken."""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

import bare
import ravine
from ravine._engine import chain, forms, network
from ravine._engine.on_batches import Trial, values_of
from ravine._engine.rules.registry import RULES
from ravine._study import provenance

KINDS = [getattr(torch.optim, path.rpartition(":")[2]) for path in RULES]
CRITERIA = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(delta=0.7), nn.SmoothL1Loss(beta=0.3)]
ACTIVATIONS = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "relu in place": nn.ReLU(inplace=True),
    "leaky relu": nn.LeakyReLU(0.2),
    "elu": nn.ELU(0.7),
    "softplus": nn.Softplus(beta=2.0),
    "gelu": nn.GELU(),
    "gelu by tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
}
CAPABLE = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
WRITTEN = "'s rule on a batch, gradient written out"


def linear(random, inputs, outputs, dtype, bias=True):
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias, dtype=dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(random.normal(size=parameter.shape) / inputs**0.5))
    return layer


def problem_of(random, widths, activations, criterion, dtype=torch.float32, bias=True, samples=20):
    layers = [linear(random, a, b, dtype, bias) for a, b in itertools.pairwise(widths)]
    chain = [layers[0]]
    for layer, activation in zip(layers[1:], activations, strict=False):
        chain += [activation, layer]
    x = torch.from_numpy(random.normal(size=(samples, widths[0]))).to(dtype)
    y = torch.from_numpy(random.normal(size=(samples, widths[-1]))).to(dtype)
    return ravine.Problem.of(nn.Sequential(*chain), criterion, (x, y))


def facts_of(runs):
    facts = provenance.describe(runs, "loss")
    assert WRITTEN in facts["engine"] or facts["engine"].endswith("by autograd"), facts
    return facts


def check_runs(random, problem, kind, runs, **axes):
    """Where the gradient is written out, every bit of some runs is torch's; else autograd is taken, and near."""
    facts = facts_of(runs)
    exact = WRITTEN in facts["engine"]
    if exact:
        assert facts["why"].startswith("every bit torch's at ")
        assert facts["equals_torch"].startswith("every bit, ")
    for _ in range(2):
        places = {name: int(random.integers(len(values))) for name, values in axes.items()}
        given = {name: values[places[name]] for name, values in axes.items()}
        parts, steps = problem.parts, runs.sizes["step"] - 1
        position, loss = bare.train(parts.model, parts.criterion, parts.inputs, parts.targets, kind, steps, **given)
        run = runs.isel(places)
        if exact:
            assert bare.same_bits(run.position, position), given
            assert bare.same_bits(run.loss, loss), given
        else:
            np.testing.assert_allclose(run.loss[0], loss[0], rtol=1e-5)
    return exact


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(name, random):
    """Numbers of samples and widths that leave some over from torch's vectors, two hidden layers, both dtypes."""
    dtype = torch.float32 if random.random() < 0.5 else torch.float64
    widths = [int(random.integers(1, 7)), *random.integers(1, 40, 2).tolist(), int(random.integers(1, 4))]
    criterion, samples = CRITERIA[random.integers(4)], int(random.integers(2, 50))
    problem = problem_of(random, widths, [ACTIVATIONS[name]] * 2, criterion, dtype, samples=samples)
    axes = {"lr": [0.01, float(10.0 ** random.uniform(-3, 0))], "momentum": [0.0, 0.9]}
    runs = ravine.sweep(problem, steps=8, **axes)
    assert check_runs(random, problem, torch.optim.SGD, runs, **axes), facts_of(runs)["why"]


@pytest.mark.parametrize("between", [None, nn.SiLU(), nn.Tanh()], ids=str)
def test_a_single_number_between_layers(between, random):
    """What gives its place to something else is not asked for again, also where nothing is between layers."""
    for last in (int(random.integers(2, 5)), int(random.integers(5, 9))):
        samples = int(random.integers(30, 70))
        layers = [linear(random, a, b, torch.float32) for a, b in itertools.pairwise([3, 1, last, 1])]
        chain = layers if between is None else [layers[0], between, layers[1], between, layers[2]]
        x, y = (torch.from_numpy(random.normal(size=(samples, width))).float() for width in (3, 1))
        problem = ravine.Problem.of(nn.Sequential(*chain), nn.MSELoss(), (x, y))
        axes = {"lr": [0.01, 0.1, 0.2], "momentum": [0.0, 0.9]}
        runs = ravine.sweep(problem, steps=8, **axes)
        exact = check_runs(random, problem, torch.optim.SGD, runs, **axes)
        # of linear layers in a row some of the wider ones have other bits
        assert exact or (between is None and (last > 4 or not CAPABLE)), facts_of(runs)["why"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_random_architectures_under_each_optimizer(kind, random):
    """One layer to three, biases or none, a run of few parameters and of many."""
    depth = int(random.integers(1, 4))
    widths = [int(random.integers(1, 9)), *random.integers(1, 24, depth - 1).tolist(), int(random.integers(1, 5))]
    chosen = [ACTIVATIONS[name] for name in random.choice([*ACTIVATIONS], depth)]
    dtype = torch.float32 if random.random() < 0.5 else torch.float64
    bias = bool(random.random() < 0.6)
    problem = problem_of(random, widths, chosen, CRITERIA[random.integers(4)], dtype, bias)
    axes = {"lr": [0.01, float(10.0 ** random.uniform(-3, -0.5))], "weight_decay": [0.0, 0.1]}
    runs = ravine.sweep(problem, kind, 6, **axes)
    check_runs(random, problem, kind, runs, **axes)


def test_on_mini_batches(random):
    problem = problem_of(random, [2, 9, 1], [nn.Tanh()], nn.MSELoss(), samples=23)
    runs = ravine.sweep(problem, steps=9, batch_size=7, lr=[0.01, 0.1], momentum=[0.0, 0.9], seed=[1, 2])
    facts = facts_of(runs)
    if WRITTEN in facts["engine"] and "not every bit" not in facts["why"]:
        assert facts["equals_torch"].startswith("every bit, 8 whole runs")
        run = ravine.descend(problem, steps=9, batch_size=7, lr=0.1, momentum=0.9, seed=2)
        one = ravine.at(runs, lr=0.1, momentum=0.9, seed=2)
        for name in ("position", "loss", "batch_loss"):
            assert bare.same_bits(one[name], run[name])


@pytest.mark.quick
def test_what_is_such_a_chain(random):
    def layers(model, targets=1, criterion=None):
        x, y = torch.ones(5, 2), torch.ones(5, targets)
        return chain.read_layers(ravine.Problem.of(model, criterion or nn.MSELoss(), (x, y)))

    def two(*middle):
        return nn.Sequential(linear(random, 2, 3, torch.float32), *middle, linear(random, 3, 1, torch.float32))

    found = layers(two(nn.Tanh()))
    assert [(each.inputs, each.outputs, each.bias is not None) for each in found] == [(2, 3, True), (3, 1, True)]
    assert found[0].activation.of_output
    assert found[1].activation is None
    assert len(layers(two())) == 2
    assert len(layers(nn.Sequential(two(nn.ReLU()), nn.Sequential(nn.Sigmoid())))) == 2
    assert layers(linear(random, 2, 3, torch.float32, bias=False), 3)[0].bias is None
    shared = linear(random, 2, 2, torch.float32)
    frozen = two(nn.Tanh())
    frozen[0].bias.requires_grad_(False)
    hooked = two(nn.Tanh())
    hooked[0].register_forward_hook(lambda module, inputs, output: output * 2)
    clipped, own = two(nn.Tanh()), two(nn.Tanh())
    clipped[0].register_full_backward_pre_hook(lambda module, slopes: (slopes[0].clamp(max=1.0),))
    own.forward = functools.partial(nn.Sequential.forward, own)
    for model in (
        two(nn.Softmax(dim=1)),
        two(nn.Dropout(0.5)),
        two(nn.ELU(inplace=True)),
        two(nn.Tanh(), nn.ReLU()),
        nn.Sequential(nn.Tanh(), linear(random, 2, 1, torch.float32)),
        nn.Sequential(shared, nn.Tanh(), shared, linear(random, 2, 1, torch.float32)),
        frozen,
        hooked,
        clipped,
        own,
    ):
        assert layers(model) is None, model
    assert layers(two(nn.Tanh()), criterion=nn.MSELoss(reduction="sum")) is None
    assert chain.read_layers(ravine.gallery.rosenbrock()) is None


def test_without_its_bits_autograd_is_taken(random, monkeypatch):
    """A product that is off in its last bit is found, in whichever layer."""
    problem = problem_of(random, [2, 7, 3], [nn.Tanh()], nn.MSELoss(), torch.float64)
    take = forms.Forms.take

    def off(self, samples, name, given):
        found = take(self, samples, name, given)
        return torch.nextafter(found, found + 1, out=found) if name == "1 inputs" else found

    monkeypatch.setattr(forms.Forms, "take", off)
    facts = facts_of(ravine.sweep(problem, lr=[0.01, 0.1], steps=3))
    assert facts["engine"] == "SGD's rule on a batch, gradient by autograd"
    monkeypatch.undo()
    facts = facts_of(ravine.sweep(problem, lr=[0.01, 0.1], steps=3))
    assert facts["engine"] == "SGD's rule on a batch, gradient written out"
    named = facts_of(ravine.sweep(problem, lr=[0.01, 0.1], steps=3, engine="autograd"))
    assert named["engine"] == "SGD's rule on a batch, gradient by autograd"


@pytest.mark.quick
def test_a_form_that_writes_nothing_is_not_taken():
    """torch's GELU leaves a result alone whose rows lie apart: what stood there before is no answer."""
    room, expected = torch.zeros(2, 3), torch.ones(2, 3)
    assert forms._writes(lambda: room.copy_(expected), expected)
    assert not forms._writes(lambda: room, expected)


def test_layouts_stores_and_workers(random, tmp_path):
    """Runs of many parameters lie together in memory; nothing of that shows."""
    problem = problem_of(random, [3, 11, 2], [nn.Tanh()], nn.HuberLoss(), samples=8)
    sweep = functools.partial(ravine.sweep, problem, "adam", 7, lr=[0.01, 0.1, -1.0])
    whole = sweep()
    assert whole.position.dims == ("lr", "step", "parameter")
    assert np.isnan(whole.position.isel(lr=2)).all()
    alone = ravine.descend(problem, "adam", 7, lr=0.1)
    assert bare.same_bits(ravine.at(whole, lr=0.1).position, alone.position) or "autograd" in facts_of(whole)["engine"]
    sweep(store=tmp_path / "runs.zarr")
    assert np.array_equal(ravine.open(tmp_path / "runs.zarr").position, whole.position, equal_nan=True)
    with ProcessPoolExecutor(1) as pool:
        elsewhere = sweep(executor=pool)
    assert np.array_equal(elsewhere.position, whole.position, equal_nan=True)
    assert facts_of(elsewhere)["equals_torch"] == facts_of(whole)["equals_torch"]
    one = ravine.sweep(problem, "adam", 7, lr=[0.1])
    assert bare.same_bits(one.position[0], ravine.at(whole, lr=0.1).position)


def test_packed_it_chooses_anew(random):
    problem = problem_of(random, [2, 5, 1], [nn.SiLU()], nn.MSELoss(), samples=9)
    flat = torch.cat([value.reshape(-1) for value in problem.start.values()])
    position = flat[:, None] + torch.from_numpy(random.normal(size=(len(flat), 12))).float() * 0.1
    with torch.no_grad():
        made = network.Network(problem, [Trial(problem, values_of(problem, position))])
        again = cloudpickle.loads(cloudpickle.dumps(made))
        assert again.forms.chosen == made.forms.chosen
        one, other = torch.empty(2, 12)
        assert torch.equal(made(position, one), again(position, other))
        assert torch.equal(one, other)
