"""A shrunken brain: wide sulci, wide subarachnoid space, ventricles wider than before."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import unit
from engine.phantom.tissue import Slab

KEY = "cerebral_atrophy"


def _plan(head: Head, rng: np.random.Generator) -> None:
    degree = float(rng.uniform(0.4, 1.0))
    head.sulcus_mm += 0.9 + 1.6 * degree
    head.gap_mm += 0.8 + 2.4 * degree
    head.ventricle *= 1.1 + 0.22 * degree
    head.third_ventricle_mm *= 1.1 + 0.3 * degree

    def paint(slab: Slab) -> Real:
        return unit(slab.csf * (1 - slab.ventricles) * slab.supratentorial)

    head.add(KEY, paint, order=5, solid=False)


PAINTER = Painter(KEY, 0.06, _plan, hu=(8, 25), replaces_hu=(25, 42), older=0.9)
