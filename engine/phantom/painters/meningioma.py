"""A round mass with a broad base on the dura, slightly denser than brain, in some with calcium."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "meningioma"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    radius = float(rng.uniform(8, 20))
    centre = _place(head, rng, side, radius)
    hu = float(rng.uniform(45, 56))
    calcium = float(rng.uniform(40, 160)) if rng.random() < 0.3 else 0.0
    head.press(centre, radius, max(0.0, radius - 13) * float(rng.uniform(0.2, 0.7)))

    def paint(slab: Slab) -> Real:
        mass = slab.blob(centre, (radius, radius, radius), irregular_mm=0.9) * slab.cavity * slab.supratentorial
        speckle = calcium * np.clip(slab.field("rough") - 0.4, 0, 1)
        slab.blend(hu + slab.field("rough") + speckle, mass)
        return mass

    head.add(KEY, paint, order=25)


def _place(head: Head, rng: np.random.Generator, side: int, radius: float) -> Point:
    """Over the convexity, or beside the falx."""
    if rng.random() < 0.7:
        direction = (side * 1.0, float(rng.uniform(-1.3, 1.0)), float(rng.uniform(0.1, 1.2)))
        return vault_point(head, direction, 0.55 * radius)
    return side * (0.75 * radius + 1), float(rng.uniform(-60, -30)), float(rng.uniform(18, 40))


PAINTER = Painter(KEY, 0.06, _plan, hu=(42, 75), replaces_hu=(22, 42))
