"""Gantry tilt and uneven spacing: what they are measured by, and the regular grid that has neither.

`prepare` needs no step of its own for them: it looks every point up where the slices truly are. A reader that wants
slices stacked evenly along their normal does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.extent import require_bounded
from engine.preprocess.reduce import padding_as_air
from engine.preprocess.resample import resample
from engine.preprocess.spec import FloatArray

POSITION_TOLERANCE_MM = 0.05
"""A slice may lie this far from its place on a regular grid before the stack counts as irregular."""

_MOST_SLICES = 4
"""Times the acquired slices: where slices bunch, their median spacing would need endless ones."""


def is_regular(geometry: VolumeGeometry) -> bool:
    """Whether the slices are stacked evenly along their normal: no tilt, no uneven spacing."""
    regular = regular_geometry(geometry)
    if regular.n_slices != geometry.n_slices:
        return False
    return bool(np.abs(regular.origins_lps_mm - geometry.origins_lps_mm).max() <= POSITION_TOLERANCE_MM)


def is_even(geometry: VolumeGeometry) -> bool:
    """Whether the slices are stacked in equal steps, so that one affine places them all; a tilt may shear the steps."""
    return bool(np.abs(mean_origins_lps_mm(geometry) - geometry.origins_lps_mm).max() <= POSITION_TOLERANCE_MM)


def mean_origins_lps_mm(geometry: VolumeGeometry) -> FloatArray:
    """Where the slices would start if they lay in equal steps from the first to the last, shape (S, 3)."""
    indices = np.arange(geometry.n_slices, dtype=np.float64)
    return np.asarray(geometry.origins_lps_mm[0] + indices[:, None] * mean_step_lps_mm(geometry), dtype=np.float64)


def mean_step_lps_mm(geometry: VolumeGeometry) -> FloatArray:
    """Mean step from a slice to the next, shape (3,); of a single slice 1 mm along the normal, as none is known."""
    if geometry.n_slices == 1:
        return geometry.normal_lps
    reach_mm = geometry.origins_lps_mm[-1] - geometry.origins_lps_mm[0]
    return np.asarray(reach_mm / (geometry.n_slices - 1), dtype=np.float64)


def regular_geometry(geometry: VolumeGeometry) -> VolumeGeometry:
    """Return an orthogonal stack along the normal that spans the same positions at their median spacing.

    In the plane it is centred on the acquired slices and large enough to hold all of them, sheared as they are.
    """
    normal, positions = geometry.normal_lps, geometry.positions_mm
    in_plane_mm = geometry.origins_lps_mm - positions[:, None] * normal
    row_mm, column_mm = geometry.pixel_spacing_mm
    along_column = in_plane_mm @ geometry.column_cosine_lps
    along_row = in_plane_mm @ geometry.row_cosine_lps
    corner = along_column.min() * geometry.column_cosine_lps + along_row.min() * geometry.row_cosine_lps
    spacing_mm, count = _even_spacing(positions)
    heights = positions[0] + spacing_mm * np.arange(count)
    return replace(
        geometry,
        origins_lps_mm=corner + heights[:, None] * normal,
        rows=geometry.rows + _extra(along_column, row_mm),
        columns=geometry.columns + _extra(along_row, column_mm),
    )


def to_regular_grid(volume: Volume) -> Volume:
    """Shear out the tilt and even out the spacing; a volume that is regular already comes back as it is.

    Returns
    -------
    Volume
        The pixel size and the direction of the slices are kept, their spacing becomes the median one. Resampled
        voxels are linear between acquired ones; what was not acquired, and padding, is air.

    Raises
    ------
    GeometryError
        If this is a 2D stack, or reaches further than a body.
    """
    geometry = volume.require_geometry()
    if is_regular(geometry):
        return volume
    require_bounded(geometry)
    regular = regular_geometry(geometry)
    clean = replace(volume, voxels=padding_as_air(volume.voxels, volume.padding_value), padding_value=None)
    voxels = resample(clean, lps_from_regular_kji(regular), regular.shape)
    if volume.voxels.dtype.kind == "i":
        return Volume(np.rint(voxels).astype(np.int16), regular, volume.units, None, ("",) * regular.n_slices)
    return Volume(voxels, regular, volume.units, None, ("",) * regular.n_slices)


def lps_from_regular_kji(geometry: VolumeGeometry) -> FloatArray:
    """4 × 4 affine from (slice, row, column, 1) to LPS millimetres, of a regular geometry."""
    matrix = np.eye(4)
    matrix[:3, 0] = geometry.normal_lps
    if geometry.n_slices > 1:
        matrix[:3, 0] *= (geometry.positions_mm[-1] - geometry.positions_mm[0]) / (geometry.n_slices - 1)
    matrix[:3, 1] = geometry.column_cosine_lps * geometry.pixel_spacing_mm[0]
    matrix[:3, 2] = geometry.row_cosine_lps * geometry.pixel_spacing_mm[1]
    matrix[:3, 3] = geometry.origins_lps_mm[0]
    return matrix


def _even_spacing(positions_mm: FloatArray) -> tuple[float, int]:
    """Median spacing and the number of slices at it, at most four times as many as were acquired."""
    if len(positions_mm) == 1:
        return 0.0, 1
    reach_mm = float(positions_mm[-1] - positions_mm[0])
    spacing_mm = max(float(np.median(np.diff(positions_mm))), reach_mm / (_MOST_SLICES * len(positions_mm)))
    return spacing_mm, 1 + round(reach_mm / spacing_mm)


def _extra(shift_mm: FloatArray, spacing_mm: float) -> int:
    """Pixels to add so that slices shifted against each other all fit; a shift within tolerance needs none."""
    return int(np.ceil(max(0.0, float(np.ptp(shift_mm)) - POSITION_TOLERANCE_MM) / spacing_mm))
