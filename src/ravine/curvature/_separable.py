"""Losses of linear classifiers that fall without end: where a plane separates the classes there is no minimum."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._problem.neuron import is_linear
from ravine._problem.problem import Problem
from ravine._torch import numpy_of, plain_type

Vector = NDArray[np.float64]

CLEAR = 1e-9
"""Smallest margin, of the largest, that is certainly above zero."""


def separating_direction(problem: Problem) -> Vector | None:
    """Return a direction along which a linear classifier's loss falls for ever, or None where none is certain.

    Looked for where torch's BCEWithLogitsLoss, SoftMarginLoss or CrossEntropyLoss, with a label for each sample, stand
    over one Linear layer: the loss of each sample falls in its margins, so a direction in which all margins grow is a
    certificate. It is the solution of a linear programme, and the margins are multiplied out again.

    Examples
    --------
    >>> import ravine
    >>> x, y = torch.tensor([[-2.0], [-1.0], [1.0]]), torch.tensor([[0.0], [0.0], [1.0]])
    >>> layer = torch.nn.Linear(1, 1)
    >>> separable = ravine.Problem.of(layer, torch.nn.BCEWithLogitsLoss(), (x, y))
    >>> bool(separating_direction(separable)[0] > 0)
    True
    >>> mixed = ravine.Problem.of(layer, torch.nn.BCEWithLogitsLoss(), (x, torch.tensor([[0.0], [1.0], [0.0]])))
    >>> separating_direction(mixed) is None
    True
    """
    margins = _margins(problem)
    if margins is None or not np.isfinite(margins).all():
        return None
    import scipy.optimize  # not above: it takes longer to load than most minima to find

    scaled = margins / np.maximum(np.abs(margins).max(axis=1, keepdims=True), np.finfo(float).tiny)
    size = scaled.shape[1]
    # maximize t with margins of at least t, in a box
    found = scipy.optimize.linprog(
        np.r_[np.zeros(size), -1.0],
        A_ub=np.c_[-scaled, np.ones(len(scaled))],
        b_ub=np.zeros(len(scaled)),
        bounds=[(-1.0, 1.0)] * size + [(None, 1.0)],
    )
    if found.x is None:
        return None
    direction = np.asarray(found.x[:size])
    grown = scaled @ direction
    return direction if grown.min() > CLEAR * np.abs(grown).max() > 0 else None


def _margins(problem: Problem) -> Vector | None:
    """Return what each margin grows by along each parameter (margin, parameter)."""
    parts = problem.parts
    if parts is None or not is_linear(problem) or parts.inputs.ndim != 2:
        return None
    assert isinstance(parts.model, torch.nn.Linear)
    criterion, targets = parts.criterion, numpy_of(parts.targets.double())
    inputs, outputs = np.asarray(numpy_of(parts.inputs.double())), parts.model.out_features
    if getattr(criterion, "weight", None) is not None or getattr(criterion, "pos_weight", None) is not None:
        return None
    kind, count = plain_type(criterion), len(inputs)
    signs = None
    if kind is torch.nn.BCEWithLogitsLoss:
        signs = 2 * targets - 1
    elif kind is torch.nn.SoftMarginLoss:
        signs = targets
    if signs is not None and signs.size == count * outputs and (np.abs(signs) == 1).all():
        units = np.einsum("no,op->nop", signs.reshape(count, outputs), np.eye(outputs))
        pulls = units.reshape(count * outputs, outputs)
        rows = np.repeat(inputs, outputs, axis=0)
    elif kind is torch.nn.CrossEntropyLoss and targets.shape == (count,) and outputs > 1:
        if criterion.label_smoothing or ((targets < 0) | (targets >= outputs)).any():  # type: ignore[attr-defined]
            return None
        own = np.eye(outputs)[targets.astype(int)]
        others = np.array([[k for k in range(outputs) if k != own_k] for own_k in targets.astype(int)])
        pulls = (own[:, None] - np.eye(outputs)[others]).reshape(-1, outputs)
        rows = np.repeat(inputs, outputs - 1, axis=0)
    else:
        return None
    columns = {"weight": np.einsum("ro,ri->roi", pulls, rows).reshape(len(pulls), -1), "bias": pulls}
    if not problem.start.keys() <= columns.keys():
        return None
    return np.hstack([columns[name] for name in problem.start])
