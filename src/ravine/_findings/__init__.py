"""True sentences about runs, each computed from them, with its numbers and its scope."""
