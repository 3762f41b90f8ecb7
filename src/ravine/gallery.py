"""Problems by name: known ground to try an optimizer on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ravine._format import kind_of
from ravine._problem.neuron import neuron
from ravine._problem.problem import Problem

__all__ = ["article", "beale", "himmelblau", "quadratic", "rastrigin", "rosenbrock", "saddle", "styblinski_tang"]


def article() -> dict[str, Problem]:
    """Return the article's problem with its four criteria: one linear neuron on 50 points, from y = 6x - 3.

    The points are a parabola with noise, so that a line cannot fit them and the criteria differ.
    HuberLoss and SmoothL1Loss are the same function at their defaults.

    Returns
    -------
    dict
        Name of the criterion to problem, with the parameters ``weight`` and ``bias`` in float32.

    Examples
    --------
    >>> import ravine
    >>> problems = ravine.gallery.article()
    >>> list(problems)
    ['MSELoss', 'L1Loss', 'HuberLoss', 'SmoothL1Loss']
    >>> ravine.descend(problems["MSELoss"], lr=0.1).loss.values[0].item()
    53.078269958496094

    Notes
    -----
    Source: P. G. Baumstarck, "Visualizing Gradient Descent Parameters in Torch", February 2024.
    """
    random = np.random.RandomState(20240215)  # the stream of np.random.seed, without touching the global one
    x = np.array(random.randn(50), dtype=np.float32)
    y = np.array(0.75 * x**2 + 1.0 * x + 2.0 + 0.3 * random.randn(50), dtype=np.float32)
    start = neuron(torch.tensor([[6.0]]), torch.tensor([-3.0]))
    criteria = (torch.nn.MSELoss(), torch.nn.L1Loss(), torch.nn.HuberLoss(), torch.nn.SmoothL1Loss())
    data = x.reshape(-1, 1), y.reshape(-1, 1)
    seen = {"bias": (-5.0, 8.0), "weight": (-5.0, 8.0)}
    return {type(c).__name__: Problem.of(start, c, data, ranges=seen) for c in criteria}


def quadratic(condition: float = 10.0) -> Problem:
    """Return a bowl with curvatures 2 and 2 / condition: the valley in which plain gradient descent zigzags.

    Parameters
    ----------
    condition
        Ratio of the largest to the smallest curvature, at least 1.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.quadratic(condition=100), lr=0.1, momentum=0.9)
    >>> run.minimizer.values.tolist(), float(run.minimum_loss)
    ([0.0, 0.0], 0.0)

    Notes
    -----
    x²/condition + y², from (6, -3); see G. Goh, "Why Momentum Really Works", Distill 2017.
    """
    if isinstance(condition, bool) or not isinstance(condition, int | float | np.number):
        raise TypeError(f"condition must be a number of at least 1, got {kind_of(condition)}")
    if not condition >= 1:
        raise ValueError(f"condition must be at least 1, got {condition!r}")
    flattening = float(condition)

    def bowl(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return p["x"] ** 2 / flattening + p["y"] ** 2

    return Problem(bowl, {"x": 6.0, "y": -3.0}, {"x": (-7.0, 7.0), "y": (-4.0, 4.0)}, [{"x": 0.0, "y": 0.0}])


def rosenbrock() -> Problem:
    """Return Rosenbrock's curved valley, (1 - x)² + 100 (y - x²)², from its customary start.

    Examples
    --------
    >>> import ravine
    >>> ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=5).loss.values[0].item()
    24.20000457763672

    Notes
    -----
    H. H. Rosenbrock, The Computer Journal 3, 1960.
    """

    def rosenbrock(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2

    return Problem(rosenbrock, {"x": -1.2, "y": 1.0}, {"x": (-2.0, 2.0), "y": (-1.0, 3.0)}, [{"x": 1.0, "y": 1.0}])


def beale() -> Problem:
    """Return Beale's function: a plateau with steep corners and one minimum at (3, 0.5).

    Examples
    --------
    >>> import ravine
    >>> float(ravine.descend(ravine.gallery.beale(), lr=1e-3, steps=1).minimum_loss)
    0.0

    Notes
    -----
    E. M. L. Beale, Technical Report 25, Princeton 1958.
    """

    def beale(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        x, y = p["x"], p["y"]
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    return Problem(beale, {"x": 1.0, "y": 1.5}, {"x": (-1.0, 4.5), "y": (-2.0, 2.0)}, [{"x": 3.0, "y": 0.5}])


def himmelblau() -> Problem:
    """Return Himmelblau's function: four minima, all 0; which one is reached hangs on small things.

    Examples
    --------
    >>> import ravine
    >>> ravine.descend(ravine.gallery.himmelblau(), lr=0.01).minimizer.values.round(2).tolist()
    [3.0, 2.0]

    Notes
    -----
    D. M. Himmelblau, Applied Nonlinear Programming, 1972.
    """

    def himmelblau(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return (p["x"] ** 2 + p["y"] - 11) ** 2 + (p["x"] + p["y"] ** 2 - 7) ** 2

    minima = [(3.0, 2.0), (-2.805118086952745, 3.131312518250573)]
    minima += [(-3.779310253377747, -3.283185991286170), (3.584428340330492, -1.848126526964404)]
    places = [{"x": x, "y": y} for x, y in minima]
    return Problem(himmelblau, {"x": 0.0, "y": 0.0}, {"x": (-5.5, 5.5), "y": (-5.5, 5.5)}, places)


def saddle() -> Problem:
    """Return the saddle x² - y², started almost on its ridge: how long does an optimizer linger? No minimum.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.saddle(), lr=0.1, steps=40)
    >>> bool(run.loss[-1] < run.loss[20] < run.loss[0])
    True
    """

    def saddle(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return p["x"] ** 2 - p["y"] ** 2

    return Problem(saddle, {"x": -1.8, "y": 1e-3}, {"x": (-2.0, 2.0), "y": (-2.0, 2.0)})


def rastrigin() -> Problem:
    """Return Rastrigin's egg box: a bowl full of local minima, one in each unit square; the lowest is at 0.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.rastrigin(), lr=0.002, steps=200)
    >>> bool(run.loss[-1] > 1)  # caught in a local minimum
    True

    Notes
    -----
    L. A. Rastrigin, Systems of Extremal Control, 1974.
    """

    def rastrigin(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        x, y = p["x"], p["y"]
        return 20 + x**2 + y**2 - 10 * (torch.cos(6.283185307179586 * x) + torch.cos(6.283185307179586 * y))

    return Problem(rastrigin, {"x": -2.7, "y": 2.3}, {"x": (-3.5, 3.5), "y": (-3.5, 3.5)}, [{"x": 0.0, "y": 0.0}])


def styblinski_tang() -> Problem:
    """Return the Styblinski-Tang function: four basins, of which one is the lowest, at (-2.9035, -2.9035).

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.styblinski_tang(), lr=0.01)
    >>> round(float(run.minimum_loss), 3)
    -78.332

    Notes
    -----
    M. A. Styblinski and T.-S. Tang, Neural Networks 3, 1990.
    """

    def styblinski_tang(p: Mapping[str, torch.Tensor]) -> torch.Tensor:
        x, y = p["x"], p["y"]
        return (x**4 - 16 * x**2 + 5 * x + y**4 - 16 * y**2 + 5 * y) / 2

    lowest = [{"x": -2.903534027771177, "y": -2.903534027771177}]
    return Problem(styblinski_tang, {"x": 0.0, "y": 0.5}, {"x": (-4.5, 4.5), "y": (-4.5, 4.5)}, lowest)
