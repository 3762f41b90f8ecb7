"""A page as paragraphs, plates, tables, listings and claims, and that page as one HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from ravine._html.render import Colors, render
from ravine._progress import tracked


class Drawing(Protocol):
    """A picture not yet encoded: what a page needs to know of a figure."""

    def get_figwidth(self) -> float:
        """Return its width in inches."""

    def savefig(self, fname: io.BytesIO, **options: Any) -> None:
        """Encode it."""

    def pixels(self) -> NDArray[np.uint8]:
        """Return it as it would be encoded, (rows, columns, 4)."""


@dataclass(frozen=True)
class Print:
    """A picture as the bytes of a PNG, which may be a file as well, and its width in inches."""

    png: bytes
    inches: float


def print_figure(figure: Drawing) -> Print:
    """Encode a figure; to draw it is what costs, so a figure is printed once for file and page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Print(buffer.getvalue(), figure.get_figwidth())


@dataclass(frozen=True)
class Picture:
    """A picture as text, its size in pixels, and the width at which it is best shown."""

    uri: str
    width: int
    height: int
    natural: int


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
    picture: Callable[[], Drawing | Print] | Picture
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


SHOWN = 100.0
"""Dots per inch at which the page shows a picture, where there is room."""

COLORS = 256
"""Colours of a picture's palette; a third of the size, and no eye tells the difference."""

BITS = 5
"""Bits of each channel up to which colours are told apart when the palette is chosen."""

PACE = 220
"""Words that people read in a minute."""

KINDS = {"confirmed": "confirmed", "corrected": "corrected", "needs a word": "word"}


@dataclass(frozen=True)
class Live:
    """A figure that computes itself, at the head of a page: its style, its script, what it is given as JSON.

    `start` is the script's function that makes an element the figure, `still` the place of a picture in its stead
    where no script runs, `more` what is said under it.
    """

    style: str
    script: str
    given: str
    start: str
    still: str
    more: str


@dataclass(frozen=True, eq=False)
class Page:
    """Title, a sentence or two about what it is, facts in a line, what was turned, the sections, a live figure."""

    title: str
    lede: str
    facts: Sequence[str]
    turned: Sequence[str]
    sections: Sequence[Section]
    live: Live | None = None


def make_html(page: Page, light: Colors, dark: Colors, drawn: Colors) -> str:
    """Write a page as HTML; draws its pictures.

    Parameters
    ----------
    page
        What is to stand on it.
    light, dark
        Colours of the page, by what the reader's system asks for.
    drawn
        Colours that the pictures are drawn in. Where they are those of the light page, the dark one shows them in its
        own: by a matrix, since drawing them twice would take half as long again as the whole page.

    Examples
    --------
    >>> from ravine.plot._canvas.style import DARK, RAVINE
    >>> page = Page("A title", "What it is.", [], [], [Section("one", "One", [Text("Some *words*.")])])
    >>> written = make_html(page, RAVINE, DARK, RAVINE)
    >>> '<h2 id="one">One</h2>' in written, "<em>words</em>" in written
    (True, True)
    """
    plates = [block for block in _blocks(page.sections) if isinstance(block, Plate)]
    pictures = {plate.id: _encode_picture(plate.picture) for plate in tracked(plates, "pictures")}
    return render(
        "story.html",
        light,
        dark,
        page=page,
        pictures=pictures,
        ground=drawn.ground,
        matrix=find_matrix(light, dark) if drawn == light else None,
        kinds=KINDS,
        names={plate.id: plate.name for plate in plates} | {each.id: each.title for each in _sections(page.sections)},
        minutes=max(1, round(_count_words(page) / PACE)),
    )


def find_matrix(light: Colors, dark: Colors) -> list[list[float]]:
    """Return the affine map that takes the colours of one style to another's, as rows for an SVG ``feColorMatrix``.

    Paper and ink, both accents and the ramp are met as nearly as twelve numbers allow; paper and ink count most.

    Examples
    --------
    >>> from ravine.plot._canvas.style import DARK, RAVINE
    >>> matrix = np.array(find_matrix(RAVINE, DARK))
    >>> (255 * matrix @ [1, 1, 1, 0, 1]).round().tolist()  # white paper: #0d141b
    [13.0, 20.0, 27.0]
    """
    pairs = [(light.ground, dark.ground, 30.0), (light.ink, dark.ink, 10.0)]
    pairs += [(ours, theirs, 3.0) for ours, theirs in zip(light.accents[:2], dark.accents, strict=False)]
    pairs += [(ours, theirs, 1.0) for ours, theirs in zip(light.ramp, dark.ramp, strict=True)]
    weight = np.array([each[2] for each in pairs])[:, None]
    known = np.array([[*ImageColor.getrgb(ours)[:3], 255] for ours, _, _ in pairs]) / 255
    wanted = np.array([ImageColor.getrgb(theirs)[:3] for _, theirs, _ in pairs]) / 255
    found, *_ = np.linalg.lstsq(weight * known, weight * wanted, rcond=None)
    return [[round(float(each), 4) for each in (*row[:3], 0.0, row[3])] for row in found.T]


def draw_plates(section: Section) -> Section:
    """Return a section whose pictures are drawn, so that it may come from another process."""
    drawn = [
        replace(each, picture=_encode_picture(each.picture)) if isinstance(each, Plate) else each
        for each in section.blocks
    ]
    return replace(section, blocks=drawn, inner=[draw_plates(each) for each in section.inner])


def _encode_picture(picture: Callable[[], Drawing | Print] | Picture) -> Picture:
    if isinstance(picture, Picture):
        return picture
    drawn = picture()
    if isinstance(drawn, Print):
        with Image.open(io.BytesIO(drawn.png)) as printed:
            full, inches = printed.convert("RGB"), drawn.inches
    else:
        full, inches = Image.fromarray(drawn.pixels()[..., :3]), drawn.get_figwidth()
    image = reduce_colors(full)
    packed = io.BytesIO()
    image.save(packed, format="png")
    uri = f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
    return Picture(uri, image.width, image.height, round(SHOWN * inches))


def reduce_colors(image: Image.Image) -> Image.Image:
    """Return a picture with a palette of its most frequent colours; the seams of letters and lines take the nearest.

    Pictures of ours are even areas. Pillow's median cut takes three times as long for larger errors, its octree
    shifts the paper's white.

    Examples
    --------
    >>> image = reduce_colors(Image.new("RGB", (4, 3), "#fafafa"))
    >>> image.mode, image.convert("RGB").getpixel((0, 0))
    ('P', (250, 250, 250))
    """
    pixels = np.asarray(image)
    red, green, blue = (pixels[..., k].ravel() for k in range(3))
    fine = 8 - BITS
    kind = ((red >> fine).astype(np.int32) << 2 * BITS) | ((green >> fine).astype(np.int32) << BITS) | (blue >> fine)
    counts = np.bincount(kind, minlength=1 << 3 * BITS)
    there = np.flatnonzero(counts)
    colors = np.stack([np.bincount(kind, each)[there] / counts[there] for each in (red, green, blue)], axis=1)
    palette = np.rint(colors[np.argsort(-counts[there], kind="stable")[:COLORS]])
    distances = (palette**2).sum(1) - 2 * colors @ palette.T  # squared, but for what all have in common
    places = np.zeros(len(counts), dtype=np.uint8)
    places[there] = distances.argmin(1)
    reduced = Image.fromarray(places[kind].reshape(pixels.shape[:2]))
    reduced.putpalette(palette.astype(np.uint8).tobytes())
    return reduced


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
