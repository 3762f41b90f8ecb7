"""The hooks on a loop that is the user's own: which hang when, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from ravine._record.iterations import Iterations
from ravine._record.losses import Window, is_trained_on, loss_in
from ravine._record.members import Members, rates_now, scheduled_now
from ravine._record.owners import Hook, Hung
from ravine._record.snapshots import Snapshots
from ravine._record.tell import tell
from ravine._record.unfrozen import Unfrozen

SOON = 3
"""Steps after which a recording that heard no loss says so, where it looks at one."""


class Hooks:
    """What is done at each step of a loop: steps are counted, losses heard, and snapshots taken where they are due.

    An error in any of it is told once and ends the recording, never the training.

    Attributes
    ----------
    steps
        Updates that were made so far.
    due
        Whether there is a snapshot of the step that comes next.
    stopped
        Why the recording ended before the training; empty where it did not.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        criterion: torch.nn.Module | None,
        optimizers: Sequence[torch.optim.Optimizer],
        members: Members,
        shots: Snapshots,
    ) -> None:
        self.steps, self.due, self.stopped = shots.first, True, ""
        self.shots = shots
        self._owner = model if criterion is None else criterion
        self._criterion, self._optimizers = criterion, optimizers
        self._iterations = Iterations(members.tensors.values()) if len(optimizers) > 1 else None
        self._window = Window(members.tensors.values())
        self._loss = np.nan
        self._lr = optimizers[0].param_groups[0].get("lr")
        self._members = members
        self._rates = rates_now(optimizers, members)
        self._lr_moved = False
        self._unfrozen = Unfrozen(model, criterion, optimizers, members)
        self._over = self._told_unheard = False
        self._pre_hooks: list[tuple[torch.optim.Optimizer, Hook]] = []
        self._handles: list[Any] = []
        self._due_handles: list[Any] = []
        """Of the hooks that hang at steps with a snapshot alone."""
        self._traced = False
        """Whether a compiler has seen these hooks: what it made of them is called as long as it is there."""

    # -- which hang when -----------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Hang them onto the optimizers, and onto what gives the losses."""
        self._handles = [rule.register_step_post_hook(Hook(self._after, rule, apart=True)) for rule in self._optimizers]
        self._pre_hooks = [(rule, Hook(self._before, rule, apart=True)) for rule in self._optimizers]
        self._attach_due()

    def detach(self) -> None:
        """Take all of them off."""
        self._traced = False
        self._detach_due()
        for handle in self._handles:
            handle.remove()
        self._handles, self._pre_hooks = [], []
        if self._iterations is not None:
            self._iterations.detach()

    def _attach_due(self) -> None:
        """Hang what a snapshot needs: the loss, and the parameters before the step."""
        if not self._due_handles:
            self._due_handles = [rule.register_step_pre_hook(each) for rule, each in self._pre_hooks]
            self._due_handles.append(Hung(self._saw, self._owner))

    def _detach_due(self) -> None:
        """Take that off until the next snapshot: torch calls a module with a hook in a way that takes microseconds."""
        if not self._traced:
            for handle in self._due_handles:
                handle.remove()
            self._due_handles = []

    # -- what is called from outside -----------------------------------------------------------------------------------

    def state(self, loss: Any) -> None:
        """Take a loss that the user states."""
        self.safely(self._state, loss)

    def safely(self, call: Callable[..., None], *given: Any) -> None:
        """Call what records; an error in it is told once and ends the recording."""
        if self._over or self.stopped:
            return
        try:
            call(*given)
        except Exception as reason:
            self._stop(reason)

    def finish(self, *, broke: bool = False) -> None:
        """Take the last snapshot, and say what is known of the whole; `broke`: an error ended the training."""
        self.safely(self._finish)
        if not self.stopped and not broke:
            self._tell_missing()
        if self.stopped:
            with suppress(OSError):  # the disk is full, say
                self.shots.writer.end({"every": self.shots.every, "stopped": self.stopped})
        self.shots.writer.close()
        self._over = True

    def _stop(self, reason: Exception) -> None:
        self.stopped = f"{type(reason).__name__}: {reason}"
        count = len(self.shots.steps)
        before = "1 snapshot before is" if count == 1 else f"{count} snapshots before are"
        tell(
            f"the recording stopped after step {self.steps} ({self.stopped}); the training goes on, "
            f"and the {before} kept"
        )

    def _tell_missing(self) -> None:
        """Warn of a recording that saw no step; or, once, of one that heard no loss."""
        if self.steps == self.shots.first:
            tell(
                "the recording saw no step: none of the optimizers that it was given took one; give the very one whose "
                "step() the loop calls"
            )
        elif self._window.dtype is None and not self._told_unheard:
            self._told_unheard = True
            silent = (
                "the model's output has none as .loss, and there is no criterion: give the module that computes it"
                if self._criterion is None
                else f"this {type(self._criterion).__name__} was not called with gradients on: give the very object "
                "that the loop calls, or none where the model, or its trainer, gives the loss"
            )
            tell(
                f"the recording heard no loss up to step {self.steps}: {silent}; any other loss is stated by "
                "recorder.loss(value)"
            )

    # -- what each does: most steps have no snapshot, and at those only the last one is there and counts ---------------

    def _saw(self, owner: Any, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            self._traced = True
        if self.due:
            self.safely(self._hear, output if owner is self._criterion else loss_in(output))

    def _before(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        if self.due or self.shots.waiting is not None:
            self.safely(self._timed, self._begin_step, rule, args, kwargs)

    def _after(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        if self.stopped or self._over:
            return
        try:  # here, and not by a call of what calls: each takes as long as all that most steps ask for
            skips = getattr(rule, "found_inf", None)
            if skips is not None and float(skips):  # a fused optimizer was told by the GradScaler to do nothing
                return
            first = self._iterations is None or self._iterations.enter(rule)
            if first:
                self.steps += 1
                lr = rule.param_groups[0].get("lr")
                if lr is not self._lr and isinstance(lr, float | int) and lr != self._lr:
                    self._lr_moved = True
            shots = self.shots
            hang = self._due_handles and not self._traced
            if self.due or (first and (shots.waiting is not None or hang or not self.steps % shots.every)):
                self._timed(self._end_step, first)
        except Exception as reason:
            self._stop(reason)

    def _timed(self, call: Callable[..., None], *given: Any) -> None:
        self.shots.cost.start()
        call(*given)
        self.shots.cost.stop()

    def _hear(self, loss: Any) -> None:
        if is_trained_on(loss):
            self._window.add(loss)

    def _state(self, loss: Any) -> None:
        if self.due:
            self._window.state(loss)

    def _begin_step(self, rule: torch.optim.Optimizer, args: Sequence[Any], kwargs: Any) -> None:
        shots = self.shots
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._window.begin_step(closure=closure is not None)
        if self._iterations is not None and not self._iterations.begins(rule):
            return
        shots.commit(self.steps, self._loss)  # each optimizer has made its part of the last step now
        self.due = shots.is_due(self.steps)
        if self.due:
            shots.take(self.steps, self._read_settings())

    def _end_step(self, first: bool) -> None:
        shots = self.shots
        if first and shots.waiting is not None:
            self._loss = self._window.mean()
        if self.due:
            self._window.clear()
        if not first:
            return
        if self.steps - shots.first >= SOON and shots.waiting is not None:
            self._tell_missing()
        if self._iterations is None:
            shots.commit(self.steps, self._loss)
        self.due = shots.arrive(self.steps)
        if self.due:
            self._attach_due()
            self._unfrozen.tell_new(self.steps)
        elif shots.waiting is None:
            self._detach_due()

    def _finish(self) -> None:
        shots = self.shots
        shots.commit(self.steps, self._loss)
        self._unfrozen.tell_new(self.steps)
        shots.finish(self.steps, self._read_settings())
        facts: dict[str, Any] = {"every": shots.every, "steps": self.steps, "share": round(shots.budget.share, 5)}
        facts |= {"moved": ["lr"]} if self._lr_moved else {}
        facts |= {"not recorded": sorted(self._unfrozen.names)} if self._unfrozen.names else {}
        if self._window.dtype is not None:
            facts["loss_dtype"] = "<f8" if self._window.dtype == torch.float64 else "<f4"
        shots.writer.end(facts)

    def _read_settings(self) -> dict[str, float]:
        self._lr_moved |= rates_now(self._optimizers, self._members) != self._rates
        return scheduled_now(self._optimizers, self._members)
