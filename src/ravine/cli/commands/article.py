"""`ravine article`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import ravine
from ravine.cli.command import begin_work, check_free
from ravine.cli.options import Force, FormatOption, Style


def article(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for page, figures, log and study.")] = Path(
        "figures"
    ),
    lr: Annotated[float | None, typer.Option(help="In place of the article's.", show_default="0.1")] = None,
    momentum: Annotated[float | None, typer.Option(help="Wherever the article turns it.", show_default="0.9")] = None,
    dampening: Annotated[float | None, typer.Option(help="In figure 10.", show_default="0.8")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="In figure 9.", show_default="2")] = None,
    nesterov: Annotated[
        bool | None, typer.Option("--nesterov/--no-nesterov", help="In figures 7 to 9; off where momentum is 0.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", "--epochs", min=1, help="Optimizer steps of each run.", show_default="100")
    ] = None,
    style: Style = "ravine",
    format: FormatOption = "png",
    force: Force = False,
) -> None:
    """Tell the article's story on one page, with every figure and its printed log, bit for bit."""
    paths = {number: out / f"figure_{number:02d}.{format}" for number in range(1, 11)}
    page_file, log_file, study_file = out / "index.html", out / "log.txt", out / "study.nc"
    check_free([page_file, *paths.values(), log_file, study_file], force)
    fresh = "torch" not in sys.modules

    from ravine._html.page import make_html, print_figure
    from ravine._parallel.beside import call_beside
    from ravine._progress import share, tracked, work
    from ravine._system import write_text, write_whole
    from ravine.article import caption, check, draw_figures, log
    from ravine.article import study as make_study
    from ravine.article.page import make_asides, make_page
    from ravine.cli.report import save_figure
    from ravine.plot._canvas.style import DARK, RAVINE, style_of

    begin_work()
    knobs = {
        "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
    }  # fmt: skip
    turned: dict[str, Any] = {name: value for name, value in knobs.items() if value is not None}
    if momentum == 0 and nesterov is None:
        turned["nesterov"] = False
        typer.echo("ravine: momentum 0 leaves nesterov nothing to work with: it is off", err=True)
    check(**turned)
    if steps is not None:
        turned["steps"] = steps
    with (
        work(100, "parts") as advance,
        call_beside(lambda: make_asides(style, **turned).draw(), fork=fresh) as asides,
    ):
        with share(advance, 10):
            study = make_study(**turned)
        lines = log(study)
        for line in lines if len(lines) <= 13 else [*lines[:10], "...", *lines[-3:]]:
            typer.echo(line)
        with share(advance, 20):
            figures = draw_figures(study, style)
        with share(advance, 10):
            prints = {number: print_figure(figure) for number, figure in tracked(list(figures.items()), "figures")}
        with share(advance, 25):
            page = make_page(study, prints, style, asides, **turned)
        with share(advance, 35):
            html = make_html(page, RAVINE, DARK, style_of(style))
    write_text("\n".join(lines) + "\n", log_file)
    ravine.save(study, study_file, force=True)
    for number, path in paths.items():
        if number not in figures:
            path.unlink(missing_ok=True)  # of an earlier call with other knobs
        elif format == "png":
            with write_whole(path) as draft:
                draft.write_bytes(prints[number].png)
        else:
            save_figure(figures[number], path)
    write_text(html, page_file)
    typer.echo(f"\n{page_file}  the whole story, for a browser; it needs nothing else")
    for number, path in paths.items():
        left_out = f"figure {number} is left out: these settings have nothing that it could show"
        typer.echo(f"{path}  {caption(number, study)}" if number in figures else left_out)
    typer.echo(f"{log_file}  all {len(lines)} losses of figure 4's run")
    typer.echo(f"{study_file}  every number, for ravine.open and ravine plot")
