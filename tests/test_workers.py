"""Other processes make the same bits as this one, also when they die, are never there, or the user gives up."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import textwrap
import threading
import time
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import processes
import ravine
from ravine._descent.run_spec import RunSpec
from ravine._engine import make_job as making
from ravine._landscape.surface import slopes
from ravine._parallel import processes as executors
from ravine._parallel import processes as parcels
from ravine._parallel import workers
from ravine._parallel.workers import wrap_executor
from ravine._study import provenance
from ravine._sweep import execute
from ravine._sweep import plan as recipes
from ravine.cli import app

KINDS = ("fork", "forkserver", "dask")
"""A script begins workers with spawn, further down: what they then do is the same as with forkserver."""

pytestmark = [
    # on a busy machine dask's own loops are late, and say so
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
    # and it leaves sockets to the garbage that it only asked for a free port
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # Python 3.12 and later: dask's loop is a thread, and so a plain fork warns; the test is about just that
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]


PRELOADED = ["ravine._sweep.sweep", "distributed"]
"""What all workers that begin by forkserver share, as those of ``ravine sweep --workers`` do."""


def cluster_of(count, **options):
    import dask
    from dask.distributed import LocalCluster

    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        return LocalCluster(n_workers=count, threads_per_worker=2, processes=True, dashboard_address=None, **options)


@pytest.fixture(scope="module")
def client():
    from dask.distributed import Client

    with cluster_of(2) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def pools():
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    made = {how: futures.ProcessPoolExecutor(2, multiprocessing.get_context(how)) for how in KINDS[:2]}
    yield made
    for pool in made.values():
        pool.shutdown()


@pytest.fixture(params=KINDS)
def executor(request, pools):
    if request.param == "dask":
        return request.getfixturevalue("client").get_executor(retries=3)
    return pools[request.param]


@pytest.fixture
def pool(pools):
    return pools["forkserver"]


class Here(futures.Executor):
    """Everything is done at once, here; what was asked is counted."""

    asked, closed = 0, False

    def submit(self, call, /, *given, **named):
        self.asked += 1
        future = futures.Future()
        try:
            future.set_result(call(*given, **named))
        except Exception as reason:
            future.set_exception(reason)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.closed = True


class Shaky(torch.nn.Module):
    """A model that draws random numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = torch.nn.Linear(2, 3), torch.nn.Dropout(0.3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.last(self.drop(torch.tanh(self.first(x))))


@pytest.fixture(scope="module")
def shaky():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        points = torch.randn(12, 2)
        return ravine.Problem.of(Shaky(), torch.nn.MSELoss(), (points, points[:, :1] * points[:, 1:]), mode="train")


def valley(p):
    return (1 - p["x"]) ** 2 + 10 * (p["y"] - p["x"] ** 2) ** 2


def one_by_one(p):
    """A loss that vmap cannot batch."""
    return valley(p) if float(p["x"].detach()) > 0 else valley(p) + 1


ADAM = {"optimizer": torch.optim.Adam, "lr": [0.01, 0.1, 0.2], "steps": 6, "batch_size": 4, "seed": [1, 2]}


SWEEPS = (
    {"lr": np.geomspace(1e-4, 0.3, 9), "momentum": [0.0, 0.9], "steps": 12},
    {"lr": [1e-4, 1e-3, -1.0], "steps": 3, "engine": "torch", "keep": "summary"},
)


@pytest.fixture(scope="module")
def swept_here(all_cases):
    """The sweeps of a case by this process alone, made once for all executors."""
    return functools.cache(lambda name: [ravine.sweep(all_cases[name].problem, **asked) for asked in SWEEPS])


@pytest.mark.parametrize("name", ["article", "rosenbrock", "csv", "network"])
def test_workers_make_the_same_bits(executor, all_cases, swept_here, name):
    for asked, here in zip(SWEEPS, swept_here(name), strict=True):
        xr.testing.assert_identical(ravine.sweep(all_cases[name].problem, executor=executor, **asked), here)


@pytest.fixture(scope="module")
def shaken_here(shaky):
    return {keep: ravine.sweep(shaky, **ADAM, keep=keep) for keep in ("path", "summary")}


def test_dropout_mini_batches_and_adam_in_the_same_bits(executor, shaky, shaken_here, tmp_path):
    for keep, here in shaken_here.items():
        xr.testing.assert_identical(ravine.sweep(shaky, **ADAM, keep=keep, executor=executor), here)
        there = ravine.sweep(shaky, **ADAM, keep=keep, executor=executor, store=tmp_path / f"{keep}.zarr")
        xr.testing.assert_identical(there.load(), here)
        assert ravine.verify(tmp_path / f"{keep}.zarr") == []


def test_lambdas_and_local_classes_go_along(executor):
    far = 3.0

    class Loss:
        def __call__(self, p):
            return (p["x"] - far) ** 2

    for loss in (lambda p: (p["x"] - far) ** 2, Loss()):
        problem = ravine.Problem(loss, start={"x": 0.0})
        for engine in (None, "torch"):
            asked = {"lr": [0.1, 0.2, 1.5], "engine": engine}
            xr.testing.assert_identical(
                ravine.sweep(problem, executor=executor, **asked), ravine.sweep(problem, **asked)
            )


def test_all_workers_take_part(executor, tmp_path):
    def who(number):
        time.sleep(0.05)
        return os.getpid()

    found = {process for _, process in wrap_executor(executor).results(who, range(24))}
    assert len(found) == wrap_executor(executor).size == 2
    assert os.getpid() not in found


@pytest.mark.parametrize("loss", [valley, one_by_one])
def test_a_surface_has_the_same_bits(executor, loss):
    problem = ravine.Problem(loss, start={"x": -1.2, "y": 1.0})
    asked = {"x": (-2, 2), "y": (-1, 3), "points": 9, "slope": True}
    here = ravine.surface(problem, **asked)
    xr.testing.assert_identical(ravine.surface(problem, **asked, executor=executor), here)
    xr.testing.assert_identical(slopes(problem, here, executor=executor), here.slope)
    assert ("one" in provenance.describe(here, "surface")["engine"]) == (loss is one_by_one)


def test_a_surface_of_each_problem_has_the_same_bits(pool, case):
    here = ravine.surface(case.problem, case.axes, points=11)
    xr.testing.assert_identical(ravine.surface(case.problem, case.axes, points=11, executor=pool), here)


def test_a_surface_in_several_chunks_and_of_several_problems(pool, monkeypatch, shaky):
    monkeypatch.setattr("ravine._landscape.evaluate.CHUNK_BYTES", 2000)
    problems = {"a": ravine.gallery.rosenbrock(), "b": ravine.gallery.quadratic(condition=7)}
    for problem, axes in [
        (problems, {"x": (-2, 2), "y": (-1, 3)}),
        (shaky, {"last.bias": (-1, 1), "first.bias[1]": (0, 1)}),
    ]:
        here = ravine.surface(problem, axes, points=23)
        xr.testing.assert_identical(ravine.surface(problem, axes, points=23, executor=pool), here)


def test_points_draw_the_same_numbers_wherever_they_are_evaluated(pool, shaky):
    axes = {"last.bias": (-1, 1), "first.bias[1]": (0, 1)}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        here = ravine.surface(shaky, axes, points=5)
        there = ravine.surface(shaky, axes, points=5, executor=pool)
        torch.manual_seed(12)
        other = ravine.surface(shaky, axes, points=5, executor=pool)
    xr.testing.assert_identical(there, here)
    assert not np.array_equal(other.surface, here.surface)


def test_both_workers_evaluate_a_surface(pool, tmp_path):
    def loss(p):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.002)
        return p["x"] ** 2 + float(p["y"].detach())

    ravine.surface(ravine.Problem(loss, start={"x": 0.0, "y": 1.0}), x=(0, 1), y=(0, 1), points=11, executor=pool)
    assert len([each for each in tmp_path.iterdir() if each.name != str(os.getpid())]) == 2


def test_an_error_of_the_loss_comes_back_as_it_was(pool):
    class OddError(Exception):
        def __init__(self, one, other):
            super().__init__(f"{one} and {other}")

    def call(number):
        raise ZeroDivisionError("by hand") if number == 3 else OddError("salt", "pepper")

    with pytest.raises(ZeroDivisionError, match="by hand"):
        list(wrap_executor(pool).results(call, [3]))
    with pytest.raises(RuntimeError, match="OddError: salt and pepper"):  # it could not be put together again here
        list(wrap_executor(pool).results(call, [4]))
    assert list(wrap_executor(pool).results(abs, [-2])) == [(-2, 2)]


def test_no_error_ends_a_worker():
    """Where dask is loaded, an error is packed with the one in whose handling it was raised, which may not travel."""
    from tblib import pickling_support

    def call(number):
        class OddError(Exception):
            pass

        raise OddError("salt")

    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pool.submit(pickling_support.install).result()
        with pytest.raises(RuntimeError, match="OddError: salt"):
            list(wrap_executor(pool).results(call, [4]))
        assert pool.submit(pow, 2, 5).result() == 32


def test_a_new_pool_is_made_as_the_broken_one_was():
    made = futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), time.sleep, (0,), max_tasks_per_child=3)
    with made:
        worker_pool = wrap_executor(made)
        worker_pool._renew_pool()
        new = worker_pool.executor
        assert new is not made
        for name in ("_max_workers", "_mp_context", "_initializer", "_initargs", "_max_tasks_per_child"):
            assert getattr(new, name) == getattr(made, name)
        worker_pool.close()


def test_a_forked_worker_watches_though_its_master_was_asked_too():
    parcels.run_packed(parcels.pack(lambda number: -number), 2)  # here: what it remembers goes along with a fork
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert dict(wrap_executor(pool).results(threads, [0]))[0] > pool.submit(threads, 0).result() - 1 >= 1


def threads(number):
    return threading.active_count()


def test_a_surface_keeps_the_dtype_of_its_loss(pool):
    problem = ravine.Problem(lambda p: (p["x"].double() / 3) ** 2 + p["y"].double(), start={"x": 1.0, "y": 1.0})
    here = ravine.surface(problem, x=(-1, 1), y=(0, 1), points=5)
    assert here.surface.dtype == np.float64
    xr.testing.assert_identical(ravine.surface(problem, x=(-1, 1), y=(0, 1), points=5, executor=pool), here)


def test_another_store_under_the_same_name_is_cut_as_it_says(tmp_path, monkeypatch):
    sweep_plan, store = plan_of(ravine.gallery.rosenbrock(), 16, steps=3), tmp_path / "runs.zarr"
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        for seconds in (0.05, 0.2, 0.1):
            monkeypatch.setattr(recipes.SweepPlan, "_seconds_of_a_run", lambda self, seconds=seconds: seconds)
            there = execute.on_disk(sweep_plan, store, pool)
            assert ravine.verify(store) == []
            assert np.isfinite(there.loss.values).all()
            shutil.rmtree(store)


SCRIPT = """
    import sys, numpy as np, torch, xarray as xr, ravine
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 2)
        def forward(self, x):
            return self.layer(x).tanh().sum(1, keepdim=True)

    class Mine(torch.optim.SGD):
        pass

    def loss(p):
        return (p["x"] - 2) ** 2

    if __name__ == "__main__":
        torch.manual_seed(0)
        x = torch.linspace(-1, 1, 7).reshape(-1, 1)
        problems = ravine.Problem.of(Net(), torch.nn.L1Loss(), (x, x**2)), ravine.Problem(loss, start={"x": 0.0})
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            for problem in problems:
                for optimizer in (torch.optim.SGD, Mine):
                    here = ravine.sweep(problem, optimizer, lr=[0.1, 0.2], steps=5)
                    there = ravine.sweep(problem, optimizer, lr=[0.1, 0.2], steps=5, executor=pool)
                    xr.testing.assert_identical(there, here)
        print("the same")
"""


def script(folder, text):
    file = folder / "mine.py"
    file.write_text(textwrap.dedent(text))
    return file


def test_what_a_script_defines_goes_along(tmp_path):
    done = processes.run(script(tmp_path, SCRIPT), strict=True)
    assert done.out == "the same\n", done.err


@pytest.mark.parametrize("kind", ["pool", "dask"])
def test_a_module_that_workers_lack_is_named(kind, request, tmp_path, monkeypatch):
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        executor = pool if kind == "pool" else request.getfixturevalue("client").get_executor()
        list(wrap_executor(executor).results(abs, range(4)))  # they began before the module was there
        (tmp_path / "lonely.py").write_text("def loss(p):\n    return p['x'] ** 2\n")
        monkeypatch.syspath_prepend(tmp_path)
        import lonely

        problem = ravine.Problem(lonely.loss, start={"x": 1.0})
        with pytest.raises(ImportError, match=r"worker cannot import .*'lonely'.*PYTHONPATH"):
            ravine.sweep(problem, lr=[0.1], executor=executor)
        sys.modules.pop("lonely")


class Heavy:
    """A loss with much data; each time it is unpacked it leaves a line."""

    def __init__(self, log):
        self.log, self.data = log, torch.arange(500_000.0)

    def __call__(self, p):
        return (p["x"] - self.data[7]) ** 2

    def __deepcopy__(self, memo):
        return self  # a copy for a run is no unpacking

    def __setstate__(self, state):
        self.__dict__ = state
        with open(state["log"], "a") as file:
            file.write(f"{os.getpid()}\n")


def test_a_heavy_problem_is_unpacked_once_in_each_worker(executor, tmp_path):
    problem = ravine.Problem(Heavy(str(tmp_path / "log")), start={"x": 0.0})
    asked = {"lr": np.geomspace(0.01, 0.1, 16), "steps": 4, "engine": "torch"}
    here = ravine.sweep(problem, **asked)
    (tmp_path / "log").unlink(missing_ok=True)
    xr.testing.assert_identical(ravine.sweep(problem, **asked, executor=executor), here)
    unpacked = (tmp_path / "log").read_text().split()
    assert 1 <= len(unpacked) == len(set(unpacked)) <= 2
    assert str(os.getpid()) not in unpacked


@pytest.mark.parametrize("held", ["file", "generator", "lock"])
def test_what_cannot_be_sent_is_told_before_any_work(held, tmp_path):
    with (tmp_path / "open").open("w") as file:
        thing = {"file": file, "generator": (k for k in range(3)), "lock": threading.Lock()}[held]

        def loss(p):
            return p["x"] ** 2 if thing else p["x"]

        problem, executor = ravine.Problem(loss, start={"x": 1.0}), Here()
        with pytest.raises(TypeError, match="cannot be sent to other processes .*leave executor out"):
            ravine.sweep(problem, lr=[0.1, 0.2], executor=executor)
    assert executor.asked == 0


@pytest.mark.parametrize(
    ("wrong", "kind", "match"),
    [
        (4, TypeError, "got int: such as ProcessPoolExecutor"),
        ("tcp://127.0.0.1:8786", TypeError, "got str"),
        (futures.ProcessPoolExecutor, TypeError, "got type"),
        (futures.ThreadPoolExecutor(1), ValueError, "threads would share torch's random state"),
    ],
)
def test_what_is_no_executor(wrong, kind, match):
    problem = ravine.gallery.rosenbrock()
    with pytest.raises(kind, match=match):
        ravine.sweep(problem, lr=[1e-3], executor=wrong)
    with pytest.raises(kind, match=match):
        ravine.surface(problem, x=(0, 1), y=(0, 1), executor=wrong)


def test_a_dask_client_is_not_its_executor(client):
    with pytest.raises(TypeError, match=r"got Client: give client.get_executor\(\)"):
        ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-3], executor=client)


def test_a_pool_that_was_shut_down():
    pool = futures.ProcessPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="takes no work .*after shutdown"):
        ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-3], executor=pool)


@pytest.mark.parametrize("name", ["ravine", "torch", "numpy", "python"])
def test_another_version_is_refused(name):
    packed = parcels.pack(abs)
    old = replace(packed, key=f"{packed.key}-{name}", versions={**packed.versions, name: "0.1"})
    with pytest.raises(RuntimeError, match=rf"a worker has {name} \S+, and here it is 0\.1: install the same"):
        parcels.run_packed(old, -1)


class Mine(futures.ProcessPoolExecutor):
    """A user's pool that tells whether somebody else shut it down."""

    closed = False

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.closed = True
        super().shutdown(wait, cancel_futures=cancel_futures)


def dying_at(step, marker, log=None):
    """Return a loss that kills its process once: the first that comes to a step of the sweep."""
    master = os.getpid()

    def loss(p):
        if log is not None and os.getpid() != master:
            with open(log, "a") as file:
                file.write(".")
        if os.getpid() != master and float(p["x"].detach()) < step and not os.path.exists(marker):
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return (p["x"] - 1) ** 2

    return loss


@pytest.mark.parametrize("stored", [False, True])
def test_a_killed_worker_costs_some_blocks_and_no_bit(stored, tmp_path, monkeypatch):
    loss = dying_at(-1.9, str(tmp_path / "died"))
    starts = [{"x": -value} for value in np.linspace(0.0, 2.5, 30)]
    problem, asked = (
        ravine.Problem(loss, start={"x": 0.0}),
        {"lr": 0.1, "steps": 3, "engine": "torch", "starts": starts},
    )
    here = ravine.sweep(problem, **asked)
    monkeypatch.setattr(recipes, "BLOCK_SECONDS", 1e-9)  # a block for each run
    where = {"store": tmp_path / "runs.zarr"} if stored else {}
    log = tmp_path / "log"
    call = execute.StoredBlocks.__call__ if stored else execute.Blocks.__call__

    def logged(self, number, *more):
        with log.open("a") as file:
            file.write(f"{number}\n")
        return call(self, number, *more)

    monkeypatch.setattr(execute.StoredBlocks if stored else execute.Blocks, "__call__", logged)
    pool = Mine(2, multiprocessing.get_context("fork"))
    there = ravine.sweep(problem, **asked, executor=pool, **where)
    assert (tmp_path / "died").exists()
    xr.testing.assert_identical(there.load(), here)
    made = [int(number) for number in log.read_text().split()]
    assert set(made) == set(range(30))
    assert 1 <= len(made) - 30 <= workers.AHEAD * 2  # no more than what was handed out
    assert not pool.closed
    pool.shutdown()


def test_a_pool_of_the_user_stays_the_users(tmp_path):
    pool = Mine(1, multiprocessing.get_context("fork"))
    ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-4, 1e-3], executor=pool, store=tmp_path / "runs.zarr")
    assert not pool.closed
    assert pool.submit(pow, 2, 5).result() == 32
    pool.shutdown()


def test_workers_that_always_die_are_given_up(tmp_path):
    master = os.getpid()

    def loss(p):
        if os.getpid() != master:
            (tmp_path / str(os.getpid())).touch()
            os._exit(3)
        return p["x"] ** 2

    with (
        futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool,
        pytest.raises(RuntimeError, match="workers died 4 times before any block was finished"),
    ):
        ravine.sweep(ravine.Problem(loss, start={"x": 1.0}), lr=[0.1, 0.2], engine="torch", executor=pool)
    assert len(list(tmp_path.iterdir())) == workers.MOST_BREAKS + 1


def test_what_a_worker_held_is_put_back(tmp_path, shaky):
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pool.submit(torch.set_num_threads, 2).result()
        before = pool.submit(state).result()
        ravine.sweep(shaky, **ADAM, executor=pool)
        ravine.surface(shaky, {"last.bias": (-1, 1), "first.bias[1]": (0, 1)}, points=3, executor=pool)
        assert pool.submit(state).result() == before
        assert pool.submit(torch.get_num_threads).result() == 2
        assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.default_int_handler


def state():
    return torch.get_rng_state().numpy().tobytes()


def test_dask_never_gives_what_it_remembers(client, tmp_path):
    executor = client.get_executor()
    held = [wrap_executor(executor).submit(os.urandom, 8) for _ in range(2)]
    assert held[0].result() != held[1].result()
    store, asked = tmp_path / "runs.zarr", {"lr": [1e-4, 1e-3], "steps": 3}
    for _ in range(2):
        ravine.sweep(ravine.gallery.rosenbrock(), **asked, store=store, executor=executor)
        assert list((store / ".ravine" / "ledger").iterdir())
        shutil.rmtree(store)


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch):
    from dask.distributed import Client

    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.5)
    with cluster_of(0) as cluster, Client(cluster) as client, pytest.raises(TimeoutError, match="no worker answered"):
        ravine.sweep(ravine.gallery.rosenbrock(), lr=[1e-4], executor=client.get_executor())


def test_a_cluster_that_lost_all_workers_is_given_up(monkeypatch):
    there = {"tcp://a": 2}
    executor = Here()
    executor._client = type("Client", (), {"nthreads": lambda self: there})()
    worker_pool = wrap_executor(executor)
    worker_pool.check_workers()
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.01)
    there.clear()
    worker_pool.check_workers()
    time.sleep(0.02)
    with pytest.raises(TimeoutError, match="has had no worker for"):
        worker_pool.check_workers()
    there["tcp://b"] = 1
    worker_pool.check_workers()
    there.clear()
    worker_pool.check_workers()  # counted anew


def test_dask_loses_a_worker_and_then_its_scheduler(tmp_path):
    from dask.distributed import Client

    cluster = cluster_of(2)
    client = Client(cluster)
    master, died = os.getpid(), tmp_path / "died"

    def loss(p):
        if os.getpid() != master and p["x"] == 5.0 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return (p["x"] - 1) ** 2

    problem = ravine.Problem(loss, start={"x": 0.0})
    asked = {"lr": 0.1, "steps": 2, "engine": "torch", "starts": [{"x": float(k)} for k in range(12)]}
    here = ravine.sweep(problem, **asked)
    executor = client.get_executor(retries=3)
    there = ravine.sweep(problem, **asked, executor=executor, store=tmp_path / "one.zarr")
    assert died.exists()
    xr.testing.assert_identical(there.load(), here)

    walk = wrap_executor(executor).results(time.sleep, [0.0, 0.0, 3.0, 3.0, 3.0])
    assert [number for number, _ in (next(walk), next(walk))] == [0.0, 0.0]
    cluster.close()
    with pytest.raises(RuntimeError, match="the executor gave up its work"):
        list(walk)
    with pytest.raises(RuntimeError, match="takes no work|gave up its work"):
        ravine.sweep(problem, **asked, executor=executor, store=tmp_path / "one.zarr")
    client.close()
    xr.testing.assert_identical(ravine.open(tmp_path / "one.zarr").load(), here)


def test_a_cluster_that_nobody_runs_is_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(executors, "CLUSTER_SECONDS", 1)
    began = time.monotonic()
    result = CliRunner().invoke(app, ["sweep", "article", "--lr", "0.1", "--cluster", "tcp://127.0.0.1:1"])
    assert time.monotonic() - began < 20
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
    assert "no dask scheduler answers at tcp://127.0.0.1:1" in result.output


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "2", "--cluster", "tcp://127.0.0.1:1"]])
def test_workers_that_cannot_be_had(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sweep", "article", "--lr", "0.1", *words])
    assert result.exit_code == 2
    assert "--workers" in result.output


def test_the_command_line_hires(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "rosenbrock", "--lr", "0.0001:0.01:40:log", "--momentum", "0,0.9", "--steps", "20"]
    found = []
    for name, more in {"a": [], "b": ["--workers", "2"], "c": ["--cluster", client.scheduler.address]}.items():
        result = CliRunner().invoke(app, [*words, "-o", f"{name}.zarr", *more])
        assert result.exit_code == 0, result.output
        found.append(ravine.open(f"{name}.zarr").load())
    xr.testing.assert_identical(found[1], found[0])
    xr.testing.assert_identical(found[2], found[0])


def test_an_interrupted_sweep_in_memory_keeps_what_was_done(monkeypatch):
    problem, asked = ravine.gallery.rosenbrock(), {"lr": [1e-4, 2e-4, 3e-4, 4e-4], "steps": 3, "engine": "torch"}
    monkeypatch.setattr(recipes, "BLOCK_SECONDS", 1e-9)
    here = ravine.sweep(problem, **asked)

    class Interrupted(Here):
        _max_workers = 1

        def submit(self, call, /, *given, **named):
            if self.asked == 4:
                raise KeyboardInterrupt
            return super().submit(call, *given, **named)

    with pytest.warns(UserWarning, match="interrupted: "):
        there = ravine.sweep(problem, **asked, executor=Interrupted())
    done = there.steps_taken.values == 3
    assert 0 < done.sum() < 4
    assert np.array_equal(there.loss.values[done], here.loss.values[done])
    assert np.isnan(there.loss.values[~done]).all()


def alive(processes):
    return [each for each in processes if running(each)]


def running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:  # what nobody waited for is listed, but does not run
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


def wait_for(what, seconds=240.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


SLOW = ["rosenbrock", "--lr", "0.00001:0.001:400:log", "--momentum", "0,0.5", "--steps", "100", "--optimizer", "SGD"]
SLOW += ["--set", "foreach=true"]  # which goes run by run


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the processes of a group in /proc")
def test_ctrl_c_ends_all_workers_quietly_and_resume_goes_on(tmp_path):
    words = ["sweep", *SLOW, "-o", "runs.zarr", "--workers", "2"]
    process = processes.start(processes.COMMAND, *words, cwd=tmp_path)
    ledger = tmp_path / "runs.zarr" / ".ravine" / "ledger"
    wait_for(lambda: (ledger.exists() and len(list(ledger.glob("*.json"))) >= 2) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, (process.out, process.err)
    assert "Traceback" not in process.err + process.out
    assert "resume" in process.err + process.out
    wait_for(lambda: not group(process.pid), 60)
    assert not (tmp_path / "runs.zarr" / ".ravine" / "complete.json").exists()
    with pytest.warns(UserWarning, match="ravine resume"):
        found = ravine.open(tmp_path / "runs.zarr")
    some = found.isel(lr=slice(0, 400, 50)).load()
    problem = ravine.gallery.rosenbrock()
    here = ravine.sweep(
        problem,
        lr=some.lr.values,
        momentum=[0.0, 0.5],
        steps=100,
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=100),
    )
    made = some.steps_taken.values == 100
    assert np.array_equal(some.loss.values[made], here.loss.values[made])


def group(leader):
    """Return the processes of a group that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


ORPHANS = """
    import os, signal, sys, time, ravine
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from ravine._parallel.workers import wrap_executor

    def call(number):
        time.sleep(0.1)
        return os.getpid()

    if __name__ == "__main__":
        count = int(sys.argv[3])
        pool = ProcessPoolExecutor(count, get_context(sys.argv[1]))
        found = set()
        while len(found) < count:
            found |= {who for _, who in wrap_executor(pool).results(call, range(4))}
        for who in found:
            print(who)
        sys.stdout.flush()
        if sys.argv[2] == "busy":
            walk = wrap_executor(pool).results(time.sleep, [0, 100, 100, 100])
            next(walk)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("how", "when", "count"),
    [("fork", "idle", 2), ("fork", "busy", 2), ("spawn", "idle", 1), ("forkserver", "busy", 2)],
)
def test_workers_end_with_a_killed_master(how, when, count, tmp_path):
    """A spawned worker is like the next, and each imports torch by itself: there is one."""
    process = processes.start(script(tmp_path, ORPHANS), how, when, count, strict=True)
    assert process.wait(60) == -signal.SIGKILL, (process.out, process.err)
    orphans = [int(each) for each in process.out.split()[:count]]
    assert len(orphans) == count
    try:
        wait_for(lambda: not alive(orphans), 60)
    finally:
        for each in alive(orphans):
            os.kill(each, signal.SIGKILL)


@pytest.mark.parametrize(
    ("seconds", "size", "count", "blocks"),
    [
        (1e-5, 1000, 1, 1),  # all of it is a hundredth of a second
        (1e-2, 1000, 1, 20),  # half a second each
        (1e-2, 1000, 50, 200),  # four for each worker
        (1e-4, 1000, 50, 2),  # but none shorter than a twentieth of a second
        (10.0, 1000, 1, 1000),
    ],
)
def test_blocks_are_cut_by_time(seconds, size, count, blocks, monkeypatch):
    monkeypatch.setattr(recipes.SweepPlan, "_seconds_of_a_run", lambda self: seconds)
    assert plan_of(ravine.gallery.rosenbrock(), size).tiling(count).count == blocks


def test_blocks_are_cut_by_bytes_and_hold_what_they_say(case):
    sweep_plan = plan_of(case.problem, 20_000, steps=300)
    tiling = sweep_plan.tiling(1)
    run = sweep_plan.output(slice(0, 1)).loss.element_size() * 301 * (len(case.problem.labels) + 1)
    longest = max(tiling.runs_of(k).stop - tiling.runs_of(k).start for k in range(tiling.count))
    assert longest * run <= recipes.BLOCK_BYTES
    assert sum(tiling.runs_of(k).stop - tiling.runs_of(k).start for k in range(tiling.count)) == 20_000


def plan_of(problem, size, steps=10):
    plan = RunSpec(torch.optim.SGD, steps, {}, None, {}, None, frozenset(), throw=False)
    job = making.make_job(problem, plan, {"lr": np.geomspace(1e-5, 1e-3, size)}, None, 0)
    return recipes.make_plan(job, None, summary=False)


def test_a_store_keeps_its_blocks_whoever_goes_on(tmp_path, pool, monkeypatch):
    problem, asked = ravine.gallery.rosenbrock(), {"lr": np.geomspace(1e-5, 1e-3, 40), "steps": 5}
    store = tmp_path / "runs.zarr"
    monkeypatch.setattr(recipes.SweepPlan, "_seconds_of_a_run", lambda self: 0.05)
    ravine.sweep(problem, **asked, store=store)
    for record in list((store / ".ravine" / "ledger").iterdir())[:3]:
        record.unlink()
    (store / ".ravine" / "complete.json").unlink()
    monkeypatch.setattr(recipes.SweepPlan, "_seconds_of_a_run", lambda self: 10.0)
    there = ravine.sweep(problem, **asked, store=store, executor=pool)
    assert len(list((store / ".ravine" / "ledger").iterdir())) == 4
    xr.testing.assert_identical(there.load(), ravine.sweep(problem, **asked))


def test_a_call_is_packed_whole():
    packed = parcels.pack(lambda number: number**2)
    assert parcels.run_packed(pickle.loads(pickle.dumps(packed)), 7) == 49
    assert parcels.run_packed(packed, 3) == 9


def test_the_script_that_the_docs_show(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text()
    text = page.partition("```py\n")[2].partition("```")[0]
    (tmp_path / "mine.py").write_text(text)
    how = {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver"}
    begun = "import distributed; from multiprocessing import forkserver; forkserver.ensure_running()"  # before threads
    code = f"{begun}; import runpy; runpy.run_path({str(tmp_path / 'mine.py')!r}, run_name='__main__')"
    done = processes.run(code, cwd=tmp_path, env=how, seconds=300)
    assert done.out == "6 runs, 0 faults\n", done.err
