"""torch.optim.Adam and AdamW: torch/optim/adam.py, ``_single_tensor_adam``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings, pick


class Adam:
    """Moving averages of the gradient and of its square, both corrected for having begun at 0."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0,
        "amsgrad": False,
        "maximize": False,
        "decoupled_weight_decay": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {"betas": 1.0}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.steps = 0
        self.exp_avg, self.exp_avg_sq, self.max_exp_avg_sq = (torch.zeros_like(position) for _ in range(3))

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.settings, self.begin = settings, Beginning(settings)
        self.beta1, self.beta2 = settings.distinct("beta1"), settings.distinct("beta2")
        self.weight1, self.weight2 = settings.tensor(1 - settings["beta1"]), settings.tensor(1 - settings["beta2"])
        self.rest2, self.eps = settings.tensor(settings["beta2"]), settings.tensor(settings["eps"])
        self.amsgrad = settings.having("amsgrad")

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        self.steps += 1
        step, settings = float(self.steps), self.settings
        param, grad = self.begin(param, grad)
        self.exp_avg.lerp_(grad, self.weight1)
        self.exp_avg_sq.mul_(self.rest2).addcmul_(grad * self.weight2, grad)
        bias_correction1 = self.beta1.spread(self.beta1.each(lambda beta1: 1 - beta1**step))
        bias_correction2_sqrt = self.beta2.spread(self.beta2.each(lambda beta2: (1 - beta2**step) ** 0.5))
        step_size = settings["lr"] / bias_correction1
        top = self.exp_avg_sq
        if self.amsgrad is not False:
            torch.maximum(self.max_exp_avg_sq, self.exp_avg_sq, out=self.max_exp_avg_sq)
            top = pick(self.amsgrad, self.max_exp_avg_sq, top)
        denom = top.sqrt().div_(settings.tensor(bias_correction2_sqrt)).add_(self.eps)
        return torch.addcdiv(param, self.exp_avg * settings.tensor(-step_size), denom, out=out)


class AdamW(Adam):
    """Adam whose decay shrinks the parameters."""

    defaults: ClassVar[Mapping[str, Any]] = {**Adam.defaults, "weight_decay": 1e-2, "decoupled_weight_decay": True}
