"""Published checkpoint files: names and shapes at once, tensors one at a time. Nothing in a file is ever run.

Torch is imported when a file is opened.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import PackageError
from engine.models.backbones.conversion import Shapes

if TYPE_CHECKING:
    from torch import Tensor

INDEX_SUFFIX = ".index.json"
_LENGTH_BYTES = 8
_MAX_HEADER = 100 * 2**20
_WRAPPERS = ("state_dict", "model", "model_state_dict", "teacher", "module")
"""Under these keys published `.pth` files keep their tensors, when they keep them under one."""


@dataclass(frozen=True)
class Checkpoint:
    """An open file: shapes and dtypes (as safetensors names them, such as ``BF16``) by name, and a reader."""

    shapes: Shapes
    dtypes: Mapping[str, str]
    read: Callable[[str], Tensor]


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open safetensors (one file, or the index of several), or a torch file with tensors only.

    The content decides what a file is, not its name. Tensors are mapped from the disk, not read into memory, except
    from torch files older than 2020.

    Raises
    ------
    PackageError
        If it cannot be read, is of another kind, or holds anything but tensors.
    """
    try:
        with ExitStack() as stack:
            yield _open(path, stack)
    except OSError as error:
        raise unreadable(path, error.strerror or type(error).__name__) from error


def sources(path: Path) -> tuple[Path, ...]:
    """Return the files that a checkpoint consists of: itself, or those that an index names, with the index first.

    Raises
    ------
    PackageError
        If an index cannot be read, or names a file outside its own folder.
    """
    if not path.name.endswith(INDEX_SUFFIX):
        return (path,)
    try:
        shards = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    except OSError as error:
        raise unreadable(path, error.strerror or type(error).__name__) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, "it is not an index of safetensors files") from error
    if not shards or any(not isinstance(name, str) or Path(name).name != name for name in shards):
        raise unreadable(path, "it names files outside its folder, or none")
    return (path, *(path.parent / name for name in shards))


def _open(path: Path, stack: ExitStack) -> Checkpoint:
    files = sources(path)
    if len(files) == 1:
        return _safetensors(path, stack) if _is_safetensors(path) else _torch_file(path)
    parts = [_safetensors(file, stack) for file in files[1:]]
    owner = {name: part for part in parts for name in part.shapes}
    return Checkpoint(
        shapes={name: part.shapes[name] for name, part in owner.items()},
        dtypes={name: part.dtypes[name] for name, part in owner.items()},
        read=lambda name: owner[name].read(name),
    )


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins with a length and a JSON object, as no torch file does."""
    with path.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES + 1)
    return start[_LENGTH_BYTES:] == b"{" and int.from_bytes(start[:_LENGTH_BYTES], "little") <= _MAX_HEADER


def _safetensors(path: Path, stack: ExitStack) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = stack.enter_context(safe_open(path, framework="pt"))
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise unreadable(path, "it is a damaged or unfinished safetensors file") from error
    shapes = {name: tuple(item.get_shape()) for name, item in slices.items()}
    return Checkpoint(shapes, {name: item.get_dtype() for name, item in slices.items()}, file.get_tensor)


def _torch_file(path: Path) -> Checkpoint:
    import torch

    try:
        # Only the ZIP form that torch has written since 1.6 can be mapped; an older one is read into memory.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise unreadable(path, "it holds more than tensors, or is no checkpoint; nothing of it was run") from error
    except (EOFError, RuntimeError, ValueError, KeyError) as error:
        raise unreadable(path, "it is damaged, cut off, or no checkpoint") from error
    tensors = _tensors(content, path)
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    unknown = sorted(name for name, tensor in tensors.items() if tensor.dtype not in names)
    if unknown:
        raise unreadable(path, f"{unknown[0]} is {tensors[unknown[0]].dtype}, which is no type for weights")
    return Checkpoint(
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        dtypes={name: names[tensor.dtype] for name, tensor in tensors.items()},
        read=tensors.__getitem__,
    )


def _tensors(content: object, path: Path) -> Mapping[str, Tensor]:
    """Find the tensors in what a torch file held: at the top, or under one of the usual keys."""
    import torch

    candidates = [content, *(content.get(key) for key in _WRAPPERS if isinstance(content, dict))]
    for candidate in candidates:
        if not isinstance(candidate, dict) or not candidate:
            continue
        if all(isinstance(name, str) and isinstance(item, torch.Tensor) for name, item in candidate.items()):
            return candidate
    raise unreadable(path, f"it holds no tensors by name, neither at its top nor under {', '.join(_WRAPPERS)}")


def n_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the size of a tensor in bytes."""
    return math.prod(shape) * {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}[dtype]


def unreadable(path: Path, reason: str) -> PackageError:
    """Return the error for a published file that cannot be used."""
    return PackageError(
        f"The checkpoint {path} cannot be used: {reason}.",
        hint="Get the file again from where it was published; nothing was converted.",
        code="backbone.checkpoint",
    )
