"""Facts: what a run left behind and with which settings, read from the study once it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine import measure, study

__all__ = ["SETTINGS", "Facts"]

Vector = NDArray[np.float64]

SETTINGS = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")


@dataclass(frozen=True, eq=False)
class Facts:
    """One run as it is in its study, with its labels.

    `rule` holds the settings of a plain torch.optim.SGD that goes down over the whole batch, else None: only for
    such a run does curvature tell how it moves.
    """

    data: xr.Dataset
    about: Mapping[str, Any]

    @cached_property
    def told(self) -> xr.Dataset:
        """The run without what was never taken."""
        taken = self.data["steps_taken"].item() if "steps_taken" in self.data else np.nan
        return self.data.isel(step=slice(int(taken) + 1)) if taken == taken else self.data

    @cached_property
    def positions(self) -> Vector:
        """(step, parameter), in float64."""
        return np.asarray(self.told["position"].transpose("step", "parameter").values, dtype=np.float64)

    @cached_property
    def losses(self) -> Vector:
        """(step,), in float64; NaN where it was not evaluated."""
        return np.asarray(self.told["loss"].values, dtype=np.float64)

    @cached_property
    def minimised(self) -> Vector:
        """Loss with coupled decay (step,), in float64."""
        return np.asarray(measure.objective(self.told).values)

    @property
    def taken(self) -> int:
        """Steps taken."""
        return len(self.positions) - 1

    @property
    def labels(self) -> list[str]:
        """Labels of the parameters."""
        return [str(label) for label in self.data["parameter"].values]

    @property
    def eps(self) -> float:
        """Rounding of the run's dtype."""
        return float(np.finfo(self.data["position"].dtype).eps)

    @property
    def dtype(self) -> str:
        """Name of the loss's dtype."""
        return str(self.data["loss"].dtype)

    @cached_property
    def updates(self) -> Vector:
        """Length of each update that is finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        return np.asarray(lengths)

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting, or the default where the optimizer has none."""
        if name not in self.data.coords or self.data[name].ndim:
            return default
        value = self.data[name].item()
        return default if value != value else value

    @cached_property
    def climbs(self) -> bool:
        """Whether it maximizes."""
        return bool(self.setting("maximize", False))

    @cached_property
    def refused(self) -> str:
        """Torch's message, where it refused the settings."""
        return str(self.data["error"].item()) if "error" in self.data else ""

    @cached_property
    def decay(self) -> float:
        """Weight decay that is minimised with the loss."""
        return 0.0 if self.climbs else float(measure.decay(self.told))

    @cached_property
    def scheduled(self) -> Vector | None:
        """Learning rate of each step, where it changes."""
        if "scheduled_lr" not in self.data:
            return None
        rates = np.asarray(self.told["scheduled_lr"].values, dtype=np.float64)
        return None if np.isnan(rates).all() or (rates == rates[0]).all() else rates

    @property
    def batched(self) -> bool:
        """Whether it saw mini-batches."""
        return "batch_loss" in self.data and bool(np.isfinite(self.told["batch_loss"]).any())

    @cached_property
    def sgd(self) -> dict[str, Any] | None:
        """Settings by torch's names, where the optimizer is torch's SGD with one value of each."""
        found = {name: self.setting(name) for name in SETTINGS}
        if self.refused or self.setting("optimizer") != "SGD" or None in found.values():
            return None
        numbers = all(np.isfinite(float(value)) for value in found.values())
        return found if numbers and min(found["lr"], found["momentum"], found["weight_decay"]) >= 0 else None

    @cached_property
    def rule(self) -> dict[str, Any] | None:
        """Settings other than lr that theory takes, where theory holds."""
        if self.sgd is None or self.climbs or self.batched:
            return None
        return {name: self.sgd[name] for name in ("momentum", "dampening", "weight_decay", "nesterov")}

    @property
    def steady(self) -> bool:
        """Whether theory holds with one lr throughout."""
        return self.rule is not None and self.scheduled is None

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.setting("lr", np.nan))

    def landmark(self, name: str) -> Vector | None:
        """Return a landmark, where it is known."""
        if name not in self.data or self.climbs:
            return None
        values = np.asarray(self.data[name].values, dtype=np.float64)
        return None if np.isnan(values).any() else values

    @cached_property
    def minimum(self) -> float | None:
        """The minimum of what is minimised, where it is known."""
        found = self.landmark("minimum_loss")
        return None if found is None else float(found)

    @cached_property
    def diverged(self) -> bool:
        """Whether it diverged, as measured."""
        return bool(measure.diverged(self.told))

    @cached_property
    def arrival(self) -> tuple[str, float]:
        """What became of it, and the step of arrival, as measured; the minimum must be known."""
        found = measure.arrival(self.told.drop_vars("hessian", errors="ignore"))
        return str(found["outcome"].values), float(found)

    @cached_property
    def kinked(self) -> bool:
        """Whether the minimum lies, or may lie, on a kink."""
        return self.setting("criterion") == "L1Loss" or bool(self.said("hessian", "kinks"))

    def said(self, name: str, fact: str) -> Any:
        """Return what a variable's provenance says for this run."""
        found = study.describe(self.data, name).get(fact) if name in self.data else None
        while isinstance(found, dict):
            key = self.setting(str(found["by"])) if "by" in found else self.setting("criterion")
            found = found.get(str(key))
        return found
