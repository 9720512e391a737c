"""An analytic head that can be acquired in any way, and the real scan read without the engine's reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from engine.geometry import Volume, VolumeGeometry

FloatArray = NDArray[np.float64]

BRAIN_HU = 35.0
BLEED_HU = 75.0
BLEED_LPS_MM = (36.0, 22.0, 12.0)
"""A bleed in the patient's left, posterior, above the centre; in the head's own frame."""


def head_hu(points: FloatArray) -> NDArray[np.float32]:
    """HU at points (..., 3) of the head's own frame: x left, y posterior, z cranial, millimetres, 0 in the brain."""
    x, y, z = (np.ascontiguousarray(points[..., axis], dtype=np.float32) for axis in range(3))

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        parts = (((at - c) / r) ** 2 for at, c, r in zip((x, y, z), centre, radii, strict=True))
        return np.asarray(sum(parts) <= 1.0)

    hu = np.full(points.shape[:-1], -1000.0, dtype=np.float32)
    neck = ((x / 55) ** 2 + ((y - 20) / 60) ** 2 <= 1) & (z < -30)
    hu[neck | inside((0, -96, -45), (14, 20, 22)) | inside((0, 0, 0), (76, 97, 92))] = 20.0
    hu[inside((0, 0, 0), (71, 92, 87))] = 1000.0
    hu[inside((0, 0, 0), (64, 85, 80))] = BRAIN_HU
    for side in (-1, 1):
        hu[inside((side * 32, -74, -38), (17, 17, 17))] = -100.0
        hu[inside((side * 38, 12, -52), (26, 11, 14))] = 900.0
        hu[inside((side * 11, -8, 18), (7, 30, 12))] = 5.0
    hu[inside(BLEED_LPS_MM, (12, 12, 12))] = BLEED_HU
    return hu


def pose(yaw_deg: float = 0, roll_deg: float = 0, pitch_deg: float = 0, shift_mm: tuple[float, ...] = (0, 0, 0)):
    """4 × 4 from the head's own frame to LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [pitch_deg, roll_deg, yaw_deg], degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def apply(matrix: FloatArray, points: FloatArray) -> FloatArray:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def axial(
    spacing_mm: float = 4.0, n_slices: int = 50, pixel_mm: float = 2.0, size: int = 128, tilt_deg: float = 0.0
) -> VolumeGeometry:
    """A stack centred on LPS 0; with tilt, the slices lean and the table still moves along z."""
    angle = np.radians(tilt_deg)
    row, column = np.array([1.0, 0, 0]), np.array([0.0, np.cos(angle), -np.sin(angle)])
    table = (np.arange(n_slices) - (n_slices - 1) / 2) * spacing_mm
    origins = table[:, None] * np.array([0, 0, 1.0]) - (size - 1) / 2 * pixel_mm * (row + column)
    return VolumeGeometry(row, column, (pixel_mm, pixel_mm), origins, size, size)


def all_lps(geometry: VolumeGeometry) -> FloatArray:
    """LPS of every voxel centre, (S, R, C, 3)."""
    kji = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in geometry.shape), indexing="ij"), axis=-1)
    return geometry.kji_to_lps(kji)


def acquire(geometry: VolumeGeometry, lps_from_head: FloatArray | None = None) -> Volume:
    """Scan the analytic head with a geometry."""
    head_from_lps = np.linalg.inv(np.eye(4) if lps_from_head is None else lps_from_head)
    voxels = head_hu(apply(head_from_lps, all_lps(geometry))).astype(np.int16)
    return Volume(voxels, geometry, "HU", None, tuple(f"1.2.{k}" for k in range(geometry.n_slices)))


def moved(volume: Volume, motion: FloatArray) -> Volume:
    """The same voxels, the patient moved rigidly: no interpolation takes part."""
    g = volume.require_geometry()
    rotation = motion[:3, :3]
    geometry = VolumeGeometry(
        rotation @ g.row_cosine_lps,
        rotation @ g.column_cosine_lps,
        g.pixel_spacing_mm,
        apply(motion, g.origins_lps_mm),
        g.rows,
        g.columns,
    )
    return Volume(volume.voxels, geometry, volume.units, volume.padding_value, volume.sop_instance_uids)


def read_ge(folder: Path) -> Volume:
    """Read the real scan with pydicom alone: its intercept is 0 and its slope 1."""
    sets = [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]
    orientation = np.array(sets[0].ImageOrientationPatient, dtype=float)
    row, column = orientation[:3], orientation[3:]
    sets.sort(key=lambda item: float(np.array(item.ImagePositionPatient, dtype=float) @ np.cross(row, column)))
    voxels = np.stack([item.pixel_array for item in sets]).astype(np.int16)
    row_mm, column_mm = (float(value) for value in sets[0].PixelSpacing)
    origins = np.array([item.ImagePositionPatient for item in sets], dtype=float)
    geometry = VolumeGeometry(row, column, (row_mm, column_mm), origins, *voxels.shape[1:])
    return Volume(voxels, geometry, "HU", float(sets[0].PixelPaddingValue), tuple(item.SOPInstanceUID for item in sets))
