"""What is told while a training goes on."""

from __future__ import annotations

import sys
import warnings


def tell(said: str) -> None:
    """Warn, also where a filter makes errors of warnings: not in a training."""
    try:
        warnings.warn(said, stacklevel=3)
    except Warning:
        sys.stderr.write(f"{said}\n")
