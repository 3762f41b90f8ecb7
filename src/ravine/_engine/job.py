"""A job: the problems, and the product of settings that is to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.dataset import plain
from ravine._descent.run_spec import RunSpec, leaves_of
from ravine._descent.spell import Code, spelled
from ravine._descent.to_source import source_of_run
from ravine._descent.treat import loop_settings
from ravine._engine.product import Axis, Product
from ravine._engine.refusals import Refusals, settings_at
from ravine._engine.rules.registry import RULES
from ravine._engine.rules.rule import Rule
from ravine._engine.schedule import NotTabulatedError, Schedule, tabulate
from ravine._problem.problem import Problem
from ravine._study.decay import Leaf
from ravine._study.optimizer import path_of

WIDE = 32
"""Parameters of a run up to which the same one of all runs lies together, where sums over runs are vectors."""


@dataclass(frozen=True, eq=False)
class Job:
    """A sweep before it runs. Run number r is setting ``r % inner.size`` of problem ``r // inner.size``."""

    base: Mapping[str, Problem]
    outer: Product
    problems: Sequence[Problem]
    inner: Product
    starts: Sequence[Mapping[str, Any]]
    spec: RunSpec
    seed: int

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # what is worked out is left behind

    @property
    def steps(self) -> int:
        """Steps of each run."""
        return self.spec.steps

    @property
    def size(self) -> int:
        """Number of runs."""
        return len(self.problems) * self.inner.size

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All dimensions of choice."""
        return (*self.outer.axes, *self.inner.axes)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.problems[0].size

    @property
    def like(self) -> torch.Tensor:
        """A tensor of the dtype that holds all parameters, on their device."""
        return self.problems[0].like

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the optimizer's settings that are dimensions."""
        return tuple(axis.name for axis in self.inner.axes if axis.name not in ("start", "seed"))

    @property
    def all_values(self) -> dict[str, tuple[Any, ...]]:
        """Each of the optimizer's settings that was given, with all values it takes."""
        fixed = {name: (value,) for name, value in self.spec.settings.items()}
        return fixed | {axis.name: axis.values for axis in self.inner.axes if axis.name in self.swept}

    def settings_of(self, runs: NDArray[np.int64], names: Collection[str]) -> dict[str, Any]:
        """Return those of these settings that were given, in many runs: a column for each that is swept.

        Of pairs it is a row for each part.
        """
        places = self.inner.places(runs % self.inner.size)
        axes = (axis for axis in self.inner.axes if axis.name in self.swept and axis.name in names)
        fixed = {name: value for name, value in self.spec.settings.items() if name in names}
        return fixed | {axis.name: axis.numbers[..., places[axis.name]] for axis in axes}

    @cached_property
    def rule(self) -> type[Rule] | None:
        """The rule by which many settings can be run at once; None where there is none for just this class."""
        optimizer = self.spec.optimizer
        return RULES.get(path_of(optimizer)) if isinstance(optimizer, type) else None

    @cached_property
    def also(self) -> Mapping[str, torch.dtype]:
        """What is recorded of each step of a run besides its position and loss."""
        also = {"scheduled_lr": torch.float64} if isinstance(self.schedule, NotTabulatedError) else {}
        apart = self.spec.feed is not None or any(p.parts is not None and p.parts.apart for p in self.problems)
        return also | ({"batch_loss": self.like.dtype} if apart else {})

    @cached_property
    def schedule(self) -> Schedule | NotTabulatedError | None:
        """What the scheduler does in all settings, or why only a run tells; None where there is none."""
        if self.spec.scheduler is None:
            return None
        if self.rule is None or self.spec.groups:
            return NotTabulatedError("what the optimizer is, or its groups, is only known in a run")
        axes = [axis for axis in self.inner.axes if axis.name in self.swept]
        try:
            return tabulate(self.spec_of(self.refusals.some_valid(0)), axes, self.rule.defaults, self.like)
        except NotTabulatedError as reason:
            return reason

    @cached_property
    def refusals(self) -> Refusals:
        """Which settings torch refuses."""
        return Refusals(self.spec, self.inner, self.swept, self.rule, self.like, self.leaves, self.seed)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """All settings of the optimizer, as it says itself: the fixed ones, and some of the sweep's that it takes."""
        return self.some_optimizer.defaults

    @cached_property
    def source(self) -> Mapping[str, Any]:
        """What its runs are made of, in words and as code: the settings that all of them have, and the problems."""
        return source_of_run(self.spec, self.base)

    @property
    def of_loop(self) -> dict[str, Any]:
        """Settings of the loop that all runs have: what is done to gradients before the optimizer sees them."""
        return loop_settings(self.spec.optimizer, self.spec.settings)

    @property
    def draws_noise(self) -> bool:
        """Whether noise is added to the gradients of any run."""
        return any(loop_settings(self.spec.optimizer, self.all_values).get("noise", ()))

    @cached_property
    def optimizer_name(self) -> str:
        """Name of the optimizer's class."""
        return type(self.some_optimizer).__name__

    @cached_property
    def some_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer with the first settings that it takes."""
        refused: Exception | None = None
        for setting in range(self.inner.size):
            try:
                return replace(self.spec, settings=self.given(setting)).rule_for(self.leaves)
            except Exception as reason:
                refused = reason
        assert refused is not None
        raise refused

    @cached_property
    def tensors(self) -> list[Leaf]:
        """The tensors of parameters, each with the settings that are its own."""
        return leaves_of(self.some_optimizer, self.leaves, self.spec)

    @cached_property
    def leaves(self) -> Mapping[str, torch.Tensor]:
        """Parameters to try an optimizer on."""
        return {n: v.clone().requires_grad_() for n, v in self.problems[0].start.items()}

    def spelled(self) -> dict[str, dict[str, dict[str, Code]]]:
        """Spell the values of swept settings that are no numbers, as code; numbers stand in the coordinates."""
        settings = [axis for axis in self.inner.axes if axis.name in self.swept]
        criterion = [axis for axis in self.outer.axes if axis.name not in ("criterion", "problem")]
        found = {
            kind: {axis.name: {} if axis.labels.dtype.kind in "fb" else _spelled(axis) for axis in axes}
            for kind, axes in (("settings", settings), ("criterion", criterion))
        }
        loop = loop_settings(self.spec.optimizer, found["settings"])
        return found | ({"loop": loop} if loop else {})

    def spec_of(self, setting: int) -> RunSpec:
        """Return the plan of one setting."""
        feed = self.spec.feed and replace(self.spec.feed, seed=self.seed_of(setting))
        return replace(self.spec, settings=self.given(setting), feed=feed, noise_seed=self.seed_of(setting))

    def given(self, setting: int) -> dict[str, Any]:
        """Return what the optimizer is given in one setting."""
        return settings_at(self.spec, self.inner, self.swept, setting)

    def problem_of(self, run: int) -> Problem:
        """Return one run's problem, at its start."""
        problem = self.problems[run // self.inner.size]
        if not self.starts:
            return problem
        place = self.inner.places(np.array([run % self.inner.size]))["start"]
        return problem.starting_at(self.starts[int(place[0])])

    def start_of(self, runs: NDArray[np.int64]) -> torch.Tensor:
        """Return where runs of one problem start, (parameters, runs); the whole run keeps to how that is laid out."""
        problem = self.problems[int(runs[0]) // self.inner.size]
        if not self.starts:
            flat = torch.cat([value.reshape(-1) for value in problem.start.values()])
            return self._laid_out(flat[:, None].expand(-1, len(runs)))
        places = torch.from_numpy(self.inner.places(runs % self.inner.size)["start"])
        each = [problem.starting_at(values).start.values() for values in self.starts]
        flat = torch.stack([torch.cat([value.reshape(-1) for value in start]) for start in each], dim=1)
        return self._laid_out(flat[:, places])

    def _laid_out(self, position: torch.Tensor) -> torch.Tensor:
        """Return positions as they are worked with: numbers of many parameters together by run, of few by parameter."""
        return position.T.contiguous().T if self.is_wide else position.contiguous()

    @property
    def is_wide(self) -> bool:
        """Whether a run has so many parameters that its own lie together."""
        return self.parameters > WIDE

    def seed_of(self, setting: int) -> int:
        """Return one setting's seed: its own where seeds are swept, else made from what the run is."""
        values = self.inner.values(setting)
        if "seed" in values:
            return int(values["seed"])
        told = {name: repr(plain(value)) for name, value in {**self.defaults, **self.of_loop, **values}.items()}
        return _seed_of_key(json.dumps([self.seed, sorted(told.items())]))

    def seeds_of(self, settings: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the seeds of many settings: of each value that is swept the part of the key is written once."""
        places = self.inner.places(settings)
        if "seed" in places:
            axis = next(axis for axis in self.inner.axes if axis.name == "seed")
            return np.array(axis.values, dtype=np.int64)[places["seed"]]
        parts = {name: [_told(name, value)] for name, value in {**self.defaults, **self.of_loop}.items()}
        parts |= {axis.name: [_told(axis.name, value) for value in axis.values] for axis in self.inner.axes}
        rows = [places[name].tolist() if name in places else [0] * len(settings) for name in sorted(parts)]
        columns = [[parts[name][k] for k in row] for name, row in zip(sorted(parts), rows, strict=True)]
        begin = json.dumps(self.seed)
        keys = (f"[{begin}, [{', '.join(each)}]]" for each in zip(*columns, strict=True))
        return np.array([_seed_of_key(key) for key in keys], dtype=np.int64)


def _told(name: str, value: Any) -> str:
    return json.dumps([name, repr(plain(value))])


def _seed_of_key(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


def _spelled(axis: Axis) -> dict[str, Code]:
    return dict(zip(map(str, axis.labels), map(spelled, axis.values), strict=True))


def labels_of(job: Job) -> list[str]:
    """Return a label for each problem."""
    columns = job.outer.columns(np.arange(len(job.problems)))
    return [", ".join(str(column[k]) for column in columns.values()) for k in range(len(job.problems))]
