"""How fast the live page follows the hand, in headless Chromium, beside an empty page in the same run.

Run: .venv/bin/python benchmarks/explore.py. A slider gets 60 events a second, as from a hand: the next comes whether or
not the page is done with the last. Measured is the time from each event to the end of the frame that shows it, how
often the page drew all that follows, and the CPU time of all of the browser's processes for it. Pages take turns. The
machine's own share is that of the empty page, where each event counts as a paint.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.async_api import CDPSession, Page, async_playwright

import ravine
from ravine._explore.standalone import make_html, make_page

TURNS = 3
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


async def cpu_time(session: CDPSession) -> float:
    """Seconds that all processes of the browser have worked so far."""
    return sum(float(each["cpuTime"]) for each in (await session.send("SystemInfo.getProcessInfo"))["processInfo"])


async def drag(page: Page, session: CDPSession, selector: str, seconds: float = 4.0) -> list[float]:
    """Drag a slider to and fro at 60 events a second.

    Returns percentiles 50 and 95 of the milliseconds from event to paint, paints a second, and CPU ms a paint.
    """
    await page.evaluate(LISTEN, [selector])
    box = await page.locator(selector).bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.3, height)
    await page.mouse.down()
    begin, before, moves = time.perf_counter(), await cpu_time(session), []
    while (now := time.perf_counter() - begin) < seconds:
        place = box["x"] + box["width"] * (0.45 + 0.15 * np.sin(8 * now))
        moves.append(asyncio.ensure_future(page.mouse.move(place, height)))  # its answer comes with the next frame
        await asyncio.sleep(max(0.0, len(moves) / 60 - (time.perf_counter() - begin)))
    took, worked = time.perf_counter() - begin, await cpu_time(session) - before
    waits, paints = await page.evaluate("[seen.waits, seen.paints]")
    await asyncio.gather(*moves)
    await page.mouse.up()
    return [float(np.percentile(waits, 50)), float(np.percentile(waits, 95)), paints / took, 1000 * worked / paints]


async def compute(page: Page, steps: int) -> float:
    """Milliseconds in which the page makes the runs of four criteria."""
    return float(
        await page.evaluate(
            "(steps) => { const { runs, state } = ravine, once = () => runs.compute({ ...state, steps }, () => {});"
            " for (let k = 0; k < 30; k++) once(); const begin = performance.now();"
            " for (let k = 0; k < 30; k++) once(); return (performance.now() - begin) / 30; }",
            steps,
        )
    )


async def main(folder: Path) -> None:
    """Print the table; pages are written into a folder."""
    async with async_playwright() as driver:
        file, empty = folder / "page.html", folder / "empty.html"
        file.write_text(make_html(make_page(ravine.gallery.article(), "article")), "utf-8")
        empty.write_text(EMPTY, "utf-8")
        browser = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        session = await browser.new_browser_cdp_session()
        page = await browser.new_page(viewport={"width": 1400, "height": 960})
        kinds = {
            "empty page": (empty.as_uri(), "#knob"),
            "lr, 4 x 100 steps": (f"{file.as_uri()}#momentum=0.9&steps=100", "[id$='-lr']"),
            "lr, 4 x 1,000 steps": (f"{file.as_uri()}#momentum=0.9&steps=1000", "[id$='-lr']"),
            "weight decay, contours made anew": (f"{file.as_uri()}#momentum=0.9", "[id$='-weight_decay']"),
        }
        rows: dict[str, list[list[float]]] = {name: [] for name in kinds}
        for _ in range(TURNS):
            for name, (address, selector) in kinds.items():
                await page.goto("about:blank")  # an address that differs by its fragment alone would not be opened anew
                await page.goto(address)
                await page.wait_for_timeout(500 if name == "empty page" else 6000)
                rows[name].append(await drag(page, session, selector))
        print(f"{'':36}{'p50 ms':>8}{'p95 ms':>8}{'paints/s':>10}{'CPU ms a paint':>16}")
        for name, seen in rows.items():
            p50, p95, paints, worked = np.median(seen, axis=0)
            print(f"{name:36}{p50:8.1f}{p95:8.1f}{paints:10.1f}{worked:16.1f}")
        await page.goto(file.as_uri())
        await page.wait_for_timeout(2000)
        problems = ravine.gallery.article()
        ravine.descend(problems, lr=0.1, momentum=0.9)
        for steps in (100, 1000):
            begin = time.perf_counter()
            ravine.descend(problems, lr=0.1, momentum=0.9, steps=steps)
            theirs, mine = 1000 * (time.perf_counter() - begin), await compute(page, steps)
            print(f"4 x {steps:,} steps: page {mine:.2f} ms, descend {theirs:.1f} ms, ratio {theirs / mine:.0f}")
        await browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(Path(place)))
