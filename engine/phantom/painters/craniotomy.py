"""A bone flap put back: thin cuts around it, burr holes at its corners, small plates of titanium across the cuts."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import in_vault, nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, coverage, ellipsoid, union
from engine.phantom.tissue import Slab

KEY = "craniotomy"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    if f"open:{side}" in head.flags:
        side = -1 if side == 1 else 1
    direction = (side * 1.0, float(rng.uniform(-0.7, 0.5)), float(rng.uniform(0.3, 0.6)))
    centre = vault_point(head, direction, -head.skull_mm / 2)
    across, up = float(rng.uniform(24, 38)), float(rng.uniform(18, 28))
    width = float(rng.uniform(1.4, 2.6))
    holes: list[tuple[Point, Point]] = []
    plates: list[tuple[Point, Point]] = []
    for angle in rng.uniform(0, 0.8) + np.linspace(0, 2 * np.pi, int(rng.integers(3, 6)))[:-1]:
        x, y, z = centre[0], centre[1] + across * float(np.cos(angle)), centre[2] + up * float(np.sin(angle))
        holes.append((vault_point(head, (x, y, z), -head.skull_mm / 2), (6.0, 6.0, 6.0)))
        dy, dz = float(np.cos(angle + 0.5)) * across, float(np.sin(angle + 0.5)) * up
        on_table = vault_point(head, (x, centre[1] + dy, centre[2] + dz), -head.skull_mm - 0.6)
        plates.append((on_table, (1.5, 5.0, 2.4)))

    def paint(slab: Slab) -> Real:
        if slab.misses(centre, up + 10):
            return slab.nothing()
        outline = ellipsoid(slab.x, slab.y, slab.z, centre, (45.0, across, up))
        cut = coverage(np.abs(outline) - width / 2, 0.8) * (side * slab.x > 15) * coverage(up * -2 - outline, 1.0)
        gone = union(cut, nodules(slab, holes, edge_mm=1.0)) * in_vault(slab)
        slab.blend(35.0 + 8 * slab.field("rough"), gone)
        metal = nodules(slab, plates, irregular_mm=0.0, edge_mm=0.8)
        slab.blend(2300.0, metal)
        return np.asarray(union(gone, metal), dtype=np.float32)

    head.add(KEY, paint, order=51)


PAINTER = Painter(KEY, 0.06, _plan, hu=(20, 520), replaces_hu=(300, 1300), planned=3)
