"""The settings at which the slowest of many modes is fastest."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ravine.theory._roots import Floats, Mode, apply_kernel, extremes_of


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


LONG_NAMES = {"lr": "best learning rate", "momentum": "best momentum", "rate": "rate of the slowest mode at its best"}


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
    Nesterov the lr at which the slowest and the stiffest mode are equally fast is found by bisection. (Polyak
    1964; Lessard, Recht and Packard 2016.)

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
    """
    settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
    return Best(*apply_kernel(_best_lr, LONG_NAMES, extremes_of(curvatures) | settings | {"maximize": maximize}))


def best_momentum(
    curvatures: ArrayLike,
    lr: ArrayLike | None = None,
    weight_decay: ArrayLike = 0.0,
    nesterov: ArrayLike = False,
    maximize: ArrayLike = False,
    dampening: ArrayLike = 0.0,
) -> Best:
    r"""Return the momentum at which the slowest mode is fastest: at a given learning rate, or with the best one.

    With :math:`L`, :math:`m` and :math:`\kappa` as in `best_lr`, the best pair is Polyak's,

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
    (As for `best_lr`, and O'Donoghue and Candès 2015.)

    Parameters
    ----------
    curvatures, weight_decay, nesterov, maximize
        As in `best_lr`.
    lr
        The learning rate, if it is given; it broadcasts.
    dampening
        At a given lr: τ acts as lr(1-τ) does, but for momentum 0, which torch does not dampen. Where that is faster
        than any other, 0 is the best momentum. It must be below 1, and 0 where no lr is given.

    Returns
    -------
    Best
        ``lr``, ``momentum`` (always below 1) and ``rate``; what was not given is NaN where no momentum makes every
        mode converge, as in `best_lr`.

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
    >>> best_momentum([1.0, 1.5], lr=0.7, dampening=0.5)[1]  # without momentum there is no dampening either
    0.0
    >>> best_momentum([1.0, 5.0], nesterov=True)
    Best(lr=0.25, momentum=0.3333333333333333, rate=0.5)
    """
    settings = {"weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize}
    given = {} if lr is None else {"lr": lr}
    if np.any(np.asarray(dampening) != 0):
        if lr is None:
            raise ValueError("dampening acts as a smaller lr: give the lr, or divide the best one by 1 - dampening")
        if not (np.asarray(dampening) < 1).all():
            raise ValueError(f"dampening must be below 1, got {float(np.max(np.asarray(dampening)))}")
        if np.any((np.asarray(dampening) != 0) & np.asarray(nesterov, dtype=bool)):
            raise ValueError("torch.optim.SGD refuses nesterov with dampening: set dampening to 0")
        given["dampening"] = dampening
    return Best(*apply_kernel(_best_momentum, LONG_NAMES, extremes_of(curvatures) | settings | given))


def _best_lr(low: Floats, high: Floats, *settings: Floats) -> tuple[Floats, ...]:
    momentum, dampening, weight_decay, nesterov = settings
    ahead = (nesterov > 0) & (momentum > 0)
    if np.any(ahead & (dampening != 0)):
        raise ValueError(
            "nesterov with dampening has no best lr here, and torch.optim.SGD refuses the pair: set dampening to 0"
        )
    kept = np.where(momentum == 0, 1.0, 1 - dampening)
    lr = 2 * (1 + momentum) / (kept * (low + high + 2 * weight_decay))
    lr = np.where(ahead, _balanced_lr(low, high, *settings), lr)
    # as curvature grows the rate falls, then rises: the slowest mode is the first or the last
    rate = np.maximum(Mode(low, lr, *settings).rate, Mode(high, lr, *settings).rate)
    found = (lr > 0) & (rate < 1)
    return _alike(np.where(found, lr, np.nan), momentum, np.where(found, rate, np.nan))


def _balanced_lr(low: Floats, high: Floats, *settings: Floats) -> Floats:
    """Bisect Nesterov's lr between 1/L, where the stiffest mode is gone at once, and 2/L, beyond its limit."""
    below = 1 / (high + settings[2])
    above = 2 * below
    for _ in range(60):
        middle = (below + above) / 2
        slow_counts = Mode(low, middle, *settings).rate > Mode(high, middle, *settings).rate
        below, above = np.where(slow_counts, middle, below), np.where(slow_counts, above, middle)
    return below


def _best_momentum(
    low: Floats,
    high: Floats,
    weight_decay: Floats,
    nesterov: Floats,
    lr: Floats | None = None,
    dampening: Floats | None = None,
) -> tuple[Floats, ...]:
    least, most, ahead = low + weight_decay, high + weight_decay, nesterov != 0
    if lr is not None and dampening is not None:
        _, momentum, rate = _best_momentum(low, high, weight_decay, nesterov, lr * (1 - dampening))
        none = np.maximum(abs(1 - lr * least), abs(1 - lr * most))
        better = (none < 1) & ~(rate <= none)
        return _alike(lr, np.where(better, 0.0, momentum), np.where(better, none, rate))
    if lr is None:
        lr = np.where(ahead, 4 / (3 * most + least), 4 / (most + least + 2 * np.sqrt(most * least)))
        lr = np.where(least > 0, lr + 0 * nesterov, np.nan)
    heavy_ball = np.maximum(abs(1 - np.sqrt(lr * least)), abs(1 - np.sqrt(lr * most)))
    momentum, rate = (
        np.where(ahead, nest, other)
        for nest, other in zip(_best_nesterov(lr * least, lr * most), (heavy_ball**2, heavy_ball), strict=True)
    )
    found = np.where((rate < 1) & (momentum < 1), 0 * nesterov, np.nan)
    return _alike(lr, momentum + found, rate + found)


def _best_nesterov(least: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Nesterov's best momentum and its rate, from lr · curvature of the slowest and the stiffest mode."""
    root, x, y = np.sqrt(least), most - 1, 1 - least
    # where slow and stiff mode are equally fast, at rate r: (y-x) r² - (x+y) r + 2xy = 0
    r = 4 * x * y / (x + y + np.sqrt((x + y) ** 2 - 8 * x * y * (y - x)))
    # the stiff mode flips its sign, all the longer the more momentum it has; from x = y on it wants none
    which = [x >= y, (x > 0) & (r > 1 - root)]
    momentum = np.select(which, [0 * x, r * (y - r) / (y * (1 - r))], (1 - root) / (1 + root))
    return momentum, np.select(which, [x, r], 1 - root)


def _alike(*arrays: Floats) -> tuple[Floats, ...]:
    return tuple(map(np.array, np.broadcast_arrays(*arrays)))
