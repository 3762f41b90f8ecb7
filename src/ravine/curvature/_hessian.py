"""Hessians of any size by their products, and the largest curvature along a run (sharpness)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._problem.buffers import read_buffers
from ravine._problem.problem import Problem
from ravine._problems import as_one_problem
from ravine._progress import tracked
from ravine._study.contract import CONTRACT, check_single
from ravine._torch import one_thread, with_gradients
from ravine.curvature._derivatives import Place, function_of, vector_of
from ravine.curvature._places import choose_places

Vector = NDArray[np.float64]


@with_gradients
def hessian(problem: Problem | str, at: Place = None) -> Vector:
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
    problem = as_one_problem(problem, "ravine.curvature.hessian")
    place = vector_of(problem, at)
    with one_thread():
        return function_of(problem).hessian(place)[2]


@with_gradients
def hessian_product(problem: Problem | str, at: Place, vector: Place) -> Vector:
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
    problem = as_one_problem(problem, "ravine.curvature.hessian_product")
    along = vector_of(problem, vector, elsewhere=0.0)
    return function_of(problem).product(vector_of(problem, at))(along)


@with_gradients
def top_eigenpairs(problem: Problem | str, at: Place = None, count: int = 1) -> tuple[Vector, Vector]:
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
    problem = as_one_problem(problem, "ravine.curvature.top_eigenpairs")
    size = problem.size
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= size:
        raise ValueError(f"count must be a whole number from 1 to {size}, the number of parameters; got {count!r}")
    place = vector_of(problem, at)
    if size <= max(2 * count + 1, 20):  # Lanczos's method would span the whole space
        whole = hessian(problem, place)
        if not np.isfinite(whole).all():
            raise _no_curvature(problem, place)
        values, directions = np.linalg.eigh(whole)
    else:
        values, directions = _lanczos(problem, place, int(count))
    order = np.argsort(values)[::-1][:count]
    values, directions = values[order], directions[:, order]
    largest = directions[np.abs(directions).argmax(axis=0), range(len(order))]
    return values, directions * np.sign(largest)


def _lanczos(problem: Problem, place: Vector, count: int) -> tuple[Vector, Vector]:
    import scipy.sparse.linalg  # not above: it takes longer to load than most landmarks to find

    function = function_of(problem)
    product = function.product(place)
    begin = np.random.default_rng(0).standard_normal(len(place))
    along = product(begin)
    if not np.isfinite(along).all():
        raise _no_curvature(problem, place)
    if not along.any():  # no curvature at all, and nothing for Lanczos's method to begin with
        return np.zeros(count), np.eye(len(place), count)
    operator = scipy.sparse.linalg.LinearOperator((len(place),) * 2, matvec=product, dtype=np.float64)
    try:
        values, directions = scipy.sparse.linalg.eigsh(
            operator, k=count, which="LA", v0=begin, tol=0.0 if function.precision == "float64" else 1e-5
        )
    except scipy.sparse.linalg.ArpackError as reason:
        if not np.isfinite(abs(along).max() ** 2):  # its squares overflow on the way
            raise _no_curvature(problem, place) from None
        raise ValueError(f"the largest eigenvalue of the Hessian was not found here: {reason}") from None
    return np.asarray(values), np.asarray(directions)


def _no_curvature(problem: Problem, place: Vector) -> ValueError:
    with np.errstate(all="ignore"):
        loss = function_of(problem).value(place)
    return ValueError(
        f"the Hessian is not finite here, where the loss is {loss:.4g} and the largest parameter "
        f"{abs(place).max():.4g}: there is no curvature to tell; look at a place before the run diverged"
    )


@with_gradients
def sharpness(problem: Problem | str, run: xr.Dataset, steps: Sequence[int] | None = None) -> xr.DataArray:
    """Evaluate the largest eigenvalue of the loss's Hessian along a run, for networks of any size.

    A step with an lr beyond the stability limit of this curvature takes the run away from where it is. So
    ``ravine.explain(run.assign(sharpness=ravine.sharpness(problem, run)))`` answers whether an lr is safe here.

    Parameters
    ----------
    problem
        What the run descended; buffers are taken as by `ravine.eigenvalues`.
    run
        One run with ``position`` (step, parameter).
    steps
        Where to look; the first and the last finite place if left out. A full curve of a network takes a while.

    Returns
    -------
    xarray.DataArray
        ``sharpness`` (step,), NaN where nobody looked, or where the position is not finite.

    Raises
    ------
    TypeError
        If `steps` are no numbers of steps.
    ValueError
        If there are several runs, the parameters are not the problem's, a step is not in the run, or the Hessian is
        not finite there, as far out in a run that diverged.

    Examples
    --------
    >>> import ravine
    >>> problem = ravine.gallery.quadratic(condition=10)
    >>> run = ravine.descend(problem, lr=0.1, steps=5)
    >>> ravine.sharpness(problem, run).values.tolist()
    [2.0, nan, nan, nan, nan, 2.0]

    Notes
    -----
    Cohen et al., "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", ICLR 2021.
    Found from Hessian-vector products (`ravine.curvature.top_eigenpairs`), in float64, over all data.
    """
    problem = as_one_problem(problem, "ravine.sharpness")
    position = check_single(run, "position")
    if position.sizes["parameter"] != problem.size:
        raise ValueError(f"the run has {position.sizes['parameter']:,} parameters and the problem {problem.size:,}")
    position = position.transpose("step", "parameter")
    known = run["step"].values if "step" in run.coords else np.arange(position.sizes["step"])
    finite = known[np.isfinite(position.values).all(axis=1)]
    if not finite.size:
        raise ValueError("no position of this run is finite: there is no curvature to tell")
    found, buffers = np.full(len(known), np.nan), read_buffers(run)
    for place in tracked(choose_places(known, finite[[0, -1]] if steps is None else steps), "steps"):
        here = position.values[place].astype(float)
        if np.isfinite(here).all():
            try:
                found[place] = top_eigenpairs(problem.with_buffers(buffers(place)), here)[0][0]
            except ValueError as reason:
                raise ValueError(f"sharpness at step {known[place]}: {reason}, as in steps=[{known[0]}]") from None
    attrs = {"long_name": CONTRACT["sharpness"].long_name}
    coords = {"step": run["step"]} if "step" in run.coords else {}
    return xr.DataArray(found, coords, ["step"], "sharpness", attrs)
