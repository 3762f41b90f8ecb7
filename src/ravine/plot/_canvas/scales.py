"""Axes of settings and parameters, and colour scales with the key that says what their colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgb
from numpy.typing import NDArray

from ravine._format import listed, number, setting
from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.style import Style
from ravine.plot._canvas.ticks import Ticks, round_numbers, write_numbers, write_ticks

Array = NDArray[np.floating[Any]]

SPAN = 20.0
"""Ratio of the largest to the smallest value from which a scale is logarithmic."""

FEW = 8
"""Values up to which an axis is numbered at the values themselves, if there is room."""

MOST_NAMED = 12
"""Values up to which those that no scale holds together have even cells, each with its number."""

THIN = 1 / 60
"""Share of an axis under which a cell is hardly seen."""

APART = 0.45
"""Inches from one number of an even axis to the next, at least."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of a panel: its name as it is written, its limits, and names for its places where these are labels.

    The first of `shorter` that has room is written where `heading` has none.
    """

    heading: str
    edges: Array
    log: bool = False
    names: tuple[str, ...] = ()
    shorter: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """The name as it is written, and as it is where there is less room."""
        return self.heading, *self.shorter

    def even(self, places: Any) -> Any:
        """Turn places into a scale on which they lie as on paper."""
        with np.errstate(all="ignore"):
            return np.log10(places) if self.log else np.asarray(places, dtype=float)

    def share(self, places: Any) -> Any:
        """Turn places into their share of the way along the axis."""
        low, high = self.even(self.edges[[0, -1]])
        return (self.even(places) - low) / (high - low)

    @property
    def reach(self) -> tuple[float, float]:
        """Within which places numbers may stand."""
        return float(self.edges[0]), float(self.edges[-1])

    def ticks(self, inches: float, size: float, *, upright: bool = False) -> Ticks:
        """Return round numbers with room for each, and how they are written; names in full."""
        low, high = self.reach
        most = 9 if self.log else int(np.clip(round(inches / APART), 2, 9))
        for count in range(most, 0, -1):
            found = write_ticks(round_numbers(low, high, count, self.log), self.log)
            if len(found.places) > 1 and self.fits(found, inches, size, upright=upright):
                return found
        return write_ticks([low, high])

    def fits(self, ticks: Ticks, inches: float, size: float, *, upright: bool) -> bool:
        """Tell whether each number has room."""
        widths = np.array([1.3 * size if upright else text_size(word, size)[0] + 8 for word in ticks.words])
        return bool((np.diff(self.share(ticks.places)) * inches * 72 >= (widths[1:] + widths[:-1]) / 2).all())


@dataclass(frozen=True, eq=False, kw_only=True)
class CellAxis(Axis):
    """One side of a diagram of cells: the setting, its values, and where each cell lies."""

    name: str
    values: tuple[Any, ...]
    places: Array

    def cell(self, places: Any) -> NDArray[np.intp]:
        """Return which cell each place lies in."""
        found = np.searchsorted(self.edges, np.asarray(places, dtype=float), side="right") - 1
        return np.asarray(np.clip(found, 0, len(self.places) - 1))

    def between(self, cells: Any) -> Array:
        """Turn positions counted in cells, 0 in the middle of the first, into places; even on paper inside a cell."""
        inner = np.interp(cells, np.arange(len(self.edges)) - 0.5, self.even(self.edges))
        return np.asarray(10.0**inner if self.log else inner)

    def value_text(self, index: int) -> str:
        """Say which value of the setting a cell has: ``lr 0.1``, or a label by itself."""
        value = self.values[index]
        if self.names:
            return self.names[index] if isinstance(value, str) else f"{self.heading} {self.names[index]}"
        return f"{self.heading} {number(value)}"

    @property
    def reach(self) -> tuple[float, float]:
        """Within which places numbers may stand: beyond the first and the last value lies no run."""
        return float(self.places[0]), float(self.places[-1])

    def ticks(self, inches: float, size: float, *, upright: bool = False) -> Ticks:
        """Return the values themselves where they are few and short, else round numbers; names in full."""
        if self.names:
            return Ticks(self.places.tolist(), list(self.names))
        short = all(float(f"{place:.3g}") == round(place, 12) for place in self.places.tolist())
        own = write_ticks(self.places, self.log)
        if short and len(self.places) <= FEW and self.fits(own, inches, size, upright=upright):
            return own
        return super().ticks(inches, size, upright=upright)


def cell_axis(values: xr.DataArray, name: str) -> CellAxis:
    """Return the axis of one dimension, whose numbers must ascend; complain about what cannot be one.

    Examples
    --------
    >>> lr = cell_axis(xr.DataArray(np.zeros(3), coords={"lr": [0.01, 0.1, 1.0]}), "lr")
    >>> lr.log, lr.edges.round(3).tolist()
    (True, [0.003, 0.032, 0.316, 3.162])
    """
    given = values[name].values
    heading = name.replace("_", " ")
    if given.dtype.kind in "bUSO":
        return _labelled_axis(name, given.tolist(), tuple(str(each) for each in given.tolist()))
    if given.dtype.kind not in "iuf":
        raise TypeError(f"an axis holds numbers, booleans or labels; {name!r} holds {given.dtype}")
    places = given.astype(float)
    if np.isnan(places).any() or not (np.isfinite(places).all() or len(places) <= MOST_NAMED):
        raise ValueError(f"{name!r} has values that are no numbers: {listed(places[~np.isfinite(places)])}")
    if (np.diff(places) <= 0).any():
        twice = places[1:][np.diff(places) <= 0]
        raise ValueError(f"{name!r} has the value {twice[0]:g} more than once: a cell is one setting")
    if len(places) <= MOST_NAMED and not _has_scale(places):
        words = tuple(setting(place) for place in places.tolist())
        if len(set(words)) < len(words):  # six digits do not tell them apart
            words = tuple(f"{place:.15g}" for place in places.tolist())
        return _labelled_axis(name, places.tolist(), words)
    log, edges = is_log(places), _edges_between(places)
    return CellAxis(heading, edges, log, name=name, values=tuple(places.tolist()), places=places)


def _edges_between(places: Array) -> Array:
    """Return where the cells of ascending values end, in the middle between two of them."""
    log = is_log(places)
    even = np.log10(places) if log else places
    middles = (even[1:] + even[:-1]) / 2
    edges = np.concatenate([[2 * even[0] - middles[0]], middles, [2 * even[-1] - middles[-1]]])
    return np.asarray(10.0**edges if log else edges)


def _has_scale(places: Array) -> bool:
    """Tell whether a scale holds ascending values so that each cell is seen.

    None holds infinity, nor 0, 0.001 and 0.01; on one that holds 0.5, 0.9, 0.999 and 1 the last cells are too thin.
    """
    if not np.isfinite(places).all():
        return False
    above = places[places > 0]
    if 1 < len(above) < len(places) and is_log(above):
        return False
    edges = _edges_between(places)
    even = np.log10(edges) if is_log(places) else edges
    return bool(np.diff(even).min() >= THIN * (even[-1] - even[0]))


def _labelled_axis(name: str, values: Sequence[Any], names: tuple[str, ...]) -> CellAxis:
    count = np.arange(len(names) + 1, dtype=float)
    heading = name.replace("_", " ")
    return CellAxis(heading, count - 0.5, names=names, name=name, values=tuple(values), places=count[:-1])


def is_log(places: Array) -> bool:
    """Tell whether values want a logarithmic scale: spaced so, or positive over a wide range and not even."""
    if places[0] <= 0:
        return False
    steps, ratios = np.diff(places), np.diff(np.log(places))
    if len(places) > 2 and np.ptp(steps) <= 1e-3 * steps.max():
        return False
    if len(places) > 2 and np.ptp(ratios) <= 1e-3 * ratios.max():
        return True
    return bool(places[-1] > SPAN * places[0])


SPANNED = 8.0
"""Powers of ten that a colour scale spans at most; beyond them only the middle 96 % of the values are told apart."""


@dataclass(frozen=True, eq=False)
class Shades:
    """The colour of each value, from `low` to `high`; `beyond` tells whether values lie below or above these."""

    low: float
    high: float
    log: bool
    beyond: tuple[bool, bool]
    ramp: Colormap

    @property
    def norm(self) -> Normalize:
        """Values to shares of the ramp."""
        if self.low == self.high:
            return Normalize(self.low - 1.0, self.high + 1.0)
        return (LogNorm if self.log else Normalize)(self.low, self.high, clip=True)

    def numbers(self, most: int) -> Array:
        """Return round numbers of the scale."""
        if self.low == self.high:
            return np.array([self.low])
        return round_numbers(self.low, self.high, most, self.log)

    def color(self, value: float) -> tuple[float, float, float]:
        """Return the colour of a value."""
        return to_rgb(self.ramp(float(self.norm(value))))


def shades_of(values: Array, theme: Style) -> Shades | None:
    """Return one scale for all these values; None where none is finite.

    Logarithmic where no value is negative and the positive ones span more than a factor of 20.
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low < 0 or not positive.size or positive.max() <= SPAN * positive.min():
        return Shades(low, high, False, (False, False), theme.cells)
    bottom = float(positive.min())
    if np.log10(high / bottom) > SPANNED:
        bottom, high = (float(each) for each in np.quantile(positive, (0.02, 0.98), method="nearest"))
    return Shades(bottom, high, True, (low < bottom, high < values.max()), theme.cells)


def mix(one: Any, other: Any, share: float) -> tuple[float, float, float]:
    """Return a colour that lies this share of the way from one to another."""
    a, b = np.array(to_rgb(one)), np.array(to_rgb(other))
    red, green, blue = (float(each) for each in a + share * (b - a))
    return red, green, blue


def lightness(color: Any) -> float:
    """Return how light a colour is, from 0 to 1 (CIE L*)."""
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(np.clip(1.16 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 0.16, 0, 1))


def draw_key(
    ax: Axes, shades: Shades | None, name: str, swatches: Sequence[tuple[str, str, str, str]], theme: Style, size: float
) -> None:
    """Draw the colour bar with round numbers at its right, and beneath it the regions that bear no label themselves.

    `swatches` are (name, fill, hatch, colour of the hatch).
    """
    figure = ax.get_figure()
    assert figure is not None
    tall = ax.get_position().height * figure.get_figheight() * 72  # type: ignore[union-attr]
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, tall))
    line = 1.7 * size
    words: dict[str, Any] = {"size": size, "color": theme.quiet, "va": "center"}
    wide = 9 / (ax.get_position().width * figure.get_figwidth() * 72)  # type: ignore[union-attr]
    for k, (word, fill, hatch, edge) in enumerate(reversed(swatches)):
        y = line * (k + 0.5)
        patch = mpl.patches.Rectangle(
            (0, y - 4.5), wide, 9, fc=fill, ec=edge, lw=0.5, hatch=hatch or None, gid="swatch"
        )
        ax.add_patch(patch)
        ax.text(wide * 1.5, y, word, gid="swatch", **words)
    if shades is None:
        return
    bottom = line * len(swatches) + (0.8 * size if swatches else 0.0)
    top = tall - 2.0 * size
    ax.text(0, tall - 0.55 * size, name, gid="key", **words)
    ax.imshow(
        np.linspace(0, 1, 256)[:, None], cmap=shades.ramp, extent=(0, wide, bottom, top), aspect="auto", origin="lower"
    ).set_gid("key")
    ax.set(xlim=(0, 1), ylim=(0, tall))
    for value, word in key_numbers(shades, (top - bottom) / (2.2 * size)):
        y = bottom + float(shades.norm(value)) * (top - bottom)
        ax.plot([wide, wide * 1.25], [y, y], color=theme.quiet, lw=0.6)
        ax.text(wide * 1.5, y, word, gid="number", **words)


def key_numbers(shades: Shades, most: float = 9) -> list[tuple[float, str]]:
    """Return numbers of the key; the ends of a scale that values go beyond say so."""
    numbers = shades.numbers(int(np.clip(most, 2, 9)))
    written = list(zip(numbers.tolist(), write_numbers(numbers, shades.log), strict=True))
    for end, beyond, sign in ((shades.low, shades.beyond[0], "≤ "), (shades.high, shades.beyond[1], "≥ ")):
        if beyond:
            near = [abs(float(shades.norm(value) - shades.norm(end))) for value, _ in written]
            written = [each for each, gap in zip(written, near, strict=True) if gap > 0.06]
            written.append((end, sign + number(end, 2)))
    return written
