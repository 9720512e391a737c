"""How far a volume reaches, and how far it may."""

from __future__ import annotations

import numpy as np

from engine.errors import GeometryError
from engine.geometry import VolumeGeometry
from engine.preprocess.spec import FloatArray

MAX_EXTENT_MM = 2500.0
"""Longer than any scanner's table moves: a position beyond is an error in the file, and a grid over it endless."""


def corners_lps(geometry: VolumeGeometry) -> FloatArray:
    """The corners of the first and last slice in LPS millimetres, shape (8, 3)."""
    return geometry.kji_to_lps(
        np.array(
            [
                (k, j, i)
                for k in (0.0, geometry.n_slices - 1.0)
                for j in (0.0, geometry.rows - 1.0)
                for i in (0.0, geometry.columns - 1.0)
            ]
        )
    )


def require_bounded(geometry: VolumeGeometry) -> None:
    """Refuse a volume that no body fills.

    Raises
    ------
    GeometryError
        If the slices reach over more than `MAX_EXTENT_MM`.
    """
    extent_mm = float(np.ptp(corners_lps(geometry), axis=0).max())
    if extent_mm > MAX_EXTENT_MM:
        raise GeometryError(
            f"The {geometry.n_slices} slices reach over {extent_mm:.0f} mm, more than {MAX_EXTENT_MM:.0f} mm; no grid "
            "is laid over them.",
            hint="Check slice positions and pixel spacing; load the original series as the scanner wrote it.",
            code="preprocess.extent",
        )
