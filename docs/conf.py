"""How the site is made of docs/: make site. Nothing in it is fetched from anywhere, so it reads offline too."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import ravine
import ravine.cli
from ravine.plot._canvas.style import DARK, RAVINE

DOCS = Path(__file__).parent
GUESTS = {"benchmarks/README.md": "benchmarks.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""Pages that live elsewhere in the project, and what they are called among the made ones."""

LIVE = "live.html"
"""The article's live page, among those of the site."""

project = "ravine"
copyright = "the ravine developers, BSD-3-Clause"
version = release = ravine.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton"]
templates_path = ["_templates"]
exclude_patterns = ["_templates"]
default_role = "py:obj"  # `ravine.descend` in a docstring is a link; what has no page here stays code
pygments_style, pygments_dark_style = "friendly", "github-dark"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "html_image"]

autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}
python_maximum_signature_line_length = 70
copybutton_exclude = ".gp, .go"  # neither prompts nor what is printed
numpydoc_show_class_members = False  # autodoc lists them, in the order of the source

html_theme = "furo"
html_title = "ravine"
html_static_path = ["_static"]
html_favicon = "_static/ravine.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_scaled_image_link = False  # a thumbnail leads to its section
html_show_sphinx = False
html_math_renderer = "mathml"


def _colours(style: Any) -> dict[str, str]:
    """Paper, ink and accent of the pictures."""
    return {
        "color-brand-primary": style.accents[0],
        "color-brand-content": style.accents[1],
        "color-brand-visited": style.accents[1],
        "color-foreground-primary": style.ink,
        "color-foreground-secondary": style.quiet,
        "color-background-primary": style.ground,
        "color-background-secondary": style.ramp[-1],
        "color-background-border": style.grid,
        "color-sidebar-link-text--top-level": style.ink,
        "color-api-name": style.accents[0],
        "color-api-pre-name": style.quiet,
    }


html_theme_options = {"light_css_variables": _colours(RAVINE), "dark_css_variables": _colours(DARK)}


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _invite(app: Sphinx) -> None:
    """Bring the pages that live elsewhere in, with links that lead to where the site has them."""
    (DOCS / "made").mkdir(exist_ok=True)
    for source, name in GUESTS.items():
        path = DOCS.parent / source
        target, text = DOCS / "made" / name, _relinked(path.read_text(), path.parent, DOCS / "made")
        if not target.exists() or target.read_text() != text:  # a page left alone is not built again
            target.write_text(text)


def _write_commands(app: Sphinx) -> None:
    """Write what each command of the command line takes, from what it says of itself."""
    lines = ["# The command line", "", "`ravine COMMAND -h` prints the same. The knobs have torch's names.", ""]
    for name, command in sorted(typer.main.get_command(ravine.cli.app).commands.items()):
        taken = [each for each in command.params if each.name != "help"]
        words = " ".join(each.name.upper() for each in taken if each.param_type_name == "argument")
        said = " ".join(command.help.split("\f")[0].split())
        lines += [f"## {name}", "", f"`ravine {name} {words}`".replace(" `", "`"), "", said, ""]
        lines += ["| | |", "|---|---|", *map(_describe_parameter, taken), ""]
    (DOCS / "made" / "commands.md").write_text("\n".join(lines))


def _describe_parameter(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.name.upper()]
    told = " ".join((parameter.help or "").split()).replace("|", "\\|")
    shown = parameter.show_default
    default = shown if isinstance(shown, str) else parameter.default if shown else None
    if default not in (None, False, "", ()) and not callable(default):
        told += f" Default: {default}."
    return f"| {' '.join(f'`{each}`' for each in names)} | {told} |"


def _at_home(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead links of docs/ that point out of it to the guests."""
    if not name.startswith("made/"):
        source[0] = _relinked(source[0], DOCS, DOCS)
    if name == "explore":  # where the words stand the page itself can be tried
        source[0] = re.sub(r"^(!\[.*\))$", rf'<a href="{LIVE}">\1</a>', source[0], count=1, flags=re.M)


def _make_live(app: Sphinx, exception: Exception | None) -> None:
    """Add the live page itself, a file that needs nothing."""
    if exception is None:
        ravine.explore(to=app.outdir / LIVE, momentum=0.9, force=True)


def _tell(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Give a constant the words that stand below it in its room, where its type's would come; spare a table."""
    if what == "module":  # its first table lists what the page lists anyhow
        borders = [k for k, line in enumerate(lines) if line.startswith("====")]
        lines[:] = lines[borders[1] + 1 :]
    if what != "data":
        return
    for room in [each for each in sys.modules if each.startswith("ravine.")]:
        said = ModuleAnalyzer.for_module(room).find_attr_docs().get(("", name.rpartition(".")[2]))
        if said and getattr(sys.modules[room], name.rpartition(".")[2]) is thing:
            lines[:] = said


def _skip_aliases(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a named tuple says of its fields: their numbers."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field") else None


def _relinked(text: str, origin: Path, folder: Path) -> str:
    places = {(DOCS.parent / source).resolve(): DOCS / "made" / name for source, name in GUESTS.items()}
    places[DOCS.parent / "README.md"] = DOCS / "index.md"

    def lead(found: re.Match[str]) -> str:
        given = (origin / found[1]).resolve()
        target = places.get(given / "README.md" if given.is_dir() else given, given)
        return f"]({os.path.relpath(target, folder)}{found[2]})"

    return re.sub(r"\]\((?!\w+:)([^)#\s]+)([^)]*)\)", lead, text)


def setup(app: Sphinx) -> None:
    """Formulas as MathML, which browsers draw by themselves."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", _invite)
    app.connect("builder-inited", _write_commands)
    app.connect("source-read", _at_home)
    app.connect("build-finished", _make_live)
    app.connect("autodoc-process-docstring", _tell)
    app.connect("autodoc-skip-member", _skip_aliases)
