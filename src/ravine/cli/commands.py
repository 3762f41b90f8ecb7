"""The command line: words for what the package does. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

import ravine
from ravine.cli import leave
from ravine.cli.options import (
    CLIP_NORM,
    DAMPENING,
    LR,
    MAXIMIZE,
    MOMENTUM,
    NESTEROV,
    NOISE,
    PROBLEM,
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
    OutStudy,
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
    complete_problem,
    number_option,
    read_pairs,
)

app = typer.Typer(
    name="ravine",
    help="See what every knob of a gradient-descent optimizer does.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Given = ParamSpec("Given")


@dataclass(frozen=True)
class _Command:
    """A command as it was typed."""

    name: str
    typed: Mapping[str, Any]

    def owns(self, paths: list[Path]) -> bool:
        """Tell whether this very command wrote files, from the same input, and nobody changed them since."""
        from ravine.cli import outputs

        return outputs.are_ours(paths, outputs.key_of(self.name, self.typed))

    def note_written(self, before: Mapping[Path, Any]) -> None:
        """Note which of the files that it said it would write are new."""
        if not before:
            return
        from ravine.cli import outputs

        written = [path for path, held in before.items() if outputs.state_of(path) not in (None, held)]
        if written:
            outputs.note(written, outputs.key_of(self.name, self.typed))


_command: ContextVar[_Command | None] = ContextVar("command", default=None)
_before: ContextVar[dict[Path, Any]] = ContextVar("before")
"""The command that runs, and the files that it is about to write as they were before."""

_debug = ContextVar("debug", default=False)
"""Whether errors show where they come from."""


def _report_errors(command: Callable[Given, None]) -> Callable[Given, None]:
    """Answer bad input with one line and exit code 2, an interrupt with 130; with a traceback under --debug alone."""

    @functools.wraps(command)
    def inner(*args: Given.args, **kwargs: Given.kwargs) -> None:
        key, before = _Command(command.__name__, kwargs), dict[Path, Any]()
        tokens = _command.set(key), _before.set(before)
        try:
            command(*args, **kwargs)
            key.note_written(before)
        except typer.Exit:  # a RuntimeError, and no failure
            raise
        except Exception as reason:  # a module or a study of the user's may raise any
            text: object = reason.args[0] if isinstance(reason, KeyError) and reason.args else reason
            if not isinstance(reason, (ValueError, TypeError, KeyError, RuntimeError, OSError, MemoryError)):
                text = f"{type(reason).__name__}: {reason}"
            _explain_exit(str(text))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            _explain_exit("interrupted")
            raise typer.Exit(130) from None
        finally:
            _command.reset(tokens[0])
            _before.reset(tokens[1])

    return inner


def _begin_work() -> None:
    """Let an interrupt from here on be an exception, so that what is done is put away: all imports are through.

    What they made stays; the collector, which is off until here, need not look at it again.
    """
    gc.freeze()
    gc.enable()
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _explain_exit(text: str) -> None:
    if _debug.get():
        traceback.print_exc()
    else:
        typer.echo(f"ravine: {' '.join(text.split())}", err=True)


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
    _debug.set(debug)


@app.command()
@_report_errors
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
    _check_free([page_file, *paths.values(), log_file, study_file], force)

    from ravine._html.page import make_html, print_figure
    from ravine._progress import share, tracked, work
    from ravine._system import write_text, write_whole
    from ravine.article import caption, check, draw_figures, log
    from ravine.article import study as make_study
    from ravine.article.page import make_page
    from ravine.cli.report import save_figure
    from ravine.plot._canvas.style import DARK, RAVINE, style_of

    _begin_work()
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
    with work(100, "parts") as advance:
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
            page = make_page(study, prints, style, **turned)
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


@app.command()
@_report_errors
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
    momentum: Annotated[float | None, number_option(MOMENTUM, "0")] = None,
    dampening: Annotated[float | None, number_option(DAMPENING, "0")] = None,
    weight_decay: Annotated[float | None, number_option(WEIGHT_DECAY, "0")] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov/--no-nesterov", help=NESTEROV)] = None,
    maximize: Annotated[bool | None, typer.Option("--maximize/--no-maximize", help=MAXIMIZE)] = None,
    foreach: Annotated[
        bool | None, typer.Option("--foreach/--no-foreach", help="torch's step over all parameters at once.")
    ] = None,
    differentiable: Annotated[
        bool | None,
        typer.Option("--differentiable/--no-differentiable", help="torch's step that gradients can go through."),
    ] = None,
    fused: Annotated[bool | None, typer.Option("--fused/--no-fused", help="torch's step in one kernel.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help='name=value of a setting of another optimizer, as in "betas=(0.8, 0.99)" (may be repeated).'
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
    study_file, picture, force = _output_paths(out, f"{_stem_of(source)}-descent", format, force)

    from ravine._study.rule import SGD, path_of
    from ravine.cli import report, sources

    _begin_work()
    problem = sources.load_problem(
        source, x=_columns_of(x), y=y, criteria=criterion, standardize=standardize, start=read_pairs(start),
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


@app.command()
@_report_errors
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
    lr: Annotated[float | None, number_option(f"{LR} Here: where the page begins.", "0.1")] = None,
    momentum: Annotated[float | None, number_option(MOMENTUM, "0")] = None,
    dampening: Annotated[float | None, number_option(DAMPENING, "0")] = None,
    weight_decay: Annotated[float | None, number_option(WEIGHT_DECAY, "0")] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov/--no-nesterov", help=NESTEROV)] = None,
    maximize: Annotated[bool | None, typer.Option("--maximize/--no-maximize", help=MAXIMIZE)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the page as one HTML file, and open nothing.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    force: Force = False,
) -> None:
    """Open the live page: turn a knob, and everything follows. A CSV file is shown under four criteria."""
    if out is not None:
        force = _check_free([out], force)

    from ravine._explore import explore as pages
    from ravine.cli import sources

    _begin_work()
    given = {
        "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
        "maximize": maximize,
    }  # fmt: skip
    begun = pages.check_settings(steps, {name: value for name, value in given.items() if value is not None})
    in_file = source == "-" or source.lower().endswith(".csv") or Path(source).is_file()
    criteria = criterion or (["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"] if in_file else None)
    problem = sources.load_problem(
        source, x=_columns_of(x), y=y, criteria=criteria, standardize=standardize, start=read_pairs(start),
        encoding=encoding, drop_missing=drop_missing, decimal=decimal,
    )  # fmt: skip
    name = source if source == "article" and not criterion else Path(source).name if in_file else ""
    if out is not None:
        typer.echo(f"{pages.write_page(problem, out, begun, name, force=force)}  the page, for any browser")
        return
    from ravine._explore.server import serve

    serve(*pages.prepare(problem, begun, name), browser=browser)


@app.command()
@_report_errors
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
        typer.Option("--set", help='name=values of another setting, as in "delta=0.1:2:20" (may be repeated).'),
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

    _begin_work()
    given = locals()
    typed = {name: given[name] for name in sweeps.TYPED}
    stem = f"{_stem_of(source)}-sweep"
    if stored := sweeps.store_paths(out, stem, format, force):
        study_file, picture = stored
    else:
        study_file, picture, force = _output_paths(out, stem, format, force)
    sweeps.run_sweep(typed, study_file, picture, style, workers=workers, cluster=cluster, force=force, verbose=verbose)


@app.command()
@_report_errors
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

    _begin_work()
    sweeps.resume_sweep(store, style, format, workers=workers, cluster=cluster, trust=trust, verbose=verbose)


@app.command()
@_report_errors
def verify(
    store: Annotated[Path, typer.Argument(help="A folder that ravine sweep -o wrote.")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget damaged blocks, so that ravine resume makes them again.")
    ] = False,
) -> None:
    """Read a store whole, and say whether every bit is as it was written."""
    from ravine.cli import sweeps

    _begin_work()
    if not sweeps.print_faults(store, forget=forget):
        raise typer.Exit(1)


VIEWS = ("descent", "anatomy", "panel", "losses", "fit", "scatter", "surface", "phase", "stability")


@app.command()
@_report_errors
def plot(
    study: Annotated[Path, typer.Argument(help="A study that ravine wrote.")],
    view: Annotated[
        str | None, typer.Argument(help=f"What to draw: {', '.join(VIEWS)}.", show_default="what the study holds")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="name=value that selects from the study, as in run=momentum (may be repeated)."),
    ] = None,
    x: Annotated[str, typer.Option("--x", help="For phase: the horizontal setting.")] = "lr",
    y: Annotated[str, typer.Option("--y", help="For phase: the vertical setting.")] = "momentum",
    hue: Annotated[
        str | None, typer.Option(help="For descent, losses and fit: the setting that gives runs their colours.")
    ] = None,
    band: Annotated[
        bool, typer.Option("--band", help="For losses: draw what many runs have in common, instead of each.")
    ] = False,
    step: Annotated[
        int | None,
        typer.Option(help="For anatomy: opens the update from this step to the next.", show_default="must be given"),
    ] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(help='For phase: a setting to ring, as in "mine: lr=0.1 momentum=0.9" (may be repeated).'),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The picture to write: .png, .svg or .pdf.", show_default="beside the study"),
    ] = None,
    style: Style = "ravine",
    force: Force = False,
) -> None:
    """Draw a picture of a study."""
    from ravine._format import hint, listed
    from ravine.cli import report

    _begin_work()
    if view is not None and view not in VIEWS:
        raise ValueError(f"no view {view!r}{hint(view, VIEWS)}; there are {listed(VIEWS)}")
    if view == "anatomy" and step is None:
        raise ValueError("anatomy opens one update: say which, as in --step 6")
    chosen = ravine.at(ravine.open(study), **read_pairs(at))
    asked, view = view, view or report.choose_view(chosen)
    band = band or (asked is None and view == "losses" and report.are_many(chosen))
    picture = out or study.with_name(f"{study.stem}-{view}.png")
    if picture.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"a picture ends in .png, .svg or .pdf, got {picture}")
    _check_free([picture], force)
    draw: dict[str, Callable[[], Any]] = {
        "descent": lambda: ravine.plot.descent(chosen, chosen, hue=hue, style=style),
        "anatomy": lambda: ravine.plot.anatomy(chosen, chosen, step or 0, style=style),
        "panel": lambda: ravine.plot.panel(chosen, chosen, style=style),
        "losses": lambda: ravine.plot.losses(chosen, hue=hue, band=band, style=style),
        "fit": lambda: ravine.plot.fit(chosen, hue=hue, style=style),
        "scatter": lambda: ravine.plot.scatter(chosen, style=style),
        "surface": lambda: ravine.plot.surface(chosen, style=style).figure,
        "stability": lambda: ravine.plot.stability(chosen, style=style),
        "phase": lambda: ravine.plot.phase(report.numbers_of(chosen), x, y, marks=_read_marks(mark), style=style),
    }
    report.save_figure(draw[view](), picture)
    typer.echo(f"{picture}")


FILMS = (".gif", ".mp4", ".html")


@app.command()
@_report_errors
def animate(
    study: Annotated[Path, typer.Argument(help="A study that ravine descend wrote, of two parameters.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="name=value that selects from the study, as in criterion=MSELoss (may be repeated)."),
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
    force = _check_free([film], force)

    from ravine.plot import animate as make_film

    _begin_work()
    chosen = ravine.at(ravine.open(study), **read_pairs(at))
    if "surface" not in chosen:
        raise ValueError(
            f"{study} holds no surface to move over: ravine descend of a problem with two parameters writes one; "
            f"ravine plot {study} losses draws the losses of any"
        )
    typer.echo(f"{make_film(chosen, chosen, hue=hue, style=style).save(film, force=force)}")


@app.command()
@_report_errors
def explain(
    study: Annotated[Path, typer.Argument(help="A study that ravine wrote.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="name=value that selects from the study, as in run=momentum (may be repeated)."),
    ] = None,
) -> None:
    """Say what happened in a run, and why, in true sentences."""
    from ravine.cli import report

    _begin_work()
    report.print_findings(ravine.at(ravine.open(study), **read_pairs(at)), most=None)


@app.command()
@_report_errors
def code(
    study: Annotated[Path, typer.Argument(help="A study that ravine descend or ravine sweep wrote.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="name=value that selects one run, as in criterion=MSELoss (may be repeated)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The script to write.", show_default="print it")
    ] = None,
    force: Force = False,
) -> None:
    """Write the script behind a run: plain torch that makes it again, bit for bit, without ravine."""
    if out is not None:
        _check_free([out], force)
    from ravine._system import write_text

    _begin_work()
    script = ravine.code(ravine.at(ravine.open(study), **read_pairs(at)))
    if out is None:
        typer.echo(script.rstrip())
        return
    write_text(script, out)
    typer.echo(f"{out}  the script; python {out} runs it")


def run() -> None:
    """Run the command line; a mistyped option is answered in one line too."""
    warnings.showwarning = lambda message, *_: typer.echo(f"ravine: {message}", err=True)
    sys.stdout = QuietPipe(sys.stdout)
    try:
        leave_whole(app(standalone_mode=False) or 0)
    except Exception as reason:
        if not hasattr(reason, "format_message"):  # what typer raises for its own part has it
            raise
        message = reason.format_message()
        if type(reason).__name__ == "NoArgsIsHelpError":
            typer.echo(message)
        else:
            typer.echo(f"ravine: {' '.join(message.split()).rstrip('.')}; see ravine --help", err=True)
        sys.exit(2)


def leave_whole(code: int) -> None:
    """Leave with everything written, but without taking torch apart, which takes as long as a small command's work."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class QuietPipe(io.TextIOBase):
    """Standard output whose reader may leave, as head does: work goes on, and what is still written is dropped."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return what the stream itself has."""
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own: rich asks which letters it may use."""
        return str(self.stream.encoding)

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        """Return the stream's own descriptor."""
        return int(self.stream.fileno())

    def write(self, text: str) -> int:
        """Write, or drop what nobody reads."""
        try:
            return int(self.stream.write(text))
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what nobody reads."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


# -- helps -------------------------------------------------------------------------------------------------------


def _choose_records(problem: Any, settings: Mapping[str, Any], *, own: bool) -> tuple[str, ...]:
    """Return what `ravine plot … anatomy` needs where it can draw: with two parameters it is as small as the path."""
    one = next(iter(problem.values())) if isinstance(problem, Mapping) else problem
    if len(one.labels) != 2:
        return ()
    # the velocity of torch's own SGD is taken apart
    return ("gradient", "velocity") if own and settings.get("momentum") else ("gradient",)


def _read_marks(given: list[str] | None) -> dict[str, dict[str, Any]]:
    marks = {}
    for each in given or []:
        name, colon, words = each.rpartition(":")
        if not colon:
            raise ValueError(f'expected a name and settings, as in "mine: lr=0.1 momentum=0.9", got {each!r}')
        marks[name.strip()] = read_pairs(words.split())
    return marks


def _output_paths(out: Path | None, stem: str, format: str, force: bool) -> tuple[Path, Path, bool]:
    """Name the study and its picture, and complain before any work if they cannot be written.

    Returns too whether what is there may be overwritten.
    """
    study_file = out or Path(f"{stem}.nc")
    if study_file.suffix.lower() == ".zarr":
        raise ValueError(f"--out should end in .nc, got {study_file}: only ravine sweep writes folders .zarr")
    if study_file.suffix.lower() != ".nc":  # a mistyped .zarr would be a file that cannot be resumed
        raise ValueError(
            f"--out names the study, so it should end in .nc (a sweep's also in .zarr), got {study_file}; the picture "
            "goes beside it"
        )
    picture = study_file.with_suffix(f".{format}")
    return study_file, picture, _check_free([study_file, picture], force)


def _columns_of(x: list[str] | None) -> str | list[str] | None:
    return x[0] if x and len(x) == 1 else x


def _check_free(paths: list[Path], force: bool) -> bool:
    """Complain before any work if a file would be overwritten or its folder cannot hold it.

    Returns whether what is there may be overwritten: by --force, or because this very command wrote it.
    """
    from ravine.cli import outputs

    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; --out needs the name of a file")
    there = [path for path in paths if path.exists()]
    command = _command.get()
    if there and not force and not (command is not None and command.owns(there)):
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FileExistsError(
            f"{there[0]}{more} exists already: choose another --out, or --force to overwrite what this command did "
            "not write"
        )
    for folder in {path.parent for path in paths}:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; --out needs a folder there")
    _before.get({}).update({path: outputs.state_of(path) for path in paths})
    return force or bool(there)


def _stem_of(source: str) -> str:
    if source == "-":
        return "stdin"
    return (
        Path(source).stem
        if source.lower().endswith(".csv") or Path(source).is_file()
        else source.rpartition(":")[2].partition("(")[0].replace("/", "-")
    )
