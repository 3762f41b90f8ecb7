"""Losses evaluated in place: the memory that one evaluation frees is there for the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from ravine._torch import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for k in range(4):  # six blocks of 8 MB at a time, as of a network's layers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [torch.ones(1 << 21) for _ in range(6)]
    del layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has its own ways")
def test_memory_that_tensors_free_is_kept():
    pages = {
        way: int(subprocess.run([sys.executable, "-c", PROGRAM, way], check=True, capture_output=True).stdout)
        for way in ("kept", "given back")
    }
    assert pages["kept"] < 100 < 1000 < pages["given back"]
