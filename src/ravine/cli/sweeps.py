"""Sweeps from the command line, in memory or in a store that grows, is resumed and is proved."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
import xarray as xr

import ravine
from ravine._format import listed
from ravine._parallel.processes import start_workers
from ravine._problems import is_in_gallery
from ravine._store.create import StorePath
from ravine._store.plan import is_store
from ravine._store.remote import local_path
from ravine._store.store import Store, count_runs
from ravine._store.trust import is_in_store, is_signed
from ravine._study.rule import LOOP_SETTINGS, SETTINGS
from ravine._system import bytes_free
from ravine._words.words import make_scheduler
from ravine.cli.options import columns_of, read_pairs, read_seeds, read_values, split_pairs
from ravine.cli.report import choose_picture, format_report, save_figure
from ravine.cli.sources import find_optimizer, load_problem

TYPED = (
    "source", "x", "y", "criterion", "standardize", "start", "steps", "optimizer", *SETTINGS, "setting", "scheduler",
    "batch_size", "seed", "summary", "encoding", "drop_missing", "decimal", *LOOP_SETTINGS,
)  # fmt: skip
"""What says which sweep it is, of all that can be typed; the rest says how and where it is made."""

LATER: Mapping[str, Any] = {"encoding": None, "drop_missing": False, "decimal": None, **dict.fromkeys(LOOP_SETTINGS)}
"""What could not be typed from the first: plans that were written before do not say it."""

ROOM = 8
"""How many times a loss takes its own memory while it is summed up."""


def store_paths(out: Path | None, stem: str, format: str, force: bool) -> tuple[Path, Path] | None:
    """Name store and picture where a store is asked for; a store that is there goes on."""
    if out is None or out.suffix.lower() != ".zarr":
        return None
    out = local_path(out)
    picture = out.with_suffix(f".{format}")
    if picture.exists() and not force and not is_store(out):
        raise FileExistsError(f"{picture} exists already: choose another --out, or --force to overwrite")
    return out, picture


def run_sweep(
    typed: Mapping[str, Any],
    study_file: Path,
    picture: Path,
    style: str,
    *,
    workers: int | None,
    cluster: str | None,
    force: bool,
    verbose: bool = False,
) -> None:
    """Make the sweep that was typed, print what became of it, and write study and picture."""
    if (workers is not None or cluster is not None) and is_in_store(Path.cwd()):
        raise ValueError(f"{Path.cwd()} lies in a store, and workers would import from there: go to another folder")
    where: dict[str, Any] = {}
    if study_file.suffix.lower() == ".zarr":
        if typed["source"] == "-":
            raise ValueError("a store can be gone on with only from a file: write standard input into one first")
        where["store"] = StorePath(str(study_file), dict(typed), fresh=force)
    problem = load_problem(
        typed["source"],
        x=columns_of(typed["x"]),
        y=typed["y"],
        criteria=typed["criterion"],
        standardize=typed["standardize"],
        start=read_pairs(typed["start"]),
        encoding=typed["encoding"],
        drop_missing=typed["drop_missing"],
        decimal=typed["decimal"],
    )
    settings, optimizer, seed = _read_settings(typed), find_optimizer(typed["optimizer"]), read_seeds(typed["seed"])
    scheduler = make_scheduler(typed["scheduler"], typed["steps"]) if typed["scheduler"] else None
    with start_workers(workers, cluster) as executor:
        runs = ravine.sweep(
            problem,
            optimizer,
            typed["steps"],
            scheduler=scheduler,
            batch_size=typed["batch_size"],
            seed=seed,
            keep="summary" if typed["summary"] else "path",
            executor=executor,
            **where,
            **settings,
        )
    if not where:
        ravine.save(runs, study_file, force=force)
    if where and "steps_taken" in runs:
        raise typer.Exit(130)  # interrupted: the warning has said how to go on
    _print_outcome(runs, study_file, picture, style, force=force, verbose=verbose)
    if "steps_taken" in runs:
        raise typer.Exit(130)  # interrupted: what was done is written


def resume_sweep(
    path: Path, style: str, format: str, *, workers: int | None, cluster: str | None, trust: bool, verbose: bool = False
) -> None:
    """Make what a store lacks, from what was typed to begin it.

    A plan may name modules to be imported, and a store may come from anybody: they are imported where this user made
    the plan, or says so.
    """
    store = Store(path)
    typed = store.manifest["typed"]
    if typed is None:
        held = "holds a surface and was begun from Python" if store.unit == "points" else "was begun from Python"
        raise ValueError(f"{path} {held}, not by ravine sweep: {store.remedy}")
    typed = {**LATER, **typed}
    check_typed(store, typed)
    here, folder = store.path.absolute(), Path(store.manifest["folder"])
    folder = folder if folder.is_dir() else Path.cwd()
    where: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if modules := find_modules(typed, folder):
        if not (trust or is_signed(store.hidden, store.manifest)):
            ask_for_trust(store, modules, folder)
        where = contextlib.chdir(folder)  # modules are found where they were then
    elif not is_in_gallery(typed["source"]):
        typed = {**typed, "source": str(folder / typed["source"])}
    with where:
        picture = here.with_suffix(f".{format}")
        run_sweep(typed, here, picture, style, workers=workers, cluster=cluster, force=False, verbose=verbose)


def check_typed(store: Store, typed: Mapping[str, Any]) -> None:
    """Complain of a plan that says something was typed which cannot be.

    Raises
    ------
    ValueError
        With what it is.
    """
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys(TYPED, (str, type(None)))
    kinds |= dict.fromkeys(("x", "criterion", "start", "setting"), (list, type(None)))
    kinds |= dict.fromkeys(("standardize", "summary", "drop_missing"), (bool,))
    kinds |= {"steps": (int,), "batch_size": (int, type(None))}
    kinds |= dict.fromkeys(("source", "optimizer", "seed"), (str,))
    for name, kind in kinds.items():
        value = typed.get(name)
        sound = name in typed and isinstance(value, kind)
        if not sound or (isinstance(value, list) and not all(isinstance(each, str) for each in value)):
            raise ValueError(
                f"the plan of {store.path} says that {name} was typed as {value!r}, which ravine sweep does not take"
            )


def find_modules(typed: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what would be imported, and run, to make a sweep: ``module:name`` each."""
    source, found = typed["source"], list[str]()
    if ":" in source and not is_in_gallery(source) and not (folder / source).exists():
        found.append(source)
    if ":" in typed["optimizer"]:
        found.append(typed["optimizer"])
    return found


def ask_for_trust(store: Store, modules: Sequence[str], folder: Path) -> None:
    """Ask at the terminal whether modules that a plan names may be imported.

    Raises
    ------
    ValueError
        If there is no terminal, or the answer is no.
    """
    names = listed([repr(each) for each in modules])  # as Python writes them: a plan's words may hold anything
    told = f"to go on with {store.path}, {names} would be imported from {str(folder)!r} and run, and this plan was not "
    told += "made here by you"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError(f"{told}: look at what that is, then ravine resume --trust {store.path}")
    if not typer.confirm(f"{told}. Go on?", err=True):
        raise ValueError("nothing was imported")


def print_faults(path: Path, *, forget: bool) -> bool:
    """Print what is wrong with a store, or that nothing is."""
    faults = ravine.verify(path, forget=forget)
    for fault in faults:
        typer.echo(fault)
    store = Store(path)
    runs = count_runs(store, set(range(store.tiling.count)) - set(store.find_missing()))
    size = store.tiling.size
    there = f"{runs:,} of {size:,} {store.unit} are there" if runs < size else f"all {size:,} {store.unit} are there"
    if not faults:
        typer.echo(f"{path}: {there}, every bit as it was written{f'; {store.remedy}' if runs < size else ''}")
    elif forget:
        typer.echo(f"{path}: {there} and not forgotten{f'; {store.remedy}' if runs < size else ''}")
    else:
        typer.echo(f"ravine verify {path} --forget forgets damaged blocks; then {store.remedy}, and makes them again")
    return not faults


def _read_settings(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Read the optimizer's settings, each from its own option or from --set."""
    named = {name: typed[name] for name in (*SETTINGS, *LOOP_SETTINGS)}
    for name, text in split_pairs(typed["setting"]):
        if named.get(name) is not None:
            raise ValueError(f"{name} is given twice: {named[name]} and {text}")
        named[name] = text
    return {name: read_values(name, text) for name, text in named.items() if text is not None}


def _print_outcome(
    runs: xr.Dataset, study_file: Path, picture: Path, style: str, *, force: bool, verbose: bool
) -> None:
    """Print what became of the runs, and draw them, where that fits into memory."""
    loss, free = runs.get("loss"), bytes_free()
    if loss is not None and free is not None and ROOM * loss.nbytes > free:
        typer.echo(
            "more than fits into memory: ravine.open reads any part of it; --summary keeps a few numbers of each run"
        )
        typer.echo(f"{study_file}  every number, for ravine.open")
        return
    for line in format_report(runs, verbose=verbose):
        typer.echo(line)
    view = choose_picture(runs)
    if view is not None and (force or not picture.exists()):
        save_figure(view(style), picture)
        typer.echo(f"\n{picture}  the picture")
    typer.echo(f"{study_file}  every number, for ravine.open and ravine plot")
