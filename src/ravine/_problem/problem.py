"""Problem: a loss as a function of named parameters, and where to start."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import IO, Any

import torch

from ravine._format import TIMES, kind_of, listed, number
from ravine._problem.batches import Weight
from ravine._problem.check_fit import check_fit
from ravine._problem.copies import make_copy
from ravine._problem.criteria import Criterion, name_of
from ravine._problem.from_csv import read_regression
from ravine._problem.from_model import read_model
from ravine._problem.live import Live, make_live
from ravine._problem.over_batches import OverBatches
from ravine._problem.parts import Loss, Mode, Parts, loss_of
from ravine._problem.starts import OfVector, is_vector, move_start, read_start
from ravine._study.labels import LABELLED, labels_of, size_of
from ravine._system import process_state

LINE = 110
"""Characters of a problem's repr, at most."""


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
            object.__setattr__(self, "start", MappingProxyType(read_start(self.start)))

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
            where that gives the same loss: to 2,048 rows or words, of images to 65,536 pixels.
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
        made = read_model(model, criterion, data, names, mode, samples, weight)
        return cls(made.loss, made.start, ranges, parts=made.parts)

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
        made = read_regression(
            path,
            x,
            y,
            criterion or torch.nn.MSELoss(),
            standardize=standardize,
            encoding=encoding,
            drop_missing=drop_missing,
            decimal=decimal,
        )
        return cls(made.loss, made.start, parts=made.parts).starting_at(start or {})

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
        return replace(self, start=move_start(self, values, more))

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
        check_fit(parts, self.start)
        return replace(self, loss=loss_of(parts), parts=parts)

    def with_buffers(self, values: Mapping[str, torch.Tensor]) -> Problem:
        """Return the same problem with other numbers in its model's buffers; names that it has not are left out.

        Examples
        --------
        >>> import torch, ravine
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
        >>> problem = ravine.Problem.of(net, torch.nn.MSELoss(), (torch.ones(4, 1), torch.ones(4, 1)))
        >>> moved = problem.with_buffers({"0.running_mean": torch.tensor([5.0])})
        >>> moved.parts.model[0].running_mean.item(), problem.parts.model[0].running_mean.item()
        (5.0, 0.0)
        """
        if self.parts is None:
            return replace(self, loss=self.loss.with_held(values)) if isinstance(self.loss, OverBatches) else self
        with process_state():
            model = make_copy(self.parts.model)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in values:
                    buffer.copy_(values[name].view(buffer.shape))
        parts = replace(self.parts, model=model)
        return replace(self, loss=loss_of(parts), parts=parts)

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
        """Return fresh leaves at the start, to be trained, and all that a run may change, copied for it."""
        return make_live(self)


def _start_text(name: str, value: torch.Tensor) -> str:
    """Write one parameter at the start: its value, or its shape where it is more than one number."""
    if value.numel() == 1:
        return f"{name} {number(value.item(), 4)}"
    return f"{name} {TIMES.join(map(str, value.shape))}"
