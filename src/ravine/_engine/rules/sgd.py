"""The rule of torch.optim.SGD as a pure function on tensors: one step for many settings at once, in torch's bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ravine._study.rule import DEFAULTS


@dataclass(frozen=True, eq=False)
class Settings:
    """Settings of many runs, one tensor for each, of shape (runs,); None where no run has the setting.

    torch leaves out a whole operation where a setting is off, and so must the batch: ``inf + 0 * θ`` is no ``inf``.
    ``with_momentum`` and the like are None where all runs have the setting, else they tell which.
    """

    minus_lr: torch.Tensor
    sign: torch.Tensor | None
    weight_decay: torch.Tensor | None
    with_decay: torch.Tensor | None
    momentum: torch.Tensor | None
    with_momentum: torch.Tensor | None
    undamped: torch.Tensor
    nesterov: torch.Tensor | None


def settings_of(columns: Mapping[str, Any], runs: int, dtype: torch.dtype) -> Settings:
    """Make the settings of many runs from one column of values for each, or one value for all.

    Parameters
    ----------
    columns
        Torch's names to numbers; what is left out is at torch's default.
    runs
        How many runs there are.
    dtype
        Of the parameters. torch holds settings in double and rounds each where it meets them; so does this.
    """
    whole = {name: np.broadcast_to(columns.get(name, default), (runs,)) for name, default in DEFAULTS.items()}
    numbers = {n: torch.from_numpy(np.array(v, dtype=np.float64)) for n, v in whole.items()}
    rounded = {name: value.to(dtype) for name, value in numbers.items()}
    decays, moves = numbers["weight_decay"] != 0, numbers["momentum"] != 0
    climbs, ahead = numbers["maximize"] != 0, (numbers["nesterov"] != 0) & moves
    return Settings(
        minus_lr=(-numbers["lr"]).to(dtype),
        sign=torch.where(climbs, -1.0, 1.0).to(dtype) if climbs.any() else None,
        weight_decay=rounded["weight_decay"] if decays.any() else None,
        with_decay=None if decays.all() else decays,
        momentum=rounded["momentum"] if moves.any() else None,
        with_momentum=None if moves.all() else moves,
        undamped=(1 - numbers["dampening"]).to(dtype),
        nesterov=ahead if ahead.any() else None,
    )


def step(
    position: torch.Tensor, gradient: torch.Tensor, velocity: torch.Tensor | None, settings: Settings
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Take one step in every run.

    Parameters
    ----------
    position, gradient
        Of shape (parameters, runs).
    velocity
        What the last step returned; None before the first.
    settings
        Of all runs.

    Returns
    -------
    tuple
        The new position and velocity; None as velocity where no run has momentum.

    Examples
    --------
    >>> import torch
    >>> two = settings_of({"lr": [0.1, 0.5]}, runs=2, dtype=torch.float32)
    >>> step(torch.ones(1, 2), torch.full((1, 2), 2.0), None, two)[0].tolist()
    [[0.800000011920929, 0.0]]

    Notes
    -----
    Source: torch/optim/sgd.py, ``_single_tensor_sgd``, line for line. ``a.add(b, alpha=s)`` rounds once there (a
    fused multiply-add), and so does ``addcmul`` here; ``1 - dampening`` is taken in double.
    """
    if settings.sign is not None:
        gradient = gradient * settings.sign
    if settings.weight_decay is not None:
        decayed = torch.addcmul(gradient, settings.weight_decay, position)
        gradient = _where(settings.with_decay, decayed, gradient)
    update = gradient
    if settings.momentum is not None:
        if velocity is None:  # undamped, as torch's first buffer is
            velocity = gradient.clone()
        else:
            velocity = torch.addcmul(settings.momentum * velocity, settings.undamped, gradient)
        update = velocity
        if settings.nesterov is not None:
            update = _where(settings.nesterov, torch.addcmul(gradient, settings.momentum, velocity), update)
        update = _where(settings.with_momentum, update, gradient)
    return torch.addcmul(position, settings.minus_lr, update), velocity


def _where(which: torch.Tensor | None, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return one if which is None else torch.where(which, one, other)
