"""Problem: a loss as a function of named parameters, and where to start."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ravine._format import TIMES, hint, kind_of, listed, number
from ravine._problem.batches import Batches, Weight, is_pair
from ravine._problem.copies import attributes_kept, buffers_kept, evaluation_mode, keeps_state, make_copy
from ravine._problem.criteria import ELEMENTWISE, Criterion, elementwise, name_of
from ravine._problem.fit_data import explain_criterion, explain_refusal, fit_data, names_of
from ravine._problem.from_loader import Loaded, load, own_parameters, unwrap
from ravine._problem.over_batches import OWN, OverBatches
from ravine._problem.read_csv import read
from ravine._problem.read_frame import name_of_source
from ravine._problem.starts import OfVector, is_vector, split_vector
from ravine._study.labels import LABELLED, labels_of, size_of
from ravine._system import process_state
from ravine._torch import copied, fork_random_state
from ravine._words.words import as_criterion

Mode = Literal["eval", "train"]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a problem was made of, so that faster engines can recognise it.

    `mode` says in which mode the loss is evaluated; `columns` names the inputs of a linear neuron, and `scales` holds
    mean and deviation that inputs and target had before they were standardized; `changes` says what was changed of the
    data so that the model takes it. Data of a loader that is evaluated batch by batch has its `batches`, views of it.
    """

    model: torch.nn.Module
    criterion: Criterion
    inputs: torch.Tensor
    targets: torch.Tensor
    names: tuple[str, str] = ("x", "y")
    mode: Mode = "eval"
    columns: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    scales: tuple[tuple[float, float], ...] = ()
    batches: Batches | None = None

    @property
    def first(self) -> Parts:
        """The same with the first batch alone, where there are several: enough to try what fits together."""
        if self.batches is None:
            return self
        inputs, targets = self.batches.items[0]
        return replace(self, inputs=inputs, targets=targets, batches=None)

    def alike_but_criterion(self, other: Parts) -> bool:
        """Tell whether only the criterion differs."""
        with process_state():
            mine, theirs = self.model.state_dict(), other.model.state_dict()
        return (
            repr(self.model) == repr(other.model)
            and self.model.training == other.model.training
            and self.mode == other.mode
            and mine.keys() == theirs.keys()
            and all(_same(mine[name], theirs[name]) for name in mine)
            and _same(self.inputs, other.inputs)
            and _same(self.targets, other.targets)
        )

    @property
    def apart(self) -> bool:
        """Whether the loss is another number than what the model trains on: it has dropout or BatchNorm, say."""
        return self.mode == "eval" and self.mode_matters

    @functools.cached_property
    def mode_matters(self) -> bool:
        """Whether the model does anything else in eval mode than in its own.

        It is called in both: its output, its buffers, or whether it draws random numbers must differ.
        """
        if not any(each.training for each in self.model.modules()):
            return False
        with process_state():
            own, still = make_copy(self.model), make_copy(self.model)
        with (
            process_state(),
            torch.enable_grad(),
            torch.random.fork_rng(),
        ):  # some layers take a shortcut without gradients
            seen = []
            for model, mode in ((own, nullcontext()), (still, evaluation_mode(still))):
                torch.manual_seed(0)
                with mode:
                    output = model(self.first.inputs)
                seen.append((_tensors(output), list(model.buffers()), [torch.get_rng_state()]))
        return not all(
            len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))
            for one, other in zip(*seen, strict=True)
        )

    @functools.cached_property
    def leaves_traces(self) -> bool:
        """Whether a forward pass writes into the model: its buffers, or attributes that it keeps."""
        if next(self.evaluated.buffers(), None) is not None:
            return True
        with process_state(), torch.no_grad(), torch.random.fork_rng():
            model = make_copy(self.evaluated)
            before = [dict(vars(each)) for each in model.modules()]
            model(self.first.inputs)
        return any(
            now.keys() != then.keys() or any(now[name] is not then[name] for name in then)
            for now, then in zip(map(vars, model.modules()), before, strict=True)
        )

    @functools.cached_property
    def evaluated(self) -> torch.nn.Module:
        """The model in the mode that the loss is evaluated in."""
        if not self.apart:
            return self.model
        still: torch.nn.Module = make_copy(self.model)
        return still.eval()

    @functools.cached_property
    def stateful(self) -> bool:
        """Whether the criterion changes when it is called, as one with a running mean does."""
        if type(self.criterion).__module__.startswith("torch.nn."):
            return False
        with process_state(), torch.no_grad(), torch.random.fork_rng():
            first = self.first
            output = call(first, dict(self.model.named_parameters()))
            return keeps_state(self.criterion, lambda criterion: criterion(output, first.targets))

    @property
    def criterion_now(self) -> Criterion:
        """The criterion for one evaluation: a copy where it would be another one afterwards."""
        criterion: Criterion = make_copy(self.criterion) if self.stateful else self.criterion
        return criterion


def neuron(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    """Return a linear layer with these parameters; no random number is drawn."""
    layer: torch.nn.Linear = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
    layer = layer.to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def loss_of(parts: Parts) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """Return the loss as a function of named parameters; it leaves module and criterion as they were."""
    if parts.batches is not None:
        return OverBatches.of(parts.model, parts.criterion, parts.batches, parts.mode)
    if not own_parameters(parts.criterion):
        return lambda parameters: parts.criterion_now(call(parts, parameters), parts.targets)

    def loss(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        own = {name.removeprefix(OWN): value for name, value in parameters.items() if name.startswith(OWN)}
        output = call(parts, {name: value for name, value in parameters.items() if not name.startswith(OWN)})
        criterion: Any = parts.criterion_now
        found: torch.Tensor = torch.func.functional_call(criterion, own, (output, parts.targets))
        return found

    return loss


def call(parts: Parts, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the module's output with these parameters."""
    model = parts.evaluated
    # the module is the one that all threads see, and holds other parameters while it is called
    with process_state(), attributes_kept(model):
        # buffers are cloned at each call: a BatchNorm in train mode writes into them
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        output: torch.Tensor = torch.func.functional_call(model, {**parameters, **buffers}, (parts.inputs,))
    return output


def _of_class(model: Any) -> str:
    return f": make one of it, as in {model.__name__}(…)" if isinstance(model, type) else ""


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    inner = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for each in inner for tensor in _tensors(each)]


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _dtype_for(*arrays: NDArray[np.float64]) -> torch.dtype:
    """Choose torch's default dtype, or float64 where numbers of a column that differ would become one."""
    usual = torch.get_default_dtype()
    for column in np.concatenate(arrays, axis=1).T:
        rounded = torch.from_numpy(np.array(column)).to(usual)
        if not torch.isfinite(rounded).all() or len(torch.unique(rounded)) < len(np.unique(column)):
            return torch.float64
    return usual


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (one.dtype == other.dtype and torch.equal(one, other))


Loss = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]

LINE = 110
"""Characters of a problem's repr, at most."""


def _start_text(name: str, value: torch.Tensor) -> str:
    """Write one parameter at the start: its value, or its shape where it is more than one number."""
    if value.numel() == 1:
        return f"{name} {number(value.item(), 4)}"
    return f"{name} {TIMES.join(map(str, value.shape))}"


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss as a function of named parameters, and where to start.

    Parameters
    ----------
    loss
        Takes a mapping of parameter name to tensor and returns the loss, a tensor with one element. With a vector as
        start it takes that vector.
    start
        Parameter name to the value there: numbers, arrays or tensors. Integers become torch's default dtype. Or one
        vector, whose numbers are called ``x[0]``, ``x[1]``, …
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
        If there is no parameter, a name is empty, or a value is no finite number.
    """

    loss: Loss
    start: Mapping[str, Any]
    ranges: Mapping[str, tuple[float, float]] | None = None
    minimizers: Sequence[Mapping[str, float]] = ()
    parts: Parts | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of a mapping of parameters, got {kind_of(self.loss)}")
        if is_vector(self.start):
            object.__setattr__(self, "loss", OfVector(self.loss))  # type: ignore[arg-type]
            object.__setattr__(self, "start", {"x": self.start})
        with torch.inference_mode(False):  # tensors made in it could not be differentiated by
            object.__setattr__(self, "start", MappingProxyType(_as_start(self.start)))

    def __repr__(self) -> str:
        """One line: what it is made of, and where it starts; of large parameters their shapes."""
        parts = self.parts
        made = f"{type(parts.model).__name__}, {self.criterion}, {len(parts.inputs):,} samples; " if parts else ""
        line = f"<Problem: {made}start {listed((_start_text(*each) for each in self.start.items()), 4)}>"
        return line if len(line) <= LINE else f"{line[: LINE - 2]}…>"

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        criterion: Criterion | str | None,
        data: Any,
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        names: tuple[str, str] | None = None,
        mode: Mode = "eval",
        samples: int | None = None,
        weight: Weight | None = None,
    ) -> Problem:
        """Make a problem from a module, a criterion and the data, or a loader of its batches.

        Module and criterion are copied as they are now, with their modes and buffers, and never touched afterwards.
        The module's parameters that require a gradient are the problem's parameters, and those of the criterion, as
        ``criterion.name``; where they are now is the start.

        Parameters
        ----------
        model
            Any `torch.nn.Module`.
        criterion
            Called as ``criterion(model(inputs), targets)``; must return one number. One that takes more is called in a
            function: ``lambda output, targets: loss(output[0], targets, output[1])``. Or a word for one of torch.nn:
            ``"mse"``, ``"HuberLoss(delta=0.5)"``. None for a loader whose batches are mappings: the loss is
            ``model(**batch).loss``.
        data
            ``(inputs, targets)``, as tensors, arrays or pandas tables and columns, the whole batch. Targets have
            whatever shape the criterion takes; mini-batches need a row of targets for each row of inputs. Tensors are
            taken as they are. Of everything else floats become the model's dtype, and where the model or an
            element-wise criterion takes no whole numbers, or one column only in another shape, those are changed too;
            ``problem.parts.changes`` says it, and the provenance of each run.

            Or a loader: any iterable of batches, ``(inputs, targets)`` or mappings, that can be walked through again.
            Its batches are collated once, from a random state that is put back, and the loss of all is their mean,
            weighted as the criterion averages: by samples; by targets that are not ignored, or the weight of their
            class, for cross entropy and NLL; summed for ``reduction="sum"``. Batches of less than 512 rows are joined
            where that gives the same loss.
        ranges
            See `Problem`.
        names
            What inputs and targets are called in pictures; the columns of tables, if left out.
        mode
            How the loss is evaluated: in eval mode, as after training, so that dropout is off and BatchNorm uses its
            running statistics; or in the modes that the module has (``"train"``). Runs train in the module's own
            modes all the same. It makes a difference only for modules with such layers.
        samples
            Of a loader: take this many samples, drawn at random with a seed of their own, where all are too many; the
            standard error of the loss is told.
        weight
            Of a loader: called with a batch, gives how much of what the criterion averages over is in it, for criteria
            of one's own that average over something else than samples.

        Examples
        --------
        >>> import torch
        >>> from ravine import Problem
        >>> x = torch.linspace(-1, 1, 20).reshape(-1, 1)
        >>> problem = Problem.of(torch.nn.Linear(1, 1), torch.nn.MSELoss(), (x, 3 * x + 1))
        >>> problem.labels
        ('weight', 'bias')
        >>> data = torch.utils.data.TensorDataset(x, 3 * x + 1)
        >>> loader = torch.utils.data.DataLoader(data, batch_size=8)
        >>> Problem.of(torch.nn.Linear(1, 1), "mse", loader).parts.inputs.shape
        torch.Size([20, 1])

        Raises
        ------
        ValueError
            If inputs and targets do not belong together, hold values that are not finite, or the criterion
            returns more than one number, would compare every prediction with every target, or does not take what it
            gets; and if the model does not take the inputs: the message names the layer and what it takes. If a loader
            is empty, has no end, or gives no scalar loss.
        MemoryError
            If a loader's batches do not fit into memory, with their size.
        """
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {kind_of(model)}{_of_class(model)}")
        model = unwrap(model)
        criterion = None if criterion is None else as_criterion(criterion)
        if mode not in ("eval", "train"):
            raise ValueError(f'mode must be "eval" or "train", got {mode!r}')
        if any(torch.nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
            raise ValueError(f"{type(model).__name__} has lazy parameters: call it on some inputs once, then pass it")
        if not is_pair(data) or samples is not None or weight is not None:
            with torch.inference_mode(False):
                return cls._of_loader(
                    load(model, criterion, [data] if is_pair(data) else data, mode, samples, weight), ranges, names
                )
        if criterion is None:
            raise TypeError(
                "criterion=None is for batches that are mappings, model(**batch).loss; these are pairs (inputs, "
                "targets): give the criterion"
            )
        with torch.inference_mode(False):
            with process_state():
                made = make_copy(model), make_copy(criterion)
            shown = Parts(*made, torch.empty(0), torch.empty(0), mode=mode)

            def attempt(inputs: torch.Tensor) -> Any:
                with torch.no_grad(), fork_random_state():
                    return call(replace(shown, inputs=inputs, mode="train"), dict(shown.model.named_parameters()))

            inputs, targets, changes = fit_data(data, *made[:1], attempt, criterion, isinstance(criterion, ELEMENTWISE))
            parts = Parts(*made, inputs, targets, names_of(data, names), mode, changes=changes)
        start = {name: p for name, p in parts.model.named_parameters() if p.requires_grad}
        if not start:
            raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to optimize")
        own = own_parameters(parts.criterion)
        if both := sorted(start.keys() & own.keys()):
            raise ValueError(f"model and criterion both have a parameter {both[0]!r}: rename the model's module")
        problem = cls(loss_of(parts), start | own, ranges, parts=parts)
        problem._try_parts(explained=True)
        return problem

    @classmethod
    def _of_loader(
        cls, loaded: Loaded, ranges: Mapping[str, tuple[float, float]] | None, names: tuple[str, str] | None
    ) -> Problem:
        """Make a problem of a loader: of one pair as of any data, where its batches may be joined."""
        if loaded.pair is None:
            return cls(loaded.loss, loaded.start, ranges)
        several = len(loaded.batches.items) > 1 or loaded.batches.drawn < loaded.batches.rows
        parts = Parts(
            loaded.model,
            loaded.loss.criterion,  # type: ignore[arg-type]
            *loaded.pair,
            names or ("x", "y"),
            loaded.loss.mode,
            changes=loaded.batches.remarks,
            batches=loaded.batches if several else None,
        )
        problem = cls(loss_of(parts), loaded.start, ranges, parts=parts)
        problem._try_parts(explained=True)
        return problem

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str] | IO[Any],
        x: str | int | Sequence[str | int] | None = None,
        y: str | int | None = None,
        criterion: Criterion | str | None = None,
        *,
        standardize: bool = False,
        start: Mapping[str, Any] | None = None,
        encoding: str | None = None,
        drop_missing: bool = False,
        decimal: str | None = None,
    ) -> Problem:
        r"""Make the regression of one column of a file on others: a linear neuron, as in the article.

        Parameters
        ----------
        path
            The file, or an open one. The separator is found out, or said by a first line ``sep=;``; lines that begin
            with # are comments; without a header row columns are named "1", "2", …, with a warning. Excel (.xlsx),
            parquet and JSON are read by pandas, which needs openpyxl for the first and pyarrow for the second.
        x, y
            Names of the input column (or columns) and of the target, or their places from 0. May be left out where
            there are just two; a first column without a name that counts or names the rows, as pandas and R write it,
            is then left out with a warning.
        criterion
            `torch.nn.MSELoss()` if left out; or a word, as in `of`.
        standardize
            Bring inputs and target to mean 0 and standard deviation 1 first. Plain gradient descent on raw
            columns of very different size needs a tiny lr, and then takes very long. `ravine.explain` gives the
            coefficients in the columns' own units, and `ravine.plot.fit` draws in them.
        start
            Where to start, by parameter name (``weight``, ``bias``) or, of several inputs, by column; zero if left out.
        encoding
            As in ``"latin-1"``; UTF-8 if left out.
        drop_missing
            Leave out the rows with a gap in any column that is used, and say how many in a warning. Otherwise a gap is
            an error.
        decimal
            The sign before the decimals, ``"."`` or ``","``. Left out, it is a comma, with a warning, where numbers
            can be read in no other way (1,5); what may be thousands too (1,234) is refused.

        Notes
        -----
        The weights of several inputs bear the columns' names as labels. Numbers are torch's default dtype, and
        float64 where that would make unlike numbers of a column one (seconds since 1970, say).

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
        if not isinstance(path, str | os.PathLike) and not hasattr(path, "read"):
            raise TypeError(f'expected the path of a file, as in "points.csv", or an open file, got {kind_of(path)}')
        source: Any = Path(path) if isinstance(path, str | os.PathLike) else path
        table = read(
            source, x, y, standardize=standardize, encoding=encoding, drop_missing=drop_missing, decimal=decimal
        )
        path = name_of_source(source)
        for words in table.said:
            warnings.warn(f"{path}: {words}", stacklevel=2)
        if table.dropped:
            warnings.warn(
                f"{path}: {table.dropped:,} of {table.dropped + len(table.inputs):,} rows are left out, because "
                f"{listed(table.gaps)} {'is' if len(table.gaps) == 1 else 'are'} missing there",
                stacklevel=2,
            )
        dtype = _dtype_for(table.inputs, table.targets)
        inputs, targets = (copied(a).to(dtype) for a in (table.inputs, table.targets))
        model = neuron(torch.zeros(1, len(table.x), dtype=dtype), torch.zeros(1, dtype=dtype))
        names = (", ".join(table.x), table.y)
        problem = cls.of(model, criterion or torch.nn.MSELoss(), (inputs, targets), names=names)
        if table.scales:
            assert problem.parts is not None
            problem = problem.with_parts(replace(problem.parts, scales=table.scales))
        if len(table.x) > 1:  # a column that is called as the other parameter is keeps apart from it
            columns = tuple(f"weight[{name}]" if name in ("weight", "bias") else name for name in table.x)
            assert problem.parts is not None
            problem = problem.with_parts(replace(problem.parts, columns=columns))
        return problem.starting_at(start or {})

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """One label for each number among the parameters: the name, with an index where it holds several.

        Those of a regression on several columns are the columns' own.
        """
        columns = self.parts.columns if self.parts is not None else ()
        if not columns:
            return labels_of(self.shapes)
        own = {name: columns if name == "weight" else labels_of({name: shape}) for name, shape in self.shapes.items()}
        return tuple(label for each in own.values() for label in each)

    @property
    def size(self) -> int:
        """How many numbers the parameters hold; unlike `labels`, it costs nothing for a network of many.

        Examples
        --------
        >>> import ravine
        >>> ravine.gallery.rosenbrock().size
        2
        """
        return size_of(self.shapes)

    @property
    def known(self) -> tuple[str, ...]:
        """The labels, where they are few; else the names of the tensors."""
        return self.labels if self.size <= LABELLED else tuple(self.start)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter name to the shape of its tensor, in the order of the labels."""
        return {name: tuple(value.shape) for name, value in self.start.items()}

    @property
    def like(self) -> torch.Tensor:
        """An empty tensor of the dtype that holds all parameters, on their device."""
        dtype = functools.reduce(torch.promote_types, (value.dtype for value in self.start.values()))
        return next(iter(self.start.values())).new_empty(0, dtype=dtype)  # type: ignore[no-any-return]

    @property
    def criterion(self) -> str | None:
        """Name of the criterion, where the problem has one."""
        if isinstance(self.loss, OverBatches):
            return self.loss.name
        return None if self.parts is None else name_of(self.parts.criterion)

    def starting_at(self, values: Mapping[str, Any] | Sequence[float] | None = None, **more: Any) -> Problem:
        """Return the same problem with another start; parameters that are not named stay where they are.

        A vector holds the values of all parameters, in the order of the labels.

        Examples
        --------
        >>> import ravine
        >>> problem = ravine.gallery.article()["MSELoss"].starting_at(weight=0.0)
        >>> {name: value.item() for name, value in problem.start.items()}
        {'weight': 0.0, 'bias': -3.0}
        >>> {name: value.item() for name, value in problem.starting_at([1.0, 2.0]).start.items()}
        {'weight': 1.0, 'bias': 2.0}
        """
        if is_vector(values):
            values = split_vector(self, values)
        elif values is not None and not isinstance(values, Mapping):
            raise TypeError(
                f"a start is a mapping of parameter name to value, or a vector in the order {listed(self.known)}; "
                f"got {kind_of(values)}"
            )
        moved = dict(self.start)
        for name, value in {**(values or {}), **more}.items():
            place: tuple[int, ...] | None = None
            of = name
            if name not in moved:
                if name not in self.labels:
                    known = dict.fromkeys([*moved, *(self.labels if len(self.labels) <= MANY else ())])
                    raise ValueError(f"no parameter {name!r}; the problem has {listed(known)}{hint(name, known)}")
                of, place = self._elements[self.labels.index(name)]
            old = moved[of]
            try:
                with torch.inference_mode(False):
                    new = torch.as_tensor(value, dtype=old.dtype, device=old.device)
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(f"start of {name!r} is no number or array: {value!r}") from None
            size = old.numel() if place is None else 1
            if new.numel() != size:
                raise ValueError(f"start of {name!r} has {new.numel()} numbers, the parameter {size}")
            if place is None:
                moved[of] = new.reshape(old.shape)
            else:
                moved[of] = old.clone()
                moved[of][place] = new.reshape(())
        return replace(self, start=moved)

    @property
    def _elements(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and index of each number among the parameters, in the order of the labels."""
        return [(name, index) for name, value in self.start.items() for index in np.ndindex(tuple(value.shape))]

    def in_mode(self, mode: Mode) -> Problem:
        """Return the same problem with its loss evaluated in another mode, as in `Problem.of`.

        Examples
        --------
        >>> import torch
        >>> from ravine import Problem
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        >>> problem = Problem.of(model, torch.nn.MSELoss(), (torch.ones(9, 1), torch.ones(9, 1)))
        >>> problem.parts.mode, problem.in_mode("train").parts.mode
        ('eval', 'train')
        """
        if mode not in ("eval", "train"):
            raise ValueError(f'mode must be "eval" or "train", got {mode!r}')
        if self.parts is None and isinstance(self.loss, OverBatches):
            return replace(self, loss=replace(self.loss, mode=mode))
        if self.parts is None:
            raise ValueError("mode is for problems made of a module: a function has the loss that it returns")
        return self.with_parts(replace(self.parts, mode=mode))

    def with_parts(self, parts: Parts) -> Problem:
        """Return the problem of other parts, at the same start, if they fit together."""
        made = replace(self, loss=loss_of(parts), parts=parts)
        made._try_parts()
        return made

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
            loss = self.loss.to_dtype(dtype) if isinstance(self.loss, OverBatches) else self.loss
            return replace(self, loss=loss, start=start)
        kept = self.parts
        inputs, targets = (d.to(dtype) if d.is_floating_point() else d for d in (kept.inputs, kept.targets))
        with process_state():
            model, criterion = make_copy(kept.model).to(dtype), make_copy(kept.criterion)
        if isinstance(criterion, torch.nn.Module):
            criterion = criterion.to(dtype)
        batches = None if kept.batches is None else kept.batches.cut_from(inputs, targets)
        parts = replace(kept, model=model, criterion=criterion, inputs=inputs, targets=targets, batches=batches)
        return replace(self, loss=loss_of(parts), start=start, parts=parts)

    def live(self) -> Live:
        """Return fresh leaves at the start, to be trained, and all that a run may change, copied for it.

        A module is copied and the copy trains: calling it costs a quarter less than `functional_call`.
        """
        if self.parts is None:
            leaves = {name: value.clone().requires_grad_() for name, value in self.start.items()}
            # a plain function is called as it is, and what it writes down is its owner's
            called = self.loss if isinstance(self.loss, FunctionType) else make_copy(self.loss)
            return Live(leaves, lambda: called(leaves))
        parts = self.parts
        with process_state():
            model, criterion = make_copy(parts.model), parts.criterion
            if not type(criterion).__module__.startswith("torch.nn."):  # torch's own never change
                criterion = make_copy(criterion)
        leaves = {name: p for name, p in model.named_parameters() if p.requires_grad} | own_parameters(criterion)
        with torch.no_grad():
            for name, leaf in leaves.items():
                leaf.copy_(self.start[name])
                leaf.grad = None
        inputs, targets, apart, stateful = parts.inputs, parts.targets, parts.apart, parts.stateful
        plain = not (apart or stateful or parts.leaves_traces)
        batches = parts.batches

        def predict(some: torch.Tensor = inputs) -> Any:
            with attributes_kept(model), buffers_kept(model), evaluation_mode(model) if apart else nullcontext():
                return model(some)

        def judge(prediction: Any, theirs: torch.Tensor) -> torch.Tensor:
            with buffers_kept(criterion):
                found: torch.Tensor = (make_copy(criterion) if stateful else criterion)(prediction, theirs)
            return found

        def evaluate() -> torch.Tensor:
            if batches is None:
                return judge(predict(inputs), targets)
            return batches.tensor(lambda item: judge(predict(item[0]), item[1]))

        def loss() -> torch.Tensor:
            found: torch.Tensor = criterion(model(inputs), targets)
            return found

        return Live(
            leaves,
            loss,
            predict,
            lambda some, their: criterion(model(some), their),
            loss if plain else evaluate,
            apart,
            (model, criterion),
        )

    def _try_parts(self, *, explained: bool = False) -> None:
        """Call the model once, so that what does not fit together is said now and not in the middle of work.

        With `explained` what torch refuses is said in words that name the layer and what it takes.
        """
        assert self.parts is not None
        parts = self.parts.first
        own = {name: value for name, value in self.start.items() if not name.startswith(OWN)}
        with torch.no_grad(), fork_random_state():
            try:
                prediction = call(parts, own)
            except RuntimeError as reason:
                if not explained:
                    raise
                raise explain_refusal(parts.model, parts.inputs, reason) from reason
            if isinstance(prediction, torch.Tensor):
                _check_shapes(prediction, parts)
            try:
                loss = make_copy(parts.criterion)(prediction, parts.targets)
            except (RuntimeError, ValueError, IndexError) as reason:
                if not explained or not type(parts.criterion).__module__.startswith("torch.nn"):
                    raise
                raise explain_criterion(parts.criterion, prediction, parts.targets, reason) from reason
        scalar(loss, f"{name_of(parts.criterion)} (reduction={getattr(parts.criterion, 'reduction', None)!r})")


MANY = 100
"""Labels up to which an error lists them beside the names."""


def _check_shapes(prediction: torch.Tensor, parts: Parts) -> None:
    """Refuse targets that would be compared every one with every other, as torch does with (n, 1) and (n,).

    Whether the criterion does so is found by calling it with predictions that differ from row to row: which target
    stands in which row then makes no difference, and does as soon as the shapes are equal.
    """
    targets, shape = parts.targets, tuple(prediction.shape)
    if tuple(targets.shape) == shape or not targets.ndim:
        return
    if parts.inputs.shape[:1] != targets.shape[:1] and len(shape) and shape[0] == len(parts.inputs):
        unlike = f"inputs have {_rows(parts.inputs)} and targets {_rows(targets)}"
    else:
        unlike = ""
    said = (
        f"the model's output has shape {shape} and the targets {tuple(targets.shape)}: {name_of(parts.criterion)} "
        "would compare every one with every other; reshape the targets"
    )
    if isinstance(parts.criterion, ELEMENTWISE):
        raise ValueError(f"{unlike}: they must have the same number" if unlike else said)
    if targets.numel() != prediction.numel() or not prediction.is_floating_point():
        return
    apart = prediction + torch.linspace(0.1, 0.9, prediction.numel()).to(prediction).reshape(shape)
    turned = targets.roll(1, 0)
    try:
        with process_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about these very shapes
            as_given = [_called(parts.criterion, apart, each) for each in (targets, turned)]
            in_pairs = [_called(parts.criterion, apart, each.reshape(shape)) for each in (targets, turned)]
    except Exception:  # it takes only one of the two
        return
    if _near(as_given[0], as_given[1]) and not _near(in_pairs[0], in_pairs[1]):
        raise ValueError(said)


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, equal_nan=True)


def _called(criterion: Criterion, prediction: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return scalar(make_copy(criterion)(prediction, targets)).reshape(()).double()


def _no_batches(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise TypeError("a problem made from a function has no data to take batches of")


@dataclass(frozen=True, eq=False)
class Live:
    """One run's own leaves, and what holds where they now are: the loss that trains, and that of a batch.

    `evaluate` is the loss over all data as it is recorded, and `predict` the model's output there; `apart` tells
    whether that is another number than the loss that trains. `modules` are the run's own copies.
    """

    leaves: dict[str, torch.Tensor]
    loss: Callable[[], torch.Tensor]
    predict: Callable[[], Any] | None = None
    loss_of: Callable[..., torch.Tensor] = _no_batches
    evaluate: Callable[[], torch.Tensor] | None = None
    apart: bool = False
    modules: tuple[Any, ...] = ()

    @functools.cached_property
    def buffered(self) -> tuple[torch.nn.Module, ...]:
        """Those of the modules that have buffers."""
        modules = (each for each in self.modules if isinstance(each, torch.nn.Module))
        return tuple(each for each in modules if next(each.buffers(), None) is not None)


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
        if problem.shapes != first.shapes or (first.size <= LABELLED and problem.labels != first.labels):
            known = [
                each.labels[:4] if each.size <= LABELLED else [f"{n} {s}" for n, s in each.shapes.items()][:4]
                for each in (first, problem)
            ]
            raise ValueError(
                f"parameters differ: {first_label!r} has {', '.join(known[0])} and {label!r} "
                f"{', '.join(known[1])}; problems in one mapping must share them"
            )
    alike = first.parts is not None and all(
        problem.parts is not None and first.parts.alike_but_criterion(problem.parts) for problem in problems.values()
    )
    return "criterion" if alike else "problem"


def _as_start(start: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    if not isinstance(start, Mapping) or type(start).__name__ == "Dataset" or not start:
        raise ValueError(
            f"start must be a mapping of at least one parameter name to its value, or a vector, got {kind_of(start)}"
        )
    tensors = {}
    for name, value in start.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"a parameter cannot be called {name!r}: names are words of one letter or more")
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
    return tensors


def _rows(tensor: torch.Tensor) -> str:
    count = tensor.shape[0] if tensor.ndim else 1
    return f"{count} row{'' if count == 1 else 's'}"
