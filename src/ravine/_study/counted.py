"""What a study counts its steps in: those of an optimizer, epochs, or the numbers in the names of checkpoints."""

from __future__ import annotations

import re

import xarray as xr

COUNTED = {"epochs": "epoch", "the number in each name": "checkpoint"}
"""What `ravine.checkpoints` found in place of steps, and the word for one."""

NUMBERED = re.compile(r"\bstep(s?)(?= [\d,]+)|(?<=\d )step(s?)\b|(?<=\beach )step()\b|^step()$")
"""A step in words on a picture or in a sentence: of some number, so many of them, each, or the name of an axis."""

SO_MANY = re.compile(r"\b(?:in|for all) ([\d,]+) steps?\b(?! that)|^([\d,]+) steps?$")


def unit_of(study: xr.Dataset | xr.DataArray) -> str:
    """Return the word for what a study counts along ``step``.

    Examples
    --------
    >>> unit_of(xr.Dataset({"loss": ("step", [3.0, 1.0])}))
    'step'
    >>> unit_of(xr.Dataset(coords={"step": ("step", [1, 2], {"units": "epochs"})}))
    'epoch'
    """
    told = study["step"].attrs.get("units", "") if "step" in study.coords else ""
    return told.removesuffix("s") if told.removesuffix("s") in COUNTED.values() else "step"


def name_steps(unit: str) -> dict[str, str]:
    """Return the attributes of a coordinate ``step`` that counts something else than steps."""
    return {} if unit == "step" else {"long_name": f"{unit} in place of the step", "units": f"{unit}s"}


def worded(text: str, unit: str) -> str:
    """Write in another unit what was written for steps.

    How many checkpoints there are is not what the number in a name says.

    Examples
    --------
    >>> worded("from 2.5 to 0.1 in 8 steps, best at step 7", "epoch")
    'from 2.5 to 0.1 in 8 epochs, best at epoch 7'
    >>> worded("from 2.5 to 0.1 in 800 steps, best at step 700", "checkpoint")
    'from 2.5 to 0.1 up to checkpoint 800, best at checkpoint 700'
    """
    if unit == "step":
        return text
    if unit == "checkpoint":
        text = re.sub(r"\bevery ([\d,]+) steps", r"every \1", text)
        text = SO_MANY.sub(lambda found: f"up to checkpoint {found[1] or found[2]}", text)
    return NUMBERED.sub(lambda found: unit + "s" * ("s" in found[0][1:]), text)
