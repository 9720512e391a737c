"""What a prepared study looks like, and the value types that preparation gives back. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from engine.config import FrozenConfig

FloatArray = NDArray[np.float64]
Voxels = NDArray[np.int16] | NDArray[np.float32]

AIR_HU = -1024.0
"""Everything outside the field of view, and the floor of everything inside: the lowest value of the CT scale."""

HEAD_THRESHOLD_HU = -300.0
"""Between air and the fat of the scalp: what lies above it is head, table or head holder."""


class PreprocessSpec(FrozenConfig):
    """The grid and the windows of the paper, section 3.1.

    Attributes
    ----------
    version
        Changes whenever the same scan would give other numbers.
    spacing_mm
        Distance between prepared slices, rows and columns.
    size_px
        Rows and columns of a prepared slice.
    windows_hu
        Lower and upper bound of each channel.
    align
        Whether to look for the head; without it the frame is the patient's LPS axes.
    max_slices
        The tallest head that is prepared; what lies further down (neck, chest) is left out, with a warning.
    n_slices
        For networks of whole volumes: exactly this many slices, the scan in their middle and air around it where it
        is shorter. It then takes the place of `max_slices`. None prepares as many slices as hold data.
    min_max
        For networks of whole volumes: one more channel after the windows, the volume's own range of values.
    """

    version: int = Field(default=1, ge=1)
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (4.0, 1.0, 1.0)
    size_px: tuple[PositiveInt, PositiveInt] = (224, 224)
    windows_hu: tuple[tuple[float, float], ...] = ((0.0, 80.0), (-20.0, 180.0), (-800.0, 2000.0))
    align: bool = True
    max_slices: int = Field(default=56, ge=1)
    n_slices: int | None = Field(default=None, ge=1)
    min_max: bool = False

    @property
    def n_channels(self) -> int:
        """M: one channel a window, and one for the volume's own range where it is asked for."""
        return len(self.windows_hu) + self.min_max

    @field_validator("windows_hu")
    @classmethod
    def _windows_are_ranges(cls, windows_hu: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if not windows_hu or any(lower >= upper for lower, upper in windows_hu):
            raise ValueError("there must be a window, and each must have a lower bound below its upper bound")
        return windows_hu


@dataclass(frozen=True)
class AlignmentReport:
    """How the standard axial frame was found.

    Attributes
    ----------
    rotation_deg
        Rotation of the aligned frame against LPS, as Euler angles about the patient's x (pitch), y (roll) and z
        (yaw), applied in that order about fixed axes.
    translation_mm
        Last column of `PreparedVolume.aligned_from_lps`.
    midline_score
        Correlation of the head with its own mirror image, 0 to 1; 0 if none was looked for.
    applied
        False if the frame is only the patient's LPS axes, centred on the volume.
    pitch_from
        Where the pitch comes from: symmetry cannot tell it. Slices that are acquired near the axial plane were
        laid along a base line of the skull by the person at the scanner and keep their own pitch.
    reasons
        Why alignment was not applied; empty if it was.
    """

    rotation_deg: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    midline_score: float
    applied: bool
    pitch_from: Literal["acquired slices", "patient axes"]
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A head CT on the grid of a `PreprocessSpec`, in the aligned frame.

    Attributes
    ----------
    voxels_hu
        float32 ``[S, H, W]``: slices grow cranially, rows posteriorly, columns to the patient's left, as a
        radiologist looks at axial CT. Outside the acquired field of view it is `AIR_HU`.
    spec
        What it was made with.
    aligned_from_lps
        Rigid 4 × 4: patient LPS millimetres to the aligned frame. Its x is 0 on the mid-sagittal plane, y is 0 at
        the centre of the cranium, z is 0 at the vertex; axes point left, posterior, cranial.
    lps_from_prepared_kji
        Affine 4 × 4: prepared ``(slice, row, column, 1)`` to LPS millimetres.
    alignment
        How the frame was found.
    position_mm
        Aligned z of every prepared slice, shape (S,).
    acquired_weights
        float32 ``[S, S_acquired]``: share of each prepared slice that lies nearest to each acquired slice, counted
        in the head where there is head; rows sum to 1, or to 0 where a slice was added to reach a fixed number and
        holds nothing that was acquired.
    warnings
        What a reader should know about this preparation.
    """

    voxels_hu: NDArray[np.float32]
    spec: PreprocessSpec
    aligned_from_lps: FloatArray
    lps_from_prepared_kji: FloatArray
    alignment: AlignmentReport
    position_mm: FloatArray
    acquired_weights: NDArray[np.float32]
    warnings: tuple[str, ...]

    def prepared_kji_to_lps(self, kji: FloatArray) -> FloatArray:
        """Map prepared (slice, row, column) to LPS millimetres; shapes (..., 3)."""
        return transform_points(self.lps_from_prepared_kji, kji)

    def lps_to_prepared_kji(self, lps_mm: FloatArray) -> FloatArray:
        """Map LPS millimetres to prepared (slice, row, column), with fractions; shapes (..., 3)."""
        return transform_points(inverse(self.lps_from_prepared_kji), lps_mm)

    def acquired_under(self, prepared_slice: int) -> tuple[int, ...]:
        """Acquired slices that lie in a prepared slice, the one with the largest share first."""
        return _largest_first(self.acquired_weights[prepared_slice])

    def prepared_over(self, acquired_slice: int) -> tuple[int, ...]:
        """Prepared slices that an acquired slice lies in, the one with the largest share first; may be empty."""
        return _largest_first(self.acquired_weights[:, acquired_slice])


def transform_points(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Apply a homogeneous 4 × 4 matrix to points (..., 3)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)


def inverse(matrix: FloatArray) -> FloatArray:
    """Invert a 4 × 4 matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _largest_first(weights: NDArray[np.float32]) -> tuple[int, ...]:
    order = np.argsort(-weights, kind="stable")
    return tuple(int(index) for index in order if weights[index] > 0)
