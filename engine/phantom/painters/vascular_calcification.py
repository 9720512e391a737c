"""Calcium in the walls of the arteries at the base: tram tracks along the siphons, rings of the vertebrals."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab
from engine.phantom.vessels import Path, basilar, carotid_siphon, vertebral

KEY = "vascular_calcification"


def _plan(head: Head, rng: np.random.Generator) -> None:
    sides: tuple[Side, Side] = (-1, 1)
    paths: list[Path] = [carotid_siphon(side) for side in sides]
    if rng.random() < 0.6:
        paths += [vertebral(side) for side in sides]
    if rng.random() < 0.3:
        paths.append(basilar())
    hu = float(rng.uniform(350, 900))
    gaps = float(rng.uniform(-1.0, 0.3))

    def paint(slab: Slab) -> Real:
        calcium = slab.nothing()
        for path in paths:
            wall = coverage(np.abs(slab.tube_mm(path)) - 0.7, 0.8)
            np.maximum(calcium, wall, out=calcium)
        calcium = calcium * coverage(gaps - slab.field("rough"), 0.6) * slab.cavity
        slab.blend(hu, calcium)
        return np.asarray(calcium, dtype=np.float32)

    head.add(KEY, paint, order=36)


PAINTER = Painter(KEY, 0.06, _plan, hu=(70, 700), replaces_hu=(0, 150), older=0.9)
