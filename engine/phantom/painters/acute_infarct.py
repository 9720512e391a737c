"""A fresh infarct of an arterial territory: grey and white matter a few Hounsfield units darker, and swollen."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Region, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "acute_infarct"
TERRITORIES_MM = (
    ((46.0, -4.0, 14.0), (24.0, 36.0, 28.0)),
    ((48.0, -26.0, 20.0), (22.0, 24.0, 24.0)),
    ((44.0, 28.0, 22.0), (24.0, 24.0, 24.0)),
    ((20.0, 62.0, 6.0), (18.0, 24.0, 22.0)),
    ((10.0, -42.0, 34.0), (13.0, 34.0, 28.0)),
)


def add_infarct(head: Head, rng: np.random.Generator) -> None:
    """Take up a fresh infarct; its region is noted for the painters of what happens inside it."""
    side = any_side(rng)
    territory = int(rng.integers(len(TERRITORIES_MM)))
    (x, y, z), radii = TERRITORIES_MM[territory]
    if territory == 0:
        head.flags.add(f"insula:{side}")
    size = float(rng.uniform(0.72, 1.15))
    rx, ry, rz = (size * radius for radius in radii)
    drop = float(rng.uniform(6.0, 13.0))
    head.regions.setdefault(KEY, []).append(Region((side * x, y, z), (rx, ry, rz)))
    head.press((side * x, y, z), 0.5 * rx, max(0.0, size - 0.85) * float(rng.uniform(4, 14)))

    def paint(slab: Slab) -> Real:
        area = slab.blob((side * x, y, z), (rx, ry, rz), irregular_mm=3.5, edge_mm=4.0)
        area = area * slab.brain * slab.supratentorial * (side * slab.x > 1)
        # Grey matter loses more than white, which is why their border vanishes.
        slab.add(-drop, area * (0.55 + 0.45 * slab.grey))
        return area

    head.add(KEY, paint, order=10)


PAINTER = Painter(KEY, 0.045, add_infarct, hu=(14, 30), replaces_hu=(24, 38))
