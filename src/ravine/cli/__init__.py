"""The command line."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ravine.cli.program import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; what it needs is imported while an interrupt may simply leave."""
    gc.disable()  # until all imports are through: what they make is kept, and looking at it again and again takes long
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a caller has it ignored
        signal.signal(signal.SIGINT, leave)
    from ravine.cli.program import run

    run()


def leave(*_: object) -> None:
    """Leave at once, without the noise of imports cut short: as long as no work has begun, nothing is left undone."""
    os.write(2, b"ravine: interrupted\n")
    os._exit(130)


def __getattr__(name: str) -> Any:
    if name == "app":
        from ravine.cli.program import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
