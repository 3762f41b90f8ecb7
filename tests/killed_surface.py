"""A surface in a store that is killed again and again at random instants. Run by test_stored_surface.py."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import torch
import xarray.backends.zarr  # noqa: F401
import zarr  # noqa: F401 - in front of all children

import ravine
from ravine._store.store import Store

POINTS = 9


def made(store=None, **changed):
    """Evaluate a surface of a small network over a random plane; what is asked for never changes."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 3, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    problem = ravine.Problem.of(model, "mse", (inputs, changed.pop("targets", inputs.sum(1, keepdim=True))))
    plane = ravine.Plane.random(problem, seed=changed.pop("seed", 0))
    return ravine.surface(problem, plane=plane, **{"points": POINTS, "store": store, **changed})


def main(path, kills, seed):
    """Kill as often as asked, each time a random while after a row begins to be written; then let it end."""
    torch.set_num_threads(1)
    chance, killed, rows = random.Random(int(seed)), 0, []
    write = Store.write
    while True:
        mouth, ear = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(mouth)

            def told(*args, ear=ear):
                os.write(ear, bytes([args[1] + 1]))
                write(*args)

            Store.write = told
            made(path)
            os._exit(0)
        os.close(ear)
        first = os.read(mouth, 1)
        if killed < int(kills):
            time.sleep(chance.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        rest = first
        while first:
            first = os.read(mouth, 100)
            rest += first
        os.close(mouth)
        rows.append([each - 1 for each in rest])
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            break
    sys.stdout.write(json.dumps({"killed": killed, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
