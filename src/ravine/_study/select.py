"""at and join: parts of a study by value, and studies side by side along a new dimension."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import hint, kind_of, listed, names, setting
from ravine._study.contract import CONTRACT, check_kind, last_step
from ravine._study.provenance import by_label, fact_of

TOLERANCE = 1e-6
"""How far, relative to the value asked for, `at` may go to the nearest one: enough for float32, no more."""


def at(study: xr.Dataset, **values: Any) -> xr.Dataset:
    """Select by the values of settings, labels or steps, without tripping over floats.

    Parameters
    ----------
    study
        Any study.
    **values
        Coordinate name to value. A float matches the nearest value within a relative 1e-6; anything else
        must be equal. The name may be a dimension, or a setting that varies along one (`momentum` along `run`).

    Returns
    -------
    xarray.Dataset
        The study without that dimension where one entry matches, with the matching entries where several do.

    Raises
    ------
    KeyError
        If no such coordinate exists, or none of its values matches; the message shows the nearest ones.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> runs = ravine.join({f"lr {lr}": ravine.descend(bowl, lr=lr, steps=5) for lr in (0.01, 0.05)})
    >>> str(ravine.at(runs, lr=0.05).run.values)
    'lr 0.05'
    >>> ravine.at(runs, lr=0.06)
    Traceback (most recent call last):
    ...
    KeyError: 'no lr = 0.06 in the study; it has 0.01, 0.05'
    """
    check_kind(study)
    for name, value in values.items():
        if name not in study.coords:
            raise KeyError(f"the study has no coordinate {name!r}; it has {listed(study.coords)}")
        coordinate = study[name]
        if coordinate.ndim > 1:
            raise KeyError(f"{name!r} varies along {coordinate.dims}: select one of these first")
        matches = _find_matches(coordinate.values, value)
        if not matches.any():
            raise KeyError(f"no {name} = {value} in the study; it has {_nearest_of(coordinate.values, value)}")
        if coordinate.ndim:
            places = np.flatnonzero(matches)
            study = study.isel({coordinate.dims[0]: int(places[0]) if len(places) == 1 else places})
    return study


def _find_matches(present: NDArray[Any], value: Any) -> NDArray[np.bool_]:
    if np.issubdtype(present.dtype, np.floating) and not isinstance(value, str):
        near: NDArray[np.bool_] = np.isclose(present, float(value), rtol=TOLERANCE, atol=0.0, equal_nan=True)
        return near
    if present.dtype.kind in "UO" and not isinstance(value, str):
        value = repr(value)  # a value that is no number is labelled by its words
    return np.asarray(present == value)


def _nearest_of(present: NDArray[Any], value: Any) -> str:
    flat = np.unique(present.ravel())
    if np.issubdtype(flat.dtype, np.number) and not isinstance(value, str):
        flat = np.sort(flat[np.argsort(np.abs(flat - value))[:8]])
        return listed(each.item() for each in flat)
    return listed(flat) + hint(str(value), map(str, flat))


LANDMARKS = ("minimizer", "minimum_loss", "hessian", "data_minimizer", "data_minimum_loss")
"""What some runs know and others do not, because of their settings: it is NaN for the others."""

CURVATURE = frozenset({"sharpness", "lowest_curvature", "preconditioned_sharpness"})

OF_SOME = frozenset({"batch_loss", "gradient_norm", "zero_gradient"}) | CURVATURE
"""Variables that runs have only where there is something to say, or somebody looked."""

MOVED = "scheduled_"

SHARED = frozenset({"inputs", "targets", "surface", "slope"})
"""Variables that runs may have in common; what a run itself left behind is always kept for each."""


def join(studies: Mapping[Any, xr.Dataset] | Sequence[xr.Dataset], dim: str = "run") -> xr.Dataset:
    """Stack studies along a new dimension, labelled; what differs in their provenance is kept for each label.

    Of a list each study is called by what tells it from the others: its optimizer and the settings that differ; where
    that does not tell them apart, they are numbered.

    Settings that differ become coordinates along `dim`; those that are the same stay scalars. A setting that one
    optimizer has and another has not is NaN there (or False, where it is a switch). Shorter runs are filled up
    with NaN, and ``steps_taken`` says how far each went. Recordings that were thinned in different ways keep the steps
    that all of them hold, with a warning.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> runs = ravine.join({"slow": ravine.descend(bowl, lr=0.01), "fast": ravine.descend(bowl, lr=0.3)})
    >>> runs.sizes["run"], runs.lr.values.tolist(), float(runs.momentum)
    (2, [0.01, 0.3], 0.0)
    >>> ravine.join([ravine.descend(bowl, lr=lr, steps=5) for lr in (0.01, 0.3)]).run.values.tolist()
    ['lr 0.01', 'lr 0.3']

    Raises
    ------
    TypeError
        If what is to be joined is no mapping or list of studies.
    ValueError
        If there is nothing to join, or the studies do not hold the same variables, parameters and steps.
    """
    studies = _labelled(studies)
    studies = _on_common_steps(_with_all_records(_with_all_landmarks(studies)))
    first_label, first = next(iter(studies.items()))
    for label, each in studies.items():
        if set(each.data_vars) != set(first.data_vars):
            differ = listed(sorted(map(str, set(each.data_vars) ^ set(first.data_vars))))
            raise ValueError(f"{first_label!r} and {label!r} do not hold the same variables: only one has {differ}")
        if "parameter" in each.coords and not np.array_equal(each["parameter"], first["parameter"]):
            raise ValueError(f"{first_label!r} and {label!r} do not have the same parameters")
        for name in first.dims:
            known = name != "step" and name in first.indexes and name in each.indexes
            if known and not first.indexes[name].equals(each.indexes[name]):
                raise ValueError(
                    f"{first_label!r} and {label!r} hold other values of {name}: a run that only one of them has "
                    "would be nothing in the other; select what they share, or sweep them with one list"
                )
    parts = _with_all_settings(_with_steps_taken(list(studies.values())))
    first = parts[0]
    shared = [n for n in first.variables if n not in first.dims and (n in first.coords or n in SHARED)]
    same = [n for n in shared if all(first.variables[n].identical(p.variables[n]) for p in parts)]  # type: ignore[no-untyped-call]
    varying = [n for n in first.variables if n not in first.dims and n not in same]
    stacked = xr.concat(
        [p.drop_vars(same) for p in parts],
        dim=xr.DataArray(np.array(list(studies)), dims=dim, name=dim),
        data_vars=[n for n in varying if n in first.data_vars],
        coords=[n for n in varying if n in first.coords],
        join="outer",  # shorter runs are filled up with NaN; steps_taken says how far each went
        compat="override",
        combine_attrs="override",
    )
    stacked = stacked.assign({n: first[n] for n in same})
    for name in stacked.data_vars:
        facts = {label: each[name].attrs.get("provenance") for label, each in zip(studies, parts, strict=True)}
        if len(set(facts.values())) > 1:
            stacked[name].attrs["provenance"] = _merge({k: json.loads(v or "{}") for k, v in facts.items()}, dim)
    return stacked


def _labelled(studies: Any) -> Mapping[Any, xr.Dataset]:
    """Return studies by label, or say what was given instead."""
    expected = 'ravine.join takes studies in a mapping, as in {"slow": one, "fast": other}, or in a list'
    if isinstance(studies, xr.Dataset) or not isinstance(studies, Mapping | list | tuple):
        raise TypeError(f"{expected}; got {kind_of(studies)}")
    if not studies:
        raise ValueError("nothing to join: the mapping of studies is empty")
    for label, each in studies.items() if isinstance(studies, Mapping) else enumerate(studies):
        if not isinstance(each, xr.Dataset):
            raise TypeError(f"{expected}; {label!r} is {kind_of(each)}")
    if isinstance(studies, Mapping):
        return studies
    settings = [
        {str(n): plain_value(v.values) for n, v in each.coords.items() if v.ndim == 0 and v.dtype.kind in "fiubU"}
        for each in studies
    ]
    kinds = [each.get("optimizer") for each in settings]
    differ = [n for n in settings[0] if all(n in each for each in settings) and len({each[n] for each in settings}) > 1]
    words = [
        " ".join(f"{each[n]}" if n in NAMED_BY_VALUE else f"{n} {setting(each[n])}" for n in differ)
        for each in settings
    ]
    for labels in (kinds, words):
        if all(labels) and len(set(labels)) == len(labels):
            return dict(zip(labels, studies, strict=True))
    return dict(enumerate(studies))


NAMED_BY_VALUE = ("optimizer", "criterion", "problem", "run", "start")
"""Coordinates whose value is a name by itself."""


def plain_value(value: NDArray[Any]) -> Any:
    """Return the one value of an array, NaN as None: NaN differs from itself."""
    found = value.item()
    return None if found != found else found


def _with_all_landmarks(studies: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Give every study the landmarks that any has; for one without decay those of the data are its own."""
    filled = dict(studies)
    for name in LANDMARKS:
        known = next((each[name] for each in studies.values() if name in each), None)
        if known is None:
            continue
        for label, each in filled.items():
            if name not in each and set(known.dims) - set(CONTRACT[name].dims) <= set(each.dims):
                own = each.variables.get(name.removeprefix("data_"))
                missing = known.variable.copy(data=np.full(known.shape, np.nan))
                filled[label] = each.assign({name: missing if own is None else own})
    return filled


def _with_all_records(studies: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Give every study what only some runs leave behind: NaN where a run had no schedule, or saw the whole loss."""
    filled = dict(studies)
    found = [n for each in studies.values() for n in map(str, each.data_vars) if n in OF_SOME or n.startswith(MOVED)]
    for name in dict.fromkeys(found):
        known = next(each[name] for each in studies.values() if name in each)
        own = CONTRACT[name].dims if name in CONTRACT else ("step",)
        for label, each in filled.items():
            like = "position" if "parameter" in own else "loss"
            if name in each or like not in each:
                continue
            dims = [d for d in each[like].dims if d not in ("step", "parameter") or d in own]
            nothing = False if known.dtype.kind == "b" else np.nan
            missing = np.full([each.sizes[d] for d in dims], nothing, dtype=known.dtype)
            filled[label] = each.assign({name: (dims, missing, {"long_name": known.attrs.get("long_name", name)})})
    return filled


def _on_common_steps(studies: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Keep of recordings the steps that all of them hold, and say so: each was thinned at a pace of its own."""
    held = [each["step"].values for each in studies.values() if "step" in each.coords and _is_recording(each)]
    if len(held) < len(studies) or all(np.array_equal(each, held[0]) for each in held):
        return studies
    common = functools.reduce(np.intersect1d, held)
    if any({each[0], each[-1]} - set(common.tolist()) for each in held):
        return studies  # which start or end another way: told where all steps are compared
    counts = names([f"{len(each):,}" for each in held])
    warnings.warn(
        f"the recordings hold snapshots of different steps ({counts} of them): the {len(common):,} that all have are "
        "kept; one every= for all of them, as in ravine.record(model, optimizer, every=10), keeps each",
        stacklevel=3,
    )
    return {label: each.sel(step=common) for label, each in studies.items()}


def _is_recording(study: xr.Dataset) -> bool:
    return "position" in study and fact_of(study, "position", "every") is not None


def _with_steps_taken(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    longest = max((part["step"].values for part in parts if "step" in part.coords), key=len, default=np.arange(0))
    for part in parts:
        held = part["step"].values if "step" in part.coords else longest
        if not np.array_equal(held, longest[: len(held)]):
            raise ValueError(
                f"the studies hold other steps of their runs ({listed(held.tolist())} and {listed(longest.tolist())}): "
                "what one of them lacks would be nothing in it; select the same steps of all"
            )
    if len({part.sizes.get("step") for part in parts}) == 1 and not any("steps_taken" in part for part in parts):
        return list(parts)
    attrs = {"long_name": CONTRACT["steps_taken"].long_name}
    return [part if "steps_taken" in part else part.assign(steps_taken=((), last_step(part), attrs)) for part in parts]


def _with_all_settings(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Give every part the settings that any has: NaN, False or "" where its optimizer has no such setting."""
    kinds = {name: part[name].dtype.kind for part in parts for name in part.coords if part[name].ndim == 0}
    absent = {"b": False, "U": "", "O": ""}
    return [
        part.assign_coords({n: absent.get(kind, np.nan) for n, kind in kinds.items() if n not in part.coords})
        for part in parts
    ]


def _merge(facts: Mapping[str, Mapping[str, Any]], dim: str) -> str:
    keys = dict.fromkeys(key for each in facts.values() for key in each)
    return json.dumps({key: by_label([each.get(key) for each in facts.values()], {dim: list(facts)}) for key in keys})
