"""`ravine animate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ravine
from ravine.cli.command import begin_work, check_free
from ravine.cli.options import Force, Style, read_pairs

FILMS = (".gif", ".mp4", ".html")


def animate(
    study: Annotated[
        Path,
        typer.Argument(
            help="A study with a surface, as ravine descend writes of two parameters, and ravine landscape."
        ),
    ],
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="NAME=VALUE", help="Select from the study, as in criterion=MSELoss (may be repeated)."
        ),
    ] = None,
    hue: Annotated[
        str | None, typer.Option(help="What tells runs apart that race on one map, as in run or momentum.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The film to write: .gif, .mp4 or .html.",
            show_default="beside the study",
        ),
    ] = None,
    style: Style = "ravine",
    force: Force = False,
) -> None:
    """Let the runs of a study descend as a moving picture."""
    film = out or study.with_suffix(".gif")
    if film.suffix.lower() not in FILMS:
        raise ValueError(f"a film ends in .gif, .mp4 or .html, got {film}")
    force = check_free([film], force)

    from ravine.plot import animate as make_film

    begin_work()
    chosen = ravine.at(ravine.open(study), **read_pairs(at))
    if "surface" not in chosen:
        raise ValueError(
            f"{study} holds no surface to move over: ravine descend of a problem with two parameters writes one, and "
            f"ravine landscape over a plane through more; ravine plot {study} draws what it holds"
        )
    typer.echo(f"{make_film(chosen, chosen, hue=hue, style=style).save(film, force=force)}")
