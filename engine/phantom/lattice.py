"""Coarse grids: smooth random fields, and the separable interpolation that brings a coarse field to fine voxels.

Everything smooth in the phantom (distances to surfaces, random fields) is computed on a grid of about 2.5 mm and
interpolated; only the sharp decisions are taken at the fine voxels. That is what makes a study cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Taps:
    """The four nodes and their Catmull-Rom weights for every position along one axis; both arrays are (4, N)."""

    nodes: NDArray[np.intp]
    weights: F32

    @classmethod
    def at(cls, positions: NDArray[np.float64], n_nodes: int) -> Taps:
        """Return the taps of positions in units of the nodes; outside the axis its end node is repeated."""
        inside = np.clip(positions, 0, n_nodes - 1)
        left = np.floor(inside).astype(np.intp)
        t = inside - left
        weights = (
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        )
        nodes = np.clip(left + np.arange(-1, 3)[:, None], 0, n_nodes - 1)
        return cls(nodes, np.stack(weights).astype(np.float32))


class FineField:
    """A coarse field [z, y, x] brought to a fine grid, slab by slab in ascending z.

    No matrix product is used: those run on all cores, differ in their last bits between machines, and are slow where
    several processes share the cores. The longest axis comes last; coarse planes already brought to the fine rows and
    columns are kept as long as the next slab can need them.
    """

    def __init__(self, field: F32, y: Taps, x: Taps) -> None:
        self._field, self._y, self._x = field, y, x
        self._planes: dict[int, F32] = {}

    def at(self, z: Taps) -> F32:
        """Return the field at the planes of `z`, float32 [plane, row, column]."""
        first, last = int(z.nodes.min()), int(z.nodes.max())
        self._planes = {node: plane for node, plane in self._planes.items() if node >= first}
        for node in range(first, last + 1):
            if node not in self._planes:
                self._planes[node] = _spread(self._field[node], self._y, self._x)
        fine = np.empty((z.nodes.shape[1], self._y.nodes.shape[1], self._x.nodes.shape[1]), dtype=np.float32)
        scaled = np.empty_like(fine[0])
        for index, out in enumerate(fine):
            np.multiply(self._planes[int(z.nodes[0, index])], z.weights[0, index], out=out)
            for tap in range(1, 4):
                out += np.multiply(self._planes[int(z.nodes[tap, index])], z.weights[tap, index], out=scaled)
        return fine


def _spread(plane: F32, y: Taps, x: Taps) -> F32:
    """Interpolate one plane [y, x] along its rows, then along its columns."""
    parts = [plane[:, nodes] * weights for nodes, weights in zip(x.nodes, x.weights, strict=True)]
    rows = (parts[0] + parts[1]) + (parts[2] + parts[3])
    out = rows[y.nodes[0]] * y.weights[0][:, None]
    for nodes, weights in zip(y.nodes[1:], y.weights[1:], strict=True):
        out += rows[nodes] * weights[:, None]
    return np.asarray(out, dtype=np.float32)
