"""The torch reference: whole runs of the real optimizer, side by side, that a batch of runs is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.descend import random_state_kept
from ravine._engine.gradients import ALIGNED_BYTES, Alone, aligned_rows, numbers_held
from ravine._engine.job import Job
from ravine._engine.keep import Buffer
from ravine._engine.lead import AllAtOnce, Lead, StepByStep, step_of
from ravine._engine.on_batches import Trial
from ravine._engine.rules.rule import Settings
from ravine._engine.rules.sgd import SGD
from ravine._problem.check_fit import scalar
from ravine._problem.order import TorchValues, has_bits, identical
from ravine._problem.problem import Problem
from ravine._study.provenance import Agreement
from ravine._torch import one_thread

WHOLE_RUNS = 16
"""Whole runs of a problem that torch takes too, where it has so many."""

RUNS_AGAIN = 2
"""Whole runs of a sweep of whose kind sixteen were compared before in this process."""

MOST_WHOLE_RUNS = 64
"""Whole runs of a sweep of many problems; each of them has one at least."""

POSITIONS = 100
"""Positions at which losses and gradients are compared before any run is made; fewer where runs have not so many."""

MOST_POSITIONS, FEWEST_POSITIONS = 400, 8
"""The same for all problems of a sweep that has many, and for each of them."""

VALUES_BYTES = 32_000_000
"""What these positions take at most, and the models of whole runs side by side."""

HELD_BYTES = 8_000_000
"""What is held at once of torch's graphs, and of the steps that are compared."""


class Step(NamedTuple):
    """A step of some runs: positions (parameters, runs), losses (runs,), gradients like the positions.

    There is none at the last step. On mini-batches gradients are theirs, and so are `batch_losses` (runs,).
    """

    position: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor | None
    batch_loss: torch.Tensor | None = None


class TorchReference:
    """Runs of one problem, of as many kinds as there are, and what torch makes of them.

    Each run has a model of its own and torch's own step. For a linear neuron torch's calls for a single run stand in
    for the model, without a graph, once they were found to have the bits of its backward pass.
    """

    whole: Sequence[tuple[int, Step]] | None
    """All of its runs, once they were walked side by side; empty where they are walked some at a time."""

    def __init__(self, job: Job, which: int) -> None:
        self.job, self.alone, self.whole = job, False, None
        share = max(1, min(WHOLE_RUNS, MOST_WHOLE_RUNS // len(job.problems)))
        self.runs = which * job.inner.size + job.refusals.some_kinds(share, which)
        self.before = 0

    @classmethod
    def again(cls, job: Job, which: int, sweeps: int, before: int, *, alone: bool) -> TorchReference:
        """Return a few whole runs for a sweep whose like was compared before: others after each number of sweeps."""
        found = cls.__new__(cls)
        found.job, found.alone, found.whole, found.before = job, alone, None, before
        random = np.random.default_rng([job.seed, which, sweeps])
        runs = job.refusals.some_kinds(WHOLE_RUNS, which + len(job.problems) * sweeps)
        found.runs = which * job.inner.size + np.sort(random.permutation(runs)[:RUNS_AGAIN])
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "whole": ()}  # of few blocks, as another process makes, the runs are few

    @property
    def problem(self) -> Problem:
        """The problem, at the start of the first run."""
        return self.job.problem_of(int(self.runs[0]))

    @property
    def _most_positions(self) -> int:
        share = max(FEWEST_POSITIONS, min(POSITIONS, MOST_POSITIONS // len(self.job.problems)))
        return max(2, min(share, VALUES_BYTES // (self.job.parameters * self.job.like.element_size())))

    @property
    def runs_of_values(self) -> NDArray[np.int64]:
        """The runs along whose first steps losses and gradients are looked at."""
        return self.runs[: self._most_positions // 2]

    def first_values(self) -> TorchValues:
        """Return torch's losses and gradients at the starts of the runs and along their first steps."""
        most = self._most_positions
        runs = self.runs_of_values
        steps = min(self.job.steps, -(-most // len(runs)) - 1)
        with self._undisturbed():
            positions, losses, gradients, _ = zip(*self._walk(runs, steps, on_all=True), strict=True)
        values = TorchValues(torch.cat(positions, 1), torch.cat(losses), torch.cat(gradients, 1))
        # a single position would be evaluated by other code than a batch
        return values if values.count > 1 else values.repeated()

    def values_at_start(self) -> TorchValues:
        """Return torch's loss and gradient where the first run begins, by its own model, twice."""
        with self._undisturbed():
            live = Live([self.problem], double=False)
            losses, gradient = live.evaluate(True)
            assert gradient is not None
            return TorchValues(live.position(), losses, gradient.T).repeated()

    def try_alone(self, values: TorchValues) -> None:
        """See whether a linear neuron without a graph has the bits that torch gave; then it serves from now on."""
        runs = min(len(self.runs), values.count)
        neuron = Alone(self.problem, values.position[:, :runs].T)
        with one_thread():
            self.alone = has_bits(neuron.at, values, runs)

    def try_alone_on(self, trials: Sequence[Trial]) -> None:
        """See whether it has them on batches too."""
        for trial in trials if self.alone else ():
            runs = min(len(self.runs), trial.values.count)
            neuron = Alone(self.problem, trial.values.position[:, :runs].T)
            with one_thread():
                self.alone &= has_bits(trial.by(neuron.on_batches_at), trial.values, runs)

    def compare(self, runs: slice, record: Buffer) -> Agreement:
        """Hold those runs of a block that torch takes too against torch's, from their first to their last step."""
        chosen = self.runs[(self.runs >= runs.start) & (self.runs < runs.stop)]
        job, like = self.job, self.job.like
        kept, dtype = ("losses" if record.position is None else "path"), str(like.dtype).removeprefix("torch.")
        found = Agreement(steps=job.steps, kept=kept, dtype=dtype, before=self.before)
        some = max(1, VALUES_BYTES // (job.parameters * like.element_size()))  # large models: fewer side by side
        for first in range(0, len(chosen), some):
            self._compare_all(chosen[first : first + some], runs.start, record, found)
        return found

    def _compare_all(self, runs: NDArray[np.int64], begin: int, record: Buffer, found: Agreement) -> None:
        """Hold some runs against torch's; where torch fails in one, the others are compared by themselves."""
        try:
            with self._undisturbed():
                found.join(self._compare(runs, begin, record))
        except (ArithmeticError, RuntimeError, TypeError, ValueError):
            for run in runs if len(runs) > 1 else ():  # where torch itself fails there is nothing to compare with
                self._compare_all(np.array([run]), begin, record, found)

    def _compare(self, runs: NDArray[np.int64], begin: int, record: Buffer) -> Agreement:
        """Hold some runs of a block that begins with a certain run against torch's."""
        columns, gap = torch.from_numpy(runs - begin), Gap(len(runs))
        path = record.position if self.alone and self.job.spec.feed is None else None
        if path is not None and self._follows(runs, path[..., columns], record.loss[:, columns]):
            return Agreement(len(runs), len(runs))
        for first, bundle in self._bundles(runs):
            here = slice(first, first + len(bundle.loss))
            gap.add("loss", record.loss[here][..., columns], bundle.loss)
            if record.position is not None:
                gap.add("position", record.position[here][..., columns], bundle.position)
            if bundle.batch_loss is not None and "batch_loss" in record.also:
                gap.add("batch_loss", record.also["batch_loss"][here][..., columns], bundle.batch_loss)
        equal, shares = int(gap.equal.sum()), gap.shares()
        if equal == len(runs):
            return Agreement(len(runs), equal)
        worst = runs[[int(shares.argmax())]]
        own = 0.0 if self.job.like.dtype == torch.float64 else self._gap_to_double(worst)
        return Agreement(len(runs), equal, float(shares.max()), own)

    def _follows(self, runs: NDArray[np.int64], position: torch.Tensor, loss: torch.Tensor) -> bool:
        """Tell whether torch, from where these runs begin, comes to all positions (step, parameter, run) and losses.

        As long as it does, its gradients are those where the batch says that the runs are: so those of many steps are
        evaluated at once, and torch's own steps lead through them. Where a bit is another, the runs are to be walked.
        """
        starts, parts = _starts_of([self.job.problem_of(run) for run in runs.tolist()]), self.problem.parts
        assert parts is not None
        lead, last = self._lead_of(runs, starts), len(position) - 1
        here = starts
        some = max(1, HELD_BYTES // (len(runs) * (2 * len(parts.inputs) + ALIGNED_BYTES) * loss.element_size()))
        for first in range(0, len(position), some):
            places = position[first : first + some].transpose(1, 2)
            losses, gradients = Alone(self.problem, places.reshape(-1, starts.shape[1])).evaluate(True)
            if gradients is None or not identical(losses, loss[first : first + some].reshape(-1)):
                return False
            held, onwards = here[None], min(some, last - first)
            if onwards:
                there = lead.along(places[:onwards], gradients.reshape(places.shape)[:onwards])
                if there is None:
                    return False
                held, here = torch.cat([held, there]), there[-1]
            if not identical(held[: len(places)], places):
                return False
        return True

    def _lead_of(self, runs: NDArray[np.int64], starts: torch.Tensor) -> Lead:
        """Return torch's own steps in these runs: all at once where torch remembers no more than can be told."""
        make_optimizer = partial(self._optimizer_of, runs)
        if self.job.rule is not SGD or self.job.schedule is not None:
            return StepByStep(make_optimizer, aligned_rows(starts))
        settings = Settings(self.job.settings_of(runs, SGD.defaults), SGD.defaults, len(runs), self.job.like)
        with np.errstate(all="ignore"):  # of an infinite lr nothing is said here either
            return AllAtOnce(make_optimizer, SGD(settings, starts.T))

    def _bundles(self, runs: NDArray[np.int64]) -> Iterator[tuple[int, Step]]:
        """Walk through some steps at once: the first one's number, and the steps as one, without gradients.

        Small runs are all walked side by side when the first are asked for: what Python does in a step is the same.
        """
        numbers = len(self.runs) * (self.job.steps + 1) * (self.job.parameters + 2)
        if self.whole is None and self.alone and numbers * self.job.like.element_size() <= HELD_BYTES:
            try:
                self.whole = [*self._walk_in_bundles(self.runs)]
            except (ArithmeticError, RuntimeError, TypeError, ValueError):  # one of them fails, and not the others
                self.whole = ()
        if not self.whole:
            yield from self._walk_in_bundles(runs)
            return
        columns = torch.from_numpy(np.flatnonzero(np.isin(self.runs, runs)))
        for first, each in self.whole:
            dealt = None if each.batch_loss is None else each.batch_loss[..., columns]
            yield first, Step(each.position[..., columns], each.loss[..., columns], None, dealt)

    def _walk_in_bundles(self, runs: NDArray[np.int64]) -> Iterator[tuple[int, Step]]:
        bytes_of_step = len(runs) * (self.job.parameters + 1) * self.job.like.element_size()
        some, held, first = max(1, HELD_BYTES // bytes_of_step), list[Step](), 0
        for step, each in enumerate(self._walk(runs, self.job.steps)):
            held.append(each)
            if len(held) == some or step == self.job.steps:
                position, loss = torch.stack([one.position for one in held]), torch.stack([one.loss for one in held])
                dealt = [one.batch_loss for one in held if one.batch_loss is not None]
                yield first, Step(position, loss, None, torch.stack(dealt) if dealt else None)
                held, first = [], step + 1

    def _gap_to_double(self, runs: NDArray[np.int64]) -> float | None:
        """Return how far torch in the dtype of some runs is off torch in float64; None where it fails in float64.

        A loss of one's own may hold tensors in the dtype of its start, which torch multiplies with no others.
        """
        gap = Gap(len(runs))
        try:
            double = self._walk(runs, self.job.steps, double=True)
            for one, exact in zip(self._walk(runs, self.job.steps), double, strict=True):
                gap.add("loss", one.loss[None], exact.loss[None])
                gap.add("position", one.position[None], exact.position[None])
        except (ArithmeticError, RuntimeError, TypeError, ValueError):
            return None
        return float(gap.shares().max())

    def _walk(
        self, runs: NDArray[np.int64], steps: int, *, on_all: bool = False, double: bool = False
    ) -> Iterator[Step]:
        """Take steps in several runs side by side; threads and the random state are whoever's who walks.

        `on_all` takes them on all data, mini-batches or not, and gives the last gradient too.
        """
        problems = [self.job.problem_of(run) for run in runs.tolist()]
        alone = self.alone and not double
        models: Alone | Live = Alone(problems[0], _starts_of(problems)) if alone else Live(problems, double)
        leaves = models.leaves
        optimizer, schedules = self._optimizer_of(runs, leaves)
        take_step = step_of(optimizer)
        if isinstance(models, Alone):
            for (row,), gradient in zip(leaves, models.gradients, strict=True):
                row.grad = gradient
        dealt = [] if on_all or self.job.spec.feed is None else self._deal(runs, double)
        for step in range(steps + 1):
            position, batch_losses = models.position(), None
            losses, gradients = models.evaluate((step < steps or on_all) and not dealt)
            if dealt and step < steps:
                batch_losses, gradients = models.on_batches([next(batches) for batches in dealt])
            elif dealt:
                batch_losses = torch.full_like(losses, torch.nan)
            yield Step(position, losses, None if gradients is None else gradients.T, batch_losses)
            if step == steps:
                return
            take_step()
            for schedule in schedules:
                schedule.step()

    def _deal(self, runs: NDArray[np.int64], double: bool) -> list[Iterator[tuple[torch.Tensor, torch.Tensor]]]:
        """Return what torch's own loader deals out to each run."""
        problem = self.problem.in_double() if double else self.problem
        feeds = (self.job.spec_of(run % self.job.inner.size).feed for run in runs.tolist())
        return [feed.deal(problem) for feed in feeds if feed is not None]

    def _optimizer_of(
        self, runs: NDArray[np.int64], leaves: Sequence[Sequence[torch.Tensor]]
    ) -> tuple[torch.optim.Optimizer, list[Any]]:
        """Make the optimizer of each run, and of all one that has a group for each: one call takes the step of all.

        The schedulers are those of each run: they move its group.
        """
        own, schedules = [], []
        for run, parameters in zip(runs.tolist(), leaves, strict=True):
            spec = replace(self.job.spec, settings=self.job.given(run % self.job.inner.size))
            own.append(spec.rule_for({str(k): leaf for k, leaf in enumerate(parameters)}))
            if spec.scheduler is not None:
                schedules.append(spec.schedule_for(own[-1]))
                own[-1]._opt_called = True  # type: ignore[attr-defined]  # its step is taken by the one for all
        # under a scheduler the last one's own step is watched
        whole = spec.rule_for({str(k): leaf for k, leaf in enumerate(parameters)}) if schedules else own[-1]
        whole.param_groups = [group for each in own for group in each.param_groups]
        for each in own:
            whole.state.update(each.state)
        for group in whole.param_groups:
            group["foreach"] = False  # what torch chooses on the processor, which it asks for at each step
        return whole, schedules

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Keep the random state, and one thread: how many there are changes the last bits of a sum."""
        with random_state_kept([self.problem]), one_thread():
            yield


def _starts_of(problems: list[Problem]) -> torch.Tensor:
    """Return the starts, (runs, parameters)."""
    return torch.stack([torch.cat([value.reshape(-1) for value in problem.start.values()]) for problem in problems])


class Live:
    """Runs with a model for each, and a backward pass through its graph."""

    def __init__(self, problems: list[Problem], double: bool) -> None:
        each = [problem.in_double() if double else problem for problem in problems]
        self.models = [problem.live() for problem in each]
        self.leaves = [list(model.leaves.values()) for model in self.models]
        self.problem = each[0]

    @cached_property
    def some(self) -> int:
        """Of how many runs graphs are held at once."""
        if len(self.models) == 1:
            return 1
        held = numbers_held(self.problem) * self.problem.like.element_size()
        return max(1, HELD_BYTES // max(held, 1))

    def position(self) -> torch.Tensor:
        """Return where the runs are, (parameters, runs)."""
        return torch.stack([torch.cat([leaf.detach().reshape(-1) for leaf in leaves]) for leaves in self.leaves], 1)

    def evaluate(self, gradients: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the losses (runs,), and the gradients (runs, parameters) where they are wanted."""
        losses = self._differentiate([model.loss for model in self.models], gradients)
        return losses, self._rows() if gradients else None

    def on_batches(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses of batches, one for each run, and the gradients (runs, parameters)."""
        pairs = zip(self.models, batches, strict=True)
        return self._differentiate([partial(model.loss_of, *batch) for model, batch in pairs], True), self._rows()

    def _differentiate(self, calls: Sequence[Callable[[], torch.Tensor]], gradients: bool) -> torch.Tensor:
        """Return losses, and leave gradients at the leaves; as many graphs are held at once as memory should."""
        losses: list[torch.Tensor] = []
        with torch.set_grad_enabled(gradients):
            for first in range(0, len(self.models), self.some):
                for leaf in (leaf for leaves in self.leaves[first : first + self.some] for leaf in leaves):
                    leaf.grad = None
                found = [scalar(call()).reshape(()) for call in calls[first : first + self.some]]
                if gradients:
                    torch.autograd.backward(found)
                losses += [loss.detach() for loss in found]
        return torch.stack(losses)

    def _rows(self) -> torch.Tensor:
        """Return the gradients as rows, 0 where a parameter has none."""
        every = [[torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in each] for each in self.leaves]
        return torch.stack([torch.cat([gradient.reshape(-1) for gradient in each]) for each in every])


class Gap:
    """How far runs are apart, and which are not; their numbers are shown to it some steps at a time, runs last."""

    def __init__(self, runs: int) -> None:
        self.equal = torch.ones(runs, dtype=torch.bool)
        self.apart: dict[str, torch.Tensor] = {}
        self.size: dict[str, torch.Tensor] = {}

    def add(self, name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
        """Compare numbers of shape (…, runs)."""
        runs = ours.shape[-1]
        if bool((ours == theirs).all()) and bool(torch.isfinite(theirs.sum())):  # as nearly always: nothing is apart
            largest = theirs.abs().reshape(-1, runs).amax(0).double()
            self.size[name] = torch.maximum(self.size.get(name, largest), largest)
            self.apart.setdefault(name, torch.zeros_like(largest))
            return
        self.equal &= ((ours == theirs) | (ours.isnan() & theirs.isnan())).reshape(-1, runs).all(0)
        one, other = ours.double(), theirs.double()
        both = torch.isfinite(one) & torch.isfinite(other)
        for held, numbers in ((self.size, other.abs()), (self.apart, (one - other).abs())):
            largest = torch.where(both, numbers, 0.0).reshape(-1, runs).amax(0)
            held[name] = torch.maximum(held.get(name, largest), largest)

    def shares(self) -> torch.Tensor:
        """Return the largest difference in each run, as a share of its largest number."""
        return torch.stack([self.apart[name] / self.size[name] for name in self.apart]).nan_to_num(0.0).amax(0)
