from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

from ravine import _progress

pytestmark = pytest.mark.quick


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watch(monkeypatch, patience=0.0):
    """A terminal that shows what is written, called from the test itself: pytest puts stderr back between phases."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(_progress, "PATIENCE", patience)
    return screen


def test_short_work_shows_nothing(monkeypatch):
    terminal = watch(monkeypatch, patience=2.0)
    assert list(_progress.tracked(range(3), "things")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_long_work_shows_a_bar_and_takes_it_away(monkeypatch):
    terminal = watch(monkeypatch)
    assert list(_progress.tracked(range(5), "things")) == list(range(5))
    assert "things" in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip() == ""  # the last line is blank again


def test_a_log_is_no_place_for_a_bar(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    assert list(_progress.tracked(range(5), "things")) == list(range(5))
    assert log.getvalue() == ""


def test_work_inside_of_work_shows_no_bar_of_its_own(monkeypatch):
    terminal = watch(monkeypatch)
    with _progress.work(2, "wholes") as advance:
        for _ in range(2):
            assert list(_progress.tracked(range(2), "parts")) == [0, 1]
            advance(1)
    assert "wholes" in terminal.getvalue()
    assert "parts" not in terminal.getvalue()


def test_after_a_failure_the_next_work_shows_its_bar(monkeypatch):
    terminal = watch(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        [1 / item for item in _progress.tracked(range(2), "first")]
    list(_progress.tracked(range(2), "second"))
    assert "second" in terminal.getvalue()


def test_a_bar_leaves_no_thread_behind(monkeypatch):
    watch(monkeypatch)
    before = set(threading.enumerate())
    list(_progress.tracked(range(5), "things"))
    assert set(threading.enumerate()) == before


def test_a_bar_settles_nothing_for_the_process():
    """Neither how processes are started, nor Python's random numbers, nor what the user's own tqdm is like."""
    code = (
        "import io, multiprocessing, random, sys\n"
        "from ravine import _progress\n"
        "_progress.PATIENCE = 0\n"
        "class Terminal(io.StringIO):\n"
        "    isatty = lambda self: True\n"
        "sys.stderr = screen = Terminal()\n"
        "state = random.getstate()\n"
        "list(_progress.tracked(range(5), 'things'))\n"
        "assert 'things' in screen.getvalue()\n"
        "assert random.getstate() == state\n"
        "assert multiprocessing.get_start_method(allow_none=True) is None\n"
        "import tqdm\n"
        "assert tqdm.tqdm.monitor_interval == 10 and not hasattr(tqdm.tqdm, '_lock')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
