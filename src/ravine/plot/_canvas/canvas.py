"""What our figures are drawn on: matplotlib's canvas, with a memory for texts."""

from __future__ import annotations

from typing import Any, NamedTuple, cast
from unicodedata import bidirectional, combining

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg, get_hinting_flag
from matplotlib.font_manager import FontProperties, findfont
from numpy.typing import NDArray

Size = tuple[float, float, float]

FONTS = ("font.family", *(f"font.{name}" for name in ("sans-serif", "serif", "monospace", "cursive", "fantasy")))
"""The settings that say which fonts a family means."""

KEPT = 4096
"""Texts whose size is remembered, and as many images."""

LEVEL = 3
"""Of zlib, in a PNG: up to it no better match is looked for than the first, which takes two thirds of the time."""

SHORT = 16
"""Letters up to which a text is remembered as pixels, too: numbers and names come again, sentences do not."""

LEFTWARDS = ("R", "AL", "AN", "RLE", "RLO", "RLI")
"""Kinds of letters that are not laid out from left to right (Unicode Standard Annex 9)."""

ONE_IMAGE = mpl.__version_info__ < (3, 11)
"""Whether matplotlib itself draws a text as one image, as it did before 3.11."""


class Print(NamedTuple):
    """A text as pixels: how much ink each has, and where the text begins in it, from its left and lower border."""

    ink: NDArray[np.uint8]
    left: float
    below: float


_sizes: dict[tuple[object, ...], Size] = {}
_prints: dict[tuple[object, ...], Print] = {}


class Renderer(RendererAgg):
    """matplotlib's renderer, which remembers how large a text is in other figures too: numbers and names come again.

    A level text begins at a whole pixel, and is drawn as one image. From 3.11 on matplotlib begins it anywhere, and
    works out each of its letters where it happens to lie between pixels: that takes four times as long, and blurs what
    is level.
    """

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> Size:
        """Return width, height and descent in pixels."""
        measure: Any = super().get_text_width_height_descent
        if ismath:
            return cast("Size", measure(s, prop, ismath))
        key = self._key(s, prop)
        size = _sizes.get(key)
        if size is None:
            size = cast("Size", measure(s, prop, ismath))
            _keep(_sizes, key, size)
        return size

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        """Draw a text whose baseline begins at this pixel, counted from the upper left corner."""
        plain: Any = super().draw_text
        if angle or ismath or _is_special(mtext) or not _goes_right(s):
            plain(gc, x, y, s, prop, angle, ismath=ismath, mtext=mtext)
            return
        if ONE_IMAGE:
            plain(gc, round(x), round(y), s, prop, angle)
            return
        smooth, own = gc.get_antialiased(), cast("Any", self)
        key = (smooth, *self._key(s, prop)) if len(s) <= SHORT else None
        found = None if key is None else _prints.get(key)
        if found is None:
            found = self._print(s, prop, smooth)
            if key is not None:
                _keep(_prints, key, found)
        ink, left, below = found
        own._renderer.draw_text_image(ink, round(x - left), round(y + below) + 1, 0, gc)

    def _print(self, text: str, prop: FontProperties, smooth: bool) -> Print:
        own: Any = self
        # the image's border is cut to whole pixels, and the first letter alone moves with it; a space begins at one
        left = self.get_text_width_height_descent(" ", prop, False)[0]
        font = own._prepare_font(prop)
        font.set_text(" " + text, 0.0, flags=get_hinting_flag())  # type: ignore[no-untyped-call]
        font.draw_glyphs_to_bitmap(antialiased=smooth)
        return Print(np.array(font.get_image()), left - font.get_bitmap_offset()[0] / 64, font.get_descent() / 64)

    def _key(self, text: str, prop: FontProperties) -> tuple[object, ...]:
        params: Any = mpl.rcParams
        means = (findfont(prop), *(tuple(params[each]) for each in FONTS))  # a font may be registered on the way
        return text, prop.copy(), self.dpi, params["text.hinting"], params.get("text.hinting_factor"), *means


def _goes_right(text: str) -> bool:
    """Tell whether letters stand one after the other from left to right, the first by itself."""
    return text.isascii() or not (combining(text[0]) or any(bidirectional(each) in LEFTWARDS for each in text))


def _is_special(mtext: Any) -> bool:
    """Tell whether a text chooses among the shapes of its letters, as newer versions of matplotlib let it."""
    asked = (getattr(mtext, name, None) for name in ("get_fontfeatures", "get_language"))
    return any(ask is not None and ask() is not None for ask in asked)


def _keep(held: dict[tuple[object, ...], Any], key: tuple[object, ...], found: Any) -> None:
    if len(held) >= KEPT:
        held.clear()
    held[key] = found


class Canvas(FigureCanvasAgg):
    """matplotlib's canvas with that renderer; a PNG is compressed in less time."""

    def get_renderer(self) -> RendererAgg:
        """Return the renderer for the figure's size and resolution."""
        renderer: Any = super().get_renderer()  # type: ignore[no-untyped-call]
        renderer.__class__ = Renderer  # matplotlib makes one of its own class, and asks for no other
        return cast("RendererAgg", renderer)

    def print_png(
        self,
        filename_or_obj: Any,
        *,
        metadata: dict[str, Any] | None = None,
        pil_kwargs: dict[str, Any] | None = None,
        dpi: float | None = None,
        facecolor: Any = None,
        edgecolor: Any = None,
        orientation: str | None = None,
        bbox_inches_restore: Any = None,
    ) -> None:
        """Write the figure to a PNG file; matplotlib has seen to what it hands over from `dpi` on."""
        plain: Any = super().print_png
        plain(filename_or_obj, metadata=metadata, pil_kwargs={"compress_level": LEVEL} | (pil_kwargs or {}))
