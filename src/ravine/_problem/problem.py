"""Problem: a loss as a function of named parameters, and where to start."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ravine._format import hint
from ravine._problem.criteria import ELEMENTWISE, Criterion, elementwise, name_of
from ravine._problem.read_csv import read
from ravine._study.contract import RESERVED
from ravine._system import process_state
from ravine._torch import as_data, copied, fork_random_state


@dataclass(frozen=True, eq=False)
class Parts:
    """What a problem was made of, so that faster engines can recognise it."""

    model: torch.nn.Module
    criterion: Criterion
    inputs: torch.Tensor
    targets: torch.Tensor
    names: tuple[str, str] = ("x", "y")

    def alike_but_criterion(self, other: Parts) -> bool:
        """Tell whether only the criterion differs."""
        with process_state():
            mine, theirs = self.model.state_dict(), other.model.state_dict()
        return (
            repr(self.model) == repr(other.model)
            and self.model.training == other.model.training
            and mine.keys() == theirs.keys()
            and all(_same(mine[name], theirs[name]) for name in mine)
            and _same(self.inputs, other.inputs)
            and _same(self.targets, other.targets)
        )


def neuron(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    """Return a linear layer with these parameters; no random number is drawn."""
    layer: torch.nn.Linear = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer.to(weight.dtype)


def loss_of(parts: Parts) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """Return the loss as a function of named parameters; it leaves the module as it was."""
    return lambda parameters: parts.criterion(call(parts, parameters), parts.targets)


def call(parts: Parts, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the module's output with these parameters."""
    # the module is the one that all threads see, and holds other parameters while it is called
    with process_state():
        # buffers are cloned at each call: a BatchNorm in train mode writes into them
        buffers = {name: buffer.clone() for name, buffer in parts.model.named_buffers()}
        output: torch.Tensor = torch.func.functional_call(parts.model, {**parameters, **buffers}, (parts.inputs,))
    return output


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


Loss = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss as a function of named parameters, and where to start.

    Parameters
    ----------
    loss
        Takes a mapping of parameter name to tensor and returns the loss, a tensor with one element.
    start
        Parameter name to the value there: numbers, arrays or tensors. Integers become torch's default dtype.
    ranges
        Parameter name to (low, high): the part of the plane worth looking at, horizontal axis first.
        `ravine.surface` uses it where no axes are named.
    minimizers
        Where the loss is known to be lowest, if that is known: parameter name to value, for each such place.
    parts
        Filled in by `Problem.of`; engines recognise the model by it.

    Examples
    --------
    >>> from ravine import Problem, descend
    >>> rosenbrock = Problem(
    ...     lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2,
    ...     start={"x": -1.2, "y": 1.0},
    ... )
    >>> rosenbrock.labels
    ('x', 'y')
    >>> descend(rosenbrock, lr=1e-3, steps=10).position.shape
    (11, 2)

    Raises
    ------
    ValueError
        If there is no parameter, a name is one that the study contract uses, or a value is no finite number.
    """

    loss: Loss
    start: Mapping[str, Any]
    ranges: Mapping[str, tuple[float, float]] | None = None
    minimizers: Sequence[Mapping[str, float]] = ()
    parts: Parts | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of a mapping of parameters, got {type(self.loss).__name__}")
        object.__setattr__(self, "start", MappingProxyType(_as_start(self.start)))

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        criterion: Criterion,
        data: tuple[Any, Any],
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        names: tuple[str, str] = ("x", "y"),
    ) -> Problem:
        """Make a problem from a module, a criterion and the data.

        The module is copied as it is now, with its modes and buffers, and never touched afterwards. Its
        parameters that require a gradient are the problem's parameters; where they are now is the start.

        Parameters
        ----------
        model
            Any `torch.nn.Module`.
        criterion
            Called as ``criterion(model(inputs), targets)``; must return one number.
        data
            ``(inputs, targets)``, as tensors or arrays, the whole batch.
        ranges
            See `Problem`.
        names
            What inputs and targets are called in pictures.

        Examples
        --------
        >>> import torch
        >>> from ravine import Problem
        >>> x = torch.linspace(-1, 1, 20).reshape(-1, 1)
        >>> problem = Problem.of(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (x, 3 * x + 1))
        >>> problem.labels
        ('weight', 'bias')

        Raises
        ------
        ValueError
            If inputs and targets do not belong together, hold values that are not finite, or the criterion
            returns more than one number. Errors of torch itself are passed on in torch's words.
        """
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if any(torch.nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
            raise ValueError(f"{type(model).__name__} has lazy parameters: call it on some inputs once, then pass it")
        if not (isinstance(data, Sequence) and len(data) == 2):
            raise TypeError(f"data must be a pair (inputs, targets), got {type(data).__name__}")
        inputs, targets = (as_data(name, value) for name, value in zip(("inputs", "targets"), data, strict=True))
        if inputs.shape[:1] != targets.shape[:1]:
            raise ValueError(
                f"inputs have {_rows(inputs)} and targets {_rows(targets)}: they must have the same number"
            )
        with process_state():
            parts = Parts(copy.deepcopy(model), copy.deepcopy(criterion), inputs, targets, names)
        start = {name: p for name, p in parts.model.named_parameters() if p.requires_grad}
        if not start:
            raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to optimize")
        problem = cls(loss_of(parts), start, ranges, parts=parts)
        problem._try_parts()
        return problem

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        x: str | Sequence[str] | None = None,
        y: str | None = None,
        criterion: Criterion | None = None,
        *,
        standardize: bool = False,
        start: Mapping[str, Any] | None = None,
    ) -> Problem:
        r"""Make the regression of one column of a CSV file on others: a linear neuron, as in the article.

        Parameters
        ----------
        path
            The file. The separator is found out; without a header row columns are named "1", "2", …
        x, y
            Names of the input column (or columns) and of the target. May be left out where there are just two.
        criterion
            `torch.nn.MSELoss()` if left out.
        standardize
            Bring inputs and target to mean 0 and standard deviation 1 first. Plain gradient descent on raw
            columns of very different size needs a tiny lr, and then takes very long.
        start
            Where to start, by parameter name (``weight``, ``bias``); zero if left out.

        Examples
        --------
        >>> import tempfile
        >>> from ravine import Problem
        >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        ...     _ = file.write("hours,score\n1,52\n2,55\n4,61\n")
        ...     file.flush()
        ...     problem = Problem.from_csv(file.name, x="hours", y="score")
        >>> problem.labels, problem.parts.inputs.shape
        (('weight', 'bias'), torch.Size([3, 1]))

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is empty, has fewer than two rows, lacks a column, or holds text or gaps in one; the
            message names the place.
        """
        table = read(Path(path), x, y, standardize=standardize)
        inputs, targets = (copied(a).to(torch.get_default_dtype()) for a in (table.inputs, table.targets))
        model = neuron(torch.zeros(1, len(table.x)), torch.zeros(1))
        names = (", ".join(table.x), table.y)
        problem = cls.of(model, criterion or torch.nn.MSELoss(), (inputs, targets), names=names)
        return problem.starting_at(start or {})

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """One label for each number among the parameters: the name, with an index where it holds several."""
        return tuple(
            name if value.numel() == 1 else f"{name}[{','.join(map(str, index))}]"
            for name, value in self.start.items()
            for index in np.ndindex(tuple(value.shape))
        )

    @property
    def criterion(self) -> str | None:
        """Name of the criterion, where the problem has one."""
        return None if self.parts is None else name_of(self.parts.criterion)

    def starting_at(self, values: Mapping[str, Any] | None = None, **more: Any) -> Problem:
        """Return the same problem with another start; parameters that are not named stay where they are.

        Examples
        --------
        >>> import ravine
        >>> problem = ravine.gallery.article()["MSELoss"].starting_at(weight=0.0)
        >>> {name: value.item() for name, value in problem.start.items()}
        {'weight': 0.0, 'bias': -3.0}
        """
        moved = dict(self.start)
        for name, value in {**(values or {}), **more}.items():
            if name not in moved:
                raise ValueError(f"no parameter {name!r}; the problem has {', '.join(moved)}{hint(name, moved)}")
            old = moved[name]
            try:
                new = torch.as_tensor(value, dtype=old.dtype, device=old.device)
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(f"start of {name!r} is no number or array: {value!r}") from None
            if new.numel() != old.numel():
                raise ValueError(f"start of {name!r} has {new.numel()} numbers, the parameter {old.numel()}")
            moved[name] = new.reshape(old.shape)
        return replace(self, start=moved)

    def in_double(self) -> Problem:
        """Return the same problem in float64, its data and start as they are.

        Examples
        --------
        >>> import ravine
        >>> problem = ravine.gallery.article()["MSELoss"].in_double()
        >>> problem.start["weight"].dtype, problem.parts.inputs.dtype
        (torch.float64, torch.float64)
        """
        return self.in_dtype(torch.float64)

    def in_dtype(self, dtype: torch.dtype) -> Problem:
        """Return the same problem in another precision."""
        start = {name: value.to(dtype) for name, value in self.start.items()}
        if self.parts is None:
            return replace(self, start=start)
        kept = self.parts
        inputs, targets = (d.to(dtype) if d.is_floating_point() else d for d in (kept.inputs, kept.targets))
        with process_state():
            model, criterion = copy.deepcopy(kept.model).to(dtype), copy.deepcopy(kept.criterion)
        if isinstance(criterion, torch.nn.Module):
            criterion = criterion.to(dtype)
        parts = Parts(model, criterion, inputs, targets, kept.names)
        return replace(self, loss=loss_of(parts), start=start, parts=parts)

    def live(self) -> Live:
        """Return fresh leaves at the start, to be trained.

        A module is copied and the copy trains: calling it costs a quarter less than `functional_call`.
        """
        if self.parts is None:
            leaves = {name: value.clone().requires_grad_() for name, value in self.start.items()}
            return Live(leaves, lambda: self.loss(leaves))
        parts = self.parts
        with process_state():
            model = copy.deepcopy(parts.model)
        leaves = {name: p for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(self.start[name])
                leaf.grad = None
        criterion, inputs, targets = parts.criterion, parts.inputs, parts.targets
        return Live(
            leaves,
            lambda: criterion(model(inputs), targets),
            lambda: model(inputs),
            lambda some, their: criterion(model(some), their),
            tuple(model.buffers()),
        )

    def _try_parts(self) -> None:
        """Call the model once, so that what does not fit together is said now and not in the middle of work."""
        parts = self.parts
        assert parts is not None
        with torch.no_grad(), fork_random_state():
            prediction = call(parts, self.start)
            if isinstance(parts.criterion, ELEMENTWISE) and prediction.shape != parts.targets.shape:
                raise ValueError(
                    f"the model's output has shape {tuple(prediction.shape)} and the targets "
                    f"{tuple(parts.targets.shape)}: {name_of(parts.criterion)} would compare every one with every "
                    "other; reshape the targets"
                )
            loss = parts.criterion(prediction, parts.targets)
        scalar(loss, f"{name_of(parts.criterion)} (reduction={getattr(parts.criterion, 'reduction', None)!r})")


def _no_batches(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise TypeError("a problem made from a function has no data to take batches of")


@dataclass(frozen=True, eq=False)
class Live:
    """One run's own leaves, and what holds where they now are: the loss, the model's output, the loss of a batch."""

    leaves: dict[str, torch.Tensor]
    loss: Callable[[], torch.Tensor]
    predict: Callable[[], torch.Tensor] | None = None
    loss_of: Callable[..., torch.Tensor] = _no_batches
    buffers: tuple[torch.Tensor, ...] = ()


def scalar(loss: Any, maker: str = "the loss") -> torch.Tensor:
    """Return the loss if it is one real number, else say what was expected."""
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"{maker} must return a tensor with one element, got {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(
            f"{maker} returned {loss.numel()} numbers (shape {tuple(loss.shape)}), expected one: "
            'use reduction="mean" or "sum", or add .mean()'
        )
    return loss


def is_linear(problem: Problem) -> bool:
    """Tell whether a problem's model is one linear layer of torch, and nothing but that."""
    parts = problem.parts
    return (
        parts is not None
        and type(parts.model) is torch.nn.Linear
        and not parts.model._forward_hooks
        and not parts.model._forward_pre_hooks
    )


def is_neuron(problem: Problem) -> bool:
    """Tell whether a problem is one linear neuron with a bias, under a criterion that has an element-wise form."""
    parts = problem.parts
    return (
        parts is not None
        and is_linear(problem)
        and tuple(problem.start) == ("weight", "bias")
        and parts.inputs.ndim == 2
        and parts.targets.shape == (len(parts.inputs), 1)
        and elementwise(parts.criterion) is not None
    )


def dimension(problems: Mapping[str, Problem]) -> str:
    """Name the dimension that a mapping of problems makes: `criterion` where only that differs.

    Raises
    ------
    ValueError
        If the mapping is empty or the problems' parameters differ.
    """
    if not problems:
        raise ValueError("the mapping of problems is empty")
    for label, problem in problems.items():
        if not isinstance(problem, Problem):
            raise TypeError(f"{label!r} is a {type(problem).__name__}, expected a ravine.Problem")
    labelled = list(problems.items())
    first_label, first = labelled[0]
    for label, problem in labelled[1:]:
        if problem.labels != first.labels:
            raise ValueError(
                f"parameters differ: {first_label!r} has {', '.join(first.labels[:4])} and {label!r} "
                f"{', '.join(problem.labels[:4])}; problems in one mapping must share them"
            )
    alike = first.parts is not None and all(
        problem.parts is not None and first.parts.alike_but_criterion(problem.parts) for problem in problems.values()
    )
    return "criterion" if alike else "problem"


def _as_start(start: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if not isinstance(start, Mapping) or not start:
        raise ValueError(f"start must be a mapping of at least one parameter name to its value, got {start!r}")
    tensors = {}
    for name, value in start.items():
        if not isinstance(name, str) or not name or name in RESERVED:
            raise ValueError(f"a parameter cannot be called {name!r}: ravine's studies use that name; choose another")
        try:
            tensor = copied(value)
        except (TypeError, ValueError, RuntimeError) as reason:
            raise ValueError(f"start of {name!r} is no number or array: {value!r} ({reason})") from None
        if tensor.is_complex():
            raise ValueError(f"start of {name!r} is complex; real parameters expected")
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        if not torch.isfinite(tensor).all():
            raise ValueError(f"start of {name!r} is not finite: {value!r}")
        tensors[name] = tensor
    dtypes = {name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"parameters have unlike dtypes ({dtypes}): give them all the same")
    return tensors


def _rows(tensor: torch.Tensor) -> str:
    return f"{tensor.shape[0]} row{'' if tensor.shape[0] == 1 else 's'}"
