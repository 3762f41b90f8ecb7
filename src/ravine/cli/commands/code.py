"""`ravine code`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ravine
from ravine.cli.command import begin_work, check_free
from ravine.cli.options import Force, read_pairs


def code(
    study: Annotated[Path, typer.Argument(help="A study that ravine descend or ravine sweep wrote.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="NAME=VALUE", help="Select one run, as in criterion=MSELoss (may be repeated)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The script to write.", show_default="print it")
    ] = None,
    force: Force = False,
) -> None:
    """Write the script behind a run: plain torch that makes it again, bit for bit, without ravine."""
    if out is not None:
        check_free([out], force)
    from ravine._system import write_text

    begin_work()
    script = ravine.code(ravine.at(ravine.open(study), **read_pairs(at)))
    if out is None:
        typer.echo(script.rstrip())
        return
    write_text(script, out)
    typer.echo(f"{out}  the script; python {out} runs it")
