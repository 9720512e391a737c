"""Rotation about the volume's centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.augment.parameters import Triple


def rotation(angles_rad: Triple) -> NDArray[np.float64]:
    """Return the 3 × 3 matrix that turns about the slice axis, then the row axis, then the column axis.

    Axes are slice, row, column, in millimetres: a turn of a quarter about the slice axis takes rows to columns.
    """
    turns = [_turn(axis, angle) for axis, angle in enumerate(angles_rad)]
    return turns[2] @ turns[1] @ turns[0]


def _turn(axis: int, angle_rad: float) -> NDArray[np.float64]:
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle_rad)
    matrix[second, first], matrix[first, second] = np.sin(angle_rad), -np.sin(angle_rad)
    return matrix
