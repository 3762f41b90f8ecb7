"""torch.optim.NAdam: torch/optim/nadam.py, ``_single_tensor_nadam``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings

NEAR_ONE = 2.0**-20
"""A beta1 as near to 1 as this may make torch divide by 0: its product of momenta is of float32."""


class NAdam:
    """Adam that looks ahead, with a momentum that grows as it goes."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
        "maximize": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {"betas": 1.0 - NEAR_ONE, "momentum_decay": 100.0}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.steps = 0
        scalar = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch holds it
        self.mu_product = torch.ones(1, dtype=scalar)
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(position), torch.zeros_like(position)

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.settings, self.begin = settings, Beginning(settings)
        self.momenta, self.beta2 = settings.distinct("beta1", "momentum_decay"), settings.distinct("beta2")
        self.weight1, self.weight2 = settings.tensor(1 - settings["beta1"]), settings.tensor(1 - settings["beta2"])
        self.rest2, self.eps = settings.tensor(settings["beta2"]), settings.tensor(settings["eps"])

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        self.steps += 1
        step, settings = float(self.steps), self.settings
        bias_correction2 = self.beta2.spread(self.beta2.each(lambda beta2: 1 - beta2**step))
        param, grad = self.begin(param, grad)
        spread, minus_lr = self.momenta.spread, -settings["lr"]
        mu = spread(self.momenta.each(lambda beta1, decay: beta1 * (1.0 - 0.5 * (0.96 ** (step * decay)))))
        mu_next = spread(self.momenta.each(lambda beta1, decay: beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * decay)))))
        self.mu_product = self.mu_product * torch.from_numpy(mu).to(self.mu_product)
        self.exp_avg.lerp_(grad, self.weight1)
        self.exp_avg_sq.mul_(self.rest2).addcmul_(grad * self.weight2, grad)
        denom = self.exp_avg_sq.div(settings.tensor(bias_correction2)).sqrt_().add_(self.eps)
        product = self.mu_product.double().numpy()
        now = minus_lr * (1.0 - mu) / (1.0 - product)
        ahead = minus_lr * mu_next / (1.0 - product * mu_next)
        param = torch.addcdiv(param, grad * settings.tensor(now), denom)
        return torch.addcdiv(param, self.exp_avg * settings.tensor(ahead), denom, out=out)
