"""How the phantom is acquired: the matrix, the slices and the noise. What is acquired follows from the seed alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from engine.config import FrozenConfig
from engine.geometry import VolumeGeometry

Vendor = Literal["none", "siemens", "ge", "canon", "philips"]
# What a study was named after before there were scanners and heads that vary: its UIDs still are.
FIRST_FIELDS = frozenset(
    {"matrix", "pixel_spacing_mm", "n_slices", "slice_spacing_mm", "noise_hu", "psf_mm", "tilt_deg", "normal_fraction"}
)


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
    anatomy
        "varied" draws heads of all sizes, ages and poses, with what normal heads have besides: sutures, vessels, a
        sella with its gland, a head rest. "plain" is the head of the first phantoms.
    scanner
        "varied" draws all that follows, and the matrix, the slices, their noise, point spread and tilt, from the seed.
    centre_mm
        How far above the middle of the head the middle of the stack lies.
    offset_mm
        How far to the patient's left and to the back the middle of the slices lies; a head may be cut off by it.
    circle
        Whether voxels outside the circle of reconstruction hold `padding_hu`.
    noise_grain_mm, noise_low_cut
        Standard deviation of the noise's kernel (None: 0.75 pixels), and how much of its slow part is taken away.
    sharpen
        How much a sharp kernel lifts edges.
    beam_hardening
        Size of the cupping and of the dark bar between the petrous bones, 1 as in the first phantoms.
    motion_mm
        How far the head moves during a few of the slices.
    vendor
        Whose headers the DICOM files imitate.
    """

    matrix: int = Field(default=256, ge=32, le=1024)
    pixel_spacing_mm: float = Field(default=0.9, gt=0)
    n_slices: int = Field(default=32, ge=1, le=1000)
    slice_spacing_mm: float = Field(default=5.0, gt=0)
    noise_hu: float | None = Field(default=None, ge=0)
    psf_mm: float = Field(default=0.55, ge=0)
    tilt_deg: float = Field(default=0.0, ge=-30, le=30)
    normal_fraction: float = Field(default=0.15, ge=0, le=1)
    anatomy: Literal["plain", "varied"] = "plain"
    scanner: Literal["plain", "varied"] = "plain"
    centre_mm: float = Field(default=0.0, ge=-100, le=100)
    offset_mm: tuple[float, float] = (0.0, 0.0)
    circle: bool = False
    padding_hu: int = Field(default=-1024, ge=-3024, le=-1000)
    noise_grain_mm: float | None = Field(default=None, gt=0, le=5)
    noise_low_cut: float = Field(default=0.0, ge=0, lt=1)
    sharpen: float = Field(default=0.0, ge=0, le=3)
    beam_hardening: float = Field(default=1.0, ge=0, le=5)
    motion_mm: float = Field(default=0.0, ge=0, le=20)
    vendor: Vendor = "none"

    @property
    def samples_per_slice(self) -> int:
        """How many thin planes are averaged into one slice, which gives the partial volume effect."""
        return int(np.clip(round(self.slice_spacing_mm / 1.7), 1, 4))

    def identity(self) -> str:
        """Return the JSON that names the specification: the first fields, and of the later ones those that are set."""
        unset = {
            name
            for name, field in type(self).model_fields.items()
            if name not in FIRST_FIELDS and getattr(self, name) == field.default
        }
        return self.model_dump_json(exclude=unset)

    def geometry(self) -> VolumeGeometry:
        """Return the place of the slices, centred on the LPS origin."""
        angle = np.radians(self.tilt_deg)
        row = np.array([1.0, 0.0, 0.0])
        column = np.array([0.0, np.cos(angle), -np.sin(angle)])
        corner = -(self.matrix - 1) / 2 * self.pixel_spacing_mm * (row + column)
        table_mm = (np.arange(self.n_slices) - (self.n_slices - 1) / 2) * self.slice_spacing_mm
        corner = corner + self.offset_mm[0] * row + self.offset_mm[1] * column
        table_mm = table_mm + self.centre_mm
        return VolumeGeometry(
            row_cosine_lps=row,
            column_cosine_lps=column,
            pixel_spacing_mm=(self.pixel_spacing_mm, self.pixel_spacing_mm),
            origins_lps_mm=corner + table_mm[:, None] * np.array([0.0, 0.0, 1.0]),
            rows=self.matrix,
            columns=self.matrix,
        )
