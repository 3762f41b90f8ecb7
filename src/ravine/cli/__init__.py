"""The command line."""

from ravine.cli.commands import app, main

__all__ = ["app", "main"]
