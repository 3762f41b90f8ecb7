"""The site of docs/: nothing public is missing, no page is lost, and what is shown as printed was printed."""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import io
import linecache
import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ravine
from ravine.cli import app

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MODULES = [name for name, home in ravine._HOME.items() if home is None]
SHOWN = re.compile(r"```(python|sh)\n(.*?)```(?:\s*```text\n(.*?)```)?", flags=re.S)


def listed():
    """What the reference lists, each name with its module, in the order of the page."""
    lines = re.findall(r"currentmodule:: ([\w.]+)|^   (\w+)$", (DOCS / "api.md").read_text(), flags=re.M)
    module, names = "", []
    for moved, name in lines:
        module = moved or module
        if name:
            names.append(f"{module}.{name}")
    return names


def test_the_reference_lists_every_public_name_once():
    there = listed()
    assert len(there) == len(set(there))
    own = {f"ravine.{name}" for name in ravine.__all__ if name not in MODULES}
    parts = {f"ravine.{home}.{name}" for home in MODULES for name in importlib.import_module(f"ravine.{home}").__all__}
    assert set(there) == own | parts


def test_every_page_stands_in_the_contents_once():
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), flags=re.S)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    entries = [re.sub(r".*<(.+)>", r"\1", line) for line in lines]
    pages = [page.stem for page in PAGES if page.stem != "index"]
    for page in pages:
        assert sum(fnmatch.fnmatch(page, entry) for entry in entries) == 1, page


@pytest.mark.parametrize("page", [page for page in PAGES if "```text" in page.read_text()], ids=lambda page: page.name)
def test_what_is_shown_as_printed_was_printed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,6.5\n")
    space: dict[str, object] = {}
    compared = 0
    with torch.random.fork_rng():
        for k, (language, block, shown) in enumerate(SHOWN.findall(page.read_text())):
            printed = _python(block, f"<{page.name} {k}>", space) if language == "python" else _commands(block)
            if shown:
                compared += 1
                assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()
    assert compared


def _python(block, name, space):
    linecache.cache[name] = (len(block), None, block.splitlines(keepends=True), name)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block, name, "exec"), space)
    for file in re.findall(r'savefig\("(.*?)"\)', block):
        assert Path(file).stat().st_size > 5000
    return said.getvalue()


def _commands(block):
    words = [shlex.split(line, comments=True) for line in block.splitlines()]
    results = [CliRunner().invoke(app, each[1:]) for each in words if each[:1] == ["ravine"]]
    assert [result.exit_code for result in results] == [0] * len(results), block
    return "".join(result.output for result in results)


def test_formulas_of_a_page_are_set_and_not_spelt():
    """Where a page has dollars around TeX, the site must read them: else TeX stands there in the raw."""
    conf = (DOCS / "conf.py").read_text()
    assert any("$$" in page.read_text() for page in PAGES)
    assert '"dollarmath"' in re.search(r"myst_enable_extensions = (\[.*\])", conf).group(1)
