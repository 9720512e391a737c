"""A mass outside the brain that is no meningioma: in the cerebellopontine angle, or of the dura with eaten bone."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, Side, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage, unit
from engine.phantom.tissue import Slab

KEY = "extra_axial_lesion"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    if rng.random() < 0.55:
        _angle(head, rng, side)
    else:
        _dural(head, rng, side)


def _angle(head: Head, rng: np.random.Generator, side: Side) -> None:
    """Schwannoma (as dense as brain) or epidermoid (as dark as water) beside the pons, in a cleft of CSF."""
    radius = float(rng.uniform(7, 14))
    centre = (side * float(rng.uniform(23, 27)), float(rng.uniform(14, 20)), float(rng.uniform(-36, -29)))
    hu = float(rng.uniform(3, 12)) if rng.random() < 0.3 else float(rng.uniform(33, 46))
    head.press(centre, radius, max(0.0, radius - 10) * 0.3)

    def paint(slab: Slab) -> Real:
        slab.blend(head.csf_hu, slab.blob(centre, (radius + 1.5,) * 3) * slab.brain)
        mass = slab.blob(centre, (radius, radius, radius), irregular_mm=0.7) * slab.cavity
        slab.blend(hu, mass)
        return np.asarray(mass, dtype=np.float32)

    head.add(KEY, paint, order=26)


def _dural(head: Head, rng: np.random.Generator, side: Side) -> None:
    direction = (side * 1.0, float(rng.uniform(-1.0, 1.0)), float(rng.uniform(0.1, 0.9)))
    cx, cy, cz = centre = vault_point(head, direction, 0.0)
    radius, thickness = float(rng.uniform(14, 26)), float(rng.uniform(6, 13))
    hu, eaten = float(rng.uniform(42, 54)), float(rng.uniform(0.2, 0.9))
    head.press(centre, thickness, max(0.0, thickness - 8) * 0.4)

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, radius):
            return slab.nothing()
        away = ((slab.x - cx) ** 2 + (slab.y - cy) ** 2 + (slab.z - cz) ** 2) / np.float32(radius**2)
        lens = slab.field("table") - thickness * (1 - away) * (1 + 0.25 * slab.field("cloud"))
        mass = coverage(lens, 1.0) * coverage(away * 8 - 8, 1.0) * slab.cavity
        slab.blend(hu, mass)
        bone = unit(2 * slab.bone) * coverage(away * 12 - 12 * eaten, 2.0) * unit(1.2 + slab.field("rough"))
        slab.blend(hu, bone * coverage(-slab.field("table") - 0.7 * head.skull_mm, 1.5))
        return np.asarray(mass, dtype=np.float32)

    head.add(KEY, paint, order=41)


PAINTER = Painter(KEY, 0.06, _plan, hu=(0, 56), replaces_hu=(5, 45))
