"""Sweeps on disk that are killed at any instant: what is finished stays, and the same sweep goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import killing
import processes
import ravine
from ravine._store.store import Store
from ravine._sweep import plan
from ravine.cli import app

KILLS = (25, 240)
"""At each run of the tests, and with ``-m slow``."""


@pytest.fixture(scope="module", params=[KILLS[0], pytest.param(KILLS[1], marks=pytest.mark.slow)])
def killed(request, tmp_path_factory):
    """What became of a sweep that was killed again and again, at other instants each time, and where its stores are."""
    folder, kills = tmp_path_factory.mktemp("killed"), request.param
    seed = os.environ.get("RAVINE_SEED") or str(int.from_bytes(os.urandom(4), "big"))
    print(f"RAVINE_SEED={seed}")
    made = processes.run(Path(killing.__file__), folder, kills, seed, check=True, seconds=300 + 5 * kills)
    return folder, json.loads(made.out) | {"kills": kills}


@pytest.fixture(scope="module")
def expected():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_BYTES", plan.BLOCK_BYTES)
        return killing.swept()


def test_killed_while_blocks_are_written(killed, expected):
    told = killed[1]["writing"]
    assert told["killed"] >= killed[1]["kills"]
    assert told["remade"] == 0  # what the ledger holds is not computed again
    assert told["twice"] <= told["killed"]  # at each kill one block was at work
    for path in map(Path, told["stores"]):
        store = Store(path)
        assert store.tiling.block == (1, killing.BLOCK)
        assert sorted(killing.records_of(path)) == list(range(store.tiling.count))  # each block once
        xr.testing.assert_identical(ravine.open(path).load(), expected)
        assert ravine.verify(path) == []
        assert not list(path.rglob("*.partial"))


def test_killed_while_a_store_is_begun(killed, expected):
    folder, told = killed[0], killed[1]["create"]
    assert told["parts"] == 0  # it is there whole, or not at all
    assert told["litter"] == []
    xr.testing.assert_identical(ravine.open(folder / "begun.zarr").load(), expected)
    for k in range(told["whole"]):
        assert ravine.verify(folder / f"begun-{k + 1}.zarr") == []


def test_killed_while_the_ledger_is_gathered(killed):
    told = killed[1]["gathering"]
    assert told["killed"] > 0
    assert told["torn"] == 0
    assert told["litter"] == []
    assert Store(killed[1]["writing"]["stores"][0]).read_gathered() is not None


# -- the command line, with processes of its own ---------------------------------------------------------------------

SLOW = """
import time, ravine

def loss(p):
    time.sleep(0.005)
    return (p["x"] - 3) ** 2 + p["y"] ** 4

bowl = ravine.Problem(loss, start={"x": 1.0, "y": 1.0})
"""
RATES = np.linspace(0.01, 0.32, 32)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Three sweeps of one command line, begun at once, and what is done to each as soon as its first block is
    finished."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "slowly.py").write_text(SLOW)
    words = ["sweep", "slowly:bowl", "--optimizer", "ASGD", "--steps", "10", "--lr", ",".join(map(str, RATES))]
    started, killed = {}, {}
    for name, workers in {"alone": [], "master": ["--workers", "2"], "worker": ["--workers", "2"]}.items():
        command = [processes.COMMAND, *words, "-o", f"{name}.zarr", *workers]
        started[name] = processes.start(*command, cwd=folder)
    try:
        wait_for(lambda: sum(strike(name, folder, started[name], killed) for name in started) == 3)
        for each in started.values():
            each.wait(300)
        yield folder, started, killed
    finally:
        for each in started.values():
            each.kill()


def strike(name, folder, process, killed):
    """Kill, once, as soon as a block is finished: the processes that were seen are kept."""
    if name in killed or not list((folder / f"{name}.zarr/.ravine/ledger").glob("*.json")):
        assert process.poll() is None or name in killed, process.err
        return name in killed
    killed[name] = family(process.pid)
    if name == "alone":
        process.send_signal(signal.SIGINT)
    elif name == "master":
        process.kill()
    else:  # workers descend from a process that the master has for making them
        os.kill(max(pid for pid, parent in killed[name].items() if parent != process.pid), signal.SIGKILL)
    return True


@pytest.fixture(scope="module")
def slow_expected(begun):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(begun[0]))
        import slowly

        return ravine.sweep(slowly.bowl, torch.optim.ASGD, 10, lr=RATES)


def wait_for(what, seconds=300):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def family(pid):
    """Return the processes that descend from one, each with the number of its parent."""
    parents = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] not in "ZX":  # who has ended, and waits for somebody to look
            parents[int(each.parent.name)] = int(words[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: parents[child] for child in found - {pid}}


def living(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resumed(folder, name, expected, monkeypatch):
    """Go on from another folder, and compare."""
    monkeypatch.syspath_prepend(str(folder))
    path = folder / f"{name}.zarr"
    assert Store(path).find_missing()
    result = CliRunner().invoke(app, ["resume", str(path)])
    assert result.exit_code == 0, result.output
    same(path, expected)
    return result.output


def same(path, expected, *, drafts=False):
    """Hold a store against what it should be; `drafts`: what a killed process left goes when the next one writes."""
    xr.testing.assert_identical(ravine.open(path).load(), expected)
    assert ravine.verify(path) == []
    if drafts:
        with Store(path).writing():
            pass
    assert not list(path.rglob("*.partial"))


def test_ctrl_c_on_the_command_line(begun, slow_expected, monkeypatch):
    folder, started, _ = begun
    assert started["alone"].returncode == 130
    slow = "ravine: 32 runs go one by one, about"  # said before the work, where this machine is busy
    lines = [line for line in started["alone"].err.splitlines() if not line.startswith(slow)]
    assert len(lines) == 1, lines
    assert "of 32 runs are in alone.zarr: interrupted; ravine resume alone.zarr goes on" in lines[0]
    assert "32 runs:" in resumed(folder, "alone", slow_expected, monkeypatch)
    assert (folder / "alone.png").exists()


def test_the_master_is_killed_and_its_workers_end(begun, slow_expected, monkeypatch):
    folder, started, killed = begun
    assert started["master"].returncode == -signal.SIGKILL
    assert len(killed["master"]) >= 2
    wait_for(lambda: not any(map(living, killed["master"])), seconds=15)
    resumed(folder, "master", slow_expected, monkeypatch)


def test_a_worker_is_killed_and_its_block_is_made_again(begun, slow_expected):
    folder, started, _ = begun
    complaint = started["worker"].err
    assert started["worker"].returncode == 0, complaint
    assert "32 runs:" in started["worker"].out
    assert "Traceback" not in complaint
    same(folder / "worker.zarr", slow_expected, drafts=True)
