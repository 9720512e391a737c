"""Signed distances in millimetres (negative inside), and the soft step that turns a distance into a coverage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from engine.phantom.lattice import F32, Real

Point = tuple[float, float, float]


def coverage(distance_mm: Real, edge_mm: float = 1.0) -> F32:
    """Return how much of a voxel is inside: 1 inside, 0 outside, linear over `edge_mm` at the border."""
    out = np.asarray(distance_mm * np.float32(-1.0 / edge_mm), dtype=np.float32)
    out += np.float32(0.5)
    return np.clip(out, 0.0, 1.0, out=out)


def ellipsoid(x: F32, y: F32, z: F32, centre: Point, radii: Point) -> F32:
    """Return the approximate distance to an ellipsoid: exact on its surface, scaled by the mean radius off it."""
    (cx, cy, cz), (rx, ry, rz) = centre, radii
    squares = ((x - np.float32(cx)) * np.float32(1 / rx)) ** 2
    squares += ((y - np.float32(cy)) * np.float32(1 / ry)) ** 2
    squares += ((z - np.float32(cz)) * np.float32(1 / rz)) ** 2
    np.sqrt(squares, out=squares)
    squares -= np.float32(1.0)
    squares *= np.float32((rx * ry * rz) ** (1 / 3))
    return squares


def tube(x: F32, y: F32, z: F32, nodes: Sequence[tuple[Point, float]]) -> F32:
    """Return the distance to a chain of round cones: `nodes` hold points and the radius at each."""
    best = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), 1e3, dtype=np.float32)
    for (start, r0), (end, r1) in pairwise(nodes):
        axis = np.array(end, dtype=np.float32) - np.array(start, dtype=np.float32)
        px, py, pz = (v - np.float32(s) for v, s in zip((x, y, z), start, strict=True))
        t = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / np.float32(axis @ axis), 0, 1)
        gap = np.sqrt((px - t * axis[0]) ** 2 + (py - t * axis[1]) ** 2 + (pz - t * axis[2]) ** 2)
        np.minimum(best, gap - (np.float32(r0) + t * np.float32(r1 - r0)), out=best)
    return best


def unit(value: Real) -> F32:
    """Return `value` clipped to 0..1."""
    return np.asarray(np.clip(value, 0.0, 1.0), dtype=np.float32)


def union(first: Real, second: Real) -> F32:
    """Return the coverage by either of two shapes."""
    return np.asarray(np.maximum(first, second), dtype=np.float32)


def sigmoid(value: Real) -> F32:
    """Return the logistic function of `value`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))), dtype=np.float32)
