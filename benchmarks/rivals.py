"""The strongest rival: the same 10,000 runs in JAX, written as fast as it is known how to; README.md tells more."""

from __future__ import annotations

import functools
import os

# read when JAX is first imported: one thread, no accelerator, and float64 where it is asked for
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import ravine
from loops import MSE, TARGETS, X, recorded_loop
from sweeps import MOMENTA, RATES, some_settings
from turns import Row, apart, faster, print_table

STEPS = 100
CHUNK, UNROLL = 500, 4
"""Runs at once and steps unrolled: the fastest of 250 to 10,000 runs and of 1 to 16 steps that were tried."""

COMPARED = 500
"""Runs, chosen at random, that are compared with torch bit by bit."""

Recorded = tuple[NDArray[Any], NDArray[Any]]
"""Positions (…, step, parameter, run) and losses (…, step, run)."""


def runs_at_once(rates: jax.Array, momenta: jax.Array, unroll: int = 1) -> Any:
    """Make these runs with one scan over the steps, vectorised over the runs; the last position has its loss too."""
    x, y = jnp.asarray(X, rates.dtype), jnp.asarray(TARGETS[:, 0].numpy(), rates.dtype)
    start, still = jnp.array([6.0, -3.0], rates.dtype), jnp.zeros(2, rates.dtype)
    loss_and_gradient = jax.value_and_grad(lambda p: jnp.mean((p[0] * x + p[1] - y) ** 2))

    def run(rate: jax.Array, momentum: jax.Array) -> Any:
        def step(state: Any, _: None) -> Any:
            position, velocity = state
            loss, gradient = loss_and_gradient(position)
            velocity = momentum * velocity + gradient
            return (position - rate * velocity, velocity), (position, loss)

        return jax.lax.scan(step, (start, still), None, length=STEPS + 1, unroll=unroll)[1]

    return jax.vmap(run, out_axes=-1)(rates, momenta)  # runs last: half the time of runs first


def runs_in_chunks(rates: jax.Array, momenta: jax.Array) -> Any:
    """Make the runs chunk by chunk: what a core works on stays near it."""
    chunks = rates.reshape(-1, CHUNK), momenta.reshape(-1, CHUNK)
    return jax.lax.map(lambda chunk: runs_at_once(*chunk, unroll=UNROLL), chunks)


def called(compiled: Callable[[jax.Array, jax.Array], Any], dtype: torch.dtype) -> Recorded:
    """Call a function of the sweep's settings and wait for its numbers."""
    kind = np.float32 if dtype == torch.float32 else np.float64
    rates, momenta = (each.ravel().astype(kind) for each in np.meshgrid(RATES, MOMENTA, indexing="ij"))
    position, loss = jax.block_until_ready(compiled(jnp.asarray(rates), jnp.asarray(momenta)))
    return np.asarray(position), np.asarray(loss)


def compiled_anew(dtype: torch.dtype) -> Recorded:
    """Trace, compile and call, as the first call in a process does."""
    jax.clear_caches()
    return called(jax.jit(runs_in_chunks), dtype)


def ours(dtype: torch.dtype) -> xr.Dataset:
    problem = MSE if dtype == torch.float32 else MSE.in_double()
    return ravine.sweep(problem, steps=STEPS, lr=RATES, momentum=MOMENTA)


def as_runs(recorded: Recorded) -> Recorded:
    """Put what JAX recorded into ravine's order: (run, step, parameter) and (run, step)."""
    position, loss = (each if each.shape[-1] != CHUNK else np.concatenate(each, axis=-1) for each in recorded)
    return np.moveaxis(position, -1, 0), np.moveaxis(loss, -1, 0)


def check(theirs: Callable[[], Recorded], dtype: torch.dtype) -> None:
    """Raise where any run of JAX's is not ravine's but for rounding."""
    runs, (position, loss) = ours(dtype), as_runs(theirs())
    one, other = runs.position.values.reshape(position.shape), runs.loss.values.reshape(loss.shape)
    furthest = max(max(apart(*pair) for pair in zip(position, one, strict=True)), apart(loss, other))
    if furthest > 500 * torch.finfo(dtype).eps:
        raise AssertionError(f"JAX is {furthest:.1e} off")


def row(name: str, theirs: Callable[[torch.dtype], Recorded], dtype: torch.dtype = torch.float32) -> Row:
    made = functools.partial(theirs, dtype)
    return Row(name, functools.partial(ours, dtype), made, faster(), lambda: check(made, dtype), equal="closely")


def told_by_bits(dtype: torch.dtype) -> str:
    """Say how many runs are torch's in every bit."""
    runs, (position, loss) = ours(dtype), as_runs(called(jax.jit(runs_in_chunks), dtype))
    places = {key: runs.get_index(key) for key in ("lr", "momentum")}
    equal, furthest = {"ravine": 0, "JAX": 0}, 0.0
    for settings in some_settings(COMPARED):
        lr, momentum = (places[key].get_loc(settings[key]) for key in ("lr", "momentum"))
        losses, positions = recorded_loop(STEPS, dtype, **settings)
        truth = np.column_stack([positions, losses])
        run = runs.isel(lr=lr, momentum=momentum)
        theirs = np.column_stack([position[lr * len(MOMENTA) + momentum], loss[lr * len(MOMENTA) + momentum]])
        equal["ravine"] += np.array_equal(np.column_stack([run.position, run.loss]), truth)
        equal["JAX"] += np.array_equal(theirs, truth)
        furthest = max(furthest, apart(theirs, truth))
    counts = " and ".join(f"{count} of {name}'s" for name, count in equal.items())
    of, furthest_off = f"Of {COMPARED} runs in {str(dtype).partition('.')[2]}", f"JAX's are at most {furthest:.1e} off"
    return f"{of} {counts} are torch's in every bit; {furthest_off}."


def main() -> None:
    torch.set_num_threads(1)
    plain, chunks = jax.jit(runs_at_once), jax.jit(runs_in_chunks)
    rows = [
        row("jax", lambda dtype: called(chunks, dtype)),
        row("jax-double", lambda dtype: called(chunks, dtype), torch.float64),
        row("jax-plain", lambda dtype: called(plain, dtype)),
        row("jax-plain-double", lambda dtype: called(plain, dtype), torch.float64),
        row("jax-compiled", compiled_anew),
    ]
    print_table(rows)
    for dtype in (torch.float32, torch.float64):
        print(told_by_bits(dtype))


if __name__ == "__main__":
    main()
