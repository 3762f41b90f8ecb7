"""The compiled kernel: which library serves this processor, and calling it on tensors."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ravine._kernel.build import HERE, LEVELS, library_name

SWITCH = "RAVINE_KERNEL"
"""Environment: ``off`` leaves the kernel out; the name of a set of instructions takes just that one."""

CAPABILITIES = {"AVX512": ("avx512", "avx2", "portable"), "AVX2": ("avx2", "portable")}
"""What this processor can run, fastest first, by torch's own name for it; elsewhere the portable one."""

CRITERIA = (torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.HuberLoss, torch.nn.SmoothL1Loss)
"""Criteria by their numbers in neuron.c."""


class Kernel:
    """One of the libraries."""

    def __init__(self, level: str, path: Path) -> None:
        self.level = level
        library = ctypes.CDLL(str(path))
        pointer, number, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
        data = [number, number, number, number, pointer, pointer, number, real, real]
        self.functions: dict[torch.dtype, Any] = {}
        for dtype, name in ((torch.float32, "evaluate_float"), (torch.float64, "evaluate_double")):
            function = getattr(library, name)
            function.argtypes, function.restype = [*data, ctypes.c_ssize_t, *[pointer] * 5], number
            self.functions[dtype] = function


@dataclass(frozen=True)
class Sums:
    """In which order torch adds on a processor, see neuron.c; `width` and `block` are bytes of numbers at once."""

    fused: bool
    width: int
    block: int


def bytes_of_block() -> int:
    """Return how many bytes of numbers torch works out at once, one by one where fewer are left: two vectors."""
    return 128 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 64


def orders_of_sums() -> list[Sums]:
    """Return the orders to try, likelier ones first: widths are those of all releases of torch so far."""
    block = bytes_of_block()
    return [Sums(*each) for each in itertools.product((True, False), (32, 16), (block, 192 - block))]


class Neuron:
    """A linear neuron with one input, as the kernel takes it."""

    def __init__(self, kernel: Kernel, inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> None:
        self.kernel, self.function = kernel, kernel.functions[inputs.dtype]
        self.inputs, self.targets = inputs.reshape(-1).contiguous(), targets.reshape(-1).contiguous()
        self.criterion, share = CRITERIA.index(type(criterion)), 1 / len(inputs)
        self.share = 2 * share if self.criterion == 0 else share
        self.turn = float(getattr(criterion, "delta", getattr(criterion, "beta", 1.0)))

    def evaluate(
        self,
        sums: Sums,
        weight: torch.Tensor,
        bias: torch.Tensor,
        losses: torch.Tensor,
        gradient: torch.Tensor | None = None,
    ) -> None:
        """Write the losses at positions, and the gradients (2, positions) where they are wanted."""
        rows = [weight, bias, losses, *(() if gradient is None else gradient)]
        for row in rows:
            if row.dtype != self.inputs.dtype or row.shape != losses.shape or not row.is_contiguous():
                raise ValueError(f"rows of {len(losses)} {self.inputs.dtype} expected, got {row.shape} {row.dtype}")
        samples, size = len(self.inputs), self.inputs.element_size()
        bulk = samples - samples % (sums.block // size)
        how = (self.criterion, sums.fused, sums.width // size, bulk)
        data = (self.inputs.data_ptr(), self.targets.data_ptr(), samples, self.share, self.turn)
        nothing = () if gradient is not None else (None, None)
        if self.function(*how, *data, len(losses), *(row.data_ptr() for row in rows), *nothing):
            raise ValueError(f"the kernel knows nothing of {sums}")


def make_neuron(inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> Neuron | None:
    """Return a neuron for the fastest kernel that there is; None where there is none, or not for this neuron."""
    kernel = load_kernel()
    known = kernel is not None and inputs.dtype in kernel.functions and inputs.device.type == "cpu"
    if kernel is None or not known or inputs.shape[1] != 1 or type(criterion) not in CRITERIA:
        return None
    if getattr(criterion, "reduction", "") != "mean" or getattr(criterion, "beta", 1.0) <= 0:
        return None
    return Neuron(kernel, inputs, targets, criterion)


def load_kernel() -> Kernel | None:
    """Return the fastest kernel that was built and that this processor runs; None where there is none.

    Raises
    ------
    ValueError
        If the environment asks for one that is not there.
    """
    levels = CAPABILITIES.get(torch.backends.cpu.get_cpu_capability(), ("portable",))
    asked = os.environ.get(SWITCH, "")
    if asked in LEVELS:
        if asked not in levels or _open(asked) is None:
            raise ValueError(f"{SWITCH}={asked}: this processor runs {', '.join(levels)}, built are {_built()}")
        levels = (asked,)
    elif asked not in ("", "off"):
        raise ValueError(f"{SWITCH} must be off or one of {', '.join(LEVELS)}, got {asked!r}")
    return None if asked == "off" else _first(levels)


def _first(levels: Sequence[str]) -> Kernel | None:
    return next((kernel for level in levels if (kernel := _open(level)) is not None), None)


def _built() -> str:
    return ", ".join(level for level in LEVELS if (HERE / library_name(level)).exists()) or "none"


@cache
def _open(level: str) -> Kernel | None:
    path = HERE / library_name(level)
    try:
        return Kernel(level, path) if path.exists() else None
    except (AttributeError, OSError):  # of another system, or of another release
        return None
