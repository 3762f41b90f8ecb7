"""Headings: what is written around a diagram, computed from it."""

from __future__ import annotations

import xarray as xr

from ravine.plot import captions, frontiers, outcomes
from ravine.plot.paper import Style
from ravine.plot.readings import Diagram, Field
from ravine.plot.sheet import Lines

__all__ = ["caption", "subtitle", "title"]

FACTS = frozenset({"outcome", "steps", "minimum_loss", "stability_limit", "stability_scope"})
"""Coordinates that are no settings."""

LISTED = 4
"""Panels whose best values a title lists."""


def title(diagram: Diagram) -> str:
    """Say which setting is best, and how good it is."""
    found = [(field, field.best) for field in diagram.fields if field.best is not None]
    head = "Fastest" if diagram.arrival else f"Lowest {diagram.quantity}"
    if not found:
        if any((field.outcomes == outcomes.NOT_MADE).any() for field in diagram.fields):
            return "Nothing to tell so far"
        return "No setting arrives" if diagram.arrival else f"No setting has a {diagram.quantity}"
    if len(diagram.fields) == 1:
        best = found[0][1]
        told, where = diagram.told(best.value), f"at {diagram.where(best)}"
        return f"{head} {where}: {told}" if diagram.arrival else f"{head}: {told} {where}"
    if len(diagram.fields) <= LISTED:
        groups: dict[str, list[str]] = {}
        for each in diagram.fields:
            nowhere = "never" if diagram.arrival else "nowhere"
            told = nowhere if each.best is None else "in " * diagram.arrival + diagram.told(each.best.value)
            groups.setdefault(told, []).append(each.label)
        return f"{head}: {', '.join(f'{_joined(names)} {told}' for told, names in groups.items())}"
    field, best = min(found, key=lambda each: each[1].value)
    return f"{head} of {len(diagram.fields)} panels: {field.label}, {diagram.told(best.value)}"


def _joined(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def caption(diagram: Diagram, field: Field, look: Style) -> Lines:
    """Say what happened in one panel: the best setting, unless the title does, and how many met which end."""
    lines: list[tuple[str, str]] = []
    if field.best is not None and len(diagram.fields) > 1:
        others = f" and {diagram.others(field.best)}" if field.best.ties > 1 else ""
        lines.append((f"{diagram.lowest} at {diagram.where(field.best)}{others}", look.ink))
    lines.append((outcomes.count(field.outcomes, diagram.within, diagram.arrival), look.quiet if lines else look.ink))
    if field.frontier is not None and not frontiers.sentence([each.frontier for each in diagram.fields]):
        lines.append((frontiers.sentence([field.frontier]), look.quiet))
    return lines


def subtitle(values: xr.DataArray, diagram: Diagram) -> list[str]:
    """Write the fixed settings, what is measured, and how many settings there are."""
    fixed = {n: c.variable for n, c in values.coords.items() if not c.ndim and n not in FACTS}
    settings = captions.settings(xr.Dataset(coords=fixed))
    meant = str(values.attrs.get("long_name", ""))
    said = f"{diagram.key}: {meant}" if meant and meant != diagram.key else diagram.key
    cells = diagram.fields[0].outcomes.size
    count = f"{cells:,} settings{' each' * (len(diagram.fields) > 1)}"
    limits = frontiers.sentence([field.frontier for field in diagram.fields])
    return [part for part in (settings, said, count, limits) if part]
