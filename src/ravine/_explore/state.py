"""A card: what a page must know of a problem, as JSON; the order in which torch adds here; runs to prove a page by."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine import gallery
from ravine._descent.loop import record_run
from ravine._descent.run_spec import RunSpec
from ravine._problem.dimension import dimension
from ravine._problem.neuron import is_neuron, neuron
from ravine._problem.problem import Problem
from ravine._study.rule import DEFAULTS
from ravine._torch import numpy_of, one_thread
from ravine.theory import stability_limit

MOST_POINTS = 10_000
"""Points of a neuron up to which the page computes by itself."""

MOST_PROBLEMS = 4
"""Panels of a page."""

PROOFS = 24
"""Runs of real torch by which a page proves itself."""

CRITERIA: dict[type[Any], str | None] = {
    torch.nn.MSELoss: None,
    torch.nn.L1Loss: None,
    torch.nn.HuberLoss: "delta",
    torch.nn.SmoothL1Loss: "beta",
}
"""Criteria that the page knows, and the setting that says where they turn."""

GOOD_LR = {
    "rosenbrock": 1e-3, "beale": 0.01, "himmelblau": 0.01, "rastrigin": 0.002, "styblinski_tang": 0.01,
}  # fmt: skip
"""Where the page begins on functions on which lr 0.1 diverges at once."""

ADAPTIVE: dict[str, dict[str, float]] = {
    "Adam": {"beta1": 0.9, "beta2": 0.999},
    "AdamW": {"beta1": 0.9, "beta2": 0.999},
    "RMSprop": {"alpha": 0.99, "momentum": 0.0},
    "Adagrad": {},
}
"""The page's optimizers besides SGD, and the settings that they have besides lr, weight_decay and maximize."""

Card = dict[str, Any]


@functools.cache
def order_of_operations() -> dict[str, str]:
    """Ask torch whether this processor rounds once or twice where it multiplies and adds.

    ``gradient`` is the chain that sums a linear neuron's weight gradient over the samples, ``update`` what an
    optimizer does to parameters. The answer depends on processor and matrix library, not on the numbers.

    Examples
    --------
    >>> sorted(order_of_operations()), set(order_of_operations().values()) <= {"fused", "split"}
    (['gradient', 'update'], True)
    """
    one, small = 1.0 + 2.0**-12, 2.0**-24  # one² is 1 + 2⁻¹¹ + 2⁻²⁴, of which rounding keeps 1 + 2⁻¹¹
    with one_thread():
        weight = torch.zeros(1, 1, requires_grad=True)
        inputs, pushes = torch.zeros(64, 1), torch.zeros(64, 1)  # not so few that another kernel takes them
        inputs[-2:, 0] = torch.tensor([1.0, one])
        pushes[-2:, 0] = torch.tensor([-1.0 - 2.0**-11, one])
        (torch.nn.functional.linear(inputs, weight) * pushes).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        updated = torch.tensor([-1.0 - 2.0**-11]).add_(torch.tensor([one]), alpha=one)
    return {
        "gradient": "fused" if weight.grad.item() == small else "split",
        "update": "fused" if updated.item() == small else "split",
    }


def make_card(problem: Problem | Mapping[str, Problem], name: str = "") -> Card:
    """Describe a problem, or up to four, to a page.

    ``family`` is "neuron" or "gallery" where the page can compute the runs itself, else "python".

    Examples
    --------
    >>> import ravine
    >>> card = make_card(ravine.gallery.article())
    >>> card["family"], card["labels"], [each["label"] for each in card["criteria"]]
    ('neuron', ['weight', 'bias'], ['MSELoss', 'L1Loss', 'HuberLoss', 'SmoothL1Loss'])
    >>> make_card(ravine.gallery.quadratic(condition=100))["condition"]
    100.0
    """
    problems = dict(problem) if isinstance(problem, Mapping) else {"": problem}
    check_problems(problems)
    first = next(iter(problems.values()))
    low = first.ranges or {}
    horizontal = next(iter(low), None) or (first.labels[1] if first.labels == ("weight", "bias") else first.labels[0])
    card: Card = {
        "name": name or "your problem",
        "labels": list(first.labels),
        "axes": [horizontal, next(each for each in first.labels if each != horizontal)],
        "ranges": {label: list(span) for label, span in low.items()},
        "start": [each for value in first.start.values() for each in _short(value)],
        "dtype": str(next(iter(first.start.values())).dtype).removeprefix("torch."),
        "order": order_of_operations(),
        "torch": torch.__version__.partition("+")[0],
    }
    neuron = _as_neuron(problems)
    if neuron is not None:
        return card | neuron
    known = _as_function(first) if len(problems) == 1 else None
    if known is not None:
        return card | known
    return card | {
        "family": "python",
        "panels": [label or first.criterion or card["name"] for label in problems],
        "lr": DEFAULTS["lr"],
    }


def _short(tensor: torch.Tensor) -> list[float]:
    """Return numbers as the shortest decimals that are these in their own dtype."""
    return [float(str(value)) for value in numpy_of(tensor).reshape(-1)]


def check_problems(problems: Mapping[str, Problem]) -> None:
    """Refuse what a page has no room for, and say what draws it."""
    dimension(problems)
    if len(problems) > MOST_PROBLEMS:
        raise ValueError(f"a page shows up to {MOST_PROBLEMS} problems side by side, got {len(problems)}: choose some")
    first = next(iter(problems.values()))
    if first.size != 2:
        raise ValueError(
            f"a page shows problems of exactly two parameters, this one has {first.size}: "
            "ravine.plot.losses(ravine.descend(problem)) draws the losses of any, and ravine.surface the loss along "
            "two of its parameters, as in ravine.surface(problem, {first}=(-1, 1), {second}=(-1, 1))".format(
                first=first.labels[0], second=first.labels[1] if first.size > 1 else "other"
            )
        )
    starts = {tuple(float(v) for value in each.start.values() for v in value.reshape(-1)) for each in problems.values()}
    if len(starts) > 1:
        raise ValueError(f"a page begins all its problems at one place, these begin at {sorted(starts)}")


def _as_neuron(problems: Mapping[str, Problem]) -> Card | None:
    """Describe linear neurons on one input that differ in their criterion alone; None where they are none."""
    first = next(iter(problems.values()))
    if not all(is_neuron(each) and type(each.parts.criterion) in CRITERIA for each in problems.values()):  # type: ignore[union-attr]
        return None
    parts = first.parts
    assert parts is not None
    dtypes = {parts.inputs.dtype, parts.targets.dtype, next(iter(first.start.values())).dtype}
    count, features = parts.inputs.shape
    if features != 1 or count > MOST_POINTS or len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return None
    if len(problems) > 1 and dimension(problems) != "criterion":
        return None
    criteria = []
    for label, each in problems.items():
        assert each.parts is not None
        kind = type(each.parts.criterion)
        turn = float(getattr(each.parts.criterion, CRITERIA[kind] or "", 1.0))
        if not 0 < turn < np.inf:
            return None
        criteria.append({"label": label or kind.__name__, "criterion": kind.__name__, "turn": turn})
    inputs, targets = _short(parts.inputs), _short(parts.targets)
    return {
        "family": "neuron",
        "criteria": criteria,
        "inputs": inputs,
        "targets": targets,
        "names": list(parts.names),
        "lr": _good_lr(np.array(inputs)),
    }


def _good_lr(inputs: NDArray[np.float64]) -> float:
    """Return 0.1, or where mean squares diverge by it a fifth of their limit."""
    design = np.stack([inputs, np.ones_like(inputs)])
    limit = float(stability_limit(np.linalg.eigvalsh(2 / len(inputs) * design @ design.T)))
    return 0.1 if limit > 0.15 else float(f"{limit / 5:.1g}")


def _as_function(problem: Problem) -> Card | None:
    """Describe a function of the gallery, which is known by where it was written; None for any other."""
    loss = problem.loss
    name = getattr(loss, "__qualname__", "").partition(".")[0]
    if getattr(loss, "__module__", "") != gallery.__name__ or name not in gallery.__all__ or problem.parts is not None:
        return None
    if next(iter(problem.start.values())).dtype not in (torch.float32, torch.float64):
        return None
    held = inspect.getclosurevars(loss).nonlocals
    stated = [[float(place[label]) for label in problem.labels] for place in problem.minimizers]
    return {
        "family": "gallery",
        "name": name,
        "function": name,
        **({"condition": float(held["flattening"])} if "flattening" in held else {}),
        "minimizers": stated,
        "lr": GOOD_LR.get(name, 0.1),
    }


# ---- proof -----------------------------------------------------------------------------------------------------------


def make_proofs(
    problem: Problem | Mapping[str, Problem], card: Card, count: int = PROOFS, seed: int = 0
) -> list[dict[str, Any]]:
    """Let real torch make random runs of a problem that the page computes by itself.

    Where it is a neuron's, half of them are of its own data and half of random points, dtypes and criteria.

    Examples
    --------
    >>> import ravine
    >>> problems = ravine.gallery.article()
    >>> proofs = make_proofs(problems, make_card(problems, "article"), count=4)
    >>> [each["of"] for each in proofs], proofs[0]["steps"] > 0
    (['article', '', 'article', ''], True)
    """
    random = np.random.default_rng(seed)
    own = [problem] if isinstance(problem, Problem) else list(problem.values())
    if card["family"] == "python":
        return []
    proofs = []
    for k in range(count):
        told: dict[str, Any]
        if card["family"] == "gallery" or k % 2 == 0:
            panel = k // 2 % len(own)
            one, told = own[panel], {"of": card["name"], "panel": panel}
        else:
            one = _random_neuron(random)
            told = {"of": "", "card": make_card(one), "panel": 0}
        settings, steps = _random_settings(random, float(card["lr"])), int(random.integers(8, 40))
        centre = np.array([float(v) for v in one.start.values()])
        start = (centre + random.normal(size=2).round(2)).tolist()
        run = _run_of(one.starting_at(dict(zip(one.start, start, strict=True))), "SGD", settings, steps)
        proofs.append({**told, "start": start, "settings": settings, "steps": steps, **run})
    return proofs


def make_adaptive_proofs(
    problem: Problem | Mapping[str, Problem], card: Card, count: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Let real torch make so many random runs by each of the other optimizers.

    Their square roots are a matter of the processor's library, so not every bit need be equal: the page says by how
    much they differ.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> [each["settings"]["optimizer"] for each in make_adaptive_proofs(bowl, make_card(bowl), 1)]
    ['Adam', 'AdamW', 'RMSprop', 'Adagrad']
    """
    random = np.random.default_rng(seed)
    own = [problem] if isinstance(problem, Problem) else list(problem.values())
    if card["family"] == "python":
        return []
    proofs = []
    for name, usual in ADAPTIVE.items():
        for k in range(count):
            settings = {"optimizer": name, **DEFAULTS, **usual, "lr": float(f"{10 ** random.uniform(-2, -0.5):.3g}")}
            settings["weight_decay"] = float(f"{random.choice([0.0, random.uniform(0, 2)]):.2g}")
            spelled = {each: settings[each] for each in ("lr", "weight_decay", "maximize", *usual)}
            panel, start = k % len(own), card["start"]
            told = {"of": card["name"], "panel": panel, "start": start, "settings": settings, "steps": 30}
            proofs.append(told | _run_of(own[panel], name, _as_torch(spelled), 30))
    return proofs


def _as_torch(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as torch takes them: both betas of Adam in one."""
    rest = {name: value for name, value in settings.items() if name not in ("beta1", "beta2")}
    return rest | ({"betas": (settings["beta1"], settings["beta2"])} if "beta1" in settings else {})


def _run_of(problem: Problem, optimizer: str, settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Make one run, without the study that would be made of it, and return its digest and where it ends."""
    made_by = getattr(torch.optim, optimizer)
    trace = record_run(problem, RunSpec(made_by, steps, settings, None, {}, None, frozenset(), throw=False))
    position, loss = numpy_of(trace.positions.whole()), numpy_of(trace.losses.whole()).reshape(-1)
    end = [repr(float(v)).replace("inf", "Infinity").replace("nan", "NaN") for v in position[-1]]
    return {"digest": digest(position, loss), "end": end}


def _random_neuron(random: np.random.Generator) -> Problem:
    dtype = (torch.float32, torch.float64)[int(random.integers(2))]
    count = int(random.choice([3, 8, 17, 40]))
    x, y = (torch.tensor(random.normal(size=(count, 1)).round(2), dtype=dtype) for _ in range(2))
    kind = list(CRITERIA)[int(random.integers(4))]
    setting = CRITERIA[kind]
    criterion = kind() if setting is None else kind(**{setting: round(float(random.uniform(0.2, 2)), 3)})
    model = neuron(torch.zeros(1, 1, dtype=dtype), torch.zeros(1, dtype=dtype))
    return Problem.of(model, criterion, (x, y))


def _random_settings(random: np.random.Generator, scale: float) -> dict[str, Any]:
    momentum = float(f"{random.choice([0.0, 0.9, random.uniform(0.1, 0.99)]):.3g}")
    nesterov = bool(momentum and random.random() < 0.4)
    return {
        "lr": float(f"{scale * 10 ** random.uniform(-1, 0.7):.3g}"),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else float(f"{random.choice([0.0, random.uniform(0, 1)]):.2g}"),
        "weight_decay": float(f"{random.choice([0.0, random.uniform(0, 2)]):.2g}"),
        "nesterov": nesterov,
        "maximize": bool(random.random() < 0.1),
    }


def digest(*arrays: NDArray[Any]) -> int:
    """Return a checksum of numbers in every bit, NaN in one form.

    Examples
    --------
    >>> digest(np.array([1.0, np.nan])) == digest(np.array([1.0, -np.nan])) != digest(np.array([1.0, 2.0]))
    True
    """
    sum = 0
    for each in arrays:
        plain = np.where(np.isnan(each), np.array(np.nan, each.dtype), each)
        sum = zlib.crc32(np.ascontiguousarray(plain).astype(plain.dtype.newbyteorder("<")).tobytes(), sum)
    return sum
