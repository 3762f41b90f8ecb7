"""`ravine landscape`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import ravine
from ravine.cli.command import begin_work, check_free, check_picture
from ravine.cli.options import Force, Style, read_ranges, stem_of


def landscape(
    source: Annotated[str, typer.Argument(help="file.py:name or module:name of a problem: a model with its data.")],
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", help="Files or folders of the training, as in 'out/*.pt' (in quotes).")
    ],
    plane: Annotated[
        Literal["ends", "pca"],
        typer.Option(help="True at both ends of the training, or its first two principal components."),
    ] = "ends",
    points: Annotated[int, typer.Option(min=2, help="Grid points along each axis.")] = 41,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="AXIS=LOW:HIGH",
            help="What an axis spans, as in across=-2:3 (may be repeated).",
            show_default="around the path",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture: .png, .svg or .pdf; the study goes beside it.")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Evaluate a tenth of the points, where the surface is smooth enough for it.")
    ] = False,
    store: Annotated[
        Path | None, typer.Option("--store", help="Keep each row in this folder; the same command goes on with it.")
    ] = None,
    style: Style = "ravine",
    force: Force = False,
) -> None:
    """Draw the loss over a plane through a training that is over, from the checkpoints that it saved."""
    picture = check_picture(out or Path(f"{stem_of(source)}-landscape.png"))
    study_file = picture.with_suffix(".nc")
    force = check_free([study_file, picture], force)

    from ravine._problems import as_one_problem
    from ravine._progress import share, work
    from ravine.cli import report, sources

    begin_work()
    axes = read_ranges(ranges)
    problem = as_one_problem(sources.load_problem(source), "ravine landscape")
    run = ravine.checkpoints(problem, checkpoints)
    through = ravine.Plane.pca(run) if plane == "pca" else ravine.Plane.ends(run)
    with work(100, "parts") as advance:
        with share(advance, 10):
            path = through.project(run, problem)
        with share(advance, 90):
            land = ravine.surface(
                problem, axes, plane=through, points=points, store=store, accuracy="fast" if fast else "exact"
            )
    report.save_figure(ravine.plot.descent(path, land, style=style), picture)
    path = path.assign(surface=land["surface"])
    ravine.save(path, study_file, force=force)
    report.print_findings(path, most=3)
    typer.echo(f"\n{picture}  the picture\n{study_file}  every number, for ravine.open and ravine plot")
