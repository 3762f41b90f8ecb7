"""Every word that a finding says, in one place: runs, and in data/words.txt the sentences about each.

Other tests hold kind, scope and values against independent calculations; here the whole sentence is read. Where words
are meant to change, `python tests/words.py` writes the file anew, and what changed in it is to be read by a human.
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import planes
import ravine
from ravine.article.figures import RUNS

S = torch.optim.lr_scheduler
FILE = Path(__file__).parent / "data" / "words.txt"
WIDTH = 120

SCENES: dict[str, Callable[[], Any]] = {}
"""What was run, in a few words, and the study or the findings of it."""


def scene(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Keep a function that makes a study under a name."""

    def keep(make: Callable[[], Any]) -> Callable[[], Any]:
        SCENES[name] = make
        return make

    return keep


def article(criterion: str) -> ravine.Problem:
    """The article's neuron in float64: what other processors add up in another order is the same to three digits."""
    return ravine.gallery.article()[criterion].in_double()


def on(criterion: str, *args: Any, **settings: Any) -> Any:
    """A run of it."""
    return ravine.descend(article(criterion), *args, **settings)


def bowl(curvatures: list[float], start: list[float], minimum: float = 0.0) -> ravine.Problem:
    """A quadratic along the axes, in float64."""
    names = [f"p{k}" for k in range(len(start))]

    def loss(p: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum(c * (p[name] - minimum) ** 2 for c, name in zip(curvatures, names, strict=True)) / 2

    values = {name: torch.tensor(each, dtype=torch.float64) for name, each in zip(names, start, strict=True)}
    return ravine.Problem(loss, values, minimizers=[dict.fromkeys(names, minimum)])


def network() -> ravine.Problem:
    """Two inputs, four tanh units, 20 points in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    return ravine.Problem.of(model, torch.nn.MSELoss(), (x, x[:, :1] * x[:, 1:]))


def houses(**settings: Any) -> ravine.Problem:
    """Areas and prices as people have them."""
    random = np.random.default_rng(1)
    area = random.uniform(800, 4200, 60).round()
    price = (150 * area + 102_114 + random.normal(0, 40_000, 60)).round()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "houses.csv"
        np.savetxt(path, np.c_[area, price], delimiter=",", header="area,price", comments="", fmt="%.0f")
        return ravine.Problem.from_csv(path, **settings)


for criterion in ("MSELoss", "L1Loss", "HuberLoss"):
    for knob, given in RUNS.items():
        if criterion != "HuberLoss" or knob in ("plain", "weight decay"):
            SCENES[f"the article, {criterion}, {knob}"] = partial(on, criterion, **given)

# -- how far the learning rate is from its limit, and beyond it

SCENES["far over the limit"] = partial(on, "MSELoss", lr=2.5, steps=300)
SCENES["just over the limit"] = partial(on, "MSELoss", lr=0.98)
SCENES["just below the limit"] = partial(on, "MSELoss", lr=0.97)
SCENES["over the limit by nesterov"] = partial(on, "MSELoss", lr=0.7, momentum=0.9, nesterov=True)
SCENES["over the limit by weight decay"] = partial(on, "MSELoss", lr=0.7, weight_decay=2.0)
SCENES["momentum 1"] = partial(on, "MSELoss", lr=0.1, momentum=1.0)
SCENES["over a local limit, and it cycles"] = partial(on, "HuberLoss", lr=3.0, steps=300)
SCENES["over a local limit, and near"] = partial(on, "HuberLoss", lr=2.4, steps=20)
SCENES["at the limit"] = lambda: ravine.descend(ravine.gallery.quadratic(2), lr=1.0)
SCENES["at the limit, in a round bowl"] = lambda: ravine.descend(bowl([2.0], [3.0]), lr=1.0)
SCENES["a start without an error along the steep direction"] = lambda: ravine.descend(
    ravine.gallery.quadratic(100).starting_at({"y": 0.0}), lr=1.1
)
SCENES["the same, within its own limit"] = lambda: ravine.descend(bowl([0.2, 2.0], [6.0, 0.0]), lr=0.1)
SCENES["at rest, over the limit"] = lambda: ravine.descend(
    ravine.gallery.quadratic(2).starting_at({"x": 0.0, "y": 0.0}), lr=1.1
)
SCENES["a few steps that grow"] = lambda: ravine.descend(bowl([200.0], [0.5]), lr=0.5, steps=3)
SCENES["dampening over 1"] = partial(on, "MSELoss", lr=0.01, momentum=0.9, dampening=1.5)
SCENES["dampening 1"] = partial(on, "MSELoss", lr=0.01, momentum=0.9, dampening=1.0)
SCENES["maximize"] = partial(on, "MSELoss", lr=0.01, maximize=True)
SCENES["maximize, and weight decay"] = partial(on, "L1Loss", lr=0.1, maximize=True, weight_decay=0.5)

# -- momentum

SCENES["momentum that helps"] = lambda: ravine.descend(ravine.gallery.quadratic(100), lr=0.1, momentum=0.9)
SCENES["momentum that makes little difference"] = partial(on, "MSELoss", lr=0.01, momentum=0.5, dampening=0.5)
SCENES["momentum at a condition number of 50"] = lambda: ravine.descend(
    ravine.gallery.quadratic(50), lr=0.9, momentum=0.99
)
SCENES["a zigzag"] = partial(on, "MSELoss", lr=0.97)
SCENES["a swing in a round bowl"] = lambda: ravine.descend(ravine.gallery.quadratic(1), lr=0.1, momentum=0.9)
SCENES["nesterov, faster along one direction and slower along another"] = lambda: ravine.descend(
    bowl([0.5, 1.0], [1.0, 1.0]), lr=1.5, momentum=0.3, nesterov=True
)
SCENES["with and without momentum"] = lambda: ravine.explain(
    on("L1Loss", lr=0.1, momentum=0.9), against=on("L1Loss", lr=0.1, steps=200)
)
SCENES["swings about a cone"] = lambda: ravine.descend(
    ravine.Problem(lambda p: (p["x"] ** 2 + p["y"] ** 2) ** 0.5, {"x": 20.0, "y": 20.0}), lr=0.5, steps=60
)

# -- arrivals, and why there is none

SCENES["slow"] = partial(on, "MSELoss", lr=1e-3)
SCENES["very slow"] = lambda: ravine.descend(bowl([1e-4, 1.0], [5.0, 0.01]), lr=0.01)
SCENES["hops about a kink"] = partial(on, "L1Loss", lr=0.1, steps=600)
SCENES["hops over a kink that momentum carries on"] = partial(on, "L1Loss", lr=5.0, momentum=0.9)
SCENES["an lr of 0"] = partial(on, "MSELoss", lr=0.0)
SCENES["an lr that changes no bit"] = partial(on, "MSELoss", lr=1e-18)
SCENES["a gradient of 0"] = lambda: ravine.descend(ravine.Problem(lambda p: -(p["x"] ** 2), {"x": 0.0}), lr=0.1)
SCENES["one parameter without a gradient"] = lambda: ravine.descend(
    ravine.gallery.saddle().starting_at({"y": 0.0}), lr=0.1
)
SCENES["a minimum that is flat in bfloat16"] = lambda: ravine.descend(
    ravine.Problem(
        lambda p: (p["x"] - 1) ** 2 + 3, {"x": torch.tensor(3.0, dtype=torch.bfloat16)}, minimizers=[{"x": 1.0}]
    ),
    lr=0.1,
    steps=200,
)
SCENES["updates below the rounding of bfloat16"] = lambda: ravine.descend(
    ravine.Problem(lambda p: (p["x"] - 1) ** 2, {"x": torch.tensor(3.0, dtype=torch.bfloat16)}), lr=0.01, steps=400
)
SCENES["unscaled columns"] = lambda: ravine.descend(houses(), lr=1e-7)
SCENES["a line fitted to standardized columns"] = lambda: ravine.descend(houses(standardize=True), lr=0.1)

# -- weight decay and what it pulls at

SCENES["a goal that hardly moves"] = partial(on, "MSELoss", lr=0.1, weight_decay=0.01)
SCENES["decay from the minimum"] = lambda: ravine.descend(
    ravine.Problem(lambda p: (p["x"] - 3) ** 2, {"x": 3.0}), lr=0.1, weight_decay=2.0
)
SCENES["decay of the weight alone"] = partial(
    on, "MSELoss", lr=0.1, weight_decay=2.0, groups={"*bias": {"weight_decay": 0.0}}
)
SCENES["a searched goal"] = lambda: ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, weight_decay=0.5)
SCENES["decoupled decay"] = partial(on, "MSELoss", torch.optim.AdamW, lr=0.1)
SCENES["decoupled decay where no minimum is known"] = lambda: ravine.descend(
    network(), torch.optim.AdamW, lr=0.1, steps=20
)

# -- schedules and treated gradients

SCENES["a schedule below the limit"] = partial(on, "MSELoss", lr=0.1, scheduler=partial(S.StepLR, step_size=30))
SCENES["a schedule that has not acted yet"] = partial(
    on, "MSELoss", lr=0.005, momentum=0.3, steps=20, scheduler=partial(S.StepLR, step_size=30, gamma=1e-3)
)
SCENES["a schedule over the limit at first"] = partial(
    on, "MSELoss", lr=1.5, scheduler=partial(S.StepLR, step_size=4, gamma=0.5)
)
SCENES["a schedule that moves momentum"] = partial(
    on, "MSELoss", lr=0.1, momentum=0.5, steps=80, scheduler=partial(S.OneCycleLR, max_lr=0.1, total_steps=81)
)
SCENES["an lr that falls below 0"] = partial(
    on, "MSELoss", lr=0.1, steps=60, scheduler=partial(S.LambdaLR, lr_lambda=lambda k: 1 - k / 20)
)
SCENES["an lr that is no number"] = partial(
    on, "MSELoss", lr=0.1, steps=20, scheduler=partial(S.LambdaLR, lr_lambda=lambda k: 1.0 if k < 5 else float("nan"))
)
SCENES["climbing with an lr of 0"] = lambda: ravine.descend(ravine.gallery.quadratic(), lr=0.0, maximize=True, steps=5)
SCENES["a forecast that leaves a flat direction out"] = lambda: ravine.descend(
    ravine.gallery.quadratic(condition=1e4).starting_at(x=0.5, y=1.0), lr=0.02, steps=40
)
SCENES["a gap below the rounding of the loss"] = lambda: ravine.descend(
    ravine.Problem(lambda p: 1e4 + p["x"] ** 2, {"x": torch.tensor(0.02)}, minimizers=[{"x": 0.0}]), lr=1.02, steps=18
)
SCENES["below the minimum that is known"] = lambda: ravine.descend(
    ravine.Problem(lambda p: p["x"] ** 2, {"x": 1.0}), lr=0.1, steps=9
).assign(minimum_loss=2.0)
SCENES["a logarithm that is left four times"] = lambda: ravine.descend(
    ravine.Problem(lambda p: p["x"] ** 2 - torch.log(p["x"] + 1), {"x": 0.8}), torch.optim.Adam, lr=2.0, steps=40
)
SCENES["a logarithm that is left once"] = lambda: ravine.descend(
    ravine.Problem(lambda p: p["x"] ** 2 - 0.1 * torch.log(p["x"] + 1), {"x": 0.8}), torch.optim.Adam, lr=2.0, steps=40
)
SCENES["an lr that comes to 0"] = partial(
    on, "MSELoss", lr=0.01, scheduler=partial(S.LambdaLR, lr_lambda=lambda k: float(k < 40))
)
SCENES["clipping"] = partial(on, "MSELoss", lr=0.1, steps=40, clip_norm=2.0)
SCENES["clipping that never acts"] = partial(on, "MSELoss", lr=0.1, steps=9, clip_norm=99.0)
SCENES["noise"] = partial(on, "MSELoss", lr=0.1, steps=40, noise=0.3, seed=5)
SCENES["mini-batches"] = partial(on, "MSELoss", lr=0.05, steps=40, batch_size=10)

SCENES["the loss of batches alone"] = lambda: on("MSELoss", lr=0.05, steps=9, batch_size=4).drop_vars("loss")

# -- other rules, and places without a known minimum

SCENES["Adam"] = partial(on, "MSELoss", torch.optim.Adam, lr=0.1)
SCENES["groups"] = partial(on, "MSELoss", lr=0.1, momentum=0.9, groups={"bias": {"lr": 0.01}})
SCENES["Rosenbrock"] = lambda: ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, momentum=0.9)
SCENES["a saddle that landmarks looked at"] = lambda: ravine.descend(ravine.gallery.saddle(), lr=0.01).assign(
    ravine.landmarks(ravine.gallery.saddle(), near={"x": 0.0, "y": 0.0})
)
SCENES["a network"] = lambda: ravine.descend(network(), lr=0.1, steps=60)
SCENES["a network that jumps"] = lambda: ravine.descend(network(), torch.optim.Adam, lr=1.0)


@scene("own rules")
def own_rules() -> Any:
    mine = type("SGD", (torch.optim.SGD,), {"__module__": "mine"})
    return on("MSELoss", mine, lr=0.1, momentum=0.9, weight_decay=0.1, steps=40)


SCENES["a run from its seventh step on"] = lambda: ravine.descend(network(), torch.optim.Adam, lr=0.1, steps=40).isel(
    step=slice(7, None)
)

# -- curvature along a run


@scene("sharpness at two places")
def sharpness() -> Any:
    run = ravine.descend(network(), lr=0.1, steps=60)
    return run.assign(sharpness=ravine.sharpness(network(), run, steps=[0, 60]))


@scene("both ends of the spectrum")
def spectrum() -> Any:
    run = ravine.descend(network(), lr=0.1, steps=6)
    return run.assign(ravine.eigenvalues(network(), run))


@scene("Adam's own sharpness")
def preconditioned() -> Any:
    run = ravine.descend(network(), torch.optim.Adam, lr=0.03, steps=6, also=("gradient",))
    return run.assign(ravine.eigenvalues(network(), run))


def with_sharpness(values: Any, **settings: Any) -> Any:
    """A real run beside curvature that is stated."""
    run = ravine.descend(network(), **{"lr": 0.1, "steps": len(values) - 1, **settings})
    return run.assign(sharpness=("step", np.asarray(values, dtype=float)))


SCENES["progressive sharpening, and the edge of stability"] = lambda: with_sharpness(
    np.r_[np.linspace(5, 20, 8), np.full(6, 20.5)]
)
SCENES["sharpness over its limit at some steps"] = lambda: with_sharpness([10, 24, 40, 6])
SCENES["sharpness of mini-batches"] = lambda: with_sharpness([10, 12, 14, 9], batch_size=5)


# -- a plane, a line, a range of lr, many runs


@scene("a training on its own plane")
def plane() -> Any:
    return planes.project(planes.train(lr=0.3, momentum=0.9))


SCENES["a plane through the end"] = lambda: planes.project(planes.train(lr=0.3, steps=40), kind="ends")


@scene("a line between two networks")
def line() -> Any:
    inputs, targets = planes.data()
    ends = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = torch.nn.Sequential(torch.nn.Linear(2, 10), torch.nn.Tanh(), torch.nn.Linear(10, 3))
        rule = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(80):
            rule.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), targets).backward()
            rule.step()
        ends.append(model)
    problem = ravine.Problem.of(ends[0], torch.nn.CrossEntropyLoss(), (inputs, targets))
    return ravine.between(problem, *ends, points=11)


@scene("a line that is always lower")
def low_line() -> Any:
    problem = ravine.gallery.quadratic()
    return ravine.between(problem, problem, ravine.descend(problem, lr=0.1, steps=20), points=5)


@scene("a map that was interpolated")
def interpolated() -> Any:
    problem = ravine.gallery.himmelblau()
    run = ravine.descend(problem, lr=0.01, steps=20)
    plane = ravine.Plane.ends(run)
    land = ravine.surface(problem, plane=plane, points=13, accuracy="fast")
    return plane.project(run, problem).assign(surface=land.surface)


TEN = ravine.gallery.quadratic(condition=10).in_double()
SCENES["a range test"] = lambda: ravine.range_test(TEN, lr=(1e-3, 1e6), steps=150)


@scene("a range test whose sharpness would take long")
def of_small_batches() -> Any:
    inputs = torch.linspace(-1.0, 1.0, 120 * 30, dtype=torch.float64).reshape(120, 30)
    with torch.random.fork_rng(), torch.no_grad():
        line = torch.nn.Linear(30, 1, dtype=torch.float64)
        line.weight.fill_(0.1)
        line.bias.zero_()
    problem = ravine.Problem.of(line, torch.nn.MSELoss(), (inputs, inputs[:, :1] ** 2))
    return ravine.range_test(problem, lr=(1e-3, 0.01), steps=20, batch_size=4)


SCENES["a range test within the limit"] = lambda: ravine.range_test(TEN, lr=(1e-3, 0.1), steps=30)
SCENES["a sweep"] = lambda: ravine.sweep(
    article("MSELoss"),
    steps=60,
    lr=np.geomspace(0.01, 3, 12),
    momentum=[0.0, 0.5, 0.9],
    nesterov=[False, True],
)
SCENES["a sweep of a criterion with a local limit"] = lambda: ravine.sweep(
    article("HuberLoss"), steps=60, lr=np.geomspace(0.01, 30, 30)
)
SCENES["a sweep in which nothing arrives"] = lambda: ravine.sweep(
    ravine.gallery.rosenbrock(), torch.optim.Adam, steps=9, lr=np.geomspace(1e-3, 3, 30)
)
SCENES["two runs, of which torch refuses one"] = lambda: ravine.sweep(article("MSELoss"), lr=[0.1, -0.1])


@scene("a run that was never begun")
def never_begun() -> Any:
    run = on("MSELoss", lr=0.1, steps=5)
    return run.assign(steps_taken=0, position=run.position * np.nan, loss=run.loss * np.nan)


SCENES["criteria that are equal in every bit"] = lambda: ravine.descend(
    {name: article(name) for name in ("HuberLoss", "SmoothL1Loss")}, lr=0.1
)


def told(name: str) -> list[str]:
    """What is said of a scene, a line each: of whom, kind, scope and sentence."""
    made = SCENES[name]()
    found = made if isinstance(made, list) else ravine.explain(made)
    return [f"{f'{each.whose}: ' * bool(each.whose)}{each.kind} ({each.scope}): {each.sentence}" for each in found]


def read() -> dict[str, list[str]]:
    """Read the file: a scene a paragraph, each sentence over as many lines as it needs."""
    found: dict[str, list[str]] = {}
    for paragraph in FILE.read_text(encoding="utf-8").split("\n\n"):
        name, *lines = paragraph.splitlines()
        found[name] = sentences = []
        for each in lines:
            if each.startswith("- "):
                sentences.append(each[2:])
            else:
                sentences[-1] += f" {each.strip()}"
    return found


def write() -> None:
    paragraphs = []
    for name in SCENES:
        lines = [
            textwrap.fill(
                each, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
            for each in told(name)
        ]
        paragraphs.append("\n".join([name, *lines]))
    FILE.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
