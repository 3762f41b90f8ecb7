"""Sweeps from the command line, in memory or in a store that grows, is resumed and is proved."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
import xarray as xr

import ravine
from ravine._parallel.processes import start_workers
from ravine._store.create import StorePath
from ravine._store.store import Store, is_store
from ravine._study.rule import SETTINGS
from ravine._system import bytes_free
from ravine.cli.options import read_pairs, read_seeds, read_values, split_pairs
from ravine.cli.report import choose_picture, format_report, save_figure
from ravine.cli.sources import find_optimizer, load_problem, make_scheduler

TYPED = (
    "source", "x", "y", "criterion", "standardize", "start", "steps", "optimizer", *SETTINGS, "setting", "scheduler",
    "batch_size", "seed", "summary",
)  # fmt: skip
"""What says which sweep it is, of all that can be typed; the rest says how and where it is made."""

ROOM = 8
"""How many times a loss takes its own memory while it is summed up."""


def store_paths(out: Path | None, stem: str, format: str, force: bool) -> tuple[Path, Path] | None:
    """Name store and picture where a store is asked for; a store that is there goes on."""
    if out is None or out.suffix.lower() != ".zarr":
        return None
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
) -> None:
    """Make the sweep that was typed, print what became of it, and write study and picture."""
    where: dict[str, Any] = {}
    if study_file.suffix.lower() == ".zarr":
        where["store"] = StorePath(str(study_file), dict(typed), fresh=force)
    problem = load_problem(
        typed["source"],
        x=typed["x"][0] if typed["x"] and len(typed["x"]) == 1 else typed["x"],
        y=typed["y"],
        criteria=typed["criterion"],
        standardize=typed["standardize"],
        start=read_pairs(typed["start"]),
    )
    settings, optimizer, seed = _read_settings(typed), find_optimizer(typed["optimizer"]), read_seeds(typed["seed"])
    scheduler = make_scheduler(typed["scheduler"]) if typed["scheduler"] else None
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
    _print_outcome(runs, study_file, picture, style, force=force)
    if "steps_taken" in runs:
        raise typer.Exit(130)  # interrupted: what was done is written


def resume_sweep(path: Path, style: str, format: str, *, workers: int | None, cluster: str | None) -> None:
    """Make what a store lacks, from what was typed to begin it."""
    store = Store(path)
    typed = store.manifest["typed"]
    if typed is None:
        raise ValueError(f"{path} was begun from Python, not by ravine sweep: {store.remedy}")
    here, folder = path.absolute(), store.manifest["folder"]
    with contextlib.chdir(folder if Path(folder).is_dir() else "."):  # files are named as they were then
        run_sweep(typed, here, here.with_suffix(f".{format}"), style, workers=workers, cluster=cluster, force=False)


def print_faults(path: Path, *, forget: bool) -> bool:
    """Print what is wrong with a store, or that nothing is."""
    faults = ravine.verify(path, forget=forget)
    for fault in faults:
        typer.echo(fault)
    store = Store(path)
    runs, size = store.tiling.size - sum(map(store.tiling.runs_in, store.missing())), store.tiling.size
    there = f"{runs:,} of {size:,} runs are there" if runs < size else f"all {size:,} runs are there"
    if not faults:
        typer.echo(f"{path}: {there}, every bit as it was written{f'; {store.remedy}' if runs < size else ''}")
    elif forget:
        typer.echo(f"{path}: {there} and not forgotten{f'; {store.remedy}' if runs < size else ''}")
    else:
        typer.echo(f"ravine verify {path} --forget forgets damaged blocks; then {store.remedy}, and makes them again")
    return not faults


def _read_settings(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Read the optimizer's settings, each from its own option or from --set."""
    named = {name: typed[name] for name in SETTINGS}
    for name, text in split_pairs(typed["setting"]):
        if named.get(name) is not None:
            raise ValueError(f"{name} is given twice: {named[name]} and {text}")
        named[name] = text
    return {name: read_values(name, text) for name, text in named.items() if text is not None}


def _print_outcome(runs: xr.Dataset, study_file: Path, picture: Path, style: str, *, force: bool) -> None:
    """Print what became of the runs, and draw them, where that fits into memory."""
    loss, free = runs.get("loss"), bytes_free()
    if loss is not None and free is not None and ROOM * loss.nbytes > free:
        typer.echo(
            "more than fits into memory: ravine.open reads any part of it; --summary keeps a few numbers of each run"
        )
        typer.echo(f"{study_file}  every number, for ravine.open")
        return
    for line in format_report(runs):
        typer.echo(line)
    view = choose_picture(runs)
    if view is not None and (force or not picture.exists()):
        save_figure(view(style), picture)
        typer.echo(f"\n{picture}  the picture")
    typer.echo(f"{study_file}  every number, for ravine.open and ravine plot")
