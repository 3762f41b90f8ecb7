"""torch.optim.SGD: torch/optim/sgd.py, ``_single_tensor_sgd``, line for line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ravine._engine.rules.rule import Beginning, Settings, pick, pick_in_place
from ravine._study.rule import DEFAULTS


class SGD:
    """Momentum, dampening, Nesterov.

    ``a.add(b, alpha=s)`` rounds once in torch (a fused multiply-add), and so does ``addcmul`` here.
    """

    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    bounds: ClassVar[Mapping[str, float]] = {}

    def __init__(self, settings: Settings, position: torch.Tensor) -> None:
        self.read(settings)
        self.buf: torch.Tensor | None = None

    def read(self, settings: Settings) -> None:
        """Take settings from the next step on."""
        self.begin = Beginning(settings)
        self.minus_lr, self.momentum = settings.tensor(-settings["lr"]), settings.tensor(settings["momentum"])
        self.undamped = settings.tensor(1 - settings["dampening"]) if settings["dampening"].any() else None
        self.moves = settings.having("momentum")
        self.ahead = settings.which((settings["nesterov"] != 0) & (settings["momentum"] != 0))

    def step(self, param: torch.Tensor, grad: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return where a step leads."""
        param, grad = self.begin(param, grad)
        update = grad
        if self.moves is not False:
            update = self._remember(grad)
            if self.ahead is not False:
                update = pick(self.ahead, torch.addcmul(grad, self.momentum, update), update)
            update = pick_in_place(self.moves, update, grad)
        return torch.addcmul(param, self.minus_lr, update, out=out)

    def _remember(self, grad: torch.Tensor) -> torch.Tensor:
        """Return the momentum buffer, moved on."""
        if self.buf is None:  # undamped, as torch's first buffer is
            self.buf = grad.clone()
        else:
            self.buf.mul_(self.momentum)
            self.buf.add_(grad) if self.undamped is None else self.buf.addcmul_(self.undamped, grad)
        return self.buf

    def buffers(self, param: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Return the momentum buffers after steps that follow one another, all (step, parameter, run)."""
        _, grad = self.begin(param, grad)
        return torch.stack([self._remember(each).clone() for each in grad])
