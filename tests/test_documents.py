"""Whatever README and docs/ show is run, line by line, in an empty folder."""

from __future__ import annotations

import linecache
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ravine
from ravine.cli import app
from ravine.plot._film import animate

PROJECT = Path(__file__).parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "CONTRIBUTING.md"]
RUN_HERE = [page for page in PAGES if "```text" not in page.read_text() or page.name == "README.md"]
"""Of the others test_site.py runs every block, in order, and compares what is printed."""


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
def test_python_runs_as_shown(page, tmp_path, monkeypatch, coarsely):
    monkeypatch.chdir(tmp_path)
    if page.name != "README.md":
        monkeypatch.setitem(animate.DPI, ".gif", 32)
    (tmp_path / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,6.5\n")
    space: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for k, block in enumerate(blocks(page, "python")):
            name = f"<{page.name} {k}>"  # as a notebook does, so that the source of a lambda is to be had
            linecache.cache[name] = (len(block), None, block.splitlines(keepends=True), name)
            exec(compile(block, name, "exec"), space)
            for name in re.findall(r'savefig\("(.*?)"\)', block):
                assert (tmp_path / name).stat().st_size > 5000
            if 'save("momentum.gif")' in block:
                check_film_of_four(tmp_path / "momentum.gif")


def check_film_of_four(path):
    """A hundred steps of four runs, each over a map of its own: small enough for a page or a mail."""
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as film:
        assert film.n_frames == 101


def test_the_readme_makes_a_film_of_four():
    assert 'ravine.plot.animate(runs, land).save("momentum.gif")' in (PROJECT / "README.md").read_text()


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
def test_commands_run_as_shown(page, tmp_path, monkeypatch, written_article, coarsely):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,6.5\n")
    for line in "\n".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:3] == ["ravine", "article", "--out"]:
            shutil.copytree(written_article(*words[4:])[0], words[3])
        elif words[:1] == ["ravine"]:
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, (line, result.output)


def test_make_words_of_the_readme_exist():
    targets = set(re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), flags=re.M))
    shown = set(re.findall(r"\bmake (\w+)", (PROJECT / "README.md").read_text()))
    assert {"article", "test"} <= shown <= targets | {"measures"}


def test_the_way_of_one_setting_is_that_of_the_source():
    """Each step of the design's way names a file, and functions or classes that stand in it."""
    text = (PROJECT / "docs" / "design.md").read_text().partition("## The way of one setting")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`: (.+)$", text, flags=re.M)
    assert 5 < len(steps) <= 14
    for path, words in steps:
        source = (PROJECT / "src" / "ravine" / path).read_text()
        first = re.search(r"`(\w+)`", words)[1]
        assert re.search(rf"^ *(def|class) {first}\b", source, flags=re.M), (path, first)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_quotes_what_explain_says(article):
    """Each line shown under ``print(finding)`` is printed there, "…" standing for what is left out."""
    text = (PROJECT / "README.md").read_text()
    quoted = re.findall(r"^# (.+)$", text.partition("print(finding)\n")[2].partition("```")[0], flags=re.M)
    told = [str(each) for each in ravine.explain(ravine.descend(article["MSELoss"], lr=0.1, momentum=0.9))]
    assert len(quoted) == 5
    for line in quoted:
        pattern = re.escape(line).replace("…", ".*")
        assert any(re.fullmatch(pattern, each) for each in told), line
