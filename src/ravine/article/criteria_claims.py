"""What the article says of plain SGD and of its four criteria."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ravine._format import at_most, number
from ravine._html.page import Claim
from ravine.article.evidence import CONFIRMED, CORRECTED, CRITERIA, NEEDS_A_WORD, Evidence, list_values, values_of


def _check_comes_down(evidence: Evidence) -> Claim:
    run = evidence.cell("plain")
    losses, lowest = run["loss"].values, float(run["minimum_loss"])
    values = {"first": float(losses[0]), "last_printed": float(losses[-2]), "lowest": lowest}
    return Claim(
        "comes-down",
        "The loss falls, and in the end is as low as it gets.",
        CONFIRMED,
        abs(values["last_printed"] - lowest) < 1e-6 * lowest,
        f"It falls from {number(values['first'], 4)} to {values['last_printed']:.8f}. The lowest that any line has on "
        f"these points is {lowest:.8f}; the two are {number(abs(values['last_printed'] - lowest), 1)} apart, which is "
        "the rounding of float32.",
        values,
        "figure-2",
    )


def _check_off_by_one(evidence: Evidence) -> Claim:
    losses = evidence.cell("plain")["loss"].values
    values = {"printed": len(losses) - 1, "positions": len(losses), "end": float(losses[-1])}
    return Claim(
        "off-by-one",
        "The log and the path belong together.",
        NEEDS_A_WORD,
        values["positions"] == values["printed"] + 1,
        f"Almost: {values['printed']} losses were printed, of {values['positions']} positions. The last position has "
        "none.",
        values,
        "figure-2",
    )


def _check_start(evidence: Evidence) -> Claim:
    weight, bias = values_of(evidence.cell("plain"), "position")[0].tolist()
    return Claim(
        "start",
        "The model starts at (-3, 6).",
        NEEDS_A_WORD,
        (weight, bias) == (6.0, -3.0),
        f"In the order of the picture, bias first: weight {weight:g}, bias {bias:g}, that is y = 6x - 3.",
        {"weight": weight, "bias": bias},
        "figure-4",
    )


def _check_grid(evidence: Evidence) -> Claim:
    grid = evidence.study["weight"].values
    points, spacing = len(grid), float(grid[1] - grid[0])
    low, high = float(grid[0]), float(grid[-1])
    cell = (high - low) / points  # what imshow makes of an extent from the first to the last value
    drawn = low + (np.arange(points) + 0.5) * cell
    values = {"points": points, "spacing": spacing, "misplaced": float(np.abs(drawn - grid).max())}
    return Claim(
        "grid",
        "The loss is mapped on a 100-by-100 grid from -5 to 8.",
        CORRECTED,
        points == 101 and values["misplaced"] > spacing / 3,
        f"It is {points} by {points}, {spacing:.2f} apart. Drawn with an extent from -5 to 8, every cell is a little "
        f"too narrow, and the outermost sit {values['misplaced']:.3f} from where they belong; our maps have the right "
        "extent.",
        values,
        "figure-3",
    )


def _check_smaller_steps(evidence: Evidence) -> Claim:
    run = evidence.cell("plain")
    lengths = np.linalg.norm(np.diff(values_of(run, "position"), axis=0), axis=-1)
    shorter = np.append(np.diff(lengths) < 0, False)
    falling = int(np.argmin(shorter))  # updates after the first that are each shorter than the one before
    values = {"first": float(lengths[0]), "updates": falling + 1, "then": float(lengths[falling])}
    return Claim(
        "smaller-steps",
        "Plain SGD takes smaller and smaller steps towards the minimum.",
        CONFIRMED,
        falling > 50,
        f"{'All' if falling + 1 == len(lengths) else 'The first'} {falling + 1} updates, each shorter than the one "
        f"before. The last of them is {number(values['then'], 2)} long.",
        values,
        "figure-4",
    )


def _check_heights(evidence: Evidence) -> Claim:
    land = evidence.study["surface"]
    values = {name: float(land.sel(criterion=name).max()) for name in CRITERIA}
    return Claim(
        "heights",
        "The MSE loss has large values, up to 100; the others stay much smaller.",
        CONFIRMED,
        95 < values["MSELoss"] < 105 and max(values["L1Loss"], values["HuberLoss"]) < values["MSELoss"] / 10,
        f"The highest value on the map is {list_values(values, number)}. Squaring does that; it says nothing of the "
        "fit.",
        values,
        "figure-5",
    )


def _check_faster(evidence: Evidence) -> Claim:
    values: dict[str, Any] = {name: evidence.arrival("plain", name) for name in CRITERIA}
    slopes = {name: float(np.linalg.norm(values_of(evidence.cell("plain", name), "gradient")[0])) for name in CRITERIA}
    others = [values[name] for name in CRITERIA[1:]]
    return Claim(
        "faster",
        "The steeper gradient of L2 makes for a faster approach.",
        CONFIRMED,
        values["MSELoss"] < min(others) and slopes["MSELoss"] > 2 * max(slopes["L1Loss"], slopes["HuberLoss"]),
        f"At this learning rate: the slope at the start is {list_values(slopes, number)}, and they arrive at step "
        f"{values['MSELoss']}, {values['L1Loss']} and {values['HuberLoss']}. A larger lr would make up for it: "
        "steepness alone is no merit of a criterion.",
        {**values, "slopes": slopes},
        "figure-5",
    )


def _check_same_function(evidence: Evidence) -> Claim:
    same = all(
        np.array_equal(
            evidence.study[name].sel(criterion="HuberLoss"), evidence.study[name].sel(criterion="SmoothL1Loss")
        )
        for name in ("position", "loss", "surface")
    )
    residuals = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    zeros = torch.zeros_like(residuals)
    huber = torch.nn.HuberLoss(reduction="none", delta=0.5)(residuals, zeros)
    smooth = torch.nn.SmoothL1Loss(reduction="none", beta=0.5)(residuals, zeros)
    apart, scaled = float((huber - smooth).abs().max()), float((huber - 0.5 * smooth).abs().max())
    return Claim(
        "same-function",
        "Smooth L1 is roughly equal to Huber, with an extra parameter.",
        CORRECTED,
        same and apart > 0.1 and scaled < 1e-12,
        "At torch's defaults they are the same function: losses, maps and all 101 positions of every run agree in "
        "every bit, so two of the four panels are one picture. Both have a parameter. In general Huber with delta d "
        f"is d times Smooth L1 with beta d: at d = 0.5 and residuals up to 3 they are up to {at_most(apart)} apart, "
        f"and with that factor {f'up to {at_most(scaled, 1)}' if scaled else 'equal'}.",
        {"same": same, "apart": apart, "scaled": scaled},
        "delta-beta",
    )


CRITERIA_CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    _check_comes_down,
    _check_off_by_one,
    _check_grid,
    _check_start,
    _check_smaller_steps,
    _check_heights,
    _check_faster,
    _check_same_function,
)
"""The claims on plain SGD and the criteria, in the article's order."""
