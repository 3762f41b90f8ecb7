"""`ravine explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ravine
from ravine.cli.command import begin_work
from ravine.cli.options import read_pairs


def explain(
    study: Annotated[Path, typer.Argument(help="A study that ravine wrote.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="NAME=VALUE", help="Select from the study, as in run=momentum (may be repeated)."),
    ] = None,
) -> None:
    """Say what happened in a run, and why, in true sentences."""
    from ravine.cli import report

    begin_work()
    report.print_findings(ravine.at(ravine.open(study), **read_pairs(at)), most=None)
