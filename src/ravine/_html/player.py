"""A film as a page with a player of its own: what never changes once, and of each frame what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ravine._html.render import Colors, render

CONTROLS = 64
"""Pixels that the controls are high, before the page itself says so."""


def make_player(
    *,
    title: str,
    ground: str,
    end: str,
    sheets: Sequence[tuple[int, int, str]],
    size: tuple[int, int],
    width: int,
    steps: Sequence[int],
    durations: Sequence[int],
    light: Colors,
    dark: Colors,
) -> str:
    """Return the page of a film.

    Parameters
    ----------
    title
        Of the page.
    ground, end, sheets
        What never changes, the last frame whole, and what each frame changes of the one before, with where in the
        picture that lies: PNGs in base64.
    size
        Of the picture in pixels.
    width
        That the picture takes on the page, at most.
    steps, durations
        Of each frame: the number of the step, and how many milliseconds it stays.
    light, dark
        Colours of the controls, by what the reader's system asks for.
    """
    film = {"ground": ground, "sheets": list(sheets), "steps": list(steps), "durations": list(durations)}
    return render("player.html", light, dark, title=title, end=end, size=size, width=width, film=film)


def embed(page: str, width: int, height: int) -> str:
    """Return a page as a part of another, in a frame of its own: neither styles nor names can meet."""
    return (
        f'<iframe srcdoc="{escape(page)}" title="film" '
        f'style="width:100%;max-width:{width}px;height:{height + CONTROLS}px;border:0"></iframe>'
    )
