"""The loop is as wide as torch's: each contract against a bare loop, nothing lives on from run to run, and the loss
that is recorded is the evaluation loss."""

from __future__ import annotations

import copy
import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch

import bare
import processes
import ravine

S = torch.optim.lr_scheduler


def told(variable):
    return json.loads(variable.attrs["provenance"])


@pytest.fixture
def points():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(20, 2)
        yield x, (x.sum(1, keepdim=True) > 0).float() + 0.1 * x[:, :1]


@pytest.fixture
def line():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.nn.Linear(2, 1)


# -- nothing lives on --------------------------------------------------------------------------------------------


class Running(torch.nn.Module):
    """A loss over its running mean, in a buffer that is written into."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, a, b):
        loss = ((a - b) ** 2).mean()
        self.mean.mul_(0.9).add_(0.1 * loss.detach())
        return loss / self.mean


class Replacing(torch.nn.Module):
    """The same in a buffer that is replaced."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, a, b):
        loss = ((a - b) ** 2).mean()
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss / self.mean


class Counting:
    """A criterion that is no module, and counts."""

    def __init__(self):
        self.calls = 0

    def __call__(self, a, b):
        self.calls += 1
        return ((a - b) ** 2).mean() * (1 + 0.1 * self.calls)


def captured():
    calls = [0]

    def criterion(a, b):
        calls[0] += 1
        return ((a - b) ** 2).mean() * (1 + 0.1 * calls[0])

    return criterion


@pytest.mark.parametrize("make", [Running, Replacing, Counting, captured])
def test_a_criterion_that_keeps_state_begins_anew(make, points, line):
    problem = ravine.Problem.of(line, make(), points)
    runs = [ravine.descend(problem, lr=0.1, steps=4) for _ in range(2)]
    assert runs[0].identical(runs[1])
    _, losses = bare.train(line, make(), *points, lr=0.1, steps=4)
    assert bare.same_bits(runs[0].loss, losses)
    lands = [ravine.surface(problem, {"bias": (-1, 1), "weight[0,0]": (-1, 1)}, points=4) for _ in range(2)]
    assert lands[0].identical(lands[1])
    both = ravine.descend({"a": problem, "b": problem}, lr=0.1, steps=4)
    assert bare.same_bits(both.loss[0], both.loss[1])
    swept = ravine.sweep(problem, lr=[0.1, 0.2], steps=4)
    assert bare.same_bits(ravine.at(swept, lr=0.1).loss, losses)


class Hidden(torch.nn.Module):
    """A model that keeps what it computed, and uses it at the next call."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)
        self.kept = []
        self.last = None

    def forward(self, x):
        out = self.inner(x)
        if self.last is not None:
            out = out + 0.1 * self.last.detach()
        self.last, self.kept = out, [out]
        return out


def test_a_model_that_keeps_activations_begins_anew(points):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Hidden()
    problem = ravine.Problem.of(model, torch.nn.MSELoss(), points)
    runs = [ravine.descend(problem, lr=0.1, steps=4) for _ in range(2)]
    assert runs[0].identical(runs[1])
    own, losses = copy.deepcopy(model), []
    rule = torch.optim.SGD(own.parameters(), lr=0.1)
    for _ in range(4):  # what is kept goes on from step to step, as in a bare loop
        rule.zero_grad()
        loss = torch.nn.functional.mse_loss(own(points[0]), points[1])
        loss.backward()
        rule.step()
        losses.append(loss.item())
    assert bare.same_bits(runs[0].loss[:-1], losses)
    assert bare.same_bits(runs[0].position[-1], bare.flat(own.parameters()))
    axes = {"inner.bias": (-1, 1), "inner.weight[0,0]": (-1, 1)}
    assert ravine.surface(problem, axes, points=3).identical(ravine.surface(problem, axes, points=3))
    again = ravine.descend(problem, lr=0.1, steps=4)  # after vmap has passed through
    assert again.identical(runs[0])
    model(points[0])  # it holds a graph now, which torch refuses to copy
    held = ravine.Problem.of(model, torch.nn.MSELoss(), points)
    assert np.isfinite(ravine.descend(held, lr=0.1, steps=2).loss).all()
    assert not model.last.is_leaf


def decaying(k):
    return 0.9**k


class Factor:
    def __init__(self):
        self.value = 1.0

    def __call__(self, k):
        self.value *= 0.9
        return self.value


def counted():
    state = {"k": 0}

    def factor(k):
        state["k"] += 1
        return 0.9 ** state["k"]

    return factor


@pytest.mark.parametrize("make", [Factor, counted, lambda: [Factor()], lambda: [counted()]])
def test_a_schedule_with_state_begins_anew(make, article):
    starts = [{"bias": -3.0}, {"bias": -3.0}]
    scheduler = partial(S.LambdaLR, lr_lambda=make())
    runs = ravine.descend(article["MSELoss"], lr=0.1, steps=6, starts=starts, scheduler=scheduler)
    assert bare.same_bits(runs.position[0], runs.position[1])
    assert bare.same_bits(runs.scheduled_lr[0], runs.scheduled_lr[1])
    assert ravine.descend(article["MSELoss"], lr=0.1, steps=6, starts=starts, scheduler=scheduler).identical(runs)
    swept = ravine.sweep(article["MSELoss"], lr=[0.1, 0.2], steps=6, scheduler=scheduler)
    assert bare.same_bits(ravine.at(swept, lr=0.1).position, runs.position[0])


def test_an_iterator_that_cannot_be_copied_is_refused(article):
    factors = (0.9**k for k in itertools.count())
    with pytest.raises(TypeError, match="a generator cannot be copied for each run"):
        ravine.descend(article["MSELoss"], lr=0.1, scheduler=partial(S.LambdaLR, lr_lambda=lambda k: next(factors)))


@pytest.mark.parametrize(
    ("optimizer", "settings", "groups"),
    [
        (torch.optim.SGD, {"lr": torch.tensor(0.1)}, None),
        (torch.optim.SGD, {"lr": 0.05}, {"bias": {"lr": torch.tensor(0.1)}}),
        (torch.optim.Adam, {"lr": torch.tensor(0.1)}, None),
        (partial(torch.optim.SGD, lr=torch.tensor(0.1)), {}, None),
    ],
)
def test_tensors_among_the_settings_stay_as_they_were(optimizer, settings, groups, article):
    held = [v for v in [*settings.values(), *(groups or {}).get("bias", {}).values()] if torch.is_tensor(v)]
    held += [v for v in getattr(optimizer, "keywords", {}).values() if torch.is_tensor(v)]
    before = [each.clone() for each in held]
    scheduler = partial(S.ExponentialLR, gamma=0.5)
    runs = [
        ravine.descend(article["MSELoss"], optimizer, steps=5, scheduler=scheduler, groups=groups, **settings)
        for _ in range(2)
    ]
    assert runs[0].identical(runs[1])
    assert all(torch.equal(one, other) for one, other in zip(held, before, strict=True))
    if groups is None:
        assert float(runs[0].lr) == pytest.approx(0.1)  # as it was before the first step


def test_a_criterions_own_parameters_are_parameters(points, line):
    class Uncertain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log = torch.nn.Parameter(torch.zeros(()))

        def forward(self, a, b):
            return ((a - b) ** 2).mean() * torch.exp(-self.log) + self.log

    criterion = Uncertain()
    problem = ravine.Problem.of(line, criterion, points)
    assert problem.labels == ("weight[0,0]", "weight[0,1]", "bias", "criterion.log")
    run = ravine.descend(problem, lr=0.1, momentum=0.9, steps=6)
    model, own = ravine.Problem.of(line, torch.nn.MSELoss(), points).live().leaves, Uncertain()
    leaves = [*model.values(), own.log]
    rule, losses = torch.optim.SGD(leaves, lr=0.1, momentum=0.9), []
    for _ in range(6):
        rule.zero_grad()
        loss = own(torch.nn.functional.linear(points[0], model["weight"], model["bias"]), points[1])
        loss.backward()
        rule.step()
        losses.append(loss.item())
    assert bare.same_bits(run.loss[:-1], losses)
    assert bare.same_bits(run.position[-1], bare.flat(leaves))
    assert criterion.log.item() == 0
    assert np.allclose(ravine.sweep(problem, lr=[0.1], momentum=0.9, steps=6).loss[0], run.loss, rtol=1e-5)
    assert ravine.surface(problem, {"criterion.log": (-1, 1), "bias": (-1, 1)}, points=3).surface.shape == (3, 3)


class Margin(torch.nn.Module):
    """A learned margin, and a weight in a list of its own."""

    def __init__(self):
        super().__init__()
        self.margin = torch.nn.Parameter(torch.tensor([0.5]))
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(2.0))])

    def forward(self, a, b):
        return ((a - b - self.margin) ** 2).mean() * self.weights[0] ** 2 + self.margin.abs().sum()


class Metric(torch.nn.Module):
    """A layer inside of the criterion."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.inner.weight, 1.5)

    def forward(self, a, b):
        return torch.nn.functional.mse_loss(self.inner(a), b)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(Margin, ("criterion.margin", "criterion.weights.0")), (Metric, ("criterion.inner.weight",))],
)
def test_parameters_anywhere_in_a_criterion_are_parameters(kind, labels, points, line):
    criterion = kind()
    problem = ravine.Problem.of(line, criterion, points)
    assert problem.labels[3:] == labels
    run = ravine.descend(problem, lr=0.02, momentum=0.9, steps=5)
    own = copy.deepcopy(torch.nn.ModuleList([line, criterion]))
    rule, losses = torch.optim.SGD(own.parameters(), lr=0.02, momentum=0.9), []
    for _ in range(5):
        rule.zero_grad()
        loss = own[1](own[0](points[0]), points[1])
        loss.backward()
        rule.step()
        losses.append(loss.item())
    assert bare.same_bits(run.loss[:-1], losses)
    assert bare.same_bits(run.position[-1], bare.flat(own.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(criterion.parameters(), kind().parameters(), strict=True))


# -- the evaluation loss -----------------------------------------------------------------------------------------


def nets():
    linear, relu = torch.nn.Linear, torch.nn.ReLU

    class Functional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = linear(2, 8), linear(8, 1)

        def forward(self, x):
            return self.outer(torch.nn.functional.dropout(self.inner(x), 0.5, self.training))

    return {
        "dropout": torch.nn.Sequential(linear(2, 8), torch.nn.Dropout(0.5), linear(8, 1)),
        "batchnorm": torch.nn.Sequential(linear(2, 8), torch.nn.BatchNorm1d(8), relu(), linear(8, 1)),
        "rrelu": torch.nn.Sequential(linear(2, 8), torch.nn.RReLU(), linear(8, 1)),
        "functional": Functional(),
    }


@pytest.mark.parametrize("kind", ["dropout", "batchnorm", "rrelu", "functional"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_loss_is_evaluated_in_eval_mode(kind, batch_size, points):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = nets()[kind]
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), points)
        torch.manual_seed(7)
        run = ravine.descend(problem, lr=0.1, steps=6, batch_size=batch_size)
        torch.manual_seed(7)
        trained = ravine.descend(problem, lr=0.1, steps=6, batch_size=batch_size, mode="train")
        same = ravine.Problem.of(model, torch.nn.MSELoss(), points, mode="train")
        torch.manual_seed(7)
        assert ravine.descend(same, lr=0.1, steps=6, batch_size=batch_size).identical(trained)
        torch.manual_seed(7)
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*points), 5, True, generator=torch.Generator().manual_seed(0)
        )
        batches = itertools.repeat(points) if batch_size is None else (b for _ in itertools.count() for b in loader)
        rule, seen, losses = torch.optim.SGD(model.parameters(), lr=0.1), [], []
        for step in range(7):
            model.eval()
            with torch.no_grad():
                losses.append(torch.nn.functional.mse_loss(model(points[0]), points[1]).item())
            model.train()
            if step < 6:
                inputs, targets = next(batches)
                rule.zero_grad()
                loss = torch.nn.functional.mse_loss(model(inputs), targets)
                loss.backward()
                rule.step()
                seen.append(loss.item())
    assert bare.same_bits(run.loss, losses)
    assert bare.same_bits(run.batch_loss, [*seen, np.nan])
    assert bare.same_bits(run.position, trained.position)  # how the loss is evaluated changes no step
    if batch_size is None:
        assert bare.same_bits(trained.loss[:-1], seen)
    assert told(run.loss)["mode"] == "eval"
    assert told(trained.loss)["mode"] == "train"
    assert "seed" not in run.coords or batch_size


@pytest.mark.parametrize("kind", ["dropout", "batchnorm", "rrelu", "functional"])
def test_everything_that_evaluates_speaks_of_that_loss(kind, points):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        problem = ravine.Problem.of(nets()[kind], torch.nn.MSELoss(), points)
    first, last = problem.labels[0], problem.labels[-1]
    here = {each: float(problem.start[each.partition("[")[0]].reshape(-1)[0]) for each in (first, last)}
    start = float(ravine.descend(problem, lr=0.1, steps=1).loss[0])
    land = ravine.surface(problem, {first: [here[first]], last: [here[last], 5.0]})
    assert float(land.surface[0, 0]) == pytest.approx(start, rel=1e-6) or float(land.surface[0, 0]) == start
    swept = ravine.sweep(problem, lr=[0.1, 0.2], steps=3)
    assert "run by run" in told(swept.loss)["engine"]
    assert float(swept.loss[0, 0]) == start
    with pytest.raises(ValueError, match="dropout, BatchNorm"):
        ravine.sweep(problem, lr=[0.1], steps=2, engine="autograd")


def test_models_without_such_layers_cost_and_change_nothing(case):
    run = ravine.descend(case.problem, lr=case.lr, steps=3)
    assert "batch_loss" not in run
    assert "mode" not in told(run.loss)
    if case.problem.parts is not None:
        assert case.problem.parts.evaluated is case.problem.parts.model
        assert ravine.descend(case.problem, lr=case.lr, steps=3, mode="train").loss.equals(run.loss)
    else:
        with pytest.raises(ValueError, match="mode is for problems made of a module"):
            ravine.descend(case.problem, mode="train")


# -- contracts of torch's loop -----------------------------------------------------------------------------------


class Table(torch.nn.Module):
    def __init__(self, **more):
        super().__init__()
        self.table = torch.nn.Embedding(5, 1, sparse=True, **more)

    def forward(self, rows):
        return self.table(rows)[..., 0]


SPARSE = (torch.tensor([0, 1, 1, 3]), torch.tensor([1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [(torch.optim.SGD, {}), (torch.optim.SGD, {"momentum": 0.9}), (torch.optim.SparseAdam, {})],
)
def test_sparse_gradients(optimizer, settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Table()
        problem = ravine.Problem.of(model, torch.nn.MSELoss(), SPARSE)
    also = ("gradient", "velocity") if optimizer is torch.optim.SGD else ("gradient",)
    run = ravine.descend(problem, optimizer, lr=0.1, steps=5, also=also, **settings)
    positions, losses = bare.train(model, torch.nn.MSELoss(), *SPARSE, optimizer=optimizer, lr=0.1, steps=5, **settings)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    weight = torch.tensor(run.position.values[2]).reshape(5, 1).requires_grad_()
    torch.nn.functional.mse_loss(weight[SPARSE[0], 0], SPARSE[1]).backward()
    assert np.allclose(run.gradient[2], weight.grad[:, 0])
    assert ravine.sharpness(problem, run).values[0] == pytest.approx(1.0)  # two of four samples share a row
    swept = ravine.sweep(problem, optimizer, lr=[0.1, 0.5], steps=5, **settings)
    assert bare.same_bits(ravine.at(swept, lr=0.1).position, positions)
    assert "run by run" in told(swept.position)["engine"]


def test_sparse_gradients_with_decay_have_torchs_own_error():
    problem = ravine.Problem.of(Table(_weight=torch.ones(5, 1)), torch.nn.MSELoss(), SPARSE)
    swept = ravine.sweep(problem, lr=[0.1], weight_decay=[0.0, 0.1], steps=3)
    assert swept.error.values[0].tolist()[0] == ""
    assert "sparse" in swept.error.values[0].tolist()[1]


class Sharp(torch.optim.Optimizer):
    """Sharpness-aware: it looks at the gradient, climbs, and evaluates again."""

    def __init__(self, params, lr=0.1, rho=0.05):
        super().__init__(params, {"lr": lr, "rho": rho})

    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise RuntimeError("it requires a closure")
        places = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        size = torch.stack([p.grad.norm() for p in places]).norm() if places else 1
        climbs = [p.grad * self.param_groups[0]["rho"] / size for p in places]
        for p, climb in zip(places, climbs, strict=True):
            p.add_(climb)
        closure()
        for p, climb in zip(places, climbs, strict=True):
            p.sub_(climb).sub_(self.param_groups[0]["lr"] * p.grad)


class SharpRequired(Sharp):
    def step(self, closure):
        return super().step(closure)


class Polyak(torch.optim.Optimizer):
    """A step by the loss itself: it evaluates the closure, and looks at no gradient before."""

    def __init__(self, params, most=0.1):
        super().__init__(params, {"most": most})

    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise ValueError("no closure")
        loss = closure()
        places = [p for group in self.param_groups for p in group["params"]]
        squares = sum((p.grad**2).sum() for p in places)
        for p in places:
            p.sub_(p.grad * torch.clamp(loss.detach() / squares, max=self.param_groups[0]["most"]))
        return loss


@pytest.mark.parametrize(
    ("kind", "use"), [(Sharp, "after backward"), (SharpRequired, "after backward"), (Polyak, True)]
)
@pytest.mark.parametrize("batch_size", [None, 7])
def test_optimizers_that_want_a_closure(kind, use, batch_size, article):
    problem = article["MSELoss"]
    run = ravine.descend(problem, kind, steps=6, batch_size=batch_size, also=("gradient",))
    live = problem.live()
    leaves = list(live.leaves.values())
    rule, parts = kind(leaves), problem.parts
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(parts.inputs, parts.targets), 7, True, generator=torch.Generator().manual_seed(0)
    )
    batches = (batch for _ in itertools.count() for batch in loader)
    for k in range(6):
        batch = next(batches) if batch_size else (parts.inputs, parts.targets)

        def closure(batch=batch):
            with torch.enable_grad():
                rule.zero_grad()
                loss = live.loss_of(*batch)
                loss.backward()
            return loss

        if use == "after backward":
            closure()
        rule.step(closure)
        assert bare.same_bits(run.position[k + 1], bare.flat(leaves))
    assert told(run.position)["code"]["closure"] == use
    assert np.isfinite(run.gradient[:-1]).all()


def test_an_error_that_no_closure_mends_is_the_optimizers_own(article):
    class Broken(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            raise RuntimeError("it never works")

    with pytest.raises(RuntimeError, match="it never works"):
        ravine.descend(article["MSELoss"], Broken)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize(
    "train", [True, lambda self, mode=True: setattr(self, "trains", mode)], ids=["a flag", "a mode"]
)
def test_what_else_is_called_train_changes_nothing(train, batch_size, article):
    kind = type("Named", (torch.optim.SGD,), {"train": train})
    run = ravine.descend(article["MSELoss"], kind, lr=0.1, steps=4, batch_size=batch_size)
    plain = ravine.descend(article["MSELoss"], lr=0.1, steps=4, batch_size=batch_size)
    assert bare.same_bits(run.position, plain.position)
    assert "positions" not in told(plain.position)
    assert ("positions" in told(run.position)) == callable(train)


class Free(torch.optim.SGD):
    """Schedule-free optimizers go no step before their mode is set."""

    ready = False

    def train(self):
        self.ready = True

    def step(self, closure=None):
        if not self.ready:
            raise RuntimeError("insert .train()")
        return super().step(closure)


class FreeByMode(Free):
    def train(self, mode=True):
        self.ready = mode

    def eval(self):
        self.train(False)


class FreeByGroup(Free):
    """The mode is kept with each group, as such optimizers do."""

    def train(self):
        for group in self.param_groups:
            group["ready"] = self.ready = True

    def step(self, closure=None):
        assert all(group["ready"] for group in self.param_groups)
        return super().step(closure)


@pytest.mark.parametrize("kind", [Free, FreeByMode, FreeByGroup])
def test_train_is_called_before_the_run(article, kind):
    for more in ({}, {"batch_size": 5}, {"scheduler": partial(S.ExponentialLR, gamma=0.5)}):
        run = ravine.descend(article["MSELoss"], kind, lr=0.1, steps=5, **more)
        assert bare.same_bits(run.position, ravine.descend(article["MSELoss"], lr=0.1, steps=5, **more).position)
        assert told(run.position)["positions"].startswith("the training sequence")
    swept = ravine.sweep(article["MSELoss"], kind, lr=[0.1, 0.2], steps=5)
    plain = ravine.descend(article["MSELoss"], lr=0.1, steps=5)
    assert bare.same_bits(ravine.at(swept, lr=0.1).position, plain.position)
    assert "positions" not in told(plain.position)


class Newton(torch.optim.Optimizer):
    """It differentiates the gradient again."""

    def __init__(self, params, lr=0.5):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.grad.grad_fn is None:
                raise RuntimeError("call backward(create_graph=True)")
            (curvature,) = torch.autograd.grad(p.grad.sum(), p, retain_graph=True)
            p.data.sub_(self.param_groups[0]["lr"] * p.grad.detach() / curvature)


def test_create_graph_on_request():
    bowl = ravine.Problem(lambda p: (p["x"] ** 4).sum() + p["y"] ** 2, start={"x": 2.0, "y": 1.0})
    with pytest.raises(RuntimeError, match="create_graph"):
        ravine.descend(bowl, Newton, steps=2)
    run = ravine.descend(bowl, Newton, steps=2, create_graph=True)
    assert run.position[:, 1].values.tolist() == [1.0, 0.5, 0.25]
    assert run.position[1, 0] == pytest.approx(2 - 0.5 * 2 / 3, rel=1e-6)
    plain = ravine.descend(bowl, lr=0.01, momentum=0.9, steps=5)
    assert bare.same_bits(
        ravine.descend(bowl, lr=0.01, momentum=0.9, steps=5, create_graph=True).position, plain.position
    )


def test_batches_whose_loss_is_not_finite_go_on_as_in_torch():
    inputs = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)

    def criterion(a, b):  # the mean over what is known: of one batch nothing is
        known = b > 0
        return ((a - b) ** 2)[known].sum() / (known.sum() if len(b) < 4 else 1)

    targets = torch.tensor([[-1.0], [1.0], [1.0], [1.0]])
    problem = ravine.Problem.of(model, criterion, (inputs, targets))
    for seed in range(8):
        run = ravine.descend(problem, lr=0.01, steps=4, batch_size=1, seed=seed)
        first = int(np.flatnonzero(np.isnan(run.batch_loss.values[:-1]))[0])
        own = copy.deepcopy(model)
        rule, seen = torch.optim.SGD(own.parameters(), lr=0.01), [bare.flat(own.parameters())]
        rows = torch.utils.data.TensorDataset(inputs, targets)
        loader = torch.utils.data.DataLoader(rows, 1, True, generator=torch.Generator().manual_seed(seed))
        for some, their in loader:
            rule.zero_grad()
            criterion(own(some), their).backward()
            rule.step()
            seen.append(bare.flat(own.parameters()))
        assert bare.same_bits(run.position, seen)
        assert np.isfinite(run.position[: first + 1]).all()
        assert np.isfinite(run.loss[0])
    with pytest.raises(FloatingPointError, match=f"at step {first}"):
        ravine.descend(problem, lr=0.01, steps=4, batch_size=1, seed=7, throw=True)


@pytest.mark.parametrize("small", [torch.float32, torch.bfloat16, torch.float16])
def test_two_dtypes_in_one_optimizer(small):
    def loss(p):
        return (p["a"].double() - 1) ** 2 + (p["b"] + 2) ** 2

    start = {"a": torch.tensor(0.25, dtype=small), "b": torch.tensor(0.5, dtype=torch.float64)}
    run = ravine.descend(ravine.Problem(loss, start=start), lr=0.1, momentum=0.9, steps=8)
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    rule = torch.optim.SGD(leaves.values(), lr=0.1, momentum=0.9)
    for _ in range(8):
        rule.zero_grad()
        loss(leaves).backward()
        rule.step()
    assert run.position.dtype == np.float64
    assert run.position[-1].values.tolist() == [leaf.item() for leaf in leaves.values()]
    swept = ravine.sweep(ravine.Problem(loss, start=start), lr=[0.1, 0.2], momentum=0.9, steps=8)
    assert bare.same_bits(swept.position[0], run.position)
    assert ravine.surface(ravine.Problem(loss, start=start), a=(-1, 1), b=(-1, 1), points=3).surface.shape == (3, 3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_off_around(mode, case):
    expected = ravine.descend(case.problem, lr=case.lr, steps=4, also=("gradient",))
    with mode():
        run = ravine.descend(case.problem, lr=case.lr, steps=4, also=("gradient",))
        swept = ravine.sweep(case.problem, lr=[case.lr], steps=4)
        land = ravine.surface(case.problem, case.axes, points=3)
        sharp = ravine.sharpness(case.problem, run)
        assert not torch.is_grad_enabled()
    assert run.identical(expected)
    assert swept.identical(ravine.sweep(case.problem, lr=[case.lr], steps=4))
    assert land.identical(ravine.surface(case.problem, case.axes, points=3))
    assert sharp.identical(ravine.sharpness(case.problem, run))


def test_a_problem_made_where_gradients_are_off(points):
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(1)
        problem = ravine.Problem.of(torch.nn.Linear(2, 1), torch.nn.MSELoss(), (points[0] * 1, points[1] * 1))
        function = ravine.Problem(lambda p: (p["x"] ** 2).sum(), start={"x": torch.ones(2) * 2})
    assert np.isfinite(ravine.descend(problem, lr=0.1, steps=3).loss).all()
    assert ravine.descend(function, lr=0.25, steps=1).position[-1].values.tolist() == [1.0, 1.0]


def test_attention_has_curvature(points):
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.out = torch.nn.Linear(2, 4), torch.nn.Linear(4, 1)

        def forward(self, x):
            hidden = self.query(x)[None]
            return self.out(torch.nn.functional.scaled_dot_product_attention(hidden, hidden, hidden))[0]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = ravine.Problem.of(Attention(), torch.nn.MSELoss(), points)
    found = ravine.curvature.hessian(problem)
    double = problem.in_double()
    flat = torch.cat([v.detach().reshape(-1) for v in double.start.values()])

    def loss(vector):
        pieces = torch.split(vector, [v.numel() for v in double.start.values()])
        named = {n: p.reshape(v.shape) for (n, v), p in zip(double.start.items(), pieces, strict=True)}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return double.loss(named)

    assert np.allclose(found, torch.autograd.functional.hessian(loss, flat), atol=1e-9)
    heads = ravine.Problem.of(Heads(), torch.nn.MSELoss(), points)
    assert np.isfinite(ravine.sharpness(heads, ravine.descend(heads, lr=0.1, steps=2))[0])


class Heads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner, self.mix = torch.nn.Linear(2, 4), torch.nn.MultiheadAttention(4, 2, batch_first=True)
            self.out = torch.nn.Linear(4, 1)

    def forward(self, x):
        hidden = self.inner(x)[None]
        return self.out(self.mix(hidden, hidden, hidden, need_weights=False)[0])[0]


class Tied(torch.nn.Module):
    """One matrix for the way in and the way out."""

    def __init__(self):
        super().__init__()
        self.into, self.out = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2)
        self.out.weight = self.into.weight

    def forward(self, x):
        return self.out(torch.tanh(self.into(x)))


def stacked(times):
    layer = torch.nn.Linear(2, 2)
    return torch.nn.Sequential(
        *[each for _ in range(times) for each in (layer, torch.nn.Tanh())], torch.nn.Linear(2, 2)
    )


def nested():
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    return torch.nn.Sequential(torch.nn.Sequential(inner, inner), inner)


PLACES = {"twice": lambda: stacked(2), "three times": lambda: stacked(3), "nested": nested, "tied": Tied}


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_what_stands_at_two_places_of_a_model_is_trained_once(make, points):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    targets, criterion = points[0].flip(1), torch.nn.MSELoss()
    problem = ravine.Problem.of(model, criterion, (points[0], targets))
    assert problem.size == sum(each.numel() for each in model.parameters())
    settings = {"lr": 0.1, "momentum": 0.9, "steps": 4}
    run = ravine.descend(problem, **settings)
    positions, losses = bare.train(model, criterion, points[0], targets, **settings)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    name = problem.labels[0]
    land = ravine.surface(problem, {name: [float(positions[0, 0])], problem.labels[1]: [float(positions[0, 1]), 1.0]})
    assert float(land.surface[0, 0]) == pytest.approx(losses[0], rel=1e-6)
    assert bare.same_bits(ravine.descend(problem, **settings).loss, losses)  # and nothing of that stayed in the model
    assert np.allclose(ravine.sweep(problem, lr=[0.1], momentum=0.9, steps=4).loss[0], losses, rtol=1e-5)
    with pytest.raises(ValueError, match="cannot be written as a script"):  # each place would have its own there
        ravine.code(run)


@pytest.mark.parametrize("name", ["loss", "step", "position", "criterion", "run"])
def test_parameters_may_have_any_name(name, tmp_path):
    problem = ravine.Problem(lambda p: p[name] ** 2 + p["other"] ** 2, start={name: 1.0, "other": 2.0})
    run = ravine.descend(problem, lr=0.25, steps=2)
    assert run.parameter.values.tolist() == [name, "other"]
    assert run.position[-1].values.tolist() == [0.25, 0.5]
    assert ravine.open(ravine.save(run, tmp_path / "run.nc")).identical(run)
    assert f'"{name}": torch.tensor(1.0' in ravine.code(run)
    with pytest.raises(ValueError, match=f"an axis of a surface cannot be called '{name}'"):
        ravine.surface(problem, {name: (-1, 1), "other": (-1, 1)})


def test_targets_of_any_shape():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pictures, classes = torch.randn(4, 1, 5, 5), torch.randint(3, (4, 5, 5))
        painter = torch.nn.Conv2d(1, 3, 1)
        rows, probabilities = torch.randn(6, 2), torch.softmax(torch.randn(6, 3), 1)
        sorter = torch.nn.Linear(2, 3)
    for model, criterion, data in (
        (painter, torch.nn.CrossEntropyLoss(), (pictures, classes)),
        (sorter, torch.nn.CrossEntropyLoss(), (rows, probabilities)),
        (sorter, torch.nn.CrossEntropyLoss(), (rows, torch.tensor([0, 1, 2, 0, 1, 2]))),
        (sorter, lambda a, total: (a.sum() - total) ** 2, (rows, torch.tensor(2.0))),
        (sorter, lambda a, means: ((a.mean(0) - means) ** 2).sum(), (rows, torch.tensor([1.0, 2.0, 3.0]))),
    ):
        run = ravine.descend(ravine.Problem.of(model, criterion, data), lr=0.01, steps=4)
        _, losses = bare.train(model, criterion, *data, lr=0.01, steps=4)
        assert bare.same_bits(run.loss, losses)
        ravine.check(run)
    with pytest.raises(ValueError, match="mini-batches need a row of targets for each row of inputs"):
        ravine.descend(ravine.Problem.of(model, criterion, data), batch_size=2)

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 1)

        def forward(self, x):
            return self.inner(x), x

    with torch.random.fork_rng():
        two = Two()
    pair = ravine.Problem.of(two, lambda out, y: ((out[0] - y) ** 2).mean(), (rows, rows[:, :1]))
    assert "prediction" not in ravine.descend(pair, lr=0.1, steps=2)


@pytest.mark.parametrize(
    "criterion",
    [
        torch.nn.MSELoss(),
        torch.nn.PoissonNLLLoss(),
        torch.nn.KLDivLoss(reduction="batchmean"),
        torch.nn.functional.mse_loss,
        lambda a, b: ((a - b) ** 2).mean(),
        lambda a, b: (a - b).abs().max(),
        lambda a, b: torch.log(torch.cosh(a - b)).mean(),
    ],
)
def test_comparing_every_one_with_every_other_is_refused(criterion):
    model = torch.nn.utils.skip_init(torch.nn.Linear, 2, 1)
    torch.nn.init.zeros_(model.weight)  # with equal predictions the two ways agree by chance
    torch.nn.init.zeros_(model.bias)
    rows, targets = torch.ones(8, 2), torch.linspace(0.1, 0.8, 8)
    with pytest.raises(ValueError, match="would compare every one with every other; reshape the targets"):
        ravine.Problem.of(model, criterion, (rows, targets))
    ravine.Problem.of(model, criterion, (rows, targets[:, None]))
    ravine.Problem.of(model, lambda a, b: ((a[:, 0] - b) ** 2).mean(), (rows, targets))  # it knows what it does


# -- memory ------------------------------------------------------------------------------------------------------


def test_a_step_takes_the_memory_of_its_numbers():
    script = (
        "import resource, ravine\n"
        "bowl = ravine.Problem(lambda p: (p['x'] - 1) ** 2 + p['y'] ** 2, start={'x': 1.0, 'y': 2.0})\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "treated = {'scheduler': 'ExponentialLR(gamma=1.0)', 'clip_norm': 1e3}\n"
        "ravine.descend(bowl, lr=1e-3, steps=1000)\n"
        "ravine.descend(bowl, lr=1e-3, steps=1000, **treated)\n"
        "before = peak()\n"
        "ravine.descend(bowl, lr=1e-3, steps=6000)\n"
        "print(peak() - before)\n"
        "before = peak()\n"
        "ravine.descend(bowl, lr=1e-3, steps=6000, **treated)\n"
        "print(peak() - before)\n"
    )
    more, scheduled = map(int, processes.run(script, check=True).out.split())
    assert more < 750  # kB for 5,000 more steps: at 150 bytes each a million take 150 MB
    assert scheduled < 750  # the settings of each step beside them


def test_rows_come_back_as_they_were_added():
    from ravine._descent.trace import Rows

    for count in (1, 5, 1024, 1025, 3000):
        rows = Rows()
        for k in range(count):
            rows.add([torch.tensor([float(k)]), torch.tensor([[2.0 * k, 3.0]])])
        assert len(rows) == count
        assert rows.whole()[:, 1].tolist() == [2.0 * k for k in range(count)]
        rows.cut(count // 2)
        assert len(rows) == count // 2


KEPT = {
    "momentum": {"lr": 0.1, "momentum": 0.9, "also": ("gradient", "velocity")},
    "schedule": {"lr": 0.1, "scheduler": "OneCycleLR(max_lr=0.3)"},
    "closure": {"optimizer": "LBFGS", "lr": 0.5},
    "batches": {"lr": 0.1, "batch_size": 8, "loss_every": 6, "clip_norm": 1.0},
}


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize(("every", "steps"), [(3, 13), (7, 5), (4, 12)])
def test_steps_that_are_kept_are_those_of_the_whole_run(article, case, every, steps):
    problem = article["MSELoss"]
    whole, kept = (ravine.descend(problem, steps=steps, every=k, **KEPT[case]) for k in (1, every))
    assert kept.step.values.tolist() == sorted({*range(0, steps + 1, every), steps})
    assert set(kept.data_vars) == set(whole.data_vars)
    for name in whole.data_vars:
        expected = whole[name].sel(step=kept.step) if "step" in whole[name].dims else whole[name]
        assert expected.values.tobytes() == kept[name].values.tobytes(), name


def test_of_a_run_that_keeps_some_steps_an_interrupt_leaves_whole_ones(article):
    calls = []

    def loss(parameters):
        calls.append(None)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return article["MSELoss"].loss(parameters)

    problem = ravine.Problem(loss, dict(article["MSELoss"].start))
    with pytest.warns(UserWarning, match="interrupted after step 7 of 20"):
        run = ravine.descend(problem, lr=0.1, steps=20, every=3)
    whole = ravine.descend(article["MSELoss"], lr=0.1, steps=20)
    assert run.step.values.tolist() == [0, 3, 6]
    assert run.position.values.tobytes() == whole.position.sel(step=run.step).values.tobytes()
    assert run.steps_taken == 7


@pytest.mark.parametrize("every", [0, True, 2.5, "2"])
def test_a_pace_that_is_none_is_refused(article, every):
    with pytest.raises(ValueError, match="every must be a whole number of at least 1, got"):
        ravine.descend(article["MSELoss"], every=every)
