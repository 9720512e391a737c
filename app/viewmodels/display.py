"""How an acquired slice is turned for the screen, and how its values become grey levels. Pure numpy.

The plane of the screen is measured in millimetres (pixels for a 2D stack) from the top left corner of the
displayed slice: x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.geometry import VolumeGeometry

# Where the screen's right and down should point in LPS for a normal along x, y or z: the radiological convention,
# in which an axial slice is seen from the feet (patient right on the left of the screen, anterior at the top).
RIGHT_LPS = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
DOWN_LPS = ((0.0, 0.0, -1.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
OBLIQUE = 0.4


@dataclass(frozen=True)
class DisplayOrientation:
    """How stored rows and columns are laid on the screen.

    Attributes
    ----------
    transpose
        Rows of the stored slice become columns of the screen. Done first.
    flip_rows, flip_columns
        Turn the transposed slice upside down, or left to right.
    left, right, top, bottom
        Patient directions at the screen's edges, such as ``R``; empty for a 2D stack.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""

    def apply(self, slice_rc: NDArray[np.generic]) -> NDArray[np.generic]:
        """Lay a stored slice [row, column] out for the screen; a view, not a copy."""
        shown = slice_rc.T if self.transpose else slice_rc
        if self.flip_rows:
            shown = shown[::-1]
        return shown[:, ::-1] if self.flip_columns else shown

    def stored_index(self, row: int, column: int, shape_rc: tuple[int, int]) -> tuple[int, int]:
        """Return the stored (row, column) of a screen pixel; `shape_rc` is the stored slice's shape."""
        rows, columns = (shape_rc[1], shape_rc[0]) if self.transpose else shape_rc
        row = rows - 1 - row if self.flip_rows else row
        column = columns - 1 - column if self.flip_columns else column
        return (column, row) if self.transpose else (row, column)

    def shown_index(self, row: float, column: float, shape_rc: tuple[int, int]) -> tuple[float, float]:
        """Return the (row, column) of the screen of a stored pixel; `shape_rc` is the stored slice's shape."""
        rows, columns = (shape_rc[1], shape_rc[0]) if self.transpose else shape_rc
        row, column = (column, row) if self.transpose else (row, column)
        return rows - 1 - row if self.flip_rows else row, columns - 1 - column if self.flip_columns else column


def orientation_for(geometry: VolumeGeometry | None) -> DisplayOrientation:
    """Choose the turn that shows these slices in the radiological convention, whatever the patient's position."""
    if geometry is None:
        return DisplayOrientation()
    axis = int(np.argmax(np.abs(geometry.normal_lps)))
    right, down = np.array(RIGHT_LPS[axis]), np.array(DOWN_LPS[axis])
    along_row, along_column = geometry.row_cosine_lps, geometry.column_cosine_lps
    transpose = bool(abs(along_column @ right) > abs(along_row @ right))
    across, downward = (along_column, along_row) if transpose else (along_row, along_column)
    flip_columns, flip_rows = bool(across @ right < 0), bool(downward @ down < 0)
    screen_right = -across if flip_columns else across
    screen_down = -downward if flip_rows else downward
    return DisplayOrientation(
        transpose=transpose,
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        left=direction_letters(-screen_right),
        right=direction_letters(screen_right),
        top=direction_letters(-screen_down),
        bottom=direction_letters(screen_down),
    )


def direction_letters(direction_lps: NDArray[np.float64]) -> str:
    """Name a direction: R, L, A, P, F or H; a second letter follows where the direction is clearly oblique."""
    order = np.argsort(-np.abs(direction_lps))
    letters = [LETTERS[axis][int(direction_lps[axis] > 0)] for axis in order[:2]]
    return "".join(letters) if abs(direction_lps[order[1]]) >= OBLIQUE else letters[0]


def to_gray(slice_rc: NDArray[np.generic], center: float, width: float) -> NDArray[np.uint8]:
    """Map values to 0..255 by DICOM's linear window, without its half-step offsets.

    Parameters
    ----------
    slice_rc
        int16 or float32 [row, column], in the units of the window.

    Returns
    -------
    NDArray[np.uint8]
        [row, column], C order.
    """
    if slice_rc.dtype == np.int16:
        return np.take(_int16_lut(float(center), float(width)), np.ascontiguousarray(slice_rc).view(np.uint16))
    return _window(np.asarray(slice_rc, dtype=np.float32), center, width)


@lru_cache(maxsize=16)
def _int16_lut(center: float, width: float) -> NDArray[np.uint8]:
    """Return the 65,536-entry table indexed by the int16 value reinterpreted as uint16: one gather per frame."""
    values = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.float32)
    return _window(values, center, width)


def _window(values: NDArray[np.float32], center: float, width: float) -> NDArray[np.uint8]:
    scaled = (values - (center - width / 2)) * (255.0 / max(width, 1e-6))
    return np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8)


def automatic_window(voxels: NDArray[np.generic], padding_value: float | None) -> tuple[float, float]:
    """Return (center, width) over the 1st to 99.5th percentile of a sample of the voxels, padding left out."""
    sample = np.asarray(voxels).ravel()[:: max(1, voxels.size // 200_000)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if padding_value is not None:
        kept = sample[sample != padding_value]
        sample = kept if kept.size else sample
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, [1.0, 99.5])
    return float(low + high) / 2, float(max(high - low, 1.0))
