r"""Theory: what curvature and settings say of torch.optim.SGD before a step is taken.

Near a minimum a loss is a quadratic, and a quadratic falls apart into modes: along each eigenvector of the
Hessian the error follows a recurrence of its own. With curvature (eigenvalue) :math:`\lambda`, learning rate
:math:`\eta`, momentum :math:`\mu`, dampening :math:`\tau`, weight decay :math:`w` and
:math:`a = \eta(\lambda + w)`, torch's steps are

.. math::
    e_{k+2} = T e_{k+1} - D e_k, \qquad T = 1 + \mu - a t, \qquad D = \mu - a d

=================  ===================  ==============================  ==============
..                 first step           :math:`t`                       :math:`d`
=================  ===================  ==============================  ==============
gradient descent   :math:`(1-a)e_0`     1 (and :math:`\mu = 0`)         0
heavy ball         :math:`(1-a)e_0`     :math:`1-\tau`                  0
Nesterov           (1-a(1+μ))e₀         :math:`1+\mu(1-\tau)`           :math:`\mu`
=================  ===================  ==============================  ==============

The error is measured from where the gradient and the pull of the decay balance (`fixed_point`). All else here is
read off the two roots of :math:`z^2 - Tz + D`. The statements are exact for a quadratic loss. Elsewhere they are
local: they hold near a point, for the curvature there. Under a scheduler they hold for the learning rate of the
moment, and with mini-batches for the mean path at best.

Everything is a pure function of numbers. Arrays broadcast as in numpy, an `xarray.DataArray` by the names of its
dimensions; floats give floats. As in torch, momentum 0 ignores dampening and nesterov. Torch refuses nesterov
with dampening when an optimizer is made, yet a parameter group may hold both: the formulas cover that.

References: G. Goh, "Why Momentum Really Works", Distill 2017. B. Polyak, "Some methods of speeding up the
convergence of iteration methods", USSR Comput. Math. Math. Phys. 4(5), 1964. L. Lessard, B. Recht, A. Packard,
"Analysis and design of optimization algorithms via integral quadratic constraints", SIAM J. Optim. 26(1), 2016.
B. O'Donoghue, E. Candès, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 15, 2015.
J. Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability", ICLR 2021.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ravine.words import listed

__all__ = [
    "REGIMES",
    "Best",
    "best_lr",
    "best_momentum",
    "effective_lr",
    "fixed_point",
    "half_life",
    "period",
    "rate",
    "recurrence",
    "regime",
    "stability_limit",
]

Floats = NDArray[np.floating[Any]]

REGIMES: Mapping[str, str] = {
    "overdamped": "shrinks without swinging",
    "critical": "on the border of swinging: a double root",
    "underdamped": "swings while it shrinks, over more than two steps",
    "alternating": "shrinks and flips its sign every step",
    "marginal": "neither shrinks nor grows",
    "diverging": "grows",
    "undefined": "NaN in the curvature or the settings",
}
"""What `regime` can answer, and what the error of such a mode does in the long run."""

ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""Two sides of a border this near to each other, relatively, are the border itself."""


class Best(NamedTuple):
    """The best settings for a range of curvatures: `lr`, `momentum`, and the `rate` of the slowest mode.

    Examples
    --------
    >>> lr, momentum, rate = best_momentum([1.0, 9.0])
    >>> lr, momentum, rate
    (0.25, 0.25, 0.5)
    """

    lr: Any
    momentum: Any
    rate: Any


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
    the limit of gradient descent, Nesterov lowers it.

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

    Notes
    -----
    Goh (2017) for heavy ball; Cohen et al. (2021) for all three.
    """
    _refuse_maximize(maximize)
    return _each(
        lambda low, high, *settings: np.minimum(_limit(low, *settings), _limit(high, *settings)),
        ("stability_limit", "learning rate below which every mode converges"),
        **_extremes(curvature),
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
    )


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
    A rate below 1 is a statement about the long run. On the way an underdamped error rises at times, and the
    loss with it. At a double root (a critical mode) the error falls as :math:`k` times the rate's :math:`k`-th power.
    """
    told = "factor on the error per step"
    return _per_mode(_rate, "rate", told, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


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
    above.

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`.

    Returns
    -------
    str, numpy.ndarray or xarray.DataArray
        The words. A border is met within a few roundings of float64.

    Raises
    ------
    ValueError, TypeError
        As `rate` does.

    Examples
    --------
    >>> [regime(1.0, lr) for lr in (0.5, 1.0, 1.5, 2.0, 2.5)]
    ['overdamped', 'critical', 'alternating', 'marginal', 'diverging']
    >>> regime(1.0, [0.1, 0.25, 1.0], momentum=0.25).tolist()
    ['overdamped', 'critical', 'underdamped']

    Notes
    -----
    Goh (2017) for heavy ball; O'Donoghue and Candès (2015) for Nesterov.
    """
    told = "what the error of the mode does"
    return _per_mode(_regime, "regime", told, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


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
        As in `rate`.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The period in steps, not rounded. 2 where the error flips its sign every step (as gradient descent's
        does above :math:`a = 1`); ``inf`` where it does not swing. It says nothing of growing or shrinking.

    Raises
    ------
    ValueError, TypeError
        As `rate` does.

    Examples
    --------
    >>> round(period(1.0, lr=0.1, momentum=0.9), 2)
    19.53
    >>> period(1.0, [0.5, 1.5]).tolist()
    [inf, 2.0]
    """
    told = "steps of one swing"
    return _per_mode(_period, "period", told, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize)


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
        As in `rate`.

    Returns
    -------
    float, numpy.ndarray or xarray.DataArray
        The half-life in steps, not rounded: 0 where the error is gone at once, ``inf`` where the rate is 1 or
        more and it never halves. The loss goes with the square of the error: it quarters meanwhile.

    Raises
    ------
    ValueError, TypeError
        As `rate` does.

    Examples
    --------
    >>> half_life(1.0, lr=0.5)
    1.0
    >>> round(half_life(1.0, lr=0.1, momentum=0.9), 1)  # √.9 whatever the curvature, once it swings
    13.2
    """
    told = "steps in which the error halves"
    return _per_mode(
        _half_life, "half_life", told, curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
    )


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
    parameters under Nesterov are the textbook's look-ahead points, and so are these errors.

    Parameters
    ----------
    curvature, lr, momentum, dampening, weight_decay, nesterov, maximize
        As in `rate`.
    start
        The error at step 0: the start minus `fixed_point`, along the eigenvector.
    steps
        How many steps.

    Returns
    -------
    numpy.ndarray or xarray.DataArray
        (…, steps + 1), or (…, step). An error too large for float64 turns into inf and NaN.

    Raises
    ------
    ValueError, TypeError
        As `rate` does, and if `steps` is no whole number from 0 on.

    Examples
    --------
    >>> recurrence(1.0, lr=0.5, steps=3).tolist()
    [1.0, 0.5, 0.25, 0.125]
    >>> recurrence(1.0, lr=0.5, momentum=0.5, start=8.0, steps=3).tolist()
    [8.0, 4.0, 0.0, -2.0]

    Notes
    -----
    With dampening, a run is that of an undamped lr(1-τ) whose first velocity is the gradient over 1-τ.
    """
    try:
        steps = operator.index(steps)
    except TypeError:
        raise TypeError(f"steps must be a whole number, got {steps!r}") from None
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    _refuse_maximize(maximize)
    errors = _each(
        lambda *numbers: _errors(*numbers, steps=steps),
        ("error", "distance from the fixed point along the mode", "step"),
        **_named(curvature, lr, momentum, dampening, weight_decay, nesterov),
        start=start,
    )
    return errors.assign_coords(step=np.arange(steps + 1)) if isinstance(errors, xr.DataArray) else errors


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
    told = "learning rate of equal steps without momentum, down a constant slope"
    return _each(_effective_lr, ("effective_lr", told), lr=lr, momentum=momentum, dampening=dampening)


def best_lr(
    curvatures: ArrayLike,
    momentum: ArrayLike = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Best:
    r"""Return the learning rate at which the slowest mode is fastest, the other settings being given.

    With :math:`L` and :math:`m` the largest and smallest curvature, decay included, and
    :math:`\kappa = L/m`, gradient descent has

    .. math:: \eta = \frac{2}{L+m},\qquad \text{rate } \frac{\kappa-1}{\kappa+1}

    and heavy ball :math:`2(1+\mu)/((1-\tau)(L+m))` (one of many as good, where all modes swing there). For
    Nesterov the lr at which the slowest and the stiffest mode are equally fast is found by bisection.

    Parameters
    ----------
    curvatures
        Eigenvalues of the Hessian; the last axis counts the modes. Only the smallest and largest matter.
    momentum, dampening, weight_decay, nesterov, maximize
        Torch's settings.

    Returns
    -------
    Best
        ``lr``, ``momentum`` (as given) and ``rate``; lr and rate are NaN where no lr makes every mode converge,
        for example if one is flat or curves down. Leave flat modes out if they do not matter.

    Raises
    ------
    ValueError
        As `stability_limit` does, and if nesterov meets dampening, which torch refuses.
    TypeError
        If something is not a number.

    Examples
    --------
    >>> best_lr([1.0, 3.0])
    Best(lr=0.5, momentum=0.0, rate=0.5)
    >>> best_lr([1.0, 9.0], momentum=0.25)
    Best(lr=0.25, momentum=0.25, rate=0.5)
    >>> round(best_lr([1.0, 9.0], momentum=0.25, nesterov=True).lr, 4)
    0.1657

    Notes
    -----
    Polyak (1964); Lessard, Recht and Packard (2016).
    """
    _refuse_maximize(maximize)
    return _best(
        _best_lr,
        curvatures,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
    )


def best_momentum(
    curvatures: ArrayLike,
    lr: ArrayLike | None = None,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
) -> Best:
    r"""Return the momentum at which the slowest mode is fastest: at a given learning rate, or with the best one.

    With :math:`L` and :math:`m` the largest and smallest curvature, decay included, and
    :math:`\kappa = L/m`, the best pair is Polyak's,

    .. math::
        \eta = \Bigl(\frac{2}{\sqrt L + \sqrt m}\Bigr)^2,\qquad
        \mu = \Bigl(\frac{\sqrt\kappa-1}{\sqrt\kappa+1}\Bigr)^2,\qquad \text{rate } \sqrt\mu

    and at a given lr the best momentum is

    .. math:: \mu = \max\bigl((1-\sqrt{\eta m})^2,\ (1-\sqrt{\eta L})^2\bigr),\qquad \text{rate } \sqrt\mu

    Up to Polyak's lr the first counts, the slow mode's; beyond it the second. For Nesterov the best pair is

    .. math::
        \eta = \frac{4}{3L+m},\qquad \mu = \frac{\sqrt{3\kappa+1}-2}{\sqrt{3\kappa+1}+2},\qquad
        \text{rate } 1-\frac{2}{\sqrt{3\kappa+1}}

    and up to that lr the best momentum is :math:`(1-\sqrt{\eta m})/(1+\sqrt{\eta m})`, with rate
    :math:`1-\sqrt{\eta m}`. Beyond it the stiff mode asks for less, and from :math:`2/(L+m)` on for none.

    Parameters
    ----------
    curvatures
        Eigenvalues of the Hessian; the last axis counts the modes. Only the smallest and largest matter.
    lr
        The learning rate, if it is given; it broadcasts.
    weight_decay, nesterov, maximize
        Torch's settings. Dampening τ is not among them: it acts as lr(1-τ) does.

    Returns
    -------
    Best
        ``lr``, ``momentum`` and ``rate``; what was not given is NaN where no momentum makes every mode
        converge, for example if one is flat or curves down. Leave flat modes out if they do not matter.

    Raises
    ------
    ValueError, TypeError
        As `rate` does.

    Examples
    --------
    >>> best_momentum([1.0, 9.0])
    Best(lr=0.25, momentum=0.25, rate=0.5)
    >>> best_momentum([1.0, 9.0], lr=0.0625)
    Best(lr=0.0625, momentum=0.5625, rate=0.75)
    >>> best_momentum([1.0, 5.0], nesterov=True)
    Best(lr=0.25, momentum=0.3333333333333333, rate=0.5)

    Notes
    -----
    Polyak (1964); Lessard, Recht and Packard (2016); O'Donoghue and Candès (2015).
    """
    _refuse_maximize(maximize)
    if lr is None:
        return _best(_best_pair, curvatures, weight_decay=weight_decay, nesterov=nesterov)
    return _best(_best_momentum, curvatures, weight_decay=weight_decay, nesterov=nesterov, lr=lr)


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
    matrix, point = _floats("hessian", hessian), _floats("minimizer", minimizer)
    decay = _setting("weight_decay", weight_decay)
    if matrix.ndim < 2 or point.ndim < 1 or matrix.shape[-2:] != point.shape[-1:] * 2 or not matrix.size:
        raise ValueError(
            f"hessian must be (…, n, n) and minimizer (…, n), got the shapes {matrix.shape} and {point.shape}"
        )
    _check_axes({"hessian": matrix[..., 0, 0], "minimizer": point[..., 0], "weight_decay": decay})
    core = [["parameter", "parameter_"], ["parameter"], []]
    try:
        answer = xr.apply_ufunc(
            _fixed_point, matrix, point, decay, input_core_dims=core, output_core_dims=core[1:2], keep_attrs=False
        )
    except np.linalg.LinAlgError:
        raise ValueError(
            "hessian + weight_decay · identity has a zero eigenvalue: no single point stands still; "
            "choose another weight_decay"
        ) from None
    return _labelled(answer, "fixed_point", "where gradient and weight decay balance")


# ------------------------------------------------------------------------------------ one mode, on float64 arrays


class _Mode:
    """The table's a, t and d, and the polynomial z² - Tz + D, of one mode or many."""

    def __init__(
        self,
        curvature: Floats,
        lr: Floats,
        momentum: Floats,
        dampening: Floats,
        weight_decay: Floats,
        nesterov: Floats,
    ) -> None:
        moving = momentum != 0
        kept = np.where(moving, 1 - dampening, 1.0)
        ahead = np.where(moving, nesterov, 0.0)
        unknown = 0 * ahead  # NaN where it is not known whether it is Nesterov
        self.momentum = momentum
        self.a: Floats = lr * (curvature + weight_decay)
        self.t: Floats = np.where(ahead != 0, 1 + momentum * kept, kept) + unknown
        self.d: Floats = np.where(ahead != 0, momentum, 0.0) + unknown
        self.trace: Floats = 1 + momentum - self.a * self.t
        # an infinite a does not reach a determinant that it is no part of
        self.determinant: Floats = np.where(self.d == 0, momentum, momentum - self.a * self.d)

    @property
    def discriminant(self) -> Floats:
        """T² - 4D, and exactly zero where that is zero within rounding."""
        exact = self.trace**2 - 4 * self.determinant
        trace, determinant = 1 + self.momentum + abs(self.a * self.t), self.momentum + abs(self.a * self.d)
        noise = 2 * ROUNDING * (abs(self.trace) * trace + 4 * determinant)  # of the terms before they cancel
        return np.where(np.isfinite(noise) & (abs(exact) <= noise), 0.0, exact)


def _rate(*numbers: Floats) -> Floats:
    mode = _Mode(*numbers)
    inside = mode.discriminant
    spread = np.sqrt(np.maximum(inside, 0))
    # the root's distance from 1, from the product of the two distances: a flat mode has a rate of exactly 1
    short = 2 * mode.a * (mode.t - mode.d) / (2 - mode.trace + spread)
    real = np.where((mode.trace > 0) & (mode.trace < 2), 1 - short, (abs(mode.trace) + spread) / 2)
    return np.where(inside <= 0, np.sqrt(abs(mode.determinant)), real)


def _half_life(*numbers: Floats) -> Floats:
    factor = _rate(*numbers)
    return np.where(factor >= 1, np.inf, -np.log(2) / np.log(factor))


def _period(*numbers: Floats) -> Floats:
    mode = _Mode(*numbers)
    angle = np.arctan2(np.sqrt(np.maximum(-mode.discriminant, 0)), mode.trace)
    return np.asarray(2 * np.pi / abs(angle))


def _regime(*numbers: Floats) -> NDArray[np.str_]:
    mode = _Mode(*numbers)
    # both roots lie within the unit circle iff 1 - T + D > 0, 1 + T + D > 0 and D < 1 (Jury)
    pull, reach = mode.a * (mode.t - mode.d), mode.a * (mode.t + mode.d) / (2 * (1 + mode.momentum))
    beyond = (pull < 0) | (reach > 1 + ROUNDING) | (mode.determinant > 1 + ROUNDING)
    edge = (pull == 0) | (reach >= 1 - ROUNDING) | (mode.determinant >= 1 - ROUNDING)
    inside = mode.discriminant
    return np.select(
        [np.isnan(_rate(*numbers)), beyond, edge, inside == 0, inside < 0, mode.trace < 0],
        ["undefined", "diverging", "marginal", "critical", "underdamped", "alternating"],
        "overdamped",
    )


def _limit(curvature: Floats, *settings: Floats) -> Floats:
    """Jury's three conditions, each linear in lr, solved for it."""
    mode = _Mode(curvature, np.ones(()), *settings)  # at lr 1, a is the curvature itself
    reach, gain = mode.a * (mode.t + mode.d), mode.a * mode.d
    steady = (mode.momentum < 1) | ((mode.momentum == 1) & (gain > 0))
    limit = np.where(reach > 0, 2 * (1 + mode.momentum) / reach, np.inf)
    limit = np.where(gain < 0, np.minimum(limit, (1 - mode.momentum) / -gain), limit)
    limit = np.where(steady & (mode.a * (mode.t - mode.d) > 0), limit, 0.0)
    limit = np.where(mode.a == 0, np.inf, limit)
    return np.where(np.isnan(mode.trace), np.nan, limit)


def _errors(*numbers: Floats, steps: int) -> Floats:
    mode, start = _Mode(*numbers[:-1]), numbers[-1]
    first = (1 - mode.a * (1 + mode.d)) * start
    errors = np.empty((*np.broadcast_shapes(mode.trace.shape, first.shape), steps + 1))
    errors[..., 0] = start
    errors[..., 1:2] = first[..., None]
    for k in range(2, steps + 1):
        errors[..., k] = mode.trace * errors[..., k - 1] - mode.determinant * errors[..., k - 2]
    return errors


def _effective_lr(lr: Floats, momentum: Floats, dampening: Floats) -> Floats:
    ahead = momentum - dampening
    unbounded = np.where(ahead == 0, 1.0, np.copysign(np.inf, ahead) + 0 * ahead)
    factor = np.where(momentum >= 1, unbounded, (1 - dampening) / (1 - momentum))
    factor = np.where(momentum == 0, 1.0, factor)
    return np.where(lr == 0, 0 * momentum, lr * factor)


# ------------------------------------------------------------------------------------------ many modes together


def _worst(low: Floats, high: Floats, *settings: Floats) -> Floats:
    """The rate of the slowest mode: as curvature grows the rate falls, then rises."""
    return np.maximum(_rate(low, *settings), _rate(high, *settings))


def _best_lr(low: Floats, high: Floats, *settings: Floats) -> Floats:
    momentum, dampening, weight_decay, nesterov = settings
    ahead = (nesterov > 0) & (momentum > 0)
    if np.any(ahead & (dampening != 0)):
        raise ValueError(
            "nesterov with dampening has no best lr here, and torch.optim.SGD refuses the pair: set dampening to 0"
        )
    kept = np.where(momentum == 0, 1.0, 1 - dampening)
    lr = 2 * (1 + momentum) / (kept * (low + high + 2 * weight_decay))
    lr = np.where(ahead, _balanced_lr(low, high, *settings), lr)
    slowest = _worst(low, high, lr, *settings)
    found = (lr > 0) & (slowest < 1)
    return _stacked(np.where(found, lr, np.nan), momentum, np.where(found, slowest, np.nan))


def _balanced_lr(low: Floats, high: Floats, *settings: Floats) -> Floats:
    """Bisect Nesterov's lr between 1/L, where the stiffest mode is gone at once, and 2/L, beyond its limit."""
    below = 1 / (high + settings[2])
    above = 2 * below
    for _ in range(60):
        middle = (below + above) / 2
        slow_counts = _rate(low, middle, *settings) > _rate(high, middle, *settings)
        below, above = np.where(slow_counts, middle, below), np.where(slow_counts, above, middle)
    return below


def _best_pair(low: Floats, high: Floats, weight_decay: Floats, nesterov: Floats) -> Floats:
    least, most = low + weight_decay, high + weight_decay
    slow, stiff = np.sqrt(least), np.sqrt(most)
    polyak = (stiff - slow) / (stiff + slow)
    root = np.sqrt(3 * most / least + 1)
    ahead = nesterov != 0
    lr = np.where(ahead, 4 / (3 * most + least), 4 / (most + least + 2 * slow * stiff))
    momentum = np.where(ahead, (root - 2) / (root + 2), polyak**2)
    slowest = np.where(ahead, 1 - 2 / root, polyak)
    known = np.where(least > 0, 0 * nesterov, np.nan)
    return _stacked(lr + known, momentum + known, slowest + known)


def _best_momentum(low: Floats, high: Floats, weight_decay: Floats, nesterov: Floats, lr: Floats) -> Floats:
    least, most = lr * (low + weight_decay), lr * (high + weight_decay)
    heavy_ball = np.maximum((1 - np.sqrt(least)) ** 2, (1 - np.sqrt(most)) ** 2)
    momentum = np.where(nesterov != 0, _best_nesterov(least, most), heavy_ball)
    slowest = _worst(low, high, lr, momentum, np.zeros(()), weight_decay, nesterov)
    found = slowest < 1
    return _stacked(lr, np.where(found, momentum, np.nan), np.where(found, slowest, np.nan))


def _best_nesterov(least: Floats, most: Floats) -> Floats:
    """Nesterov's best momentum between the slowest and the stiffest mode, from a = lr · curvature of both."""
    root = np.sqrt(least)
    for_slow = np.where(least < 1, (1 - root) / (1 + root), 0.0)
    # where slow and stiff mode are equally fast, at rate r: (y-x) r² - (x+y) r + 2xy = 0
    x, y = most - 1, 1 - least
    r = 4 * x * y / (x + y + np.sqrt((x + y) ** 2 - 8 * x * y * (y - x)))
    for_both = np.where(y > x, r * (y - r) / (y * (1 - r)), 0.0)
    # the stiff mode flips its sign, all the longer the more momentum it has
    return np.where((x > 0) & (r > 1 - root), for_both, for_slow)


def _stacked(lr: Floats, momentum: Floats, rate: Floats) -> Floats:
    return np.stack(np.broadcast_arrays(lr, momentum, rate), -1)


def _fixed_point(hessian: Floats, minimizer: Floats, weight_decay: Floats) -> Floats:
    decay = weight_decay[..., None, None]
    identity = np.eye(hessian.shape[-1])
    # without decay the minimizer is meant, even where the Hessian is singular
    left = np.where(decay == 0, identity, hessian + decay * identity)
    right = np.where(decay == 0, minimizer[..., None], hessian @ minimizer[..., None])
    solved: Floats = np.linalg.solve(left, right)[..., 0]
    return solved


# ------------------------------------------------------------------------------------------- numbers in and out


def _named(*numbers: ArrayLike) -> dict[str, ArrayLike]:
    return dict(zip(("curvature", "lr", "momentum", "dampening", "weight_decay", "nesterov"), numbers, strict=True))


def _per_mode(kernel: Callable[..., Any], name: str, long_name: str, *numbers: ArrayLike) -> Any:
    *others, maximize = numbers
    _refuse_maximize(maximize)
    return _each(kernel, (name, long_name), **_named(*others))


def _best(kernel: Callable[..., Any], curvatures: ArrayLike, **settings: ArrayLike) -> Best:
    answer = _each(kernel, ("best", "", "setting"), **_extremes(curvatures), **settings)
    told = ("best learning rate", "best momentum", "rate of the slowest mode at its best")
    return Best(*(_labelled(answer[..., k], name, told[k]) for k, name in enumerate(Best._fields)))


def _each(kernel: Callable[..., Any], names: tuple[str, ...], **numbers: ArrayLike) -> Any:
    """Apply a kernel of float64 arrays to numbers that broadcast; names: of the answer, in words, of its last axis."""
    values = {key: _setting(key, value) for key, value in numbers.items()}
    _check_axes(values)
    with np.errstate(all="ignore"):  # inf and NaN are answers
        answer = xr.apply_ufunc(
            kernel,
            *values.values(),
            input_core_dims=[[]] * len(values),
            output_core_dims=[list(names[2:])],
            keep_attrs=False,
        )
    return _labelled(answer, *names[:2])


def _labelled(answer: Any, name: str, long_name: str) -> Any:
    if isinstance(answer, xr.DataArray):
        return answer.rename(name).assign_attrs(long_name=long_name)
    return answer.item() if answer.ndim == 0 else answer


def _floats(name: str, value: Any) -> Any:
    """The value in float64: a DataArray stays one, anything else becomes an array."""
    try:
        return value.astype(np.float64) if isinstance(value, xr.DataArray) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, or an array of numbers, got {value!r}") from None


def _setting(name: str, value: Any) -> Any:
    number = _floats(name, value)
    if name in ("lr", "momentum", "weight_decay") and bool((number < 0).any()):
        raise ValueError(f"{name} must be 0 or more, as torch.optim.SGD demands, got {float(number.min())}")
    return number


def _check_axes(values: Mapping[str, Any]) -> None:
    """Refuse what does not broadcast: by name where a DataArray is among the values, else by shape."""
    shaped = {key: value for key, value in values.items() if value.ndim}
    bare = [key for key, value in shaped.items() if not isinstance(value, xr.DataArray)]
    by_name = any(isinstance(value, xr.DataArray) for value in values.values())
    if by_name and bare:
        raise TypeError(
            f"no names for the axes of {listed(bare)}, beside an xarray.DataArray: "
            "make it a DataArray too, so that they broadcast by name"
        )
    if by_name:
        return
    try:
        np.broadcast_shapes(*(value.shape for value in shaped.values()))
    except ValueError:
        told = ", ".join(f"{key} {value.shape}" for key, value in shaped.items())
        raise ValueError(
            f"the shapes do not broadcast: {told}; give one of them axes of its own, for example curvature[:, None]"
        ) from None


def _extremes(curvatures: ArrayLike) -> dict[str, Any]:
    """The two ends of the curvatures along the last axis: all that many modes together depend on."""
    values = _floats("curvature", curvatures)
    low = high = values
    if values.ndim and values.shape[-1] == 0:
        raise ValueError("curvature holds no eigenvalue; give at least one")
    if values.ndim and isinstance(values, xr.DataArray):
        modes = str(values.dims[-1])
        low, high = values.min(modes, skipna=False), values.max(modes, skipna=False)
    elif values.ndim:
        low, high = values.min(-1), values.max(-1)
    return {"smallest curvature": low, "largest curvature": high}


def _refuse_maximize(maximize: ArrayLike) -> None:
    if bool((_floats("maximize", maximize) > 0).any()):
        raise ValueError(
            "maximize=True climbs: it has no minimum to converge to; "
            "for a maximum, give the curvature with its sign turned and maximize=False, which is the same run"
        )
