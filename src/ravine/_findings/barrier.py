"""What lies between two states of a model: a barrier, or none, and what becomes of the accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from ravine import measure
from ravine._findings.finding import Finding
from ravine._format import number, percent
from ravine._study.provenance import fact_of

FRANKLE, ENTEZARI = "Frankle et al., ICML 2020", "Entezari et al., ICLR 2022"


def of_a_line(lines: xr.Dataset) -> Iterator[Finding]:
    """Tell of each line between two states what the loss, and the accuracy, does on the way."""
    for place in np.ndindex(*(size for dim, size in lines["line_loss"].sizes.items() if dim != "share")):
        dims = [dim for dim in lines["line_loss"].dims if dim != "share"]
        line = lines.isel(dict(zip(dims, place, strict=True)))
        about = {str(dim): line[dim].item() for dim in dims if dim in line.coords}
        for found in (_barrier(line), _accuracy(line)):
            if found is not None:
                yield Finding(found.kind, found.sentence, found.values, "measured", source=found.source, about=about)


def _barrier(line: xr.Dataset) -> Finding | None:
    losses, shares = line["line_loss"].values, line["share"].values
    count, ends = len(losses), (float(losses[0]), float(losses[-1]))
    broken = np.flatnonzero(~np.isfinite(losses))
    if not np.isfinite(ends).all():
        which = [name for name, end in zip(("one", "other"), ends, strict=True) if not np.isfinite(end)]
        words = f"The loss is not finite at {' and '.join(which)}: there is no line to hold a barrier against."
        return Finding("barrier", words, {"points": float(count)}, "measured")
    found = measure.barrier(line)
    height, share = float(found), float(found["share"])
    values: dict[str, float | str | bool] = {
        "barrier": height,
        "share": share,
        "one": ends[0],
        "other": ends[1],
        "points": float(count),
        "highest": float(losses[np.isfinite(losses)].max()),
    }
    how = _conditions(line, values)
    if len(broken):
        values["broken"] = float(len(broken))
        words = (
            f"Between the two the loss is not finite at {len(broken):,} of {count:,} points, the first "
            f"{percent(float(shares[broken[0]]))} of the way"
        )
    elif height > 0:
        there = float(losses[np.flatnonzero(shares == share)[0]])
        words = (
            f"There is a barrier between the two: {percent(share)} of the way the loss is {number(there)}, "
            f"{number(height)} over the straight line of its ends ({number(ends[0])} and {number(ends[1])})"
        )
    else:
        words = (
            f"There is no barrier between the two: at none of {count:,} points is the loss over the straight line of "
            f"its ends ({number(ends[0])} and {number(ends[1])})"
        )
    units = ""
    if height > 0 and fact_of(line, "line_loss", "units") == "not matched":
        values["units"] = "not matched"
        units = " Hidden units were not matched: in another order of them there may be none."
    source = ENTEZARI if units else FRANKLE
    return Finding("barrier", f"{words}{how}.{units}", values, "measured", source=source)


def _conditions(line: xr.Dataset, values: dict[str, float | str | bool]) -> str:
    """Say over which data that is, and with which statistics of BatchNorm, where it could be otherwise."""
    said = []
    statistics, drawn, of = (fact_of(line, "line_loss", name) for name in ("statistics", "samples", "of"))
    if statistics is not None:
        values["statistics"] = str(statistics)
        made = "made anew at each point" if statistics == "batch" else "frozen as the model was handed over with"
        said.append(f"BatchNorm's statistics {made}")
    if drawn is not None:
        values |= {"samples": float(drawn), "of": float(of)}
        error = fact_of(line, "line_loss", "standard_error")
        said.append(f"over {int(drawn):,} of {int(of):,} samples, standard error {number(float(error))} at one")
    return f"; {', '.join(said)}" if said else ""


def _accuracy(line: xr.Dataset) -> Finding | None:
    """Tell the lowest accuracy on the way, where it is below both ends."""
    if "line_accuracy" not in line:
        return None
    found = line["line_accuracy"].values.astype(np.float64)
    one, other = float(found[0]), float(found[-1])
    if not np.isfinite([one, other]).all():
        return None
    lowest = int(np.nanargmin(found))
    least = float(found[lowest])
    share = float(line["share"].values[lowest])
    values: dict[str, float | str | bool] = {"one": one, "other": other, "lowest": least, "share": share}
    ends = f"{percent(one, 3)} and {percent(other, 3)}"
    if least >= min(one, other):
        words = f"Accuracy is nowhere below the lower of its ends ({ends})"
    else:
        words = f"Accuracy falls to {percent(least, 3)}, {percent(share)} of the way; at the ends it is {ends}"
    missing = np.flatnonzero(np.isnan(found))
    if len(missing):
        values["missing"] = float(len(missing))
        words += (
            f"; at {len(missing):,} of {len(found):,} points there is none, the first "
            f"{percent(float(line['share'].values[missing[0]]))} of the way"
        )
    return Finding("accuracy", f"{words}.", values, "measured")
