"""Tensors made of what people have and brought back as arrays; work in one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def copied(value: Any) -> torch.Tensor:
    """Return a tensor of its own from numbers, an array, a table or a tensor."""
    if hasattr(value, "__array__") and not torch.is_tensor(value):
        return torch.from_numpy(np.array(value))  # a copy first: torch warns of arrays that cannot be written to
    return torch.as_tensor(value).detach().clone()


def numpy_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor's numbers as an array."""
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16; float32 holds each of its values
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def as_data(name: str, value: Any) -> torch.Tensor:
    """Return a copy of an array or tensor, or say what is wrong with it."""
    try:
        tensor = copied(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(f"{name} are no array or tensor: {reason}") from None
    if tensor.ndim == 0 or tensor.shape[0] == 0:
        raise ValueError(f"{name} are empty: shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        place = tuple(int(i) for i in (~torch.isfinite(tensor)).nonzero()[0])
        raise ValueError(f"{name} hold {tensor[place].item()} at {list(place)}: remove or fill such values first")
    return tensor


@contextmanager
def one_thread() -> Iterator[None]:
    """Work in one thread: at this size a second one gains nothing and can cost tenfold under load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
