"""descend: one run of a real torch optimizer, every step recorded."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from ravine._descent.dataset import dataset_of
from ravine._descent.feed import make_feed
from ravine._descent.loop import record_run
from ravine._descent.parameters import parameters_of
from ravine._descent.run_spec import Optimizer, RunSpec, Scheduler
from ravine._descent.to_source import source_of_run
from ravine._descent.trace import Trace
from ravine._descent.treat import check_loop_setting
from ravine._format import hint, kind_of, listed
from ravine._landscape.known import remember_problem
from ravine._problem.dimension import dimension
from ravine._problem.over_batches import check_trainable
from ravine._problem.parts import Mode
from ravine._problem.problem import Problem
from ravine._problem.starts import Starts, read_starts
from ravine._problems import Given, as_problem
from ravine._study.rule import LOOP_SETTINGS
from ravine._system import check_fits
from ravine._torch import fork_random_state, with_gradients
from ravine._words.words import as_optimizer, as_scheduler


@with_gradients
def descend(
    problem: Given,
    optimizer: Optimizer | str = torch.optim.SGD,
    steps: int = 100,
    *,
    starts: Starts | None = None,
    scheduler: Scheduler | str | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    loss_every: int = 1,
    every: int = 1,
    also: Collection[str] = (),
    throw: bool = False,
    mode: Mode | None = None,
    create_graph: bool = False,
    clip_norm: float | None = None,
    noise: float | None = None,
    **settings: Any,
) -> xr.Dataset:
    r"""Run a torch optimizer and record where it went.

    For the default optimizer, one step with gradient :math:`g`, weight decay :math:`\lambda`, momentum
    :math:`\mu` and dampening :math:`\tau` is

    .. math::
        g \leftarrow g + \lambda\theta,\quad v \leftarrow \mu v + (1-\tau) g,\quad
        \theta \leftarrow \theta - \eta\,(g + \mu v \text{ if nesterov else } v)

    with an undamped :math:`v = g` at the first step.

    Parameters
    ----------
    problem
        A problem, or a mapping of label to problem: these become the dimension ``criterion`` where only the
        criterion differs, else ``problem``. Or a word: a name of the gallery (``"rosenbrock"``,
        ``"quadratic(condition=100)"``), or a file of two columns.
    optimizer
        Called as ``optimizer(parameters, **settings)``: any class of torch.optim or of a third party, or the name of
        one of torch.optim in any case (``"adam"``). It is the
        real one that takes the steps; one that needs a closure (LBFGS, SAM) gets it, with a gradient that is there
        before if it looks for one, and one that has ``train()`` is told it. It gets copies of settings, and what makes
        it, and a scheduler, is copied too: no run leaves anything to the next.
    steps
        Number of optimizer steps; ``loss`` and ``position`` have one entry more, the start.
    starts
        Several starts, each a mapping or a vector as in `Problem.starting_at`; in a list, labelled in a mapping, or
        as an array or a table with a row for each. They become the dimension ``start``.
    scheduler
        Called with the optimizer, gives a learning-rate scheduler, which is stepped after each step (with the
        loss where it asks for one): ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)``. Or words:
        ``"StepLR(step_size=30)"``, ``"cosine"`` (CosineAnnealingLR over all steps).
    groups
        Settings for some parameters only: a name or a pattern (``"*bias"``) to settings that differ there.
        The first pattern that fits counts. Such settings are no coordinates of the result; weight decay is minimised
        with the loss all the same, that of each parameter.
    batch_size, seed
        Take mini-batches of this size, as ``DataLoader(data, batch_size, shuffle=True,
        generator=torch.Generator().manual_seed(seed))`` deals them out, epoch after epoch. The seed is that of `noise`
        too.
    loss_every
        With mini-batches: evaluate the loss over all data at every so many steps (and at the last) only.
    also
        What else to record: ``"gradient"`` (with mini-batches, that of the batch), ``"velocity"`` (torch's
        ``momentum_buffer``).
    every
        Keep positions, losses and all else at each so many steps only (and at start and end): less memory for large
        models. The coordinate ``step`` says which; each step is taken all the same.
    throw
        Raise when the loss is no longer finite. Otherwise the inf and NaN that torch produced are kept.
    mode
        How ``loss`` is evaluated, ``"eval"`` or ``"train"``, as in `Problem.of`; left out, as the problem says. It
        changes no step: a module trains in the modes it has.
    create_graph
        Give the optimizer gradients that can be differentiated again, as ``loss.backward(create_graph=True)`` does,
        for those that look at curvature (AdaHessian, Sophia).
    clip_norm
        Scale the gradient of each step down to this norm where it is larger, over all parameters, by
        ``torch.nn.utils.clip_grad_norm_``. The run records ``gradient_norm``, the norm before.
    noise
        Add Gaussian noise of this standard deviation to each entry of each gradient, before it is clipped; drawn from
        ``torch.Generator().manual_seed(2**31 + seed)``, whatever else draws random numbers.
    **settings
        The optimizer's own settings under torch's names.

    Returns
    -------
    xarray.Dataset
        ``position`` (…, step, parameter) and ``loss`` (…, step) in the problem's dtype, the settings as
        coordinates; under a scheduler ``scheduled_lr``; with mini-batches, and for modules with dropout or BatchNorm,
        ``batch_loss``, the loss that the optimizer saw; where the data is
        small enough ``inputs``, ``targets``, ``prediction`` (…, sample). Interrupted by Ctrl-C it returns what was
        done, with ``steps_taken``.

        For regressions (a linear layer under MSELoss, L1Loss, HuberLoss or SmoothL1Loss) and for problems that
        state their minimizers, up to 16 parameters, ``minimizer``, ``minimum_loss`` and ``hessian`` of what is
        minimised, weight decay included; where there is decay also ``data_minimizer`` and ``data_minimum_loss``,
        of the loss alone. Elsewhere a search may take longer than the run: `ravine.landmarks` makes it.

    Raises
    ------
    ValueError
        If a setting is unknown to the optimizer, or the loss at the start is not one finite number. Torch's
        own errors (a negative lr, say) come in torch's words.
    FloatingPointError
        With ``throw``, at the first loss that is not finite.

    Examples
    --------
    >>> import ravine
    >>> run = ravine.descend(ravine.gallery.article()["MSELoss"], lr=0.1, momentum=0.9)
    >>> run.position.dims, run.position.shape
    (('step', 'parameter'), (101, 2))
    >>> run.loss.values[:3].tolist()
    [53.078269958496094, 34.7295036315918, 12.706310272216797]

    Notes
    -----
    Source: torch/optim/sgd.py, ``_single_tensor_sgd``. Equal in every bit to a bare loop over the same class.
    """
    problem, made_by = as_problem(problem, "ravine.descend"), as_optimizer(optimizer)
    settings |= {name: value for name, value in {"clip_norm": clip_norm, "noise": noise}.items() if value is not None}
    check_call(made_by, steps, also, settings)
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
        raise ValueError(f"every must be a whole number of at least 1, got {every!r}")
    check_single_values(made_by, settings)
    schedule = as_scheduler(scheduler, steps)
    labelled = list(problem.items()) if isinstance(problem, Mapping) else [("", problem)]
    if mode is not None:
        labelled = [(label, each.in_mode(mode)) for label, each in labelled]
    choices: dict[str, list[Any]] = {}
    if isinstance(problem, Mapping):
        choices[dimension(problem)] = [label for label, _ in labelled]
    if starts is not None:
        begun = read_starts(starts, labelled[0][1])
        choices["start"] = list(begun)
        cells = [each.starting_at(values) for (_, each), values in itertools.product(labelled, begun.values())]
    else:
        cells = [each for _, each in labelled]
    for each in cells:
        check_trainable(each, "ravine.descend")
    feed = make_feed(cells, batch_size, seed, loss_every)
    spec = RunSpec(
        made_by,
        int(steps),
        settings,
        schedule,
        groups or {},
        feed,
        frozenset(also),
        throw,
        create_graph,
        int(seed),
        int(every),
    )
    numbers = sum(value.numel() for value in cells[0].start.values()) * (1 + len(spec.also)) + 1
    needed = len(cells) * (-(-spec.steps // every) + 1) * numbers * next(iter(cells[0].start.values())).element_size()
    if needed > ANYWHERE:
        check_fits(
            f"{len(cells):,} run{'' if len(cells) == 1 else 's'} of {steps:,} steps take",
            needed,
            "keep fewer positions with every=…, take fewer steps, or ravine.sweep with a store or summaries",
        )
    done: list[Trace] = []
    with random_state_kept(cells):
        for each in cells:
            done.append(record_run(each, spec))
            if done[-1].interrupted:
                if not len(done[-1].losses):  # not even the start was evaluated
                    done.pop()
                if not done:
                    raise KeyboardInterrupt
                count = max(len(done[-1].losses) - 1, 0)
                warnings.warn(f"interrupted after step {count} of {steps}: this is what was done", stacklevel=3)
                break
    spelled = source_of_run(spec, dict(labelled))
    remember_problem(dict(labelled) if isinstance(problem, Mapping) else labelled[0][1], spelled["code"]["problems"])
    return dataset_of(cells, done, choices, spelled)


ANYWHERE = 100_000
"""Bytes that there are wherever Python runs; to ask the system takes as long as three steps."""


def check_call(optimizer: Optimizer, steps: int, also: Collection[str], settings: Mapping[str, Any]) -> None:
    """Check what a run is asked for before any work; torch itself checks the values."""
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ValueError(f"steps must be a whole number, 0 or more, got {steps!r}")
    unknown = set(also) - {"gradient", "velocity"} if not isinstance(also, str) else {also}
    if unknown:
        raise ValueError(f'also takes a tuple of "gradient" and "velocity", got {also!r}')
    taken = parameters_of(optimizer)
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        names = [name for name in taken if name != "params"]
        for name in settings:
            if name not in names:
                who = getattr(optimizer, "__name__", repr(optimizer))
                if name in LOOP_SETTINGS:
                    continue
                if name in ELSEWHERE:
                    raise ValueError(f"{who} takes no setting {name!r}: {ELSEWHERE[name]}")
                raise ValueError(f"{who} takes no setting {name!r}{hint(name, names)}; it takes {listed(names, 20)}")
    for name, value in settings.items():
        check_switch(name, value, taken)
        if name in LOOP_SETTINGS and name not in taken and value is not None:
            check_loop_setting(name, value)


ELSEWHERE = {
    "criterion": 'the criterion belongs to the problem, as in ravine.Problem.of(model, "mse", (inputs, targets))',
    "loss": "the loss belongs to the problem, as in ravine.Problem(loss, start)",
    "start": "the start belongs to the problem, as in problem.starting_at(x=1.0, y=2.0); several go into starts=[…]",
    "epochs": "the length of a run is steps=…",
}
"""What people give to a run that is said elsewhere."""


def check_single_values(optimizer: Optimizer, settings: Mapping[str, Any]) -> None:
    """Refuse a list where the optimizer takes one number: each of its values would be a run of its own."""
    taken = parameters_of(optimizer)
    for name, value in settings.items():
        default = taken[name].default if name in taken else None
        several = isinstance(value, list | range) or (getattr(value, "ndim", 0) > 0 and not torch.is_tensor(value))
        if several and (name == "lr" or isinstance(default, bool | int | float)):
            raise ValueError(
                f"{name} is {kind_of(value)}, and ravine.descend makes one run: "
                f"ravine.sweep(problem, {name}=…) makes one for each value"
            )


def check_switch(name: str, value: Any, taken: Mapping[str, inspect.Parameter]) -> None:
    """Refuse a word where the optimizer has a switch: torch takes any word as True, "no" as well."""
    if name in taken and isinstance(taken[name].default, bool) and isinstance(value, str):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def random_state_kept(problems: Sequence[Problem]) -> Any:
    """A run draws random numbers (dropout, say) from where the user's generator stands, and puts it back."""
    cards = {v.device.index for each in problems for v in each.start.values() if v.device.type == "cuda"}
    return fork_random_state(sorted(cards))
