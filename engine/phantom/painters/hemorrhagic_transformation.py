"""Blood inside a fresh infarct: spots along its gyri, or a clot in its middle."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.lesions import around
from engine.phantom.painters import acute_infarct
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import unit
from engine.phantom.tissue import Slab

KEY = "hemorrhagic_transformation"


def _plan(head: Head, rng: np.random.Generator) -> None:
    if not head.has(acute_infarct.KEY):
        acute_infarct.add_infarct(head, rng)
    region = head.regions[acute_infarct.KEY][0]
    clot, part = rng.random() < 0.5, float(rng.uniform(0.35, 0.6))
    centre = around(rng, region.centre, 0.25 * min(region.radii))
    radii = tuple(part * radius for radius in region.radii) if clot else tuple(0.8 * r for r in region.radii)
    hu = float(rng.uniform(54, 68))
    spots = float(rng.uniform(-0.1, 0.3))
    if clot:
        head.press(centre, part * min(region.radii), float(rng.uniform(0.5, 4)))

    def paint(slab: Slab) -> Real:
        blood = slab.blob(centre, (radii[0], radii[1], radii[2]), irregular_mm=2.5, edge_mm=2.0) * slab.brain
        if not clot:
            # Petechiae keep to the cortex and leave gaps.
            blood = blood * unit(1.6 * slab.grey) * unit(1.8 * (slab.field("rough") - spots))
        blood = blood * slab.supratentorial
        slab.blend(hu + 2 * slab.field("rough"), blood)
        return np.asarray(blood, dtype=np.float32)

    head.add(KEY, paint, order=19)


PAINTER = Painter(KEY, 0.06, _plan, hu=(40, 70), replaces_hu=(24, 42), planned=2)
