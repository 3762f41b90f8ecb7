"""One update of SGD written out with its own numbers, in torch's order, and what its title says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravine._format import MINUS, number
from ravine.measure._update import Update
from ravine.plot._anatomy.arrows import ORDER, part_colors
from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.style import Style
from ravine.plot._canvas.words import number_text

Vector = NDArray[np.float64]

SEEN = 0.005
"""Share of the update from which its rounding is told."""


@dataclass(frozen=True, eq=False)
class Row:
    """One line: what it says, its numbers in the order of the axes, its colour; `gid` is how it is found again."""

    gid: str
    words: str
    numbers: Vector | None
    color: str


def rows_of(update: Update, theme: Style) -> list[Row]:
    """Return the lines of the formula, and those of the sum that the arrows make."""
    between = [Row("", "", None, theme.quiet), Row("arrows", "the arrows", None, theme.quiet)]
    return [*_formula(update, theme), *between[: 1 + bool(update.parts)], *_sum(update, theme)]


def _formula(update: Update, theme: Style) -> list[Row]:
    colors, rule = part_colors(theme), update.rule
    g, v = update.gradient, update.velocity
    whose = "g  mini-batch" if update.batched else "g  gradient"
    rows = [Row("θ", f"θ  step {update.step}", update.position, theme.ink)]
    if rule is None:
        return [
            *rows,
            Row("g", whose, g, colors["gradient"]),
            Row("next θ", f"θ  step {update.step + 1}", update.following, colors["update"]),
        ]
    if v is not None:
        none = "  none yet" if rule.first else "  velocity"
        rows.append(Row("v", f"v{none}", v, colors["velocity"]))
    rows.append(Row("g", whose, g, colors["gradient"]))
    if rule.maximize:
        g = -g
        rows.append(Row("-g", "g ← \N{MINUS SIGN}g  maximize", g, colors["gradient"]))
    if rule.weight_decay:
        g = g + rule.weight_decay * update.position
        rows.append(Row("decayed g", f"g ← g + {_factor(rule.weight_decay)}θ", g, colors["weight decay"]))
    name, step = "g", g
    if v is not None and update.next_velocity is not None:
        name, step = "v", update.next_velocity
        words = "v ← g  undamped" if rule.first else f"v ← {_factor(rule.momentum)}v + {_factor(rule.kept)}g"
        rows.append(Row("next v", words, step, colors["velocity"]))
        if rule.nesterov:
            name, step = "d", g + rule.momentum * step
            rows.append(Row("d", f"d ← g + {_factor(rule.momentum)}v", step, colors["look-ahead"]))
    sign = MINUS if rule.lr >= 0 else "+"
    words = f"θ ← θ {sign} {_factor(abs(rule.lr))}{name}"
    return [*rows, Row("next θ", words, update.following, colors["update"])]


def _sum(update: Update, theme: Style) -> list[Row]:
    colors = part_colors(theme)
    rows = [Row(name, f"  {name}", update.parts[name], colors[name]) for name in ORDER if name in update.parts]
    size = float(np.abs(update.moved).max())
    if update.parts and float(np.abs(update.rounding).max()) > SEEN * size:
        rows.append(Row("rounding", f"  {update.dtype} rounding", update.rounding, theme.quiet))
    return [*rows, Row("update", "= update" if rows else "update", update.moved, colors["update"])]


def _factor(value: float) -> str:
    """Write a factor with its dot; 1 needs none."""
    return "" if value == 1 else number_text(value) + "·"


def align_rows(rows: Sequence[Row], names: tuple[str, str]) -> list[str]:
    """Align the rows under the axes' names: words at the left, numbers at the right of their columns."""
    cells = [["", ""] if row.numbers is None else [_cell(v) for v in row.numbers.tolist()] for row in rows]
    heads = [name if len(name) <= 10 else f"…{name[-9:]}" for name in names]
    wide = [max(len(text) for text in (heads[k], *(cell[k] for cell in cells))) for k in (0, 1)]
    left = max(16, *(len(row.words) for row in rows))
    lines = [("in torch's order", heads), *zip((row.words for row in rows), cells, strict=True)]
    return [f"{words:<{left}}  {a:>{wide[0]}}  {b:>{wide[1]}}".rstrip() for words, (a, b) in lines]


def _cell(value: float) -> str:
    """Write a number of a column, zeros at the end kept."""
    return number(value, 4, zeros=True)


def headline(update: Update) -> str:
    """Say what is to be seen in one update, from its own angles and lengths."""
    return f"Step {update.step} to {update.step + 1}: {_what_happens(update)}"


def _what_happens(update: Update) -> str:
    rule, parts = update.rule, update.parts
    downhill = f"downhill{' on this mini-batch' * update.batched}"
    if not update.moved.any():
        if rule is None:
            return "nothing moves"
        idle = [word for word, is_so in _reasons(update).items() if is_so]
        return f"nothing moves{f', {idle[0]}' if idle else ''}"
    if rule is None:
        angle = _angle_between(update.moved, -update.gradient)
        return f"the update points {_degrees(angle)} away from {downhill}" if angle == angle else "where it leads"
    pull = parts["gradient"] + parts.get("weight decay", 0.0)
    pullers = "gradient and weight decay" if parts.get("weight decay", np.zeros(1)).any() else "gradient"
    several = pullers != "gradient"
    if "velocity" not in parts:
        return _without_velocity(update, pullers)
    carried = parts["velocity"]
    others = sum((part for name, part in parts.items() if name != "velocity"), np.zeros_like(carried))
    if not carried.any():
        return f"the velocity is 0, the {pullers} alone {'move' if several else 'moves'} it"
    if not pull.any():
        return f"{'gradient and weight decay cancel' if several else 'the gradient is 0'}, the velocity carries on"
    against = _angle_between(carried, pull) > 90
    done = _change_of(carried, carried + others)
    if several:
        return f"the velocity runs {'against' if against else 'with'} {pullers} and is {_passive(done)}"
    way = f"{'uphill' if against != rule.maximize else 'downhill'}{' on this mini-batch' * update.batched}"
    if "look-ahead" in parts:
        return f"the velocity carries {way}, gradient and look-ahead {done.format(s='')}"
    return f"the velocity carries {way}, the gradient {done.format(s='s')}"


def _passive(done: str) -> str:
    """Say the same of the velocity itself."""
    verb, rest = done.split("{s} it")
    return {"stop": "stopped", "turn": "turned", "slow": "slowed", "speed": "sped"}[verb] + rest


def _change_of(carried: Vector, moved: Vector) -> str:
    """Say what became of the velocity: it is turned, or only slower or faster."""
    turn = _angle_between(carried, moved)
    if turn != turn:
        return "stop{s} it"
    if turn >= 179.5:
        return "turn{s} it round"
    if turn >= 1:
        return f"turn{{s}} it by {_degrees(turn)}"
    return "slow{s} it" if np.hypot(*moved) < np.hypot(*carried) else "speed{s} it up"


def _reasons(update: Update) -> Mapping[str, bool]:
    """Return what may keep an update at 0, in the order in which it is told."""
    rule = update.rule
    assert rule is not None
    return {
        "the lr is 0": rule.lr == 0,
        "the gradient is 0": not any(part.any() for part in update.parts.values()),
        f"the step is lost in {update.dtype} rounding": bool((update.rounding != 0).any()),
        "its parts cancel": True,
    }


def _without_velocity(update: Update, pullers: str) -> str:
    rule = update.rule
    assert rule is not None
    way = "up" if rule.maximize else "down"
    whose = "the mini-batch's slope" if update.batched else "the slope"
    if pullers != "gradient":
        gradient = update.parts["gradient"]
        turn = _angle_between(gradient, gradient + update.parts["weight decay"])
        if turn != turn:
            return "weight decay alone moves it"
        if turn < 1:
            return "weight decay changes the length of the gradient's step, not its direction"
        return f"weight decay turns the gradient's step by {_degrees(turn)}"
    first = "the first step has no velocity yet, " if rule.first and rule.momentum else ""
    times = f", {number_text(1 + rule.momentum)} times lr·g" if rule.first and rule.nesterov else ""
    return f"{first}straight {way} {whose}{times}"


def _angle_between(one: Vector, other: Any) -> float:
    """Return the angle between two vectors in degrees; NaN where one is 0."""
    sizes = [float(np.abs(each).max()) for each in (one, other)]
    if not all(0 < size < np.inf for size in sizes):
        return float("nan")
    (a, b), (c, d) = one / sizes[0], other / sizes[1]  # so that tiny and huge ones do not under- or overflow
    return float(np.degrees(np.abs(np.arctan2(a * d - b * c, a * c + b * d))))


def _degrees(angle: float) -> str:
    return f"{angle:.0f}°"


def width_of(lines: Sequence[str], size: float) -> float:
    """Return the inches that lines of the formula take up."""
    return max(text_size(line, size, family="DejaVu Sans Mono")[0] for line in lines) / 72
