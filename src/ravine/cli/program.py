"""The command line: words for what the package does. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from typing import Annotated

import typer

import ravine
from ravine.cli.command import DEBUG, report_errors
from ravine.cli.commands import animate, article, code, descend, explain, explore, landscape, plot, store, sweep
from ravine.cli.lazy_imports import defer_imports
from ravine.cli.quiet_pipe import QuietPipe

app = typer.Typer(
    name="ravine",
    help="See what every knob of a gradient-descent optimizer does.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ravine {ravine.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback where otherwise one line says what is wrong.")
    ] = False,
) -> None:
    """See what every knob of a gradient-descent optimizer does."""
    DEBUG.set(debug)


for each in (
    article.article,
    descend.descend,
    explore.explore,
    sweep.sweep,
    store.resume,
    store.verify,
    landscape.landscape,
    plot.plot,
    animate.animate,
    explain.explain,
    code.code,
):
    app.command()(report_errors(each))


def run() -> None:
    """Run the command line; a mistyped option is answered in one line too."""
    warnings.showwarning = lambda message, *_: typer.echo(f"ravine: {message}", err=True)
    sys.stdout = QuietPipe(sys.stdout)
    defer_imports(sys.argv[1:])
    try:
        leave_whole(app(standalone_mode=False) or 0)
    except Exception as reason:
        if not hasattr(reason, "format_message"):  # what typer raises for its own part has it
            raise
        message = reason.format_message().replace("Value error, ", "")  # what checks types for typer adds
        if type(reason).__name__ == "NoArgsIsHelpError":
            typer.echo(message)
        else:
            typer.echo(f"ravine: {' '.join(message.split()).rstrip('.')}; see ravine --help", err=True)
        sys.exit(2)


def leave_whole(code: int) -> None:
    """Leave with everything written, but without taking torch apart, which takes as long as a small command's work."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells pools of them to end first
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
