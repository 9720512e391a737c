"""How much memory one slice takes on its way through the backbone, and how many fit into what is free."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.inference.compute import Computing
from engine.inference.openvino_runtime import is_installed

# Four slices at once are fastest on a CPU: their activations stay in the cache. A GPU is busy with 64.
_LIMITS = {"cpu": 4, "cuda": 64, "mps": 16}
_SHARES = {"cpu": 0.5, "cuda": 0.8, "mps": 0.5}
"""Of the free memory: a CPU's belongs to other programs too, and libraries need workspace that is no tensor."""

_HANDED_BACK_FROM = 256 * 1024
_ARENAS = 2
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Numbers of glibc's ``mallopt``."""


def hand_back_large_blocks() -> bool:
    """Let the C library give every large block back to the system as soon as it is free; True where it can.

    glibc keeps freed blocks for later, in a heap that gets holes: the process then holds up to twice what tensors hold
    at their peak. Given back, a block costs its pages anew each time. That is little beside a transformer's
    arithmetic, and OpenVINO keeps its memory itself; a small convolutional network in torch would take 1.8 times as
    long, so this is not for it (docs/adr/0018). Only with glibc, for the whole process, and not undone.
    """
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_M_ARENA_MAX, _ARENAS)) and bool(libc.mallopt(_M_MMAP_THRESHOLD, _HANDED_BACK_FROM))


def hand_back_for_runtime(device: torch.device, how: Computing) -> None:
    """Hand large blocks back from before the weights are read, where OpenVINO is going to compute."""
    if device.type == "cpu" and how.precision != "bfloat16" and how.cpu_runtime != "torch" and is_installed():
        hand_back_large_blocks()


def hand_back_free_memory() -> None:
    """Give back what is free now, as after loading weights; nothing happens without glibc."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def batch_limit(device: torch.device) -> int:
    """Return the largest batch that is worth its memory on this kind of device."""
    return _LIMITS.get(device.type, 1)


def batch_that_fits(slice_bytes: int, free: int, limit: int) -> int:
    """Return how many slices go through the backbone at once: a power of two, at least 1, at most `limit`.

    A batch of another size can change the last bits of the features: libraries choose their kernels, and with them
    the order of their sums, by shape. Only powers of two are taken, and few, so that the size is nearly always
    the limit, and a little more or less of free memory changes nothing; where memory is so short that the batch
    shrinks, features agree with those of the larger batch to rounding, not to the bit.
    """
    fitting = max(1, min(limit, free // max(1, slice_bytes)))
    return 1 << (int(fitting).bit_length() - 1)


def free_bytes(device: torch.device) -> int:
    """Return the memory that a batch may take on the device now: the share of the free memory that we allow us."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        # What torch holds and does not use is ours as well.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    elif device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    else:
        free = psutil.virtual_memory().available
    return int(free * _SHARES.get(device.type, 0.5))


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the most memory that tensors made by `work` held at one moment, in bytes.

    On CUDA the allocator's own count, workspaces included; elsewhere the storages that torch's operators return, each
    counted from its making to its end. What a library takes besides its results does not show there.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with _counting() as count:
        work()
    return count.peak


class _StorageCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of live storages that operators return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _address(leaf) not in known:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, n_bytes = storage.data_ptr(), storage.nbytes()
        if address in self._seen:
            return
        self._seen.add(address)
        self._live += n_bytes
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._remove, address, n_bytes)

    def _remove(self, address: int, n_bytes: int) -> None:
        self._seen.discard(address)
        self._live -= n_bytes


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextmanager
def _counting() -> Iterator[_StorageCount]:
    count = _StorageCount()
    with count:
        yield count
