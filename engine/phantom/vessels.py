"""The large arteries at the base of the brain: the paths that clots, calcium, aneurysms and clips keep to."""

from __future__ import annotations

from engine.phantom.head import Side
from engine.phantom.shapes import Point

Path = list[tuple[Point, float]]

# Right of the middle line by sign: anterior communicating, middle cerebral, posterior communicating, basilar tip.
BRANCHINGS_MM: tuple[Point, ...] = ((1, -24, -17), (34, -15, -13), (12, -14, -20), (1, -7, -16))


def middle_cerebral(side: Side) -> Path:
    """Return the trunk from the carotid's end to the Sylvian fissure."""
    points: tuple[Point, ...] = ((9, -13, -20), (20, -16, -17), (35, -14, -13))
    return [((side * x, y, z), 1.5) for x, y, z in points]


def basilar() -> Path:
    """Return the artery in front of the pons."""
    return [((0.5, -9.5, -36), 1.7), ((0, -11, -27), 1.7), ((0, -7.5, -16), 1.6)]


def carotid_siphon(side: Side) -> Path:
    """Return the carotid beside the sella, up to its end."""
    points: tuple[Point, ...] = ((10, -6, -31), (11, -14, -27), (11, -20, -25), (9, -14, -20))
    return [((side * x, y, z), 2.4) for x, y, z in points]


def vertebral(side: Side) -> Path:
    """Return the artery beside the medulla."""
    return [((side * 9.0, 12, -64), 2.0), ((side * 5.0, 4, -50), 1.9), ((side * 1.0, -8, -38), 1.8)]
