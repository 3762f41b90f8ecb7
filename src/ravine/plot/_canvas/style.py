"""The styles, the figure that every picture is drawn on, and matplotlib settings of our own."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure as PlainFigure
from numpy.typing import NDArray

from ravine._system import process_state
from ravine.plot._canvas.canvas import Canvas
from ravine.plot._canvas.ticks import NumberFormatter

Given = ParamSpec("Given")
Result = TypeVar("Result")


# In equal steps of OKLab (Ottosson 2020), lightness falling or rising all the way: the order of the colours stays
# in grey print and for colour-blind readers. The best is the most prominent: deep on white paper, bright on dark.
CELLS = {
    "ravine": "#172764 #1a3773 #1f4781 #25588f #2c689b #3679a4 #448aad #569bb6 #69abbe #7cbbc7 #91cbd1 #abdada #c6e8e5",
    "dark": "#fce076 #d6d974 #b1ce76 #91c079 #75b182 #58a28c #399290 #23808c #226c84 #245978 #1f4767 #1a3653 #14283c",
}


RUNS = mpl.colormaps["plasma"]


def _part_of_runs(low: float, high: float) -> Colormap:
    """Return the part of the ramp of runs that stands out from the paper."""
    return LinearSegmentedColormap.from_list("runs", RUNS(np.linspace(low, high, 64)))


@dataclass(frozen=True)
class Style:
    """Colours of a picture, and what is drawn on it: all that tells one style from another.

    `ground`, `ink`, `quiet`
        The paper, the words, and what is less than they.
    `accents`, `grid`
        The runs; lines behind curves.
    `ramp`, `hairline`, `contour`, `number`, `hole`
        A map from lowest to highest loss, lines between bands, numbered lines and their numbers, where it has no value.
    `runs`
        Runs whose setting is a number, from the smallest to the largest: even in lightness, off the paper at both ends.
    `cells`, `diverging`, `late`
        A diagram from the best value to the worst; its cells that diverge, and that do not arrive.
    `head`, `frame`
        Whether the figure has a title and subtitle, and marks bear their names; whether axes keep matplotlib's frame.
    `terrain`, `cross`, `points`
        A map as coloured cells: the name of its colours; a marker at each step of a path; colour of rings at the data.
        Empty: bands with contours; dots, and a ring at the start; quiet rings.
    """

    name: str
    ground: str
    ink: str
    quiet: str
    accents: tuple[str, ...]
    ramp: tuple[str, ...]
    hairline: str
    contour: str
    number: str
    hole: tuple[str, str]
    grid: str
    diverging: str
    late: str
    cells: Colormap = field(compare=False)
    runs: Colormap = field(compare=False)
    head: bool = True
    frame: bool = False
    terrain: str = ""
    cross: str = ""
    points: str = ""

    @property
    def accent(self) -> str:
        """The one colour of the path."""
        return self.accents[0]

    @property
    def near(self) -> str:
        """Colour of the lowest loss."""
        return self.ramp[0]

    @property
    def far(self) -> str:
        """Colour of the highest loss."""
        return self.ramp[-1]

    @property
    def halo(self) -> str:
        """Colour that lifts words and paths off the map."""
        return self.ground


RAVINE = Style(
    name="ravine",
    ground="#ffffff",
    ink="#1d2b36",
    quiet="#5c6b77",
    # told apart by lightness as well as by hue, so that grey prints and colour-blind readers lose nothing
    accents=("#d9480f", "#0b5394", "#111111", "#b5179e", "#0f766e", "#a16207"),
    ramp=("#2c5f8f", "#79a5cb", "#b7d1e6", "#dde9f3", "#f4f8fb"),
    hairline="#ffffff",
    contour="#587d9e",
    number="#2f5069",
    hole=("#f3e9e2", "#d9c4b5"),
    grid="#e8edf1",
    diverging="#f6e3d8",
    late="#e8edf1",
    cells=LinearSegmentedColormap.from_list("ravine", CELLS["ravine"].split()),
    runs=_part_of_runs(0.0, 0.76),
)

DARK = Style(
    name="dark",
    ground="#0d141b",
    ink="#eaf0f5",
    quiet="#93a5b5",
    accents=("#ff9142", "#79c7ff", "#f7f7f2", "#ff8fd6", "#45d9b9", "#e9cf58"),
    # the valley glows, the heights fade into the paper: the path is the brightest thing on it
    ramp=("#5fa9dc", "#3a78a6", "#235375", "#173448", "#111c26"),
    hairline="#0d141b",
    contour="#6f9cc0",
    number="#bcd5e8",
    hole=("#241d1a", "#4a3a31"),
    grid="#22303c",
    diverging="#241d1a",
    late="#182029",
    cells=LinearSegmentedColormap.from_list("dark", CELLS["dark"].split()),
    runs=_part_of_runs(0.38, 1.0),
)

ARTICLE = Style(
    name="article",
    ground="#ffffff",
    ink="#000000",
    quiet="#000000",
    accents=("r", "b", "k", "m", "c", "y"),
    ramp=("#333399", "#ffffff"),
    hairline="#ffffff",
    contour="#000000",
    number="#000000",
    hole=("#ffffff", "#000000"),
    grid="#dddddd",
    diverging="#f6e3d8",
    late="#dddddd",
    cells=mpl.colormaps["cividis_r"],
    runs=_part_of_runs(0.0, 0.76),
    head=False,
    frame=True,
    terrain="terrain",
    cross="+",
    points="b",
)

STYLES = {each.name: each for each in (RAVINE, ARTICLE, DARK)}


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
    "axes.formatter.use_mathtext": False,  # parsing it for every number of an axis costs more than the map
    "axes.titley": 1.0,  # a title that looks for its own height measures every number of the axes
    "pdf.fonttype": 42,  # TrueType, embedded: text stays text
    "svg.fonttype": "path",
    "svg.hashsalt": "ravine",  # the same picture gives the same file
    "savefig.dpi": 150,
    "savefig.bbox": None,
    "savefig.facecolor": "auto",
    "text.usetex": False,
}


def _own_params() -> dict[str, Any]:
    plain: dict[Any, Any] = dict(mpl.rcParamsDefault)
    kept = ("backend", "interactive", "toolbar", "webagg", "tk.", "date.")
    ours: Any = mpl.RcParams({key: value for key, value in plain.items() if not key.startswith(kept)} | RC)
    return dict(ours)


OURS = _own_params()
"""Matplotlib's defaults and our own settings, validated once."""


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults and ours, in which the user's rcParams play no part.

    What `matplotlib.rc_context` does, without validating 300 settings each time: that costs 5 ms.
    """
    with process_state():  # matplotlib is made for one thread at a time, and rcParams are there once
        now: Any = mpl.rcParams
        before = {key: dict.__getitem__(now, key) for key in OURS}
        dict.update(now, OURS)
        try:
            yield
        finally:
            dict.update(now, before)


def with_own_settings(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate what draws, so that it does so with our own settings; on the user's Axes, with hers."""

    @functools.wraps(function)
    def inner(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        given = [*args, kwargs.get("ax")]
        if any(isinstance(each, Axes) and is_users(each) for each in given):
            with process_state():
                return function(*args, **kwargs)
        with own_settings():
            return function(*args, **kwargs)

    return inner


class Figure(PlainFigure):
    """A matplotlib figure that stands outside pyplot, with ravine's own settings when it is written.

    It shows itself in a notebook and is written with ``savefig``; the user's rcParams play no part and stay
    as they are.
    """

    def savefig(self, fname: str | os.PathLike[str] | IO[bytes], **options: Any) -> None:
        """Write the figure; 150 dots per inch unless ``dpi`` says otherwise."""
        given = str(fname)
        if given.endswith((".svg", ".pdf")):  # no date: the same picture gives the same file
            options.setdefault("metadata", {"Date" if given.endswith(".svg") else "CreationDate": None})
        kind, dpi = options.get("format") or given.rpartition(".")[2], options.get("dpi", RC["savefig.dpi"])
        plain = kind == "png" and isinstance(dpi, int | float) and not options.get("bbox_inches")
        with own_settings(), self._laid_out(dpi) if plain else nullcontext():
            super().savefig(fname, **options)

    @contextmanager
    def _laid_out(self, dpi: float) -> Iterator[None]:
        """Lay out what is in matplotlib's arrangement; left to itself it draws all once more for that, unseen."""
        engine, before = self.get_layout_engine(), self.dpi
        if engine is None:
            yield
            return
        try:
            self.dpi = dpi
            with suppress(ValueError):  # as matplotlib does where nothing fits
                engine.execute(self)
            self.dpi = before
            self.set_layout_engine(None)  # one that stands for it would be drawn for, too
            yield
        finally:
            self.dpi = before
            self.set_layout_engine(engine)

    def pixels(self) -> NDArray[np.uint8]:
        """Return what a PNG of it shows, (rows, columns, 4), for what packs it in another way."""
        self.savefig(io.BytesIO(), format="rgba")
        canvas: Any = self.canvas
        return np.asarray(canvas.buffer_rgba())

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


class ShownAxes(Axes):
    """The Axes of a mark that was given none: it shows its figure in a notebook."""

    def _repr_png_(self) -> bytes:
        figure = self.get_figure(root=True)
        assert isinstance(figure, Figure)
        return figure._repr_png_()


def is_users(ax: Axes) -> bool:
    """Tell whether an Axes stands in a figure that is not ours: its frame, title, numbers and colours stay."""
    return not isinstance(ax.get_figure(root=True), Figure)


def style_on(name: str, ax: object) -> Style:
    """Return a style by its name, on the paper of the user's Axes where there is one.

    On dark paper, ``"ravine"`` is ``"dark"``: words and lines must stand out from it.
    """
    style = style_of(name)
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"ax must be one matplotlib Axes, as in figure, ax = plt.subplots(), got {type(ax).__name__}")
    if ax is None or not is_users(ax) or not style.head:
        return style
    paper = to_rgba(ax.get_facecolor()) if ax.axison else (0.0, 0.0, 0.0, 0.0)
    under = to_rgb(ax.get_figure(root=True).get_facecolor())  # type: ignore[union-attr]
    red, green, blue = (paper[3] * a + (1 - paper[3]) * b for a, b in zip(paper, under, strict=False))
    if style is RAVINE and 0.2126 * red + 0.7152 * green + 0.0722 * blue < DARKER:
        style = DARK
    return replace(style, ground=to_hex((red, green, blue)))


DARKER = 0.35
"""How bright paper is, at most, on which the dark style is drawn."""


def new_figure(width: float, height: float, style: Style) -> Figure:
    """Return an empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), facecolor=style.ground)
    Canvas(figure)
    return figure


def calm(axes: Axes, style: Style, size: float = 8.0, *, pad: float = 4.0, grid: bool = False) -> None:
    """Take away what does not speak: frame lines, tick marks, dark numbers; nothing where the style keeps its frame."""
    if style.frame or is_users(axes):
        return
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=size, labelcolor=style.quiet, pad=pad)
    axes.set_facecolor(style.ground)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(NumberFormatter())
    axes.xaxis.label.set_color(style.quiet)
    axes.yaxis.label.set_color(style.quiet)
    if grid:
        axes.grid(color=style.grid, lw=0.6)
        axes.set_axisbelow(True)


def halo(style: Style, width: float = 2.5) -> list[Any]:
    """Return the path effect that keeps a text readable over lines."""
    return [patheffects.withStroke(linewidth=width, foreground=style.halo)]
