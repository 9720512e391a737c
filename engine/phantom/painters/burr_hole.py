"""A round hole through the vault, drilled: its walls are straight, and soft tissue or a little air fills it."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import bore, in_vault
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import Point, union
from engine.phantom.tissue import Slab

KEY = "burr_hole"


def drill(head: Head, outer: Point, radius_mm: float, hu: float) -> None:
    """Take up a hole; more than one hole is one finding."""
    earlier = next((layer for layer in head.layers if layer.key == KEY), None)

    def paint(slab: Slab) -> Real:
        mask = earlier.paint(slab) if earlier else slab.nothing()
        if slab.misses(outer, radius_mm + 3):
            return mask
        hole = bore(slab, outer, radius_mm) * in_vault(slab)
        slab.blend(hu, hole)
        return union(mask, hole)

    if earlier is not None:
        head.layers.remove(earlier)
    head.add(KEY, paint, order=56)


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    for _ in range(int(rng.integers(1, 3))):
        direction = (side * 1.0, float(rng.uniform(-1.3, 1.0)), float(rng.uniform(0.5, 1.4)))
        outer = vault_point(head, direction, -head.skull_mm)
        drill(head, outer, float(rng.uniform(4.5, 7.0)), float(rng.uniform(10, 45)))


PAINTER = Painter(KEY, 0.03, _plan, hu=(-60, 320), replaces_hu=(350, 1300))
