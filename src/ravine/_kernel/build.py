"""Compiles neuron.c where it stands, once for each set of instructions: for the wheel, or by hand.

``python -m ravine._kernel.build`` does it in a checkout. It needs a C compiler and no header of Python's; what it makes
is loaded by ctypes, so that one library serves all versions of Python.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent

FLAGS = ("-std=c11", "-O3", "-Wno-psabi", "-fPIC", "-shared")

EXACT = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
"""No operation is fused with another or moved; and nobody asks for errno or traps, which would forbid vectors."""

LEVELS = {
    "avx512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
    "portable": (),
}
"""Sets of instructions by name, fastest first, and what the compiler is told of them."""

SOURCES = ("neuron.c", "neuron.h", "sgd.h", "layers.h", "tanh.h")

MANY = ("x86_64", "AMD64")
"""Processors for which there is more than the portable one."""


def compile_all(folder: Path = HERE) -> list[Path]:
    """Compile into a folder what the compiler here can, and return the libraries; none where it cannot.

    Raises
    ------
    OSError
        If there is no compiler, or not even the portable library can be made; the message is the compiler's.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if os.name != "posix" or shutil.which(compiler[0]) is None:
        compiler = ["cc"]

    def compile_one(level: str) -> subprocess.CompletedProcess[str]:
        arguments = [*FLAGS, *EXACT, *LEVELS[level], f'-DSOURCE="{source_of(level)}"']
        command = [*compiler, *arguments, str(HERE / "neuron.c"), "-o", str(folder / library_name(level)), "-lm"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    levels = [level for level in LEVELS if level == "portable" or platform.machine() in MANY]
    with ThreadPoolExecutor() as pool:
        ended = dict(zip(levels, pool.map(compile_one, levels), strict=True))
    found = [folder / library_name(level) for level in levels if ended[level].returncode == 0]
    if not found:
        why = ended[levels[-1]].stderr
        raise OSError(f"{shlex.join(compiler)} made no library: {why.strip() or 'it says nothing'}")
    return found


def source_of(level: str) -> str:
    """Return a digest of what a library is made of: compiled into it, it tells one that was made of something else."""
    found = hashlib.sha256(repr((FLAGS, EXACT, LEVELS[level])).encode())
    for name in SOURCES:
        found.update((HERE / name).read_bytes())
    return found.hexdigest()[:16]


def library_name(level: str) -> str:
    """Name the library for a set of instructions: with a dot in it, it is no module that Python could import."""
    return f"neuron.{level}.so"


if __name__ == "__main__":
    sys.stdout.writelines(f"{library}\n" for library in compile_all())
