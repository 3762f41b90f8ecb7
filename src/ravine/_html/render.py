"""Pages from templates, in the colours of the styles that pictures are drawn in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jinja2 import Environment


class Colors(Protocol):
    """What a page takes of a style of pictures."""

    @property
    def ground(self) -> str:
        """The paper."""

    @property
    def ink(self) -> str:
        """Words."""

    @property
    def quiet(self) -> str:
        """Words that stand back."""

    @property
    def grid(self) -> str:
        """Thin lines."""

    @property
    def contour(self) -> str:
        """Lines that must be seen."""

    @property
    def accents(self) -> tuple[str, ...]:
        """The path's colour, and others that can be told from it."""

    @property
    def ramp(self) -> tuple[str, ...]:
        """From the lowest to the highest of a map."""


def colors_of(style: Colors) -> dict[str, str]:
    """Return the colours of a page by what they are for.

    Examples
    --------
    >>> from ravine.plot._canvas.style import DARK
    >>> colors_of(DARK)["paper"]
    '#0d141b'
    """
    return {
        "paper": style.ground,
        "ink": style.ink,
        "quiet": style.quiet,
        "line": style.grid,
        "edge": style.contour,
        "soft": style.ramp[-1],
        "accent": style.accents[0],
        "link": style.accents[1],
    }


def render(template: str, light: Colors, dark: Colors, **values: Any) -> str:
    """Fill a template of this wing; the reader's system says which of the two styles the page has."""
    page = _environment().get_template(template)
    return page.render(light=colors_of(light), dark=colors_of(dark), **values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader  # not needed before a page is written

    from ravine._html.inline import format_inline

    environment = Environment(loader=PackageLoader("ravine._html", "templates"), autoescape=True, trim_blocks=True)
    environment.filters["inline"] = format_inline
    return environment
