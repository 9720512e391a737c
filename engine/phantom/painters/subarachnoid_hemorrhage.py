"""Blood in the basal cisterns and Sylvian fissures, or in the sulci of one convexity."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, Paint, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, union
from engine.phantom.tissue import Slab

KEY = "subarachnoid_hemorrhage"


def _plan(head: Head, rng: np.random.Generator) -> None:
    head.gap_mm += 0.4
    head.sulcus_mm = max(head.sulcus_mm, 1.3)
    hu = float(rng.uniform(54, 70))
    paint = _basal(rng, hu) if rng.random() < 0.6 else _convexity(head, rng, hu)
    head.add(KEY, paint, order=30)


def _basal(rng: np.random.Generator, hu: float) -> Paint:
    reach = float(rng.uniform(32, 70))
    lean = float(rng.uniform(-12, 12))

    def paint(slab: Slab) -> Real:
        near = slab.blob((lean, -8, -8), (reach, reach, 30), irregular_mm=4.0, edge_mm=8.0)
        space = coverage(slab.field("cistern") - 0.6, 1.4) * slab.cavity * (1 - slab.ventricles)
        blood = near * union(space, slab.csf * (1 - slab.ventricles) * coverage(slab.field("sylvian") - 4, 3.0))
        slab.blend(hu, blood)
        return blood

    return paint


def _convexity(head: Head, rng: np.random.Generator, hu: float) -> Paint:
    side = any_side(rng)
    direction = (side * 1.0, float(rng.uniform(-0.9, 0.9)), float(rng.uniform(0.2, 0.9)))
    centre = vault_point(head, direction, 9.0)
    radius = float(rng.uniform(20, 34))

    def paint(slab: Slab) -> Real:
        near = slab.blob(centre, (radius, radius, radius), irregular_mm=3.0, edge_mm=5.0)
        blood = near * slab.csf * (1 - slab.ventricles) * coverage(-side * slab.x + 2, 2.0)
        slab.blend(hu, blood)
        return blood

    return paint


PAINTER = Painter(KEY, 0.06, _plan, hu=(42, 72), replaces_hu=(8, 36))
