"""The story: the article's ten figures in its order, each with a reason to look at it and what is found in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

import ravine
from ravine import plot
from ravine._format import MINUS, TIMES, names, number
from ravine._html.page import Block, Drawing, Listing, Plate, Print, Section, Table, Text
from ravine.article import figures
from ravine.article.figures import RUN_OF, STEPS_SHOWN, caption, step_shown
from ravine.article.words import (
    compare_arrivals,
    describe_end,
    describe_ends,
    describe_picture,
    find_sentences,
    group_equal,
)
from ravine.plot._canvas.words import settings_text, steps_text

LINES = 10
"""First lines of the log that are shown; the article prints as many, then the last three."""


@dataclass(frozen=True, eq=False)
class StoryData:
    """What the story is told from: the study, the figures drawn from it, how further ones are drawn, what was said."""

    study: xr.Dataset
    figures: Mapping[int, Drawing | Print]
    style: str
    said: set[str] = field(default_factory=set)

    def run(self, name: str, criterion: str | None = None) -> xr.Dataset:
        """Select one of the article's runs."""
        runs = self.study.sel(run=name)
        return runs if criterion is None else runs.sel(criterion=criterion)


def make_chapters(data: StoryData) -> list[Section]:
    """Tell the article's story from a study, whatever knob was turned in it.

    Examples
    --------
    >>> from ravine import article
    >>> study = article.study()
    >>> data = StoryData(study, {}, "ravine")
    >>> [chapter.title for chapter in make_chapters(data)][:3]
    ['Fifty points', 'One neuron, one line', 'The loss as a landscape']
    """
    parts = (
        _make_data,
        _make_line,
        _make_landscape,
        _make_descent,
        _make_criteria,
        _make_momentum,
        _make_nesterov,
        _make_decay,
        _make_dampening,
    )
    return [part(data) for part in parts]


# -- the chapters ------------------------------------------------------------------------------------------------


def _make_data(data: StoryData) -> Section:
    least = float(data.run("plain", "MSELoss")["minimum_loss"])
    count = data.study.sizes["sample"]
    plate = _make_plate(
        data,
        1,
        f"{count} points along a bent band, highest at the right.",
        f"No straight line passes through all of them: the lowest mean squared error that any line reaches here is "
        f"{number(least)}, not 0. So each criterion has to choose which errors to put up with.",
    )
    words = (
        "The toy problem is a regression whose answer cannot be perfect. The targets follow a parabola, "
        "`0.75 x² + x + 2`, with some noise, and the model is a straight line. With only two parameters, everything "
        "that an optimizer does can be drawn on a sheet of paper."
    )
    return Section("data", "Fifty points", [Text(words), plate])


def _make_line(data: StoryData) -> Section:
    run = data.run("plain", "MSELoss")
    weight, bias = (float(run["position"].sel(parameter=name)[-1]) for name in ("weight", "bias"))
    best = [float(run["minimizer"].sel(parameter=name)) for name in ("weight", "bias")]
    if np.isfinite([weight, bias]).all():
        ends = f"After {steps_text(run)} the line is {_format_equation(weight, bias)}"
    else:
        ends = f"After {steps_text(run)} the parameters are no finite numbers any more, and there is no line"
    look = f"{ends}; the best that MSELoss allows is {_format_equation(*best)}."
    words = (
        "The network is a single neuron, `torch.nn.Linear(1, 1)`: a weight and a bias. Training starts from the "
        "guess y = 6x - 3, so that all runs begin at the same place, and goes over all points at every step."
    )
    plate = _make_plate(data, 2, f"The points of figure 1 and the line that {settings_text(run)} ends with.", look)
    lines = figures.log(data.study)
    shown = lines if len(lines) <= LINES + 3 else [*lines[:LINES], "…", *lines[-3:]]
    log = Listing("What the loop prints", "\n".join(shown), shut=False, copied=False)
    more = Text(
        "Each line is the loss *before* its step. After the last step it is "
        f"`{float(run['loss'][-1])}`: no step follows, so the loop prints no line for it."
    )
    return Section("line", "One neuron, one line", [Text(words), _add_code(plate, run), log, more])


def _make_landscape(data: StoryData) -> Section:
    land = data.study["surface"].sel(criterion="MSELoss")
    across, up = land.sizes["bias"], land.sizes["weight"]
    low, high = float(land.min()), float(land.max())
    ends = f"{number(land['bias'].values[0])} to {number(land['bias'].values[-1])}"
    words = (
        "`loss.backward()` and `optimizer.step()` do their work out of sight. To watch them, draw the loss as a "
        "landscape: one axis for the bias, one for the weight, and the loss as the height. Training is then a walk "
        "downhill."
    )
    look = (
        f"The map was computed at {across} {TIMES} {up} = {across * up:,} places, {ends} along each axis; the loss "
        f"runs from {number(low)} to {number(high)}."
    )
    return Section(
        "landscape",
        "The loss as a landscape",
        [Text(words), _make_plate(data, 3, "Nested oval contours of the MSE loss over bias and weight.", look)],
    )


def _make_descent(data: StoryData) -> Section:
    run = data.run("plain", "MSELoss")
    lengths = _find_lengths(run)
    look = (
        f"The run {describe_end(run)}. Its first update is {number(lengths[0])} long, the last {number(lengths[-1])}: "
        "the learning rate stays what it is, and the gradient sets the pace."
    )
    words = (
        "Here is the run of figure 2 again, as a path. At each step torch takes the gradient where the run is, "
        "multiplies it by the learning rate, and moves the parameters by as much, downhill."
    )
    rule = Listing("Plain gradient descent", "θ ← θ - lr · g", shut=False, copied=False)
    plate = _make_plate(data, 4, describe_picture(run, settings_text(run)), look)
    return Section("descent", "A descent", [Text(words), rule, replace(plate, findings=find_sentences(run, data.said))])


def _make_criteria(data: StoryData) -> Section:
    runs = data.run("plain")
    known = list(ravine.gallery.article())
    losses = [getattr(torch.nn, name)() for name in known]
    turned = [torch.nn.HuberLoss(delta=0.5), torch.nn.SmoothL1Loss(beta=0.5)]
    shown = [
        Plate(
            "criteria",
            "The criteria",
            "one residual, at torch's defaults",
            lambda: plot.criteria(ravine.residuals(losses), style=data.style),
            "Above, four curves of loss against residual: a parabola, a V, and one curve, round at the bottom and "
            "straight outside, that is both HuberLoss and SmoothL1Loss. Below, their slopes.",
            "The slope is what drives the descent. MSELoss pulls harder the further off a prediction is; L1Loss "
            "pulls with the same force at any distance; HuberLoss and SmoothL1Loss do as a parabola does near zero, "
            "and as L1Loss does beyond.",
        ),
        Plate(
            "delta-beta",
            "delta and beta",
            "one residual, delta and beta at 0.5",
            lambda: plot.criteria(ravine.residuals(turned), title="delta and beta at 0.5", style=data.style),
            "Above, two curves of loss against residual, HuberLoss the flatter one. Below, their slopes: one levels "
            "off at 0.5, the other at 1.",
            "Only away from their defaults do the two part: HuberLoss takes its slope down with `delta`, "
            "SmoothL1Loss keeps a slope of 1 outside and only becomes sharper at the bottom with a smaller `beta`.",
        ),
    ]
    formulas = Table(
        "The loss of one residual r, as torch documents it; each criterion takes the mean over all points",
        ["criterion", "near zero", "further off"],
        [
            ["MSELoss", "r²", "r²"],
            ["L1Loss", "|r|", "|r|"],
            ["HuberLoss(delta)", "½ r²  where |r| < delta", "delta · (|r| - ½ delta)"],
            ["SmoothL1Loss(beta)", "½ r² / beta  where |r| < beta", "|r| - ½ beta"],
        ],
    )
    first = names(
        [f"{number(_find_lengths(runs.sel(criterion=c))[0])} long with {name}" for c, name in group_equal(runs).items()]
    )
    words = (
        "Which errors hurt, and how much, is the criterion's choice. torch has many; the article compares four, "
        "and shows their formulas. Here they are as curves."
    )
    look = f"Same points, same start, same settings. {_sentence_of_ends(runs)} The first update is {first}."
    return Section("criterion", "The criterion", [Text(words), formulas, *shown, _make_four(data, 5, look)])


def _make_momentum(data: StoryData) -> Section:
    words = (
        "With momentum the optimizer remembers. It keeps a velocity, the sum of all gradients so far in which "
        "each step back counts less by the factor `momentum`, and moves along that. Down a long slope the velocity "
        "builds up; across a valley it swings."
    )
    rule = Listing("Momentum", "v ← momentum · v + g\nθ ← θ - lr · v", shut=False, copied=False)
    look = f"Against figure 5, arrival is now: {compare_arrivals(data.run('momentum'), data.run('plain'))}."
    more = Text(
        "It is tempting to read off this picture that much momentum is bad. See [the claims](#claim-small-momentum) "
        "and [the same knobs in a narrow valley](#valley-of-100) first."
    )
    return Section("momentum", "Momentum", [Text(words), rule, _make_four(data, 6, look), more])


def _make_nesterov(data: StoryData) -> Section:
    words = (
        "Nesterov's idea: the velocity is about to carry the parameters on anyway, so ask for the gradient where "
        "it will have carried them. That gradient knows more of what lies ahead, and brakes earlier."
    )
    textbook = (
        "torch never computes a second gradient. Its parameters *are* the look-ahead points: what the textbook calls "
        "the position lies one stretch of velocity behind them. Both tell the same path, seen from two places."
    )
    rule = Listing(
        "Nesterov momentum, as torch computes it",
        "v ← momentum · v + g\nθ ← θ - lr · (g + momentum · v)",
        shut=False,
        copied=False,
    )
    look = f"Against figure 6, arrival is now: {compare_arrivals(data.run('nesterov'), data.run('momentum'))}."
    blocks: list[Block] = [Text(words), rule, Text(textbook), *_make_updates(data), _make_four(data, 8, look)]
    return Section("nesterov", "Nesterov momentum", blocks)


def _make_decay(data: StoryData) -> Section:
    runs = data.run("weight decay")
    decay = float(runs["weight_decay"])
    words = (
        "Weight decay adds `weight_decay` times the parameters to the gradient, and so pulls them all towards zero, "
        "the bias as well. That is the same as adding ½ · `weight_decay` · |θ|² to the loss: the optimizer now walks "
        "down another landscape, and our contours show that one."
    )
    rule = Listing("Weight decay", "g ← g + weight_decay · θ", shut=False, copied=False)
    if decay:
        moved = names(
            [
                f"{number(_find_shift(runs.sel(criterion=label)))} with {name}"
                for label, name in group_equal(runs).items()
            ]
        )
        look = f"The place that is best has moved by {moved}. {_sentence_of_ends(runs)}"
    else:
        look = f"With weight decay 0 nothing pulls: the goal is the minimum of the loss. {_sentence_of_ends(runs)}"
    return Section("decay", "Weight decay", [Text(words), rule, _make_four(data, 9, look)])


def _make_dampening(data: StoryData) -> Section:
    words = (
        "Dampening scales down what each *new* gradient adds to the velocity, except the first, which torch takes "
        "whole. What is already in the velocity fades as before."
    )
    rule = Listing("Dampening", "v ← momentum · v + (1 - dampening) · g\nθ ← θ - lr · v", shut=False, copied=False)
    look = f"Against figure 6, arrival is now: {compare_arrivals(data.run('dampening'), data.run('momentum'))}."
    return Section("dampening", "Dampening", [Text(words), rule, _make_four(data, 10, look)])


# -- plates ------------------------------------------------------------------------------------------------------


def _make_plate(data: StoryData, figure: int, alt: str, look: str) -> Plate:
    draw: Callable[[], Drawing | Print] = lambda: data.figures[figure]  # noqa: E731
    return Plate(f"figure-{figure}", f"Figure {figure}", caption(figure, data.study), draw, alt, look)


def _make_four(data: StoryData, figure: int, look: str) -> Plate:
    runs = data.run(RUN_OF[figure])
    plate = _make_plate(data, figure, describe_picture(runs, settings_text(runs)), look)
    plate = replace(plate, findings=find_sentences(runs, data.said))
    return plate if RUN_OF[figure] == "plain" else _add_code(plate, runs.sel(criterion="MSELoss"))  # figure 2 has it


def _add_code(plate: Plate, run: xr.Dataset) -> Plate:
    title = f"The torch script of this run ({run['criterion'].item()})"
    return replace(plate, beneath=[Listing(title, ravine.code(run).rstrip())])


def _make_updates(data: StoryData) -> list[Block]:
    """Return figure 7 with its numbers; where these settings have no such update, a sentence that says so."""
    if 7 not in data.figures:
        return [Text("These settings have no velocity that both pictures of figure 7 could show, so it is left out.")]
    runs = {name: data.run(name, "MSELoss") for name in STEPS_SHOWN}
    alt = "Two diagrams of arrows: the velocity's part of an update, the gradient's part, and their sum."
    look = (
        "Not a sketch: both are updates that were really made, in the runs of figures 6 and 8 with MSELoss, drawn to "
        "scale from the recorded velocity and gradient."
    )
    plate = _make_plate(data, 7, alt, look)
    tables = [_make_numbers(run, name, step_shown(run, name)) for name, run in runs.items()]
    return [plate, *(table for each in tables for table in each)]


def _make_numbers(run: xr.Dataset, name: str, step: int) -> list[Block]:
    """Write out one update, with torch's own numbers; nothing where there are none any more."""
    labels = ["bias", "weight"]
    lr, momentum, damped = (float(run[each]) for each in ("lr", "momentum", "dampening"))

    def at(variable: str, k: int) -> np.ndarray:
        return np.asarray(run[variable].sel(parameter=labels).values[k], dtype=float)

    if not np.isfinite(at("position", step + 1)).all():
        return []

    gradient, velocity, after = at("gradient", step), at("velocity", step), at("velocity", step + 1)
    direction = gradient + momentum * after if bool(run["nesterov"]) else after
    rule = "lr · (g + momentum · v)" if bool(run["nesterov"]) else "lr · v"
    kept = f"{momentum:g} · v + g" if not damped else f"{momentum:g} · v + {1 - damped:g} · g"
    begins = bool(momentum) and not np.isfinite(velocity).any()  # torch starts the velocity from the first gradient
    rows = {
        f"θ at step {step}": at("position", step),
        **({} if begins else {"velocity v so far": velocity}),
        "gradient g there": gradient,
        f"new velocity: {'g, for there is none before' if begins else kept}": after,
        f"update: {MINUS}{rule}": -lr * direction,
        f"θ at step {step + 1}": at("position", step + 1),
    }
    cells = [[title, *(f"{value:+.4f}".replace("-", MINUS) for value in pair)] for title, pair in rows.items()]
    heading = f"The update from step {step} in the run “{name}” with MSELoss, as torch made it"
    return [Table(heading, ["", *labels], cells)]


# -- words -------------------------------------------------------------------------------------------------------


def _sentence_of_ends(runs: xr.Dataset) -> str:
    words = describe_ends(runs)
    return f"{words[0].upper()}{words[1:]}."


def _format_equation(weight: float, bias: float) -> str:
    sign = "+" if bias >= 0 else MINUS
    return f"y = {number(weight, 4)}x {sign} {number(abs(bias), 4)}"


def _find_lengths(run: xr.Dataset) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        updates = np.diff(run["position"].values.astype(float), axis=0)
        return np.asarray(np.sqrt((updates**2).sum(-1)))


def _find_shift(run: xr.Dataset) -> float:
    return float(np.sqrt(((run["minimizer"] - run["data_minimizer"]) ** 2).sum()))
