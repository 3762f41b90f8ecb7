"""Rows about states of a network: the line between two, a range test, and both ends of the spectrum along a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

import ravine
from planes import CE, digits, perceptron
from ravine.curvature import hessian
from turns import Row, apart, cost, faster


def line_between() -> Row:
    """Loss and accuracy at 51 points, against a loop that calls the model once at each and reads both off."""
    inputs, labels = digits(64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other, model = perceptron(), perceptron(), perceptron()
    problem = ravine.Problem.of(one, CE, (inputs, labels))

    def ours() -> xr.Dataset:
        return ravine.between(problem, one, other)

    def theirs() -> list[tuple[float, float]]:
        found = []
        with torch.no_grad():
            for share in ours_shares:
                for leaf, a, b in zip(model.parameters(), one.parameters(), other.parameters(), strict=True):
                    leaf.copy_((1 - share) * a.double() + share * b.double())
                scores = model(inputs)
                found.append((float(CE(scores, labels)), float((scores.argmax(1) == labels).float().mean())))
        return found

    ours_shares = [k / 50 for k in range(51)]

    def check() -> None:
        line, loop = ours(), np.array(theirs())
        assert apart(line.line_loss, loop[:, 0]) < 1e-5
        assert apart(line.line_accuracy, loop[:, 1]) < 1e-5

    return Row("between-51", ours, theirs, cost(1.5), check)


def range_of_lr() -> Row:
    """Two hundred steps over all data while the lr rises, against the bare loop; without looking at sharpness."""
    inputs, labels = digits(64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perceptron()
    problem = ravine.Problem.of(model, CE, (inputs, labels))
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def ours() -> xr.Dataset:
        return ravine.range_test(problem, lr=(1e-4, 1.0), sharpness=False)

    def theirs() -> list[float]:
        model.load_state_dict(state)
        rule = torch.optim.SGD(model.parameters(), lr=1e-4)
        found = []
        for step in range(200):
            rule.param_groups[0]["lr"] = 1e-4 * 1e4 ** (step / 199)
            rule.zero_grad()
            loss = CE(model(inputs), labels)
            loss.backward()
            rule.step()
            found.append(loss.item())
        return found

    def check() -> None:
        assert apart(ours().loss[:-1], theirs()) < 1e-5

    return Row("range-test-200", ours, theirs, cost(1.2), check, turns=5)


def both_ends() -> Row:
    """Both ends of the spectrum of 1,025 parameters by Lanczos's method, against the whole Hessian."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 30, generator=generator)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(30, 31), torch.nn.Tanh(), torch.nn.Linear(31, 2))
    problem = ravine.Problem.of(model, CE, (inputs, labels))
    run = ravine.descend(problem, lr=0.3, steps=20)

    def ours() -> Any:
        found = ravine.eigenvalues(problem, run, steps=[20])
        return [float(found[name][-1]) for name in ("lowest_curvature", "sharpness")]

    def theirs() -> Any:
        return np.linalg.eigvalsh(hessian(problem, run.position[-1].values))[[0, -1]].tolist()

    def check() -> None:
        assert apart(ours(), theirs()) < 1e-6

    return Row("eigenvalues-1000", ours, theirs, faster(2), check, turns=5)


STATE_ROWS = (line_between(), range_of_lr(), both_ends())
