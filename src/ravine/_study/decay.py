"""Which weight decay belongs to what is minimised: of one run from its settings, of runs from what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._study.choose import choose
from ravine._study.contract import plane_of
from ravine._study.optimizer import facts_made, is_coupled, made_by, optimizers_of
from ravine._study.provenance import facts_along

Decay = float | tuple[float, ...]
"""Weight decay that is minimised with the loss: one for all parameters, or one for each."""


@dataclass(frozen=True)
class Leaf:
    """One tensor of parameters, and the settings that it has of its own, in a group."""

    name: str
    size: int
    own: Mapping[str, Any]


def minimised_decay(path: str, settings: Mapping[str, Any], leaves: Sequence[Leaf] = ()) -> Decay | None:
    """Return the weight decay that an optimizer minimises with the loss; None where that is not known.

    It is one for each parameter where `leaves` have their own.

    Examples
    --------
    >>> minimised_decay("torch.optim.sgd:SGD", {"weight_decay": 0.5})
    0.5
    >>> minimised_decay("torch.optim.adamw:AdamW", {"weight_decay": 0.5})
    0.0
    >>> leaves = [Leaf("w", 2, {}), Leaf("b", 1, {"weight_decay": 0.0})]
    >>> minimised_decay("torch.optim.sgd:SGD", {"weight_decay": 0.5}, leaves)
    (0.5, 0.5, 0.0)
    >>> minimised_decay("mine:SGD", {"weight_decay": 0.5}) is None
    True
    """
    if any("maximize" in leaf.own for leaf in leaves):
        return None
    each = [_minimised(path, {**settings, **leaf.own}) for leaf in leaves] or [_minimised(path, settings)]
    known = [amount for amount in each if amount is not None]
    if len(known) < len(each):
        return None
    if len(set(known)) == 1:
        return known[0]
    return tuple(amount for leaf, amount in zip(leaves, known, strict=True) for _ in range(leaf.size))


def _minimised(path: str, settings: Mapping[str, Any]) -> float | None:
    if settings.get("maximize"):
        return None
    amount = float(settings.get("weight_decay") or 0.0)
    coupled = is_coupled(path, decoupled=bool(settings.get("decoupled_weight_decay")))
    if coupled is None:
        return None if amount else 0.0  # what others do with their decay is not known
    if not coupled:
        return 0.0
    return amount if 0 <= amount < np.inf else None


def leaves_of(runs: xr.Dataset) -> list[list[Leaf]]:
    """Return the tensors of parameters whose settings were given in groups, for all of these runs that have groups."""
    return [[Leaf(name, size, own) for name, size, own in each] for each in facts_made(runs, "leaves")]


def decay_of(runs: xr.Dataset) -> xr.Variable:
    """Return the weight decay that is minimised with the loss (…), or (…, parameter) where groups have their own."""
    dims, leaves = facts_along(runs, made_by(runs, "leaves"), "leaves")
    grouped = any(isinstance(each, list) for (each,) in leaves.flat)
    paths = optimizers_of(runs)
    known = np.array([bool(is_coupled(each)) for each in paths.values.flat], dtype=bool)
    coupled = xr.Variable(paths.dims, known.reshape(paths.shape))
    amount = _amount_of(runs, grouped=grouped)
    if "decoupled_weight_decay" in runs.coords:
        apart = runs.variables["decoupled_weight_decay"]
        common = coupled & (apart.isnull() | (apart == 0))
    else:
        common = coupled
    # an optimizer without the setting has NaN beside others that have it
    decay = choose(common & amount.notnull(), amount, 0.0)
    if not grouped or "parameter" not in runs.dims:
        return decay
    if plane_of(runs) is not None:  # its coordinates are no parameters: which of them decay is not to be told
        return xr.zeros_like(decay)
    own = np.full((*leaves.shape, runs.sizes["parameter"]), np.nan)
    for place in np.ndindex(leaves.shape):
        for leaf, where in _places_of(leaves[place][0], runs) if isinstance(leaves[place][0], list) else ():
            if leaf.own.get("decoupled_weight_decay"):
                own[(*place, where)] = 0.0
            elif "weight_decay" in leaf.own:
                own[(*place, where)] = leaf.own["weight_decay"]
    held = xr.Variable((*dims, "parameter"), own)
    each = choose(held.isnull(), decay, choose(coupled, held, 0.0)).transpose(..., "parameter")
    first = each.isel(parameter=0)
    return first if bool((each == first).all()) else each


def _amount_of(runs: xr.Dataset, *, grouped: bool) -> xr.Variable:
    """Return the weight decay that was given for all parameters; where groups have their own it is no coordinate."""
    given = runs.variables["weight_decay"] if "weight_decay" in runs.coords else xr.Variable((), np.nan)
    given = given.astype(np.float64)
    if not grouped:
        return given
    dims, facts = facts_along(runs, made_by(runs, "settings"), "settings")
    numbers = [each.get("weight_decay") if isinstance(each, Mapping) else None for (each,) in facts.flat]
    written = np.reshape([np.nan if each is None else float(each) for each in numbers], facts.shape)
    return choose(given.isnull(), xr.Variable(dims, written), given)


def _places_of(leaves: Sequence[Any], runs: xr.Dataset) -> Iterator[tuple[Leaf, NDArray[np.intp]]]:
    """Return each tensor with the places of its elements among the parameters."""
    labels = runs["parameter"].values if "parameter" in runs.coords else np.arange(runs.sizes["parameter"])
    if labels.dtype.kind in "UO":
        names = {name for name, _, _ in leaves}
        owners = np.array([each if each in names else each.rpartition("[")[0] for each in map(str, labels)])
    else:  # beyond what is labelled, parameters are numbered
        owners = np.repeat([name for name, _, _ in leaves], [size for _, size, _ in leaves])[labels.astype(int)]
    for name, size, own in leaves:
        yield Leaf(name, size, own), np.flatnonzero(owners == name)
