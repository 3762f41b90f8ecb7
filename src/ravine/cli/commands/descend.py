"""`ravine descend`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

import ravine
from ravine.cli.command import begin_work, output_paths
from ravine.cli.options import (
    CLIP_NORM,
    LR,
    NOISE,
    BatchSize,
    Criterion,
    Dampening,
    Decimal,
    DropMissing,
    Encoding,
    Force,
    FormatOption,
    Maximize,
    Momentum,
    Nesterov,
    OptimizerName,
    OutStudy,
    Scheduler,
    Source,
    Standardize,
    Start,
    Steps,
    Style,
    WeightDecay,
    X,
    Y,
    columns_of,
    number_option,
    read_pairs,
    stem_of,
)


def descend(
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
    lr: Annotated[float | None, number_option(LR, "by a CSV file's curvature, else 0.001")] = None,
    momentum: Momentum = None,
    dampening: Dampening = None,
    weight_decay: WeightDecay = None,
    nesterov: Nesterov = None,
    maximize: Maximize = None,
    foreach: Annotated[
        bool | None, typer.Option("--foreach/--no-foreach", help="torch's step over all parameters at once.")
    ] = None,
    differentiable: Annotated[
        bool | None,
        typer.Option("--differentiable", help="torch's step that gradients can go through."),
    ] = None,
    fused: Annotated[bool | None, typer.Option("--fused/--no-fused", help="torch's step in one kernel.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help='A setting of another optimizer, as in "betas=(0.8, 0.99)" (may be repeated).',
        ),
    ] = None,
    scheduler: Scheduler = None,
    clip_norm: Annotated[float | None, number_option(CLIP_NORM, "none")] = None,
    noise: Annotated[float | None, number_option(NOISE, "0")] = None,
    batch_size: BatchSize = None,
    seed: Annotated[int, typer.Option(help="Of the mini-batches' order, and of the noise.")] = 0,
    out: OutStudy = None,
    style: Style = "ravine",
    format: FormatOption = "png",
    force: Force = False,
) -> None:
    """Run a torch optimizer, print the result, and write the study and its picture."""
    study_file, picture, force = output_paths(out, f"{stem_of(source)}-descent", format, force)

    from ravine._study.optimizer import SGD, path_of
    from ravine.cli import report, sources

    begin_work()
    problem = sources.load_problem(
        source, x=columns_of(x), y=y, criteria=criterion, standardize=standardize, start=read_pairs(start),
        encoding=encoding, drop_missing=drop_missing, decimal=decimal,
    )  # fmt: skip
    chosen = {
        "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
        "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        "clip_norm": clip_norm, "noise": noise,
    }  # fmt: skip
    settings: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    settings |= read_pairs(setting)
    why = ""
    rule = sources.find_optimizer(optimizer)
    if "lr" not in settings and path_of(rule) == SGD and sources.is_file(source):
        from ravine.cli.defaults import choose_lr

        found = choose_lr(problem, settings, steps)
        if found is not None:
            settings["lr"], why = found
    runs = ravine.descend(
        problem,
        rule,
        steps,
        scheduler=scheduler,
        batch_size=batch_size,
        seed=seed,
        also=_choose_records(problem, settings, own=path_of(rule) == SGD),
        **settings,
    )
    study, figure = report.draw_run(problem, runs, style)
    ravine.save(study, study_file, force=force)
    report.save_figure(figure, picture)
    if why:
        typer.echo(f"{why}\n")
    report.print_result(runs)
    typer.echo("")
    report.print_findings(runs, most=3)
    typer.echo(f"\n{picture}  the picture\n{study_file}  every number, for ravine.open and ravine plot")


def _choose_records(problem: Any, settings: Mapping[str, Any], *, own: bool) -> tuple[str, ...]:
    """Return what `ravine plot … anatomy` needs where it can draw: with two parameters it is as small as the path."""
    one = next(iter(problem.values())) if isinstance(problem, Mapping) else problem
    if len(one.labels) != 2:
        return ()
    # the velocity of torch's own SGD is taken apart
    return ("gradient", "velocity") if own and settings.get("momentum") else ("gradient",)
