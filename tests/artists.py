"""What is drawn on a figure, read back by the names of its artists."""

from __future__ import annotations

from matplotlib.text import Text


def line_of(ax, gid):
    return next(artist for artist in ax.lines if artist.get_gid() == gid)


def of_gid(where, gid):
    return [a for a in where.get_children() if a.get_gid() == gid and not isinstance(a, Text)]


def words(where, gid=None):
    return [t.get_text() for t in where.texts if gid is None or t.get_gid() == gid]


def said(figure):
    return " ".join(t.get_text() for where in (figure, *figure.axes) for t in where.texts).replace("\n", " ")


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "key"]
