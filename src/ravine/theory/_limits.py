"""Up to which learning rate all modes converge, where the optimizer stands still, and its pace down a slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine.theory._roots import Floats, Mode, apply_kernel, check_axes, extremes_of, label_answer, read_number


def fixed_point(hessian: ArrayLike, minimizer: ArrayLike, weight_decay: ArrayLike = 0.0) -> Any:
    r"""Return where the optimizer stands still on a quadratic: weight decay moves the goal.

    .. math:: (H + wI)^{-1} H\,x^\ast

    Learning rate, momentum, dampening and Nesterov do not move it. It is the minimum of the loss plus
    :math:`\tfrac w2|x|^2`, where :math:`H + wI` is positive.

    Parameters
    ----------
    hessian
        (…, n, n), or (…, parameter, parameter\_): of the loss alone.
    minimizer
        (…, n), or (…, parameter): of the loss alone.
    weight_decay
        Torch's setting; it broadcasts against the leading axes.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        (…, n), or (…, parameter). Without decay it is the minimizer itself.

    Raises
    ------
    ValueError
        If shapes do not fit, weight_decay is negative, or it cancels a negative curvature exactly, so that
        there is no single such point.
    TypeError
        If something is not a number.

    Examples
    --------
    >>> fixed_point([[1.0, 0.0], [0.0, 3.0]], [2.0, 4.0], weight_decay=1.0).tolist()
    [1.0, 3.0]
    """
    matrix, point = read_number("hessian", hessian), read_number("minimizer", minimizer)
    decay = read_number("weight_decay", weight_decay)
    if matrix.ndim < 2 or point.ndim < 1 or matrix.shape[-2:] != point.shape[-1:] * 2 or not matrix.size:
        raise ValueError(
            f"hessian must be (…, n, n) and minimizer (…, n), got the shapes {matrix.shape} and {point.shape}"
        )
    check_axes({"hessian": matrix[..., 0, 0], "minimizer": point[..., 0], "weight_decay": decay})
    axes = [["parameter", "parameter_"], ["parameter"], []]
    try:
        found = xr.apply_ufunc(
            _fixed_point, matrix, point, decay, input_core_dims=axes, output_core_dims=axes[1:2], keep_attrs=False
        )
    except np.linalg.LinAlgError:
        raise ValueError(
            "hessian + weight_decay · identity has a zero eigenvalue: no single point stands still; "
            "choose another weight_decay"
        ) from None
    return label_answer(found, "fixed_point", "where gradient and weight decay balance")


def effective_lr(lr: ArrayLike, momentum: ArrayLike = 0.0, dampening: ArrayLike = 0.0) -> Any:
    r"""Return the learning rate that takes, without momentum, the steps taken with it down a constant slope.

    .. math:: \eta\,\frac{1-\tau}{1-\mu}

    Under a constant gradient :math:`g` the step grows (or shrinks) to this times :math:`g`; with Nesterov, which
    has no dampening, too.

    Parameters
    ----------
    lr, momentum, dampening
        Torch's settings; they broadcast.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The effective learning rate. From momentum 1 on the velocity grows without bound: ``inf`` (``-inf``
        where dampening exceeds momentum; lr itself where they are equal, for then velocity and gradient are).

    Raises
    ------
    ValueError, TypeError
        As `rate` does.

    Examples
    --------
    >>> round(effective_lr(0.1, momentum=0.9), 12), round(effective_lr(0.1, momentum=0.9, dampening=0.8), 12)
    (1.0, 0.2)
    """
    names = {"effective_lr": "learning rate of equal steps without momentum, down a constant slope"}
    return apply_kernel(_effective_lr, names, {"lr": lr, "momentum": momentum, "dampening": dampening})[0]


def _fixed_point(hessian: Floats, minimizer: Floats, weight_decay: Floats) -> Floats:
    decay = weight_decay[..., None, None]
    identity = np.eye(hessian.shape[-1])
    # without decay the minimizer is meant, even where the Hessian is singular
    left = np.where(decay == 0, identity, hessian + decay * identity)
    right = np.where(decay == 0, minimizer[..., None], hessian @ minimizer[..., None])
    solved: Floats = np.linalg.solve(left, right)[..., 0]
    return solved


def _effective_lr(lr: Floats, momentum: Floats, dampening: Floats) -> Floats:
    ahead = momentum - dampening
    unbounded = np.where(ahead == 0, 1.0, np.copysign(np.inf, ahead) + 0 * ahead)
    factor = np.where(momentum >= 1, unbounded, (1 - dampening) / (1 - momentum))
    factor = np.where(momentum == 0, 1.0, factor)
    return np.where(lr == 0, 0 * momentum, lr * factor)


def stability_limit(
    curvature: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Any:
    r"""Return the learning rate below which every mode converges.

    .. math::
        \frac{2}{\lambda+w},\qquad
        \frac{2(1+\mu)}{(1-\tau)(\lambda+w)},\qquad
        \frac{2(1+\mu)}{(1+2\mu)(\lambda+w)}

    for gradient descent, heavy ball and Nesterov, with :math:`\lambda` the largest curvature. Momentum raises
    the limit of gradient descent, Nesterov lowers it. (Goh 2017 for heavy ball; Cohen et al. 2021 for all three.)

    Parameters
    ----------
    curvature
        Eigenvalues of the Hessian of the loss (of the mean, if that is what is minimised). The last axis counts
        the modes and is gone in the answer; a float is one mode.
    momentum, dampening, weight_decay, nesterov, maximize
        Torch's settings. They broadcast against each other, and against what axes of `curvature` are left.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The limit: every lr between 0 and it converges. Two values are special. ``inf``: all curvature (decay
        included) is zero, so nothing is there to overshoot, nor to converge to. ``0``: there is no such lr,
        because a mode curves down, momentum is 1 or more (Nesterov bears exactly 1; above it a window of larger
        lr may converge, see `rate`), or heavy ball's dampening is 1 or more. NaN stays NaN.

    Raises
    ------
    ValueError
        If a run maximizes, momentum or weight_decay is negative, or shapes do not broadcast.
    TypeError
        If something is not a number.

    Examples
    --------
    >>> stability_limit([0.5, 2.0]), stability_limit([0.5, 2.0], momentum=0.5)
    (1.0, 1.5)
    >>> stability_limit([0.5, 2.0], momentum=0.5, nesterov=True)
    0.75
    >>> stability_limit([0.5, 2.0], momentum=[0.0, 0.5, 0.9], weight_decay=2.0).tolist()
    [0.5, 0.75, 0.95]
    """
    settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
    names = {"stability_limit": "learning rate below which every mode converges"}
    return apply_kernel(_least, names, extremes_of(curvature) | settings | {"maximize": maximize})[0]


def _least(low: Floats, high: Floats, *settings: Floats) -> Floats:
    return np.minimum(_limit(low, *settings), _limit(high, *settings))


def _limit(curvature: Floats, *settings: Floats) -> Floats:
    """Jury's three conditions, each linear in lr, solved for it."""
    mode = Mode(curvature, np.ones(()), *settings)  # at lr 1, a is the curvature itself
    reach, gain = mode.a * (mode.t + mode.d), mode.a * mode.d
    steady = (mode.momentum < 1) | ((mode.momentum == 1) & (gain > 0))
    limit = np.where(reach > 0, 2 * (1 + mode.momentum) / reach, np.inf)
    limit = np.where(gain < 0, np.minimum(limit, (1 - mode.momentum) / -gain), limit)
    limit = np.where(steady & (mode.a * (mode.t - mode.d) > 0), limit, 0.0)
    limit = np.where(mode.a == 0, np.inf, limit)
    return np.where(np.isnan(mode.trace), np.nan, limit)
