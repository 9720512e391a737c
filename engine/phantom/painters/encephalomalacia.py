"""Brain lost long ago after an injury: a defect of water at the surface, with a dark scar around it."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Paint, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.painters import chronic_infarct
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "encephalomalacia"
SITES_MM: tuple[Point, ...] = ((14, -66, 2), (26, -58, 6), (50, -26, -16), (56, 10, 2), (48, -36, 30), (44, 44, 26))


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = pick(rng, SITES_MM, 4.0)
    centre = (any_side(rng) * x, y, z)
    radius = float(rng.uniform(9, 17))
    radii = (0.9 * radius, 1.1 * radius, 0.9 * radius)
    hu = head.csf_hu + float(rng.uniform(0, 5))

    def paint(slab: Slab) -> Real:
        scar = slab.blob(centre, (radii[0] + 5, radii[1] + 5, radii[2] + 5), irregular_mm=2.5, edge_mm=4.0)
        slab.add(-7.0, scar * slab.brain)
        lost = slab.blob(centre, radii, irregular_mm=3.0, edge_mm=1.5) * slab.brain
        slab.blend(hu, lost)
        return np.asarray(lost, dtype=np.float32)

    head.add(KEY, paint, order=11)


def _implied(head: Head) -> Paint | None:
    """An old territorial infarct is lost brain, too."""
    regions = head.regions.get(chronic_infarct.KEY)
    return (lambda slab: chronic_infarct.lost_brain(slab, regions[0])) if regions else None


PAINTER = Painter(KEY, 0.03, _plan, hu=(4, 22), replaces_hu=(20, 42), implied=_implied)
