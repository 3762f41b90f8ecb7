"""Criteria that take more than output and targets, and such as do more than their class does."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from typer.testing import CliRunner

import bare
import ravine
from ravine.cli import app

LOSSES = {
    "variance": (torch.nn.GaussianNLLLoss(), lambda out, y: F.gaussian_nll_loss(out[0], y, out[1].exp())),
    "embeddings": (torch.nn.CosineEmbeddingLoss(), lambda out, y: F.cosine_embedding_loss(*out, y.sign()[:, 0])),
    "ranks": (torch.nn.MarginRankingLoss(0.5), lambda out, y: torch.nn.MarginRankingLoss(0.5)(*out, y.sign())),
    "triplets": (torch.nn.TripletMarginLoss(), lambda out, y: F.triplet_margin_loss(out[0], out[1], y * out[0])),
}


class Two(torch.nn.Module):
    """Two outputs of one input."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.one(x), self.other(x)


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(1)
    return torch.randn(6, 2, generator=random), torch.randn(6, 1, generator=random)


@pytest.mark.parametrize("name", LOSSES)
def test_a_function_of_output_and_targets_hands_on_what_a_criterion_takes(name, data):
    criterion = LOSSES[name][1]
    problem = ravine.Problem.of(Two(), criterion, data)
    run = ravine.descend(problem, lr=0.1, momentum=0.5, steps=4)
    positions, losses = bare.train(Two(), criterion, *data, lr=0.1, momentum=0.5, steps=4)
    assert bare.same_bits(run.position, positions)
    assert bare.same_bits(run.loss, losses)
    swept = ravine.sweep(problem, lr=[0.1, 0.2], momentum=0.5, steps=4)
    assert np.allclose(swept.loss[0], losses, rtol=1e-5)
    land = ravine.surface(problem, {"one.bias": [float(problem.start["one.bias"])], "other.bias": (-1, 1)}, points=3)
    assert np.isfinite(land.surface).all()
    batched = ravine.descend(problem, lr=0.1, steps=3, batch_size=2)
    assert np.isfinite(batched.batch_loss[:-1]).all()
    pairs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), 4)
    loaded = ravine.descend(ravine.Problem.of(Two(), criterion, pairs), lr=0.1, momentum=0.5, steps=4)
    assert np.allclose(loaded.loss, losses, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_without_it_the_function_is_named_before_anything_runs(name, data):
    criterion = LOSSES[name][0]
    pairs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), 4)
    for given in (data, pairs):
        with pytest.raises(TypeError, match=rf"{type(criterion).__name__} takes \(.*lambda output, targets: loss\("):
            ravine.Problem.of(Two(), criterion, given)
    with pytest.raises(TypeError, match="give a function of these two"):
        ravine.residuals({"mine": criterion})


@pytest.mark.parametrize(
    ("criterion", "call"),
    [
        (F.gaussian_nll_loss, r"loss\(output\[0\], targets, output\[1\]\) where loss is the gaussian_nll_loss and"),
        (torch.nn.CosineEmbeddingLoss(), r"loss\(output\[0\], output\[1\], targets\)"),
        (torch.nn.TripletMarginLoss(), r"loss\(output\[0\], output\[1\], output\[2\]\)"),
        (lambda a, b, weight: (weight * (a - b) ** 2).mean(), r"loss\(output\[0\], targets, output\[1\]\)"),
        (lambda a, b, *, weight: (weight * (a - b) ** 2).mean(), r"targets, weight=output\[1\]\)"),
        (lambda a: a.mean(), r"loss\(output\) where loss is the <lambda>$"),
    ],
    ids=["function", "targets last", "no targets", "own", "by name", "one alone"],
)
def test_the_function_that_is_named_has_the_arguments_in_their_places(criterion, call, data):
    with pytest.raises(TypeError, match=call):
        ravine.Problem.of(Two(), criterion, data)


def test_what_can_be_called_with_two_is_left_alone(data):
    model = torch.nn.utils.skip_init(torch.nn.Linear, 2, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    taken = [
        lambda a, b, weight=2.0: (weight * (a - b) ** 2).mean(),
        lambda *both: (both[0] - both[1]).abs().mean(),
        torch.nn.HingeEmbeddingLoss(),
    ]
    for criterion in taken:
        targets = data[1].sign() if isinstance(criterion, torch.nn.HingeEmbeddingLoss) else data[1]
        assert np.isfinite(ravine.descend(ravine.Problem.of(model, criterion, (data[0], targets)), steps=1).loss).all()


def test_a_recorded_loop_calls_its_criterion_as_it_likes(data):
    model, criterion = Two(), torch.nn.GaussianNLLLoss()
    rule, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    with ravine.record(model, rule, criterion, every=1) as recorder:
        for _ in range(3):
            rule.zero_grad()
            mean, spread = model(data[0])
            loss = criterion(mean, data[1], spread.exp())
            loss.backward()
            rule.step()
            losses.append(loss.item())
    assert bare.same_bits(recorder.dataset().batch_loss.values[:3], losses)


@pytest.mark.parametrize("verb", ["descend", "sweep"])
def test_on_the_command_line_it_is_one_line(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("dose,effect\n1,2\n2,3\n3,5\n")
    result = CliRunner().invoke(app, [verb, "points.csv", "--criterion", "GaussianNLLLoss"])
    assert result.exit_code == 2
    assert result.output.startswith("ravine: GaussianNLLLoss takes (input, target, var), and a criterion is called")
    assert [each.name for each in tmp_path.iterdir()] == ["points.csv"]


@pytest.mark.parametrize("how", ["hook", "forward of its own"])
@pytest.mark.parametrize("kind", [torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.HuberLoss, torch.nn.BCEWithLogitsLoss])
def test_a_criterion_that_was_changed_is_not_taken_for_what_its_class_does(how, kind):
    """Its value is the class's, and a square that the class knows nothing of."""
    criterion = kind()
    if how == "hook":
        criterion.register_forward_hook(lambda module, given, loss: loss + given[0].square().mean())
    else:
        criterion.forward = lambda a, b: kind()(a, b) + a.square().mean()
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(-1, 1)
    y = (x > 0.1).double()
    model = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1).double()
    torch.nn.init.constant_(model.weight, 1.5)
    torch.nn.init.constant_(model.bias, -0.5)
    problem = ravine.Problem.of(model, criterion, (x, y))

    def loss(weight, bias):
        a = weight * x + bias
        return float(kind()(a, y) + a.square().mean())

    land = ravine.surface(problem, weight=(-2, 3), bias=(-1, 2), points=5)
    for weight in land.weight.values:
        for bias in land.bias.values:
            assert float(land.surface.sel(weight=weight, bias=bias)) == pytest.approx(loss(weight, bias), rel=1e-12)
    runs = ravine.sweep(problem, lr=[0.05, 0.1], steps=5)
    for lr in (0.05, 0.1):
        run = ravine.descend(problem, lr=lr, steps=5)
        assert runs.sel(lr=lr).position.values == pytest.approx(run.position.values, rel=1e-12)
        assert run.loss.values[-1] == pytest.approx(loss(*run.position.values[-1]), rel=1e-12)
    lowest = scipy.optimize.minimize(lambda place: loss(*place), [0.0, 0.0], method="Nelder-Mead", tol=1e-10)
    found = ravine.landmarks(problem)
    if np.isfinite(found.minimum_loss):  # elsewhere it says that it found none
        assert float(found.minimum_loss) == pytest.approx(lowest.fun, abs=1e-8)
    assert "separates" not in str(found.attrs) + str(found.minimum_loss.attrs)
