"""between: the loss along the straight line between two states of a model, and how many targets it gets right."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine._plane.ends import End, model_of, read_end
from ravine._plane.project import HOW, facts_of_loss, sample_facts, tell_random
from ravine._problem.in_place import InPlace, Statistics
from ravine._problem.problem import Problem
from ravine._problems import as_one_problem
from ravine._progress import work
from ravine._study.contract import CONTRACT
from ravine._study.provenance import provenance
from ravine._torch import with_gradients

FEWEST = 3
"""Points of a line: its ends, and one between them."""


@with_gradients
def between(
    problem: Problem | str, one: Any, other: Any, points: int = 51, *, statistics: Statistics = "batch"
) -> xr.Dataset:
    r"""Evaluate the loss along the straight line between two states of a model, as in linear mode connectivity.

    At a share :math:`s` of the way the parameters are :math:`(1-s)\,\theta_1 + s\,\theta_2`, in float64 and rounded
    once to the model's dtype, so that both ends are the states themselves. How far the loss rises over the straight
    line of its ends is told by `ravine.measure.barrier` and in words by `ravine.explain`. Hidden units are not matched:
    networks that differ by the order of their units alone may have a barrier between them.

    Parameters
    ----------
    problem
        Whose loss is evaluated: over all data, in eval mode, one place after another in a private copy.
    one, other
        Each a run (its last position) or one step of it (``run.sel(step=30)``), a problem (its start), a module, a
        state_dict or another mapping of all parameters, or a vector in the order of the problem's labels. States are
        read as `ravine.checkpoints` reads them: of a wrapped or averaged module, under one prefix, or within what a
        training saved around it.
    points
        How many points, the ends included, evenly spaced.
    statistics
        Where BatchNorm takes mean and variance from: ``"batch"``, made anew at each point from the data, batch by
        batch; ``"frozen"``, those that the problem's model was handed over with, at all points. Those of the two
        states are never mixed.

    Returns
    -------
    xarray.Dataset
        ``line_loss`` (share,) in float64. Where the loss compares scores with classes (cross entropy, NLL, margins,
        binary cross entropy) also ``line_accuracy`` (share,), the share of targets whose class has the largest score.
        ``distance`` (share,) is how far each point is from `one`. A loss that is not finite stays as it is.

    Raises
    ------
    TypeError, ValueError
        If a state is of another model, not finite, or both are the same place.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.himmelblau()
    >>> line = ravine.between(problem, {"x": 3.0, "y": 2.0}, {"x": -2.805118, "y": 3.131313}, points=5)
    >>> line.line_loss.round(3).values.tolist()
    [0.0, 39.983, 71.08, 39.983, 0.0]
    >>> barrier = ravine.measure.barrier(line)
    >>> round(float(barrier), 3), float(barrier.share)
    (71.08, 0.5)

    Notes
    -----
    Goodfellow, Vinyals and Saxe, "Qualitatively characterizing neural network optimization problems", ICLR 2015;
    Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020; on permutations Entezari
    et al., ICLR 2022.
    """
    problem = as_one_problem(problem, "ravine.between")
    if isinstance(points, bool) or not isinstance(points, int | np.integer) or points < FEWEST:
        raise ValueError(f"points must be a whole number of at least {FEWEST}, got {points!r}")
    if statistics not in ("batch", "frozen"):
        raise ValueError(f'statistics must be "batch" or "frozen", got {statistics!r}')
    ends = [read_end(problem, each, name) for each, name in ((one, "one"), (other, "other"))]
    if np.array_equal(ends[0].place, ends[1].place):
        raise ValueError("one and other are the same place: there is no line between them")
    with torch.no_grad():
        return _evaluate(problem, ends[0], ends[1], int(points), statistics)


def _evaluate(problem: Problem, one: End, other: End, points: int, statistics: Statistics) -> xr.Dataset:
    place = InPlace(problem, statistics)
    tell_random(place)
    if place.statistics == "frozen":
        _tell_other_statistics(problem, {"one": one, "other": other})
    begin, end = torch.from_numpy(one.place), torch.from_numpy(other.place)
    shares = np.array([k / (points - 1) for k in range(points)])
    values = np.empty((2, points))
    with work(points, "points") as advance:
        for k, share in enumerate(shares.tolist()):
            place.move_to((1 - share) * begin + share * end)
            values[:, k] = place.value_and_accuracy()
            advance(1)
    error = None
    if place.is_sample:
        place.move_to(begin)
        error = place.standard_error()
    fate = provenance(
        HOW,
        **facts_of_loss(place),
        **sample_facts(place, error),
        dtype=str(problem.like.dtype).removeprefix("torch."),
        statistics=place.statistics,
        one=one.about,
        other=other.about,
        units=_unmatched(problem),
    )
    names = ("line_loss", "line_accuracy") if np.isfinite(values[1]).any() else ("line_loss",)
    data = {
        name: ("share", row, {"long_name": CONTRACT[name].long_name, "provenance": fate})
        for name, row in zip(names, values, strict=False)
    }
    length = float(np.linalg.norm(other.place - one.place))
    coords: dict[str, Any] = {
        "share": ("share", shares, {"long_name": "share of the way from one to other"}),
        "distance": ("share", shares * length, {"long_name": "distance from one"}),
    }
    if problem.criterion is not None:
        coords["criterion"] = problem.criterion
    return xr.Dataset(data, coords)


def _unmatched(problem: Problem) -> str | None:
    """Say that hidden units were not matched, where there are any: two layers of weights or more."""
    layers = sum(value.ndim > 1 for value in problem.start.values())
    return "not matched" if model_of(problem) is not None and layers > 1 else None


def _tell_other_statistics(problem: Problem, ends: dict[str, End]) -> None:
    """Warn where an end came with other BatchNorm statistics than the ones that are taken at all points."""
    model = model_of(problem)
    assert model is not None
    own = {key: each.cpu() for key, each in model.named_buffers() if key.endswith(("running_mean", "running_var"))}
    unlike = [
        name
        for name, end in ends.items()
        if any(
            key in end.buffers and not torch.equal(end.buffers[key].to(each).reshape(each.shape), each)
            for key, each in own.items()
        )
    ]
    if unlike:
        warnings.warn(
            f"{' and '.join(unlike)} came with other BatchNorm statistics than the problem's, which are taken at all "
            'points: statistics="batch" makes them anew at each',
            stacklevel=5,
        )
