"""Round numbers, axes of settings, and colour scales with the key that says what their colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgb
from numpy.typing import NDArray

from ravine._format import listed
from ravine.plot._canvas.labels import text_size
from ravine.plot._canvas.style import ARTICLE, Style
from ravine.plot._canvas.words import number_text

Array = NDArray[np.floating[Any]]

SPAN = 20.0
"""Ratio of the largest to the smallest value from which a scale is logarithmic."""

MINUS = "\N{MINUS SIGN}"

FEW = 8
"""Values up to which an axis is numbered at the values themselves, if there is room."""

MOST_NAMED = 12
"""Values up to which 0 and a logarithmic range have even cells, each with its number."""

DECADES = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
"""Round numbers of a decade, from the most to the fewest."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of a diagram of cells: where each cell lies, and where it ends."""

    name: str
    values: tuple[Any, ...]
    places: Array
    edges: Array
    log: bool
    names: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The name as it is written."""
        return self.name.replace("_", " ")

    def even(self, places: Any) -> Any:
        """Turn places into a scale on which they lie as on paper."""
        with np.errstate(all="ignore"):
            return np.log10(places) if self.log else np.asarray(places, dtype=float)

    def share(self, places: Any) -> Any:
        """Turn places into their share of the way along the axis."""
        low, high = self.even(self.edges[[0, -1]])
        return (self.even(places) - low) / (high - low)

    def cell(self, places: Any) -> NDArray[np.intp]:
        """Return which cell each place lies in."""
        found = np.searchsorted(self.edges, np.asarray(places, dtype=float), side="right") - 1
        return np.asarray(np.clip(found, 0, len(self.places) - 1))

    def between(self, cells: Any) -> Array:
        """Turn positions counted in cells, 0 in the middle of the first, into places; even on paper inside a cell."""
        inner = np.interp(cells, np.arange(len(self.edges)) - 0.5, self.even(self.edges))
        return np.asarray(10.0**inner if self.log else inner)

    def told(self, index: int) -> str:
        """Say which value of the setting a cell has: ``lr 0.1``, or a label by itself."""
        value = self.values[index]
        if self.names:
            return self.names[index] if isinstance(value, str) else f"{self.heading} {self.names[index]}"
        return f"{self.heading} {value:.3g}".replace("-", MINUS)

    def numbers(self, inches: float, size: float, *, upright: bool = False) -> tuple[list[float], list[str]]:
        """Return as many round numbers as there is room for, and how they are written; names in full."""
        if self.names:
            return self.places.tolist(), list(self.names)
        low, high = float(self.places[0]), float(self.places[-1])  # beyond lies no run
        short = all(float(f"{place:.3g}") == round(place, 12) for place in self.places.tolist())
        sets = [self.places] if short and len(self.places) <= FEW else []
        sets += [rounds(low, high, most, self.log) for most in range(9, 1, -1)]
        for places in sets:
            words = words_of(places, self.log)
            if len(places) > 1 and self._fit(places, words, inches * 72, size, upright):
                return places.tolist(), words
        ends = self.places[[0, -1]]
        return ends.tolist(), words_of(ends, log=True)

    def _fit(self, places: Array, words: list[str], points: float, size: float, upright: bool) -> bool:
        widths = np.array([1.3 * size if upright else text_size(word, size)[0] + 8 for word in words])
        return bool((np.diff(self.share(places)) * points >= (widths[1:] + widths[:-1]) / 2).all())


def axis_of(values: xr.DataArray, name: str) -> Axis:
    """Return the axis of one dimension, whose numbers must ascend; complain about what cannot be one.

    Examples
    --------
    >>> lr = axis_of(xr.DataArray(np.zeros(3), coords={"lr": [0.01, 0.1, 1.0]}), "lr")
    >>> lr.log, lr.edges.round(3).tolist()
    (True, [0.003, 0.032, 0.316, 3.162])
    """
    given = values[name].values
    if given.dtype.kind in "bUSO":
        names = tuple(str(each) for each in given.tolist())
        count = np.arange(len(names), dtype=float)
        return Axis(name, tuple(given.tolist()), count, np.append(count, len(names)) - 0.5, False, names)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"an axis holds numbers, booleans or labels; {name!r} holds {given.dtype}")
    places = given.astype(float)
    if not np.isfinite(places).all():
        raise ValueError(f"{name!r} has values that are no numbers: {listed(places[~np.isfinite(places)])}")
    if (np.diff(places) <= 0).any():
        twice = places[1:][np.diff(places) <= 0]
        raise ValueError(f"{name!r} has the value {twice[0]:g} more than once: a cell is one setting")
    if places[0] == 0 and 2 < len(places) <= MOST_NAMED and _is_log(places[1:]):  # 0, 0.001, 0.01: no scale holds them
        named = tuple(f"{place:g}" for place in places)
        count = np.arange(len(places), dtype=float)
        return Axis(name, tuple(places.tolist()), count, np.append(count, len(places)) - 0.5, False, named)
    log = _is_log(places)
    even = np.log10(places) if log else places
    middles = (even[1:] + even[:-1]) / 2
    edges = np.concatenate([[2 * even[0] - middles[0]], middles, [2 * even[-1] - middles[-1]]])
    return Axis(name, tuple(places.tolist()), places, 10.0**edges if log else edges, log, ())


def _is_log(places: Array) -> bool:
    """Tell whether values want a logarithmic scale: spaced so, or positive over a wide range and not even."""
    if places[0] <= 0:
        return False
    steps, ratios = np.diff(places), np.diff(np.log(places))
    if len(places) > 2 and np.ptp(steps) <= 1e-3 * steps.max():
        return False
    if len(places) > 2 and np.ptp(ratios) <= 1e-3 * ratios.max():
        return True
    return bool(places[-1] > SPAN * places[0])


def rounds(low: float, high: float, most: int, log: bool) -> Array:
    """Return at most so many round numbers from `low` to `high`.

    Examples
    --------
    >>> rounds(2, 600, 9, log=True).tolist(), rounds(2, 600, 5, log=True).tolist()
    ([2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0], [3.0, 10.0, 30.0, 100.0, 300.0])
    >>> rounds(0.0, 0.99, 6, log=False).tolist()
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    if log and high > 5 * low > 0:
        first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
        for digits in DECADES:
            found = np.array([float(f"{digit:g}e{power}") for power in range(first, last + 1) for digit in digits])
            found = found[(found >= low * (1 - 1e-9)) & (found <= high * (1 + 1e-9))]
            if len(found) <= most:
                return found
        return found[:: -(-len(found) // most)]
    step = (high - low) / max(most, 1)
    power = 10.0 ** np.floor(np.log10(step)) if step > 0 else 1.0
    step = power * next((each for each in (1.0, 2.0, 5.0) if each * power >= step * (1 - 1e-9)), 10.0)
    counts = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    digits_ = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return np.round(counts * step, digits_) + 0.0  # a zero has no sign


def words_of(numbers: Array, log: bool) -> list[str]:
    """Write numbers of one axis: each short on a logarithmic scale, all with the same digits on an even one."""
    if log or len(numbers) < 2 or not 1e-4 <= np.abs(numbers).max() < 1e5:
        words = [f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else number_text(value) for value in numbers.tolist()]
    else:
        digits = next((d for d in range(5) if np.allclose(numbers, np.round(numbers, d), rtol=1e-6, atol=0)), 4)
        words = [f"{value:.{digits}f}" for value in numbers.tolist()]
    return ["0" if float(word.replace(",", "")) == 0 else word.replace("-", MINUS) for word in words]


# In equal steps of OKLab (Ottosson 2020), lightness falling or rising all the way: the order of the colours stays
# in grey print and for colour-blind readers. The best is the most prominent: deep on white paper, bright on dark.
RAMPS = {
    "ravine": "#172764 #1a3773 #1f4781 #25588f #2c689b #3679a4 #448aad #569bb6 #69abbe #7cbbc7 #91cbd1 #abdada #c6e8e5",
    "dark": "#fce076 #d6d974 #b1ce76 #91c079 #75b182 #58a28c #399290 #23808c #226c84 #245978 #1f4767 #1a3653 #14283c",
}

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
        return rounds(self.low, self.high, most, self.log)

    def color(self, value: float) -> tuple[float, float, float]:
        """Return the colour of a value."""
        return to_rgb(self.ramp(float(self.norm(value))))


def ramp_of(theme: Style) -> Colormap:
    """Return the ramp of a style, the best (lowest) value first."""
    if theme is ARTICLE:
        return mpl.colormaps["cividis_r"]
    return LinearSegmentedColormap.from_list(theme.name, RAMPS[theme.name].split())


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
        return Shades(low, high, False, (False, False), ramp_of(theme))
    bottom = float(positive.min())
    if np.log10(high / bottom) > SPANNED:
        bottom, high = (float(each) for each in np.quantile(positive, (0.02, 0.98), method="nearest"))
    return Shades(bottom, high, True, (low < bottom, high < values.max()), ramp_of(theme))


def mixed(one: Any, other: Any, share: float) -> tuple[float, float, float]:
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
    told = list(zip(numbers.tolist(), words_of(numbers, shades.log), strict=True))
    for end, beyond, sign in ((shades.low, shades.beyond[0], "≤ "), (shades.high, shades.beyond[1], "≥ ")):
        if beyond:
            near = abs(shades.norm(np.array([value for value, _ in told])) - shades.norm(end)) if told else np.array([])
            told = [each for each, gap in zip(told, near, strict=True) if gap > 0.06]
            told.append((end, sign + words_of(np.array([float(f"{end:.2g}")]), log=True)[0]))
    return told
