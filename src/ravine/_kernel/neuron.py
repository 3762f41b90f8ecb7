"""The compiled kernel: which library serves this processor, and calling it on tensors."""

from __future__ import annotations

import ctypes
import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ravine._kernel.build import HERE, LEVELS, library_name, source_of

SWITCH = "RAVINE_KERNEL"
"""Environment: ``off`` leaves the kernel out; the name of a set of instructions takes just that one."""

CAPABILITIES = {"AVX512": ("avx512", "avx2", "portable"), "AVX2": ("avx2", "portable")}
"""What this processor can run, fastest first, by torch's own name for it; elsewhere the portable one."""

CRITERIA = (torch.nn.MSELoss, torch.nn.L1Loss, torch.nn.HuberLoss, torch.nn.SmoothL1Loss)
"""Criteria by their numbers in neuron.c."""


SETTINGS = ("minus_lr", "momentum", "undamped", "weight_decay", "sign", "decays", "moves", "ahead")
"""What SGD is told of each run, by rows in their order in neuron.c."""

PLACES = 4
"""Rows that say where a run of SGD stands: its weight, its bias, and torch's momentum buffers of both."""

MOST_AT_ONCE = 256
"""Bytes of numbers that no processor works out at once: twice those of two of the widest vectors."""

MOST_ROOM = 50_000_000
"""Bytes in which losses and slopes of all samples are held, at most: beyond, torch's own passes cost no more."""


class Kernel:
    """One of the libraries."""

    def __init__(self, level: str, path: Path) -> None:
        self.level = level
        self.library = ctypes.CDLL(str(path))
        self.library.source_of_kernel.restype = ctypes.c_char_p
        if self.library.source_of_kernel() != source_of(level).encode():
            raise OSError("it was built from another source")
        pointer, number, real, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_double, ctypes.c_ssize_t
        data = [number, number, number, number, pointer, pointer, number, real, real]
        self.functions: dict[torch.dtype, dict[str, Any]] = {}
        self.lanes: dict[torch.dtype, int] = {}
        for dtype, precision in ((torch.float32, "float"), (torch.float64, "double")):
            takes = {
                "evaluate": [*data, pointer, size, *[pointer] * 5],
                "grid": [*data, size, size, *[pointer] * 3],
                "descend": [*data, pointer, *[number] * 3, size, *[pointer] * 3, size, size, pointer, size],
            }
            found = {name: getattr(self.library, f"{name}_{precision}") for name in takes}
            for name, function in found.items():
                function.argtypes, function.restype = takes[name], number
            self.functions[dtype] = found
            self.lanes[dtype] = getattr(self.library, f"lanes_at_once_{precision}")()


@dataclass(frozen=True)
class Sums:
    """In which order torch adds on a processor, see neuron.c; `width` is bytes of numbers at once."""

    fused: bool
    width: int


def orders_of_sums() -> list[Sums]:
    """Return the orders to try, likelier ones first: widths are those of all releases of torch so far."""
    return [Sums(*each) for each in itertools.product((True, False), (32, 16))]


@cache
def slopes_at_once(dtype: torch.dtype) -> int:
    """Return how many slopes of Huber and SmoothL1 torch works out at once, one by one where fewer are left.

    It is two vectors, but not of the widest that a processor has: torch builds each operation for some of them. So
    torch is asked. Many equal residuals have one slope where it divides and multiplies in one order, and another
    one where it does so in the other.
    """
    size = MOST_AT_ONCE // dtype.itemsize
    nothing = torch.zeros(size - 1, dtype=dtype, device="cpu")
    for beta, hundredth in itertools.product((0.2, 0.3, 0.7), range(1, 100)):
        residual = torch.full_like(nothing, beta * hundredth / 100, requires_grad=True)
        with torch.enable_grad():
            loss = torch.nn.functional.smooth_l1_loss(residual, nothing, beta=beta)
        (slopes,) = torch.autograd.grad(loss, residual)
        if slopes[0] != slopes[-1]:
            return size - int((slopes != slopes[0]).nonzero()[0])
    return 1  # every order gives the same


class Neuron:
    """A linear neuron with one input, as the kernel takes it."""

    def __init__(self, kernel: Kernel, inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> None:
        self.kernel, self.functions = kernel, kernel.functions[inputs.dtype]
        self.inputs, self.targets = inputs.reshape(-1).contiguous(), targets.reshape(-1).contiguous()
        self.criterion, share = CRITERIA.index(type(criterion)), 1 / len(inputs)
        self.share = 2 * share if self.criterion == 0 else share
        held = vars(criterion)  # a module takes its time to say that it lacks something
        self.turn = float(held.get("delta", held.get("beta", 1.0)))

    @property
    def has_room(self) -> bool:
        """Whether gradients may be worked out too."""
        return self._numbers_held * self.inputs.element_size() <= MOST_ROOM

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
        self._check(*rows)
        for row in rows:
            if row.shape != losses.shape or not row.is_contiguous():
                raise ValueError(f"rows of {len(losses)} numbers expected, got {tuple(row.shape)}")
        room = losses if gradient is None else self._make_room()
        nothing = () if gradient is not None else (None, None)
        self._call("evaluate", sums, room.data_ptr(), len(losses), *(row.data_ptr() for row in rows), *nothing)

    def fill(self, sums: Sums, weights: torch.Tensor, biases: torch.Tensor, out: torch.Tensor) -> None:
        """Write the losses over a grid (weights, biases)."""
        self._check(weights, biases, out)
        if out.shape != (len(weights), len(biases)) or not all(t.is_contiguous() for t in (weights, biases, out)):
            raise ValueError(f"a grid of {len(weights)} by {len(biases)} expected, got {tuple(out.shape)}")
        pointers = (each.data_ptr() for each in (weights, biases, out))
        self._call("grid", sums, len(weights), len(biases), *pointers)

    def descend(
        self,
        sums: Sums,
        fused: bool,
        settings: torch.Tensor,
        state: torch.Tensor,
        losses: torch.Tensor,
        position: torch.Tensor | None,
        *,
        begun: bool,
    ) -> None:
        """Take a step of SGD for each row of `losses` (step, run); what is recorded is what was before it.

        `settings` (`SETTINGS`, run) and `state` (`PLACES`, run), which is written over, are whole; `losses` and
        `position` (step, parameter, run) may be parts of something larger.
        """
        steps, runs = losses.shape
        self._check(settings, state, losses, *(() if position is None else (position,)))
        whole = settings.is_contiguous() and state.is_contiguous()
        if not whole or settings.shape != (len(SETTINGS), runs) or state.shape != (PLACES, runs):
            raise ValueError(f"settings and state of {runs} runs expected, got {settings.shape} and {state.shape}")
        strides = (0, 0) if position is None else position.stride()[:2]
        fits = position is None or (position.shape == (steps, 2, runs) and position.stride(2) == 1)
        if not fits or losses.stride(1) != 1:
            raise ValueError(f"records of {steps} steps of {runs} runs expected, runs side by side")
        where = None if position is None else position.data_ptr()
        room = self._make_room()  # held until the call is over
        arguments = (room.data_ptr(), fused, steps, begun, runs, settings.data_ptr(), state.data_ptr())
        self._call("descend", sums, *arguments, where, *strides, losses.data_ptr(), losses.stride(0))

    @property
    def _numbers_held(self) -> int:
        return 2 * len(self.inputs) * self.kernel.lanes[self.inputs.dtype]

    def _make_room(self) -> torch.Tensor:
        return self.inputs.new_empty(self._numbers_held)

    def _check(self, *tensors: torch.Tensor) -> None:
        for each in tensors:
            if each.dtype != self.inputs.dtype or each.device.type != "cpu":
                raise ValueError(f"{self.inputs.dtype} on the CPU expected, got {each.dtype} on {each.device}")

    def _call(self, name: str, sums: Sums, *rest: Any) -> None:
        samples, size = len(self.inputs), self.inputs.element_size()
        bulk = samples - samples % slopes_at_once(self.inputs.dtype)
        width = sums.width // size if samples >= sums.width // size else 1  # fewer are added up as vectors of one
        how = (self.criterion, sums.fused, width, bulk)
        data = (self.inputs.data_ptr(), self.targets.data_ptr(), samples, self.share, self.turn)
        if self.functions[name](*how, *data, *rest):
            raise ValueError(f"the kernel knows nothing of {sums}")


def make_neuron(inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> Neuron | None:
    """Return a neuron for the fastest kernel that there is; None where there is none, or not for this neuron."""
    kernel = load_kernel()
    known = kernel is not None and inputs.dtype in kernel.functions and inputs.device.type == "cpu"
    if kernel is None or not known or inputs.shape[1] != 1 or type(criterion) not in CRITERIA:
        return None
    held = vars(criterion)
    if held.get("reduction") != "mean" or held.get("beta", 1.0) <= 0:
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
    if not path.exists():
        return None
    try:
        return Kernel(level, path)
    except (AttributeError, OSError) as reason:  # of another system, or of another release
        words = "knows no source" if isinstance(reason, AttributeError) else str(reason)
        warnings.warn(
            f"{path} is left out ({words}), and torch alone is used: python -m ravine._kernel.build builds it anew",
            stacklevel=2,
        )
        return None
