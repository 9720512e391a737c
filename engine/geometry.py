"""Where voxels are: slice index space against the patient's LPS millimetres, and the volume value type.

Index space is ``[slice, row, column]`` (suffix ``_kji``). World space is DICOM's patient coordinate system, LPS,
in millimetres (suffix ``_lps``). Slices need neither equal spacing nor a stacking direction along their normal:
every slice keeps its own ImagePositionPatient, so gantry tilt and mixed slice spacing are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import GeometryError

FloatArray = NDArray[np.float64]

ORTHOGONALITY_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """The place of a stack of parallel slices in the patient.

    Attributes
    ----------
    row_cosine_lps, column_cosine_lps
        The two unit vectors of ImageOrientationPatient: along a row (column index grows) and along a column
        (row index grows). Shape (3,).
    pixel_spacing_mm
        DICOM's PixelSpacing: distance between rows, then between columns.
    origins_lps_mm
        ImagePositionPatient of every slice, shape (S, 3), ordered so that the position along the normal grows.
    rows, columns
        Size of a slice in pixels.

    Raises
    ------
    GeometryError
        If the cosines are not orthonormal, a spacing is not positive, or positions do not grow strictly.
    """

    row_cosine_lps: FloatArray
    column_cosine_lps: FloatArray
    pixel_spacing_mm: tuple[float, float]
    origins_lps_mm: FloatArray
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Refuse a geometry that is not one."""
        basis = np.stack([self.row_cosine_lps, self.column_cosine_lps])
        if basis.shape != (2, 3) or not np.allclose(basis @ basis.T, np.eye(2), atol=ORTHOGONALITY_TOLERANCE):
            raise _geometry_error("ImageOrientationPatient does not hold two orthogonal unit vectors", "orientation")
        if not all(np.isfinite(value) and value > 0 for value in self.pixel_spacing_mm):
            raise _geometry_error(f"PixelSpacing {self.pixel_spacing_mm} mm is not positive", "pixel_spacing")
        if self.rows < 1 or self.columns < 1:
            raise _geometry_error(f"a slice of {self.rows} × {self.columns} pixels is empty", "empty")
        if self.origins_lps_mm.ndim != 2 or self.origins_lps_mm.shape[1] != 3 or len(self.origins_lps_mm) == 0:
            raise _geometry_error("slice positions must have the shape (S, 3)", "positions")
        if not np.all(np.isfinite(self.origins_lps_mm)):
            raise _geometry_error("a slice position is not finite", "positions")
        if np.any(np.diff(self.positions_mm) <= 0):
            raise _geometry_error("slice positions do not grow strictly along the normal", "positions")

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.origins_lps_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.n_slices, self.rows, self.columns

    @property
    def normal_lps(self) -> FloatArray:
        """The unit normal of the slices, row cosine × column cosine."""
        normal = np.cross(self.row_cosine_lps, self.column_cosine_lps)
        return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)

    @property
    def positions_mm(self) -> FloatArray:
        """Position of every slice along the normal, shape (S,)."""
        return np.asarray(self.origins_lps_mm @ self.normal_lps, dtype=np.float64)

    @property
    def normal_spacing_mm(self) -> FloatArray:
        """Distance between neighbouring slices along the normal, shape (S - 1,)."""
        return np.asarray(np.diff(self.positions_mm), dtype=np.float64)

    @property
    def tilt_deg(self) -> float:
        """Gantry tilt: the angle between the normal and the direction in which slices are stacked, in degrees.

        Measured from the positions of the first and last slice, never from GantryDetectorTilt, whose sign
        differs between vendors; hence without a sign. 0 for a single slice.
        """
        if self.n_slices < 2:
            return 0.0
        step = self.origins_lps_mm[-1] - self.origins_lps_mm[0]
        along = float(step @ self.normal_lps)
        across = float(np.linalg.norm(step - along * self.normal_lps))
        return float(np.degrees(np.arctan2(across, along)))

    def kji_to_lps(self, kji: FloatArray) -> FloatArray:
        """Map indices to millimetres.

        Parameters
        ----------
        kji
            Slice, row, column, shape (..., 3); fractions fall between the slices, linearly; beyond the first or
            last slice the nearest interval is extended.

        Returns
        -------
        FloatArray
            LPS millimetres, shape (..., 3).
        """
        origins = _extrapolated(kji[..., 0], np.arange(self.n_slices, dtype=np.float64), self.origins_lps_mm)
        row_mm, column_mm = self.pixel_spacing_mm
        return np.asarray(
            origins
            + kji[..., 1, None] * row_mm * self.column_cosine_lps
            + kji[..., 2, None] * column_mm * self.row_cosine_lps,
            dtype=np.float64,
        )

    def lps_to_kji(self, lps_mm: FloatArray) -> FloatArray:
        """Map millimetres to fractional indices; the inverse of `kji_to_lps`. Shapes (..., 3)."""
        indices = np.arange(self.n_slices, dtype=np.float64)
        slice_index = _extrapolated(lps_mm @ self.normal_lps, self.positions_mm, indices[:, None])[..., 0]
        offset = lps_mm - _extrapolated(slice_index, indices, self.origins_lps_mm)
        row_mm, column_mm = self.pixel_spacing_mm
        return np.stack(
            [slice_index, offset @ self.column_cosine_lps / row_mm, offset @ self.row_cosine_lps / column_mm],
            axis=-1,
        )


def _extrapolated(x: FloatArray, xs: FloatArray, ys: FloatArray) -> FloatArray:
    """Interpolate rows of `ys` (N, D) at `x` (...), linearly, with the end intervals extended. Returns (..., D)."""
    x = np.asarray(x, dtype=np.float64)
    if len(xs) == 1:
        return np.broadcast_to(ys[0], (*x.shape, ys.shape[1])).astype(np.float64)
    left = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, len(xs) - 2)
    fraction = (x - xs[left]) / (xs[left + 1] - xs[left])
    return np.asarray(ys[left] + fraction[..., None] * (ys[left + 1] - ys[left]), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices with their place in the patient.

    Attributes
    ----------
    voxels
        ``[slice, row, column]``, int16 where the rescaled values are whole numbers that fit, else float32.
        In Hounsfield units if `units` is ``HU``; every voxel is the stored value times slope plus intercept,
        padding included, nothing clipped.
    geometry
        None for a 2D stack: pictures without a place in space, which allow no millimetres and no classifier.
    units
        ``HU`` or ``unknown``.
    padding_value
        The rescaled PixelPaddingValue, outside the field of view, to be read as air; None if there is none.
    sop_instance_uids
        One per slice, in slice order; empty strings where the source has none.
    """

    voxels: NDArray[np.int16] | NDArray[np.float32]
    geometry: VolumeGeometry | None
    units: Literal["HU", "unknown"]
    padding_value: float | None
    sop_instance_uids: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit the geometry."""
        if self.voxels.ndim != 3 or self.voxels.size == 0:
            raise _geometry_error(f"a volume has three axes and at least one voxel, not {self.voxels.shape}", "shape")
        if self.geometry is not None and self.geometry.shape != self.voxels.shape:
            raise _geometry_error(f"voxels {self.voxels.shape} do not fit geometry {self.geometry.shape}", "shape")
        if len(self.sop_instance_uids) != len(self.voxels):
            raise _geometry_error("there must be one SOP Instance UID per slice", "uids")

    def require_geometry(self) -> VolumeGeometry:
        """Return the geometry.

        Raises
        ------
        GeometryError
            If this is a 2D stack.
        """
        if self.geometry is None:
            raise _geometry_error("these images have no position in space", "none")
        return self.geometry


def _geometry_error(message: str, code: str) -> GeometryError:
    return GeometryError(
        f"The geometry cannot be used: {message}.",
        hint="Load the original series as the scanner wrote it.",
        code=f"geometry.{code}",
    )
