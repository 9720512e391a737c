"""An old infarct: a sharply bounded territory nearly as dark as water."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Region, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "chronic_infarct"
TERRITORIES_MM = (
    ((48.0, -14.0, 18.0), (18.0, 22.0, 20.0)),
    ((46.0, 30.0, 20.0), (18.0, 20.0, 20.0)),
    ((24.0, 60.0, 8.0), (16.0, 20.0, 18.0)),
    ((12.0, -46.0, 32.0), (11.0, 24.0, 22.0)),
)


def lost_brain(slab: Slab, region: Region) -> Real:
    """Return the part of a region that is brain of its own hemisphere."""
    area = slab.blob(region.centre, region.radii, irregular_mm=3.0, edge_mm=2.0)
    side = 1 if region.centre[0] > 0 else -1
    return np.asarray(area * slab.brain * slab.supratentorial * (side * slab.x > 1), dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    (x, y, z), radii = TERRITORIES_MM[rng.integers(len(TERRITORIES_MM))]
    size = float(rng.uniform(0.65, 1.2))
    rx, ry, rz = (size * radius for radius in radii)
    region = Region((side * x, y, z), (rx, ry, rz))
    head.regions.setdefault(KEY, []).append(region)
    hu = head.csf_hu + float(rng.uniform(3, 9))

    def paint(slab: Slab) -> Real:
        area = lost_brain(slab, region)
        slab.blend(hu + slab.field("rough"), area * 0.9)
        return area

    head.add(KEY, paint, order=11)


PAINTER = Painter(KEY, 0.06, _plan, hu=(8, 24), replaces_hu=(22, 38), older=0.7)
