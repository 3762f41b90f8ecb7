"""The state that one checkpoint holds: its tensors by name, read when they are asked for, and what it counts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ravine._format import listed
from ravine._problem.state_names import groups_in

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
"""Endings of files that `torch.save` writes."""

SAFE = ".safetensors"

SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files of a Hugging Face folder that say which tensor lies in which of several files."""

WHOLE = ("model.safetensors", "pytorch_model.bin")
"""Files of a Hugging Face folder that hold all tensors."""

COUNTERS = {
    "step": ("global_step", "step", "steps", "iteration", "iter", "global_steps"),
    "epoch": ("epoch",),
}
"""What training loops call their counters."""


@dataclass(frozen=True)
class State:
    """Tensors by name under the name that the file has for them all ("" where it has none), and its counters."""

    groups: Mapping[str, Mapping[str, Tensor]]
    counted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file: what is known of it without reading it, and how it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


def read_state(path: Path) -> State:
    """Find the tensors of a checkpoint, without reading them: they are mapped into memory.

    Nothing in a file is executed: pickles are read with ``weights_only=True``.

    Raises
    ------
    ValueError
        If it is no checkpoint, is cut off, or holds what torch does not load so.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == SAFE:
        return _read_safetensors(path)
    if path.suffix in PICKLED:
        return _read_pickled(path)
    raise ValueError(
        f"{path} is no checkpoint: a file that ends in {listed((*PICKLED, SAFE))}, or a Hugging Face folder is "
        "expected; give a pattern that matches these alone"
    )


def _read_folder(folder: Path) -> State:
    for name in SHARDS:
        if (folder / name).is_file():
            return _with_trainer_state(folder, _read_shards(folder / name))
    for name in WHOLE:
        if (folder / name).is_file():
            return _with_trainer_state(folder, read_state(folder / name))
    if (folder / ".metadata").is_file():
        raise ValueError(
            f"{folder} is a distributed checkpoint: make one file of it first, with "
            "torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        )
    inside = sorted(each.name for each in folder.iterdir())
    raise ValueError(
        f"{folder} holds none of {listed((*WHOLE, *SHARDS))}, but {listed(inside, 4)}: give a pattern that matches the "
        f"checkpoints themselves, as in '{folder}/checkpoint-*'"
    )


def _with_trainer_state(folder: Path, state: State) -> State:
    try:
        told = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        return State(state.groups, {"step": int(told["global_step"])})
    except (OSError, ValueError, KeyError, TypeError):  # a model that was saved without its trainer
        return state


def _read_shards(index: Path) -> State:
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(where.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
        raise ValueError(f"{index} is no index of shards that can be read: {reason!r}") from None
    found: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{index} names {name!r}, which does not lie beside it")
        if not (index.parent / name).is_file():
            raise ValueError(f"{index.parent / name} is missing, and {index.name} says that tensors lie there")
        for group in read_state(index.parent / name).groups.values():
            found |= group
    if lacking := sorted(where.keys() - found.keys()):
        raise ValueError(f"{index} says that {lacking[0]!r} lies in {where[lacking[0]]}, and it does not")
    return State({"": found})


def _read_safetensors(path: Path) -> State:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ImportError(f"{path} is read by the package safetensors: pip install 'ravine[safetensors]'") from None
    try:
        file: Any = safe_open(path, framework="pt")
        names = list(file.keys())
        metadata = file.metadata() or {}
        found = {name: _safe_tensor(path, file, name) for name in names}
    except (SafetensorError, OSError) as reason:
        raise ValueError(f"{path} is corrupt or cut off: {reason}") from None
    return State({"": found}, _counters({name: int(each) for name, each in metadata.items() if each.isdecimal()}))


def _safe_tensor(path: Path, file: Any, name: str) -> Tensor:
    told = file.get_slice(name)
    kind = told.get_dtype()
    if kind not in SAFE_DTYPES:
        raise ValueError(f"{path} holds {name!r} as {kind}, which is no number that torch computes with")
    return Tensor(tuple(told.get_shape()), SAFE_DTYPES[kind], lambda: file.get_tensor(name))


SAFE_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
"""Names of dtypes in the format to torch's."""


def _read_pickled(path: Path) -> State:
    with path.open("rb") as file:
        begun = file.read(2)
    if not begun:
        raise ValueError(f"{path} is empty: the checkpoint was never written")
    try:
        # files of torch before 1.6 are no archives, and cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=begun == b"PK")
    except pickle.UnpicklingError as reason:
        said = _last_sentences(str(reason))
        if "Unsupported" in said:
            raise ValueError(
                f"{path} holds more than tensors and numbers, and is loaded with weights_only=True alone: {said}"
            ) from None
        raise ValueError(f"{path} is corrupt, or no state that torch saved: {said}") from None
    except Exception as reason:  # of what is no pickle torch raises any kind
        said = str(reason).partition(". ")[0] if isinstance(reason, RuntimeError) else "its pickle cannot be read"
        raise ValueError(f"{path} is corrupt, or no state that torch saved: {said}") from None
    groups = {
        name: {own: _loaded(each) for own, each in mapping.items() if torch.is_tensor(each)}
        for name, mapping in groups_in("", content)
    }
    return State(groups, _counters(content if isinstance(content, Mapping) else {}))


def _loaded(tensor: torch.Tensor) -> Tensor:
    return Tensor(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def _last_sentences(text: str) -> str:
    """Return what torch says of the file itself, behind what it says of pickles."""
    said = text.partition("WeightsUnpickler error: ")[2] or text
    return " ".join(said.partition("\n\n")[0].split()).partition(" Check the documentation")[0].rstrip(".")


def _counters(content: Mapping[Any, Any]) -> dict[str, int]:
    found = {}
    for kind, names in COUNTERS.items():
        told = [content[name] for name in names if type(content.get(name)) is int]
        if told:
            found[kind] = told[0]
    return found
