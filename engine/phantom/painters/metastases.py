"""Two or more nodules where grey meets white and in the cerebellum, with more oedema than their size explains."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.lesions import nodules
from engine.phantom.painters.registry import Painter
from engine.phantom.painters.vasogenic_edema import add_edema
from engine.phantom.shapes import Point
from engine.phantom.tissue import Slab

KEY = "metastases"


def _plan(head: Head, rng: np.random.Generator) -> None:
    solid: list[tuple[Point, Point]] = []
    cores: list[tuple[Point, Point]] = []
    for index in range(int(rng.integers(2, 7))):
        centre = _place(head, rng, below=index > 0 and rng.random() < 0.25)
        radius = float(rng.uniform(4, 10))
        solid.append((centre, (radius, radius, radius)))
        if radius > 6 and rng.random() < 0.5:
            cores.append((centre, (0.6 * radius,) * 3))
        head.press(centre, radius, max(0.0, radius - 8) * float(rng.uniform(0.2, 0.8)))
        if index < 3:
            add_edema(head, centre, radius + float(rng.uniform(6, 14)), float(rng.uniform(7, 12)))
    hu, core_hu = float(rng.uniform(42, 53)), float(rng.uniform(16, 26))

    def paint(slab: Slab) -> Real:
        mass = nodules(slab, solid, irregular_mm=0.8) * slab.cavity
        slab.blend(hu, mass)
        slab.blend(core_hu, nodules(slab, cores, irregular_mm=0.6, edge_mm=1.5) * slab.cavity)
        return np.asarray(mass, dtype=np.float32)

    head.add(KEY, paint, order=18)


def _place(head: Head, rng: np.random.Generator, *, below: bool) -> Point:
    side = any_side(rng)
    if below:
        return side * float(rng.uniform(12, 30)), float(rng.uniform(38, 54)), float(rng.uniform(-42, -28))
    direction = (side * 1.0, float(rng.uniform(-1.8, 1.4)), float(rng.uniform(0.1, 1.6)))
    return vault_point(head, direction, float(rng.uniform(12, 24)))


PAINTER = Painter(KEY, 0.06, _plan, hu=(28, 54), replaces_hu=(22, 42), older=0.4)
