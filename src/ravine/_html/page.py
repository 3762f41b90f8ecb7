"""A page as paragraphs, plates, tables, listings and claims, and that page as one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from ravine._html.render import Colors, render
from ravine._progress import tracked


class Drawing(Protocol):
    """A picture not yet encoded: what a page needs to know of a figure."""

    def get_figwidth(self) -> float:
        """Return its width in inches."""

    def savefig(self, fname: io.BytesIO, **options: Any) -> None:
        """Encode it."""


@dataclass(frozen=True)
class Text:
    """A paragraph, or with `points` a list; words between backticks are code, between asterisks stressed."""

    words: str = ""
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Sentences:
    """Findings about one run, or about runs that are one in every bit: what stands above, and the rest to open."""

    whose: str
    first: Sequence[str]
    rest: Sequence[str] = ()


@dataclass(frozen=True)
class Listing:
    """Text in a fixed pitch: a program, or what one prints. Shut, it opens by its title."""

    title: str
    text: str
    shut: bool = True
    copied: bool = True


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Plate:
    """A picture with a reason to look at it, what can be seen on it in words, and what belongs beneath it."""

    id: str
    name: str
    caption: str
    draw: Callable[[], Drawing]
    alt: str
    look: str
    findings: Sequence[Sentences] = ()
    beneath: Sequence[Listing] = ()


@dataclass(frozen=True)
class Claim:
    """What the article says, whether it is so, and the numbers that show it."""

    id: str
    said: str
    verdict: str
    holds: bool
    answer: str
    values: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    table: Table | None = None


Block = Text | Plate | Table | Listing | Claim


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page with a heading of its own; inner ones stand a level lower."""

    id: str
    title: str
    blocks: Sequence[Block] = ()
    inner: Sequence[Section] = ()


PIXELS = 1400
"""Width of a picture at most: twice what a page shows, for fine screens."""

DOTS = 200.0
"""Dots per inch of pictures that are not as wide as that."""

SHOWN = 100.0
"""Dots per inch at which the page shows a picture, where there is room."""

COLORS = 160
"""Colours of a picture's palette; a third of the size, and no eye tells the difference."""

PACE = 220
"""Words that people read in a minute."""

KINDS = {"confirmed": "confirmed", "corrected": "corrected", "needs a word": "word"}


@dataclass(frozen=True, eq=False)
class Page:
    """Title, a sentence or two about what it is, facts in a line, what was turned, and the sections."""

    title: str
    lede: str
    facts: Sequence[str]
    turned: Sequence[str]
    sections: Sequence[Section]


@dataclass(frozen=True)
class Picture:
    """A picture as text, its size in pixels, and the width at which it is best shown."""

    uri: str
    width: int
    height: int
    natural: int


def make_html(page: Page, light: Colors, dark: Colors, ground: str) -> str:
    """Write a page as HTML; draws its pictures.

    Parameters
    ----------
    page
        What is to stand on it.
    light, dark
        Colours of the page, by what the reader's system asks for.
    ground
        The paper of the pictures, whatever that of the page.

    Examples
    --------
    >>> from ravine.plot._canvas.style import DARK, RAVINE
    >>> page = Page("A title", "What it is.", [], [], [Section("one", "One", [Text("Some *words*.")])])
    >>> written = make_html(page, RAVINE, DARK, RAVINE.ground)
    >>> '<h2 id="one">One</h2>' in written, "<em>words</em>" in written
    (True, True)
    """
    plates = [block for block in _blocks(page.sections) if isinstance(block, Plate)]
    pictures = {plate.id: _encode_picture(plate.draw()) for plate in tracked(plates, "pictures")}
    return render(
        "story.html",
        light,
        dark,
        page=page,
        pictures=pictures,
        ground=ground,
        kinds=KINDS,
        names={plate.id: plate.name for plate in plates} | {each.id: each.title for each in _sections(page.sections)},
        minutes=max(1, round(_count_words(page) / PACE)),
    )


def _encode_picture(figure: Drawing) -> Picture:
    width = figure.get_figwidth()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=min(DOTS, PIXELS / width), pil_kwargs={"compress_level": 0})
    with Image.open(buffer) as full:
        image = full.convert("RGB").quantize(COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, format="png")
    uri = f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return Picture(uri, image.width, image.height, round(SHOWN * width))


def _sections(sections: Sequence[Section]) -> Iterator[Section]:
    for section in sections:
        yield section
        yield from _sections(section.inner)


def _blocks(sections: Sequence[Section]) -> Iterator[Block]:
    for section in _sections(sections):
        yield from section.blocks


def _count_words(page: Page) -> int:
    """Count the words that are read; what is shut and what is program is not."""
    texts = [page.lede, *page.turned]
    for block in _blocks(page.sections):
        if isinstance(block, Text):
            texts += [block.words, *block.points]
        elif isinstance(block, Plate):
            texts += [block.look, *(line for each in block.findings for line in each.first)]
        elif isinstance(block, Claim):
            texts += [block.said, block.answer]
        elif isinstance(block, Table):
            texts += [cell for row in block.rows for cell in row]
    return sum(len(text.split()) for text in texts)
