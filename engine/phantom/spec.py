"""How the phantom is acquired: the matrix, the slices and the noise. What is acquired follows from the seed alone."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from engine.config import FrozenConfig
from engine.geometry import VolumeGeometry


class PhantomSpec(FrozenConfig):
    """The acquisition of a phantom study.

    Attributes
    ----------
    matrix
        Rows and columns of a slice.
    pixel_spacing_mm
        Distance between rows and between columns.
    n_slices, slice_spacing_mm
        Number and distance of the slices, which are as thick as they are apart; the stack is centred on the head.
    noise_hu
        Standard deviation of the noise in brain; None draws 3 to 6 HU from the seed.
    psf_mm
        Standard deviation of the in-plane point spread.
    tilt_deg
        Gantry tilt: the slices lean by this angle while the table still moves along the body.
    normal_fraction
        The share of studies without any painted finding, where the findings are drawn.
    """

    matrix: int = Field(default=256, ge=32, le=1024)
    pixel_spacing_mm: float = Field(default=0.9, gt=0)
    n_slices: int = Field(default=32, ge=1, le=1000)
    slice_spacing_mm: float = Field(default=5.0, gt=0)
    noise_hu: float | None = Field(default=None, ge=0)
    psf_mm: float = Field(default=0.55, ge=0)
    tilt_deg: float = Field(default=0.0, ge=-30, le=30)
    normal_fraction: float = Field(default=0.15, ge=0, le=1)

    @property
    def samples_per_slice(self) -> int:
        """How many thin planes are averaged into one slice, which gives the partial volume effect."""
        return int(np.clip(round(self.slice_spacing_mm / 1.7), 1, 4))

    def geometry(self) -> VolumeGeometry:
        """Return the place of the slices, centred on the LPS origin."""
        angle = np.radians(self.tilt_deg)
        row = np.array([1.0, 0.0, 0.0])
        column = np.array([0.0, np.cos(angle), -np.sin(angle)])
        corner = -(self.matrix - 1) / 2 * self.pixel_spacing_mm * (row + column)
        table_mm = (np.arange(self.n_slices) - (self.n_slices - 1) / 2) * self.slice_spacing_mm
        return VolumeGeometry(
            row_cosine_lps=row,
            column_cosine_lps=column,
            pixel_spacing_mm=(self.pixel_spacing_mm, self.pixel_spacing_mm),
            origins_lps_mm=corner + table_mm[:, None] * np.array([0.0, 0.0, 1.0]),
            rows=self.matrix,
            columns=self.matrix,
        )
