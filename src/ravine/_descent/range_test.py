"""range_test: the loss while the learning rate rises from step to step, on a copy of everything."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from ravine import theory
from ravine._descent.closure import needs_closure
from ravine._descent.dataset import dtype_of, is_coordinate, made_by, overridden_by, plain
from ravine._descent.descend import check_call, check_single_values, random_state_kept
from ravine._descent.feed import make_feed
from ravine._descent.loop import check_start, whole_loss
from ravine._descent.parameters import parameters_of
from ravine._descent.run_spec import Optimizer, RunSpec, begin, leaves_of
from ravine._descent.step import make_closure
from ravine._descent.trace import Trace
from ravine._descent.treat import loop_settings
from ravine._format import kind_of
from ravine._problem.copies import attributes_kept
from ravine._problem.over_batches import unjoined
from ravine._problem.problem import Problem
from ravine._problems import Given, as_one_problem
from ravine._progress import tracked
from ravine._study.contract import CONTRACT
from ravine._study.optimizer import path_of
from ravine._study.provenance import provenance
from ravine._system import process_state
from ravine._torch import with_gradients
from ravine._words.words import as_optimizer
from ravine.curvature._derivatives import Function, function_of
from ravine.curvature._hessian import top_eigenpairs

FEWEST = 10
"""Steps of a range test: fewer would jump over what it is made for."""

POINTS = 20
"""Evaluations over all data that a test of mini-batches has at least, its last one besides."""

EVALUATION = 1 / 3
"""What a loss costs beside its gradient."""

FEW = 20
"""Parameters up to which a look takes the whole Hessian."""

LOOK, LOOKS = 25, 8
"""Gradients over all data that one look at the sharpness of a network takes, about, and how many looks there are."""

TIMES = 3.0
"""How many times as long as the test itself all looks may take that nobody asked for."""

TOLERANCE = 1e-3
"""How near sharpness is looked at, relatively: the limit, and the lr at hand, are told to no more digits."""

LOOK_FROM = 0.8
"""Share of the limit from which on sharpness is looked at before each step."""


@with_gradients
def range_test(
    problem: Given,
    optimizer: Optimizer | str = torch.optim.SGD,
    *,
    lr: tuple[float, float] = (1e-5, 10.0),
    steps: int = 200,
    batch_size: int | None = None,
    seed: int = 0,
    loss_every: int | None = None,
    sharpness: bool | None = None,
    **settings: Any,
) -> xr.Dataset:
    r"""Train a copy while the learning rate rises evenly on a logarithmic axis, and record the loss at each.

    Everything stays as it was: the model, the data, the random state. ``ravine.plot.losses(curve)`` draws it,
    `ravine.explain` says where the loss falls most for a rise of the lr, where it is lowest, and where it breaks.

    Parameters
    ----------
    problem
        One problem; of a loader its batches.
    optimizer
        A class of torch.optim or of a third party, or the name of one of torch.optim.
    lr
        The first lr and the last, of the step k ``low * (high / low) ** (k / (steps - 1))``.
    steps
        Number of steps.
    batch_size, seed
        Of mini-batches, as in `ravine.descend`; left out, batches are as large as those of the problem's loader, and
        all data at once where there is none. Batches that cannot be put together are taken as they came, one after
        another.
    loss_every
        With mini-batches: evaluate the loss over all data at every so many steps only, and at the last. Left out, as
        often as takes at most twice as long as the steps themselves, but at a twentieth of all steps at least.
    sharpness
        Whether to look at the largest curvature of the loss too, of torch.optim.SGD, to a thousandth of itself: at the
        start, and then more and more often until the lr is over its limit. A look takes as long as some 25 steps over
        all data. Left out, it is looked at where all looks take at most three times as long as the test itself, as
        they do over all data in some 70 steps and more, and not beside small batches of much of it; `ravine.explain`
        says where nobody looked.
    **settings
        The optimizer's other settings under torch's names.

    Returns
    -------
    xarray.Dataset
        ``loss`` (step,) over all data, before each step and after the last; ``scheduled_lr`` (step,) of the step that
        begins there, and at the last place of the one that led there; with mini-batches ``batch_loss``; and
        ``sharpness`` (step,), NaN where nobody looked. Losses that are not finite stay as they are. There are no
        positions: of a large network they would not fit into memory.

    Raises
    ------
    TypeError, ValueError
        If the range is none, there are fewer than ten steps, or the optimizer does not take a setting.

    Examples
    --------
    >>> import ravine
    >>> curve = ravine.range_test(ravine.gallery.quadratic(condition=10), lr=(0.01, 10), steps=50)
    >>> [str(each) for each in curve.data_vars], curve.loss.shape
    (['loss', 'scheduled_lr', 'sharpness'], (51,))
    >>> [finding.kind for finding in ravine.explain(curve)]
    ['steepest', 'lowest', 'limit']

    Notes
    -----
    L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    """
    problem, maker = as_one_problem(problem, "ravine.range_test"), as_optimizer(optimizer)
    _check_statistics(problem)
    rates = _rates_of(lr, steps)
    _check_settings(maker, settings)
    check_call(maker, steps, (), {"lr": rates[0], **settings})
    check_single_values(maker, settings)
    if batch_size is None and problem.parts is not None and 0 < problem.parts.dealt < len(problem.parts.inputs):
        batch_size = problem.parts.dealt
    if loss_every is None:
        loss_every = choose_loss_every(_batches_in_all(problem, batch_size), int(steps))
    if isinstance(loss_every, bool) or not isinstance(loss_every, int | np.integer) or loss_every < 1:
        raise ValueError(f"loss_every must be a whole number of at least 1, got {loss_every!r}")
    loss_every = int(loss_every)
    # what cannot be put together is dealt out as it came, and is no feed
    feed = make_feed([problem], batch_size, seed, 1 if batch_size is None else loss_every)
    begun = {**settings, "lr": float(rates[0])}
    spec = RunSpec(maker, int(steps), begun, None, {}, feed, frozenset(), throw=False, noise_seed=seed)
    with random_state_kept([problem]):
        times = times_of_looks(_batches_in_all(problem, batch_size), int(steps), loss_every, problem.size)
        ramp = Ramp(problem, spec, rates, loss_every, sharpness is not False)
        if sharpness is None and ramp.looks and times > TIMES:
            ramp.looks, ramp.left_out = False, times
        ramp.climb()
    return ramp.dataset()


def _batches_in_all(problem: Problem, batch_size: int | None) -> float:
    """Return how many batches all data are; 1 where each step takes all of it."""
    if (loss := unjoined(problem)) is not None:
        return float(max(1, len(loss.batches.sizes) or len(loss.batches.items)))
    return 1.0 if batch_size is None or problem.parts is None else max(1.0, len(problem.parts.inputs) / batch_size)


def choose_loss_every(batches: float, steps: int) -> int:
    """Return at every how many steps the loss over all data is evaluated, so that it takes twice as long as they do.

    But at a twentieth of the steps at least.

    Examples
    --------
    >>> [choose_loss_every(each, 200) for each in (1, 10, 50, 400)]
    [1, 2, 9, 10]
    """
    return max(1, min(int(np.ceil(batches * EVALUATION / 2)), steps // POINTS))


def times_of_looks(batches: float, steps: int, loss_every: int, size: int) -> float:
    """Return how many times as long as a test all looks at the sharpness of so many parameters would take, as counted.

    Examples
    --------
    >>> times_of_looks(1, 200, 1, 1_000_000), round(times_of_looks(28, 200, 5, 1_000_000))
    (1.0, 9)
    """
    test = steps / batches + (0 if batches == 1 else EVALUATION * (steps // loss_every + 2))
    return min(LOOKS, steps) * (size + 1 if size <= FEW else LOOK) / test


def _rates_of(lr: Any, steps: Any) -> NDArray[np.float64]:
    """Return the lr of each step, and for the last place, where none begins, that of the last step again."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < FEWEST:
        raise ValueError(f"steps must be a whole number of at least {FEWEST}, got {steps!r}")
    try:
        low, high = map(float, lr)
    except (TypeError, ValueError):
        raise TypeError(f"lr must be a range (low, high), as in (1e-5, 10), got {kind_of(lr)}") from None
    if not 0 < low < high < np.inf:
        raise ValueError(f"lr must be a range (low, high) of 0 < low < high, both finite, got {lr!r}")
    return np.array([low * (high / low) ** (k / (steps - 1)) for k in [*range(steps), steps - 1]])


OF_DESCEND = {
    "scheduler": "its lr rises by itself, from the first of lr=(low, high) to the last",
    "groups": "it moves the lr of all parameters alike",
    "every": "it keeps no positions, and each loss; of mini-batches loss_every=… says how often it is evaluated",
    "also": "it keeps losses alone",
    "starts": "it begins at the problem's start, as problem.starting_at(…) says it",
    "mode": "the problem says how its loss is evaluated, as problem.in_mode(…) does",
    "throw": "losses that are no longer finite are what it looks for",
}
"""What ravine.descend takes beside the optimizer's settings and a range test does not, and why."""


def _check_settings(optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
    """Refuse what only ravine.descend takes, where it is no setting of the optimizer."""
    taken = parameters_of(optimizer)
    for name in settings:
        if name in OF_DESCEND and name not in taken:
            raise ValueError(f"a range test takes no {name}: {OF_DESCEND[name]}; ravine.descend takes it")


def _check_statistics(problem: Problem) -> None:
    """Refuse BatchNorm in a model that cannot be copied: its running statistics would not follow the training."""
    loss = unjoined(problem)
    if loss is None or not loss.shared:
        return
    if any(isinstance(each, _BatchNorm) and each.training for each in loss.model.modules()):
        raise ValueError(
            f"{loss.why_apart}, and a range test leaves it as it is: the running statistics of BatchNorm would not "
            "follow; raise the lr in a loop of your own within ravine.record(model, optimizer)"
        )


@dataclass
class Ramp:
    """One range test: a copy that trains, and what is recorded of it."""

    problem: Problem
    spec: RunSpec
    rates: NDArray[np.float64]
    loss_every: int
    looks: bool

    def __post_init__(self) -> None:
        self.live, self.rule, self.handed = begin(self.problem, self.spec)
        self.trace = Trace(self.rule, leaves_of(self.rule, self.handed, self.spec))
        self.trace.settings |= loop_settings(self.spec.optimizer, self.spec.settings)
        self.pieces = unjoined(self.problem)
        if self.pieces is not None and self.pieces.shared:
            self.live = replace(self.live, loss_of=self._of_piece)
        self.apart = self.spec.feed is not None or self.live.apart or self.pieces is not None
        self.losses, self.seen, self.sharpness = (np.full(len(self.rates), np.nan) for _ in range(3))
        known = path_of(type(self.rule)) == "torch.optim.sgd:SGD" and not self.spec.treatment.acts
        self.looks = self.looks and known and not self.trace.settings.get("maximize")
        self.left_out: float | None = None  # how many times as long looks would take that were not asked for
        self.leaning: NDArray[np.float64] | None = None  # the direction of the last look, where the next one begins
        self.look_from = 0.0  # lr from which on sharpness is looked at again

    def climb(self) -> None:
        """Take all steps."""
        if callable(getattr(self.rule, "train", None)):
            self.rule.train()  # type: ignore[attr-defined]
        gradients = self.spec.treatment.begin(self.spec.noise_seed)
        closes, batches = needs_closure(self.rule), self._batches()
        for step in tracked(range(self.spec.steps), "steps"):
            self._set_lr(float(self.rates[step]))
            self._look(step)
            if self.apart and step % self.loss_every == 0:
                self._evaluate(step)
            seen: list[float] = []

            def keep(loss: torch.Tensor, norm: float, seen: list[float] = seen) -> None:
                seen.append(float(loss))

            closure = make_closure(self.live, self.handed, next(batches), self.spec, gradients, keep)
            if closes:
                self.rule.step(closure)  # type: ignore[arg-type]
            else:
                closure()
                self.rule.step()
            (self.seen if self.apart else self.losses)[step] = seen[0]
            if step == 0 and not self.apart:
                check_start(torch.tensor(seen[0]))
        self._evaluate(self.spec.steps)

    def _batches(self) -> Iterator[Any]:
        """Deal out batches without end; None stands for all data at once."""
        if self.spec.feed is not None:
            return self.spec.feed.deal(self.problem)
        return itertools.cycle([(item,) for item in self.pieces.batches.as_dealt] if self.pieces else [None])

    def _of_piece(self, item: Any) -> torch.Tensor:
        """Return the loss of a batch of a module that is the user's own, as it trains, and leave it as it was."""
        assert self.pieces is not None
        with process_state(), attributes_kept(self.pieces.model):
            return self.pieces.of_batch(item, self.live.leaves)

    def _evaluate(self, step: int) -> None:
        """Evaluate the loss over all data."""
        loss = whole_loss(self.live)
        if step == 0:
            check_start(loss)
        self.losses[step] = float(loss)

    def _set_lr(self, lr: float) -> None:
        for group in self.rule.param_groups:
            if torch.is_tensor(group["lr"]):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _look(self, step: int) -> None:
        """Look at sharpness before a step: first at the start, then whenever the lr came half of the way to its limit.

        Half of the way is meant on the logarithmic axis. When the lr is over the limit, there is nothing more to find.
        """
        lr = float(self.rates[step])
        if not self.looks or lr < self.look_from:
            return
        place = torch.cat([leaf.detach().cpu().double().reshape(-1) for leaf in self.live.leaves.values()]).numpy()
        try:
            curvature = self._curvature(place)
        except (TypeError, ValueError, RuntimeError):  # no float64, not finite, or it cannot be differentiated twice
            self.looks = False
            return
        self.sharpness[step] = curvature
        settings = self.trace.settings
        limit = float(
            theory.stability_limit(
                [curvature + settings["weight_decay"]],
                settings["momentum"],
                settings["dampening"],
                nesterov=settings["nesterov"],
            )
        )
        self.looks = lr < limit
        self.look_from = lr if lr >= LOOK_FROM * limit else float(np.sqrt(lr * min(limit, self.rates[-1])))

    @functools.cached_property
    def _function(self) -> Function:
        return function_of(self.problem)

    def _curvature(self, place: NDArray[np.float64]) -> float:
        """Return the largest eigenvalue of the Hessian; where it was before is where the next one is looked for."""
        if len(place) <= FEW:
            return float(top_eigenpairs(self.problem, place)[0][0])
        from scipy.sparse.linalg import LinearOperator, eigsh  # not above: it takes long to load

        product = self._function.product(place)
        begin = np.random.default_rng(0).standard_normal(len(place))
        if self.leaning is not None:  # with something of all others, that it is not taken for the largest untried
            begin = begin / np.linalg.norm(begin) + self.leaning
        if not np.isfinite(along := product(begin)).all():
            raise ValueError("the Hessian is not finite")
        if not along.any():
            return 0.0
        operator = LinearOperator((len(place),) * 2, matvec=product, dtype=np.float64)
        # eight vectors at a time: twenty, scipy's own, are more products than most looks need
        values, directions = eigsh(operator, k=1, which="LA", v0=begin, tol=TOLERANCE, ncv=8)
        self.leaning = directions[:, 0]
        return float(values[0])

    def dataset(self) -> xr.Dataset:
        """Return what was recorded."""
        trace = self.trace
        code: dict[str, Any] = {"scheduler": "range test"}
        code |= {} if self.spec.feed is None else {"batch_size": self.spec.feed.batch_size}
        fate = provenance(
            f"{'torch.optim.' if trace.home.startswith('torch.optim') else trace.home + '.'}{trace.name}, step by step",
            equals_torch="is torch",
            settings={name: plain(value) for name, value in trace.settings.items()},
            threads=torch.get_num_threads(),
            dtype=dtype_of(self.problem),
            range_test=[float(self.rates[0]), float(self.rates[-2])],
            code=code,
            loss_every=self.loss_every,
            times_of_looks=self.left_out,
            **made_by(trace.path, trace.leaves),
        )
        columns = {"loss": self.losses, "scheduled_lr": self.rates}
        if self.apart:
            columns["batch_loss"] = self.seen
        data = {
            name: ("step", values, {"long_name": CONTRACT[name].long_name, "provenance": fate})
            for name, values in columns.items()
        }
        if np.isfinite(self.sharpness).any():
            within = None if self.problem.size <= FEW else TOLERANCE
            looks = provenance("Hessian-vector products, Lanczos" if within else "Hessian", tolerance=within)
            data["sharpness"] = (
                "step",
                self.sharpness,
                {"long_name": CONTRACT["sharpness"].long_name, "provenance": looks},
            )
        settings: Mapping[str, Any] = {name: plain(value) for name, value in trace.settings.items()}
        coords: dict[str, Any] = {
            name: value
            for name, value in settings.items()
            if name != "lr" and is_coordinate(name, value, overridden_by(trace.leaves))
        }
        coords |= {"lr": float(self.rates[0]), "step": np.arange(len(self.rates)), "optimizer": trace.name}
        if self.problem.criterion is not None:
            coords["criterion"] = self.problem.criterion
        if self.spec.feed is not None:
            coords["seed"] = self.spec.feed.seed
        return xr.Dataset(data, coords)
