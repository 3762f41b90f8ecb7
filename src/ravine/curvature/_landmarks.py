"""landmarks: where what is minimised is lowest, and how it curves there; the minima that come with runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._problem.dimension import dimension
from ravine._problem.problem import Problem
from ravine._problems import Given, as_problem
from ravine._study.contract import CONTRACT
from ravine._study.decay import Decay
from ravine._study.provenance import by_label, provenance
from ravine._torch import with_gradients
from ravine.curvature._derivatives import Place, vector_of
from ravine.curvature._minima import minima_of
from ravine.curvature._regression import Minimum, none_found, regression_of

Vector = NDArray[np.float64]

MOST = 16
"""Parameters up to which a minimum is searched for and its Hessian kept."""


@with_gradients
def landmarks(
    problem: Given,
    weight_decay: float | Sequence[float] | NDArray[Any] | Mapping[str, float] = 0.0,
    *,
    near: Place = None,
) -> xr.Dataset:
    r"""Find where what is really minimised is lowest, and how it curves there.

    With weight decay :math:`\lambda`, as torch's SGD and Adam add it to the gradient (AdamW does not), that is

    .. math:: L(\theta) + \tfrac{\lambda}{2}\,|\theta|^2

    or, where each parameter has its own, :math:`L(\theta) + \tfrac12 \sum_i \lambda_i \theta_i^2`.

    Parameters
    ----------
    problem
        A problem of at most 16 parameters, a mapping of them, or a word for one, as in `ravine.descend`.
    weight_decay
        One value, or several, which become the dimension ``weight_decay``; or a mapping of names and patterns
        (``{"*bias": 0.0, "*": 2.0}``) to the decay of these parameters, as `groups` of `ravine.descend` set it. The
        first that fits counts, what fits none has no decay.
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
        - "none found: …" with the reason: a saddle, a kink, or a bottom that is level within rounding, say. All numbers
          are NaN then.

    Raises
    ------
    ValueError
        If there are more than 16 parameters, a weight decay is negative or not finite, a pattern fits no parameter, or
        `near` is no place.

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
    is a kink. For how many residuals are zero there, see ``kinks`` in the provenance; of other losses it is along how
    many parameters the slope jumps, or curvature has no bound. A minimum is searched for once for a problem, and
    remembered as long as the problem lives.

    Source: K. Madsen and H. B. Nielsen, "A finite smoothing algorithm for linear l1 estimation", SIAM Journal on
    Optimization 3, 1993; A. R. Conn, N. I. M. Gould and P. L. Toint, Trust-Region Methods, 2000 (scipy's trust-exact).
    """
    problem = as_problem(problem, "ravine.landmarks")
    labels, problems = ([""], [problem]) if isinstance(problem, Problem) else (list(problem), list(problem.values()))
    lead = () if isinstance(problem, Problem) else (dimension(problem),)
    first = problems[0]
    if first.size > MOST:
        raise ValueError(
            f"the problem has {first.size} parameters, landmarks are found for at most {MOST}; "
            "for larger ones ravine.curvature has top_eigenpairs(problem) and hessian_product(problem, at, vector)"
        )
    place = None if near is None else vector_of(first, near)
    if isinstance(weight_decay, Mapping):
        decays: Sequence[Decay] = [_decay_of_each(first, weight_decay)]
        several = None
        formula = formula_of(decays[0])
    else:
        several = _decays(weight_decay)
        decays, formula = several.reshape(-1).tolist(), "loss + weight_decay / 2 * |parameters|²"
    choices: dict[str, Sequence[Any]] = dict.fromkeys(lead, labels)
    if several is not None and several.ndim:
        choices["weight_decay"] = decays
    minima = [each for one in problems for each in minima_of(one, decays, place)]
    data = variables_of(minima, choices, formula, near=None if place is None else place.tolist())
    names = np.array(first.labels)
    coords: dict[str, Any] = {"parameter": names, "parameter_": names}
    if several is not None:
        coords["weight_decay"] = several if several.ndim else float(several)
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


def _decay_of_each(problem: Problem, given: Mapping[str, float]) -> Decay:
    """Return the decay of each parameter, or one where all have the same."""
    for pattern, amount in given.items():
        _decays([amount])
        if not any(fnmatchcase(name, pattern) for name in problem.start):
            raise ValueError(f"weight_decay: no parameter fits {pattern!r}; the problem has {listed(problem.start)}")
    each: list[float] = []
    for name, value in problem.start.items():
        amount = next((float(amount) for pattern, amount in given.items() if fnmatchcase(name, pattern)), 0.0)
        each += [amount] * value.numel()
    return each[0] if len(set(each)) == 1 else tuple(each)


def minima_of_runs(
    problems: Sequence[Problem], ends: Sequence[Vector], decay: Decay, choices: Mapping[str, Sequence[Any]]
) -> dict[str, xr.Variable]:
    """Return the landmarks (…) of what runs minimise, where they are known without a long search.

    That is for regressions, and for problems that state their minimizers: of several the one nearest to the
    run's end, and with decay the minimum that is found from there, once for each problem and decay. Elsewhere a
    search may cost many times the run; `ravine.landmarks` makes it when it is asked for. What is known for no
    run is left out; what is known for some is NaN for the others.
    """
    if problems[0].size > MOST:
        return {}
    found = [_minimum(problem, end, decay) for problem, end in zip(problems, ends, strict=True)]
    variables = variables_of(found, choices, formula_of(decay))
    if np.any(decay):
        alone = [_minimum(problem, end, 0.0) for problem, end in zip(problems, ends, strict=True)]
        variables |= variables_of(alone, choices, formula_of(0.0), prefix="data_")
        variables.pop("data_hessian")
    return {name: each for name, each in variables.items() if not np.isnan(each.values).all()}


def _minimum(problem: Problem, end: Vector, decay: Decay) -> Minimum:
    near = None
    if problem.minimizers:
        stated = [np.array([float(place[label]) for label in problem.labels]) for place in problem.minimizers]
        with np.errstate(over="ignore"):  # a run may have gone farther than numbers reach
            near = min(stated, key=lambda place: float(np.linalg.norm(place - end)))
    elif regression_of(problem) is None:
        return none_found(len(end), "not searched for")
    return next(minima_of(problem, [decay], near))


def variables_of(
    minima: Sequence[Minimum], choices: Mapping[str, Sequence[Any]], minimises: str, *, prefix: str = "", **facts: Any
) -> dict[str, xr.Variable]:
    """Return minima as variables, with how they are known.

    Parameters
    ----------
    minima
        One for each combination of labels, those of the last dimension fastest.
    choices
        The dimensions (…), with their labels.
    minimises
        What is lowest there, as a formula.
    prefix
        Of the variables' names.
    **facts
        What else the provenance is to say.

    Returns
    -------
    dict
        ``minimizer`` (…, parameter), ``minimum_loss`` (…) and ``hessian`` (…, parameter, parameter_); in the provenance
        ``engine``, ``scope``, ``kinks`` and ``quadratic``, once or by label.
    """

    def known(fact: str) -> Any:
        return by_label([getattr(each, fact) for each in minima], choices)

    fate = provenance(
        known("engine"),
        equals_torch="no run of torch's",
        scope=known("scope"),
        kinks=known("kinks"),
        quadratic=known("quadratic"),
        minimises=minimises,
        **facts,
    )
    shape = tuple(len(labels) for labels in choices.values())
    variables = {}
    for name, field in (("minimizer", "place"), ("minimum_loss", "loss"), ("hessian", "hessian")):
        numbers = np.array([getattr(each, field) for each in minima], dtype=np.float64)
        entry = CONTRACT[prefix + name] if prefix + name in CONTRACT else CONTRACT[name]
        attrs = {"long_name": entry.long_name, "provenance": fate}
        dims = (*choices, *CONTRACT[name].dims)
        variables[prefix + name] = xr.Variable(dims, numbers.reshape((*shape, *numbers.shape[1:])), attrs)
    return variables


def formula_of(decay: Decay) -> str:
    """Write what is minimised."""
    if isinstance(decay, tuple):
        return f"loss + sum of decay / 2 * parameter², decay {decay!r}"
    return f"loss + {decay!r} / 2 * |parameters|²"


def ends_of(positions: Sequence[NDArray[Any]]) -> list[Vector]:
    """Return the last place of each run that is finite."""
    finite = [each[np.isfinite(each).all(axis=1)][-1] for each in positions]
    return [np.asarray(each, dtype=np.float64) for each in finite]
