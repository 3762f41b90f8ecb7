"""A sweep that is killed again and again, by its own parent, at random instants. Run by test_kills.py."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray.backends.zarr  # noqa: F401
import zarr  # noqa: F401 - in front of all children

import ravine
from ravine._store import create
from ravine._store.store import Store
from ravine._sweep import execute, plan

PHASES = {"writing": 0.02, "create": 0.25, "gathering": 0.003}
"""Where a child is killed: at the latest so many seconds after it came there."""


BLOCK = 3
"""Runs of a block."""


def swept(store=None):
    """Sweep in many small blocks; what is asked for never changes."""
    plan.BLOCK_BYTES = 230  # of 6 positions with three numbers of four bytes, three runs
    return ravine.sweep(
        ravine.gallery.rosenbrock(), lr=np.geomspace(1e-4, 1, 48), momentum=[0.0, 0.5, 0.9], steps=5, store=store
    )


def child(store, phase, pipe, log):
    """Sweep; tell the parent when the phase begins, and write down every block that was computed."""

    def tell(*_):
        os.write(pipe, b"!")

    def before(call, tell):
        def both(*args, **kwargs):
            tell()
            return call(*args, **kwargs)

        return both

    make = execute.StoredBlocks.__call__

    def counted(self, number, *more):
        make(self, number, *more)
        os.write(log, f"{number * BLOCK}\n".encode())

    execute.StoredBlocks.__call__ = counted
    if phase == "writing":
        Store.write = before(Store.write, tell)
    elif phase == "create":
        create.create = before(create.create, tell)
    elif phase == "gathering":
        Store.gather = before(Store.gather, tell)
    swept(store)


def one(store, phase, log, chance):
    """Let one child sweep, kill it a random while after the phase begins, and say whether it was still at it."""
    mouth, ear = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(mouth)
        try:
            child(store, phase, ear, log)
        except BaseException as reason:
            sys.stderr.write(f"{type(reason).__name__}: {reason}\n")
            os._exit(1)
        os._exit(0)
    os.close(ear)
    os.read(mouth, 1)
    if phase:
        time.sleep(chance.uniform(0, PHASES[phase]))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(mouth)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the child failed in {phase}")
    return os.WIFSIGNALED(status)


def records_of(store):
    """Return the blocks that the ledger holds, a number for each record."""
    return [json.loads(each.read_text())["facts"]["block"] for each in (store / ".ravine/ledger").glob("*.json")]


def foundings(folder, times, log, chance):
    """Kill while stores are begun: say how many were there, how many only in part, and what litter was left."""
    whole, parts = 0, 0
    for _ in range(times):
        store = folder / "begun.zarr"
        one(store, "create", log, chance)
        if store.exists():
            whole += 1
            parts += not (store / ".ravine/plan.json").exists()
            store.rename(folder / f"begun-{whole}.zarr")
    one(folder / "begun.zarr", None, log, chance)
    return {"whole": whole, "parts": parts, "litter": [str(each) for each in folder.glob("*.partial")]}


def writings(folder, times, log, chance):
    """Kill while blocks are written, then let the sweep end; count blocks that were computed more than once."""
    stores, killed, twice, remade = [], 0, 0, 0
    while killed < times:
        store, finished, computed = folder / f"runs-{len(stores)}.zarr", set(), []
        while True:
            os.truncate(folder / "log", 0)
            stopped = one(store, "writing" if killed < times else None, log, chance)
            now = [int(first) // BLOCK for first in (folder / "log").read_text().split()]
            remade += len(finished & set(now))
            computed += now
            killed += stopped
            finished = set(records_of(store))
            if not stopped:
                break
        stores.append(str(store))
        twice += len(computed) - len(finished)
    return {"stores": stores, "killed": killed, "twice": twice, "remade": remade}


def gatherings(store, times, log, chance):
    """Kill while the ledger is gathered; count what is there in part."""
    killed, torn = 0, 0
    for _ in range(times):
        gathered = store / ".ravine/complete.json"
        gathered.unlink(missing_ok=True)
        killed += one(store, "gathering", log, chance)
        torn += gathered.exists() and Store(store).read_gathered() is None
    one(store, None, log, chance)
    return {"killed": killed, "torn": torn, "litter": [str(each) for each in store.rglob("*.partial")]}


def main(folder, kills, seed):
    """Kill in every phase; say as JSON what became of it."""
    torch.set_num_threads(1)
    folder, chance = Path(folder), random.Random(int(seed))
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    swept()  # what is slow for the first time, in front of all children
    told = {"writing": writings(folder, int(kills), log, chance)}
    told["create"] = foundings(folder, int(kills) // 5, log, chance)
    told["gathering"] = gatherings(Path(told["writing"]["stores"][0]), int(kills) // 5, log, chance)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
