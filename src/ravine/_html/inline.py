"""The inline marks of a page's sentences: code, stress and links as HTML; all other text stays text."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup, escape


def format_inline(text: str) -> Markup:
    """Turn `code`, *stress* and [links](#place) into HTML, and set signs as print does; everything else is text.

    Examples
    --------
    >>> format_inline("`a < b`, *so* [there](#one)")
    Markup('<code>a &lt; b</code>, <em>so</em> <a href="#one">there</a>')
    >>> format_inline("from -3, `--lr -3`") == "from \N{MINUS SIGN}3, <code>--lr -3</code>"
    True
    """
    return Markup(_parser().renderInline(text))


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero").enable(["backticks", "emphasis", "link"])
    parser.add_render_rule("text", _set_signs)
    return parser


def _set_signs(self: Any, tokens: Sequence[Any], k: int, options: Any, env: Any) -> str:
    """Render text with the minus sign and the apostrophe of print; code is rendered by a rule of its own."""
    text = re.sub(r"(?<![\w-])-(?=[\d.])|(?<= )-(?= )", "\N{MINUS SIGN}", tokens[k].content)
    return str(escape(re.sub(r"(?<=\w)'(?=\w|\s)", "\N{RIGHT SINGLE QUOTATION MARK}", text)))
