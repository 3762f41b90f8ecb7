"""Studies and sweeps on disk."""
