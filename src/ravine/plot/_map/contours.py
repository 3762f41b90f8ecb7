"""A surface as quiet bands, some lines of which bear their loss; and, on request, which way is down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from ravine.plot._canvas.labels import Box, FreeSpace, text_size
from ravine.plot._canvas.style import Style
from ravine.plot._canvas.ticks import write_numbers
from ravine.plot._map.levels import Levels, draw_lines, fill_between

Array = NDArray[np.floating[Any]]

BANDS = 22
"""Filled bands of a surface, evenly spaced in the logarithm of the gap."""

FARTHEST = 1e-7
"""Smallest gap drawn, as a share of the largest."""

FEW_ISLANDS = 4
"""Himmelblau's function has four minima."""


def lowest_loss(values: Array) -> float:
    """Return the lowest finite loss of a surface, 0 where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else 0.0


def gaps_of(values: Array) -> Array | None:
    """Return the upper edges of the bands, as gaps over the lowest loss; None where the loss is the same everywhere."""
    return shared_gaps([values])


def shared_gaps(surfaces: Sequence[Array]) -> Array | None:
    """Return one scale for several surfaces: a colour then means the same gap in each.

    Examples
    --------
    >>> slope = np.array([[0.0, 1.0], [2.0, 9.0]])
    >>> edges = shared_gaps([slope, slope + 5])
    >>> len(edges), float(edges[-1])
    (22, 9.0)
    """
    lowest, highest = [], []
    for values in surfaces:
        base = lowest_loss(values)
        gaps = np.sort(values[np.isfinite(values)] - base)
        gaps = gaps[gaps > 0]
        if gaps.size and gaps[-1] >= 1e-12 * max(abs(base), 1e-300):
            lowest.append(_lowest_band(values - base, gaps))
            highest.append(float(gaps[-1]))
    if not highest:
        return None
    edges: Array = np.unique(np.geomspace(min(lowest), max(highest), BANDS))
    edges[-1] = max(highest)  # not a bit below the highest corner
    return edges


def _lowest_band(gap: Array, gaps: Array) -> float:
    """Return the upper edge of the lowest band: what lies within one cell of the lowest point, at least.

    In a valley narrower than the grid a low band falls into islands that show the grid and not the loss; it
    is widened until few are left.
    """
    lowest = max(gaps[min(8, gaps.size - 1)], FARTHEST * gaps[-1])
    while lowest < gaps[-1] / 30 and ndimage.label(gap <= lowest, structure=np.ones((3, 3)))[1] > FEW_ISLANDS:
        lowest *= 1.5
    return float(min(lowest, gaps[-1] / 10))


def choose_levels(base: float, lowest: float, top: float, most: int = 4) -> Array:
    """Choose losses of the form 1, 2, 5 · 10ⁿ (either sign), spread over the logarithm of the gap.

    Examples
    --------
    >>> choose_levels(base=0.5, lowest=0.51, top=140.0).tolist()
    [1.0, 2.0, 20.0, 100.0]
    """
    scale = max(abs(base), abs(top))
    powers = np.arange(np.floor(np.log10(scale)) - 8, np.ceil(np.log10(scale)) + 1)
    positive = np.concatenate([np.array([1.0, 2.0, 5.0]) * 10.0**p for p in powers])
    candidates: Array = np.unique(np.concatenate([-positive, [0.0], positive]))
    low, high = base + (lowest - base) * 6, base + (top - base) * 0.75
    candidates = candidates[(candidates > low) & (candidates < high)]
    if not candidates.size:
        return candidates
    wanted = np.linspace(np.log(low - base), np.log(high - base), most + 1)[1:]
    nearest = [int(np.abs(np.log(candidates - base) - w).argmin()) for w in wanted]
    chosen: Array = candidates[np.unique(nearest)]
    return chosen


def draw_bands(
    ax: Axes,
    x: Array,
    y: Array,
    values: Array,
    theme: Style,
    gaps: Array | None,
    *,
    base: float | None = None,
    outlined: bool = True,
) -> Callable[[float], str]:
    """Fill bands and draw the lines between them; return which colour lies at a loss.

    Parameters
    ----------
    x, y, values
        The grid, ascending, vertical axis first.
    gaps
        Upper edges of the bands over `base`, from `shared_gaps`; None for a constant surface.
    base
        The loss that is gap 0; the lowest of `values` if left out.
    outlined
        Whether lines are drawn between the bands.
    """
    finite = np.isfinite(values)
    if not finite.all():  # drawn as a region of its own, never filled in
        ax.patch.set(facecolor=theme.hole[0], hatch="////", edgecolor=theme.hole[1], linewidth=0.0)
    base = lowest_loss(values) if base is None else base
    if gaps is None:
        if finite.any():
            fill_between(ax, x, y, values, np.array([base - 1, base + 1]), theme.far)
        return lambda loss: theme.far
    edges = base + gaps
    edges = np.unique(edges[edges > base])
    edges[-1] = max(edges[-1], values[finite].max())  # rounding must not leave the highest corner bare
    ramp = LinearSegmentedColormap.from_list("gap", theme.ramp)
    colors = ramp(np.linspace(0, 1, len(edges)))
    fill_between(ax, x, y, values, np.array([base, *edges]), colors)
    lines = edges[:-1]
    lines = lines[(lines > values[finite].min()) & (lines < values[finite].max())]
    if lines.size and outlined:
        draw_lines(ax, x, y, values, lines, theme.hairline, 0.5, alpha=0.8, zorder=1)
    return lambda loss: to_hex(colors[min(int(np.searchsorted(edges, loss)), len(colors) - 1)])


def draw_band_key(ax: Axes, values: Array, gaps: Array, theme: Style, size: float = 8.0) -> None:
    """Draw what the bands mean: each as high as any other, as on a scale of the gap's logarithm, with round losses."""
    base, top = lowest_loss(values), float(values[np.isfinite(values)].max())
    ramp = LinearSegmentedColormap.from_list("gap", theme.ramp)
    ax.set_axis_off()
    ax.imshow(
        ramp(np.linspace(0, 1, len(gaps)))[:, None],
        extent=(0.0, 1.0, 0.0, float(len(gaps))),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        gid="key",
    )
    ax.set(xlim=(0, 1), ylim=(0, len(gaps)))
    levels = choose_levels(base, base + gaps[0], top, 7)
    places = np.interp(np.log(levels - base), np.log(gaps), np.arange(1, len(gaps) + 1))
    numbers = write_numbers(levels, log=True)
    for place, number in zip([0.0, *places], [write_numbers([base])[0], *numbers], strict=True):
        ax.plot([1.0, 1.25], [place, place], color=theme.quiet, lw=0.6, clip_on=False)
        ax.text(1.5, place, number, size=size, color=theme.quiet, va="center", gid="number")
    ax.text(0.0, len(gaps) * 1.025, "loss", size=size, color=theme.quiet, va="bottom", gid="key")


def draw_levels(ax: Axes, x: Array, y: Array, values: Array, theme: Style, gaps: Array | None) -> Levels | None:
    """Draw the few lines at round losses that will bear them; None where there is none."""
    if gaps is None:
        return None
    base, top = lowest_loss(values), float(values[np.isfinite(values)].max())
    levels = choose_levels(base, base + gaps[0], top)
    if not levels.size:
        return None
    return draw_lines(ax, x, y, values, levels, theme.contour, 0.75, zorder=1.1)


def number_lines(
    lines: Levels, free: FreeSpace, theme: Style, below: Callable[[float], str], size: float = 6.5
) -> None:
    """Write the loss on each line, at the vertex that is farthest from all that is drawn and from the border.

    Among places that are far enough the one nearest to the last number is taken, so that the numbers stand
    in a row like those of a hiking map. A line without a place for its number steps back among the others.
    """
    colors, last, clear = [], None, free.clearance(border=True)
    written = write_numbers(np.asarray(lines.levels), log=True)
    texts = [text.replace(" ", "") for text in written]  # what breaks the line is the halo, and a space has none
    for level, text, path in zip(lines.levels, texts, lines.get_paths(), strict=True):
        width, height = text_size(text, size)
        path.should_simplify = False  # it would be to a ninth of a data unit, whatever that is on paper
        found = _find_place(path.to_polygons(closed_only=False), free, clear, width + 5, height, last)
        colors.append(theme.hairline if found is None else theme.contour)
        if found is None:  # a strong line without a number would only raise the question
            continue
        spot, angle = found
        x, y = free.data(spot)
        free.ax.text(
            float(x),
            float(y),
            text,
            size=size,
            color=theme.number,
            rotation=angle,
            rotation_mode="anchor",
            ha="center",
            va="center_baseline",
            path_effects=[withStroke(linewidth=3.2, foreground=below(float(level)))],
            zorder=1.2,
            gid="level",
        )
        lean = np.deg2rad(angle)
        wide = abs(np.cos(lean)) * width + abs(np.sin(lean)) * height
        tall = abs(np.sin(lean)) * width + abs(np.cos(lean)) * height
        box = Box(float(spot[0]), float(spot[1]), wide, tall)
        free.box(box)
        clear = free.clearance_beside(clear, box)
        last = spot
    lines.set_edgecolor(colors)
    lines.set_linewidth([0.5 if color == theme.hairline else 0.75 for color in colors])


ROOMY = 15.0
"""Points of free space around a number beyond which more makes no picture better."""


def _find_place(
    pieces: list[Any], free: FreeSpace, clear: Array, width: float, height: float, last: Array | None
) -> tuple[Array, float] | None:
    """Return the best place for a number on a line, in points, and its angle in degrees."""
    best, most = None, -np.inf
    for piece in pieces:
        spots = free.points(piece)
        if len(spots) < 8:
            continue
        lengths = np.hypot(*np.diff(spots, axis=0).T)
        if lengths.sum() < 3.2 * width:  # too short to stay a line with a gap in it
            continue
        along = np.concatenate([[0.0], np.cumsum(lengths)])
        middle = (along > 0.6 * width) & (along < along[-1] - 0.6 * width)
        spare = free.at(clear, spots)
        ahead = _interpolate(along, spots, along + width / 2) - _interpolate(along, spots, along - width / 2)
        straight = np.hypot(*ahead.T) / width
        # half the diagonal is what a number needs at any angle
        fits = middle & (spare > 0.5 * np.hypot(width, height) + 1) & (straight > 0.9)
        score = np.minimum(spare, ROOMY) + 25 * straight
        if last is not None:
            score = score - 0.06 * np.hypot(*(spots - last).T)
        score[~fits] = -np.inf
        top = int(score.argmax())
        if score[top] > most:
            most = float(score[top])
            angle = float(np.rad2deg(np.arctan2(ahead[top, 1], ahead[top, 0])))
            best = spots[top], (angle + 90) % 180 - 90
    return best


def _interpolate(along: Array, spots: Array, lengths: Array) -> Array:
    return np.stack([np.interp(lengths, along, spots[:, 0]), np.interp(lengths, along, spots[:, 1])], axis=1)


STROKE = 0.11
"""Length of an arrow of the direction field, in inches."""


def draw_downhill(ax: Axes, x: Array, y: Array, values: Array, slope: Array | None, theme: Style) -> None:
    """Draw short arrows of one length down the slope.

    `slope` has shape (y, x, 2), the horizontal component first; without it differences of the grid are taken.
    """
    if slope is None:
        if min(values.shape) < 2:
            return
        with np.errstate(all="ignore"):
            up, across = np.gradient(values, y, x)
        slope = np.stack([across, up], axis=-1)
    figure = ax.get_figure()
    assert figure is not None
    box = ax.get_position()
    sides = box.width * figure.get_figwidth(), box.height * figure.get_figheight()  # type: ignore[union-attr]
    columns, rows = (
        _spaced_indices(each, max(3, round(side / (1.75 * STROKE)))) for each, side in zip((x, y), sides, strict=True)
    )
    down = -slope[np.ix_(rows, columns)]
    # of one length on paper, whatever the two axes measure
    scale = np.array([sides[0] / np.ptp(x), sides[1] / np.ptp(y)])
    with np.errstate(all="ignore"):
        down = down / np.hypot(down[..., 0] * scale[0], down[..., 1] * scale[1])[..., None] * scale
    across, up = np.meshgrid(x[columns], y[rows])
    good = np.isfinite(down).all(axis=-1)
    arrows = ax.quiver(
        across[good],
        up[good],
        down[good][:, 0],
        down[good][:, 1],
        angles="uv",
        units="inches",
        scale_units="inches",
        scale=1 / STROKE,
        pivot="mid",
        width=0.007,
        headwidth=4,
        headlength=4.5,
        headaxislength=3.5,
        color=theme.quiet,
        alpha=0.55,
        zorder=1.3,
    )
    arrows.set_gid("downhill")


def _spaced_indices(values: Array, count: int) -> NDArray[np.intp]:
    """Return which grid values lie nearest to evenly spaced ones, the border left out."""
    low, high = values[0], values[-1]
    wanted = low + (high - low) * (np.arange(count) + 0.5) / count
    chosen: NDArray[np.intp] = np.unique(np.abs(values[None, :] - wanted[:, None]).argmin(axis=1))
    return chosen
