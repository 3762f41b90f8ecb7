"""A figure's pixels as a PNG file, in half of the time that Pillow takes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo, putchunk

LEVEL = 3
"""Of zlib: up to it no better match is looked for than the first, which takes two thirds of the time."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_png(file: IO[bytes], pixels: NDArray[np.uint8], dpi: float, texts: Mapping[str, Any]) -> None:
    """Write pixels of shape (rows, columns, 4), each row as it is.

    Pillow tries five ways to foretell a row from its neighbours, for each row. Pictures like ours, in areas of one
    colour, become larger by any of them.
    """
    tall, wide, _ = pixels.shape
    rows = np.zeros((tall, 1 + 4 * wide), dtype=np.uint8)  # the first byte says how a row is foretold: 0, not at all
    rows[:, 1:] = pixels.reshape(tall, -1)
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL)
    per_metre = round(dpi / 0.0254).to_bytes(4, "big")
    file.write(SIGNATURE)
    putchunk(file, b"IHDR", wide.to_bytes(4, "big"), tall.to_bytes(4, "big"), bytes([8, 6, 0, 0, 0]))
    putchunk(file, b"pHYs", per_metre, per_metre, b"\x01")
    written = PngInfo()
    for key, text in texts.items():
        written.add_text(key, text)
    for kind, content, *_ in written.chunks:
        putchunk(file, kind, content)
    putchunk(file, b"IDAT", packer.compress(rows.tobytes()), packer.flush())
    putchunk(file, b"IEND")
