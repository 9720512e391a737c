"""A hypertensive bleed into the thalamus; a large one breaks into the ventricles."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Region, any_side
from engine.phantom.lesions import add_bleed
from engine.phantom.painters import intraventricular_hemorrhage
from engine.phantom.painters.registry import Painter

KEY = "thalamic_hemorrhage"


def _plan(head: Head, rng: np.random.Generator) -> None:
    side = any_side(rng)
    radius = float(rng.uniform(5.5, 12.5))
    centre = (side * float(rng.uniform(12, 15)), float(rng.uniform(9, 15)), float(rng.uniform(3, 9)))
    stretch = rng.uniform(0.85, 1.2, 3)
    radii = (0.85 * radius * float(stretch[0]), 1.1 * radius * float(stretch[1]), radius * float(stretch[2]))
    head.press(centre, radius, max(0.0, (radius - 7) * float(rng.uniform(0.3, 0.8))))
    add_bleed(head, KEY, Region(centre, radii), rng, lambda slab: slab.cavity * slab.supratentorial)
    if radius > 9.5 and rng.random() < 0.6:
        intraventricular_hemorrhage.add_blood(head, rng)


PAINTER = Painter(KEY, 0.06, _plan, hu=(48, 76), replaces_hu=(24, 42))
