"""How runs are to be made: optimizer, settings, groups, schedule and batches, as `descend` was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from ravine._descent.dataset import plain
from ravine._descent.feed import Feed
from ravine._descent.parameters import parameters_of
from ravine._descent.treat import Treatment, loop_settings, treatment_of
from ravine._format import kind_of, listed
from ravine._problem.copies import make_copy
from ravine._problem.live import Live
from ravine._problem.problem import Problem
from ravine._study.decay import Leaf

Optimizer = Callable[..., torch.optim.Optimizer]
Scheduler = Callable[[torch.optim.Optimizer], Any]


@dataclass(frozen=True)
class RunSpec:
    """How runs are to be made: all that `descend` was told except the problem."""

    optimizer: Optimizer
    steps: int
    settings: Mapping[str, Any]
    scheduler: Scheduler | None
    groups: Mapping[str, Mapping[str, Any]]
    feed: Feed | None
    also: frozenset[str]
    throw: bool
    create_graph: bool = False
    noise_seed: int = 0
    every: int = 1

    @property
    def treatment(self) -> Treatment:
        """How gradients are treated before the optimizer sees them."""
        return treatment_of(self.optimizer, self.settings)

    @property
    def of_optimizer(self) -> dict[str, Any]:
        """The settings that the optimizer gets."""
        loop = loop_settings(self.optimizer, self.settings)
        return {name: value for name, value in self.settings.items() if name not in loop}

    def rule_for(
        self, leaves: Mapping[str, torch.Tensor], model: torch.nn.Module | None = None
    ) -> torch.optim.Optimizer:
        """Make the optimizer over these leaves, in groups where settings differ; it gets settings of its own.

        One that asks for the model in place of parameters (AdamMini) gets the run's own copy.
        """
        own = make_copy([self.optimizer, self.of_optimizer, dict(self.groups)])
        optimizer, settings, groups = own
        foreign = not getattr(optimizer, "__module__", "").startswith("torch.optim")
        if foreign and next(iter(parameters_of(optimizer)), "") == "model":
            if model is None or groups:
                raise TypeError(
                    f"{getattr(optimizer, '__name__', optimizer)} wants a model and not its parameters: that takes "
                    "ravine.descend, a problem made of a module, and no groups"
                )
            return optimizer(model, **settings)  # type: ignore[no-any-return]
        if not groups:
            return optimizer(list(leaves.values()), **settings)  # type: ignore[no-any-return]
        members: dict[str | None, list[torch.Tensor]] = {None: [], **{pattern: [] for pattern in self.groups}}
        for name, leaf in leaves.items():
            members[next((p for p in self.groups if fnmatchcase(name, p)), None)].append(leaf)
        for pattern in self.groups:
            if not members[pattern]:
                raise ValueError(f"groups: no parameter fits {pattern!r}; the problem has {listed(leaves)}")
        made = [{"params": members[None]}] if members[None] else []
        made += [{"params": members[pattern], **groups[pattern]} for pattern in self.groups]
        return optimizer(made, **settings)  # type: ignore[no-any-return]

    def schedule_for(self, rule: torch.optim.Optimizer) -> Any:
        """Make the scheduler of one run, which what it is made of does not outlive; None without one."""
        return _schedule(make_copy(self.scheduler), rule)


def begin(problem: Problem, spec: RunSpec) -> tuple[Live, torch.optim.Optimizer, Mapping[str, torch.Tensor]]:
    """Return what one run has of its own: its leaves, its optimizer, and the tensors that this one is handed."""
    live = problem.live()
    # torch refuses to write into leaves under autograd: hand the optimizer aliases of the same memory
    alias = spec.settings.get("differentiable")
    handed = {name: leaf.detach() for name, leaf in live.leaves.items()} if alias else live.leaves
    model = next((each for each in live.modules if isinstance(each, torch.nn.Module)), None)
    return live, spec.rule_for(handed, model), handed


def leaves_of(rule: torch.optim.Optimizer, handed: Mapping[str, torch.Tensor], spec: RunSpec) -> list[Leaf]:
    """Return the tensors that an optimizer holds, each with the settings that are its own.

    Those are what `groups` says, and what the optimizer's groups say otherwise than its defaults: a function that makes
    an optimizer may make groups too.
    """
    group_of = {id(each): group for group in rule.param_groups for each in group["params"]}
    leaves = []
    for name, leaf in handed.items():
        given: Mapping[str, Any] = next((s for p, s in spec.groups.items() if fnmatchcase(name, p)), {})
        held = group_of.get(id(leaf), {})
        own = {n: plain(v) for n, v in held.items() if n in rule.defaults and not _equal(v, rule.defaults[n])}
        leaves.append(Leaf(name, leaf.numel(), {n: plain(v) for n, v in given.items()} | own))
    return leaves


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(plain(one) == plain(other))


def _schedule(make: Scheduler | None, rule: torch.optim.Optimizer) -> Any:
    if make is None:
        return None
    if not callable(make):
        raise TypeError(
            f"scheduler must be called with the optimizer, got {kind_of(make)}; "
            "for example functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)"
        )
    schedule = make(rule)
    if not isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
        raise TypeError(f"scheduler gave {kind_of(schedule)}, expected one of torch.optim.lr_scheduler")
    return schedule
