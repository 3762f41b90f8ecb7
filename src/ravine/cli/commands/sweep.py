"""`ravine sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from ravine.cli.command import begin_work, output_paths
from ravine.cli.options import (
    CLIP_NORM,
    DAMPENING,
    LR,
    MAXIMIZE,
    MOMENTUM,
    NESTEROV,
    NOISE,
    WEIGHT_DECAY,
    BatchSize,
    Cluster,
    Criterion,
    Decimal,
    DropMissing,
    Encoding,
    Force,
    FormatOption,
    OptimizerName,
    OutSweep,
    Scheduler,
    Source,
    Standardize,
    Start,
    Steps,
    Style,
    Verbose,
    Workers,
    X,
    Y,
    stem_of,
)


def sweep(
    source: Source,
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
    lr: Annotated[str | None, typer.Option(help=f"{LR} 0.001:1:100:log, or 0.1,0.3, or one number.")] = None,
    momentum: Annotated[str | None, typer.Option(help=f"{MOMENTUM} 0:0.99:100, or a list, or one number.")] = None,
    dampening: Annotated[str | None, typer.Option(help=f"{DAMPENING} Values as for --momentum.")] = None,
    weight_decay: Annotated[str | None, typer.Option(help=f"{WEIGHT_DECAY} Values as for --lr.")] = None,
    nesterov: Annotated[str | None, typer.Option(help=f"{NESTEROV} false,true, or one of them.")] = None,
    maximize: Annotated[str | None, typer.Option(help=f"{MAXIMIZE} false,true, or one of them.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUES", help='Another setting, as in "delta=0.1:2:20" (may be repeated).'),
    ] = None,
    scheduler: Scheduler = None,
    clip_norm: Annotated[str | None, typer.Option(help=f"{CLIP_NORM} Values as for --lr; inf: none.")] = None,
    noise: Annotated[str | None, typer.Option(help=f"{NOISE} Values as for --lr.")] = None,
    batch_size: BatchSize = None,
    seed: Annotated[
        str, typer.Option(help="Of the mini-batches' order and of the noise; a list gives each run just these.")
    ] = "0",
    summary: Annotated[bool, typer.Option("--summary", help="Keep a few numbers of each run, not its path.")] = False,
    workers: Workers = None,
    cluster: Cluster = None,
    out: OutSweep = None,
    style: Style = "ravine",
    format: FormatOption = "png",
    verbose: Verbose = False,
    force: Force = False,
) -> None:
    """Run every combination of settings; print what became of them, and write the study and its picture.

    Into a folder that ends in .zarr the runs are written as they are made: whatever happens, `ravine resume` goes on.
    """
    from ravine.cli import sweeps

    begin_work()
    given = locals()
    typed = {name: given[name] for name in sweeps.TYPED}
    stem = f"{stem_of(source)}-sweep"
    if stored := sweeps.store_paths(out, stem, format, force):
        study_file, picture = stored
    else:
        study_file, picture, force = output_paths(out, stem, format, force)
    sweeps.run_sweep(typed, study_file, picture, style, workers=workers, cluster=cluster, force=force, verbose=verbose)
