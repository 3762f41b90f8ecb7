"""Cells of a diagram: however many there are, no more of them are coloured than there are pixels to see them by."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import allow_rasterization
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Cells(QuadMesh):
    """A mesh between edges along both axes, its cells drawn to whole pixels.

    A mesh that is not smoothed gives each pixel to the cell that its middle lies in. So on pixels these cells alone are
    coloured, and drawn as one image: the same pixels, and of a million cells in an eighth of the time.
    """

    def __init__(self, across: Array, up: Array, values: Any, **look: Any) -> None:
        super().__init__(np.stack(np.meshgrid(across, up), axis=-1), antialiased=False, array=values, **look)
        self.across, self.up = across, up

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        """Draw the cells that are to be seen."""
        if not self.get_visible():
            return
        ends = [
            self.get_transform().transform(np.stack(np.broadcast_arrays(across, up), axis=-1))
            for across, up in ((self.across, self.up[0]), (self.across[0], self.up))
        ]
        columns, rows = ends[0][:, 0], ends[1][:, 1]
        if not (hasattr(renderer, "buffer_rgba") and np.isfinite(columns).all() and np.isfinite(rows).all()):
            super().draw(renderer)  # as shapes, for a file of shapes that was not to be rasterized
            return
        wide, tall = map(int, renderer.get_canvas_width_height())
        clip = self.get_clip_box()
        x0, y0, x1, y1 = (0.0, 0.0, wide, tall) if clip is None else clip.extents
        left, across = _cells_at_pixels(columns, max(x0, 0.0), min(x1, wide))
        # rows of pixels are counted from above
        top, down = _cells_at_pixels(tall - rows, max(tall - y1, 0.0), min(tall - y0, tall))
        values: Any = self.get_array()
        image = np.floor(255 * self.to_rgba(values[np.ix_(down, across)], alpha=self.get_alpha())[::-1] + 0.5).astype(
            np.uint8
        )
        context = renderer.new_gc()
        context.set_clip_path(self.get_clip_path())
        if image.size:
            renderer.draw_image(context, left, tall - top - len(down), image)
        context.restore()
        self.stale = False


def _cells_at_pixels(edges: Array, low: float, high: float) -> tuple[int, NDArray[np.intp]]:
    """Return the first pixel of some edges between two bounds, all in pixels, and which cell each from there on shows.

    Examples
    --------
    >>> first, cells = _cells_at_pixels(np.array([1.2, 1.6, 2.4, 2.6, 4.6]), 0.0, 10.0)
    >>> first, cells.tolist()
    (1, [0, 2, 3, 3])
    """
    snapped = np.floor(np.sort(edges) + 0.5)
    first, last = int(max(snapped[0], np.floor(low + 0.5))), int(min(snapped[-1], np.floor(high + 0.5)))
    found = np.searchsorted(snapped, np.arange(first, last), side="right") - 1
    return first, len(edges) - 2 - found if edges[0] > edges[-1] else found


def draw_cells(ax: Axes, across: Array, up: Array, values: Any, **look: Any) -> Cells:
    """Draw the cells between edges along both axes, whose limits are theirs already."""
    cells = Cells(across, up, values, rasterized=True, **look)
    ax.add_collection(cells, autolim=False)
    ax.update_datalim([(across[0], up[0]), (across[-1], up[-1])])
    return cells
