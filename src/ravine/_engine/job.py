"""A job: the problems, the product of settings that is to run, and which of its runs torch would refuse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._descent.dataset import plain
from ravine._descent.run_spec import RunSpec, leaves_of
from ravine._descent.spell import Code, spelled
from ravine._descent.treat import loop_settings
from ravine._engine.product import Axis, Product
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
            return tabulate(self.spec_of(some_valid(self, 0)), axes, self.rule.defaults, self.like)
        except NotTabulatedError as reason:
            return reason

    @cached_property
    def doubts(self) -> Mapping[str, NDArray[np.int64]]:
        """What torch may see in each swept setting's values: those with one number are taken, or refused, alike."""
        assert self.rule is not None
        largest, found = torch.finfo(self.like.dtype).max * NO_DOUBT, {}
        for axis in self.inner.axes:
            if axis.name in self.swept:
                bound, known = min(self.rule.bounds.get(axis.name, largest), largest), dict[Hashable, int]()
                seen = [known.setdefault(_see(value, bound), len(known)) for value in axis.values]
                found[axis.name] = np.array(seen)
        return found

    @cached_property
    def answers(self) -> dict[tuple[int, ...], str]:
        """What torch said of settings, by what it may see in them; empty where it takes them."""
        return {}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """All settings of the optimizer, as it says itself: the fixed ones, and some of the sweep's that it takes."""
        return self.some_optimizer.defaults

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
        values = self.inner.values(setting)
        return {**self.spec.settings, **{name: values[name] for name in self.swept}}

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


def errors_of(job: Job, runs: slice) -> NDArray[np.object_]:
    """Ask torch which settings it refuses, and why: one message for each run, empty where it takes them.

    An optimizer whose rule is known is asked once for each kind of doubt, any other once for each setting.
    """
    size, count = job.inner.size, runs.stop - runs.start
    # stretches up to the number of settings hold none twice
    errors = errors_at(job, np.arange(runs.start, min(runs.stop, runs.start + size)) % size)
    return np.tile(errors, -(-count // size))[:count] if count > size else errors


def errors_at(job: Job, settings: NDArray[np.int64]) -> NDArray[np.object_]:
    """Ask the same of some settings."""
    errors = np.full(len(settings), "", dtype=object)
    for alike in _kinds(job, settings):
        errors[alike] = _answer(job, int(settings[alike[0]]))
    return errors


def _answer(job: Job, setting: int) -> str:
    """Ask torch about one setting, or find what it said of another that it sees alike."""
    if job.rule is None or job.spec.groups:
        return _message(job, setting)
    places = job.inner.places(np.array([setting]))
    seen = tuple(int(doubts[places[name][0]]) for name, doubts in job.doubts.items())
    if seen not in job.answers:
        job.answers[seen] = _message(job, setting)
    return job.answers[seen]


def _message(job: Job, setting: int) -> str:
    try:
        _ask(job, setting)
    except Exception as reason:
        return str(reason)
    return ""


TRIES = 100
"""Settings drawn at random before all are looked through for one that torch takes."""

ALL_ASKED = 1000
"""Settings up to which torch is asked about all of them."""

STRETCH = 100_000
"""Settings that are looked through at once."""


def some_valid(job: Job, draw: int) -> int:
    """Return a setting that torch takes, drawn at random, the same for the same number.

    Raises
    ------
    Exception
        Torch's own, if it refuses all settings.
    """
    size = job.inner.size
    for setting in np.random.default_rng(draw).integers(size, size=TRIES).tolist():
        if not errors_of(job, slice(setting, setting + 1))[0]:
            return int(setting)
    for first in range(0, size, STRETCH):
        taken = np.flatnonzero(errors_of(job, slice(first, min(first + STRETCH, size))) == "")
        if taken.size:
            return first + int(taken[draw % taken.size])
    _ask(job, 0)
    raise AssertionError("torch refused every setting, and then took the first")


def some_kinds(job: Job, count: int, draw: int) -> NDArray[np.int64]:
    """Return settings that torch takes, of as many kinds as there are: spread evenly along each axis, ends included.

    All there are, where there are no more than `count`; else drawn at random, the same for the same sweep and number.
    """
    shape, random = job.inner.shape, np.random.default_rng([job.seed, draw])
    if job.inner.size <= ALL_ASKED:
        valid = np.flatnonzero(errors_at(job, np.arange(job.inner.size)) == "")
        if valid.size <= count:
            return valid
    found: dict[int, None] = {}
    for _ in range(TRIES):
        shares = [random.permutation(count) / (count - 1) if count > 1 else random.random(1) for _ in shape]
        places = tuple(np.rint(s * (length - 1)).astype(np.int64) for s, length in zip(shares, shape, strict=True))
        drawn = np.ravel_multi_index(places, shape)
        found |= dict.fromkeys(drawn[errors_at(job, drawn) == ""].tolist())
        if len(found) >= count:
            break
    return np.sort([*found][:count] or [some_valid(job, draw)])


def _ask(job: Job, setting: int) -> None:
    spec = replace(job.spec, settings=job.given(setting))
    spec.rule_for(job.leaves)
    if job.rule is not None and not job.spec.groups and job.steps:
        leaf = job.like.new_zeros(1)  # without requires_grad, so that differentiable rules step on it too
        rule = spec.rule_for({"": leaf})
        for _ in range(min(job.steps, 2)):  # numbers that the dtype cannot hold are refused where they are used
            leaf.grad = torch.zeros_like(leaf)
            rule.step()


NO_DOUBT = 2.0**-54
"""Settings below this share of the largest number stay numbers, whatever torch divides them by."""


MOST_KINDS = 2**40
"""Kinds that are numbered before those are left out that nothing is of."""


def _see(value: Any, bound: float) -> Hashable:
    """Return what torch may look at before it takes a setting: its type, its sign, and all of what is out of the way.

    Examples
    --------
    >>> [_see(value, 1.0) for value in (0.5, 0.9, 0.0, 1.5, True, (0.9, 2.0))]
    [('float', '+'), ('float', '+'), ('float', '0'), ('float', 1.5), ('bool', True), (('float', '+'), ('float', 2.0))]
    """
    if isinstance(value, tuple):
        return tuple(_see(part, bound) for part in value)
    inside = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < bound
    if inside:
        return type(value).__name__, "+" if value > 0 else "0"
    return type(value).__name__, value if isinstance(value, Hashable) else id(value)


def _kinds(job: Job, settings: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Sort settings into those that torch answers alike; each is named by its place among them."""
    if job.rule is None or job.spec.groups:
        return list(np.arange(len(settings))[:, None])
    kind, count, places = np.zeros(len(settings), dtype=np.int64), 1, job.inner.places(settings)
    for name, doubts in job.doubts.items():
        more = int(doubts.max()) + 1
        if more > 1:
            if count * more > MOST_KINDS:
                _, kind = np.unique(kind, return_inverse=True)
                count = int(kind.max()) + 1
            kind, count = kind * more + doubts[places[name]], count * more
    if count == 1:
        return [np.arange(len(settings))]
    kind = kind.astype(np.min_scalar_type(count))  # few kinds are small numbers, which are sorted without comparing
    order = np.argsort(kind, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(kind[order])) + 1)


def labels_of(job: Job) -> list[str]:
    """Return a label for each problem."""
    columns = job.outer.columns(np.arange(len(job.problems)))
    return [", ".join(str(column[k]) for column in columns.values()) for k in range(len(job.problems))]
