"""Reading a volume at moved places: matrix and field in one interpolation.

Legend: S slice, H row, W column.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.preprocess.spec import AIR_HU


def warped(
    volume_SHW: Tensor,
    spacing_mm: tuple[float, float, float],
    matrix: NDArray[np.float64],
    field_3SHW: Tensor | None = None,
) -> Tensor:
    """Return the volume as seen through a transform about its centre; outside of it there is air.

    Parameters
    ----------
    volume_SHW
        float32, in HU.
    spacing_mm
        Distances between slices, rows and columns.
    matrix
        3 × 3, millimetres: where a place of the old volume comes to lie. It is inverted here.
    field_3SHW
        Added in millimetres to where the new volume reads; None adds nothing.
    """
    # As with the matrix: what stands at q in the result is read at inverse(matrix) · q + field.
    inverse = torch.from_numpy(np.linalg.inv(matrix)).to(volume_SHW)
    axes = [
        (torch.arange(n, device=volume_SHW.device, dtype=volume_SHW.dtype) - (n - 1) / 2) * mm
        for n, mm in zip(volume_SHW.shape, spacing_mm, strict=True)
    ]
    halves_mm = [max(n - 1, 1) / 2 * mm for n, mm in zip(volume_SHW.shape, spacing_mm, strict=True)]
    slices, rows, columns = axes[0][:, None, None], axes[1][:, None], axes[2]
    grid = torch.empty((*volume_SHW.shape, 3), device=volume_SHW.device, dtype=volume_SHW.dtype)
    for axis in range(3):
        place = inverse[axis, 0] * slices + inverse[axis, 1] * rows + inverse[axis, 2] * columns
        if field_3SHW is not None:
            place = place + field_3SHW[axis]
        # grid_sample wants columns, rows, slices, each from -1 to 1 between the centres of the outer voxels.
        grid[..., 2 - axis] = place / halves_mm[axis]
    above_air = (volume_SHW - AIR_HU)[None, None]
    read = functional.grid_sample(above_air, grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)
    return read[0, 0] + AIR_HU
