"""What several painters share: bleeds into tissue, groups of nodules, holes through the vault, clefts in bone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.phantom.head import Head, Region
from engine.phantom.lattice import F32, Real
from engine.phantom.shapes import Point, coverage, unit
from engine.phantom.tissue import Slab

Where = Callable[[Slab], Real]


def grown(radii: Point, by_mm: float) -> Point:
    """Return the radii of an ellipsoid that is larger by `by_mm` on every side."""
    return radii[0] + by_mm, radii[1] + by_mm, radii[2] + by_mm


def add_bleed(head: Head, key: str, region: Region, rng: np.random.Generator, where: Where, order: int = 20) -> None:
    """Take up acute blood in tissue, confined to `where`, with a thin dark rim around it."""
    hu, rim = float(rng.uniform(57, 73)), float(rng.uniform(1.5, 4.0))
    head.regions.setdefault(key, []).append(region)

    def paint(slab: Slab) -> Real:
        edema = slab.blob(region.centre, grown(region.radii, rim), irregular_mm=1.5, edge_mm=3.0)
        slab.add(-8.0, edema * slab.brain)
        bleed = slab.blob(region.centre, region.radii, irregular_mm=1.3) * where(slab)
        slab.blend(hu + 2 * slab.field("rough"), bleed)
        return np.asarray(bleed, dtype=np.float32)

    head.add(key, paint, order=order)


def nodules(slab: Slab, foci: Sequence[tuple[Point, Point]], irregular_mm: float = 0.3, edge_mm: float = 1.0) -> F32:
    """Return the coverage by any of several ellipsoids, given as centre and radii."""
    out = slab.nothing()
    for centre, radii in foci:
        if not slab.misses(centre, max(radii) + 3):
            np.maximum(out, slab.blob(centre, radii, irregular_mm=irregular_mm, edge_mm=edge_mm), out=out)
    return out


def in_vault(slab: Slab, thick: float = 3.0) -> F32:
    """Return how much of a voxel is bone of the vault, partly covered borders counted `thick` times."""
    return unit(thick * slab.bone) * coverage(slab.field("table") - 1, 1.0) * coverage(-slab.field("floor"), 2.0)


def bore(slab: Slab, outer: Point, radius_mm: float) -> F32:
    """Return the coverage by a round hole through the vault at `outer`, along the line to the middle of the head."""
    inner = (outer[0] * 0.8, outer[1] * 0.8, outer[2] * 0.8)
    beyond = (outer[0] * 1.12, outer[1] * 1.12, outer[2] * 1.12)
    return coverage(slab.tube_mm([(inner, radius_mm), (beyond, radius_mm)], 2.0), 1.0)


def around(rng: np.random.Generator, centre: Point, reach_mm: float) -> Point:
    """Draw a point within a cube of half width `reach_mm` around another."""
    x, y, z = (float(c + d) for c, d in zip(centre, rng.uniform(-reach_mm, reach_mm, 3), strict=True))
    return x, y, z
