"""torch.optim.RAdam: torch/optim/radam.py, ``_single_tensor_radam``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from ravine._engine.rules.rule import Beginning, Settings, pick


class RAdam:
    """Adam that begins without the second average, until that is sure enough."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0,
        "decoupled_weight_decay": False,
        "maximize": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {"betas": 1.0}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.steps = 0
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(position), torch.zeros_like(position)

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.settings, self.begin = settings, Beginning(settings)
        self.beta1, self.beta2 = settings.distinct("beta1"), settings.distinct("beta2")
        self.weight1, self.weight2 = settings.tensor(1 - settings["beta1"]), settings.tensor(1 - settings["beta2"])
        self.lr, self.rest2, self.eps = (settings.tensor(settings[name]) for name in ("lr", "beta2", "eps"))

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        self.steps += 1
        step, tensor, spread = float(self.steps), self.settings.tensor, self.beta2.spread
        param, grad = self.begin(param, grad)
        self.exp_avg.lerp_(grad, self.weight1)
        self.exp_avg_sq.mul_(self.rest2).addcmul_(grad * self.weight2, grad)
        bias_correction1 = self.beta1.spread(self.beta1.each(lambda beta1: 1 - beta1**step))
        update = self.exp_avg.div(tensor(bias_correction1)).mul_(self.lr)
        rect = self.beta2.each(lambda beta2: _rectification(beta2, step))
        sure = self.settings.which(spread(~np.isnan(rect)))
        if sure is not False:
            bias_correction2_sqrt = self.beta2.each(lambda beta2: (1 - beta2**step) ** 0.5)
            # a number over a tensor is its reciprocal times the number in torch
            adaptive_lr = (
                self.exp_avg_sq.sqrt().add_(self.eps).reciprocal_().mul_(tensor(spread(bias_correction2_sqrt)))
            )
            update = pick(sure, update * adaptive_lr * tensor(spread(rect)), update)
        return torch.sub(param, update, out=out)


def _rectification(beta2: float, step: float) -> float:
    """Return the factor of a step whose second average is sure enough, else NaN."""
    bias_correction2 = 1 - beta2**step
    rho_inf = 2 / (1 - beta2) - 1
    rho_t = rho_inf - 2 * step * (beta2**step) / bias_correction2
    if not rho_t > 5.0:
        return np.nan
    return float(((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t)) ** 0.5)
