"""landmarks: where what is minimised is lowest, and how it curves there; the minima that come with runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._problem.problem import Problem, dimension
from ravine._study.contract import CONTRACT
from ravine._study.provenance import provenance
from ravine._study.rule import COUPLED
from ravine.curvature._derivatives import Place, vector_of
from ravine.curvature._minima import minima_of
from ravine.curvature._regression import Minimum, none_found, regression_of

MOST = 16
"""Parameters up to which a minimum is searched for and its Hessian kept."""


def landmarks(
    problem: Problem | Mapping[str, Problem],
    weight_decay: float | Sequence[float] | NDArray[Any] = 0.0,
    *,
    near: Place = None,
) -> xr.Dataset:
    r"""Find where what is really minimised is lowest, and how it curves there.

    With weight decay :math:`\lambda`, as torch's SGD and Adam add it to the gradient (AdamW does not), that is

    .. math:: L(\theta) + \tfrac{\lambda}{2}\,|\theta|^2

    Parameters
    ----------
    problem
        A problem of at most 16 parameters, or a mapping of them as in `ravine.descend`.
    weight_decay
        One value, or several, which become the dimension ``weight_decay``.
    near
        Where to look: values by parameter, or one number for each label. Only problems that have no minimum
        of their own, or several, need it. Left out, the lowest of the problem's ``minimizers`` counts; where
        they are not known, or decay moves them, the search begins there, or else at the start.

    Returns
    -------
    xarray.Dataset
        ``minimizer`` (…, parameter), ``minimum_loss`` (…) and ``hessian`` (…, parameter, ``parameter_``) in float64,
        whatever the problem's dtype: its numbers are taken as they are. (A function that makes float32 of
        float64 parameters is evaluated in float32, and ``engine`` says so.) The provenance says under
        ``scope`` how far each claim goes:

        - "exact": a linear layer under MSELoss (in closed form), L1Loss, HuberLoss or SmoothL1Loss (convex, and
          certified). Where the loss may be as low elsewhere too it says so.
        - "stated by the problem": one of its ``minimizers``.
        - "local: found from …": a local minimum; others may be lower.
        - "none found: …" with the reason, a saddle or a kink, say. All numbers are NaN then.

    Raises
    ------
    ValueError
        If there are more than 16 parameters, a weight decay is negative or not finite, or `near` is no place.

    Examples
    --------
    >>> import ravine
    >>> found = ravine.landmarks(ravine.gallery.article(), weight_decay=[0, 2])
    >>> found.minimizer.dims, found.hessian.shape
    (('criterion', 'weight_decay', 'parameter'), (4, 2, 2, 2))
    >>> found.minimizer.sel(criterion="MSELoss").values.round(4).tolist()
    [[0.9258, 2.4844], [0.3001, 1.2128]]
    >>> ravine.landmarks(ravine.gallery.rosenbrock(), weight_decay=0.5).minimizer.values.round(4).tolist()
    [0.6765, 0.4565]

    Notes
    -----
    The Hessian of L1Loss is zero wherever it exists: only the decay curves, and what holds the minimum in place
    is a kink. For how many residuals are zero there, see ``kinks`` in the provenance. A minimum is searched for
    once for a problem, and remembered as long as the problem lives.

    Source: K. Madsen and H. B. Nielsen, "A finite smoothing algorithm for linear l1 estimation", SIAM Journal on
    Optimization 3, 1993; A. R. Conn, N. I. M. Gould and P. L. Toint, Trust-Region Methods, 2000 (scipy's trust-exact).
    """
    labels, problems = ([""], [problem]) if isinstance(problem, Problem) else (list(problem), list(problem.values()))
    lead = () if isinstance(problem, Problem) else (dimension(problem),)
    first = problems[0]
    if len(first.labels) > MOST:
        raise ValueError(
            f"the problem has {len(first.labels)} parameters, landmarks are found for at most {MOST}; "
            "for larger ones ravine.curvature has top_eigenpairs(problem) and hessian_product(problem, at, vector)"
        )
    decays = _decays(weight_decay)
    place = None if near is None else vector_of(first, near)
    cells = [list(minima_of(each, decays.reshape(-1).tolist(), place)) for each in problems]

    def told(name: str) -> Any:
        return _told([[getattr(each, name) for each in row] for row in cells], labels, decays)

    fate = provenance(
        told("engine"),
        scope=told("scope"),
        kinks=told("kinks"),
        minimises="loss + weight_decay / 2 * |parameters|²",
        near=None if place is None else place.tolist(),
    )
    shape = (*([len(problems)] * len(lead)), *decays.shape)
    data = {}
    for name, held in (("minimizer", "place"), ("minimum_loss", "loss"), ("hessian", "hessian")):
        numbers = np.array([[getattr(each, held) for each in row] for row in cells], dtype=np.float64)
        entry = CONTRACT[name]
        dims = (*lead, *["weight_decay"] * decays.ndim, *entry.dims)
        attrs = {"long_name": entry.long_name, "provenance": fate}
        data[name] = xr.Variable(dims, numbers.reshape((*shape, *numbers.shape[2:])), attrs)
    names = np.array(first.labels)
    coords: dict[str, Any] = {"parameter": names, "parameter_": names}
    coords["weight_decay"] = decays if decays.ndim else float(decays)
    coords |= {dim: np.array(labels) for dim in lead}
    if not lead and first.criterion is not None:
        coords["criterion"] = first.criterion
    return xr.Dataset(data, coords)


def _decays(given: Any) -> Vector:
    try:
        decays = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"weight_decay must be a number or several, got {given!r}") from None
    if decays.ndim > 1 or not decays.size or not (np.isfinite(decays) & (decays >= 0)).all():
        raise ValueError(f"weight_decay must be a number or several, finite and not negative, got {given!r}")
    return decays


def _told(cells: Sequence[Sequence[Any]], labels: Sequence[str], decays: Vector) -> Any:
    """Say once what holds for all; else by label, by weight decay, or by both."""
    by_decay = any(len(set(row)) > 1 for row in cells)
    by_label = any(len(set(column)) > 1 for column in zip(*cells, strict=True))
    if not by_decay and not by_label:
        return cells[0][0]
    told = {}
    for label, row in zip(labels, cells, strict=True):
        for decay, each in zip(decays.reshape(-1).tolist(), row, strict=True):
            told[", ".join([label] * by_label + [f"weight_decay {decay!r}"] * by_decay)] = each
    return told


Vector = NDArray[np.float64]


def decay_of(optimizer: type[Any], settings: Mapping[str, Any], overridden: set[str]) -> float | None:
    """Return the weight decay that is minimised with the loss; None where it is not known what is minimised.

    Examples
    --------
    >>> import torch
    >>> [decay_of(rule, {"weight_decay": 0.5}, set()) for rule in (torch.optim.SGD, torch.optim.AdamW)]
    [0.5, 0.0]
    """
    if settings.get("maximize") or {"weight_decay", "maximize"} & overridden:
        return None
    amount = float(settings.get("weight_decay") or 0.0)
    if optimizer.__name__ in COUPLED and not settings.get("decoupled_weight_decay"):
        return amount if 0 <= amount < np.inf else None
    ours = optimizer.__module__.startswith("torch.optim")
    return 0.0 if ours or not amount else None  # what others do with their decay is not known


def minima_of_runs(
    problems: Sequence[Problem], ends: Sequence[Vector], decay: float, choices: Mapping[str, Sequence[Any]]
) -> dict[str, xr.Variable]:
    """Return the landmarks (…) of what runs minimise, where they are known without a long search.

    That is for regressions, and for problems that state their minimizers: of several the one nearest to the
    run's end, and with decay the minimum that is found from there, once for each problem and decay. Elsewhere a
    search may cost many times the run; `ravine.landmarks` makes it when it is asked for. What is known for no
    run is left out; what is known for some is NaN for the others.
    """
    if len(problems[0].labels) > MOST:
        return {}
    found = [_minimum(problem, end, decay) for problem, end in zip(problems, ends, strict=True)]
    variables = _variables("", found, choices, decay)
    if decay:
        alone = [_minimum(problem, end, 0.0) for problem, end in zip(problems, ends, strict=True)]
        variables |= _variables("data_", alone, choices, 0.0)
        variables.pop("data_hessian", None)
    return variables


def _minimum(problem: Problem, end: Vector, decay: float) -> Minimum:
    near = None
    if problem.minimizers:
        stated = [np.array([float(place[label]) for label in problem.labels]) for place in problem.minimizers]
        near = min(stated, key=lambda place: float(np.linalg.norm(place - end)))
    elif regression_of(problem) is None:
        return none_found(len(end), "not searched for")
    return next(minima_of(problem, [decay], near))


def _variables(
    prefix: str, found: Sequence[Minimum], choices: Mapping[str, Sequence[Any]], decay: float
) -> dict[str, xr.Variable]:
    shape = tuple(len(labels) for labels in choices.values())

    def told(name: str) -> Any:
        return _by_label([getattr(each, name) for each in found], list(choices.items()))

    fate = provenance(
        told("engine"),
        equals_torch="no run of torch's",
        scope=told("scope"),
        kinks=told("kinks"),
        minimises=f"loss + {decay!r} / 2 * |parameters|²",
    )
    variables = {}
    for name, numbers in (
        ("minimizer", [each.place for each in found]),
        ("minimum_loss", [each.loss for each in found]),
        ("hessian", [each.hessian for each in found]),
    ):
        stacked = np.array(numbers, dtype=np.float64)
        if np.isnan(stacked).all():
            continue
        attrs = {"long_name": _long_name(prefix, name), "provenance": fate}
        dims = (*choices, *CONTRACT[name].dims)
        variables[prefix + name] = xr.Variable(dims, stacked.reshape((*shape, *stacked.shape[1:])), attrs)
    return variables


def _long_name(prefix: str, name: str) -> str:
    return CONTRACT[prefix + name if prefix + name in CONTRACT else name].long_name


def _by_label(values: Sequence[Any], choices: Sequence[tuple[str, Sequence[Any]]]) -> Any:
    """Say once what holds for all, else by label; in the form in which joined studies say it."""
    if len(set(values)) == 1:
        return values[0]
    (dim, labels), *inner = choices
    size = len(values) // len(labels)
    rows = [_by_label(values[k * size : (k + 1) * size], inner) for k in range(len(labels))]
    return {"by": dim, **{str(label): row for label, row in zip(labels, rows, strict=True)}}


def ends_of(positions: Sequence[NDArray[Any]]) -> list[Vector]:
    """Return the last place of each run that is finite."""
    finite = [each[np.isfinite(each).all(axis=1)][-1] for each in positions]
    return [np.asarray(each, dtype=np.float64) for each in finite]
