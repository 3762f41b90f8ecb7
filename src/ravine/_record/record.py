"""record: snapshots of a training whose loop stays as it is."""

from __future__ import annotations

import json
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ravine._descent.dataset import made_by, settings_now
from ravine._format import kind_of, listed, so_many
from ravine._problem.criteria import name_of
from ravine._record.members import (
    find_members,
    find_optimizers,
    named_buffers,
    named_tensors,
    path_of_rules,
    settings_of,
)
from ravine._record.snapshots import Snapshots, remove_folder
from ravine._record.watch import Hook, Window, is_trained_on, leave, listen, loss_in, tell
from ravine._store.recording import About, open_recording
from ravine._store.remote import local_path
from ravine._study.provenance import provenance
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
        none. Of several optimizers the one that steps most often counts the steps.
    criterion
        The module whose results are the losses. Left out, it is the ``loss`` of the model's output, where that has one;
        any other is stated by ``recorder.loss(value)``.
    every
        Take a snapshot at every so many steps: of 10 those of step 0, 10, 20, …, and the last. ``"auto"`` begins with
        each step and doubles the distance when there are 256 snapshots (every second one is then dropped), and where
        they would take more than 1.5 % of the training's own time so far; those of a tiny model may take a fiftieth of
        a second besides. ``repr`` tells what all of the recording took.
    positions
        Whether the positions are kept. Without them, and buffers, there are the losses, the lr and ``update_ratio``
        alone: what `ravine.plot.layers` draws. A snapshot then takes 8 bytes a layer, and some more, on disk; one copy
        of the parameters is held in memory all the same.
    path
        A new folder to write to; it is complete after each snapshot, and `ravine.open` reads what a training that was
        killed has left. Left out, it is a temporary one, which goes when nobody needs it any more.

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
    return Recorder(model, optimizer, criterion, every=every, positions=positions, path=path)


class Recorder:
    """A recording that is being made, or was; `ravine.record` makes one.

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
        self.optimizers = find_optimizers(optimizer)
        self.model, self.criterion = model, criterion
        self.members = find_members(model, criterion, self.optimizers)
        self.steps = 0
        self.stopped = ""
        self.path: Path | None = None
        self.given: Every = "auto" if every == "auto" else int(every)
        self.positions = positions
        self._wanted = None if path is None else local_path(path)
        if self._wanted is not None and self._wanted.exists():
            raise FileExistsError(f"{self._wanted} exists already: choose another name, or open it with ravine.open")
        self._shots: Snapshots | None = None
        self._handles: list[Any] = []
        self._due_hooks: list[Any] = []
        """Handles of the hooks that hang at steps with a snapshot alone."""
        self._traced = False
        """Whether a compiler has seen these hooks: what it made of them is called as long as it is there."""
        self._entered = self._ended = False

    def __repr__(self) -> str:
        """One line: how much was recorded, at which distance, at which cost."""
        if self.path is None or self._shots is None:
            return f"<Recorder: {len(self.members.tensors)} tensors of {type(self.model).__name__}, not begun>"
        kept = len(self._shots.steps)
        size = format_bytes(self._shots.writer.size)
        return (
            f"<Recorder: {so_many(self.steps)}, {kept:,} snapshots, every {self.every:,}, {100 * self.share:.2g} % of "
            f"the time, {size} in {self.path}{'; stopped: ' + self.stopped if self.stopped else ''}>"
        )

    def __enter__(self) -> Recorder:
        if self._entered:
            raise RuntimeError("a recorder records once: make another one with ravine.record")
        if self.criterion is not None:
            listen(self.criterion, self)
        self._entered = True
        try:
            self._begin(time.perf_counter())
        except BaseException:  # __exit__ is not called then
            if self.criterion is not None:
                leave(self.criterion, self)
            raise
        self._handles = [rule.register_step_post_hook(Hook(self._after, rule)) for rule in self.optimizers]
        self._attach_due_hooks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._traced = False
        self._detach_due_hooks()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self.criterion is not None:
            leave(self.criterion, self)
        self._safely(self._finish)
        if self._shots is not None:
            if self.stopped:
                with suppress(OSError):  # the disk is full, say
                    self._shots.writer.end({"every": self.every, "stopped": self.stopped})
            self._shots.writer.close()
        self._ended = True

    def loss(self, value: Any) -> Any:
        """State the loss of the update that comes next, and get it back; of several the mean counts.

        Where it is stated, what criterion and model give does not count.

        Examples
        --------
        ``recorder.loss(torch.nn.functional.cross_entropy(model(x), y)).backward()``
        """
        self._safely(self._state, value)
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
        if self._shots is None or not self._shots.steps:
            raise ValueError(f"nothing was recorded: {self.stopped}")
        return open_recording(self.path)

    @property
    def every(self) -> int:
        """Steps from one snapshot to the next, as it is now."""
        return self._shots.every if self._shots is not None else 1 if self.given == "auto" else self.given

    @property
    def share(self) -> float:
        """Share of the time since it began that the recording took."""
        return self._shots.budget.share if self._shots is not None else 0.0

    def _begin(self, start: float) -> None:
        tensors = self.members.tensors
        buffers = named_buffers(self.model) if self.positions else {}
        coords, settings, leaves = settings_of(self.optimizers, self.members)
        group = self.optimizers[0].param_groups[0]
        self._lr = group.get("lr")
        self._moved = False
        if self.criterion is not None:
            coords["criterion"] = name_of(self.criterion)
        rule = type(self.optimizers[0])
        facts = provenance(
            f"{'torch.optim.' if rule.__module__.startswith('torch.optim') else rule.__module__ + '.'}"
            f"{coords['optimizer']}, recorded",
            equals_torch="is torch",
            settings=settings,
            threads=torch.get_num_threads(),
            dtype=" and ".join(sorted({str(each.dtype).removeprefix("torch.") for each in tensors.values()})),
            model=type(self.model).__name__,
            **made_by(path_of_rules(self.optimizers), leaves),
        )
        about = About(
            {name: list(shape) for name, shape in self.members.shapes.items()},
            str(torch.empty(0, dtype=self.members.dtype).numpy().dtype.str),
            {name: list(owner.get_buffer(own).shape) for name, (owner, own) in buffers.items()},
            list(self.members.layers),
            list(self._settings_now()),
            coords,
            json.loads(facts),
            self.positions,
        )
        recorded = {id(each) for each in tensors.values()}
        others = [each for each in named_tensors(self.model, self.criterion).values() if id(each) not in recorded]
        self._frozen = [each for each in others if not each.requires_grad]
        self._handed = self._count_handed()
        self._late: set[str] = set()
        self._window = Window(tensors.values())
        self._loss = np.nan
        self._due = True
        """Whether there is a snapshot of the step that comes next."""
        self._counts = dict.fromkeys(self.optimizers, self.steps)
        if self._wanted is None:
            self.path = Path(tempfile.mkdtemp(prefix="ravine-", suffix=".recording"))
            weakref.finalize(self, remove_folder, self.path, os.getpid())
        else:
            self.path = self._wanted
            self.path.mkdir(parents=True)
        every = 0 if self.given == "auto" else self.given
        self._shots = Snapshots(self.path, self.members, buffers, about, every, self.steps, start)

    def _attach_due_hooks(self) -> None:
        """Hang what a snapshot needs: the loss, and the parameters before the step."""
        if not self._due_hooks:
            self._due_hooks = [rule.register_step_pre_hook(Hook(self._before, rule)) for rule in self.optimizers]
            owner = self.model if self.criterion is None else self.criterion
            self._due_hooks.append(owner.register_forward_hook(Hook(self._saw, owner)))

    def _detach_due_hooks(self) -> None:
        """Take that off until the next snapshot: torch calls a module with a hook in a way that takes microseconds."""
        if not self._traced:
            for handle in self._due_hooks:
                handle.remove()
            self._due_hooks = []

    def _safely(self, call: Callable[..., None], *given: Any) -> None:
        """Call what records; an error in it is told once and ends the recording."""
        if self._shots is None or self._ended or self.stopped:
            return
        try:
            call(*given)
        except Exception as reason:
            self._stop(reason)

    def _stop(self, reason: Exception) -> None:
        self.stopped = f"{type(reason).__name__}: {reason}"
        tell(
            f"the recording stopped after step {self.steps} ({self.stopped}); the training goes on, and the "
            f"{len(self._taking.steps)} snapshots before are kept"
        )

    # -- hooks: most steps have no snapshot, and at those only the last one is there and counts ------------------------

    def _saw(self, owner: Any, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            self._traced = True
        if self._due:
            self._safely(self._hear, output if owner is self.criterion else loss_in(output))

    def _before(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        if self._due or self._taking.waiting is not None:
            self._safely(self._timed, self._begin_step, rule, args, kwargs)

    def _timed(self, call: Callable[..., None], *given: Any) -> None:
        self._taking.cost.start()
        call(*given)
        self._taking.cost.stop()

    def _hear(self, loss: Any) -> None:
        if is_trained_on(loss):
            self._window.add(loss)

    def _state(self, value: Any) -> None:
        if self._due:
            self._window.state(value)

    def _begin_step(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        taking = self._taking
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._window.begin_step(closure=closure is not None)
        if self._counts[rule] < self.steps:  # of several optimizers it is not the first one
            return
        taking.commit(self.steps, self._loss)  # each of them has made its part of the last step now
        self._due = taking.is_due(self.steps)
        if self._due:
            taking.take(self.steps, self._settings_now())

    def _after(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        if self.stopped or self._shots is None:
            return
        try:  # here, and not by a call of what calls: each takes as long as all that most steps ask for
            skips = getattr(rule, "found_inf", None)
            if skips is not None and float(skips):  # a fused optimizer was told by the GradScaler to do nothing
                return
            first = self._counts[rule] == self.steps
            self._counts[rule] += 1
            if first:
                self.steps += 1
                lr = rule.param_groups[0].get("lr")
                if lr is not self._lr and isinstance(lr, float | int) and lr != self._lr:
                    self._moved = True
            shots = self._shots
            hang = self._due_hooks and not self._traced
            if self._due or (first and (shots.waiting is not None or hang or not self.steps % shots.every)):
                self._timed(self._end_step, first)
        except Exception as reason:
            self._stop(reason)

    def _end_step(self, first: bool) -> None:
        taking = self._taking
        if first and taking.waiting is not None:
            self._loss = self._window.mean()
        if self._due:
            self._window.clear()
        if not first:
            return
        if len(self.optimizers) == 1:
            taking.commit(self.steps, self._loss)
        self._due = taking.arrive(self.steps)
        if self._due:
            self._attach_due_hooks()
            self._tell_unfrozen()
        elif taking.waiting is None:
            self._detach_due_hooks()

    @property
    def _taking(self) -> Snapshots:
        assert self._shots is not None
        return self._shots

    def _settings_now(self) -> dict[str, float]:
        """Return what a scheduler may move; of several optimizers nothing."""
        group = self.optimizers[0].param_groups[0]
        if len(self.optimizers) > 1:
            return {}
        rate = {"lr": float(group["lr"])} if "lr" in group else {}
        return rate | settings_now(group)

    def _count_handed(self) -> int:
        return sum(len(group["params"]) for rule in self.optimizers for group in rule.param_groups)

    def _tell_unfrozen(self) -> None:
        """Warn of parameters that train by now and are not recorded."""
        if self._count_handed() == self._handed and not any(each.requires_grad for each in self._frozen):
            return
        held = {id(each) for rule in self.optimizers for group in rule.param_groups for each in group["params"]}
        tensors = named_tensors(self.model, self.criterion).items()
        late = {n for n, each in tensors if id(each) in held and each.requires_grad} - self.members.tensors.keys()
        if late - self._late:
            said = (
                f"{listed(sorted(late - self._late))} are trained since step {self.steps} at the latest, and were not "
                "when the recording began: they are not recorded; begin another one after unfreezing"
            )
            self._late |= late
            tell(said)

    def _finish(self) -> None:
        """Take the last snapshot, and say what is known of the whole."""
        self._taking.commit(self.steps, self._loss)
        self._tell_unfrozen()
        self._taking.finish(self.steps, self._settings_now())
        facts: dict[str, Any] = {"every": self.every, "steps": self.steps, "share": round(self.share, 5)}
        facts |= {"moved": ["lr"]} if self._moved else {}
        facts |= {"not recorded": sorted(self._late)} if self._late else {}
        if self._window.dtype is not None:
            facts["loss_dtype"] = "<f8" if self._window.dtype == torch.float64 else "<f4"
        self._taking.writer.end(facts)
