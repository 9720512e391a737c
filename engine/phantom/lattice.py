"""Coarse grids: smooth random fields, and the separable interpolation that brings a coarse field to fine voxels.

Everything smooth in the phantom (distances to surfaces, random fields) is computed on a grid of about 2.5 mm and
interpolated; only the sharp decisions are taken at the fine voxels. That is what makes a study cheap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

F32 = NDArray[np.float32]
Real = NDArray[np.floating[Any]]

CUBE_NODES = 72


class NoiseCube:
    """A random field over head space with zero mean and unit variance, repeated periodically.

    Parameters
    ----------
    rng
        The source of randomness.
    scale_mm
        Distance between the nodes; the correlation length is about 1.7 times as long.
    """

    def __init__(self, rng: np.random.Generator, scale_mm: float) -> None:
        white = rng.standard_normal((CUBE_NODES,) * 3, dtype=np.float32)
        smooth = ndimage.gaussian_filter(white, 1.2, mode="wrap", truncate=3.0)
        self._values: F32 = (smooth / smooth.std()).astype(np.float32)
        self._scale_mm = scale_mm

    def sample(self, x_mm: F32, y_mm: F32, z_mm: F32) -> F32:
        """Return the field at points in millimetres, all of one shape."""
        points = np.stack([z_mm, y_mm, x_mm]).reshape(3, -1) / self._scale_mm
        values = ndimage.map_coordinates(self._values, points, order=1, mode="grid-wrap")
        return np.asarray(values, dtype=np.float32).reshape(x_mm.shape)


def cubic_weights(positions: NDArray[np.float64], n_nodes: int) -> F32:
    """Return the Catmull-Rom interpolation matrix (len(positions), n_nodes).

    Parameters
    ----------
    positions
        Where to interpolate, in units of the nodes; outside 0..n_nodes - 1 the end node is repeated.
    n_nodes
        Number of nodes.
    """
    inside = np.clip(positions, 0, n_nodes - 1)
    left = np.floor(inside).astype(int)
    t = inside - left
    taps = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    weights = np.zeros((len(positions), n_nodes), dtype=np.float64)
    rows = np.arange(len(positions))
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        np.add.at(weights, (rows, np.clip(left + offset, 0, n_nodes - 1)), tap)
    return weights.astype(np.float32)


def interpolate(field: F32, weights_z: F32, weights_y: F32, weights_x: F32) -> F32:
    """Bring a coarse field [z, y, x] to the fine grid whose weights are given, one axis after the other."""
    planes = np.tensordot(weights_z, field, axes=(1, 0))
    fine = np.matmul(np.matmul(weights_y, planes), weights_x.T)
    return np.asarray(fine, dtype=np.float32)
