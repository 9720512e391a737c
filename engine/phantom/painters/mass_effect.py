"""Brain displaced or squeezed by something that takes up room; alone, by a mass as dense as the cortex."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Paint, any_side, pick
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage
from engine.phantom.tissue import Slab

KEY = "mass_effect"
SIDEWAYS_MM, AWAY_MM = 3.5, 5.9
SITES_MM: tuple[Point, ...] = ((40, -30, 20), (42, 24, 24), (36, -4, 34))


def _paint(slab: Slab) -> Real:
    """Return the brain that is displaced: to the side, or away from a mass within two centimetres of it."""
    moved = slab.nothing()
    for bulge in slab.head.bulges:
        reach = bulge.radius_mm + 10
        if bulge.amount_mm > AWAY_MM and not slab.misses(bulge.centre, reach):
            np.maximum(moved, slab.blob(bulge.centre, (reach, reach, reach), edge_mm=2.0), out=moved)
    np.maximum(moved, coverage(SIDEWAYS_MM - np.abs(slab.field("shift")), 1.0), out=moved)
    return np.asarray(moved * slab.cavity, dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    x, y, z = pick(rng, SITES_MM, 5.0)
    centre = (any_side(rng) * x, y, z)
    radius = float(rng.uniform(12.5, 17))
    hu = head.grey_hu + float(rng.uniform(0, 3))
    head.press(centre, radius, float(rng.uniform(3.0, 4.6)))

    def paint(slab: Slab) -> Real:
        mass = slab.blob(centre, (radius, radius, radius), irregular_mm=2.5, edge_mm=4.0)
        slab.blend(hu, 0.85 * mass * slab.cavity * slab.supratentorial)
        return _paint(slab)

    head.add(KEY, paint, order=14, solid=False)


def _implied(head: Head) -> Paint | None:
    sideways = max((abs(push.amount_mm) for push in head.pushes), default=0.0)
    away = max((bulge.amount_mm for bulge in head.bulges), default=0.0)
    return _paint if sideways > SIDEWAYS_MM or away > AWAY_MM else None


PAINTER = Painter(KEY, 0.02, _plan, hu=(20, 72), replaces_hu=(20, 40), implied=_implied)
