"""Ctrl-C, from the first instant of the program to its last: 130, and one line at most."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import processes

# stops at the import of a module and lets itself be interrupted there, as a keyboard would
PROGRAM = """
import os, signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {where!r} and sys.meta_path[0] is self:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
        return None
sys.meta_path.insert(0, Stop())
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "ravine"
from ravine.cli import main
main()
"""


WORDS = ["descend", "rosenbrock"]


@pytest.mark.parametrize("where", ["ravine.cli.program", "typer", "numpy", "torch", "torch.nn"])
def test_an_interrupt_while_importing_is_one_line_and_130(tmp_path, where):
    program = [sys.executable, "-c", PROGRAM.format(where=where), *WORDS]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "ravine: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_so_it_is_where_torch_has_been_imported_and_what_draws_has_not(tmp_path):
    forget = f"{processes.FORGET}; del sys.modules['matplotlib.figure']"
    result = processes.run(f"{forget}\n{PROGRAM.format(where='matplotlib.figure')}", *WORDS, cwd=tmp_path)
    assert (result.returncode, result.err) == (130, "ravine: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_at_work_puts_away_what_is_done(tmp_path):
    """The third step is interrupted; what is whole before it is saved, as without the command line."""
    (tmp_path / "mine.py").write_text(
        "import os, signal, torch\n"
        "class Rule(torch.optim.SGD):\n"
        "    count = 0\n"
        "    def step(self, closure=None):\n"
        "        Rule.count += 1\n"
        "        if Rule.count == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "        return super().step(closure)\n"
    )
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nfrom ravine.cli import main\nmain()\n"
    )
    words = ["descend", "rosenbrock", "--optimizer", "mine:Rule", "--lr", "1e-4"]
    done = processes.run(code, *words, cwd=tmp_path)
    assert "interrupted after step 1 of 100: this is what was done" in done.err
    assert "Traceback" not in done.err
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".nc", ".png", ".py"}


def test_an_ignored_interrupt_stays_ignored():
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from ravine.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", code, "--version"], check=True, stdout=subprocess.DEVNULL)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
