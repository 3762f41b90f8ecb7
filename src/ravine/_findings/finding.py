"""Finding: one true sentence about a run, with its numbers and how far it goes."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, SupportsIndex, overload

from ravine._format import setting

Scope = Literal["exact", "local", "measured"]
When = Literal["throughout", "at the start", "at the end"]

THE_RUN = "the run itself"
RULE = "torch/optim/sgd.py, _single_tensor_sgd"

LOCALLY = "Locally, from the curvature at the minimum, "

UNMOVED = "As long as no schedule moves its settings, "
"""How a sentence begins that draws on settings which a schedule has not moved so far, but may."""

SHORTEST, LONGEST = 30, 100
"""Characters of a brief sentence: enough to say something, and no more than two lines beside a picture hold."""


@dataclass(frozen=True)
class Finding:
    """One true sentence about a run, with the numbers in it and how far it goes.

    Attributes
    ----------
    kind
        One word or two for what it is about: "margin", "swing", "arrival" …
    sentence
        What to say.
    values
        The numbers of the sentence, unrounded, and what else they were computed from.
    scope
        "exact": it follows from torch's update rule, or from the curvature of a loss that is a quadratic, within
        rounding, at every place of this run. "local": from the curvature at the minimum, true near it.
        "measured": read off this run's steps, and true of them.
    when
        "throughout", "at the start" or "at the end".
    source
        A paper, a line of torch, or the run itself.
    about
        The labels of the run that it speaks of; empty where it speaks of the whole study.

    Examples
    --------
    >>> told = Finding("arrival", "It arrives at step 12.", {"step": 12.0}, "measured", about={"run": "plain"})
    >>> print(told)
    plain: It arrives at step 12. (measured)
    """

    kind: str
    sentence: str
    values: Mapping[str, float | str | bool]
    scope: Scope
    when: When = "throughout"
    source: str = THE_RUN
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "about", MappingProxyType(dict(self.about)))

    @property
    def told(self) -> str:
        """The sentence with its scope, which a local one names itself."""
        return self.sentence if "ocally" in self.sentence else f"{self.sentence} ({self.scope})"

    @property
    def brief(self) -> str:
        """The beginning of the sentence that says something by itself, in two lines beside a picture.

        A local one leaves out that it is local, which its scope says.

        Examples
        --------
        >>> goal = "Weight decay moves the goal: it is (weight 0.3, bias 1.21), where the data loss is 2.23"
        >>> Finding("goal", f"{goal}, not the data's own minimum (weight 0.926, bias 2.48).", {}, "exact").brief
        'Weight decay moves the goal: it is (weight 0.3, bias 1.21), where the data loss is 2.23.'
        """
        if len(self.sentence) <= LONGEST:
            return self.sentence
        said = self.sentence.removeprefix(LOCALLY)
        said = said if said.startswith("lr ") else f"{said[0].upper()}{said[1:]}"  # settings are written as typed
        if len(said) <= LONGEST:
            return said
        ends = [each.start() for each in re.finditer(r"\. |; |: |, not |, so ", said)]
        fitting = [end for end in ends if SHORTEST < end < LONGEST]
        return f"{said[: fitting[-1]]}." if fitting else said

    @property
    def whose(self) -> str:
        """Labels of the run that it speaks of, for people."""
        return ", ".join(
            each if isinstance(each, str) else f"{name} {setting(each)}" for name, each in self.about.items()
        )

    def __str__(self) -> str:
        return f"{self.whose}: {self.told}" if self.whose else self.told


class Findings(list[Finding]):
    """A list of findings that shows its sentences, one a line; in a notebook as a list. In all else a list.

    Examples
    --------
    >>> told = Findings([Finding("arrival", "It arrives at step 12.", {"step": 12.0}, "measured")])
    >>> told
    • It arrives at step 12. (measured)
    >>> told == list(told), type(told[:1]).__name__, told[0].values["step"]
    (True, 'Findings', 12.0)
    """

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Finding: ...

    @overload
    def __getitem__(self, index: slice, /) -> Findings: ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> Finding | Findings:
        return Findings(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def __repr__(self) -> str:
        return "\n".join(f"• {each}" for each in self) or "[]"

    def _repr_html_(self) -> str:
        return f"<ul>{''.join(f'<li>{html.escape(str(each))}</li>' for each in self)}</ul>"
