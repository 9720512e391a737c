"""A standard axial frame, found from the head itself: mid-sagittal plane, centre of the cranium, vertex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.extent import corners_lps
from engine.preprocess.head import Coarse, Head, find_head, vertex_height
from engine.preprocess.reduce import reduce_volume
from engine.preprocess.resample import resample
from engine.preprocess.spec import AlignmentReport, FloatArray
from engine.preprocess.symmetry import find_midline

MIN_MIDLINE_SCORE = 0.8
"""Heads reach 0.93 and more; a block with bone on no two sides alike still finds a plane of 0.76."""

COARSE_MM = 4.0
MAX_AXIAL_ANGLE_DEG = 35.0
"""Gantry tilt and oblique reformats stay below this; beyond it slices are coronal, sagittal or arbitrary."""

_CENTRE_DEPTH_MM = 90.0
"""The cranium's centre is taken above this depth below the vertex, which nearly every head CT covers."""

PitchSource = Literal["acquired slices", "patient axes"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The rigid transform (4 × 4, LPS millimetres to the aligned frame), and how it came about."""

    aligned_from_lps: FloatArray
    report: AlignmentReport


def align(volume: Volume) -> Alignment:
    """Find the standard axial frame of a head.

    Symmetry gives yaw, roll and the lateral position; the centre of the cranium and the vertex give the rest of the
    position. Symmetry says nothing about pitch: it is that of the acquired slices where these are near-axial, else
    that of the patient's axes.

    Parameters
    ----------
    volume
        In HU with padding read as air, at any resolution; it is averaged to 4 mm here.

    Returns
    -------
    Alignment
        With `applied` False, a reason, and the patient's axes centred on the volume where no frame can be trusted.
    """
    geometry = volume.require_geometry()
    base_axes, pitch_from = _base_axes(geometry)
    coarse = _coarse(volume, base_axes)
    head = find_head(coarse)
    if isinstance(head, str):
        return unaligned(geometry, (head,))
    plane = find_midline(coarse, head)
    if plane.at_limit or plane.score < MIN_MIDLINE_SCORE:
        why = "lies beyond the angles searched" if plane.at_limit else f"needs {MIN_MIDLINE_SCORE}"
        reason = f"The mid-sagittal plane is not certain: its score is {plane.score:.2f} and it {why}."
        return unaligned(geometry, (reason,), plane.score)
    axes_in_base = _axes(plane.normal)
    origin_in_base = _origin(head, axes_in_base, plane.offset_mm)
    matrix = _rigid(axes_in_base @ base_axes, origin_in_base @ base_axes)
    return Alignment(matrix, _report(matrix, plane.score, True, pitch_from, ()))


def unaligned(geometry: VolumeGeometry, reasons: tuple[str, ...], score: float = 0.0) -> Alignment:
    """Return the patient's LPS axes with their origin at the centre of the volume."""
    centre = geometry.kji_to_lps((np.array(geometry.shape, dtype=np.float64) - 1) / 2)
    matrix = _rigid(np.eye(3), centre)
    return Alignment(matrix, _report(matrix, score, False, "patient axes", reasons))


def _base_axes(geometry: VolumeGeometry) -> tuple[FloatArray, PitchSource]:
    """Return axes (rows: near left, near posterior, near cranial) to start from, and where their pitch is from."""
    normal = geometry.normal_lps * np.sign(geometry.normal_lps[2] or 1.0)
    if np.degrees(np.arccos(np.clip(normal[2], -1.0, 1.0))) > MAX_AXIAL_ANGLE_DEG:
        return np.eye(3), "patient axes"
    left = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(normal, left), normal]), "acquired slices"


def _coarse(volume: Volume, base_axes: FloatArray) -> Coarse:
    reduced = reduce_volume(volume, COARSE_MM, COARSE_MM)
    corners = corners_lps(volume.require_geometry()) @ base_axes.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    counts = [int(count) for count in np.ceil((high - low) / COARSE_MM)[::-1] + 1]
    base_from_kji = np.eye(4)
    base_from_kji[:3, :3] = COARSE_MM * np.eye(3)[:, ::-1]
    base_from_kji[:3, 3] = low
    lps_from_base = np.eye(4)
    lps_from_base[:3, :3] = base_axes.T
    voxels = resample(reduced, lps_from_base @ base_from_kji, (counts[0], counts[1], counts[2]))
    return Coarse(voxels, base_from_kji, COARSE_MM)


def _axes(midline_normal: FloatArray) -> FloatArray:
    """Axes in the base frame: x is the midline's normal, z as near to the base's as that allows."""
    cranial = np.array([0.0, 0.0, 1.0]) - midline_normal[2] * midline_normal
    cranial /= np.linalg.norm(cranial)
    return np.stack([midline_normal, np.cross(cranial, midline_normal), cranial])


def _origin(head: Head, axes: FloatArray, midline_offset_mm: float) -> FloatArray:
    """Point in the base frame that is 0, 0, 0 of the aligned one."""
    points = head.points_mm @ axes.T
    vertex_mm = vertex_height(points, COARSE_MM)
    cranium = points[points[:, 2] >= vertex_mm - _CENTRE_DEPTH_MM]
    return np.array([midline_offset_mm, cranium[:, 1].mean(), vertex_mm]) @ axes


def _rigid(axes: FloatArray, origin_mm: FloatArray) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = -axes @ origin_mm
    return matrix


def _report(
    matrix: FloatArray, score: float, applied: bool, pitch_from: PitchSource, reasons: tuple[str, ...]
) -> AlignmentReport:
    x_deg, y_deg, z_deg = (float(angle) for angle in Rotation.from_matrix(matrix[:3, :3]).as_euler("xyz", degrees=True))
    x_mm, y_mm, z_mm = (float(value) for value in matrix[:3, 3])
    return AlignmentReport((x_deg, y_deg, z_deg), (x_mm, y_mm, z_mm), score, applied, pitch_from, reasons)
