"""Products of layers and tanh by the compiled kernel: what they are, and that they are taken where they are torch's."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ravine
from ravine._engine import forms, network
from ravine._engine.on_batches import Trial, values_of
from ravine._kernel import layers, neuron
from ravine._problem.order import same_bits

DTYPES = [torch.float32, torch.float64]
KERNEL = neuron.load_kernel()
WIDE = KERNEL is not None and KERNEL.level == "avx512"
FASTER = KERNEL is not None and layers.is_faster(KERNEL)
TAKEN = FASTER and "MKL_CBWR" not in os.environ  # which asks MKL for another order
needs_products = pytest.mark.skipif(not WIDE, reason="no kernel for vectors of 512 bits was built")
needs_tanh = pytest.mark.skipif(
    not WIDE or layers.find_tanh(KERNEL) is None, reason="tanh by the kernel is none of torch's here"
)


@pytest.fixture(autouse=True)
def wherever_it_was_built(monkeypatch):
    """Also where torch's own is as fast, and stays."""
    monkeypatch.setattr(layers, "is_faster", lambda kernel: kernel.level == "avx512")


def normal(random, *shape, dtype=torch.float32):
    return torch.from_numpy(random.normal(size=shape)).to(dtype)


def in_turn(left, right, bias):
    """Each sum as a chain of products in their order, in float64: of float32 it hardly ever rounds."""
    found = left.new_zeros(left.shape[0], left.shape[1], right.shape[2], dtype=torch.float64)
    for k in range(left.shape[2]):
        found = torch.addcmul(found, left[:, :, k, None].double(), right[:, None, k].double()).to(left).double()
    found = found.to(left)
    return found if bias is None else found + bias[:, None]


@needs_products
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_of_any_layout(dtype, random):
    """Factors transposed and not, rows apart, one left factor for all runs, rows no multiple of the kernel's."""
    made = layers.make_layers(torch.ones(1, dtype=dtype))
    for right_transposed, left_transposed, shared, biased in itertools.product((False, True), repeat=4):
        runs, rows, terms = (int(random.integers(*each)) for each in ((1, 5), (2, 40), (8, 60)))
        columns = made.in_vector * int(random.integers(1, 4))
        assert made.takes(rows, columns, terms)
        left = normal(
            random, 1 if shared else runs, *((terms, rows) if left_transposed else (rows, terms)), dtype=dtype
        )
        left = (left.mT if left_transposed else left).expand(runs, -1, -1)
        right = normal(random, runs, *((columns, terms) if right_transposed else (terms, columns)), dtype=dtype)
        right = right.mT if right_transposed else right
        bias = normal(random, runs, columns + 3, dtype=dtype)[:, :columns] if biased else None
        whole = torch.full((runs, rows * columns + 5), torch.nan, dtype=dtype)
        out = made.multiply(left, right, whole[:, : rows * columns].view(runs, rows, columns), bias)
        expected = in_turn(left, right, bias)
        off = (out.double() - expected.double()).abs().max()
        assert off <= 4 * torch.finfo(dtype).eps * expected.abs().max()
        assert dtype == torch.float64 or (out == expected).double().mean() > 0.99
        assert whole[:, rows * columns :].isnan().all()


@needs_products
def test_what_is_no_such_product():
    made = layers.make_layers(torch.ones(1))
    assert not made.takes(5, made.in_vector + 1, 9)
    assert not made.takes(5, made.in_vector, layers.FEWEST_TERMS - 1)
    assert not made.takes(5, made.in_vector, layers.CLOSE_BYTES)
    left, right, out = torch.ones(2, 3, 8), torch.ones(2, 8, 16), torch.ones(2, 3, 16)
    for wrong in ((left.double(), right, out), (left, right[:1], out), (left, right, torch.ones(2, 16, 3).mT)):
        with pytest.raises(ValueError, match="no such product"):
            made.multiply(*wrong)
    out = torch.full((2, 3, 17), 7.0)
    with pytest.raises(ValueError, match=f"multiples of {made.in_vector} numbers, got 17"):
        made.multiply(left, torch.ones(2, 8, 17), out)
    assert out.eq(7.0).all()


@pytest.mark.skipif(not WIDE, reason="no kernel for vectors of 512 bits was built")
def test_torchs_own_stays_where_it_is_as_fast(monkeypatch):
    """It depends on the processor's maker and torch's library, and on no clock."""
    monkeypatch.undo()
    like = torch.ones(1)
    assert (layers.make_layers(like) is not None) == FASTER
    assert FASTER or layers.make_tanh(like) is None
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        by_amd = "AuthenticAMD" in processor.read_text()
        assert (by_amd and torch.backends.mkl.is_available()) == FASTER
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert layers.make_layers(like) is None
    assert layers.make_tanh(like) is None


@pytest.mark.quick
def test_without_the_kernel_there_is_neither(monkeypatch):
    monkeypatch.setenv(neuron.SWITCH, "off")
    assert layers.make_layers(torch.ones(1)) is None
    assert layers.make_tanh(torch.ones(1)) is None
    assert layers.make_tanh(torch.ones(1, dtype=torch.float64)) is None


@needs_tanh
def test_tanh_is_torchs(random):
    """Of all sizes, in rows that leave some over, infinite and no number; what lies beside the rows is left alone."""
    tanh = layers.make_tanh(torch.ones(1))
    for _ in range(40):
        rows, columns = (int(each) for each in random.integers(1, 300, 2))
        given = normal(random, rows, columns + 4) * 10.0 ** torch.from_numpy(random.uniform(-9, 2, (rows, 1))).float()
        given[random.random(given.shape) < 0.01] = float(random.choice([0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38]))
        out = torch.full((rows, columns + 7), 7.0)
        tanh(given[:, :columns], out[:, :columns])
        expected = torch.tanh(given[:, :columns].contiguous())
        same = out[:, :columns].contiguous().view(torch.int32) == expected.view(torch.int32)
        assert (same | expected.isnan()).all()
        assert out[:, columns:].eq(7.0).all()
    with pytest.raises(ValueError, match="rows of float32"):
        tanh(torch.ones(2, 2).double(), torch.ones(2, 2))


@needs_tanh
@pytest.mark.parametrize("share", [2**12, pytest.param(1, marks=pytest.mark.slow)])
def test_tanh_of_every_number(share):
    """One number in so many; with ``-m slow`` all from the smallest normal one to infinity, of both signs."""
    tanh, many = layers.make_tanh(torch.ones(1)), 2**23
    first, last = (int(torch.tensor(edge).view(torch.int32)) for edge in (torch.finfo(torch.float32).tiny, torch.inf))
    for begin in range(first, last + 1, many * share):
        bits = torch.arange(begin, min(begin + many * share, last + 1), share, dtype=torch.int32)
        given = torch.stack([bits.view(torch.float32), -bits.view(torch.float32)])
        found = torch.empty_like(given)
        tanh(given, found)
        assert torch.equal(found.view(torch.int32), torch.tanh(given).view(torch.int32)), begin


@needs_tanh
def test_tanh_in_threads(random):
    """Each has lists of its own."""
    tanh, given = layers.make_tanh(torch.ones(1)), normal(random, 4, 30, 500)
    out, expected = torch.empty_like(given), torch.tanh(given)

    def work(k):
        for _ in range(50):
            tanh(given[k], out[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(given))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert torch.equal(out, expected)


@needs_tanh
def test_a_tanh_that_is_not_torchs_is_refused(monkeypatch):
    """Were torch's own off by a unit anywhere but where it is asked itself, the trial would see it."""
    torchs = torch.tanh

    def other(given, **how):
        found = torchs(given, **how)
        return torch.where((given > 0.5) & (given < 0.501), torch.nextafter(found, torch.ones(())), found)

    assert layers.make_tanh(torch.ones(1)) is not None
    layers.find_tanh.cache_clear()
    monkeypatch.setattr(torch, "tanh", other)
    try:
        assert layers.make_tanh(torch.ones(1)) is None
    finally:
        layers.find_tanh.cache_clear()


PRODUCTS = {f"1 {what}" for what in ("forward", "inputs", "weight")}
"""Those of the hidden layer of such a network."""


def network_of(random, samples=40, activation=nn.Tanh):
    """A network all of whose hidden products the kernel takes, torch's values at some positions, and forms for it."""
    first, second, third = (nn.utils.skip_init(nn.Linear, *widths) for widths in ((3, 32), (32, 16), (16, 1)))
    model = nn.Sequential(first, activation(), second, activation(), third)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(normal(random, *parameter.shape) / parameter.shape[-1] ** 0.5)
    problem = ravine.Problem.of(model, nn.MSELoss(), (normal(random, samples, 3), normal(random, samples, 1)))
    flat = torch.cat([value.reshape(-1) for value in problem.start.values()])
    values = values_of(problem, flat[:, None] + 0.1 * normal(random, len(flat), 30))
    with torch.no_grad():
        made = network.Network(problem, [Trial(problem, values)])
        losses = torch.empty(values.count)
        gradient = made(values.position, losses)
    return made, same_bits(losses, values.loss) and same_bits(gradient, values.gradient)


def compiled_in(made):
    return {name for (_, name), how in made.forms.chosen.items() if how == forms.KERNEL}


@pytest.mark.skipif(not TAKEN, reason="torch's own products are as fast here, or have other bits")
def test_a_network_takes_the_kernel(random, monkeypatch):
    """All its hidden products, and tanh; one without tanh does not try it."""
    monkeypatch.undo()
    made, equal = network_of(random)
    assert equal
    active = {"0 activation", "1 activation"} if layers.make_tanh(torch.ones(1)) is not None else set()
    assert compiled_in(made) >= PRODUCTS | active
    assert str(made).startswith(f"{len(compiled_in(made))} operations compiled, ")
    monkeypatch.setattr(network, "make_tanh", lambda like: pytest.fail("nobody asked for tanh"))
    made, equal = network_of(random, activation=nn.ReLU)
    assert equal
    assert compiled_in(made) >= PRODUCTS


@needs_products
def test_what_is_off_in_its_last_bit_is_not_taken(random, monkeypatch):
    made, equal = network_of(random)
    assert equal
    taken = compiled_in(made) & PRODUCTS
    if not taken and not TAKEN:
        pytest.skip("products of torch's library have other bits here")
    assert taken
    multiply = layers.Layers.multiply

    def off(self, left, right, out, bias=None):
        found = multiply(self, left, right, out, bias)
        return found.copy_(torch.nextafter(found, found + 1))

    monkeypatch.setattr(layers.Layers, "multiply", off)
    other, still = network_of(random)
    assert still
    assert not compiled_in(other) & PRODUCTS
