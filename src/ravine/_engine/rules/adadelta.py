"""torch.optim.Adadelta: torch/optim/adadelta.py, ``_single_tensor_adadelta``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings


class Adadelta:
    """Steps as large as those before them, by the mean squares of steps and gradients."""

    defaults: ClassVar[Mapping[str, Any]] = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0, "maximize": False}
    bounds: ClassVar[Mapping[str, float]] = {"rho": 1.0}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.square_avg, self.acc_delta = torch.zeros_like(position), torch.zeros_like(position)

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.begin = Beginning(settings)
        self.minus_lr, self.eps = settings.tensor(-settings["lr"]), settings.tensor(settings["eps"])
        self.rho, self.weight = settings.tensor(settings["rho"]), settings.tensor(1 - settings["rho"])

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        param, grad = self.begin(param, grad)
        self.square_avg.mul_(self.rho).addcmul_(grad * self.weight, grad)
        std = self.square_avg.add(self.eps).sqrt_()
        delta = self.acc_delta.add(self.eps).sqrt_().div_(std).mul_(grad)
        self.acc_delta.mul_(self.rho).addcmul_(delta * self.weight, delta)
        return torch.addcmul(param, self.minus_lr, delta, out=out)
