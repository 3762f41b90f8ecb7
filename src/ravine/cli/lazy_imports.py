"""What a command's libraries would import and it never uses: put off until somebody asks for it.

Of what `ravine descend` took beyond torch itself, more than half was such imports. torch asks for its compiler at the
first step of any optimizer, only to tell it that nothing is to be compiled; xarray asks for dask where that is
installed, only to see that no array is dask's. Code of the user's own may use both, and finds them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMPILER, DASK = "torch._dynamo", "dask"

WITH_WORKERS = {"sweep", "resume"}
"""Commands that may hand blocks to a cluster, or import the modules that a store was made with."""

KEPT_ON = "__dynamo_disable"
"""Where torch keeps the compiler's answer about a function (torch/_compile.py)."""


class CompilerStub(ModuleType):
    """Stands for torch's compiler while nothing is compiled; whoever asks for more gets the compiler itself.

    Examples
    --------
    >>> stub = CompilerStub(COMPILER)
    >>> stub.graph_break(), stub.disable(len, True, wrapping=False)([1, 2])
    (None, 2)
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package: its parts are imported by way of `CompilerParts`
        self.answered: list[Any] = []

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Do what torch does outside of a compilation: nothing."""

    def disable(self, fn: Callable[..., Any], recursive: bool = True, **_: Any) -> Callable[..., Any]:
        """Return the function: nothing compiles it as long as this is here."""
        self.answered.append(fn)
        return fn

    def __getattr__(self, name: str) -> Any:
        """Bring the compiler itself; who looks through all modules for what each has does not want it."""
        if name.startswith("__"):
            raise AttributeError(name)
        restore_imports()
        return getattr(importlib.import_module(COMPILER), name)


class CompilerParts:
    """Finds parts of the compiler where some are imported after all: brings the whole of it, and hands those over."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Say where a part is to be had; of other modules it knows nothing."""
        if not name.startswith(f"{COMPILER}."):
            return None
        restore_imports()
        importlib.import_module(name)
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a part, as it is already."""
        module = sys.modules[spec.name]
        self.made = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is."""
        module.__spec__ = self.made


def defer_imports(words: Sequence[str]) -> None:
    """Put off what no command of ours needs; nothing happens to what is there already. Only for a process of our own.

    What was typed tells whether dask may be wanted: by commands that have workers, or by a module of the user's, whose
    name has a colon. xarray settles once whether it is there, so that it cannot come back as the compiler can.
    """
    if "torch" not in sys.modules:
        sys.modules[COMPILER] = CompilerStub(COMPILER)
        sys.meta_path.append(CompilerParts())  # nobody else finds a part where the whole has no path
    wanted = WITH_WORKERS & set(words) or any(":" in each for each in words)
    if "xarray" not in sys.modules and not wanted:
        sys.modules.setdefault(DASK, None)  # type: ignore[arg-type]  # as if it were not installed


def restore_imports() -> None:
    """Let the compiler be imported by whoever asks for it, as in any process."""
    stub = sys.modules.get(COMPILER)
    if isinstance(stub, CompilerStub):
        del sys.modules[COMPILER]
        sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, CompilerParts)]
        for fn in stub.answered:  # torch keeps what it was told, on the function
            vars(fn).pop(KEPT_ON, None)
