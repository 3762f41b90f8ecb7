"""Cells are drawn to the very pixels of matplotlib's own mesh, and of no more of them than are seen."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from ravine.plot._canvas.cells import Cells, draw_cells

LOOK = {"cmap": "plasma", "zorder": 0.4}


def edges_of(count, log, random):
    """Edges of unlike cells, some of them narrower than a pixel."""
    middles = np.cumsum(random.uniform(0.02, 1.0, count + 1))
    return 10.0 ** (middles / middles[-1] * 3) if log else middles


def pixels(draw, across, up, values, logs, turned, dpi, size=(3.1, 2.3)):
    figure = Figure(figsize=size, dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    ax = figure.add_axes((0.12, 0.13, 0.77, 0.8))
    ax.set(xscale="log" if logs[0] else "linear", yscale="log" if logs[1] else "linear")
    ax.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
    if turned:  # and drawn larger, so that cells lie beyond the border
        ax.set(xlim=across[[-2, 3]], ylim=up[[-3, 1]])
    draw(ax, across, up, values)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def own(ax, across, up, values):
    return draw_cells(ax, across, up, values, norm=LogNorm(0.1, 30, clip=True), **LOOK)


def mesh(ax, across, up, values):
    norm = LogNorm(0.1, 30, clip=True)
    return ax.pcolormesh(across, up, values, norm=norm, rasterized=True, antialiased=False, **LOOK)


@pytest.mark.parametrize("turned", [False, True], ids=["as they are", "turned and cut"])
@pytest.mark.parametrize("logs", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize(("columns", "rows"), [(7, 5), (60, 300), (700, 400)])
def test_pixels_are_those_of_a_mesh(columns, rows, logs, turned):
    random = np.random.default_rng([columns, turned])
    across, up = edges_of(columns, logs[0], random), edges_of(rows, logs[1], random)
    values = np.ma.masked_less(random.lognormal(size=(rows, columns)), 0.3)
    for dpi, size in ((61, (3.1, 2.3)), (150, (3.1, 2.3)), (100, (3.0, 2.5))):  # the last ends on half a pixel
        given = across, up, values, logs, turned, dpi, size
        drawn = pixels(own, *given)
        assert len(np.unique(drawn.reshape(-1, 4), axis=0)) > 20
        assert (drawn == pixels(mesh, *given)).all()


def test_in_a_file_of_shapes_the_pixels_are_the_same(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "svg.hashsalt", "")
    random = np.random.default_rng(0)
    across, up, files = edges_of(400, True, random), edges_of(90, False, random), []
    values = np.ma.masked_less(random.normal(size=(90, 400)), -1)
    for kind in (Cells, QuadMesh):
        ax = Figure(figsize=(2, 1.5)).add_axes((0, 0, 1, 1))
        ax.set(xscale="log", xlim=across[[0, -1]], ylim=up[[0, -1]])
        ax.set_axis_off()
        cells = draw_cells(ax, across, up, values, norm=Normalize(-3, 3), **LOOK)
        if kind is QuadMesh:
            monkeypatch.setattr(Cells, "draw", QuadMesh.draw)
        held = io.BytesIO()
        ax.get_figure().savefig(held, format="svg", metadata={"Date": None}, dpi=90)
        files.append(held.getvalue())
        assert cells.get_array().shape == (90, 400)
    assert b"<image" in files[0]
    assert files[0].count(b"<path") < 10
    assert image_in(files[0]) == image_in(files[1])


def image_in(svg):
    return svg.partition(b'xlink:href="data:image/png;base64,')[2].partition(b'"')[0]


def test_what_is_not_to_be_rasterized_is_drawn_as_shapes():
    ax = Figure(figsize=(1, 1)).add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    draw_cells(ax, np.arange(4.0), np.arange(3.0), np.arange(6.0).reshape(2, 3)).set_rasterized(False)
    held = io.BytesIO()
    ax.get_figure().savefig(held, format="svg")
    assert b"<image" not in held.getvalue()
    assert held.getvalue().count(b"<path") >= 6


def test_a_million_cells_are_not_coloured(monkeypatch):
    seen = []
    monkeypatch.setattr(
        Cells, "to_rgba", lambda self, values, alpha: seen.append(values.shape) or np.ones((*values.shape, 4))
    )
    edges = np.arange(1001.0)
    pixels(own, edges, edges, np.zeros((1000, 1000)), (False, False), False, 50)
    (shape,) = seen
    assert shape[0] * shape[1] <= 155 * 115
