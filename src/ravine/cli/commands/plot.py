"""`ravine plot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import ravine
from ravine.cli.command import begin_work, check_free, check_picture
from ravine.cli.options import Force, Style, read_pairs

VIEWS = (
    "descent",
    "anatomy",
    "panel",
    "losses",
    "fit",
    "scatter",
    "surface",
    "phase",
    "stability",
    "layers",
    "between",
)


def plot(
    study: Annotated[Path, typer.Argument(help="A study that ravine wrote.")],
    view: Annotated[
        str | None, typer.Argument(help=f"What to draw: {', '.join(VIEWS)}.", show_default="what the study holds")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="NAME=VALUE", help="Select from the study, as in run=momentum (may be repeated)."),
    ] = None,
    x: Annotated[str, typer.Option("--x", help="For phase: the horizontal setting.")] = "lr",
    y: Annotated[str, typer.Option("--y", help="For phase: the vertical setting.")] = "momentum",
    hue: Annotated[
        str | None, typer.Option(help="For descent, losses and fit: the setting that gives runs their colours.")
    ] = None,
    band: Annotated[
        bool, typer.Option("--band", help="For losses: draw what many runs have in common, instead of each.")
    ] = False,
    step: Annotated[
        int | None,
        typer.Option(help="For anatomy: opens the update from this step to the next.", show_default="must be given"),
    ] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(help='For phase: a setting to ring, as in "mine: lr=0.1 momentum=0.9" (may be repeated).'),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The picture to write: .png, .svg or .pdf.", show_default="beside the study"),
    ] = None,
    style: Style = "ravine",
    force: Force = False,
) -> None:
    """Draw a picture of a study."""
    from ravine._format import hint, listed
    from ravine.cli import report

    begin_work()
    if view is not None and view not in VIEWS:
        raise ValueError(f"no view {view!r}{hint(view, VIEWS)}; there are {listed(VIEWS)}")
    if view == "anatomy" and step is None:
        raise ValueError("anatomy opens one update: say which, as in --step 6")
    chosen = ravine.at(ravine.open(study), **read_pairs(at))
    asked, view = view, view or report.choose_view(chosen)
    band = band or (asked is None and view == "losses" and report.are_many(chosen))
    picture = check_picture(out or study.with_name(f"{study.stem}-{view}.png"))
    check_free([picture], force)
    draw: dict[str, Callable[[], Any]] = {
        "descent": lambda: ravine.plot.descent(chosen, chosen, hue=hue, style=style),
        "anatomy": lambda: ravine.plot.anatomy(chosen, chosen, step or 0, style=style),
        "panel": lambda: ravine.plot.panel(chosen, chosen, style=style),
        "losses": lambda: ravine.plot.losses(chosen, hue=hue, band=band, style=style),
        "fit": lambda: ravine.plot.fit(chosen, hue=hue, style=style),
        "scatter": lambda: ravine.plot.scatter(chosen, style=style),
        "surface": lambda: ravine.plot.surface(chosen, style=style).figure,
        "stability": lambda: ravine.plot.stability(chosen, style=style),
        "layers": lambda: ravine.plot.layers(chosen, style=style),
        "between": lambda: ravine.plot.between(chosen, style=style),
        "phase": lambda: ravine.plot.phase(report.numbers_of(chosen), x, y, marks=_read_marks(mark), style=style),
    }
    report.save_figure(draw[view](), picture)
    typer.echo(f"{picture}")


def _read_marks(given: list[str] | None) -> dict[str, dict[str, Any]]:
    marks = {}
    for each in given or []:
        name, colon, words = each.rpartition(":")
        if not colon:
            raise ValueError(f'expected a name and settings, as in "mine: lr=0.1 momentum=0.9", got {each!r}')
        marks[name.strip()] = read_pairs(words.split())
    return marks
