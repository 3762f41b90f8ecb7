"""Tensors made of what people have and brought back as arrays; torch's global state, changed and put back."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from ravine._format import kind_of
from ravine._system import process_state


def copied(value: Any) -> torch.Tensor:
    """Return a tensor of its own from numbers, an array, a table or a tensor."""
    if hasattr(value, "__array__") and not torch.is_tensor(value):
        array = np.array(value)  # a copy first: torch warns of arrays that cannot be written to
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    return torch.as_tensor(value).detach().clone()


def numpy_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor's numbers as an array."""
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16; float32 holds each of its values
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def as_data(name: str, value: Any) -> torch.Tensor:
    """Return a copy of an array, a table or a tensor, or say what is wrong with it."""
    if value is None or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be an array, a table or a tensor, got {kind_of(value)}")
    value = _numeric(name, value)
    try:
        tensor = copied(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(f"{name} are no array or tensor: {reason}") from None
    if tensor.numel() == 0:
        raise ValueError(f"{name} are empty: shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        place = tuple(int(i) for i in (~torch.isfinite(tensor)).nonzero()[0])
        raise ValueError(f"{name} hold {tensor[place].item()} at {list(place)}: remove or fill such values first")
    return tensor


def _numeric(name: str, value: Any) -> Any:
    """Return a table of mixed kinds of numbers as one array; name a column that holds none."""
    if not (hasattr(value, "iloc") and hasattr(value, "to_numpy")):
        return value
    for label, column in value.items() if hasattr(value, "columns") else [(value.name, value)]:
        if column.dtype.kind not in "biuf":
            where = name if label is None else f"column {label!r} of the {name}"
            raise ValueError(
                f"{where} holds {column.dtype}, expected numbers: leave it out, or turn it into numbers, as "
                "pandas.get_dummies(table) does with words"
            )
        if column.isna().any():
            where = name if label is None else f"column {label!r} of the {name}"
            raise ValueError(
                f"{where} has gaps in {int(column.isna().sum())} rows: remove or fill these first (dropna())"
            )
    plain = value.to_numpy()
    return plain if plain.dtype.kind in "biuf" else value.to_numpy(dtype=np.float64)


@contextmanager
def one_thread() -> Iterator[None]:
    """Work in one thread: at this size a second one gains nothing and can cost tenfold under load.

    No other thread of the process is in such work meanwhile.
    """
    with _torch_state():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def fork_random_state(devices: Sequence[int] | None = None) -> Iterator[None]:
    """Put torch's random state back afterwards; no other thread of the process draws or sets it meanwhile."""
    with _torch_state(), torch.random.fork_rng(devices=devices):
        yield


def set_seed(seed: int) -> None:
    """Seed torch's generators as `torch.manual_seed` does, and some hundred times as fast where there is a CPU alone.

    `torch.manual_seed` keeps each call, and the stack that led to it, for kinds of device that nothing has used yet.
    """
    devices = (torch.cuda, torch.xpu, torch.mtia)
    if torch.backends.mps.is_available() or _own_backend() or any(each.device_count() for each in devices):
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _own_backend() -> bool:
    """Whether a backend from outside torch has been registered."""
    return hasattr(torch, torch._C._get_privateuse1_backend_name())


_known = threading.local()


@contextmanager
def _torch_state() -> Iterator[None]:
    """Be the only thread that changes torch's global state.

    A thread takes over the number of threads when it first works in parallel: should that be while another is in
    `one_thread`, it would take over that 1, keep it, and hand it on. So a thread that is new here asks, while nobody
    else can be at it, how many a still newer one would take over.
    """
    with process_state():
        if not getattr(_known, "here", False):
            _known.here = True
            if threading.current_thread() is not threading.main_thread() and torch.get_num_threads() == 1:
                found: list[int] = []
                asked = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
                asked.start()
                asked.join()
                torch.set_num_threads(found[0])
        yield


Call = TypeVar("Call", bound=Callable[..., Any])


def with_gradients(call: Call) -> Call:
    """Let a function differentiate wherever it is called, under `torch.no_grad` and `torch.inference_mode` too."""

    @functools.wraps(call)
    def inner(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():  # to leave what was never entered costs each operation a little
            with torch.enable_grad():
                return call(*args, **kwargs)
        with torch.inference_mode(False), torch.enable_grad():
            return call(*args, **kwargs)

    return cast(Call, inner)


def is_plain(module: torch.nn.Module) -> bool:
    """Tell whether a module does what its class does and no more: it has no hooks, and no `forward` of its own.

    Where torch has hooks on all modules none is: any of them may give another output.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 1)
    >>> is_plain(layer), layer.register_forward_hook(print) is None, is_plain(layer)
    (True, False, False)
    """
    forwards, backwards = module._forward_hooks, module._backward_hooks
    hooks = (module._forward_pre_hooks, forwards, module._backward_pre_hooks, backwards)
    return not any(hooks) and "forward" not in vars(module) and not has_global_hooks()


def has_global_hooks() -> bool:
    """Tell whether torch calls a hook with each module, as `register_module_forward_hook` hangs one onto all.

    Examples
    --------
    >>> from torch.nn.modules.module import register_module_forward_hook
    >>> handle = register_module_forward_hook(lambda module, inputs, output: 2 * output)
    >>> has_global_hooks(), handle.remove(), has_global_hooks()
    (True, None, False)
    """
    return bool(torch.nn.modules.module._has_any_global_hook())  # type: ignore[no-untyped-call]


def has_optimizer_hooks() -> bool:
    """Tell whether torch calls a hook at all optimizers' steps, which `register_optimizer_step_pre_hook` hangs on.

    Examples
    --------
    >>> from torch.optim.optimizer import register_optimizer_step_pre_hook
    >>> handle = register_optimizer_step_pre_hook(print)
    >>> has_optimizer_hooks(), handle.remove(), has_optimizer_hooks()
    (True, None, False)
    """
    return bool(_global_optimizer_pre_hooks or _global_optimizer_post_hooks)


def numeric_switches() -> tuple[object, ...]:
    """Return how torch's switches stand on which the bits of sums and products may hang."""
    flushes = not float(torch.tensor(1e-40) * 1)  # of this one torch tells nothing
    precise = torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled
    return (*precise, torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"), flushes)


def plain_type(module: Any) -> type | None:
    """Return the class of a module that does what its class does and no more; of anything else nothing is known.

    Examples
    --------
    >>> criterion = torch.nn.MSELoss()
    >>> plain_type(criterion) is torch.nn.MSELoss, plain_type(torch.nn.functional.mse_loss)
    (True, None)
    >>> handle = criterion.register_forward_hook(lambda module, inputs, loss: 2 * loss)
    >>> plain_type(criterion)
    """
    return type(module) if isinstance(module, torch.nn.Module) and is_plain(module) else None


def call_with(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], args: tuple[Any, ...], kwargs: Any = None
) -> Any:
    """Call a module with other parameters and buffers in the place of its own, and leave it as it was.

    `torch.func.functional_call` puts a tensor back twice over where one module stands at two places of another, and
    so leaves the second time what it was called with; here each module is looked at once.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> twice = torch.nn.Sequential(layer, layer)
    >>> call_with(twice, {"0.weight": torch.tensor([[3.0]])}, (torch.tensor([[2.0]]),)), type(layer.weight).__name__
    (tensor([[18.]]), 'Parameter')
    """
    names: dict[int, list[str]] = {}
    for place, each in module.named_modules():
        for own in (each._parameters, each._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    names.setdefault(id(tensor), []).append(f"{place}.{name}" if place else name)
    tied = {
        other: tensors[name]
        for alike in names.values()
        for name in alike
        if name in tensors
        for other in alike
        if other not in tensors
    }
    return torch.func.functional_call(module, {**tensors, **tied}, args, kwargs, tie_weights=False)


KEPT = (32 << 20) - (64 << 10)
"""Bytes of the largest block from which glibc learns; its own limit is 32 MB."""


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep what tensors free: else it gives it back, and takes it anew, page by page, at each call.

    glibc learns from the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD): one that nobody wrote into
    costs nothing, and tells it to keep up to 64 MB. The evaluation of a small convolutional network then takes a third
    less time. Other libraries do not mind.
    """
    torch.empty(KEPT, dtype=torch.uint8, device="cpu")


ALIGNED_BYTES = 64
"""Where torch begins the memory of its tensors: at the lines of a cache."""


def make_room(like: torch.Tensor, *wanted: tuple[tuple[int, ...], torch.dtype]) -> list[torch.Tensor]:
    """Return tensors of these shapes and dtypes, on the device of another one, whose numbers are still to be written.

    On the processor they are parts of one array of numpy, which asks the system for large pages (madvise(2),
    MADV_HUGEPAGE) where torch does not, as long as what is freed of them stays with the process: fresh from the system,
    large pages cost several times as much on virtual machines that give free memory back.

    Examples
    --------
    >>> one, other = make_room(torch.zeros(1), ((3, 2), torch.float32), ((5,), torch.int64))
    >>> one.shape, other.shape, other.dtype
    (torch.Size([3, 2]), torch.Size([5]), torch.int64)
    """
    bytes_of = [math.prod(shape) * dtype.itemsize for shape, dtype in wanted]
    if like.device.type != "cpu" or sum(bytes_of) > KEPT:
        return [like.new_empty(shape, dtype=dtype) for shape, dtype in wanted]
    lines = [-(-size // ALIGNED_BYTES) * ALIGNED_BYTES for size in bytes_of]
    held = np.empty(sum(lines) + ALIGNED_BYTES, dtype=np.uint8)
    begin, found = -held.ctypes.data % ALIGNED_BYTES, list[torch.Tensor]()
    for (shape, dtype), size, line in zip(wanted, bytes_of, lines, strict=True):
        found.append(torch.from_numpy(held[begin : begin + size]).view(dtype).reshape(shape))
        begin += line
    return found
