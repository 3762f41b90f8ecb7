"""landmarks: where what is minimised is lowest, and how it curves there; Hessians of any size by their products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import study
from ravine.derivatives import Place, function_of, vector_of
from ravine.minima import minima_of
from ravine.problem import Problem, dimension
from ravine.threads import one_thread

__all__ = ["MOST", "hessian", "hessian_product", "landmarks", "top_eigenpairs"]

Vector = NDArray[np.float64]

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

    fate = study.provenance(
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
        entry = study.CONTRACT[name]
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


def hessian(problem: Problem, at: Place = None) -> Vector:
    """Return the loss's Hessian at a place, in float64: the gradient of each entry of the gradient.

    Made for few parameters, it holds all pairs of them. What is linear in the parameters has none: that of
    L1Loss over a linear layer is zero almost everywhere.

    Parameters
    ----------
    problem
        Any problem whose loss can be differentiated twice.
    at
        Values by parameter (the others stay at the start), or one number for each label; the start if left out.

    Returns
    -------
    numpy.ndarray
        (parameter, parameter) in the order of the problem's labels.

    Examples
    --------
    >>> import ravine
    >>> hessian(ravine.gallery.rosenbrock(), {"x": 1.0, "y": 1.0}).tolist()
    [[802.0, -400.0], [-400.0, 200.0]]
    """
    place = vector_of(problem, at)
    with one_thread():
        return function_of(problem).hessian(place)[2]


def hessian_product(problem: Problem, at: Place, vector: Place) -> Vector:
    """Multiply the loss's Hessian at a place with a vector, without ever holding the Hessian.

    Parameters
    ----------
    problem
        Any problem whose loss can be differentiated twice, of any size.
    at
        As in `hessian`.
    vector
        One number for each label, or values by parameter, zero for those that are not named.

    Returns
    -------
    numpy.ndarray
        (parameter,) in float64.

    Examples
    --------
    >>> import ravine
    >>> hessian_product(ravine.gallery.rosenbrock(), {"x": 1.0, "y": 1.0}, [1.0, 2.0]).tolist()
    [2.0, 0.0]

    Notes
    -----
    B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
    """
    along = vector_of(problem, vector, elsewhere=0.0)
    return function_of(problem).product(vector_of(problem, at))(along)


def top_eigenpairs(problem: Problem, at: Place = None, count: int = 1) -> tuple[Vector, Vector]:
    """Return the largest eigenvalues of the loss's Hessian at a place, with their directions.

    Found by Lanczos's method from Hessian-vector products, so any size will do. No random number of torch's or
    numpy's is drawn: the same problem gives the same pairs.

    Parameters
    ----------
    problem, at
        As in `hessian`.
    count
        How many pairs.

    Returns
    -------
    values : numpy.ndarray
        (count,), the largest first; the largest itself, not the largest in size.
    directions : numpy.ndarray
        (parameter, count), of length 1, their largest entry positive.

    Raises
    ------
    ValueError
        If `count` is not between 1 and the number of parameters.

    Examples
    --------
    >>> import ravine
    >>> values, directions = top_eigenpairs(ravine.gallery.quadratic(condition=10))
    >>> values.tolist(), directions.tolist()
    ([2.0], [[0.0], [1.0]])

    Notes
    -----
    scipy.sparse.linalg.eigsh (ARPACK); where there are few parameters the whole Hessian is taken.
    """
    size = len(problem.labels)
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= size:
        raise ValueError(f"count must be a whole number from 1 to {size}, the number of parameters; got {count!r}")
    if size <= max(2 * count + 1, 20):  # Lanczos's method would span the whole space
        values, directions = np.linalg.eigh(hessian(problem, at))
    else:
        values, directions = _lanczos(problem, vector_of(problem, at), int(count))
    order = np.argsort(values)[::-1][:count]
    values, directions = values[order], directions[:, order]
    largest = directions[np.abs(directions).argmax(axis=0), range(len(order))]
    return values, directions * np.sign(largest)


def _lanczos(problem: Problem, place: Vector, count: int) -> tuple[Vector, Vector]:
    import scipy.sparse.linalg  # not above: it takes longer to load than most landmarks to find

    function = function_of(problem)
    product = function.product(place)
    begin = np.random.default_rng(0).standard_normal(len(place))
    if not product(begin).any():  # no curvature at all, and nothing for Lanczos's method to begin with
        return np.zeros(count), np.eye(len(place), count)
    operator = scipy.sparse.linalg.LinearOperator((len(place),) * 2, matvec=product, dtype=np.float64)
    values, directions = scipy.sparse.linalg.eigsh(
        operator, k=count, which="LA", v0=begin, tol=0.0 if function.precision == "float64" else 1e-5
    )
    return np.asarray(values), np.asarray(directions)


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
