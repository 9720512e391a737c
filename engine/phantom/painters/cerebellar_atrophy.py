"""A shrunken cerebellum: water between its folia, a wide fourth ventricle."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "cerebellar_atrophy"


def _plan(head: Head, rng: np.random.Generator) -> None:
    degree = float(rng.uniform(0.5, 1.0))
    head.fourth *= 1.2 + 0.35 * degree
    width = 0.8 + 1.5 * degree
    reach = 12 + 8 * degree

    def paint(slab: Slab) -> Real:
        below = slab.brain * (1 - slab.supratentorial) * coverage(-slab.field("stem") + 1, 1.5)
        # Folia lie 8 mm apart, parallel to the tentorium; they open towards the surface and over the vermis.
        phase = slab.field("tentorium") + 2.5 * slab.field("cloud")
        gap = np.abs((phase % 8.0) - 4.0)
        open_mm = width * coverage(slab.depth - reach - 6 * (np.abs(slab.x) < 8), 6.0)
        water = below * np.maximum(coverage(gap - open_mm, 1.0) * (open_mm > 0.2), coverage(slab.depth - width, 1.0))
        slab.blend(head.csf_hu + 2, water)
        return np.asarray(water, dtype=np.float32)

    head.add(KEY, paint, order=5, solid=False)


PAINTER = Painter(KEY, 0.06, _plan, hu=(8, 28), replaces_hu=(24, 42), older=0.5)
