"""How a variable came about, written into it as JSON: settings, engine, versions, processor.

A fact that holds for all of a variable is written once. One that differs is written by label,
``{"by": dimension, label: fact, …}``, one inside another where it differs along several dimensions. In studies written
before, words may stand as ``{label: word, …}`` without the dimension, where a label may join those of several.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

WORDS = frozenset({"engine", "equals_torch", "scope", "kinks"})
"""Facts that are words or counts: a mapping in place of one was written by label."""


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


@dataclass
class Agreement:
    """How whole runs of an engine compare with torch's.

    ``equal`` of ``compared`` runs have torch's bits in all that was ``kept`` of each step; ``off`` is the largest
    difference among the others, as a share of the largest number of its run, and ``own`` that between torch in the
    runs' ``dtype`` and torch in float64, in the run that is farthest off; None where torch fails in float64, as with a
    loss that holds tensors of another dtype. ``strays`` are runs that were made on a
    processor where the engine has other last bits than where the sweep was planned. ``before`` are whole runs of
    earlier sweeps of the same kind in the same process, all of which had torch's bits.
    """

    compared: int = 0
    equal: int = 0
    off: float = 0.0
    own: float | None = 0.0
    steps: int = 0
    kept: str = "path"
    dtype: str = "float32"
    strays: int = 0
    before: int = 0

    def join(self, other: Agreement) -> None:
        """Take in other runs of the same problem."""
        self.compared, self.equal = self.compared + other.compared, self.equal + other.equal
        self.off = max(self.off, other.off)
        self.own = None if self.own is None or other.own is None else max(self.own, other.own)
        self.strays += other.strays
        self.before = max(self.before, other.before)

    def __str__(self) -> str:
        """Say it.

        Examples
        --------
        >>> print(Agreement(16, 16, steps=100))
        every bit, 16 whole runs of 100 steps compared
        >>> print(Agreement(2, 2, steps=100, before=16))
        every bit, 2 whole runs of 100 steps compared, 16 of such sweeps before
        >>> print(Agreement(16, 12, off=6e-8, own=2e-7, steps=100))
        within 6e-8 of torch; 12 of 16 whole runs in every bit; torch in float32 is 2e-7 off torch in float64 there
        """
        words = self._compared() if self.compared else "not compared"
        if not self.strays:
            return words
        return f"{words}; {self.strays:,} runs were made on a processor with other last bits"

    def _compared(self) -> str:
        runs = f"{self.compared} whole run{'' if self.compared == 1 else 's'}"
        if self.equal == self.compared:
            kept = "" if self.kept == "path" else ", by their losses"
            steps = f"{self.steps:,} step{'' if self.steps == 1 else 's'}"
            before = f", {self.before:,} of such sweeps before" if self.before else ""
            return f"every bit, {runs} of {steps} compared{kept}{before}"
        words = f"within {_scientific(self.off)} of torch; {self.equal} of {runs} in every bit"
        if self.dtype == "float64":
            return words
        if self.own is None:
            return f"{words}; torch in float64 fails there"
        return f"{words}; torch in {self.dtype} is {_scientific(self.own)} off torch in float64 there"

    def facts(self) -> dict[str, Any]:
        """Return all of it, for a record."""
        return asdict(self)


def describe_agreement(agreement: Agreement | None) -> str:
    """Say how runs compare with torch's; None: they are torch's."""
    return "is torch" if agreement is None else str(agreement)


def _scientific(number: float) -> str:
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


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


def by_label(values: Sequence[Any], choices: Mapping[str, Sequence[Any]]) -> Any:
    """Say one thing for all, or each with its label.

    Parameters
    ----------
    values
        One fact for each combination of labels, those of the last dimension fastest.
    choices
        Dimensions to their labels.

    Examples
    --------
    >>> by_label(["fast", "fast"], {"run": "ab"}), by_label(["fast", "slow"], {"run": "ab"})
    ('fast', {'by': 'run', 'a': 'fast', 'b': 'slow'})
    """
    if all(value == values[0] for value in values):
        return values[0]
    (dim, labels), *inner = choices.items()
    size = len(values) // len(labels)
    rows = [by_label(values[k * size : (k + 1) * size], dict(inner)) for k in range(len(labels))]
    if all(row == rows[0] for row in rows):  # it differs along inner dimensions alone
        return rows[0]
    return {"by": dim, **{_key(label): row for label, row in zip(labels, rows, strict=True)}}


def _key(label: Any) -> str:
    """Return what stands for a label; "by" itself names the dimension."""
    return "'by'" if str(label) == "by" else str(label)


def split_of(fact: Any) -> tuple[str, Mapping[str, Any]] | None:
    """Return the dimension by whose labels a fact is told, and the fact of each; None where it is told once.

    Examples
    --------
    >>> split_of({"by": "run", "a": 1, "b": 2})
    ('run', {'a': 1, 'b': 2})
    >>> split_of({"cannot": "it has dropout"}) is None
    True
    """
    if not isinstance(fact, Mapping) or not isinstance(fact.get("by"), str):
        return None
    return fact["by"], {label: each for label, each in fact.items() if label != "by"}


def facts_of(study: xr.Dataset, name: str, fact: str) -> list[Any]:
    """Return all that a variable's provenance says of the runs of a study, each once; empty where it says nothing.

    Of one run, selected by its labels, that is one thing. A label that the study no longer has leaves open which.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> runs = ravine.join({f"{k} steps": ravine.descend(bowl, steps=k) for k in (2, 3)})
    >>> facts_of(runs, "loss", "engine")
    ['torch.optim.SGD, step by step']
    """
    if name not in study:
        return []
    found = _narrowed(_read(study.variables[name].attrs.get("provenance", "{}")).get(fact), fact, _labels_in(study))
    return [each for each in found if each is not None]


def fact_of(study: xr.Dataset, name: str, fact: str) -> Any:
    """Return the one thing that a variable's provenance says of a run; None where it says nothing, or several.

    Examples
    --------
    >>> import ravine
    >>> fact_of(ravine.landmarks(ravine.gallery.quadratic()), "hessian", "scope")
    'stated by the problem'
    """
    found = facts_of(study, name, fact)
    return found[0] if len(found) == 1 else None


def facts_along(study: xr.Dataset, name: str, *facts: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Return facts for each label of the dimensions by which any of them is told: dimensions, and a tuple for each.

    None stands for what is not said, or what labels that were lost leave open.

    Examples
    --------
    >>> import ravine
    >>> found = ravine.landmarks(ravine.gallery.article(), weight_decay=[0.0, 1.0])
    >>> dims, kinks = facts_along(found, "hessian", "kinks")
    >>> dims, kinks[1].tolist()
    (('criterion', 'weight_decay'), [(2,), (0,)])
    """
    dims, parts = options_along(study, name, *facts)
    for place in np.ndindex(parts.shape):
        parts[place] = tuple(each[0] if len(each) == 1 else None for each in parts[place])
    return dims, parts


def options_along(study: xr.Dataset, name: str, *facts: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Return what `facts_along` does, with all that each fact may be: several things where a label was lost."""
    whole = _read(study.variables[name].attrs.get("provenance", "{}")) if name in study else {}
    told = dict.fromkeys(dim for fact in facts for dim in _dimensions(whole.get(fact)))
    dims = tuple(dim for dim in told if dim in study.coords and study.variables[dim].dims == (dim,))
    parts = np.empty([study.sizes[dim] for dim in dims], dtype=object)
    for places in product(*map(range, parts.shape)):
        here = {dim: {_key(study.variables[dim].values[place])} for dim, place in zip(dims, places, strict=True)}
        parts[places] = tuple(_narrowed(whole.get(fact), fact, _labels_in(study, here)) for fact in facts)
    return dims, parts


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


def labelled(*facts: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return facts beside each other, once for each label by which any of them is told; "" where none is.

    Examples
    --------
    >>> labelled("fast", {"by": "run", "a": "every bit", "b": "not compared"})
    [('a', ('fast', 'every bit')), ('b', ('fast', 'not compared'))]
    """
    splits = [split_of(fact) or (("", fact) if isinstance(fact, Mapping) else None) for fact in facts]
    first = next((split for split in splits if split is not None), None)
    if first is None:
        return [("", facts)]
    rows = []
    for label in first[1]:
        chosen = [s[1][label] if s and s[0] == first[0] else f for s, f in zip(splits, facts, strict=True)]
        rows += [(", ".join(filter(None, (label, inner))), each) for inner, each in labelled(*chosen)]
    return rows


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Mapping[str, Any]:
    facts: dict[str, Any] = json.loads(text)
    return facts


def _dimensions(fact: Any) -> list[str]:
    """Return the dimensions by which a fact is told, the outer ones first."""
    split = split_of(fact)
    if split is None:
        return []
    return list(dict.fromkeys([split[0], *(dim for each in split[1].values() for dim in _dimensions(each))]))


def _labels_in(study: xr.Dataset, chosen: Mapping[str, set[str]] | None = None) -> Callable[[str], set[str]]:
    """Return a look-up of the labels that a dimension has left: all, those chosen, or the one of a selected run."""
    known = dict(chosen or {})

    def labels(dim: str) -> set[str]:
        if dim not in known:
            known[dim] = {_key(each) for each in study.variables[dim].values.ravel()} if dim in study.coords else set()
        return known[dim]

    return labels


def _narrowed(part: Any, fact: str, labels: Callable[[str], set[str]]) -> list[Any]:
    """Return what a fact may be for the labels that there are."""
    split = split_of(part)
    if split is not None:
        dim, each = split
        rest = [value for label, value in each.items() if label in labels(dim)] or list(each.values())
    elif fact in WORDS and isinstance(part, Mapping):
        rest = [word for label, word in part.items() if _is_joined(label, labels)] or list(part.values())
    else:
        return [part]
    found: list[Any] = []
    for one in rest:
        found += [each for each in _narrowed(one, fact, labels) if each not in found]
    return found


def _is_joined(label: str, labels: Callable[[str], set[str]]) -> bool:
    """Tell whether a label of a study written before is made of labels that there are."""
    known = labels("criterion") | labels("problem") | labels("delta") | labels("beta")
    known |= {f"weight_decay {decay}" for decay in labels("weight_decay")}
    return label in known or all(part in known for part in label.split(", "))
