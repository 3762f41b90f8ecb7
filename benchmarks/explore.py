"""How fast the live page follows the hand, in headless Chromium, beside an empty page in the same run.

Run: .venv/bin/python benchmarks/explore.py. A slider gets 60 events a second; measured is the time from each event to
the end of the frame that shows it, and how often the page drew all that follows. The machine's own share is that of the
empty page, where each event counts as a paint.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

import ravine
from ravine._explore.standalone import make_html, make_page

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
EMPTY = '<!doctype html><input type="range" id="knob" max="1000" style="width: 300px"><p id="said"></p>'
LISTEN = """([selector]) => {
  const slider = document.querySelector(selector), seen = globalThis.seen = { waits: [], paints: 0 };
  slider.addEventListener('input', () => {
    const begin = performance.now();
    document.getElementById('said')?.replaceChildren(slider.value);
    // two frames on, what this event asked for has been painted
    requestAnimationFrame(() => requestAnimationFrame(() => seen.waits.push(performance.now() - begin)));
  });
  const app = globalThis.ravine;
  if (app) {
    const render = Object.getPrototypeOf(app).renderAll;
    app.renderAll = () => { seen.paints += 1; render.call(app); };
  } else slider.addEventListener('input', () => { seen.paints += 1; });
}"""


def drag(page: Page, selector: str, seconds: float = 4.0) -> dict[str, float]:
    """Drag a slider to and fro at 60 events a second; return milliseconds from event to paint, and paints a second."""
    page.evaluate(LISTEN, [selector])
    box = page.locator(selector).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    page.mouse.down()
    begin, k = time.perf_counter(), 0
    while (now := time.perf_counter() - begin) < seconds:
        share = 0.45 + 0.15 * np.sin(8 * now)
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        k += 1
        time.sleep(max(0.0, k / 60 - (time.perf_counter() - begin)))
    page.mouse.up()
    took = time.perf_counter() - begin
    waits, paints = page.evaluate("[seen.waits, seen.paints]")
    return {"p50": float(np.percentile(waits, 50)), "p95": float(np.percentile(waits, 95)), "paints": paints / took}


def compute(page: Page, steps: int) -> float:
    """Milliseconds in which the page makes the runs of four criteria."""
    return float(
        page.evaluate(
            "(steps) => { const { runs, state } = ravine, once = () => runs.compute({ ...state, steps }, () => {});"
            " for (let k = 0; k < 30; k++) once(); const begin = performance.now();"
            " for (let k = 0; k < 30; k++) once(); return (performance.now() - begin) / 30; }",
            steps,
        )
    )


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file, empty = Path(folder) / "page.html", Path(folder) / "empty.html"
        file.write_text(make_html(make_page(ravine.gallery.article(), "article")), "utf-8")
        empty.write_text(EMPTY, "utf-8")
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 960})
        rows = {}
        page.goto(empty.as_uri())
        rows["empty page"] = drag(page, "#knob")
        for name, steps, knob in (
            ("lr, 4 x 100 steps", 100, "lr"),
            ("lr, 4 x 1,000 steps", 1000, "lr"),
            ("weight decay, contours made anew", 100, "weight_decay"),
        ):
            page.goto(f"{file.as_uri()}#momentum=0.9&steps={steps}&name={name[:2]}")
            page.reload()
            page.wait_for_timeout(4000)
            rows[name] = drag(page, f"[id$='-{knob}']")
        print(f"{'':36}{'p50 ms':>8}{'p95 ms':>8}{'paints/s':>10}")
        for name, row in rows.items():
            print(f"{name:36}{row['p50']:8.1f}{row['p95']:8.1f}{row['paints']:10.1f}")
        page.goto(file.as_uri())
        page.wait_for_timeout(2000)
        problems = ravine.gallery.article()
        ravine.descend(problems, lr=0.1, momentum=0.9)
        for steps in (100, 1000):
            begin = time.perf_counter()
            ravine.descend(problems, lr=0.1, momentum=0.9, steps=steps)
            theirs, mine = 1000 * (time.perf_counter() - begin), compute(page, steps)
            print(f"4 x {steps:,} steps: page {mine:.2f} ms, descend {theirs:.1f} ms, ratio {theirs / mine:.0f}")
        browser.close()


if __name__ == "__main__":
    main()
