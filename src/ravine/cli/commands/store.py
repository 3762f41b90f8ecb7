"""`ravine resume` and `ravine verify`: on with a store, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ravine.cli.command import begin_work
from ravine.cli.options import Cluster, FormatOption, Style, Verbose, Workers


def resume(
    store: Annotated[Path, typer.Argument(help="A folder that ravine sweep -o began.")],
    workers: Workers = None,
    cluster: Cluster = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Import the modules that the store's plan names, though you did not make it."),
    ] = False,
    style: Style = "ravine",
    format: FormatOption = "png",
    verbose: Verbose = False,
) -> None:
    """Go on with a sweep that was interrupted, killed, or lost blocks to a damaged disk."""
    from ravine.cli import sweeps

    begin_work()
    sweeps.resume_sweep(store, style, format, workers=workers, cluster=cluster, trust=trust, verbose=verbose)


def verify(
    store: Annotated[Path, typer.Argument(help="A store: a folder that a sweep, or a surface, was written to.")],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Forget damaged blocks, so that ravine resume, or the same call, makes them again."
        ),
    ] = False,
) -> None:
    """Read a store whole, and say whether every bit is as it was written."""
    from ravine.cli import sweeps

    begin_work()
    if not sweeps.print_faults(store, forget=forget):
        raise typer.Exit(1)
