"""The settings of an update rule, and which optimizers add their weight decay to the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "lr": 1e-3,
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "maximize": False,
}
"""The settings that make a path, at torch's own defaults; a test holds them against torch."""

COUPLED = frozenset({"SGD", "Adam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "NAdam", "RAdam", "Rprop"})
"""Torch's optimizers whose weight decay is added to the gradient, so that they minimise loss + decay."""
