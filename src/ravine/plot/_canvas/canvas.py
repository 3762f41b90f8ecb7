"""What our figures are drawn on: matplotlib's canvas, with a memory for the sizes of texts."""

from __future__ import annotations

from typing import Any, cast

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties, findfont

Size = tuple[float, float, float]

FONTS = ("font.family", *(f"font.{name}" for name in ("sans-serif", "serif", "monospace", "cursive", "fantasy")))
"""The settings that say which fonts a family means."""

KEPT = 4096
"""Texts whose size is remembered."""

LEVEL = 3
"""Of zlib, in a PNG: up to it no better match is looked for than the first, which takes two thirds of the time."""

_sizes: dict[tuple[object, ...], Size] = {}


class Renderer(RendererAgg):
    """matplotlib's renderer, which remembers how large a text is in other figures too: numbers and names come again."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> Size:
        """Return width, height and descent in pixels."""
        measure: Any = super().get_text_width_height_descent
        if ismath:
            return cast("Size", measure(s, prop, ismath))
        params: Any = mpl.rcParams
        means = (findfont(prop), *(tuple(params[each]) for each in FONTS))  # a font may be registered on the way
        key = (s, prop.copy(), self.dpi, params["text.hinting"], params["text.hinting_factor"], *means)
        size = _sizes.get(key)
        if size is None:
            if len(_sizes) >= KEPT:
                _sizes.clear()
            size = _sizes[key] = cast("Size", measure(s, prop, ismath))
        return size


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
