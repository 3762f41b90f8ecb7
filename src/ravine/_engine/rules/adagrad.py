"""torch.optim.Adagrad: torch/optim/adagrad.py, ``_single_tensor_adagrad``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings


class Adagrad:
    """The gradient over the root of the sum of all its squares."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 1e-2,
        "lr_decay": 0,
        "eps": 1e-10,
        "weight_decay": 0,
        "initial_accumulator_value": 0,
        "maximize": False,
    }
    bounds: ClassVar[Mapping[str, float]] = {}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.steps = 0
        self.state_sum = torch.zeros_like(position).add_(settings.tensor(settings["initial_accumulator_value"]))

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.settings, self.begin = settings, Beginning(settings)
        self.eps = settings.tensor(settings["eps"])

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        self.steps += 1
        param, grad = self.begin(param, grad)
        clr = self.settings["lr"] / (1 + (self.steps - 1) * self.settings["lr_decay"])
        self.state_sum.addcmul_(grad, grad)
        std = self.state_sum.sqrt().add_(self.eps)
        return torch.addcdiv(param, grad * self.settings.tensor(-clr), std, out=out)
