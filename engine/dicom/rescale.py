"""From stored values to Hounsfield units: unused bits, sign, slope and intercept. Exact; nothing is clipped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.dicom.series import PixelLayout

INT16 = np.iinfo(np.int16)


def clean_stored(stored: NDArray[np.generic], layout: PixelLayout) -> NDArray[np.integer]:
    """Drop the bits outside BitsStored and extend the sign, in place where that is possible.

    Parameters
    ----------
    stored
        Values as they are in the file, in native byte order, any shape.

    Returns
    -------
    NDArray
        The same values with BitsStored bits whose highest is HighBit.
    """
    values = np.asarray(stored)
    below = layout.high_bit + 1 - layout.bits_stored
    above = layout.bits_allocated - 1 - layout.high_bit
    if above:
        np.left_shift(values, above, out=values)
    if above + below:
        np.right_shift(values, above + below, out=values)
    return values


def clean_value(stored: int, layout: PixelLayout) -> int:
    """Apply `clean_stored` to one number, such as PixelPaddingValue."""
    kind = np.dtype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
    wrapped = np.array([stored & ((1 << layout.bits_allocated) - 1)], dtype=f"u{kind.itemsize}").view(kind)
    return int(clean_stored(wrapped, layout)[0])


def stays_whole(slope: float, intercept: float) -> bool:
    """Whether whole stored values give whole rescaled values."""
    return slope == int(slope) and intercept == int(intercept)


def fits_int16(low: float, high: float) -> bool:
    """Whether a range of rescaled values can be kept as int16."""
    return bool(INT16.min <= low and high <= INT16.max)


def stored_range(layout: PixelLayout) -> tuple[int, int]:
    """Return the smallest and largest value that BitsStored allows."""
    if layout.signed:
        half = 1 << (layout.bits_stored - 1)
        return -half, half - 1
    return 0, (1 << layout.bits_stored) - 1


def rescaled_range(low: float, high: float, slope: float, intercept: float) -> tuple[float, float]:
    """Return the range after rescale, in order."""
    ends = low * slope + intercept, high * slope + intercept
    return min(ends), max(ends)
