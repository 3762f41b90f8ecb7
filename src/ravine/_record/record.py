"""record: snapshots of a training whose loop stays as it is."""

from __future__ import annotations

import os
import tempfile
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ravine._format import kind_of, so_many
from ravine._record.about import describe
from ravine._record.hooks import Hooks
from ravine._record.members import find_members, find_optimizers, named_buffers
from ravine._record.owners import leave, listen
from ravine._record.snapshots import Snapshots, remove_folder
from ravine._store.recording import open_recording
from ravine._store.remote import local_path
from ravine._system import format_bytes

Every = int | Literal["auto"]


def record(
    model: torch.nn.Module,
    optimizer: Any,
    criterion: torch.nn.Module | None = None,
    *,
    every: Every = "auto",
    positions: bool = True,
    path: str | os.PathLike[str] | None = None,
    first: int = 0,
) -> Recorder:
    """Record a training while the user's own loop makes it.

    The loop stays as it is: the recorder hangs hooks onto optimizer and criterion, and takes them off again. The
    training has the same bits, random numbers and graph as without it. An error in the recorder, a full disk say, is
    told in one warning and ends the recording, never the training.

    Parameters
    ----------
    model
        The module that is trained; compiled and parallel ones too.
    optimizer
        What takes the steps; a list where there are several. One that is wrapped by Accelerate, Lightning or a
        sharpness-aware optimizer is unwrapped. A step is one update that was really made: what a GradScaler skips is
        none. Of several optimizers a step is an iteration of the loop: each makes one update at most, always in the
        order of their first ones (what comes out of turn begins another step), and the loss is that of the first update
        in it. One that joins later and then comes first is known from its second update on: its first one stands in
        the step before, and the next step has no loss.
    criterion
        The module whose results are the losses. Left out, it is the ``loss`` of the model's output, where that has one;
        any other is stated by ``recorder.loss(value)``.
    every
        Take a snapshot at every so many steps: of 10 those of step 0, 10, 20, …, and the last. ``"auto"`` begins with
        each step and doubles the distance when there are 256 snapshots (every second one is then dropped). So a model
        of up to 65,536 numbers is recorded, unless that took more than a tenth of a second and 1.5 % of the
        training's own time besides. Of a larger one the distance doubles from 40 snapshots on, where they take more
        than 1.5 % of the time; until then they may take a fifth of it, but where one takes longer than a quarter of a
        step, only once the training took two seconds. ``repr`` tells what all of the recording took.
    positions
        Whether the positions are kept. Without them, and buffers, there are the losses, the lr and ``update_ratio``
        alone: what `ravine.plot.layers` draws. A snapshot then takes 8 bytes a layer, and some more, on disk; one copy
        of the parameters is held in memory all the same.
    path
        A new folder to write to; it is complete after each snapshot, and `ravine.open` reads what a training that was
        killed has left. Left out, it is a temporary one, which goes when nobody needs it any more.

    first
        The step at which the training is: more than 0 where one that was stopped goes on. The steps of this recording
        are counted from there.

    Returns
    -------
    Recorder
        To be used in a ``with`` statement; after it ``recorder.dataset()`` gives the run.

    Examples
    --------
    >>> import ravine, torch
    >>> x = torch.linspace(-1, 1, 20).reshape(-1, 1)
    >>> model, criterion = torch.nn.Linear(1, 1), torch.nn.MSELoss()
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with ravine.record(model, optimizer, criterion, every=10) as recorder:
    ...     for _ in range(25):
    ...         optimizer.zero_grad()
    ...         criterion(model(x), 3 * x).backward()
    ...         optimizer.step()
    >>> run = recorder.dataset()
    >>> run.step.values.tolist(), run.position.dims
    ([0, 10, 20, 25], ('step', 'parameter'))

    Raises
    ------
    TypeError, ValueError
        If the model has no trainable parameter that the optimizer moves, the optimizer is none of torch's kind, or the
        criterion is a function, which no hook can be hung onto.
    FileExistsError
        If there is something at `path`.
    """
    return Recorder(model, optimizer, criterion, every=every, positions=positions, path=path, first=first)


class Recorder:
    """A recording that is being made, or was; `ravine.record` makes one.

    Steps are counted from `first` on, where a training that was stopped goes on.

    Attributes
    ----------
    steps
        Updates that were made so far.
    path
        The folder that is written to; None before it is entered.
    stopped
        Why the recording ended before the training; empty where it did not.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Any,
        criterion: torch.nn.Module | None = None,
        *,
        every: Every = "auto",
        positions: bool = True,
        path: str | os.PathLike[str] | None = None,
        first: int = 0,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {kind_of(model)}")
        if criterion is not None and not isinstance(criterion, torch.nn.Module):
            raise TypeError(
                f"criterion must be a module, as torch.nn.CrossEntropyLoss() is, got {kind_of(criterion)}: leave it "
                "out, and hand over each loss by recorder.loss(value)"
            )
        if every != "auto" and (isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1):
            raise ValueError(f'every must be "auto" or a whole number of at least 1, got {every!r}')
        if not isinstance(positions, bool):
            raise TypeError(f"positions must be True or False, got {positions!r}")
        if isinstance(first, bool) or not isinstance(first, int | np.integer) or first < 0:
            raise ValueError(f"first must be a whole number of steps, 0 or more, got {first!r}")
        self.optimizers = find_optimizers(optimizer)
        self.model, self.criterion = model, criterion
        self.members = find_members(model, criterion, self.optimizers)
        self.path: Path | None = None
        self.given: Every = "auto" if every == "auto" else int(every)
        self.positions = positions
        self._first = int(first)
        self._wanted = None if path is None else local_path(path)
        if self._wanted is not None and self._wanted.exists():
            raise FileExistsError(f"{self._wanted} exists already: choose another name, or open it with ravine.open")
        self._hooks: Hooks | None = None
        self._entered = self._ended = False

    def __repr__(self) -> str:
        """One line: how much was recorded, at which distance, at which cost."""
        if self._hooks is None:
            return f"<Recorder: {len(self.members.tensors)} tensors of {type(self.model).__name__}, not begun>"
        shots = self._hooks.shots
        return (
            f"<Recorder: {so_many(self.steps)}, {len(shots.steps):,} snapshot{'s' * (len(shots.steps) != 1)}, "
            f"every {self.every:,}, "
            f"{100 * self.share:.2g} % of the time, {format_bytes(shots.writer.size)} in {self.path}"
            f"{'; stopped: ' + self.stopped if self.stopped else ''}>"
        )

    def __enter__(self) -> Recorder:
        if self._entered:
            raise RuntimeError("a recorder records once: make another one with ravine.record")
        start = time.perf_counter()
        if self.criterion is not None:
            listen(self.criterion, self)
        self._entered = True
        try:
            self._begin(start)
        except BaseException:  # __exit__ is not called then
            if self.criterion is not None:
                leave(self.criterion, self)
            raise
        self.hooks.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hooks.detach()
        if self.criterion is not None:
            leave(self.criterion, self)
        self.hooks.finish(broke=error is not None)
        self._ended = True

    def loss(self, value: Any) -> Any:
        """State the loss of the update that comes next, and get it back; of several the mean counts.

        Where it is stated, what criterion and model give does not count.

        Examples
        --------
        ``recorder.loss(torch.nn.functional.cross_entropy(model(x), y)).backward()``
        """
        if self._hooks is not None:
            self._hooks.state(value)
        return value

    def dataset(self) -> xr.Dataset:
        """Return the run that was recorded.

        Returns
        -------
        xarray.Dataset
            ``position`` (step, parameter), mapped into memory; its steps are those of the snapshots. Where losses were
            seen ``batch_loss`` (step), where a setting moved ``scheduled_lr`` (step) and its like, where the model has
            any ``buffers`` (step, buffer); and ``update_ratio`` (step, layer): the length of the update that starts
            there, over that of the parameters, for each module. It has no ``loss`` over all data, and with
            ``positions=False`` neither ``position`` nor ``buffers``.

        Raises
        ------
        RuntimeError
            While the recording is being made.
        ValueError
            If it holds nothing: a disk was full, say.
        """
        if self.path is None or not self._ended:
            raise RuntimeError("the recording is still being made: ask for its dataset after the with statement")
        if not self.hooks.shots.steps:
            raise ValueError(f"nothing was recorded: {self.stopped}")
        return open_recording(self.path)

    @property
    def hooks(self) -> Hooks:
        """The hooks on the loop, once it is entered."""
        assert self._hooks is not None, "the recording has not begun"
        return self._hooks

    @property
    def steps(self) -> int:
        """Updates that were made so far."""
        return self._hooks.steps if self._hooks is not None else self._first

    @property
    def stopped(self) -> str:
        """Why the recording ended before the training; empty where it did not."""
        return self._hooks.stopped if self._hooks is not None else ""

    @property
    def every(self) -> int:
        """Steps from one snapshot to the next, as it is now."""
        return self._hooks.shots.every if self._hooks is not None else 1 if self.given == "auto" else self.given

    @property
    def share(self) -> float:
        """Share of the time since it began that the recording took."""
        return self._hooks.shots.budget.share if self._hooks is not None else 0.0

    def _begin(self, start: float) -> None:
        buffers = named_buffers(self.model) if self.positions else {}
        given = self.model, self.criterion, self.optimizers, self.members
        about = describe(*given, buffers, positions=self.positions)
        if self._wanted is None:
            self.path = Path(tempfile.mkdtemp(prefix="ravine-", suffix=".recording"))
        else:
            self.path = self._wanted
            self.path.mkdir(parents=True)
        every = 0 if self.given == "auto" else self.given
        self._hooks = Hooks(*given, Snapshots(self.path, self.members, buffers, about, every, self._first, start))
        if self._wanted is None:  # the loop holds the hooks, whoever holds the recorder
            weakref.finalize(self._hooks, remove_folder, self.path, os.getpid())
