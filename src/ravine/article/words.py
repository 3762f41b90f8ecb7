"""Words for the page, each computed from the runs it speaks of."""

from __future__ import annotations

import numpy as np
import xarray as xr

import ravine
from ravine import measure
from ravine._findings.finding import Finding
from ravine._format import names
from ravine._html.page import Sentences
from ravine._study.contract import last_step
from ravine.plot._canvas.words import end_of, steps_text

SHOWN = 1
"""Findings about a run that stand above; the rest is to be opened."""


def group_equal(runs: xr.Dataset, dim: str = "criterion") -> dict[str, str]:
    """Return label to name along a dimension; runs with the same positions and losses in every bit share a name.

    Examples
    --------
    >>> list(group_equal(ravine.descend(ravine.gallery.article(), lr=0.1)).values())
    ['MSELoss', 'L1Loss', 'HuberLoss = SmoothL1Loss']
    """
    groups: list[tuple[list[str], xr.Dataset]] = []
    for label in runs[dim].values:
        one = runs[["position", "loss"]].sel({dim: label}, drop=True)
        same = next((labels for labels, other in groups if one.equals(other)), None)
        if same is None:
            groups.append(([str(label)], one))
        else:
            same.append(str(label))
    return {labels[0]: " = ".join(labels) for labels, _ in groups}


def describe_end(run: xr.Dataset) -> str:
    """Say how one run ended.

    Examples
    --------
    >>> describe_end(ravine.descend(ravine.gallery.article()["L1Loss"], lr=0.1))
    'has not arrived after 100 steps'
    """
    end = end_of(run)
    if end is None:
        return "cannot be judged"
    if end.outcome == "not arrived":
        return f"has not arrived after {steps_text(run)}"
    return end.words or end.outcome


def describe_ends(runs: xr.Dataset) -> str:
    """Say how the run of each criterion ended.

    Examples
    --------
    >>> describe_ends(ravine.descend(ravine.gallery.article(), lr=0.1, momentum=0.9))
    'MSELoss arrives at step 42, L1Loss arrives at step 50 and HuberLoss = SmoothL1Loss arrives at step 46'
    """
    return names([f"{name} {describe_end(runs.sel(criterion=label))}" for label, name in group_equal(runs).items()])


def compare_arrivals(runs: xr.Dataset, before: xr.Dataset) -> str:
    """Set each criterion's arrival against that of other runs.

    Examples
    --------
    >>> plain, fast = (ravine.descend(ravine.gallery.article(), lr=0.1, momentum=m) for m in (0.0, 0.9))
    >>> compare_arrivals(fast.isel(criterion=[0, 1]), plain)
    'MSELoss at step 42 (12 before) and L1Loss at step 50 (not in 100 before)'
    """
    both = [format_arrivals(each) for each in (runs, before)]
    arrivals = []
    for label, name in group_equal(runs).items():
        now, then = (str(each.sel(criterion=label).item()) for each in both)
        arrivals.append(f"{name} {f'at step {now}' if now.isdigit() else now} ({then} before)")
    return names(arrivals)


def format_arrivals(runs: xr.Dataset) -> xr.DataArray:
    """Write the step at which each run arrives for a table (…); or that there is none.

    Examples
    --------
    >>> format_arrivals(ravine.descend(ravine.gallery.article(), lr=0.1)).values.tolist()
    ['12', 'not in 100', 'not in 100', 'not in 100']
    """
    arrived = measure.arrival(runs.drop_vars("hessian", errors="ignore"))  # its limits are not asked for here
    last = f"not in {last_step(runs):,}"

    def text(step: float, outcome: str, known: bool) -> str:
        if not known:
            return "no minimum"
        return f"{step:.0f}" if outcome == "arrived" else last if outcome == "not arrived" else outcome

    known = np.isfinite(runs["minimum_loss"])
    found: xr.DataArray = xr.apply_ufunc(
        text, arrived, arrived["outcome"], known, vectorize=True, output_dtypes=[object]
    )
    return found


ONCE = {"same run", "effective lr", "first step"}
"""Kinds of findings that follow from the settings, whatever the criterion: the page says each of them once."""


def find_sentences(runs: xr.Dataset, said: set[str]) -> list[Sentences]:
    """Return what `ravine.explain` says, run by run; runs of which the same is said stand together.

    At which step a run arrives, the words beside the picture say. What follows from settings alone is said of all
    runs at once, and not at all where it is in `said`, to which this adds.

    Examples
    --------
    >>> runs = ravine.descend(ravine.gallery.article(), lr=0.1, momentum=0.9)
    >>> [each.whose for each in find_sentences(runs, set())]
    ['', 'MSELoss', 'L1Loss', 'HuberLoss and SmoothL1Loss', 'MSELoss, L1Loss, HuberLoss and SmoothL1Loss']
    """
    findings = [each for each in ravine.explain(runs) if not _is_beside(each)]
    several = len({each.whose for each in findings}) > 1
    by_run: dict[str, list[str]] = {each.whose: [] for each in findings}
    by_setting: dict[str, list[str]] = {}
    for each in findings:
        if each.kind in ONCE and each.told in said:
            continue
        if each.kind in ONCE and each.whose and several:
            by_setting.setdefault(each.told, []).append(each.whose)
        else:
            by_run[each.whose].append(each.told)
    said |= {each.told for each in findings if each.kind in ONCE}
    groups: dict[tuple[str, ...], list[str]] = {}
    for label, sentences in by_run.items():
        groups.setdefault(tuple(sentences), []).append(label)
    shared: dict[tuple[str, ...], list[str]] = {}
    for sentence, labels in by_setting.items():
        shared.setdefault(tuple(labels), []).append(sentence)
    told = [(names(labels), list(lines)) for lines, labels in groups.items() if lines]
    told += [(names(labels), lines) for labels, lines in shared.items()]
    return [Sentences(whose, lines[:SHOWN], lines[SHOWN:]) for whose, lines in told]


def _is_beside(finding: Finding) -> bool:
    """Tell whether a finding says no more than at which step a run arrives."""
    return finding.kind == "arrival" and finding.when == "throughout" and finding.values["outcome"] == "arrived"


def describe_picture(runs: xr.Dataset, what: str) -> str:
    """Say for those who cannot see it what a picture of descents shows."""
    axes = [str(label) for label in runs["parameter"].values]
    shown = f"the path of {what} over contour lines of the loss, {axes[-1]} against {axes[0]}"
    if "criterion" in runs.dims:
        return f"{runs.sizes['criterion']} maps, one for each criterion, with {shown}: {describe_ends(runs)}."
    return f"A map with {shown}; it {describe_end(runs)}."
