"""Shades: one colour scale for all panels of a diagram, and the key that says what its colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgb
from numpy.typing import NDArray

from ravine.plot import paper
from ravine.plot.paper import Style
from ravine.plot.scales import SPAN, rounds, words_of

__all__ = ["Shades", "draw_key", "key_numbers", "lightness", "mixed", "ramp_of", "shades_of"]

Array = NDArray[np.floating[Any]]

# In equal steps of OKLab (Ottosson 2020), lightness falling or rising all the way: the order of the colours stays
# in grey print and for colour-blind readers. The best is the most prominent: deep on white paper, bright on dark.
RAMPS = {
    "ravine": "#172764 #1a3773 #1f4781 #25588f #2c689b #3679a4 #448aad #569bb6 #69abbe #7cbbc7 #91cbd1 #abdada #c6e8e5",
    "dark": "#fce076 #d6d974 #b1ce76 #91c079 #75b182 #58a28c #399290 #23808c #226c84 #245978 #1f4767 #1a3653 #14283c",
}

DECADES = 8.0
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


def ramp_of(look: Style) -> Colormap:
    """Return the ramp of a style, the best (lowest) value first."""
    if look is paper.ARTICLE:
        return mpl.colormaps["cividis_r"]
    return LinearSegmentedColormap.from_list(look.name, RAMPS[look.name].split())


def shades_of(values: Array, look: Style) -> Shades | None:
    """Return one scale for all these values; None where none is finite.

    Logarithmic where no value is negative and the positive ones span more than a factor of 20.
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low < 0 or not positive.size or positive.max() <= SPAN * positive.min():
        return Shades(low, high, False, (False, False), ramp_of(look))
    bottom = float(positive.min())
    if np.log10(high / bottom) > DECADES:
        bottom, high = (float(each) for each in np.quantile(positive, (0.02, 0.98), method="nearest"))
    return Shades(bottom, high, True, (low < bottom, high < values.max()), ramp_of(look))


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
    ax: Axes, shades: Shades | None, name: str, swatches: Sequence[tuple[str, str, str, str]], look: Style, size: float
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
    words: dict[str, Any] = {"size": size, "color": look.quiet, "va": "center"}
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
        ax.plot([wide, wide * 1.25], [y, y], color=look.quiet, lw=0.6)
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
