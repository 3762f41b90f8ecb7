"""Standard output whose reader may leave."""

from __future__ import annotations

import io
import os
from typing import Any


class QuietPipe(io.TextIOBase):
    """Standard output whose reader may leave, as head does: work goes on, and what is still written is dropped."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        """Return what the stream itself has."""
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own: rich asks which letters it may use."""
        return str(self.stream.encoding)

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        """Return the stream's own descriptor."""
        return int(self.stream.fileno())

    def write(self, text: str) -> int:
        """Write, or drop what nobody reads."""
        try:
            return int(self.stream.write(text))
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what nobody reads."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
