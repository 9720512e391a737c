"""A large part of the vault taken away on one side; scalp lies on the brain."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import unit
from engine.phantom.tissue import Slab

KEY = "craniectomy"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    head.flags.add(f"open:{side}")
    direction = (side * 1.0, float(rng.uniform(-0.5, 0.4)), float(rng.uniform(0.25, 0.55)))
    centre = vault_point(head, direction, -head.skull_mm / 2)
    across, up = float(rng.uniform(32, 52)), float(rng.uniform(26, 38))
    hu = float(rng.uniform(30, 45))

    def paint(slab: Slab) -> Real:
        gone = slab.blob(centre, (30.0, across, up), irregular_mm=0.8, edge_mm=1.2) * unit(3 * slab.bone)
        gone = gone * (slab.field("floor") > 6)
        slab.blend(hu + 4 * slab.field("rough"), gone)
        return gone

    head.add(KEY, paint, order=50)


PAINTER = Painter(KEY, 0.06, _plan, hu=(22, 60), replaces_hu=(600, 1300))
