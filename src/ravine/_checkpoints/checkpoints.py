"""checkpoints: a training that is over, read from the states that it saved."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ravine._checkpoints.names import Found, Wanted, explain_difference, find_tensors, find_wanted
from ravine._checkpoints.order import Files, find_files, find_series, is_unnumbered
from ravine._checkpoints.state import read_state
from ravine._format import listed
from ravine._problem.problem import Problem
from ravine._progress import tracked
from ravine._store.recording import About, Writer, open_recording
from ravine._store.remote import local_path
from ravine._study.labels import Shapes, size_of
from ravine._study.provenance import provenance
from ravine._system import format_bytes


def checkpoints(
    model: torch.nn.Module | Problem, files: Files, *, path: str | os.PathLike[str] | None = None
) -> xr.Dataset:
    """Read the checkpoints of a training as a recording of it.

    One state is held at a time, and of that what is not asked for stays on disk. Nothing in a file is executed.

    Parameters
    ----------
    model
        The module whose states were saved, with any weights; or a problem that was made of it.
    files
        A pattern, as in ``"out/checkpoint-*"``, a list of files, or step to file. A checkpoint is a file that
        ``torch.save`` wrote (``.pt``, ``.pth``, ``.bin``, ``.ckpt``; the state itself, or a mapping that holds it, as
        Lightning's does), a file ``.safetensors``, or a Hugging Face folder, sharded or not.
    path
        A new folder for the recording, which `ravine.open` reads again. Left out, it has none, and its disk space is
        free again when the dataset is gone.

    Returns
    -------
    xarray.Dataset
        ``position`` (step, parameter), mapped into memory, in the dtype of the files (bfloat16 as float32); where the
        model has any ``buffers`` (step, buffer). The steps are those that the files state, or their names; of files
        that only know their epoch they are epochs, and of those that only have a number in their name that number:
        both are called so wherever the study is used. No losses: ``plane.project`` evaluates them.

    Raises
    ------
    FileNotFoundError
        If no file matches.
    ValueError
        If a file is of another model, corrupt, or of no known step, or ``weights_only=True`` refuses it.
    FileExistsError
        If there is something at `path`.

    Warns
    -----
    UserWarning
        Of parameters that no file holds, of tensors that the model has not, where epochs stand for steps, and of a file
        without a number in its name that lies beside a series and is left out.

    Examples
    --------
    >>> import ravine, tempfile, torch
    >>> model = torch.nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (0, 10, 100):
    ...         torch.save(model.state_dict(), f"{folder}/model-{step}.pt")
    ...     run = ravine.checkpoints(model, f"{folder}/model-*.pt")
    >>> run.step.values.tolist(), run.position.shape
    ([0, 10, 100], (3, 3))
    """
    wanted = find_wanted(model)
    paths, given = find_files(files)
    target = None if path is None else local_path(path)
    if target is not None and target.exists():
        raise FileExistsError(f"{target} exists already: choose another name, or open it with ravine.open")
    looked_at = [_look_at(wanted, each) for each in tracked(paths, "checkpoints looked at")]
    steps, beside = (given, ()) if given else find_series(files, paths, [each.counted for each in looked_at])
    if beside:
        apart = listed([each.name for each in beside], 4)
        warnings.warn(f"left out, for want of a step to order by: {apart}; {{step: file}} says it", stacklevel=2)
        looked_at = [each for each in looked_at if each.path not in beside]
        paths = [each.path for each in looked_at]
    # of two files of one step the one with a number in its name is of the series, and comes first
    order = sorted(range(len(paths)), key=lambda k: (steps.values[k], is_unnumbered(paths[k])))
    seen = [looked_at[k] for k in order]
    held = _held_by_all(wanted, seen)
    extra = dict.fromkeys(name for each in seen for name in each.extra)
    missing = [name for name in (*wanted.parameters, *wanted.buffers) if name not in held]
    remarks = explain_difference(wanted, missing, extra)
    if steps.counted == "epochs":
        remarks.append("the checkpoints do not say their steps: their epochs stand for steps")
    for said in remarks:
        warnings.warn(said, stacklevel=2)
    about = _about(wanted, held, seen, {"counted": steps.counted, "not recorded": missing})
    with _folder(target, about.width * len(seen)) as folder:
        _write(folder, about, wanted, seen, [steps.values[k] for k in order], given=given is not None)
        return open_recording(folder)


@dataclass(frozen=True)
class _Seen:
    """What is known of a checkpoint when it was looked at: no tensor of it is held."""

    path: Path
    counted: Mapping[str, int]
    dtypes: Mapping[str, torch.dtype]
    extra: tuple[str, ...]
    under: str


def _look_at(wanted: Wanted, path: Path) -> _Seen:
    state = read_state(path)
    found = find_tensors(wanted, state, path)
    dtypes = {name: each.dtype for name, each in found.tensors.items()}
    return _Seen(path, state.counted, dtypes, found.extra, found.under)


def _held_by_all(wanted: Wanted, seen: Sequence[_Seen]) -> set[str]:
    """Return the tensors that each checkpoint holds; refuse parameters that only some of them do."""
    for name in wanted.parameters:
        without = [each for each in seen if name not in each.dtypes]
        if without and len(without) < len(seen):
            other = next(each for each in seen if name in each.dtypes)
            raise ValueError(
                f"{without[0].path} is of another model than {other.path.name}: it lacks {name!r}, which is there"
            )
    return set.intersection(*(set(each.dtypes) for each in seen))


def _about(wanted: Wanted, held: set[str], seen: Sequence[_Seen], facts: Mapping[str, Any]) -> About:
    parameters = {name: list(shape) for name, shape in wanted.parameters.items() if name in held}
    buffers = {name: list(shape) for name, shape in wanted.buffers.items() if name in held}
    dtypes = {each.dtypes[name] for each in seen for name in parameters}
    wide = torch.float16
    for dtype in dtypes:
        own = dtype in (torch.float16, torch.float32, torch.float64)  # those that numpy has
        wide = torch.promote_types(wide, dtype if own else torch.float32)
    told = provenance(
        f"{len(seen)} checkpoints of {wanted.model}",
        equals_torch="is torch",
        dtype=" and ".join(sorted(str(each).removeprefix("torch.") for each in dtypes)),
        model=wanted.model,
        files=[each.path.name for each in seen],
        under=seen[0].under,
        **{name: fact for name, fact in facts.items() if fact},
    )
    return About(parameters, torch.empty(0, dtype=wide).numpy().dtype.str, buffers, facts=json.loads(told))


@contextmanager
def _folder(target: Path | None, needed: int) -> Iterator[Path]:
    """Give a folder to write to: that of the user, whole or not at all, or one that has no name afterwards.

    What is mapped into memory stays there when its file's name is gone, and its disk space until nobody maps it.
    """
    place = Path(tempfile.gettempdir()) if target is None else target.parent
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OSError(
            f"the recording takes {format_bytes(needed)}, and {format_bytes(free)} are free in {place}: give path=, a "
            "folder on a larger disk, or fewer files"
        )
    folder = Path(tempfile.mkdtemp(prefix="ravine-", suffix=".recording")) if target is None else target
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if target is None:
        shutil.rmtree(folder, ignore_errors=True)  # where a mapped file cannot go, the system's cleaning takes it


def _write(
    folder: Path, about: About, wanted: Wanted, seen: Sequence[_Seen], steps: Sequence[int], *, given: bool
) -> None:
    """Write one snapshot for each checkpoint, holding one at a time."""
    position, buffers = _Row(about.shapes, about.dtype), _Row(about.buffers, "<f8")
    kept = 0
    with closing(Writer(folder, about)) as writer:
        for k in tracked(range(len(seen)), "checkpoints"):
            found = find_tensors(wanted, read_state(seen[k].path), seen[k].path)
            if k and steps[k] == steps[k - 1]:  # the last one is often saved twice
                if position.holds(found) and buffers.holds(found):
                    continue
                if is_unnumbered(seen[k].path) and not is_unnumbered(seen[kept].path) and not given:
                    warnings.warn(
                        f"{seen[k].path} is of step {steps[k]} as {seen[kept].path} is, and differs: left out, for "
                        "its name has no number; {step: file} says it",
                        stacklevel=4,
                    )
                    continue
                raise ValueError(
                    f"{seen[kept].path} and {seen[k].path} are both of step {steps[k]}, and differ: give one of them, "
                    "by a pattern that leaves the other out, or {step: file}"
                )
            kept = k
            position.fill(found)
            buffers.fill(found)
            writer.add(steps[k], position.values, buffers.values if about.buffers else None, ())
        writer.end({"steps": steps[-1]})


class _Row:
    """The numbers of some tensors in a row, of one checkpoint after another."""

    def __init__(self, shapes: Shapes, dtype: str) -> None:
        self.names = list(shapes)
        self.values: NDArray[Any] = np.zeros(size_of(shapes), dtype)

    def fill(self, found: Found) -> None:
        """Take the numbers of a checkpoint."""
        for part, tensor in self._beside(found):
            part.copy_(tensor)

    def holds(self, found: Found) -> bool:
        """Tell whether it holds the very bits of a checkpoint."""
        return all(part.numpy().tobytes() == tensor.numpy().tobytes() for part, tensor in self._beside(found))

    def _beside(self, found: Found) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        begin, whole = 0, torch.from_numpy(self.values)
        for name in self.names:
            tensor = found.tensors[name].read().detach().to_dense().reshape(-1).to(whole.dtype)
            yield whole[begin : begin + tensor.numel()], tensor
            begin += tensor.numel()
