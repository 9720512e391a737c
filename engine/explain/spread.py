"""Between a grid of feature positions and the pixels of a prepared slice, without gaining or losing anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def hat_weights(cells: int, pixels: int) -> FloatArray:
    """Return (pixels, cells): the share of each cell that each pixel gets, linear between the cells' centres.

    Every column sums to 1, so that a quantity keeps its sum; equal cells become even pixels.
    """
    centres = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    distance = np.abs(np.clip(centres, 0, cells - 1)[:, None] - np.arange(cells)[None, :])
    weights = np.clip(1.0 - distance, 0.0, None)
    if pixels < cells:
        # Fewer pixels than cells: a hat may fall between two pixels, so the nearest takes all of it.
        weights = (np.arange(cells) * pixels // cells == np.arange(pixels)[:, None]).astype(np.float64)
    return np.asarray(weights / weights.sum(axis=0, keepdims=True), dtype=np.float64)


def spread(grid: NDArray[np.floating], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Draw amounts at positions (..., h, w) as amounts per pixel (..., H, W); sums are kept."""
    rows = hat_weights(grid.shape[-2], size_px[0])
    columns = hat_weights(grid.shape[-1], size_px[1])
    return np.asarray(rows @ np.asarray(grid, dtype=np.float64) @ columns.T, dtype=np.float32)


def slice_share(grid: NDArray[np.floating], slice_index: int, n_slices: int) -> FloatArray:
    """Take of a volume's grid (..., s, h, w) what falls on one of its prepared slices: (..., h, w).

    Over all prepared slices these sum to the grid.
    """
    weights_S = hat_weights(grid.shape[-3], n_slices)[slice_index]
    return np.asarray(np.tensordot(np.asarray(grid, dtype=np.float64), weights_S, axes=(-3, 0)), dtype=np.float64)


def patch_sums(values: NDArray[np.floating], patch_px: int) -> NDArray[np.float32]:
    """Sum pixels (H, W) over square patches; those at the far edges are smaller."""
    rows = np.arange(0, values.shape[0], patch_px)
    columns = np.arange(0, values.shape[1], patch_px)
    sums = np.add.reduceat(np.add.reduceat(np.asarray(values, dtype=np.float64), rows, axis=0), columns, axis=1)
    return np.asarray(sums, dtype=np.float32)
