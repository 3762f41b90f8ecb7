"""Fixed: where the optimizer stands still, and the pace it holds down a constant slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine.theory.numbers import check_axes, labelled, number, worked_out
from ravine.theory.roots import Floats

__all__ = ["effective_lr", "fixed_point"]


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
    matrix, point = number("hessian", hessian), number("minimizer", minimizer)
    decay = number("weight_decay", weight_decay)
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
    return labelled(found, "fixed_point", "where gradient and weight decay balance")


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
    told = {"effective_lr": "learning rate of equal steps without momentum, down a constant slope"}
    return worked_out(_effective_lr, told, {"lr": lr, "momentum": momentum, "dampening": dampening})[0]


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
