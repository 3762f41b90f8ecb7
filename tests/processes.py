"""Processes that share what they import: each is forked from one server, in which all of it is done.

Each is a process like any other (its own number, session, folder, environment, standard streams, signals and exit
status, and the interpreter's own way to end), but begins in milliseconds instead of seconds. What is about the
beginning itself (what is imported when, an interrupt at an import, what torch reads in its environment) begins cold,
with a Python of its own.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import multiprocessing.forkserver
import multiprocessing.util
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from pathlib import Path

NUMBER = struct.Struct("q")
FORGET = "import sys; [sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] == 'ravine']"
"""The beginning of a program in which ravine is imported anew, and only what it uses is there already."""

COMMAND = "import sys; sys.argv[0] = 'ravine'; from ravine.cli import main; main()"


class Process:
    """One that was started; `out` and `err` are what it has printed so far."""

    def __init__(self, pid, told, stdin, out, err):
        self.pid, self.returncode = pid, None
        self._told, self._stdin, self._out, self._err = told, stdin, out, err

    def __del__(self):
        for each in {self._told, self._stdin, self._out, self._err} - {None}:
            os.close(each)

    @property
    def out(self):
        return os.pread(self._out, 1 << 30, 0).decode()

    @property
    def err(self):
        return os.pread(self._err, 1 << 30, 0).decode()

    def close_stdin(self):
        """Let it come to the end of what it reads."""
        if self._stdin is not None:
            os.close(self._stdin)
        self._stdin = None

    def poll(self, seconds=0.0):
        if self.returncode is None and select.select([self._told], [], [], seconds)[0]:
            (status,) = NUMBER.unpack(os.read(self._told, NUMBER.size))
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds=100.0):
        """Wait until it ends; one that does not is killed, and that is an error."""
        if self.poll(seconds) is None:
            self.kill()
            self.poll(10)
            raise TimeoutError(f"it did not end within {seconds} s; it said {self.out!r}, {self.err!r}")
        return self.returncode

    def wait_for_line(self, seconds=60.0):
        """Return the first line that it prints."""
        until = time.monotonic() + seconds
        while "\n" not in self.out:
            assert self.poll(0.01) is None, self.err
            assert time.monotonic() < until, "it says nothing"
        return self.out.partition("\n")[0]

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start(program, *words, cwd=None, env=None, stdout=None, strict=False):
    """Start a program, that is code or the path of a script, with these words behind it.

    ``env`` is added to the environment; ``stdout``, a file descriptor, takes the place of what `Process.out` reads;
    ``strict`` makes errors of warnings, here and in whatever the program spawns. The server from which it forks
    workers, if it has one, begins with all that is imported here, too.
    """
    (told, telling), (reading, writing) = os.pipe(), os.pipe()
    out, err, request = open_unnamed(), open_unnamed(), open_unnamed()
    given = {
        "program": str(program) if isinstance(program, Path) else None,
        "code": None if isinstance(program, Path) else program,
        "words": [str(word) for word in words],
        "cwd": str(cwd or os.getcwd()),
        "env": {**os.environ, **(env or {})},
        "strict": strict,
    }
    os.write(request, json.dumps(given).encode())
    _, connection = _server()
    socket.send_fds(connection, [b"!"], [request, telling, reading, out if stdout is None else stdout, err])
    for each in (request, telling, reading):
        os.close(each)
    (pid,) = NUMBER.unpack(os.read(told, NUMBER.size))
    return Process(pid, told, writing, out, err)


def run(program, *words, check=False, seconds=100.0, **where):
    """Run a program to its end, with nothing to read; ``check`` is that it ends without a fault."""
    process = start(program, *words, **where)
    process.close_stdin()
    process.wait(seconds)
    assert not check or process.returncode == 0, (process.returncode, process.out, process.err)
    return process


def open_unnamed():
    """Open a file that nobody else can."""
    number, path = tempfile.mkstemp()
    os.unlink(path)
    return number


@functools.cache
def _server():
    """Start the server, once for all that a worker of pytest tests; it ends when its socket closes, as they do."""
    own, other = socket.socketpair()
    words = [sys.executable, __file__, str(other.fileno())]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[other.fileno()], start_new_session=True
    )
    other.close()
    return process, own


# -- in the server ---------------------------------------------------------------------------------------------------


def import_all():
    """Import all of ravine, and with it what it uses."""
    gc.disable()
    import ravine

    for each in pkgutil.walk_packages(ravine.__path__, "ravine."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    ravine.plot.descent(ravine.descend("quadratic", lr=0.1, steps=2)).savefig(os.devnull, format="png")
    gc.freeze()
    gc.enable()


def serve(connection):
    """Fork for each request; it is in the forked process alone that this returns, with what it is to do."""
    while True:
        message, sent, _, _ = socket.recv_fds(connection, 1, 8)
        if not message:
            os._exit(0)
        keeper = os.fork()
        if not keeper:
            connection.close()
            return begin(*sent)
        for each in sent:
            os.close(each)
        while os.waitpid(-1, os.WNOHANG)[0] not in (0, keeper):  # earlier ones that are through
            pass


def begin(request, telling, *streams):
    """Fork once more: one process to do what is asked for, and one that waits for it and tells how it ended."""
    child = os.fork()
    if child:
        for each in (request, *streams):
            os.close(each)
        os.write(telling, NUMBER.pack(child))
        _, status = os.waitpid(child, 0)
        os.write(telling, NUMBER.pack(status))
        os._exit(0)
    os.close(telling)
    os.setsid()
    given = json.loads(os.pread(request, 1 << 30, 0))
    os.close(request)
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    return given


def fork_server(path, words, passed, begin=multiprocessing.util.spawnv_passfds):
    """Begin a forkserver of multiprocessing's as a fork, and anything else as multiprocessing does."""
    code = words[words.index("-c") + 1]
    if not code.startswith("from multiprocessing.forkserver "):
        return begin(path, words, passed)
    child = os.fork()
    if child:
        return child
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for number in map(int, os.listdir("/proc/self/fd")):
            if number > 2 and number not in (*passed, nothing.fileno()):
                with contextlib.suppress(OSError):  # that of the list itself
                    os.fstat(number)
                    os.dup2(nothing.fileno(), number)  # what held it may close it
    multiprocessing.forkserver._forkserver._lock = threading.Lock()  # which is held while it begins
    sys.modules["__main__"] = types.ModuleType("__main__")  # workers read a script again
    try:
        exec(code, vars(sys.modules["__main__"]))
    finally:
        os._exit(0)


def make_main(given):
    """Put an empty module in the place of the one that runs; return it, and what is to be run in it."""
    multiprocessing.util.spawnv_passfds = fork_server
    program, main = given["program"], types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [program or "-c", *given["words"]]
    sys.path.insert(0, str(Path(program).parent) if program else "")
    if program:
        main.__file__ = program
    if given["strict"]:
        warnings.simplefilter("error")
        sys.warnoptions.append("error")
    return main, compile(Path(program).read_text() if program else given["code"], program or "<string>", "exec")


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    import_all()
    its_main, its_code = make_main(serve(socket.socket(fileno=int(sys.argv[1]))))
    exec(its_code, vars(its_main))
