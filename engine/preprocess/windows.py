"""HU windows as the channels of a picture (paper, section 3.1), or of a whole volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.preprocess.spec import PreprocessSpec

HIGHEST_HU = 3071.0
"""Upper end of the 12-bit CT scale. What reaches beyond it is metal; a volume's own range ends here, so that one
implant on an extended scale does not press the whole head into its first hundredths."""


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
        _scale(voxels_hu, lower, upper, channels[:, index])
    return channels


def to_volume(voxels_hu: NDArray[np.float32], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Make the one picture that a network of whole volumes reads.

    Parameters
    ----------
    voxels_hu
        ``[S, H, W]`` in HU: a whole prepared volume.
    spec
        Its windows, and whether the volume's own range follows them: there the lowest value is 0, the highest, at most
        `HIGHEST_HU`, is 1, and a volume of one value is 0.

    Returns
    -------
    NDArray[np.float32]
        ``[M, S, H, W]`` in 0..1.
    """
    channels = np.zeros((spec.n_channels, *voxels_hu.shape), dtype=np.float32)
    for channel, (lower, upper) in zip(channels, spec.windows_hu, strict=False):
        _scale(voxels_hu, lower, upper, channel)
    lowest, highest = float(voxels_hu.min()), min(float(voxels_hu.max()), HIGHEST_HU)
    if spec.min_max and lowest < highest:
        _scale(voxels_hu, lowest, highest, channels[-1])
    return channels


def _scale(voxels_hu: NDArray[np.float32], lower: float, upper: float, channel: NDArray[np.float32]) -> None:
    """Write 0 at `lower` to 1 at `upper` into a channel, clipped."""
    np.subtract(voxels_hu, np.float32(lower), out=channel)
    channel *= np.float32(1.0 / (upper - lower))
    np.clip(channel, 0.0, 1.0, out=channel)
