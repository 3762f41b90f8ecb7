"""torch.optim.RMSprop: torch/optim/rmsprop.py, ``_single_tensor_rmsprop``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings, pick


class RMSprop:
    """The gradient over the root of its mean square, centered or not; momentum."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0,
        "momentum": 0,
        "centered": False,
        "maximize": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.square_avg, self.grad_avg, self.buf = (torch.zeros_like(position) for _ in range(3))

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.begin = Beginning(settings)
        self.minus_lr, self.eps = settings.tensor(-settings["lr"]), settings.tensor(settings["eps"])
        self.alpha, self.weight = settings.tensor(settings["alpha"]), settings.tensor(1 - settings["alpha"])
        self.momentum = settings.tensor(settings["momentum"])
        self.centered, self.moves = settings.having("centered"), settings.which(settings["momentum"] > 0)

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        param, grad = self.begin(param, grad)
        self.square_avg.mul_(self.alpha).addcmul_(grad * self.weight, grad)
        under = self.square_avg
        if self.centered is not False:
            self.grad_avg.lerp_(grad, self.weight)
            under = pick(self.centered, under.addcmul(self.grad_avg, self.grad_avg, value=-1), under)
        avg = under.sqrt().add_(self.eps)
        if self.moves is not False:
            self.buf.mul_(self.momentum).addcdiv_(grad, avg)
        if self.moves is True:
            return torch.addcmul(param, self.minus_lr, self.buf, out=out)
        plain = torch.addcdiv(param, grad * self.minus_lr, avg, out=out)
        if self.moves is False:
            return plain
        return pick(self.moves, torch.addcmul(param, self.minus_lr, self.buf), plain)
