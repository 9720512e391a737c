"""Three HU windows as the three channels of a picture (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def to_channels(voxels_hu: NDArray[np.float32], windows_hu: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Clip to each window and scale it to 0..1.

    Parameters
    ----------
    voxels_hu
        ``[S, H, W]`` in HU.
    windows_hu
        Lower and upper bound of each of the M windows.

    Returns
    -------
    NDArray[np.float32]
        ``[S, M, H, W]`` in 0..1.

    Raises
    ------
    ValueError
        If a window is empty: a programming error, as specs are checked when they are read.
    """
    channels = np.empty((len(voxels_hu), len(windows_hu), *voxels_hu.shape[1:]), dtype=np.float32)
    for index, (lower, upper) in enumerate(windows_hu):
        if not lower < upper:
            raise ValueError(f"window {lower}..{upper} HU is empty")
        channel = channels[:, index]
        np.subtract(voxels_hu, np.float32(lower), out=channel)
        channel *= np.float32(1.0 / (upper - lower))
        np.clip(channel, 0.0, 1.0, out=channel)
    return channels
