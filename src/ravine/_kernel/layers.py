"""Products of layers and tanh by the compiled kernel, for many runs: held against torch wherever they are taken."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache

import torch

from ravine._kernel.neuron import Kernel, load_kernel

CLOSE_BYTES = 32_000
"""What the right factor of a product may take: beyond, it stays close by no more, and torch's own is as fast."""

FEWEST_TERMS = 8
"""Terms of a sum from which on it is worth it."""

TRIED = 2**20
"""Numbers at which tanh is held against torch's, evenly among all of float32 that are not as good as 0 or 1."""


class Layers:
    """What the kernel offers to layers of one dtype."""

    def __init__(self, kernel: Kernel, dtype: torch.dtype) -> None:
        self.dtype = dtype
        pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_ssize_t
        precision = {torch.float32: "float", torch.float64: "double"}[dtype]
        self.products = getattr(kernel.library, f"products_{precision}")
        right = [pointer, size, size, number]
        self.products.argtypes = [*[number] * 4, pointer, *[size] * 3, *right, pointer, size, pointer, size, pointer]
        self.products.restype = number
        self.in_vector: int = getattr(kernel.library, f"numbers_in_vector_{precision}")()

    def takes(self, rows: int, columns: int, terms: int) -> bool:
        """Tell whether a product of such matrices is one of those that are faster here."""
        close = columns * terms * self.dtype.itemsize <= CLOSE_BYTES
        return close and columns % self.in_vector == 0 and terms >= FEWEST_TERMS and rows > 1

    def multiply(
        self, left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Multiply matrices (runs, rows, terms) by others (runs, terms, columns), and add a bias (runs, columns)."""
        (runs, rows, terms), columns = left.shape, right.shape[2]
        transposed = right.stride(2) != 1
        fits = right.shape == (runs, terms, columns) and out.shape == (runs, rows, columns)
        lies = out.stride()[1:] == (columns, 1) and right.stride(1 if transposed else 2) == 1
        if bias is not None:
            fits, lies = fits and bias.shape == (runs, columns), lies and bias.stride(1) == 1
        tensors = (left, right, out) if bias is None else (left, right, out, bias)
        if not fits or not lies or any(each.dtype != self.dtype or each.device.type != "cpu" for each in tensors):
            raise ValueError(f"no such product: {[(tuple(each.shape), each.stride(), each.dtype) for each in tensors]}")
        room = out.new_empty(columns * terms if transposed else 0)  # held until the call is over
        begin = (None, 0) if bias is None else (bias.data_ptr(), bias.stride(0))
        line = right.stride(2 if transposed else 1)
        factors = (left.data_ptr(), *left.stride(), right.data_ptr(), right.stride(0), line, transposed)
        written = (out.data_ptr(), out.stride(0), room.data_ptr())
        if self.products(runs, rows, columns, terms, *factors, *begin, *written):
            raise ValueError(f"rows of a product are multiples of {self.in_vector} numbers, got {columns}")
        return out


def is_faster(kernel: Kernel) -> bool:
    """Tell whether the kernel's products and tanh are faster than torch's here.

    On AMD's processors MKL, which torch calls for both, has code for 256 bits at once, and generic code for tanh. On
    Intel's it has code for 512, and other libraries have their own: beside those the kernel was never timed, and what
    torch calls stays. No clock is asked: a sweep tells what of it was compiled, and has to tell the same again.
    """
    by_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return by_mkl and kernel.level == "avx512" and bool(kernel.library.made_by_amd())


def make_layers(like: torch.Tensor) -> Layers | None:
    """Return what the kernel offers to layers of a tensor's dtype; None where it is no faster than torch."""
    kernel = load_kernel()
    if kernel is None or like.dtype not in kernel.lanes or like.device.type != "cpu" or not is_faster(kernel):
        return None
    return Layers(kernel, like.dtype)


Tanh = Callable[[torch.Tensor, torch.Tensor], object]
"""Takes numbers (rows, columns) and where to write their tanh; numbers of a row lie side by side in both."""


def make_tanh(like: torch.Tensor) -> Tanh | None:
    """Return tanh by the kernel for a tensor's dtype; None where it is none of torch's, or no faster."""
    kernel = load_kernel()
    if kernel is None or like.dtype != torch.float32 or like.device.type != "cpu" or not is_faster(kernel):
        return None
    return find_tanh(kernel)


@cache
def find_tanh(kernel: Kernel) -> Tanh | None:
    """Return the kernel's tanh; None where it has none, or one that is not torch's.

    What a library rounds the other way only lies close to the middle between two numbers, and torch itself is asked
    for these. So a million numbers tell whether all others are torch's.
    """
    if not kernel.library.has_tanh():
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
    work, write = kernel.library.tanh_float, kernel.library.write_places_float
    work.argtypes, work.restype = [size, size, pointer, size, pointer, size, pointer, pointer], size
    write.argtypes, write.restype = [size, pointer, pointer, size, pointer, size], None
    kept = threading.local()

    def tanh(given: torch.Tensor, out: torch.Tensor) -> None:
        (rows, columns), most = given.shape, given.numel() + 16
        fits = given.shape == out.shape and given.dtype == out.dtype == torch.float32
        if not fits or given.stride(1) != 1 or out.stride(1) != 1 or most >= 2**31:
            raise ValueError(f"rows of float32 expected, got {tuple(given.shape)} of {given.dtype}")
        if getattr(kept, "lists", None) is None or len(kept.lists[0]) < most:
            kept.lists = torch.empty(most, dtype=torch.int32), torch.empty(most)
        places, doubtful = kept.lists
        where = (out.data_ptr(), out.stride(0))
        arguments = (given.data_ptr(), given.stride(0), *where, places.data_ptr(), doubtful.data_ptr())
        count = work(rows, columns, *arguments)
        found = torch.tanh(doubtful[:count])
        write(count, places.data_ptr(), found.data_ptr(), columns, *where)

    first, last = (int(torch.tensor(edge).view(torch.int32)) for edge in (2.0**-14, 10.0))
    numbers = torch.linspace(first, last, TRIED // 2, dtype=torch.float64).to(torch.int32).view(torch.float32)
    odd = torch.tensor([0.0, torch.inf, torch.nan, 1e-42, 1e-30, 20.0, 89.0, 3e38])
    numbers = torch.cat([numbers, odd])
    numbers = torch.stack([numbers, -numbers])
    found, expected = torch.empty_like(numbers), torch.tanh(numbers)
    tanh(numbers, found)
    kept.lists = None  # larger than those of most networks
    return tanh if torch.equal(found.view(torch.int32), expected.view(torch.int32)) else None
