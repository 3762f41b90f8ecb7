"""residuals: what criteria make of one residual, and how hard they pull there; which criteria are element-wise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ravine._format import kind_of
from ravine._kernel.neuron import slopes_at_once
from ravine._study.provenance import provenance
from ravine._torch import plain_type
from ravine._words.words import check_takes_pair, make_criterion

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes residuals, and room of their shape that may be written to; returns the loss of each."""

Slopes = Callable[[torch.Tensor], torch.Tensor]
"""Takes residuals and overwrites them with the slope of the mean loss by each prediction."""

ELEMENTWISE = (
    torch.nn.MSELoss,
    torch.nn.L1Loss,
    torch.nn.HuberLoss,
    torch.nn.SmoothL1Loss,
    torch.nn.BCELoss,
    torch.nn.BCEWithLogitsLoss,
)
"""Criteria that compare prediction and target element by element, and so need equal shapes."""


def elementwise(criterion: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    """Return the criterion without its reduction, where there is such a form and the reduction is a mean.

    One with hooks or a `forward` of its own may give anything.
    """
    if getattr(criterion, "reduction", None) != "mean":
        return None
    kind = plain_type(criterion)
    if kind is torch.nn.MSELoss:
        return lambda a, b: F.mse_loss(a, b, reduction="none")
    if kind is torch.nn.L1Loss:
        return lambda a, b: F.l1_loss(a, b, reduction="none")
    if kind is torch.nn.HuberLoss:
        return lambda a, b: F.huber_loss(a, b, reduction="none", delta=criterion.delta)
    if kind is torch.nn.SmoothL1Loss:
        return lambda a, b: F.smooth_l1_loss(a, b, reduction="none", beta=criterion.beta)
    return None


def residual_functions(criterion: Any, targets: torch.Tensor) -> tuple[Losses, Slopes] | None:
    """Return an element-wise criterion as functions of the residual; None where it has no such form or no slope.

    The four that have one are written with torch's own operations, in their order, and so have its bits.
    """
    if elementwise(criterion) is None:
        return None
    kind, share, nothing = type(criterion), 1 / len(targets), targets.new_zeros(())
    if kind is torch.nn.MSELoss:
        return lambda d, room: torch.mul(d, d, out=room), lambda d: d.mul_(2 * share)
    if kind is torch.nn.L1Loss:
        return lambda d, room: torch.abs(d, out=room), lambda d: torch.sign(d, out=d).mul_(share)
    if kind is torch.nn.HuberLoss:
        return (
            lambda d, room: F.huber_loss(d, nothing.expand_as(d), reduction="none", delta=criterion.delta),
            _in_vectors(
                lambda d: d.clamp_(-criterion.delta, criterion.delta).mul_(share), criterion.delta, False, targets
            ),
        )
    if kind is torch.nn.SmoothL1Loss and criterion.beta > 0:
        return (
            lambda d, room: F.smooth_l1_loss(d, nothing.expand_as(d), reduction="none", beta=criterion.beta),
            _in_vectors(lambda d: d.div_(criterion.beta).clamp_(-1, 1).mul_(share), criterion.beta, True, targets),
        )
    return None


def losses_of_residual(criterion: Any, targets: torch.Tensor) -> Losses:
    """Return an element-wise criterion as a function of the residual, also one whose slope is not written out."""
    functions, each = residual_functions(criterion, targets), elementwise(criterion)
    if functions is not None:
        return functions[0]
    assert each is not None
    nothing = targets.new_zeros(())
    return lambda d, room: each(d, nothing.expand_as(d))


def _in_vectors(slopes: Slopes, turn: float, divides: bool, targets: torch.Tensor) -> Slopes:
    """Take these slopes for the samples that torch works out in vectors, and its loop for those that are left over.

    In that loop delta and beta have stayed doubles; of slopes that beta divides, the share is multiplied with first.
    """
    left_over = len(targets) % slopes_at_once(targets.dtype) if turn != 1 else 0  # by 1 nothing rounds
    if not left_over:
        return slopes
    share = float(targets.new_tensor(1 / len(targets)))

    def apart(d: torch.Tensor) -> torch.Tensor:
        rest = d[..., -left_over:]
        within = (rest * share).double() / (turn if divides else 1.0)
        edge = rest.sign().double() * (share if divides else share * turn)
        found = torch.where(rest.double().abs() >= turn, edge, within)
        slopes(d[..., :-left_over])
        rest.copy_(found)
        return d

    return apart


def name_of(criterion: Criterion) -> str:
    """Name of a criterion: its class's, or a function's own."""
    return getattr(criterion, "__name__", type(criterion).__name__)


TURNS = {torch.nn.HuberLoss: "delta", torch.nn.SmoothL1Loss: "beta"}
"""Criteria that are a parabola near zero and a line beyond, and the argument that says where they turn."""

NOT_SHAPE = frozenset({"reduction", "reduce", "size_average", "weight", "pos_weight"})
"""Arguments of criteria that say how losses are put together, not what one residual costs."""


def residuals(
    criteria: Mapping[str, Criterion | str] | Sequence[Criterion | str] | Criterion | str,
    residual: tuple[float, float] | ArrayLike = (-3.0, 3.0),
    points: int = 241,
) -> xr.Dataset:
    """Evaluate criteria on one residual at a time, and the slope there by autograd.

    Each number comes from the criterion itself, called with a prediction of one element that is `residual`
    and a target of zero, in float64. With one element, ``mean`` and ``sum`` are the same.

    Parameters
    ----------
    criteria
        Label to criterion, or criteria alone, which are then called by their class; those of one class are
        told apart by their arguments. Words do as well: ``["mse", "HuberLoss(delta=2)"]``.
    residual
        Prediction minus target: a tuple ``(low, high)`` is a range, a list or an array are the values.
    points
        Values along a range.

    Returns
    -------
    xarray.Dataset
        ``loss_of_residual`` and ``pull``, its derivative, (criterion, residual); the coordinates
        ``arguments`` (criterion), such as "delta=1", and ``turn`` (criterion), the size of the residual at
        which a parabola turns into a line, NaN where there is no such place.

    Raises
    ------
    TypeError, ValueError
        If a criterion is no callable, two have one label, the values are not finite, or a criterion does not
        return one number for one residual; torch's own errors come with the criterion's label in front.

    Examples
    --------
    >>> import torch
    >>> from ravine import residuals
    >>> curves = residuals([torch.nn.MSELoss(), torch.nn.HuberLoss(delta=2.0)], [-3.0, 0.0, 1.0])
    >>> curves.loss_of_residual.values.tolist()
    [[9.0, 0.0, 1.0], [4.0, 0.0, 0.5]]
    >>> curves.pull.values.tolist(), curves.arguments.values.tolist()
    ([[-6.0, 0.0, 2.0], [-2.0, 0.0, 1.0]], ['', 'delta=2'])
    """
    named = _labelled(criteria)
    values = _values(residual, points)
    rows = [[_at(label, criterion, value) for value in values.tolist()] for label, criterion in named.items()]
    numbers = np.array(rows)
    fate = provenance(
        "each criterion itself on one residual at a time, torch.autograd",
        equals_torch="is torch",
        criteria={label: repr(criterion) for label, criterion in named.items()},
    )
    dims = ("criterion", "residual")
    return xr.Dataset(
        {
            "loss_of_residual": (dims, numbers[..., 0], {"long_name": "loss of one residual", "provenance": fate}),
            "pull": (dims, numbers[..., 1], {"long_name": "slope of the loss of one residual", "provenance": fate}),
        },
        {
            "criterion": np.array(list(named)),
            "residual": ("residual", values, {"long_name": "prediction - target"}),
            "arguments": ("criterion", np.array([_told(each) for each in named.values()])),
            "turn": (
                "criterion",
                np.array([_turn(each) for each in named.values()]),
                {"long_name": "size of the residual from which the loss is a line"},
            ),
        },
    )


def _at(label: str, criterion: Criterion, value: float) -> tuple[float, float]:
    prediction = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    try:
        loss = criterion(prediction, torch.zeros(1, dtype=torch.float64))
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise ValueError("it does not return one number for one residual")
        (slope,) = torch.autograd.grad(loss.sum(), prediction)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as reason:
        raise ValueError(f"{label} cannot be drawn against a residual of {value:g}: {reason}") from reason
    return loss.item(), slope.item()


def _labelled(given: Any) -> dict[str, Criterion]:
    expected = 'criteria are a mapping or a list of criteria or words, such as ["mse", torch.nn.HuberLoss(delta=2)]'
    if isinstance(given, Mapping) and not isinstance(given, xr.Dataset):
        named = {str(label): make_criterion(each) if isinstance(each, str) else each for label, each in given.items()}
    else:
        criteria: Any = [given] if isinstance(given, str | torch.nn.Module) else given
        if not isinstance(criteria, (list, tuple)):
            raise TypeError(f"{expected}; got {kind_of(given)}")
        criteria = [make_criterion(each) if isinstance(each, str) else each for each in criteria]
        for each in criteria:
            if not callable(each):
                raise TypeError(f"{expected}; got {kind_of(given)}")
        plain = [name_of(each) for each in criteria]
        labels = [
            f"{name} {_told(each)}".strip() if plain.count(name) > 1 else name
            for name, each in zip(plain, criteria, strict=True)
        ]
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"there are two criteria {twice!r}: give a mapping of label to criterion")
        named = dict(zip(labels, criteria, strict=True))
    if not named:
        raise ValueError("there are no criteria to evaluate")
    for label, criterion in named.items():
        if not callable(criterion) or isinstance(criterion, type):
            raise TypeError(f"{label!r} is {kind_of(criterion)}, expected a criterion such as torch.nn.MSELoss()")
        check_takes_pair(criterion)
    return named


def _values(residual: Any, points: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(residual, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"residual must be a range (low, high) or values, got {residual!r}") from None
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"residual must be a range (low, high) or values, all finite, got {residual!r}")
    if isinstance(residual, tuple) and len(residual) == 2:
        low, high = values.tolist()
        if not low < high or isinstance(points, bool) or points < 2:
            raise ValueError(f"a range goes from low to high in at least 2 points, got {residual!r} and {points!r}")
        values = np.array([low + (high - low) * i / (points - 1) for i in range(points)])
    return values


def _told(criterion: Criterion) -> str:
    """Write the arguments that shape the criterion, as they were given or stand by default."""
    if not isinstance(criterion, torch.nn.Module):
        return ""
    names = [name for name in inspect.signature(type(criterion)).parameters if name not in NOT_SHAPE]
    values = {name: getattr(criterion, name, None) for name in names}
    return ", ".join(f"{n}={v:g}" for n, v in values.items() if isinstance(v, (int, float)))


def _turn(criterion: Criterion) -> float:
    name = TURNS.get(type(criterion))
    return float(getattr(criterion, name)) if name else float("nan")
