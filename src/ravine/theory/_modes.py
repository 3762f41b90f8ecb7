"""What the error along one eigenvector of the Hessian does: how fast, in what manner, step by step."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine.theory._roots import Floats, Mode, apply_kernel


def rate(
    curvature: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Any:
    r"""Return the factor by which the error of each mode shrinks per step, in the long run.

    It is the larger modulus of the two roots of :math:`z^2 - Tz + D`:

    .. math::
        \sqrt{D} \text{ where } T^2 < 4D, \text{ else } \tfrac12\bigl(|T| + \sqrt{T^2 - 4D}\bigr)

    so :math:`|1-a|` for gradient descent; :math:`\sqrt{\mu}` for every underdamped mode of heavy ball, whatever
    lr, dampening and curvature; :math:`\sqrt{\mu(1-a)}` for one of Nesterov, which damps stiff modes more.

    Parameters
    ----------
    curvature
        One eigenvalue of the Hessian, or several; they broadcast against the settings.
    lr, momentum, dampening, weight_decay, nesterov, maximize
        Torch's settings.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The rate: below 1 the error shrinks, above 1 it grows. A flat mode stays where it is: 1. NaN stays NaN.

    Raises
    ------
    ValueError
        If a run maximizes, lr, momentum or weight_decay is negative, or shapes do not broadcast.
    TypeError
        If something is not a number.

    Examples
    --------
    >>> rate([1.0, 2.0, 25.0], lr=0.1).tolist()
    [0.9, 0.8, 1.5]
    >>> rate([1.0, 2.0, 25.0], lr=0.1, momentum=0.81).tolist()
    [0.9, 0.9, 0.9]
    >>> eigenvalues = np.array([1.0, 2.0])
    >>> rate(eigenvalues[:, None, None], np.geomspace(1e-3, 1, 50)[:, None], np.linspace(0, 0.99, 40)).shape
    (2, 50, 40)

    Notes
    -----
    A rate below 1 speaks of the long run. On the way an underdamped error rises at times, and the loss with it. At
    a double root (a critical mode) the error falls as :math:`k` times the rate's :math:`k`-th power.
    """
    names = {"rate": "factor on the error per step"}
    return _answer(lambda mode: mode.rate, names, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


def regime(
    curvature: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Any:
    r"""Return in one word what the error of each mode does: a key of `REGIMES`.

    With :math:`a' = (1-\tau)a`, heavy ball is overdamped below :math:`a' = (1-\sqrt\mu)^2`, underdamped from
    there to :math:`(1+\sqrt\mu)^2` and alternating up to its limit. Nesterov is overdamped below
    :math:`a = ((1-\mu)/(1+\mu))^2`, underdamped up to 1 and alternating up to its limit. The borders are
    critical. Gradient descent is overdamped below :math:`a = 1`, where it arrives in one step, and alternating
    above. (Goh 2017 for heavy ball; O'Donoghue and Candès 2015 for Nesterov.)

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`, with the same errors.

    Returns
    -------
    str, numpy.ndarray or xarray.DataArray
        The words. A border is met within a few roundings of float64.

    Examples
    --------
    >>> [regime(1.0, lr) for lr in (0.5, 1.0, 1.5, 2.0, 2.5)]
    ['overdamped', 'critical', 'alternating', 'marginal', 'diverging']
    >>> regime(1.0, [0.1, 0.25, 1.0], momentum=0.25).tolist()
    ['overdamped', 'critical', 'underdamped']
    """
    names = {"regime": "what the error of the mode does"}
    return _answer(
        lambda mode: mode.regime, names, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
    )


def period(
    curvature: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Any:
    r"""Return the steps of one full swing of each mode.

    .. math:: 2\pi / \arccos\bigl(T / (2\sqrt{D})\bigr)

    where the roots are complex; in general :math:`2\pi` over the angle of the root of larger modulus.

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`, with the same errors.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The period in steps, not rounded. 2 where the error flips its sign every step (as gradient descent's
        does above :math:`a = 1`); ``inf`` where it does not swing. It says nothing of growing or shrinking.

    Examples
    --------
    >>> round(period(1.0, lr=0.1, momentum=0.9), 2)
    19.53
    >>> period(1.0, [0.5, 1.5]).tolist()
    [inf, 2.0]
    """
    names = {"period": "steps of one swing"}
    return _answer(_period, names, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


def half_life(
    curvature: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Any:
    r"""Return the steps in which the error of each mode halves: :math:`-\ln 2 / \ln(\text{rate})`.

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`, with the same errors.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The half-life in steps, not rounded: 0 where the error is gone at once, ``inf`` where the rate is 1 or
        more and it never halves. The loss goes with the square of the error: it quarters meanwhile.

    Examples
    --------
    >>> half_life(1.0, lr=0.5)
    1.0
    >>> round(half_life(1.0, lr=0.1, momentum=0.9), 1)  # √.9 whatever the curvature, once it swings
    13.2
    """
    names = {"half_life": "steps in which the error halves"}
    return _answer(_half_life, names, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


def recurrence(
    curvature: ArrayLike,
    lr: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
    *,
    start: ArrayLike = 1.0,
    steps: int = 100,
) -> Any:
    r"""Return the error of each mode, step by step, as torch's optimizer makes it on a quadratic.

    .. math::
        e_1 = (1-a)e_0 \text{ (Nesterov: } (1-a(1+\mu))e_0\text{)},\qquad e_{k+2} = T e_{k+1} - D e_k

    The first step stands apart because torch's first velocity is the whole gradient, undamped. Torch's
    parameters under Nesterov are the textbook's look-ahead points, and so are these errors. With dampening, a run
    is that of an undamped lr(1-τ) whose first velocity is the gradient over 1-τ.

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`, with the same errors.
    start
        The error at step 0: the start minus `fixed_point`, along the eigenvector.
    steps
        How many steps: a whole number from 0 on, or it is a TypeError or a ValueError.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        (…, steps + 1), or (…, step). An error too large for float64 turns into inf and NaN.

    Examples
    --------
    >>> recurrence(1.0, lr=0.5, steps=3).tolist()
    [1.0, 0.5, 0.25, 0.125]
    >>> recurrence(1.0, lr=0.5, momentum=0.5, start=8.0, steps=3).tolist()
    [8.0, 4.0, 0.0, -2.0]
    """
    try:
        steps = operator.index(steps)
    except TypeError:
        raise TypeError(f"steps must be a whole number, got {steps!r}") from None
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")

    def errors(mode: Mode, begin: Floats) -> Floats:
        first = (1 - mode.a * (1 + mode.d)) * begin
        found = np.empty((*np.broadcast_shapes(mode.trace.shape, first.shape), steps + 1))
        found[..., 0], found[..., 1:2] = begin, first[..., None]
        for k in range(2, steps + 1):
            found[..., k] = mode.trace * found[..., k - 1] - mode.determinant * found[..., k - 2]
        return found

    names, numbers = {"error": "distance from the fixed point along the mode"}, (curvature, lr, momentum, dampening)
    found = _answer(errors, names, *numbers, weight_decay, nesterov, maximize, start, last=["step"])
    return found.assign_coords(step=np.arange(steps + 1)) if isinstance(found, xr.DataArray) else found


LONG_NAMES = ("curvature", "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "start")


def _answer(kernel: Callable[..., Any], names: Mapping[str, str], *numbers: ArrayLike, last: Sequence[str] = ()) -> Any:
    named = dict(zip(LONG_NAMES, numbers, strict=False))  # only the recurrence has a start
    return apply_kernel(lambda *read: kernel(Mode(*read[:6]), *read[6:]), names, named, last)[0]


def _period(mode: Mode) -> Floats:
    angle = np.arctan2(np.sqrt(np.maximum(-mode.discriminant, 0)), mode.trace)
    return np.asarray(2 * np.pi / abs(angle))


def _half_life(mode: Mode) -> Floats:
    return np.where(mode.rate >= 1, np.inf, -np.log(2) / np.log(mode.rate))
