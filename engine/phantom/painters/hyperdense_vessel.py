"""Fresh clot in the trunk of a middle cerebral artery or in the basilar artery: a dense cord in dark cisterns."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab
from engine.phantom.vessels import basilar, middle_cerebral

KEY = "hyperdense_vessel"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    nodes = middle_cerebral(side) if rng.random() < 0.75 else basilar()
    radius = float(rng.uniform(1.9, 2.7))
    hu = float(rng.uniform(60, 78))
    cord = [(point, radius) for point, _ in nodes]

    def paint(slab: Slab) -> Real:
        clot = coverage(slab.tube_mm(cord), 1.0) * slab.cavity
        slab.blend(hu, clot)
        return np.asarray(clot, dtype=np.float32)

    head.add(KEY, paint, order=33)


PAINTER = Painter(KEY, 0.06, _plan, hu=(38, 78), replaces_hu=(5, 44))
