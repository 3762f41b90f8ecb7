"""What a recording says of itself when it begins."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from ravine._descent.dataset import made_by
from ravine._problem.criteria import name_of
from ravine._record.members import Buffers, Members, path_of_rules, scheduled_now, settings_of
from ravine._store.recording import About
from ravine._study.provenance import provenance


def describe(
    model: torch.nn.Module,
    criterion: torch.nn.Module | None,
    optimizers: Sequence[torch.optim.Optimizer],
    members: Members,
    buffers: Buffers,
    *,
    positions: bool,
) -> About:
    """Return what the numbers of a recording are: of which tensors and buffers, under which settings, made by what."""
    coords, settings, leaves = settings_of(optimizers, members)
    planned, given, its = settings_of(optimizers, members, initial=True)
    if criterion is not None:
        coords["criterion"] = planned["criterion"] = name_of(criterion)
    rule = type(optimizers[0])
    facts = provenance(
        f"{'torch.optim.' if rule.__module__.startswith('torch.optim') else rule.__module__ + '.'}"
        f"{coords['optimizer']}, recorded",
        equals_torch="is torch",
        settings=settings,
        threads=torch.get_num_threads(),
        dtype=" and ".join(sorted({str(each.dtype).removeprefix("torch.") for each in members.tensors.values()})),
        model=type(model).__name__,
        **made_by(path_of_rules(optimizers), leaves),
    )
    return About(
        {name: list(shape) for name, shape in members.shapes.items()},
        str(torch.empty(0, dtype=members.dtype).numpy().dtype.str),
        {name: list(owner.get_buffer(own).shape) for name, (owner, own) in buffers.items()},
        list(members.layers),
        list(scheduled_now(optimizers, members)),
        coords,
        json.loads(facts),
        positions,
        {"coords": planned, "facts": {"settings": given, **made_by(path_of_rules(optimizers), its)}},
    )
