"""What the loop does to a gradient before the optimizer sees it: noise is added, and its norm is clipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ravine._descent.parameters import parameters_of
from ravine._study.rule import LOOP_SETTINGS
from ravine._study.script import NOISE_SEED


@dataclass(frozen=True)
class Treatment:
    """How gradients are treated; at its defaults not at all."""

    clip_norm: float = math.inf
    noise: float = 0.0

    @property
    def acts(self) -> bool:
        """Whether anything is done."""
        return self.clip_norm < math.inf or self.noise > 0

    def begin(self, seed: int) -> Gradients | None:
        """Begin a run's treatment; None where nothing is done."""
        return Gradients(self, torch.Generator().manual_seed(NOISE_SEED + seed)) if self.acts else None


@dataclass
class Gradients:
    """The treatment of one run's gradients: the generator of its noise goes on from step to step."""

    how: Treatment
    generator: torch.Generator

    def treat(self, leaves: Collection[torch.Tensor]) -> float:
        """Change the gradients in place; return the norm that they had before clipping, NaN where none is clipped."""
        if self.how.noise:
            for leaf in leaves:
                if leaf.grad is not None:
                    self._add_noise(leaf)
        if self.how.clip_norm == math.inf:
            return math.nan
        return float(torch.nn.utils.clip_grad_norm_(list(leaves), self.how.clip_norm))

    def _add_noise(self, leaf: torch.Tensor) -> None:
        assert leaf.grad is not None
        if leaf.grad.layout != torch.strided:
            raise ValueError(f"noise={self.how.noise:g} is added to every entry of a gradient, and this one is sparse")
        drawn = torch.randn(leaf.shape, generator=self.generator, dtype=leaf.dtype).to(leaf.device)
        with torch.no_grad():
            leaf.grad.add_(drawn, alpha=self.how.noise)


def loop_settings(optimizer: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the settings that are the loop's; one that the optimizer names itself is its own."""
    found = {name: value for name, value in settings.items() if name in LOOP_SETTINGS}
    own = parameters_of(optimizer) if found else ()
    return {name: value for name, value in found.items() if name not in own}


def treatment_of(optimizer: Callable[..., Any], settings: Mapping[str, Any]) -> Treatment:
    """Read how gradients are to be treated.

    Raises
    ------
    ValueError
        For a norm that is not above 0, and for noise that is below 0 or no number.

    Examples
    --------
    >>> treatment_of(torch.optim.SGD, {"lr": 0.1, "clip_norm": 1.0})
    Treatment(clip_norm=1.0, noise=0.0)
    """
    given = loop_settings(optimizer, settings)
    for name, value in given.items():
        check_loop_setting(name, value)
    return Treatment(**{name: float(value) for name, value in given.items()})


def check_loop_setting(name: str, value: Any) -> None:
    """Refuse what gradients cannot be treated with."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    number = number or (torch.is_tensor(value) and value.numel() == 1)
    if name == "clip_norm" and not (number and float(value) > 0):
        raise ValueError(f"clip_norm must be a number above 0 (inf: no clipping), got {value!r}")
    if name == "noise" and not (number and 0 <= float(value) < math.inf):
        raise ValueError(f"noise must be a number from 0 on, the deviation of what is added, got {value!r}")
