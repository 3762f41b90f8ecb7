"""A call that a forked process makes while this one goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from ravine._parallel.beside import call_beside

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Also where the machine has one core alone, and other threads wait for what tests say."""
    if sys.platform != "linux":
        pytest.skip("processes are forked on Linux alone")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("threading.active_count", lambda: 1)


def test_another_process_makes_it_once():
    with call_beside(os.getpid, fork=True) as answer:
        assert answer() == answer() != os.getpid()


def test_a_long_answer_is_read_whole():
    with call_beside(lambda: bytes(3_000_000), fork=True) as answer:
        assert answer() == bytes(3_000_000)


@pytest.mark.parametrize("how", [{"fork": False}, {"fork": True}])
def test_here_when_it_is_asked_for(how, monkeypatch):
    if how["fork"]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    made = []
    with call_beside(lambda: made.append(1) or os.getpid(), **how) as answer:
        assert not made
        assert answer() == answer() == os.getpid()
    assert made == [1]


def test_its_error_is_raised_here():
    def fail():
        raise ValueError("lr must be positive, got -1")

    with call_beside(fail, fork=True) as answer, pytest.raises(ValueError, match="got -1"):
        answer()


def test_what_cannot_be_sent_is_told():
    class OwnError(Exception):  # a class of a function: no other process finds it
        pass

    def fail():
        raise OwnError("mine")

    with call_beside(fail, fork=True) as answer, pytest.raises(RuntimeError, match="OwnError: mine"):
        answer()


def test_a_process_that_was_killed_fails_the_call():
    with (
        call_beside(lambda: os.kill(os.getpid(), signal.SIGKILL), fork=True) as answer,
        pytest.raises(RuntimeError, match="was ended from outside"),
    ):
        answer()


def test_nothing_stays_behind_an_error_here(tmp_path):
    told = tmp_path / "pid"

    def work():
        told.write_text(str(os.getpid()))
        time.sleep(60)

    with contextlib.suppress(KeyError), call_beside(work, fork=True):
        while not told.exists() or not told.read_text():
            time.sleep(0.01)
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_ctrl_c_ends_both_and_killing_one_ends_the_other(tmp_path):
    program = (
        "import os, signal, time; os.sched_getaffinity = lambda _: {0, 1}\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whatever began the tests may ignore it
        "from ravine._parallel.beside import call_beside\n"
        "def work(): print(1, flush=True); time.sleep(60)\n"
        "with call_beside(work, fork=True) as answer: answer()\n"
    )
    for number in (signal.SIGINT, signal.SIGKILL):
        begun = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0, text=True
        )
        begun.stdout.readline()
        if number == signal.SIGINT:
            os.killpg(begun.pid, number)
        else:
            begun.kill()
        said = begun.communicate(timeout=30)[1]  # returns once both have let go of what they print to
        assert said.count("KeyboardInterrupt\n") == (number == signal.SIGINT)


def test_where_the_ends_of_processes_are_ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with call_beside(lambda: 6 * 7, fork=True) as answer:
            assert answer() == 42
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_here_where_there_is_no_room_for_another_process(monkeypatch):
    def refuse():
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    open_before = len(os.listdir("/proc/self/fd"))
    with call_beside(os.getpid, fork=True) as answer:
        assert answer() == os.getpid()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_what_ignores_ctrl_c_goes_on():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with call_beside(lambda: os.kill(os.getpid(), signal.SIGINT) or 42, fork=True) as answer:
            assert answer() == 42
    finally:
        signal.signal(signal.SIGINT, before)
