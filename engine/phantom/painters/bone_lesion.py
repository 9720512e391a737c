"""Holes eaten into the vault: soft tissue in place of diploe and of one table or both, with frayed borders."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import in_vault, nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "bone_lesion"


def _plan(head: Head, rng: np.random.Generator) -> None:
    holes: list[tuple[Point, Point]] = []
    for _ in range(int(rng.integers(1, 6))):
        direction = (any_side(rng) * 1.0, float(rng.uniform(-1.8, 1.8)), float(rng.uniform(0.1, 1.2)))
        radius = float(rng.uniform(4.5, 10))
        depth = -head.skull_mm * float(rng.uniform(0.3, 0.7))
        holes.append((vault_point(head, direction, depth), (radius, radius, radius)))
    hu = float(rng.uniform(34, 60))

    def paint(slab: Slab) -> Real:
        gone = nodules(slab, holes, irregular_mm=1.2, edge_mm=1.5) * in_vault(slab)
        slab.blend(hu, gone)
        return np.asarray(gone, dtype=np.float32)

    head.add(KEY, paint, order=49)


PAINTER = Painter(KEY, 0.06, _plan, hu=(20, 220), replaces_hu=(350, 1300))
