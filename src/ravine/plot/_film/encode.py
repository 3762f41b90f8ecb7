"""Frames as a GIF or an MP4, and as the sheets of a page: what each frame changes of the one before."""

from __future__ import annotations

import base64
import io
import itertools
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
        named = str(get_ffmpeg_exe())
    except RuntimeError:  # neither the package nor the system has one for this machine
        named = "ffmpeg"
    found = shutil.which(named)
    if found is None:
        raise FileNotFoundError(
            f"writing .mp4 needs the program ffmpeg, and there is no {named}: install it (https://ffmpeg.org), name "
            "it in IMAGEIO_FFMPEG_EXE, or write .gif or .html, which need nothing further"
        )
    return found


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


def make_sheets(ground: Picture, frames: Iterator[Picture], palette: Palette) -> Sheets:
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
