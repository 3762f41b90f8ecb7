"""What surrounds every command: errors in one line, an interrupt, and files that are not written over."""

from __future__ import annotations

import functools
import gc
import re
import signal
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import typer

from ravine.cli import leave

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

DEBUG = ContextVar("debug", default=False)
"""Whether errors show where they come from."""


def report_errors(command: Callable[Given, None]) -> Callable[Given, None]:
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


def begin_work() -> None:
    """Let an interrupt from here on be an exception, so that what is done is put away: all imports are through.

    What they made stays; the collector, which is off until here, need not look at it again.
    """
    gc.freeze()
    gc.enable()
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _explain_exit(text: str) -> None:
    if DEBUG.get():
        traceback.print_exc()
    else:
        words = re.sub(
            r"\.sel\((\w+)='?([^')]*)'?\)", r"--at \1=\2", text
        )  # what Python selects with, as it is typed here
        typer.echo(f"ravine: {' '.join(words.split())}", err=True)


def output_paths(out: Path | None, stem: str, format: str, force: bool) -> tuple[Path, Path, bool]:
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
    return study_file, picture, check_free([study_file, picture], force)


PICTURES = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> Path:
    """Complain of a picture whose name does not end as one."""
    if path.suffix not in PICTURES:
        raise ValueError(f"a picture ends in .png, .svg or .pdf, got {path}")
    return path


def check_free(paths: list[Path], force: bool) -> bool:
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
        which = f"{there[0]} exists" if len(there) == 1 else f"{there[0]} and {len(there) - 1} more exist"
        raise FileExistsError(
            f"{which} already: choose another --out, or --force to overwrite what this command did not write"
        )
    for folder in {path.parent for path in paths}:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; --out needs a folder there")
    _before.get({}).update({path: outputs.state_of(path) for path in paths})
    return force or bool(there)
