"""Frames as a GIF, an MP4 or a page of their own. Whole files or none are written."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""One frame: (height, width, 3)."""

COLORS, EXACT = 255, 64
"""Colours of a GIF or of a page's frames, and how many of them are exact; one more stands for what has not changed."""


class Palette:
    """The colours that all frames share: they would flicker if each frame had its own.

    The commonest colours of some frames, those of the paper and of the bands, stay as they are. Of the others each
    counts by the root of how often it is met, so that a thin path keeps its own. What is met later takes the nearest.
    """

    def __init__(self, some: Sequence[Picture]) -> None:
        colors, counts = np.unique(np.concatenate([_packed(each).ravel() for each in some]), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shades, rest = _unpacked(colors[order[:EXACT]]), order[EXACT:]
        if rest.size:
            often = _unpacked(np.repeat(colors[rest], np.ceil(np.sqrt(counts[rest])).astype(int)))
            mixed = Image.fromarray(often[None]).quantize(COLORS - EXACT, method=Image.Quantize.MEDIANCUT, kmeans=2)
            shades = np.concatenate([shades, np.array(mixed.getpalette(), np.uint8).reshape(-1, 3)])
        self.shades = shades[:COLORS]
        self.places = np.full(1 << 24, -1, np.int16)
        """Of each colour its place among the shades; below 0 while it has not been met."""

    def indices(self, frame: Picture) -> NDArray[np.uint8]:
        """Return the place of each pixel's colour."""
        packed = _packed(frame)
        found = self.places[packed]
        if (found < 0).any():
            fresh = np.unique(packed[found < 0])
            apart = _unpacked(fresh)[:, None].astype(int) - self.shades.astype(int)
            self.places[fresh] = (apart**2).sum(axis=-1).argmin(axis=1)
            found = self.places[packed]
        return found.astype(np.uint8)

    def image(self, indices: NDArray[np.uint8]) -> Image.Image:
        """Return pixels as an image; the last of its colours stands for what is clear."""
        image = Image.fromarray(indices)
        image.putpalette(self.whole)
        return image

    @property
    def whole(self) -> bytes:
        """All 256 colours, the clear one among them."""
        return self.shades.tobytes().ljust(768, b"\0")


def _packed(frame: Picture) -> NDArray[np.uint32]:
    """Return each colour as one number."""
    red, green, blue = (frame[..., k].astype(np.uint32) for k in range(3))
    packed: NDArray[np.uint32] = np.bitwise_or(np.bitwise_or(red << np.uint32(16), green << np.uint32(8)), blue)
    return packed


def _unpacked(colors: NDArray[np.uint32]) -> Picture:
    return np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1).astype(np.uint8)


def write_gif(path: Path, frames: Iterator[Picture], durations: Sequence[int], palette: Palette) -> None:
    """Write frames as a GIF that begins again after its end; unchanged pixels are left as they are."""
    images = (palette.image(palette.indices(frame)) for frame in frames)
    first = next(images)
    with path.open("wb") as file:
        first.save(
            file,
            format="GIF",
            save_all=True,
            append_images=images,
            duration=list(durations),
            loop=0,
            disposal=1,
            palette=palette.whole,
            transparency=COLORS,
            optimize=True,
        )


def find_ffmpeg() -> str:
    """Return where ffmpeg is: the one that imageio-ffmpeg brings, or that its IMAGEIO_FFMPEG_EXE names."""
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return _check_program(get_ffmpeg_exe())
    except RuntimeError:  # a platform for which the package brings none, and none of the system's
        raise FileNotFoundError(
            "writing .mp4 needs the program ffmpeg, and imageio-ffmpeg brings none for this system: install it "
            "(https://ffmpeg.org), or write .gif or .html, which need nothing further"
        ) from None


def _check_program(name: str) -> str:
    if shutil.which(name) is None:
        raise FileNotFoundError(
            f"writing .mp4 needs the program ffmpeg, and IMAGEIO_FFMPEG_EXE={name} is no program: unset it to use the "
            "one that imageio-ffmpeg brings"
        )
    return name


def write_mp4(path: Path, frames: Iterator[Picture], durations: Sequence[int]) -> None:
    """Write frames as an MP4 that any browser and phone plays: H.264, an even number of pixels on each side.

    Not by `imageio_ffmpeg.write_frames`: it never asks how ffmpeg ended, so that on a full disk it would leave half a
    film as if whole, and what ffmpeg complains of goes past the caller.
    """
    tick = min(durations)  # every picture of a video lasts as long; those that stay are repeated
    first = next(frames)
    height, width, _ = first.shape
    command = [find_ffmpeg(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{1000 / tick:g}", "-i", "-"]
    even = f"crop={width // 2 * 2}:{height // 2 * 2}:0:0"
    command += ["-vf", even, "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4", str(path)]
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints) as process:
            assert process.stdin is not None
            try:
                for frame, duration in zip(itertools.chain([first], frames), durations, strict=True):
                    for _ in range(round(duration / tick)):
                        process.stdin.write(np.ascontiguousarray(frame).data)
                process.stdin.close()
            except BrokenPipeError:  # what it said comes below
                pass
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"ffmpeg could not write {path.name}: {said[-1] if said else 'it did not say why'}")


# -- for a page: what never changes once, and of each frame what it changes --------------------------------------

Sheets = list[tuple[int, int, str]]
"""Of each frame where its changed part lies, in pixels, and that part as a PNG in base64."""


def sheets_of(ground: Picture, frames: Iterator[Picture], palette: Palette) -> Sheets:
    """Return what each frame changes of the one before it, the first of the ground; everything else in it is clear."""
    found: Sheets = []
    before = ground
    for frame in frames:
        changed, before = (frame != before).any(axis=-1), frame
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if not rows.size:
            rows = columns = np.array([0])
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        indices = np.where(changed[window], palette.indices(frame[window]), COLORS).astype(np.uint8)
        found.append((int(columns[0]), int(rows[0]), png(palette.image(indices), transparency=COLORS)))
    return found


def png(image: Image.Image, **how: Any) -> str:
    """Return an image as a PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **how)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


CONTROLS = 64
"""Pixels that the controls are high, before the page itself says so."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>%(title)s</title>
<style>
:root { color-scheme: light dark;
  --ink: #1d2b36; --quiet: #5c6b77; --ground: #fff; --line: #c9d3db; --accent: #c2410c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eaf0f5; --quiet: #93a5b5; --ground: #0d141b; --line: #34434f; --accent: #ff9142; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 14px/1.4 system-ui, sans-serif; }
main { max-width: %(width)dpx; margin: 0 auto; }
canvas { display: block; width: 100%%; height: auto; }
form { display: flex; align-items: center; gap: 8px; padding: 8px; }
button, select { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line);
  border-radius: 6px; height: 36px; padding: 0 10px; }
button { min-width: 36px; }
button:hover, select:hover { border-color: var(--quiet); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
input { flex: 1 1 60px; min-width: 60px; height: 36px; margin: 0; accent-color: var(--accent); }
output { min-width: %(digits)dch; text-align: right; font-variant-numeric: tabular-nums; color: var(--quiet); }
#play { width: 72px; }
@media (max-width: 460px) {
  form { flex-wrap: wrap; }
  input { order: -1; flex: 1 0 100%%; }
  output { flex: 1; }
}
</style>
</head>
<body>
<main>
<canvas id="film" width="%(wide)d" height="%(high)d" role="img" aria-label="%(title)s"></canvas>
<form>
<button type="button" id="play" aria-keyshortcuts="Space">Play</button>
<button type="button" id="back" aria-label="one frame back" title="one frame back">&#8249;</button>
<button type="button" id="on" aria-label="one frame on" title="one frame on">&#8250;</button>
<input type="range" id="slider" min="0" max="%(last)d" value="0" aria-label="frame">
<output id="step" for="slider"></output>
<select id="speed" aria-label="speed"><option value="0.25">&frac14;&times;</option>
<option value="0.5">&frac12;&times;</option><option value="1" selected>1&times;</option>
<option value="2">2&times;</option><option value="4">4&times;</option></select>
</form>
<noscript><img src="data:image/png;base64,%(end)s" alt="%(title)s" width="100%%">
The moving part of this picture needs JavaScript.</noscript>
</main>
<script>
"use strict";
const film = %(film)s;
const by = (id) => document.getElementById(id);
const canvas = by("film"), slider = by("slider"), play = by("play"), pen = canvas.getContext("2d");
const load = (data) => { const image = new Image(); image.src = "data:image/png;base64," + data; return image; };
const ground = load(film.ground), sheets = film.sheets.map(([x, y, data]) => [x, y, load(data)]);
const last = sheets.length - 1;
const kept = [];  // every tenth frame whole, once it was drawn: from there on a frame is put together
let here = 0, shown = -2, timer = 0;  // -1 is the ground, -2 nothing yet
function paint(k) {
  const tenth = Math.min(Math.floor(k / 10), kept.length - 1);
  const from = tenth < 0 ? -1 : 10 * tenth;
  if (shown > k || shown < from) {
    pen.drawImage(tenth < 0 ? ground : kept[tenth], 0, 0);
    shown = from;
  }
  while (shown < k) {
    const [x, y, sheet] = sheets[++shown];
    pen.drawImage(sheet, x, y);
    if (shown === 10 * kept.length) {
      const copy = document.createElement("canvas");
      copy.width = canvas.width;
      copy.height = canvas.height;
      copy.getContext("2d").drawImage(canvas, 0, 0);
      kept.push(copy);
    }
  }
  canvas.dataset.frame = k;
}
async function show(k) {
  const mine = here = Math.max(0, Math.min(last, k));
  slider.value = here;
  by("step").value = "step " + film.steps[here];
  slider.setAttribute("aria-valuetext", "step " + film.steps[here] + " of " + film.steps[last]);
  await Promise.all([ground.decode(), ...sheets.slice(0, mine + 1).map((sheet) => sheet[2].decode())]);
  if (mine === here) paint(mine);
}
function say() {
  play.textContent = timer ? "Pause" : here === last && last > 0 ? "Again" : "Play";
}
function pause() { clearTimeout(timer); timer = 0; say(); }
function next() {
  if (here === last) { pause(); return; }
  timer = setTimeout(async () => { await show(here + 1); if (timer) next(); say(); },
    film.durations[here] / Number(by("speed").value));
}
async function start() { if (here === last) await show(0); next(); say(); }
function toggle() { if (timer) pause(); else start(); }
async function go(k) { pause(); await show(k); say(); }
play.onclick = toggle;
by("back").onclick = () => go(here - 1);
by("on").onclick = () => go(here + 1);
slider.oninput = () => go(Number(slider.value));
document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const keys = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last };
  if (event.key === " " && event.target.tagName !== "BUTTON") toggle();
  else if (event.key in keys) go(keys[event.key]);
  else return;
  event.preventDefault();
};
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
show(still ? last : 0).then(() => { if (!still) start(); say(); });
function fit() {
  try { if (frameElement) frameElement.style.height = document.querySelector("main").offsetHeight + "px"; } catch {}
}
onresize = fit; fit();
</script>
</body>
</html>
"""


def page(
    *,
    title: str,
    ground: str,
    end: str,
    sheets: Sheets,
    size: tuple[int, int],
    width: int,
    steps: Sequence[int],
    durations: Sequence[int],
) -> str:
    """Return the page of a film.

    Parameters
    ----------
    title
        Of the page.
    ground, end, sheets
        What never changes, the last frame whole, and what each frame changes of the one before: PNGs in base64.
    size
        Of the picture in pixels.
    width
        That the picture takes on the page, at most.
    steps, durations
        Of each frame: the number of the step, and how many milliseconds it stays.
    """
    film = {"ground": ground, "sheets": sheets, "steps": list(steps), "durations": list(durations)}
    return PAGE % {
        "title": html.escape(title),
        "width": width,
        "wide": size[0],
        "high": size[1],
        "last": len(steps) - 1,
        "digits": len(f"step {steps[-1]}"),
        "end": end,
        "film": json.dumps(film).replace("</", "<\\/"),
    }


def embedded(page: str, width: int, height: int) -> str:
    """Return a page as a part of another, in a frame of its own: neither styles nor names can meet."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" title="film" '
        f'style="width:100%;max-width:{width}px;height:{height + CONTROLS}px;border:0"></iframe>'
    )
