"""What every picture is drawn on: the figure, the two styles, and text that keeps out of the way."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as PlainFigure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

__all__ = [
    "ARTICLE",
    "RAVINE",
    "Figure",
    "Style",
    "calm",
    "drawn",
    "halo",
    "label",
    "label_at_right",
    "new_figure",
    "style_of",
]

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Style:
    """Colours and strokes of a picture."""

    name: str
    ground: str
    ink: str
    quiet: str
    accents: tuple[str, ...]
    far: str
    near: str
    halo: str

    @property
    def accent(self) -> str:
        """The one colour of the path."""
        return self.accents[0]


RAVINE = Style(
    name="ravine",
    ground="#ffffff",
    ink="#1d2b36",
    quiet="#5c6b77",
    # told apart by lightness as well as by hue, so that grey prints and colour-blind readers lose nothing
    accents=("#d9480f", "#0b5394", "#111111", "#b5179e", "#0f766e", "#a16207"),
    far="#f6f9fb",
    near="#6f8aa3",
    halo="#ffffff",
)

ARTICLE = Style(
    name="article",
    ground="#ffffff",
    ink="#000000",
    quiet="#000000",
    accents=("r", "b", "k", "m", "c", "y"),
    far="#ffffff",
    near="#333399",
    halo="#ffffff",
)

STYLES = {each.name: each for each in (RAVINE, ARTICLE)}


def style_of(name: str) -> Style:
    """Return a style by its name."""
    if name not in STYLES:
        raise ValueError(f"no style {name!r}; there are {', '.join(STYLES)}")
    return STYLES[name]


RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 9.0,
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": True,
    "pdf.fonttype": 42,  # TrueType, embedded: text stays text
    "svg.fonttype": "path",
    "svg.hashsalt": "ravine",  # the same picture gives the same file
    "savefig.dpi": 200,
    "savefig.bbox": None,
    "savefig.facecolor": "auto",
    "text.usetex": False,
}


def own_settings() -> Any:
    """Return a context with matplotlib's defaults and ours, in which the user's rcParams play no part."""
    return mpl.rc_context({key: value for key, value in _DEFAULTS.items() if key not in _NOT_OURS} | RC)


_DEFAULTS: dict[Any, Any] = dict(mpl.rcParamsDefault)
_NOT_OURS = {
    key for key in _DEFAULTS if key.startswith(("backend", "interactive", "toolbar", "webagg", "tk.", "date."))
}


def drawn(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate what draws, so that it does so with our own settings."""

    @functools.wraps(function)
    def inner(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with own_settings():
            return function(*args, **kwargs)

    return inner


class Figure(PlainFigure):
    """A matplotlib figure that stands outside pyplot, with ravine's own settings when it is written.

    It shows itself in a notebook and is written with ``savefig``; the user's rcParams play no part and stay
    as they are.
    """

    def savefig(self, fname: str | os.PathLike[str] | IO[bytes], **options: Any) -> None:
        """Write the figure; 200 dots per inch unless ``dpi`` says otherwise."""
        given = str(fname)
        if given.endswith((".svg", ".pdf")):  # no date: the same picture gives the same file
            options.setdefault("metadata", {"Date" if given.endswith(".svg") else "CreationDate": None})
        with own_settings():
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def new_figure(width: float, height: float, style: Style) -> Figure:
    """Return an empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), facecolor=style.ground)
    FigureCanvasAgg(figure)
    return figure


def calm(axes: Axes, style: Style) -> None:
    """Take away what does not speak: frame lines, tick marks, dark numbers."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=style.quiet, pad=4)
    axes.xaxis.label.set_color(style.quiet)
    axes.yaxis.label.set_color(style.quiet)


def halo(style: Style, width: float = 2.5) -> list[Any]:
    """Return the path effect that keeps a text readable over lines."""
    return [patheffects.withStroke(linewidth=width, foreground=style.halo)]


def label(
    axes: Axes,
    text: str,
    point: Sequence[float] | NDArray[np.floating[Any]],
    style: Style,
    *,
    color: str,
    avoid: NDArray[np.floating[Any]] | None = None,
    boxes: Iterable[Bbox] = (),
    size: float = 8.5,
) -> Text:
    """Write a direct label beside a point, where it covers the fewest obstacles and stays inside the axes.

    Parameters
    ----------
    axes
        Its limits must be final.
    text, point
        What to write and what it belongs to, in data coordinates.
    style, color, size
        How.
    avoid
        Points not to cover, shape (n, 2), in data coordinates.
    boxes
        Boxes not to cover, in pixels: other labels.
    """
    figure = axes.get_figure()
    assert figure is not None
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    note = axes.annotate(
        text,
        xy=(float(point[0]), float(point[1])),
        xytext=(0, 0),
        textcoords="offset points",
        color=color,
        size=size,
        ha="center",
        va="center",
        path_effects=halo(style),
        zorder=6,
    )
    extent = note.get_window_extent(renderer)
    width, height = extent.width, extent.height
    anchor = axes.transData.transform(np.asarray(point, dtype=float))
    inside = axes.get_window_extent(renderer)
    obstacles = np.empty((0, 2)) if avoid is None else _dense(axes.transData.transform(avoid))
    obstacles = obstacles[np.isfinite(obstacles).all(axis=1)]
    dots = figure.dpi / 72
    half = np.array([width / 2, height / 2])
    best, least = (0.0, 0.0), np.inf
    for gap in (7.0, 14.0, 24.0, 38.0):
        for angle in np.deg2rad([0, 180, 45, 135, -45, -135, 90, -90, 22, 158, -22, -158]):
            way = np.array([np.cos(angle), np.sin(angle)])
            offset = way * (gap * dots + np.abs(way) @ half)
            box = Bbox.from_extents(*(anchor + offset - half), *(anchor + offset + half))
            cost = gap / 10 + 6 * _covered(box.padded(2 * dots), obstacles)
            cost += 400 * (1 - _share_inside(box.padded(3 * dots), inside))
            cost += sum(60.0 for other in boxes if box.padded(2 * dots).overlaps(other))
            if cost < least:
                best, least = (offset[0] / dots, offset[1] / dots), cost
    note.set_position(best)
    return note


def label_at_right(axes: Axes, entries: Sequence[tuple[str, float, str]], style: Style, size: float = 8.5) -> None:
    """Write (name, height, colour) at the right border, moved apart where they would overlap.

    A thin line leads from a moved name to its height.
    """
    low, high = axes.get_ylim()
    figure = axes.get_figure()
    assert figure is not None
    step = 1.35 * size / 72 / (axes.get_position().height * figure.get_figheight())  # type: ignore[union-attr]
    heights = [float(axes.transAxes.inverted().transform(axes.transData.transform((0, h)))[1]) for _, h, _ in entries]
    order = np.argsort(heights)
    places = np.array(heights)[order]
    for k in range(1, len(places)):  # push up what is too close, then down what left the axes
        places[k] = max(places[k], places[k - 1] + step)
    places[-1] = min(places[-1], 1.0)
    for k in range(len(places) - 2, -1, -1):
        places[k] = min(places[k], places[k + 1] - step)
    for place, index in zip(places, order, strict=True):
        name, _, color = entries[index]
        axes.annotate(
            name,
            xy=(1.0, heights[index]),
            xycoords="axes fraction",
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            size=size,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "shrinkA": 1, "shrinkB": 0},
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def _dense(pixels: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Add points every few pixels between the given ones: a long straight line is an obstacle all along."""
    if len(pixels) < 2:
        return pixels
    lengths = np.hypot(*np.diff(pixels, axis=0).T)
    counts = np.clip(np.nan_to_num(lengths, nan=1.0, posinf=1.0) / 5, 1, 200).astype(int)
    legs = zip(pixels[:-1], pixels[1:], counts, strict=True)
    with np.errstate(invalid="ignore", over="ignore"):
        between = [a + np.linspace(0, 1, n, endpoint=False)[:, None] * (b - a) for a, b, n in legs]
    return np.concatenate([*between, pixels[-1:]])


def _covered(box: Bbox, points: NDArray[np.floating[Any]]) -> int:
    within = (points >= box.min).all(axis=1) & (points <= box.max).all(axis=1)
    return min(int(within.sum()), 20)


def _share_inside(box: Bbox, frame: Bbox) -> float:
    common = Bbox.intersection(box, frame)
    return 0.0 if common is None else common.width * common.height / (box.width * box.height)
