"""Limits: up to which learning rate all modes converge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ravine.theory.numbers import extremes, worked_out
from ravine.theory.roots import Floats, Mode

__all__ = ["stability_limit"]


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
    told = {"stability_limit": "learning rate below which every mode converges"}
    return worked_out(_least, told, extremes(curvature) | settings | {"maximize": maximize})[0]


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
