"""The page as one file: its modules joined into one script, and that with style and cards in one HTML text."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import torch

from ravine import gallery
from ravine._explore.state import Card, make_adaptive_proofs, make_card, make_proofs
from ravine._problem.problem import Problem
from ravine._study.rule import DEFAULTS

ENTRY = "page.js"

ADAPTIVE_PROOFS = 4
"""Runs of real torch by each optimizer besides SGD, on the page's own problem."""

OTHER_PROOFS = 4
"""Runs of real torch for each problem that the page has besides its own."""

SMALL_PROOFS = 8
"""Runs of real torch for the page in small."""

ASKED = ("labels", "dtype", "order", "family", "criteria", "inputs", "targets")
"""What of a card a proof on random points needs."""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"^import (?:\{([^}]*)\}|\* as (\w+)) from '\./([\w.]+)';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|class|function\*?) (\w+))", re.MULTILINE)


def read_static(name: str) -> str:
    """Return a file of the page as it is."""
    return resources.files("ravine._explore").joinpath("static", name).read_text(encoding="utf-8")


def read_style(name: str) -> str:
    """Return a style sheet without its comments, a rule a line as it is written."""
    lines = (line.strip() for line in _COMMENT.sub("", read_static(name)).splitlines())
    return "\n".join(line for line in lines if line) + "\n"


@functools.cache
def join_modules(entry: str = ENTRY) -> str:
    """Join a module and what it imports into one script; the names that it exports become those of a constant.

    Each module keeps a scope of its own, so that no name can meet another.

    Examples
    --------
    >>> script = join_modules("theory.js")
    >>> script.startswith("const theory$ = (() => {"), "import" in script, "stabilityLimit" in script
    (True, False, True)
    """
    done: dict[str, str] = {}
    exports: dict[str, list[str]] = {}

    def take(name: str, asked: tuple[str, ...] = ()) -> None:
        if name in asked:
            raise ValueError(f"{name} imports itself by way of {', '.join(asked)}")
        if name in done:
            return
        source = read_static(name)
        head = ""
        for names, whole, other in _IMPORT.findall(source):
            take(other, (*asked, name))
            wanted = [each.split(" as ")[0].strip() for each in names.split(",") if each.strip()]
            if missing := [each for each in wanted if each not in exports[other]]:
                raise ValueError(f"{name} takes {', '.join(missing)} from {other}, which does not export it by itself")
            taken = whole or "{ " + ", ".join(each.strip().replace(" as ", ": ") for each in names.split(",")) + " }"
            head += f"const {taken} = {_constant(other)};\n"
        body = "\n".join(_kept(_IMPORT.sub("", source)))
        exported = exports[name] = _EXPORT.findall(body)
        body = _EXPORT.sub("", body)
        done[name] = f"const {_constant(name)} = (() => {{\n{head}{body}\nreturn {{ {', '.join(exported)} }};\n}})();\n"

    take(entry)
    return "".join(done.values())


def _kept(source: str) -> list[str]:
    """Return the lines that do something, without their indentation; no text of ours runs over several lines."""
    lines = (line.strip() for line in source.splitlines())
    return [line for line in lines if line and not line.startswith("//")]


def _constant(module: str) -> str:
    return module.removesuffix(".js") + "$"


def make_page(
    problem: Problem | Mapping[str, Problem], name: str = "", *, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return all that a page is given: its cards, which is its own, proofs and settings.

    Examples
    --------
    >>> import ravine
    >>> given = make_page(ravine.gallery.quadratic(condition=100))
    >>> given["own"], list(given["cards"])[:3]
    ('quadratic', ['quadratic', 'article', 'beale'])
    """
    card = make_card(problem, name)
    if card["family"] == "python" and settings:
        card["lr"] = settings.get("lr", card["lr"])  # nothing is known of where this loss diverges
    own = card["name"]
    cards, proofs = {own: card}, make_proofs(problem, card) + make_adaptive_proofs(problem, card, ADAPTIVE_PROOFS)
    for each in gallery.__all__:
        if each != own:
            cards[each], others = _of_gallery(each, torch.get_default_dtype())
            proofs += others
    return {"cards": cards, "own": own, "proofs": [*map(_shortened, proofs)], "settings": dict(settings or {})}


@functools.cache
def _of_gallery(name: str, dtype: torch.dtype) -> tuple[Card, list[dict[str, Any]]]:
    """Return the card of one of the gallery's problems and its proofs, which every page holds besides its own.

    `dtype` is torch's default one, in which it is made.
    """
    known = getattr(gallery, name)()
    card = make_card(known, name)
    return card, make_proofs(known, card, OTHER_PROOFS, seed=gallery.__all__.index(name) + 1)


def _shortened(proof: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a proof what the page knows: settings that are usual, and what of a card no run asks for."""
    usual = {name: value for name, value in DEFAULTS.items() if name != "lr"}
    settings = {name: value for name, value in proof["settings"].items() if usual.get(name) != value}
    card = {name: proof["card"][name] for name in ASKED} if "card" in proof else None
    return {**proof, "settings": settings} | ({"card": card} if card else {})


def make_html(given: Mapping[str, Any], served: str = "") -> str:
    """Write the page as one HTML text, whose script and style are allowed by their hashes alone.

    With `served`, the address it may ask; else it asks nobody.

    Examples
    --------
    >>> import ravine
    >>> page = make_html(make_page(ravine.gallery.quadratic()))
    >>> page.startswith("<!doctype html>"), "http://" in page or "https://" in page
    (True, False)
    """
    style = read_style("page.css")
    script = f"{join_modules('boot.js')}boot$.start();\n"
    data = as_json(given)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "style-src-attr 'unsafe-inline'",  # sizes and places are set as properties of elements
            "img-src data: blob:",
            f"connect-src {served or repr('none')}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n<title>ravine: what every knob of an optimizer does</title>\n'
        f'<style>{style}</style>\n</head>\n<body style="margin: 0">\n<div id="page"></div>\n'
        f'<script type="application/json" id="given">{data}</script>\n'
        f'<script type="module">{script}</script>\n</body>\n</html>\n'
    )


def make_small(problem: Mapping[str, Problem], name: str, settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the page in small, to stand on another page as a figure: its style, its script, and what it is given.

    The script defines ``story$``, whose ``start`` makes an element of that page the figure. It asks nobody.

    Examples
    --------
    >>> import ravine
    >>> style, script, given = make_small(ravine.gallery.article(), "article", {"momentum": 0.9})
    >>> "story$ = " in script, json.loads(given)["settings"]
    (True, {'momentum': 0.9})
    """
    card = make_card(problem, name)
    if card["family"] == "python":
        raise ValueError(f"the page in small computes its runs itself, which it cannot for {name}")
    proofs = make_proofs(problem, card, SMALL_PROOFS)
    given = {"cards": {name: card}, "own": name, "proofs": [*map(_shortened, proofs)], "settings": dict(settings)}
    return read_style("page.css") + read_style("story.css"), join_modules("story.js"), as_json(given)


def as_json(given: Mapping[str, Any]) -> str:
    """Return what a page is given as JSON that can stand in a script element."""
    return json.dumps(given, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
