"""What a run on standardized columns has fitted, in the units of the file."""

from __future__ import annotations

from ravine._findings.finding import Finding
from ravine._findings.run import Run
from ravine._format import number
from ravine._study.units import coefficients_of


def fitted_line(run: Run) -> Finding | None:
    """Say the slope per unit of each column and the intercept, where columns were standardized."""
    found = None if run.refused or run.taken < 1 or run.diverged else coefficients_of(run.study)
    if found is None:
        return None
    slopes, intercept = found
    target = str(run.data["targets"].attrs.get("long_name", "y"))
    terms = [f"{number(slope, 6)} × {name}" for name, slope in slopes.items()]
    line = " + ".join([*terms, number(intercept, 6)]).replace("+ \u2212", "\u2212 ")
    values: dict[str, float | str | bool] = {f"slope of {name}": slope for name, slope in slopes.items()}
    sentence = f"In the columns' own units its line ends as {target} = {line}."
    return Finding("fitted line", sentence, values | {"intercept": intercept}, "measured", "at the end")
