"""The dimension that several problems make beside each other."""

from __future__ import annotations

from collections.abc import Mapping

from ravine._format import kind_of
from ravine._problem.problem import Problem
from ravine._study.labels import LABELLED


def dimension(problems: Mapping[str, Problem]) -> str:
    """Name the dimension that a mapping of problems makes: `criterion` where only that differs.

    Raises
    ------
    ValueError
        If the mapping is empty or the problems' parameters differ.
    """
    if not problems:
        raise ValueError("the mapping of problems is empty")
    for label, problem in problems.items():
        if not isinstance(problem, Problem):
            raise TypeError(f"{label!r} is {kind_of(problem)}, expected a ravine.Problem")
    labelled = list(problems.items())
    first_label, first = labelled[0]
    shapes, labels = first.shapes, first.labels if first.size <= LABELLED else None
    for label, problem in labelled[1:]:
        if problem.shapes != shapes or (labels is not None and problem.labels != labels):
            known = [
                each.labels[:4] if each.size <= LABELLED else [f"{n} {s}" for n, s in each.shapes.items()][:4]
                for each in (first, problem)
            ]
            raise ValueError(
                f"parameters differ: {first_label!r} has {', '.join(known[0])} and {label!r} "
                f"{', '.join(known[1])}; problems in one mapping must share them"
            )
    every = [problem.parts for problem in problems.values() if problem.parts is not None]
    alike = len(every) == len(problems) and every[0].alike_but_criterion(every[1:])
    return "criterion" if alike else "problem"
