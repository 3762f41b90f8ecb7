"""How long something took, and when a device is done with what is queued on it."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

TICK = time.get_clock_info("thread_time").resolution
"""Seconds below which a thread's clock has not moved: on Windows it does so every 15.6 ms, whatever it says."""


class Clock:
    """How long something took, and for how long of that this thread had the processor; both in seconds."""

    def __init__(self) -> None:
        self.seconds = self.worked = 0.0
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        """Count from now on."""
        self._began = time.perf_counter(), time.thread_time()

    def stop(self) -> None:
        """Count no further."""
        if self._began is not None:
            self.seconds += time.perf_counter() - self._began[0]
            self.worked += time.thread_time() - self._began[1]
            self._began = None


def wait_for(devices: Iterable[torch.device]) -> None:
    """Wait until devices have done what is queued on them."""
    for device in devices:
        module = getattr(torch, device.type, None)
        if device.type == "mps":
            torch.mps.synchronize()
        elif module is not None and hasattr(module, "synchronize"):
            module.synchronize(device)
