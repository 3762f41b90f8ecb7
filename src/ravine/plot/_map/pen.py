"""What every note on a map is written with: where, in which style, at which size, and off all that is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from ravine.plot._canvas.labels import FreeSpace, draw_label
from ravine.plot._canvas.style import Style


@dataclass(frozen=True, eq=False)
class PanelArtists:
    """What was drawn in one panel that has its time: the artists of each run's path, and notes with their step."""

    paths: list[list[Artist]] = field(default_factory=list)
    notes: list[tuple[int, Artist]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Pen:
    """What every note needs: where, in which style, at which size, what is taken, and what was drawn so far."""

    ax: Axes
    theme: Style
    free: FreeSpace
    scale: float
    drawn: PanelArtists = field(default_factory=PanelArtists)

    def size(self, points: float) -> float:
        """Return a font size at the figure's scale, never under 6 points."""
        return max(6.0, points * self.scale)

    def write(
        self, text: str, point: Any, color: str, points: float = 8.5, since: int | None = None, **how: Any
    ) -> None:
        """Write a label beside a point, where there is room; it may speak of what is so from some step on."""
        size = self.size(points)
        note = draw_label(self.ax, text, point, self.theme, color=color, free=self.free, size=size, **how)
        if since is not None and note is not None:
            self.drawn.notes.append((since, note))

    def cross(self, spot: Any, gid: str, color: str, marker: str = "x", points: float = 7.0) -> None:
        """Mark a spot and take its place."""
        self.ax.plot(
            *spot,
            ls="",
            marker=marker,
            ms=points * min(1.0, self.scale + 0.1),
            mew=1.4,
            mec=color,
            mfc="none",
            color=color,
            zorder=3.9,  # under the end of a path that arrives, with its arms in sight
            gid=gid,
        )
        self.free.mark(self.free.points(spot), 5.0)
