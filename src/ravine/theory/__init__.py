r"""Theory: what curvature and settings say of torch.optim.SGD before a step is taken.

===================================  ================================================================
``rate(curvature, lr)``              factor on the error of a mode per step, in the long run
``regime(curvature, lr)``            what that error does, in one word: a key of ``REGIMES``
``period(curvature, lr)``            steps of one full swing
``half_life(curvature, lr)``         steps in which the error halves
``recurrence(curvature, lr)``        the error itself, step by step
``stability_limit(curvature)``       the learning rate below which every mode converges
``best_lr(curvatures)``              the learning rate at which the slowest mode is fastest
``best_momentum(curvatures, lr)``    the momentum for that; without lr the best pair of both
``fixed_point(hessian, minimizer)``  where weight decay and gradient balance
``effective_lr(lr, momentum)``       learning rate of equal steps without momentum, down a slope
===================================  ================================================================

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

from ravine.theory._best import Best, best_lr, best_momentum
from ravine.theory._limits import effective_lr, fixed_point, stability_limit
from ravine.theory._modes import half_life, period, rate, recurrence, regime
from ravine.theory._roots import REGIMES

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
