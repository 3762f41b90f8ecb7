"""Descents, sweeps, surfaces and pictures in several threads at once have the bits that they have alone."""

from __future__ import annotations

import io
import random
import threading
import warnings
from concurrent import futures

import matplotlib as mpl
import numpy as np
import pytest
import torch
import xarray as xr

import processes
import ravine
from ravine._system import process_state
from ravine._torch import one_thread, set_seed


def network(seed=5):
    """A problem that draws random numbers, and writes into buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 3),
            torch.nn.BatchNorm1d(3),
            torch.nn.Tanh(),
            torch.nn.Dropout(0.25),
            torch.nn.Linear(3, 1),
        )
        points = torch.randn(12, 2)
    return ravine.Problem.of(model, torch.nn.MSELoss(), (points, points.sum(1, keepdim=True)))


def long_sum():
    """A loss whose last bits hang on how many threads add it up."""
    x = torch.linspace(-3, 3, 200_001)[:, None]
    return ravine.Problem(lambda p: ((p["w"] * x - 1) ** 2).mean() + (p["w"] * x).sin().sum() / 1e5, start={"w": 0.3})


def drawn(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def calls(folder):
    """What the threads do, each with the problems that all of them share."""
    noisy, valley, article, sums = network(), ravine.gallery.rosenbrock(), ravine.gallery.article(), long_sum()
    still = ravine.Problem.of(noisy.parts.model.eval(), torch.nn.MSELoss(), (noisy.parts.inputs, noisy.parts.targets))
    noisy.parts.model.train()
    run = ravine.descend(valley, lr=1e-3, momentum=0.9, steps=20)
    land = ravine.surface(valley, points=9)
    numbers = iter(range(10**9))
    return {
        "descend": lambda: ravine.descend(noisy, lr=0.1, steps=8),
        "batches": lambda: ravine.descend(noisy, torch.optim.Adam, lr=0.1, batch_size=4, seed=3, steps=8),
        "sums": lambda: ravine.descend(sums, lr=0.01, steps=3),
        "sweep": lambda: ravine.sweep(article, lr=[0.01, 0.1], momentum=[0.0, 0.9], steps=10),
        "general sweep": lambda: ravine.sweep(valley, lr=[1e-4, 1e-3], steps=10, keep="summary"),
        "one by one": lambda: ravine.sweep(noisy, torch.optim.Adam, lr=[0.01, 0.1], steps=4),
        "store": lambda: ravine.sweep(valley, lr=[1e-4, 1e-3], steps=5, store=folder / f"{next(numbers)}.zarr").load(),
        "surface": lambda: ravine.surface(noisy, {"4.bias": (-1, 1), "0.weight[0,1]": (0, 1)}, points=4),
        "affine surface": lambda: ravine.surface(article, bias=(-5, 8), weight=(-5, 8), points=9),
        "landmarks": lambda: ravine.landmarks(article["HuberLoss"]),
        "sharpness": lambda: ravine.sharpness(valley, run),
        "explain": lambda: [each.sentence for each in ravine.explain(run)],
        "problem": lambda: again(noisy.parts).start["0.weight"].numpy(),
        "loss": lambda: still.loss(still.start).item(),
        "picture": lambda: drawn(ravine.plot.descent(run, land)),
        "losses": lambda: drawn(ravine.plot.losses(run, style="dark")),
    }


def again(parts):
    """Make a problem of the module that all of them share; it is tried once, and draws random numbers."""
    return ravine.Problem.of(parts.model, parts.criterion, (parts.inputs, parts.targets))


def same(one, other):
    if isinstance(one, xr.Dataset | xr.DataArray):
        return one.identical(other)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("amount", [48, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_eight_threads_at_once(amount, tmp_path, chance):
    asked = calls(tmp_path)
    expected = {name: call() for name, call in asked.items()}
    order = [name for _ in range(-(-amount // len(asked))) for name in asked][:amount]
    chance.shuffle(order)
    random_state, settings, threads = torch.get_rng_state(), dict(mpl.rcParams), torch.get_num_threads()
    filters, python = list(warnings.filters), random.getstate()
    ready = threading.Barrier(8)
    with futures.ThreadPoolExecutor(8, initializer=ready.wait) as pool:
        found = list(pool.map(lambda name: (name, asked[name]()), order))
        counts = set(pool.map(lambda _: torch.get_num_threads(), range(8)))
    wrong = [name for name, result in found if not same(result, expected[name])]
    assert wrong == []
    assert torch.equal(torch.get_rng_state(), random_state)
    assert dict(mpl.rcParams) == settings
    assert list(warnings.filters) == filters
    assert random.getstate() == python
    assert torch.get_num_threads() == threads
    assert counts == {threads}


def test_a_thread_that_begins_in_the_midst_keeps_the_number_of_threads():
    """Torch hands its number of threads on to a thread that begins: not the 1 that another works with just now."""
    code = """
import threading, torch, ravine
from ravine._torch import one_thread, set_seed
torch.set_num_threads(3)
torch.rand(100_000).sum()
inside, go_on = threading.Event(), threading.Event()
def first():
    with one_thread():
        inside.set(); go_on.wait()
def second(found):
    torch.ones(200_000).sum()  # takes over a number of threads
    found.append(torch.get_num_threads())
    go_on.set()
    ravine.descend(ravine.gallery.rosenbrock(), lr=1e-3, steps=2)
    found.append(torch.get_num_threads())
one, found = threading.Thread(target=first), []
one.start(); inside.wait()
other = threading.Thread(target=second, args=(found,))
other.start(); other.join(); one.join()
fresh = []
last = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
last.start(); last.join()
print(found, fresh, torch.get_num_threads())
"""
    done = processes.run(code, check=True)
    found, fresh, here = eval(done.out.replace("] ", "], "))
    assert (found[1], fresh, here) == (3, [3], 3), done.out


def test_work_in_work_of_one_thread_does_not_wait_for_itself():
    def inside(p):
        with process_state():
            ravine.surface(ravine.gallery.rosenbrock(), points=3)
        return p["x"] ** 2

    run = ravine.descend(ravine.Problem(inside, start={"x": 1.0}), lr=0.1, steps=2)
    assert run.sizes["step"] == 3


def test_workers_that_are_threads_of_this_process_are_not_waited_for_in_vain():
    """Dask has such workers: who waits for them must not hold what they need."""

    class Threads(futures.Executor):
        _max_workers = 2

        def __init__(self):
            self.pool = futures.ThreadPoolExecutor(2)

        def submit(self, call, /, *given, **named):
            return self.pool.submit(call, *given, **named)

    executor, valley = Threads(), ravine.gallery.rosenbrock()
    land = ravine.surface(valley, points=5, slope=True)
    xr.testing.assert_identical(ravine.surface(valley, points=5, slope=True, executor=executor), land)
    asked = {"optimizer": torch.optim.Adam, "lr": [0.01, 0.1, 0.2], "steps": 3}
    xr.testing.assert_identical(ravine.sweep(valley, **asked, executor=executor), ravine.sweep(valley, **asked))
    executor.pool.shutdown()


def test_a_seed_is_torchs_own_and_waits_for_no_device(monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected, waiting = torch.get_rng_state(), len(torch.cuda._queued_calls)
        set_seed(8)
        set_seed(7)
        assert torch.equal(torch.get_rng_state(), expected)
        assert len(torch.cuda._queued_calls) == waiting or torch.cuda.device_count()
        seeds = []
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch, "manual_seed", seeds.append)
        set_seed(9)  # a device has generators of its own
        assert seeds == [9]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_works_has_a_lock_of_its_own():
    import os

    inside, go_on = threading.Event(), threading.Event()

    def work():
        with one_thread():
            inside.set()
            go_on.wait()

    other = threading.Thread(target=work)
    other.start()
    inside.wait()
    try:
        pid = os.fork()
        if not pid:
            with process_state():
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        go_on.set()
        other.join()
