"""Blood in the pons or the midbrain, most often in the middle of the pons."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Region
from engine.phantom.lesions import add_bleed
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage

KEY = "brainstem_hemorrhage"


def _plan(head: Head, rng: np.random.Generator) -> None:
    pons = rng.random() < 0.75
    radius = float(rng.uniform(4.5, 9.5)) if pons else float(rng.uniform(4.0, 6.5))
    z = float(rng.uniform(-32, -22)) if pons else float(rng.uniform(-14, -8))
    centre = (float(rng.normal(0, 2.5)), float(rng.uniform(2, 9)), z)
    radii = (1.15 * radius, 0.85 * radius, float(rng.uniform(0.9, 1.3)) * radius)
    head.fourth *= 0.85
    add_bleed(head, KEY, Region(centre, radii), rng, lambda slab: slab.cavity * coverage(slab.field("stem"), 2.0))


PAINTER = Painter(KEY, 0.06, _plan, hu=(46, 76), replaces_hu=(18, 42))
