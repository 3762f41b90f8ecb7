"""The one gate: is this torch's own SGD, with which settings, and which weight decay belongs to what is minimised.

Whether an optimizer is torch's is told by its class, which runs record as ``module:qualified name``, never by what it
is called. Of studies written before, the engine or the code of their provenance says it; of datasets that say nothing
of how they came about the coordinate ``optimizer`` is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ravine._format import listed
from ravine._study.contract import plane_of
from ravine._study.provenance import facts_along, facts_of, options_along

DEFAULTS: Mapping[str, Any] = {
    "lr": 1e-3,
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "maximize": False,
}
"""The settings that make a path, at torch's own defaults; a test holds them against torch."""

SETTINGS = tuple(DEFAULTS)
"""Names of the settings that make a path, in torch's order."""

LOOP_SETTINGS: Mapping[str, float] = {"clip_norm": np.inf, "noise": 0.0}
"""What the loop does to a gradient before an optimizer sees it, at values that do nothing."""

RATE_SETTINGS = ("momentum", "dampening", "nesterov")
"""What moves the stability limit besides the curvature; weight decay is part of that."""

SGD = "torch.optim.sgd:SGD"

COUPLED = frozenset({"SGD", "Adam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "NAdam", "RAdam", "Rprop"})
"""Torch's optimizers whose weight decay is added to the gradient, so that they minimise loss + decay."""

DECOUPLED = frozenset({"AdamW", "Muon", "Adafactor"})
"""Torch's optimizers that shrink the parameters apart from the gradient."""

Decay = float | tuple[float, ...]
"""Weight decay that is minimised with the loss: one for all parameters, or one for each."""

MADE = (
    *("position", "loss", "gradient", "velocity", "batch_loss", "scheduled_lr"),
    *("final_loss", "best_loss", "best_step", "arrival", "first_nonfinite", "diverged"),
)
"""Variables whose provenance says how runs were made."""


def path_of(optimizer: type) -> str:
    """Return a class as runs record it.

    Examples
    --------
    >>> path_of(int)
    'builtins:int'
    """
    return f"{optimizer.__module__}:{optimizer.__qualname__}"


def is_torchs(path: str) -> bool:
    """Tell whether a class is one of torch.optim itself.

    Examples
    --------
    >>> [is_torchs(path) for path in ("torch.optim.sgd:SGD", "mine:SGD", "torch_optimizer.adamp:AdamP")]
    [True, False, False]
    """
    return path.startswith(("torch.optim.", "torch.optim:"))


def name_of(path: str) -> str:
    """Name a class for people: with its module where the name alone would be taken for one of torch's.

    Examples
    --------
    >>> [name_of(path) for path in ("torch.optim.sgd:SGD", "mine:SGD", "mine:make.<locals>.Sign")]
    ['SGD', 'mine.SGD', 'Sign']
    """
    home, _, qualified = path.rpartition(":")
    name = qualified.rpartition(".")[2]
    return f"{home}.{name}" if not is_torchs(path) and home and is_namesake(path) else name


def is_namesake(path: str) -> bool:
    """Tell whether a class that is not torch's bears the name of one that is."""
    return not is_torchs(path) and path.rpartition(":")[2].rpartition(".")[2] in COUPLED | DECOUPLED


def is_coupled(path: str, *, decoupled: bool = False) -> bool | None:
    """Tell whether a class adds its weight decay to the gradient; None where that is not known.

    Parameters
    ----------
    path
        The class, as `path_of` writes it.
    decoupled
        Torch's switch ``decoupled_weight_decay``.

    Examples
    --------
    >>> [is_coupled(f"torch.optim.{path}") for path in ("adam:Adam", "adamw:AdamW")], is_coupled("mine:Adam")
    ([True, False], None)
    """
    if not is_torchs(path):
        return None
    return path.rpartition(":")[2] in COUPLED and not decoupled


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
    >>> minimised_decay(SGD, {"weight_decay": 0.5}), minimised_decay("torch.optim.adamw:AdamW", {"weight_decay": 0.5})
    (0.5, 0.0)
    >>> minimised_decay(SGD, {"weight_decay": 0.5}, [Leaf("w", 2, {}), Leaf("b", 1, {"weight_decay": 0.0})])
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


# -- what a study says ---------------------------------------------------------------------------------------------


def _made_by(runs: xr.Dataset, *facts: str) -> str:
    """Name the variable whose provenance holds one of these facts of how the runs were made; "" where none does."""
    return next((name for name in MADE for fact in facts if facts_of(runs, name, fact)), "")


def _facts(runs: xr.Dataset, fact: str) -> list[Any]:
    return facts_of(runs, _made_by(runs, fact), fact)


def optimizers_of(runs: xr.Dataset) -> xr.Variable:
    """Return the class of each run's optimizer as `path_of` writes it, or "" where it is not known.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.Problem(lambda p: p["x"] ** 2, start={"x": 1.0})
    >>> each = {rule.__name__: ravine.descend(bowl, rule) for rule in (torch.optim.SGD, torch.optim.Adam)}
    >>> optimizers_of(ravine.join(each)).values.tolist()
    ['torch.optim.sgd:SGD', 'torch.optim.adam:Adam']
    """
    names = runs.variables["optimizer"] if "optimizer" in runs.coords else xr.Variable((), "")
    asked = ("optimizer", "engine", "code")
    dims, facts = options_along(runs, _made_by(runs, *asked), *asked)
    whole = {dim: runs.sizes[dim] for dim in dict.fromkeys([*names.dims, *map(str, dims)])}
    paths = np.empty(list(whole.values()), dtype=object)
    for place in np.ndindex(paths.shape):
        at = dict(zip(whole, place, strict=True))
        name = str(names.values[tuple(at[dim] for dim in names.dims)])
        paths[place] = _choose_path(name, *facts[tuple(at[dim] for dim in dims)])
    return xr.Variable(tuple(whole), paths.astype(str))


def _choose_path(name: str, paths: Sequence[Any], engines: Sequence[Any], codes: Sequence[Any]) -> str:
    """Return the class of one run's optimizer, or "" where a label that was lost leaves open which."""
    found = {path for path in paths if path is not None}
    found = found or {_path_before(name, engine, code) for engine in engines for code in codes}
    if len(found) > 1:
        found = {path for path in found if path.rpartition(":")[2].rpartition(".")[2] == name}
    return str(found.pop()) if len(found) == 1 else ""


def _path_before(name: str, engine: Any, code: Any) -> str:
    """Return the class of one run's optimizer from what was said of it before classes were recorded."""
    if ":" in name:  # what is summed up as it is made names its class
        return name
    if isinstance(engine, str) and engine.endswith(", step by step"):
        home, _, own = engine.partition(",")[0].rpartition(".")
        return f"{home}.{own.lower()}:{own}" if home == "torch.optim" else f"{home}:{own}"
    spelled = code.get("optimizer") if isinstance(code, Mapping) else None
    if isinstance(engine, str) and engine.startswith("SGD's rule on a batch"):
        return SGD
    if isinstance(spelled, Mapping):
        words = str(spelled.get("cannot", ""))
        _, of_torch, rest = words.partition("functools.partial(<class 'torch.optim.")
        if of_torch:
            home, _, own = rest.partition("'")[0].rpartition(".")
            return f"torch.optim.{home}:{own}"
        own = words.partition(" ")[0].rpartition(".")[2]  # a class that no module had
        return f"__main__:{name}" if name and own == name else ""
    if isinstance(spelled, str):
        home, _, own = spelled.rpartition(".")
        return f"{home}.{own.lower()}:{own}" if home == "torch.optim" else f"{home}:{own}"
    return f"torch.optim.{name.lower()}:{name}" if name in COUPLED | DECOUPLED else name


def leaves_of(runs: xr.Dataset) -> list[list[Leaf]]:
    """Return the tensors of parameters whose settings were given in groups, for all of these runs that have groups."""
    return [[Leaf(name, size, own) for name, size, own in each] for each in _facts(runs, "leaves")]


def decay_of(runs: xr.Dataset) -> xr.Variable:
    """Return the weight decay that is minimised with the loss (…), or (…, parameter) where groups have their own."""
    dims, leaves = facts_along(runs, _made_by(runs, "leaves"), "leaves")
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
    decay = _choose(common & amount.notnull(), amount, 0.0)
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
    each = _choose(held.isnull(), decay, _choose(coupled, held, 0.0)).transpose(..., "parameter")
    first = each.isel(parameter=0)
    return first if bool((each == first).all()) else each


def _choose(condition: xr.Variable, yes: xr.Variable | float, no: xr.Variable | float) -> xr.Variable:
    chosen: xr.Variable = xr.where(condition, yes, no)  # type: ignore[no-untyped-call]
    return chosen


def _amount_of(runs: xr.Dataset, *, grouped: bool) -> xr.Variable:
    """Return the weight decay that was given for all parameters; where groups have their own it is no coordinate."""
    given = runs.variables["weight_decay"] if "weight_decay" in runs.coords else xr.Variable((), np.nan)
    given = given.astype(np.float64)
    if not grouped:
        return given
    dims, facts = facts_along(runs, _made_by(runs, "settings"), "settings")
    numbers = [each.get("weight_decay") if isinstance(each, Mapping) else None for (each,) in facts.flat]
    written = np.reshape([np.nan if each is None else float(each) for each in numbers], facts.shape)
    return _choose(given.isnull(), xr.Variable(dims, written), given)


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


@dataclass(frozen=True)
class Reason:
    """Why the rule of torch.optim.SGD, or theory, does not speak of runs."""

    kind: Literal[
        "unnamed",
        "other optimizer",
        "groups",
        "settings",
        "maximize",
        "scheduler",
        "mini-batches",
        "clip_norm",
        "noise",
        "plane",
    ]
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {
            "unnamed": "the study does not name its optimizer",
            "other optimizer": f"{listed(self.names)} is not torch.optim.SGD",
            "groups": "groups of parameters have settings of their own",
            "settings": f"the study does not say {listed(self.names)}",
            "maximize": "it climbs (maximize=True)",
            "scheduler": f"a scheduler changes its {' and '.join(self.names) or 'lr'}",
            "mini-batches": "what it sees is not the loss over all data (mini-batches, dropout, BatchNorm)",
            "clip_norm": "its gradients are clipped",
            "noise": "noise is added to its gradients",
            "plane": "its positions are coordinates in a plane, no parameters",
        }[self.kind]


@dataclass(frozen=True)
class Conditions:
    """Under which conditions runs were made, each of any of them; `optimizers` are their classes.

    `moved` are the settings besides the lr that a scheduler moves, or may have moved where the study does not say;
    `treated` are the settings of the loop by which gradients are clipped or noisy.
    """

    optimizers: tuple[str, ...]
    missing: tuple[str, ...]
    grouped: bool
    maximizes: bool
    scheduled: bool
    batched: bool
    moved: tuple[str, ...] = ()
    treated: tuple[Literal["clip_norm", "noise"], ...] = ()
    projected: bool = False

    @property
    def why_not_sgd(self) -> Reason | None:
        """Why the optimizer is not torch.optim.SGD."""
        if not all(self.optimizers):
            return Reason("unnamed")
        others = tuple(name_of(path) for path in self.optimizers if path != SGD)
        return Reason("other optimizer", others) if others else None

    @property
    def why_no_rule(self) -> Reason | None:
        """Why the runs do not go by the rule of torch.optim.SGD, with one value of each setting."""
        if self.projected:
            return Reason("plane")
        if self.why_not_sgd is None and self.grouped:
            return Reason("groups")
        return self.why_not_sgd or (Reason("settings", self.missing) if self.missing else None)

    @property
    def why_no_theory(self) -> Reason | None:
        """Why theory, which knows one setting throughout and the whole batch, does not speak of the runs."""
        reasons = (
            self.why_not_sgd,
            Reason("maximize") if self.maximizes else None,
            Reason("settings", self.missing) if self.missing else None,
            Reason("scheduler", ("lr", *self.moved)) if self.scheduled else None,
            Reason("groups") if self.grouped else None,
            Reason("mini-batches") if self.batched else None,
            *map(Reason, self.treated),
        )
        return next((reason for reason in reasons if reason is not None), None)


def conditions_of(runs: xr.Dataset, settings: Sequence[str] = SETTINGS) -> Conditions:
    """Read under which conditions runs were made.

    Parameters
    ----------
    runs
        One run, or any study of runs.
    settings
        Which the study must say.
    """
    codes = [each for each in _facts(runs, "code") if isinstance(each, Mapping)]
    grouped = any({*SETTINGS} & leaf.own.keys() for each in leaves_of(runs) for leaf in each)
    grouped |= any({*SETTINGS} & given.keys() for each in codes for given in (each.get("groups") or {}).values())
    scheduled = any("scheduler" in each for each in codes)
    if "scheduled_lr" in runs:  # a schedule may leave the lr as it is
        scheduled = (scheduled or not codes) and _is_moved(runs, "scheduled_lr", "lr")
    moved = tuple(name.removeprefix("scheduled_") for name in map(str, runs.data_vars) if name in _moving(runs))
    if not moved and scheduled and not facts_of(runs, _made_by(runs, "code"), "dtype"):
        # written before settings were recorded step by step: those two move momentum unless told not to
        spelled = " ".join(str(each.get("scheduler", "")) for each in codes)
        if any(name in spelled for name in ("OneCycleLR", "CyclicLR", "cannot")):
            moved = ("momentum",)
    scheduled |= bool(moved)
    batched = any("batch_size" in each for each in codes)
    batched |= "batch_loss" in runs and bool(np.isfinite(runs["batch_loss"].values).any())
    return Conditions(
        optimizers=tuple(sorted(set(optimizers_of(runs).values.ravel().tolist()))),
        missing=tuple(name for name in settings if name not in runs.coords),
        grouped=grouped,
        maximizes="maximize" in runs.coords and bool(runs["maximize"].any()),
        scheduled=scheduled,
        batched=batched,
        moved=moved,
        treated=treated_of(runs),
        projected=plane_of(runs) is not None,
    )


def treated_of(runs: xr.Dataset) -> tuple[Literal["clip_norm", "noise"], ...]:
    """Return the settings of the loop that act on the gradients of any of these runs; NaN: it has no such setting."""
    names: tuple[Literal["clip_norm", "noise"], ...] = ("clip_norm", "noise")
    acting = {n: runs[n].notnull() & (runs[n] != LOOP_SETTINGS[n]) for n in names if n in runs.coords}
    return tuple(name for name in names if name in acting and bool(acting[name].any()))


def _moving(runs: xr.Dataset) -> set[str]:
    """Return the settings besides the lr that were recorded step by step, where any of these runs has them."""
    names = {str(name) for name in runs.data_vars if str(name).startswith("scheduled_")} - {"scheduled_lr"}
    return {name for name in names if bool(runs[name].notnull().any())}


def _is_moved(runs: xr.Dataset, name: str, setting: str) -> bool:
    """Tell whether what was recorded step by step is not throughout what was given; runs without it do not count."""
    values = runs.variables[name].transpose(..., "step")
    given = runs.variables[setting] if setting in runs.coords else values.isel(step=0)
    last = xr.Variable((), np.inf)
    if "steps_taken" in runs:  # NaN where nobody counted
        counted = runs.variables["steps_taken"]
        last = xr.Variable(counted.dims, np.nan_to_num(counted.values.astype(np.float64), nan=np.inf))
    steps = runs["step"].values if "step" in runs.coords else np.arange(values.sizes["step"])
    taken = xr.Variable("step", steps) <= last
    there = values.notnull().any("step")
    if not bool(there.any()):
        return True  # a schedule that is no number
    return bool((taken & there & ~(values == given)).any())


@dataclass(frozen=True)
class Rule:
    """The rule of torch.optim.SGD for one run: its settings; under a scheduler `lr` is that at the start."""

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool
    maximize: bool


def off_plane(run: xr.Dataset) -> xr.Dataset:
    """Return a run without the plane that it is drawn on, for what holds of its updates wherever they are drawn."""
    return run.drop_vars("parameter", errors="ignore")


def rule_of(run: xr.Dataset) -> Rule | Reason:
    """Return the settings of a run of torch's own SGD, or the reason why there are none to go by.

    Examples
    --------
    >>> import ravine, torch
    >>> bowl = ravine.gallery.quadratic()
    >>> rule_of(ravine.descend(bowl, lr=0.1, momentum=0.5)).momentum
    0.5
    >>> print(rule_of(ravine.descend(bowl, torch.optim.Adam)))
    Adam is not torch.optim.SGD
    """
    reason = conditions_of(run).why_no_rule
    if reason is not None:
        return reason
    unlike = tuple(name for name in SETTINGS if run[name].ndim)
    if unlike:
        return Reason("settings", unlike)
    values = {name: run[name].values.item() for name in SETTINGS}
    numbers = {name: float(value) for name, value in values.items()}
    return Rule(**{**numbers, "nesterov": bool(values["nesterov"]), "maximize": bool(values["maximize"])})  # type: ignore[arg-type]
