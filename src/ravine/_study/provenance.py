"""How a variable came about, written into it as JSON: settings, engine, versions, processor."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import xarray as xr


def digest(*parts: Any) -> str:
    """Return a short digest of bytes, arrays and texts.

    Examples
    --------
    >>> digest("loss", b"12") == digest("loss", memoryview(b"12")) != digest("loss1", b"2")
    True
    """
    found = hashlib.sha256()
    for part in parts:
        data = memoryview(part.encode() if isinstance(part, str) else part).cast("B")
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()[:32]


def by_label(labels: Sequence[str], words: Sequence[str]) -> str | dict[str, str]:
    """Say one thing for all, or each with its label.

    Examples
    --------
    >>> by_label("ab", ["fast", "fast"]), by_label("ab", ["fast", "slow"])
    ('fast', {'a': 'fast', 'b': 'slow'})
    """
    return words[0] if len(set(words)) == 1 else dict(zip(labels, words, strict=True))


def describe(study: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the provenance of one variable: engine, settings, versions, processor.

    Examples
    --------
    >>> import ravine, torch
    >>> run = ravine.descend(ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0}), steps=3)
    >>> describe(run, "loss")["engine"]
    'torch.optim.SGD, step by step'
    """
    facts: dict[str, Any] = json.loads(study[name].attrs.get("provenance", "{}"))
    return facts


def provenance(engine: str | Mapping[str, str], **facts: Any) -> str:
    """Say as JSON how numbers came about; kept on every variable, because merging drops a dataset's attributes."""
    return json.dumps({"engine": engine, **facts, **_surroundings()}, default=str)


@functools.cache
def versions() -> Mapping[str, str]:
    """Return the versions of everything that has a part in a number."""
    found = {name: metadata.version(name) for name in ("ravine", "torch", "numpy", "xarray")}
    return {**found, "python": platform.python_version()}


@functools.cache
def _surroundings() -> dict[str, str]:
    return {**versions(), "processor": _processor()}


def _processor() -> str:
    try:  # platform.processor() is empty on most Linux systems
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
