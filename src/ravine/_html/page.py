"""A page as paragraphs, plates, tables, listings and claims, and that page as one HTML file."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from PIL import Image

from ravine._progress import tracked
from ravine._system import write_whole


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
    told: Sequence[Sentences] = ()
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


def html(page: Page, ground: str = "#ffffff") -> str:
    """Write a page as HTML; draws its pictures, which stand on a ground of this colour.

    Examples
    --------
    >>> written = html(Page("A title", "What it is.", [], [], [Section("one", "One", [Text("Some *words*.")])]))
    >>> '<h2 id="one">One</h2>' in written, "<em>words</em>" in written
    (True, True)
    """
    room = Environment(loader=PackageLoader("ravine._html", "templates"), autoescape=True, trim_blocks=True)
    room.filters["words"] = marked
    plates = [block for block in _blocks(page.sections) if isinstance(block, Plate)]
    pictures = {plate.id: _picture(plate.draw()) for plate in tracked(plates, "pictures")}
    return room.get_template("story.html").render(
        page=page,
        style=Markup(room.get_template("story.css").render()),
        pictures=pictures,
        ground=ground,
        kinds=KINDS,
        places={plate.id: plate.name for plate in plates} | {each.id: each.title for each in _sections(page.sections)},
        minutes=max(1, round(_count(page) / PACE)),
    )


def write(text: str, path: Path) -> Path:
    """Write a text at once: whoever looks sees the old file or the new one, never half of it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write("all of it", Path(folder) / "page.html").read_text()
    'all of it'
    """
    with write_whole(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
    return path


def marked(text: str) -> Markup:
    """Turn `code`, *stress* and [links](#place) into HTML, and set signs as print does; everything else is text.

    Examples
    --------
    >>> marked("`a < b`, *so* [there](#one)")
    Markup('<code>a &lt; b</code>, <em>so</em> <a href="#one">there</a>')
    >>> marked("from -3, `--lr -3`") == "from \N{MINUS SIGN}3, <code>--lr -3</code>"
    True
    """
    parts = text.split("`")
    told = [f"<code>{escape(part)}</code>" if k % 2 else _prose(part) for k, part in enumerate(parts)]
    return Markup("".join(told))


def _prose(text: str) -> str:
    """Set minus signs, apostrophes, stress and links."""
    text = re.sub(r"(?<![\w-])-(?=[\d.])|(?<= )-(?= )", "\N{MINUS SIGN}", text)
    safe = str(escape(re.sub(r"(?<=\w)'(?=\w|\s)", "\N{RIGHT SINGLE QUOTATION MARK}", text)))
    safe = re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", safe)
    return re.sub(r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', safe)


def _picture(figure: Drawing) -> Picture:
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


def _count(page: Page) -> int:
    """Count the words that are read; what is shut and what is program is not."""
    told = [page.lede, *page.turned]
    for block in _blocks(page.sections):
        if isinstance(block, Text):
            told += [block.words, *block.points]
        elif isinstance(block, Plate):
            told += [block.look, *(line for each in block.told for line in each.first)]
        elif isinstance(block, Claim):
            told += [block.said, block.answer]
        elif isinstance(block, Table):
            told += [cell for row in block.rows for cell in row]
    return sum(len(text.split()) for text in told)
