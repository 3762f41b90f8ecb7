"""Numbers: what is given, read and checked, and what is answered: floats for floats, names for names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ravine.words import listed

__all__ = ["check_axes", "extremes", "labelled", "number", "worked_out"]


def worked_out(
    kernel: Callable[..., Any], told: Mapping[str, str], numbers: Mapping[str, Any], last: Sequence[str] = ()
) -> list[Any]:
    """Apply a kernel of float64 arrays to numbers by name that broadcast.

    `told` holds the name of each answer and what it is in words, `last` the names of the axes that the kernel adds.
    """
    values = {name: number(name, value) for name, value in numbers.items()}
    values.pop("maximize", None)  # it is False, or was refused
    check_axes(values)
    with np.errstate(all="ignore"):  # inf and NaN are answers
        found = xr.apply_ufunc(kernel, *values.values(), output_core_dims=[last] * len(told), keep_attrs=False)
    answers = found if len(told) > 1 else [found]
    return [labelled(answer, *words) for answer, words in zip(answers, told.items(), strict=True)]


def labelled(answer: Any, name: str, long_name: str) -> Any:
    """Return an answer under its name, and a single number as what it is."""
    if isinstance(answer, xr.DataArray):
        return answer.rename(name).assign_attrs(long_name=long_name)
    return answer if answer.ndim else answer.item()


def number(name: str, value: Any) -> Any:
    """Return a value in float64, a DataArray as one, or say why torch's SGD or theory refuses it."""
    try:
        found = value.astype(np.float64) if isinstance(value, xr.DataArray) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, or an array of numbers, got {value!r}") from None
    if name in ("lr", "momentum", "weight_decay") and (found < 0).any():
        raise ValueError(f"{name} must be 0 or more, as torch.optim.SGD demands, got {float(found.min())}")
    if name == "maximize" and (found > 0).any():
        raise ValueError(
            "maximize=True climbs: it has no minimum to converge to; "
            "for a maximum, give the curvature with its sign turned and maximize=False, which is the same run"
        )
    return found


def extremes(curvature: ArrayLike) -> dict[str, Any]:
    """Return the two ends of the curvatures along the last axis: all that many modes together depend on."""
    low = high = values = number("curvature", curvature)
    if values.ndim and not values.shape[-1]:
        raise ValueError("curvature holds no eigenvalue; give at least one")
    if values.ndim:
        axis = [values.dims[-1]] if isinstance(values, xr.DataArray) else []
        low, high = xr.apply_ufunc(
            lambda modes: (modes.min(-1), modes.max(-1)), values, input_core_dims=[axis], output_core_dims=[[], []]
        )
    return {"smallest curvature": low, "largest curvature": high}


def check_axes(values: Mapping[str, Any]) -> None:
    """Refuse what does not broadcast: by name where a DataArray is among the values, else by shape."""
    bare = {key: value.shape for key, value in values.items() if value.ndim and not isinstance(value, xr.DataArray)}
    if bare and any(isinstance(value, xr.DataArray) for value in values.values()):
        raise TypeError(
            f"no names for the axes of {listed(bare)}, beside an xarray.DataArray: "
            "make it a DataArray too, so that they broadcast by name"
        )
    try:
        np.broadcast_shapes(*bare.values())
    except ValueError:
        told = ", ".join(f"{key} {shape}" for key, shape in bare.items())
        raise ValueError(
            f"the shapes do not broadcast: {told}; give one of them axes of its own, for example curvature[:, None]"
        ) from None
