"""A volume in shared memory, for the compute worker: made here, unlinked here."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from types import TracebackType

import numpy as np

from engine.errors import InferenceError
from engine.geometry import Volume


class SharedVolume:
    """The voxels of a volume in a block that another process can map; a context manager that removes the block.

    Raises
    ------
    InferenceError
        If the system has no room for the block.
    """

    def __init__(self, volume: Volume) -> None:
        voxels = volume.voxels
        try:
            self._memory = SharedMemory(create=True, size=voxels.nbytes)
        except OSError as error:
            raise InferenceError(
                f"There is no shared memory for {voxels.nbytes / 2**20:.0f} MiB of voxels; nothing was analysed.",
                hint="Close other programs, or give the system more shared memory (/dev/shm).",
                code="compute.no_shared_memory",
                kind="environment",
            ) from error
        np.ndarray(voxels.shape, dtype=voxels.dtype, buffer=self._memory.buf)[...] = voxels
        self.name = self._memory.name

    def __enter__(self) -> SharedVolume:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._memory.close()
        self._memory.unlink()
