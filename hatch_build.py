"""Builds the compiled kernel into the wheel where there is a C compiler; without one ravine runs on torch alone."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "src/ravine/_kernel"


class KernelHook(BuildHookInterface):
    """Compiles where the source stands, which serves an editable install as well."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what was made into the wheel."""
        folder = Path(self.root) / FOLDER
        try:
            libraries = runpy.run_path(str(folder / "build.py"))["compile_all"]()
        except OSError as reason:
            self.app.display_warning(f"ravine is built without its compiled kernel: {reason}")
            return
        build_data["artifacts"] += [f"{FOLDER}/{library.name}" for library in libraries]
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"  # loaded by ctypes: any Python of this platform
