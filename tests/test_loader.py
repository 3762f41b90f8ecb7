"""Problems made of a loader: what their loss is the mean of, what is refused, and what stays as it was."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ravine

CE = torch.nn.CrossEntropyLoss()
PADDED = -100


@pytest.fixture
def digits():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1100, 8, generator=generator), torch.randint(0, 4, (1100,), generator=generator)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4))


class Language(torch.nn.Module):
    """Scores (samples, places, words) from words, and, asked with labels, a loss as transformers' models give it."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed, self.head = torch.nn.Embedding(11, 5), torch.nn.Linear(5, 11)

    def forward(self, words, labels=None):
        scores = self.head(self.embed(words))
        if labels is None:
            return scores
        return {"loss": CE(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten()), "logits": scores}


@pytest.fixture
def padded():
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(0, 11, (40, 9), generator=generator)
    lengths = torch.randint(2, 10, (40, 1), generator=generator)
    return words, torch.where(torch.arange(9) < lengths, words, PADDED)


def loss_of(problem):
    return float(problem.loss(problem.start).detach())


@pytest.mark.parametrize(
    "criterion",
    [
        CE,
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0, 9.0])),
        torch.nn.CrossEntropyLoss(reduction="sum"),
        torch.nn.CrossEntropyLoss(label_smoothing=0.2, ignore_index=1),
    ],
    ids=["mean", "class weights", "sum", "smooth, one ignored"],
)
def test_the_loss_is_that_of_all_data_at_once(digits, criterion):
    """Of batches of other sizes, the last one ragged."""
    model = network()
    whole = float(criterion(model(digits[0]), digits[1]).detach())
    for size in (128, 700, 5000):
        problem = ravine.Problem.of(model, criterion, DataLoader(TensorDataset(*digits), size))
        assert loss_of(problem) == pytest.approx(whole, rel=1e-6)
    in_turn = [
        float(criterion(model(x), y).detach()) for x, y in zip(*(each.split(128) for each in digits), strict=True)
    ]
    assert criterion is CE or abs(np.mean(in_turn) - whole) > 1e-4  # what a plain mean of batches would say


def test_padding_is_not_counted(padded):
    words, labels = padded
    model = Language()
    criterion = lambda scores, given: CE(scores.flatten(0, 1), given.flatten())  # noqa: E731 - as people write it
    whole = float(criterion(model(words), labels).detach())
    loader = DataLoader(TensorDataset(words, labels), 3)
    assert loss_of(ravine.Problem.of(model, criterion, loader)) == pytest.approx(whole, rel=1e-6)

    batches = [
        {"words": words[k : k + 8, : 9 - k // 8], "labels": labels[k : k + 8, : 9 - k // 8]} for k in range(0, 40, 8)
    ]
    problem = ravine.Problem.of(model, None, batches)
    losses = [float(model(**each)["loss"].detach()) for each in batches]
    counts = [int((each["labels"][:, 1:] != PADDED).sum()) for each in batches]
    assert loss_of(problem) == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert abs(np.average(losses, weights=[8] * 5) - np.average(losses, weights=counts)) > 1e-4
    assert problem.criterion is None


def test_weight_says_what_a_criterion_of_ones_own_averages_over(padded):
    words, labels = padded
    model = Language()

    def masked(scores, given):
        each = torch.nn.functional.cross_entropy(scores.flatten(0, 1), given.flatten(), reduction="none")
        return each.sum() / (given != PADDED).sum()

    loader = DataLoader(TensorDataset(words, labels), 3)
    with pytest.warns(UserWarning, match=r"loss of two batches together is .* say with weight="):
        ravine.Problem.of(model, masked, loader)
    problem = ravine.Problem.of(model, masked, loader, weight=lambda batch: (batch[1] != PADDED).sum())
    assert loss_of(problem) == pytest.approx(float(masked(model(words), labels).detach()), rel=1e-6)
    with pytest.raises(ValueError, match=r"weight gave -1 for a batch"):
        ravine.Problem.of(model, masked, loader, weight=lambda batch: -1)


def rows_evaluated(model, data, size):
    return [len(x) for x, _ in ravine.Problem.of(model, CE, DataLoader(data, size)).parts.batches.items]


def test_small_batches_are_joined_and_large_ones_are_not(digits):
    model, data = network(), TensorDataset(*(each.repeat(3, *[1] * (each.ndim - 1)) for each in digits))
    assert rows_evaluated(model, data, 100) == [2100, 1200]
    assert rows_evaluated(model, data, 512) == [*[512] * 6, 228]


@pytest.mark.parametrize(("side", "rows"), [(16, [300, 300]), (32, [100] * 6), (64, [50] * 12)])
def test_of_images_fewer_are_joined_the_larger_they_are(side, rows):
    with torch.random.fork_rng():
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    data = TensorDataset(torch.zeros(600, 1, side, side), torch.zeros(600, dtype=torch.long))
    assert rows_evaluated(model, data, 50) == rows


def test_of_rows_of_many_words_fewer_are_joined():
    words = torch.randint(0, 11, (100, 64), generator=torch.Generator().manual_seed(0))
    of_words = lambda scores, given: CE(scores.flatten(0, 1), given.flatten())  # noqa: E731 - as people write it
    for size, rows in ((4, [32, 32, 32, 4]), (8, [*[8] * 12, 4])):
        problem = ravine.Problem.of(Language(), of_words, DataLoader(TensorDataset(words, words), size))
        assert [len(x) for x, _ in problem.parts.batches.items] == rows


def test_runs_and_sweeps_are_those_of_all_data(digits):
    model = network()
    loaded = ravine.Problem.of(model, CE, DataLoader(TensorDataset(*digits), 100))
    plain = ravine.Problem.of(model, CE, digits)
    for settings in ({}, {"batch_size": 64, "seed": 1}):
        one, other = (ravine.descend(each, lr=0.1, steps=3, **settings) for each in (loaded, plain))
        assert np.array_equal(one.position, other.position)
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-6)
    swept = ravine.sweep(loaded, lr=[0.1, 0.2], steps=2)
    np.testing.assert_allclose(swept.sel(lr=0.1).loss, ravine.descend(plain, lr=0.1, steps=2).loss, rtol=1e-5)


def test_mappings_are_trained_on_or_refused_before_any_work(padded):
    batches = [{"words": padded[0][k : k + 8], "labels": padded[1][k : k + 8]} for k in range(0, 40, 8)]
    problem = ravine.Problem.of(Language(), None, batches)
    run = ravine.descend(problem, lr=0.5, steps=3)
    assert float(run.loss[-1]) < float(run.loss[0]) == pytest.approx(loss_of(problem))
    with pytest.raises(ValueError, match="no batches of 4 can be dealt.*mappings stay as they came"):
        ravine.descend(problem, batch_size=4)
    model = Language()
    model.head = torch.nn.Sequential(torch.nn.Dropout(0.5), model.head)
    for verb in (ravine.descend, ravine.sweep):
        with pytest.raises(ValueError, match=r"trains otherwise than it is evaluated \(dropout"):
            verb(ravine.Problem.of(model, None, batches), lr=0.1)
    assert ravine.descend(ravine.Problem.of(model.eval(), None, batches), steps=1).sizes["step"] == 2


def test_a_model_that_diverged_is_told_in_a_line(digits):
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    for data in (digits, DataLoader(TensorDataset(*digits), 100)):
        with pytest.raises(
            ValueError, match=r"NaN or infinite, as after a training that diverged; hand over a"
        ) as told:
            ravine.Problem.of(model, CE, data)
        assert "tensor" not in str(told.value)
        assert len(str(told.value)) < 200
    with pytest.raises(ValueError, match="start of 'x' is not finite: nan$"):
        ravine.Problem(lambda p: p["x"] ** 2, {"x": torch.nan})


def test_what_the_user_has_stays_as_it_was(digits):
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        layers = torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(), torch.nn.Linear(6, 4)
    model = torch.nn.Sequential(*layers)
    model[1].eval()
    loader = DataLoader(TensorDataset(*digits), 128, shuffle=True, generator=generator)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), generator.get_state(), np.random.get_state()[1].copy(), random.getstate()
    with pytest.warns(UserWarning, match="gives other batches each time.*collated once"):
        problem = ravine.Problem.of(model, CE, loader)
    assert loss_of(problem) == loss_of(problem)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [each.training for each in model.modules()] == [True, True, False, True, True]
    now = torch.get_rng_state(), generator.get_state(), np.random.get_state()[1], random.getstate()
    assert all(np.array_equal(a, b) for a, b in zip(states[:3], now[:3], strict=True))
    assert states[3] == now[3]


def test_a_sample_says_how_far_off_it_may_be(digits):
    """The standard error is that of the samples' own losses, within what twenty groups can tell."""
    model = network()
    loader = DataLoader(TensorDataset(*digits), 100)
    problem = ravine.Problem.of(model, CE, loader, samples=300)
    land = ravine.surface(problem, plane=ravine.Plane.random(problem), points=3)
    facts = json.loads(land.surface.plane)
    each = torch.nn.functional.cross_entropy(model(digits[0]), digits[1], reduction="none").detach()
    expected = float(each.std()) / np.sqrt(300) * np.sqrt(1 - 300 / 1100)
    assert (facts["samples"], facts["of"]) == (300, 1100)
    assert 0.5 * expected < facts["standard_error"] < 1.6 * expected
    assert problem.parts.inputs.shape == (300, 8)
    whole = ravine.Problem.of(model, CE, loader, samples=5000)
    assert loss_of(whole) == pytest.approx(float(each.mean()), rel=1e-6)


class Endless:
    def __iter__(self):
        while True:
            yield torch.zeros(1 << 20, 8), torch.zeros(1 << 20, dtype=torch.long)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([], "gives no batch: it is empty"),
        (itertools.cycle([(torch.zeros(2, 8), torch.zeros(2))]), "a cycle gives its batches only once, or without end"),
        ((batch for batch in []), "a generator gives its batches only once"),
        (TensorDataset(torch.zeros(9, 8)), "single samples"),
        ([torch.zeros(3, 8)], "batch 0 is"),
        ([(torch.zeros(3, 8), torch.zeros(3, 2), torch.zeros(3))], "batch 0 is 3 things"),
        ([{"words": torch.zeros(2)}], "criterion is None"),
        ([(torch.full((3, 8), torch.nan), torch.zeros(3).long())] * 3, "inputs of batch 0 hold nan"),
        ([(torch.zeros(3, 5), torch.zeros(3).long())] * 3, r"its layer '0'.* takes \(…, 8\) and gets shape \(3, 5\)"),
        (3, "data must be a pair"),
    ],
)
def test_bad_loaders(loader, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ravine.Problem.of(network(), CE, loader)


def test_a_loader_without_end(monkeypatch):
    monkeypatch.setattr("ravine._problem.read_loader.bytes_free", lambda: 100_000_000)
    with pytest.raises(ValueError, match="does not say how many there are"):
        ravine.Problem.of(network(), CE, Endless())


def test_a_loader_too_large(digits, monkeypatch):
    monkeypatch.setattr("ravine._system.bytes_free", lambda: 20_000)
    with pytest.raises(MemoryError, match=r"11 batches of the loader take about 44 kB.*samples=n"):
        ravine.Problem.of(network(), CE, DataLoader(TensorDataset(*digits), 100))


def test_no_scalar_loss_no_parameter_and_what_is_left_out(digits):
    data = TensorDataset(*digits)
    with pytest.raises(ValueError, match=r"gives no scalar loss of a batch, but shape \(100,\)"):
        ravine.Problem.of(network(), torch.nn.CrossEntropyLoss(reduction="none"), DataLoader(data, 100))
    with pytest.raises(ValueError, match=r"without a scalar loss"):
        ravine.Problem.of(Language(), None, [{"words": torch.zeros(2, 3).long()}] * 3)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        ravine.Problem.of(network().requires_grad_(False), CE, DataLoader(data, 100))
    with pytest.warns(UserWarning, match="leaves out 100 of 1,100 samples"):
        ravine.Problem.of(network(), CE, DataLoader(data, 200, drop_last=True))
