"""animate: a descent as a moving picture; which steps it shows, and for how long."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from PIL import Image

from ravine._html.player import embed, make_player
from ravine._progress import tracked
from ravine._study.contract import axes, check
from ravine._study.counted import unit_of
from ravine._study.origin import surface_for
from ravine._system import write_whole
from ravine.plot._canvas.labels import literal
from ravine.plot._canvas.style import DARK, RAVINE, Figure, style_of, with_own_settings
from ravine.plot._canvas.words import knobs
from ravine.plot._film.encode import Palette, find_ffmpeg, make_sheets, png, write_gif, write_mp4
from ravine.plot._film.moving import MovingArtist
from ravine.plot._film.stage import Clock, make_stage
from ravine.plot._map.panels import make_panels

MOST = 101
"""Frames of a moving picture, at most: each of the usual hundred steps, and the start."""

MOST_RUNS = 6
"""Runs that race on one map, at most: each has a row of the scoreboard."""

WHOLE, SHORTEST, LONGEST = 8000, 80, 250
"""Milliseconds that all frames take together, and that one takes at least and at most."""

FIRST, LAST = 600, 2500
"""Milliseconds for which the start and the end stay."""


def frames_of(last: int, most: int = MOST) -> NDArray[np.intp]:
    r"""Return the steps that are shown of `last` + 1, among them always the first two and the last.

    All of them, while there are no more than `most`. Of more, frame :math:`j` of :math:`F` shows step
    :math:`\mathrm{round}(K\,(j/F)^p)` with :math:`p = \ln K / \ln F`: the second frame is one step after the first,
    and the strides grow steadily from there, because a run goes fastest at its beginning.

    Examples
    --------
    >>> frames_of(5).tolist()
    [0, 1, 2, 3, 4, 5]
    >>> frames_of(1000, most=11).tolist()
    [0, 1, 8, 27, 64, 125, 216, 343, 512, 729, 1000]
    """
    if last < most:
        return np.arange(last + 1)
    power = np.log(last) / np.log(most - 1)
    chosen: NDArray[np.intp] = np.rint(last * np.linspace(0, 1, most) ** power).astype(np.intp)
    return chosen


def durations_of(count: int) -> list[int]:
    """Return how long each frame stays, in milliseconds: the first a moment longer, the last until it is read.

    Examples
    --------
    >>> durations_of(5), sum(durations_of(101)[1:-1])
    ([600, 250, 250, 250, 2500], 7920)
    """
    each = int(np.clip(WHOLE / count, SHORTEST, LONGEST)) // 10 * 10  # GIF counts in hundredths of a second
    return [FIRST, *[each] * (count - 2), LAST][:count] if count > 1 else [LAST]


DPI = {".gif": 96, ".mp4": 150, ".html": 144}
"""Dots per inch of each kind of file: a GIF is large for what it shows, a page may be enlarged."""


@dataclass(frozen=True, eq=False)
class Film:
    """A moving picture: a figure whose artists are drawn once, and the steps that its frames show.

    It is written with `save`, and shows itself in a notebook. ``film.frame(k)`` gives one frame as a figure, to be
    looked at or written with ``.savefig(path)``.

    Attributes
    ----------
    figure
        The one figure of all frames, as the last `frame` left it.
    steps
        The number of the step that each frame shows.
    durations
        How long each frame stays, in milliseconds.
    title
        What is written above it.
    places, parts
        Where along ``step`` each frame stands in the study, and all that moves.

    Examples
    --------
    >>> import ravine
    >>> bowl = ravine.gallery.quadratic()
    >>> film = ravine.plot.animate(ravine.descend(bowl, lr=0.1, steps=3), ravine.surface(bowl, points=21))
    >>> film.steps, film.durations
    ((0, 1, 2, 3), (600, 250, 250, 2500))
    """

    figure: Figure
    steps: tuple[int, ...]
    durations: tuple[int, ...]
    title: str
    places: tuple[int, ...]
    parts: tuple[MovingArtist, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, k: int) -> Figure:
        """Return the figure as it is in frame `k`; counted from the end where negative.

        It is the same figure for all frames: write or copy it before asking for another.
        """
        if not -len(self) <= k < len(self):
            raise IndexError(f"there are {len(self)} frames, counted from 0; got {k}")
        for part in self.parts:
            part.move(self.places[k])
        return self.figure

    @with_own_settings
    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the film: .gif, .mp4, or .html, a page with a player.

        The page holds everything it needs, and asks nothing of any server.

        Parameters
        ----------
        path
            Where to write; its ending says what.
        force
            Overwrite an existing file. The old file stays whole until the new one is complete.

        Raises
        ------
        ValueError
            If the ending is none of these.
        FileExistsError
            If the file exists and `force` is not given.
        FileNotFoundError
            If .mp4 is asked for on a machine for which imageio-ffmpeg brings no ffmpeg, and which has none itself.

        Examples
        --------
        >>> import ravine, tempfile
        >>> bowl = ravine.gallery.quadratic()
        >>> film = ravine.plot.animate(ravine.descend(bowl, lr=0.1, steps=3), ravine.surface(bowl, points=21))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     film.save(f"{folder}/run.gif").name
        'run.gif'
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in DPI:
            raise ValueError(
                f"a film ends in .gif, .mp4 or .html, got {path.name!r}; one frame of it is written with "
                'film.frame(k).savefig("frame.png")'
            )
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file")
        if path.exists() and not force:
            raise FileExistsError(f"{path} exists already: choose another name, or force=True to overwrite it")
        if kind == ".mp4":
            find_ffmpeg()  # before any work
        with write_whole(path) as draft:
            if kind == ".gif":
                palette = Palette(self._some(DPI[kind]))
                write_gif(draft, self._all(DPI[kind]), self.durations, palette)
            elif kind == ".mp4":
                write_mp4(draft, self._all(DPI[kind]), self.durations)
            else:
                draft.write_text(self._page(), encoding="utf-8", newline="\n")
        return path

    @with_own_settings
    def _repr_html_(self) -> str:
        width, height = (round(96 * side) for side in self.figure.get_size_inches())
        return embed(self._page(), width, height)

    def _page(self) -> str:
        dpi = DPI[".html"]
        ground, end = self._pictures(dpi, [None, len(self) - 1])
        palette = Palette(self._some(dpi))
        return make_player(
            title=self.title,
            ground=png(Image.fromarray(ground), optimize=True),
            end=png(palette.image(palette.indices(end))),
            sheets=make_sheets(ground, self._all(dpi), palette),
            size=(ground.shape[1], ground.shape[0]),
            width=round(96 * float(self.figure.get_figwidth())),
            steps=self.steps,
            durations=self.durations,
            light=RAVINE,
            dark=DARK,
        )

    def _all(self, dpi: int) -> Iterator[NDArray[np.uint8]]:
        return self._pictures(dpi, tracked(range(len(self)), "frames"))

    def _some(self, dpi: int) -> list[NDArray[np.uint8]]:
        """Draw the first, the middle and the last frame: all the colours there are."""
        return list(self._pictures(dpi, sorted({0, len(self) // 2, len(self) - 1})))

    def _pictures(self, dpi: int, frames: Iterable[int | None]) -> Iterator[NDArray[np.uint8]]:
        """Draw what stays once, and what moves for each frame on top; a frame of None has nothing that moves."""
        figure = self.figure
        canvas = figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        before = figure.get_dpi()
        figure.set_dpi(dpi)
        try:
            canvas.draw()  # type: ignore[no-untyped-call]
            ground = canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]
            artists = sorted((part.artist for part in self.parts), key=lambda artist: artist.get_zorder())
            for k in frames:
                canvas.restore_region(ground)  # type: ignore[no-untyped-call]
                if k is not None:
                    self.frame(k)
                    for artist in artists:
                        artist.draw(canvas.get_renderer())  # type: ignore[no-untyped-call]
                yield np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
        finally:
            figure.set_dpi(before)


@with_own_settings
def animate(
    runs: xr.Dataset,
    land: xr.Dataset | None = None,
    *,
    hue: str | None = None,
    title: str | None = None,
    style: str = "ravine",
) -> Film:
    r"""Let runs descend as a moving picture, each frame the picture after one step more.

    The panels are those of `ravine.plot.descent`, and move in step. Under each stands what is left of the gap of what
    is minimised (or the loss, where the minimum is not known) and what has become of the run. Beside a single panel
    its curve grows with it, and where the model is a line, that line moves through the data. Several runs in one
    panel (`hue`) are a race, with a scoreboard: settings, what is left, who has arrived (`ravine.measure.arrival`),
    diverged or left the map.

    Up to 101 frames show every step. Of a longer run of :math:`K` steps frame :math:`j` of 100 shows step
    :math:`K (j/100)^p`, rounded, with the :math:`p` that puts one step between the first two frames: the strides
    grow, because a run goes fastest at its beginning. Each frame says which step it shows, nothing is drawn between
    two steps, and the path is drawn through all of them.

    Parameters
    ----------
    runs
        A study with ``position`` (…, step, parameter) of two parameters; with ``loss``, ``minimum_loss``, ``inputs``,
        ``targets`` and ``prediction`` the picture says more. Shorter runs stay where they ended.
    land
        A study with ``surface`` over these two parameters, for each panel or one for all; left out, as in `descent`.
    hue
        A dimension, or a setting that varies along one: its runs share a panel, each in its own colour.
    title
        What to see; the settings that were turned, in words, if left out.
    style
        ``"ravine"`` or ``"dark"``.

    Returns
    -------
    Film
        Call ``.save("run.gif")``; .mp4 and .html by the ending. It shows itself in a notebook.

    Raises
    ------
    ValueError
        As `ravine.plot.descent` does; or if the style is the article's, which had no moving pictures.

    Examples
    --------
    >>> import ravine
    >>> problems = ravine.gallery.article()
    >>> runs, land = ravine.descend(problems, lr=0.1, momentum=0.9), ravine.surface(problems, points=21)
    >>> film = ravine.plot.animate(runs, land)
    >>> len(film), film.steps[-1]
    (101, 100)
    >>> ax = film.frame(12).axes[0]
    >>> [len(line.get_xdata()) for line in ax.lines if line.get_gid() == "path"]
    [13]
    """
    theme = style_of(style)
    if not theme.head:
        raise ValueError(f'no moving picture in style {style!r}: choose style="ravine" or "dark"')
    check(runs, "position")
    land = surface_for(runs, land, "ravine.plot.animate")
    plan = make_panels(runs, land, hue, False, MOST_RUNS)
    pair = axes(land)
    last = max(run.sizes["step"] for panel in plan.panels for run in panel.runs) - 1
    frames = frames_of(last)
    steps = runs["step"].values if "step" in runs.coords else np.arange(last + 1)
    heading = title or knobs(runs)
    clock = Clock(frames.tolist(), steps, unit_of(runs))
    figure, parts = make_stage(runs, plan, pair, clock, title or literal(heading), theme)
    shown = tuple(frames.tolist())
    return Film(figure, tuple(steps[frames].tolist()), tuple(durations_of(len(shown))), heading, shown, tuple(parts))
