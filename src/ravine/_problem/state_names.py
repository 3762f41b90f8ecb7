"""Which tensor of a saved state is which of a model's: names without what wraps them, or under one prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

WRAPPED = frozenset({"module", "_orig_mod"})
"""Under which names modules that run in parallel, are compiled or averaged hold another one."""

USUAL = ("state_dict", "model_state_dict", "model", "module", "net")
"""What training loops call the state of their model, beside others (an average of its weights, say)."""

DEPTH = 3
"""Mappings inside one another that are looked through for tensors."""


def strip(name: str) -> str:
    """Return a name without what parallel and compiled modules put into it.

    Examples
    --------
    >>> strip("module._orig_mod.0.weight")
    '0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPED)


def groups_in(name: str, content: Any, depth: int = DEPTH) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give each mapping of names that holds a tensor, and the names that lead to it."""
    if not isinstance(content, Mapping) or not depth:
        return
    if any(torch.is_tensor(each) for each in content.values()) and all(isinstance(own, str) for own in content):
        yield name, content
    for own, each in content.items():
        yield from groups_in(f"{name}.{own}".lstrip("."), each, depth - 1)


def look_up(
    aliases: Mapping[str, Iterable[str]], parameters: Iterable[str], held: Iterable[str]
) -> tuple[str, dict[str, str]]:
    """Return the prefix that all names have in a state, and the state's name of each tensor that is there.

    Names are taken as they are, else without what wraps them; where none fits, the one prefix under which all do.

    Examples
    --------
    >>> look_up({"weight": ["weight"]}, ["weight"], ["n_averaged", "module.weight"])
    ('', {'weight': 'module.weight'})
    >>> look_up({"weight": ["weight"]}, ["weight"], ["net.weight"])
    ('net.', {'weight': 'net.weight'})
    """
    names, parameters = set(held), list(parameters)
    stripped = {strip(name): name for name in held}

    def under(prefix: str) -> dict[str, str]:
        found = {}
        for name, others in aliases.items():
            exact = (prefix + each for each in others if prefix + each in names)
            bare = (stripped[prefix + strip(each)] for each in others if prefix + strip(each) in stripped)
            if (its := next(exact, None) or next(bare, None)) is not None:
                found[name] = its
        return found

    found = under("")
    if any(name in found for name in parameters):
        return "", found
    first = strip(parameters[0])
    prefixes = [name.removesuffix(first) for name in stripped if name.endswith(f".{first}")]
    whole = [(prefix, found) for prefix in prefixes if set(parameters) <= (found := under(prefix)).keys()]
    return whole[0] if len(whole) == 1 else ("", {})


def choose_group(counts: Mapping[str, int]) -> str | None:
    """Return which of several states in a file is the model's, given how many of its parameters each holds.

    None where it is there more than once and no name tells which is meant.

    Examples
    --------
    >>> choose_group({"ema": 4, "model": 4, "optimizer": 0}), choose_group({"one": 4, "other": 4})
    ('model', None)
    """
    best = [group for group, count in counts.items() if count == max(counts.values())]
    return next((name for name in USUAL if name in best), best[0] if len(best) == 1 else None)
