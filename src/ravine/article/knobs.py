"""Each setting of torch.optim.SGD turned alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import ravine
from ravine import gallery, plot
from ravine._format import names, number
from ravine._html.page import Plate, Section, Table, Text
from ravine._study.contract import last_step
from ravine.article.figures import RUNS, STEPS
from ravine.article.words import format_arrivals, group_equal
from ravine.plot._canvas.style import Figure
from ravine.plot._canvas.words import settings_text

LONG = 600
"""Steps of these runs, so that all arrive that do so in any patience; the pictures show the first hundred."""


@dataclass(frozen=True)
class Turn:
    """One knob: its values, what it needs beside it, and what it is for."""

    name: str
    title: str
    values: Sequence[Any]
    beside: Sequence[str]
    words: str


TURNS: tuple[Turn, ...] = (
    Turn(
        "lr",
        "lr",
        (0.01, 0.1, 0.3, 0.9, 1.0),
        (),
        "The learning rate is the one knob that everything else leans on. Too small, and the path crawls; larger, and "
        "it begins to overshoot; on a bowl, past a limit that its curvature sets, each swing is larger than the last.",
    ),
    Turn(
        "momentum",
        "momentum",
        (0.0, 0.3, 0.5, 0.9, 0.99),
        (),
        "How much of the velocity is kept from step to step. For a bowl and a learning rate there is a best value: "
        "below it the path drags, above it the path rings.",
    ),
    Turn(
        "nesterov",
        "nesterov (with momentum)",
        (False, True),
        ("momentum",),
        "A switch that needs momentum: the same velocity, with the gradient taken ahead.",
    ),
    Turn(
        "dampening",
        "dampening (with momentum)",
        (0.0, 0.5, 0.8, 0.95),
        ("momentum",),
        "Without momentum torch ignores it. With momentum it takes back what momentum adds to the pace; the memory "
        "stays as long as it was.",
    ),
    Turn(
        "weight_decay",
        "weight decay (alone)",
        (0.0, 0.1, 0.5, 2.0),
        (),
        "The article shows it only together with Nesterov momentum. Alone it is easier to see what it does: the goal "
        "moves towards zero, and the bowl becomes steeper and rounder.",
    ),
)
"""The knobs that change the path, in torch's order of names where it matters."""


def sweep_knobs(steps: int = LONG, **given: Any) -> dict[str, xr.Dataset]:
    """Run plain SGD with each knob of `TURNS` at each of its values, for the four criteria of the article's problem.

    Knobs that need the same beside them share a sweep, of which each takes its own row: a hundred runs at once take
    hardly longer than five.

    Parameters
    ----------
    steps
        Of each run.
    **given
        Values of the page's own: the knob's is shown among the others, ``lr`` and ``momentum`` stand beside it.

    Returns
    -------
    dict
        For each knob's name its runs (criterion, knob, …).

    Examples
    --------
    >>> runs = sweep_knobs(steps=200)["momentum"]
    >>> ravine.measure.arrival(runs).sel(criterion="MSELoss").values[:4].tolist()
    [12.0, 8.0, 5.0, 42.0]
    """
    found: dict[str, xr.Dataset] = {}
    for beside in dict.fromkeys(tuple(turn.beside) for turn in TURNS):
        values = {turn.name: _list_values(turn, given) for turn in TURNS if tuple(turn.beside) == beside}
        usual = {name: _setting_beside(name, given) if name == "lr" else each[0] for name, each in values.items()}
        settings: dict[str, Any] = {name: _setting_beside(name, given) for name in ("lr", *beside)} | values
        runs = ravine.sweep(gallery.article(), steps=steps, **settings)
        places = {name: _find_place(each, usual[name]) for name, each in values.items()}
        for name in values:
            row = runs.isel({other: place for other, place in places.items() if other != name})
            found[name] = row.drop_vars("error", errors="ignore")  # torch refuses other rows alone
    return {turn.name: found[turn.name] for turn in TURNS}


def _find_place(values: Sequence[Any], value: Any) -> int:
    return next(k for k, each in enumerate(values) if each is value or each == value)  # NaN equals nothing


def _list_values(turn: Turn, given: Mapping[str, Any]) -> list[Any]:
    """Return a knob's values with the page's own among them; the first is the usual one, but for the lr."""
    values = list(turn.values)
    if turn.name in given and given[turn.name] not in values:
        values = sorted([*values, given[turn.name]])
    return values


def _setting_beside(name: str, given: Mapping[str, Any]) -> float:
    """Return what stands beside a knob; with momentum 0 there would be nothing to see of those that need it."""
    return float(given.get(name) or RUNS["momentum"][name]) if name == "momentum" else float(given.get(name, 0.1))


def make_knob_sections(style: str, **given: Any) -> list[Section]:
    """Show each knob alone: small pictures for MSELoss, and when each criterion arrives."""
    land = ravine.surface(gallery.article()["MSELoss"])
    swept = sweep_knobs(**given)
    return [_make_knob_section(turn, swept[turn.name], land, style) for turn in TURNS]


def make_switch_sections(**given: Any) -> list[Section]:
    """Tell what the settings do that only turn the sign, or choose torch's implementation: in numbers alone."""
    return [_make_maximize_section(given), _make_implementations_section(given)]


def _make_knob_section(turn: Turn, runs: xr.Dataset, land: xr.Dataset, style: str) -> Section:
    shown = runs.sel(criterion="MSELoss").isel(step=slice(STEPS + 1))
    arrivals = _format_arrivals(runs, turn)
    ends = _describe_ends(next(iter(arrivals.values())), turn)  # of MSELoss, the first
    alt = f"Small maps of the MSE loss, each with the path for one value of {turn.title}: {ends}."

    if shown[turn.name].dtype == bool:  # a label says more than 0 and 1
        labels = [f"{turn.name} {_format_value(value)}" for value in shown[turn.name].values.tolist()]
        shown = shown.assign_coords(run=(turn.name, labels)).swap_dims({turn.name: "run"})

    def draw() -> Figure:
        return plot.descent(shown, land, style=style)

    plate = Plate(
        f"knob-{turn.name}",
        turn.title,
        f"MSELoss, the first {STEPS} steps",
        draw,
        alt,
        _describe_earliest(arrivals, turn),
    )
    return Section(f"alone-{turn.name}", turn.title, [Text(turn.words), plate, _make_table(runs, arrivals, turn)])


Arrivals = Mapping[str, Sequence[tuple[Any, str]]]
"""Each value of a knob with when its run arrives, in words; by criterion, those that are equal as one."""


def _format_arrivals(runs: xr.Dataset, turn: Turn) -> Arrivals:
    values, cells = runs[turn.name].values.tolist(), format_arrivals(runs).transpose("criterion", turn.name)
    return {
        name: list(zip(values, cells.sel(criterion=label).values.tolist(), strict=True))
        for label, name in group_equal(runs).items()
    }


def _describe_earliest(arrivals: Arrivals, turn: Turn) -> str:
    """Say what one value against the others did, from the numbers of the table."""
    earliest = []
    for name, cells in arrivals.items():
        arrived = {value: int(cell) for value, cell in cells if cell.isdigit()}
        if arrived:
            best = min(arrived.values())
            at = names(
                [f"{_format_name(turn.name)} {_format_value(value)}" for value, step in arrived.items() if step == best]
            )
            earliest.append(f"{name} at {at} (step {best})")
        else:
            earliest.append(f"{name} at none of them")
    return f"Of these values, earliest to arrive: {', '.join(earliest)}."


def _describe_ends(cells: Sequence[tuple[Any, str]], turn: Turn) -> str:
    name = _format_name(turn.name)
    return "; ".join(f"{name} {_format_value(value)}: {_describe_arrival(cell)}" for value, cell in cells)


def _describe_arrival(cell: str) -> str:
    return f"arrives at step {cell}" if cell.isdigit() else {"diverged": "diverges"}.get(cell, f"{cell} steps")


def _make_table(runs: xr.Dataset, arrivals: Arrivals, turn: Turn) -> Table:
    rows = [[_format_value(each[0][0]), *(cell for _, cell in each)] for each in zip(*arrivals.values(), strict=True)]
    beside = settings_text(runs)
    return Table(f"Step of arrival, {last_step(runs):,} steps of {beside}", [turn.title, *arrivals], rows)


def _format_value(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:g}"


def _format_name(name: str) -> str:
    return name.replace("_", " ")


def _make_maximize_section(given: Mapping[str, Any]) -> Section:
    lr = _setting_beside("lr", given)
    up = ravine.descend(gallery.article(), lr=lr, steps=STEPS, maximize=True)
    rows = [
        [name, *(number(float(up["loss"].sel(criterion=label, step=k)), 4) for k in (0, 1, 10, STEPS))]
        for label, name in group_equal(up).items()
    ]
    words = (
        "The sign of the gradient is turned round, and the path walks uphill. On a loss without a top it walks for "
        "ever, so there is no arrival to measure; it is meant for rewards and likelihoods."
    )
    table = Table(f"The loss at steps, SGD(lr={lr:g}, maximize=True)", ["", "0", "1", "10", f"{STEPS}"], rows)
    return Section("alone-maximize", "maximize", [Text(words), table])


WAYS: Mapping[str, Mapping[str, Any]] = {
    "foreach=True": {"foreach": True},
    "fused=True": {"fused": True},
    "differentiable=True": {"differentiable": True},
}


def _make_implementations_section(given: Mapping[str, Any]) -> Section:
    """Measure how far torch's other implementations of the same rule come from its default."""
    settings: dict[str, Mapping[str, Any]] = {
        "lr": {"lr": _setting_beside("lr", given)},
        "lr, momentum": {"lr": _setting_beside("lr", given), "momentum": _setting_beside("momentum", given)},
    }
    plain = {name: _positions_of(**chosen) for name, chosen in settings.items()}
    rows = [
        [way, *(_format_distance(plain[name], _positions_of(**chosen, **how)) for name, chosen in settings.items())]
        for way, how in WAYS.items()
    ]
    head = ["", *(", ".join(f"{name} {value:g}" for name, value in chosen.items()) for chosen in settings.values())]
    words = (
        "Three switches choose how torch carries out the very same rule: `foreach` for all parameters at once, "
        "`fused` in one kernel, `differentiable` so that autograd can look through the step. They should not change "
        "the path; here is how far each strays from the default, measured."
    )
    table = Table(f"Largest difference of any parameter from the default, {STEPS} steps, four criteria", head, rows)
    return Section("alone-implementations", "foreach, fused, differentiable", [Text(words), table])


def _positions_of(**settings: Any) -> np.ndarray:
    return np.asarray(ravine.descend(gallery.article(), steps=STEPS, **settings)["position"].values)


def _format_distance(plain: np.ndarray, other: np.ndarray) -> str:
    if np.array_equal(plain, other, equal_nan=True):
        return "none, bit for bit"
    with np.errstate(invalid="ignore", over="ignore"):
        away = np.abs(plain.astype(float) - other.astype(float))
    return number(float(np.nanmax(away)), 2)
