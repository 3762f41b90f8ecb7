"""Draws the pictures of README.md and docs/ from the very blocks that these pages show: python docs/draw.py."""

import linecache
import os
import re
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent.resolve()


def main() -> None:
    """Run each page's Python blocks, one after another, in the folder of the pictures."""
    pictures = DOCS / "pictures"
    pictures.mkdir(exist_ok=True)
    pages = (
        DOCS / "pictures.md",
        DOCS / "network.md",
        DOCS / "training.md",
        DOCS / "tour.md",
        DOCS.parent / "README.md",
    )
    shown = {Path(name).name for page in pages for name in _images(page)}
    before = Path.cwd()
    os.chdir(pictures)
    try:
        for page in pages:
            (pictures / "points.csv").write_text("dose,effect\n0.5,1\n1,2.5\n2,3\n3.5,6.5\n")
            _run(page)
        _photograph(pictures / "live.html", pictures / "explore.png")
    finally:
        os.chdir(before)
    for path in pictures.iterdir():  # what a page writes but does not show
        if path.name not in shown:
            path.unlink()


def _images(page: Path) -> list[str]:
    return re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())


def _run(page: Path) -> None:
    space: dict[str, object] = {}
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)):
        name = f"<{page.name} {k}>"
        linecache.cache[name] = (len(block), None, block.splitlines(keepends=True), name)
        exec(compile(block, name, "exec"), space)


def _photograph(page: Path, picture: Path) -> None:
    """Draw what Chromium shows of the live page, as it is when everything on it has been computed."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet = browser.new_page(viewport={"width": 1400, "height": 900})
        sheet.goto(page.as_uri())
        for last in ("arrive in 100 steps", "in every bit (torch"):  # what takes longest to compute
            sheet.get_by_text(last).wait_for(timeout=120_000)
        sheet.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
