"""What a recording holds: which tensors, by which names, and the settings of the optimizers that move them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ravine._descent.dataset import is_coordinate, overridden_by, plain, settings_now
from ravine._format import kind_of, listed
from ravine._problem.over_batches import OWN
from ravine._study.decay import Leaf
from ravine._study.optimizer import path_of

WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Modules of torch that hold another one, and under which name."""

INNER = ("optimizer", "_optimizer", "base_optimizer")
"""Where wrapped optimizers keep the one that takes the steps (Accelerate, Lightning, sharpness-aware ones)."""


Buffers = Mapping[str, tuple[torch.nn.Module, str]]
"""Buffers by their names: the module that owns each, and what it is called there."""


def find_optimizers(given: Any) -> list[torch.optim.Optimizer]:
    """Return the optimizers that take the steps: wrapped ones are unwrapped.

    Raises
    ------
    TypeError
        If one of them is none.
    """
    several = list(given) if isinstance(given, list | tuple) else [given]
    found = [_unwrapped(each) for each in several]
    for each in found:
        if not isinstance(each, torch.optim.Optimizer) or not hasattr(each, "_optimizer_step_post_hooks"):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer, or a list of them, got {kind_of(each)}: a recording "
                "counts its steps by register_step_post_hook"
            )
    if not found:
        raise ValueError("the list of optimizers is empty: give the one that takes the steps")
    return list(dict.fromkeys(found))


def _unwrapped(optimizer: Any) -> Any:
    for _ in range(8):  # a wrapper may hold itself
        inner = (getattr(optimizer, name, None) for name in INNER)
        bare = next((each for each in inner if isinstance(each, torch.optim.Optimizer)), None)
        if bare is None or bare is optimizer:
            return optimizer
        optimizer = bare
    return optimizer


def bare_names(model: torch.nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return names of a model's tensors without what compiled and parallel modules put in front of them.

    Examples
    --------
    >>> wrapped = torch.nn.Sequential(torch.nn.DataParallel(torch.nn.Linear(1, 1)))
    >>> list(bare_names(wrapped, ["0.module.weight", "0.module.bias"]).values())
    ['0.weight', '0.bias']
    """
    held = {
        f"{path}.{inner}".lstrip(".")
        for path, module in model.named_modules()
        if (inner := WRAPPERS.get(type(module).__name__)) and hasattr(module, inner)
    }
    found = {}
    for name in names:
        parts = name.split(".")
        kept = [part for k, part in enumerate(parts) if ".".join(parts[: k + 1]) not in held]
        found[name] = ".".join(kept)
    return found


@dataclass(frozen=True)
class Members:
    """Tensors by their names, in the order of `named_parameters`; `layers` are those that belong to one module."""

    tensors: Mapping[str, torch.Tensor]
    layers: Mapping[str, Sequence[str]]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that holds them all, of those that numpy has."""
        found = torch.float16
        kinds = {each.dtype for each in self.tensors.values()}
        for kind in kinds:
            found = torch.promote_types(found, torch.float32 if kind == torch.bfloat16 else kind)
        return found

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each."""
        return {name: tuple(each.shape) for name, each in self.tensors.items()}


def find_members(model: torch.nn.Module, criterion: Any, optimizers: Sequence[torch.optim.Optimizer]) -> Members:
    """Return the trainable parameters of optimizers that belong to a model, or to its criterion.

    Raises
    ------
    ValueError
        If there are none.
    """
    held = {id(each) for rule in optimizers for group in rule.param_groups for each in group["params"]}
    names = named_tensors(model, criterion)
    tensors = {name: each for name, each in names.items() if id(each) in held and each.requires_grad}
    if not tensors:
        if not any(each.requires_grad for each in names.values()):
            raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing is trained")
        raise ValueError(
            f"none of the optimizer's parameters that require a gradient belongs to {type(model).__name__}: "
            "give the model that it trains"
        )
    complexes = [name for name, each in tensors.items() if each.is_complex()]
    if complexes:
        raise ValueError(f"parameter {complexes[0]!r} is complex; real parameters expected")
    layers: dict[str, list[str]] = {}
    for name in tensors:
        layers.setdefault(name.rpartition(".")[0] or type(model).__name__, []).append(name)
    return Members(tensors, layers)


def named_tensors(model: torch.nn.Module, criterion: Any) -> dict[str, torch.Tensor]:
    """Return all parameters of a model by their bare names, tied ones once, and those of its criterion."""
    own = dict(model.named_parameters())
    bare = bare_names(model, own)
    found: dict[str, torch.Tensor] = {bare[name]: each for name, each in own.items()}
    if isinstance(criterion, torch.nn.Module):
        found |= {f"{OWN}{name}": each for name, each in criterion.named_parameters()}
    return found


def named_buffers(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, str]]:
    """Return where the buffers are that are part of a model's state, by their bare names: the module, and its name."""
    found: dict[str, tuple[torch.nn.Module, str]] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, each in module._buffers.items():
            if each is None or name in module._non_persistent_buffers_set or id(each) in seen:
                continue
            if each.numel() and not each.is_complex():
                seen.add(id(each))
                found[f"{path}.{name}".lstrip(".")] = module, name
    bare = bare_names(model, found)
    return {bare[name]: place for name, place in found.items()}


def settings_of(
    optimizers: Sequence[torch.optim.Optimizer], members: Members, *, initial: bool = False
) -> tuple[dict[str, Any], dict[str, Any], list[Leaf]]:
    """Return the settings as they are now: the coordinates, all of them, and what each tensor has of its own.

    With `initial` the lr is what a scheduler was given, where one has noted that: a warm-up begins elsewhere.
    """
    if len(optimizers) > 1:  # whose rule moves which tensor how often is nobody's to say
        names = listed([type(each).__name__ for each in optimizers])
        return {"optimizer": names}, {}, []
    rule = optimizers[0]
    groups = _groups_of(rule, members)
    if initial:
        groups = [{**group, "lr": group["initial_lr"]} if "initial_lr" in group else group for group in groups]
    group_of = {id(p): group for group in groups for p in group["params"]}
    common = {
        name: groups[0][name]
        for name in rule.defaults
        if name in groups[0] and all(_same(group.get(name), groups[0][name]) for group in groups)
    }
    leaves = [
        Leaf(
            name,
            each.numel(),
            {n: plain(v) for n, v in group_of[id(each)].items() if n in rule.defaults and n not in common},
        )
        for name, each in members.tensors.items()
    ]
    coords = {n: plain(v) for n, v in common.items() if is_coordinate(n, v, overridden_by(leaves))}
    return {**coords, "optimizer": type(rule).__name__}, {n: plain(v) for n, v in common.items()}, leaves


def scheduled_now(optimizers: Sequence[torch.optim.Optimizer], members: Members) -> dict[str, float]:
    """Return the settings that a scheduler may move, as they are now; of several optimizers none.

    One in which groups differ is NaN: it is that of no step, but of some parameters.
    """
    if len(optimizers) > 1:
        return {}
    each = [_moving_in(group) for group in _groups_of(optimizers[0], members)]
    return {n: v if all(other.get(n) == v for other in each) else math.nan for n, v in each[0].items()}


def rates_now(optimizers: Sequence[torch.optim.Optimizer], members: Members) -> list[float]:
    """Return the lr of each group as it is now."""
    return [_moving_in(group).get("lr", 0.0) for rule in optimizers for group in _groups_of(rule, members)]


def _moving_in(group: Mapping[str, Any]) -> dict[str, float]:
    rate = {"lr": float(group["lr"])} if "lr" in group else {}
    return rate | settings_now(group)


def _groups_of(rule: torch.optim.Optimizer, members: Members) -> list[dict[str, Any]]:
    """Return the groups of an optimizer that hold any tensor that is recorded."""
    recorded = {id(each) for each in members.tensors.values()}
    return [group for group in rule.param_groups if any(id(each) in recorded for each in group["params"])]


def path_of_rules(optimizers: Sequence[torch.optim.Optimizer]) -> str:
    """Return the class of an optimizer as runs record it; of several, what no rule is known by."""
    paths = [path_of(type(each)) for each in optimizers]
    if len(paths) == 1:
        return paths[0]
    return f"several ({listed(paths)}):{listed([type(each).__name__ for each in optimizers])}"


def _same(one: Any, other: Any) -> bool:
    return one is other or bool(plain(one) == plain(other))
