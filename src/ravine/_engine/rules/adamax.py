"""torch.optim.Adamax: torch/optim/adamax.py, ``_single_tensor_adamax``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings


class Adamax:
    """The mean gradient over its largest size, which is slowly forgotten."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0,
        "maximize": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {"betas": 1.0}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.steps = 0
        self.exp_avg, self.exp_inf = torch.zeros_like(position), torch.zeros_like(position)

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.settings, self.begin = settings, Beginning(settings)
        self.beta1, self.weight1 = settings.distinct("beta1"), settings.tensor(1 - settings["beta1"])
        self.beta2, self.eps = settings.tensor(settings["beta2"]), settings.tensor(settings["eps"])

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        self.steps += 1
        step = float(self.steps)
        param, grad = self.begin(param, grad)
        self.exp_avg.lerp_(grad, self.weight1)
        torch.maximum(self.exp_inf.mul_(self.beta2), grad.abs().add_(self.eps), out=self.exp_inf)
        bias_correction = self.beta1.spread(self.beta1.each(lambda beta1: 1 - beta1**step))
        clr = self.settings["lr"] / bias_correction
        return torch.addcdiv(param, self.exp_avg * self.settings.tensor(-clr), self.exp_inf, out=out)
