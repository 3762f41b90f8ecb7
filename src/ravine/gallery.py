"""Problems by name: known ground to try an optimizer on."""

from __future__ import annotations

import numpy as np
import torch

from ravine.parts import neuron
from ravine.problem import Problem

__all__ = ["article"]


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
