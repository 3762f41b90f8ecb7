"""`ravine explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ravine.cli.command import begin_work, check_free
from ravine.cli.options import (
    LR,
    PROBLEM,
    Criterion,
    Dampening,
    Decimal,
    DropMissing,
    Encoding,
    Force,
    Maximize,
    Momentum,
    Nesterov,
    OptimizerName,
    Standardize,
    Start,
    Steps,
    WeightDecay,
    X,
    Y,
    columns_of,
    complete_problem,
    number_option,
    read_pairs,
)


def explore(
    source: Annotated[
        str, typer.Argument(help=f"{PROBLEM} Two parameters.", autocompletion=complete_problem)
    ] = "article",
    x: X = None,
    y: Y = None,
    criterion: Criterion = None,
    standardize: Standardize = False,
    encoding: Encoding = None,
    drop_missing: DropMissing = False,
    decimal: Decimal = None,
    start: Start = None,
    steps: Steps = 100,
    optimizer: OptimizerName = "SGD",
    lr: Annotated[float | None, number_option(f"{LR} Here: where the page begins.", "0.1")] = None,
    momentum: Momentum = None,
    dampening: Dampening = None,
    weight_decay: WeightDecay = None,
    nesterov: Nesterov = None,
    maximize: Maximize = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help='A setting of another optimizer, as in "eps=0.1" (may be repeated).'
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the page as one HTML file, and open nothing.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    force: Force = False,
) -> None:
    """Open the live page: turn a knob, and everything follows. A CSV file is shown under four criteria."""
    if out is not None:
        force = check_free([out], force)

    from ravine._explore import explore as pages
    from ravine.cli import sources

    begin_work()
    given = {
        "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
        "maximize": maximize,
    }  # fmt: skip
    settings = {name: value for name, value in given.items() if value is not None} | read_pairs(setting)
    begun = pages.check_settings(steps, settings, sources.find_optimizer(optimizer))
    in_file = source == "-" or source.lower().endswith(".csv") or Path(source).is_file()
    criteria = criterion or (["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"] if in_file else None)
    problem = sources.load_problem(
        source, x=columns_of(x), y=y, criteria=criteria, standardize=standardize, start=read_pairs(start),
        encoding=encoding, drop_missing=drop_missing, decimal=decimal,
    )  # fmt: skip
    name = source if source == "article" and not criterion else Path(source).name if in_file else ""
    if out is not None:
        typer.echo(f"{pages.write_page(problem, out, begun, name, force=force)}  the page, for any browser")
        return
    from ravine._explore.server import serve

    serve(*pages.prepare(problem, begun, name), browser=browser)
