"""A bleed into a cerebellar hemisphere or the vermis; a large one shuts the fourth ventricle and dams up the others."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Bulge, Head, Region, any_side
from engine.phantom.lesions import add_bleed
from engine.phantom.painters import hydrocephalus
from engine.phantom.painters.registry import Painter

KEY = "cerebellar_hemorrhage"


def _plan(head: Head, rng: np.random.Generator) -> None:
    radius = float(rng.uniform(6, 18))
    away = 0.0 if rng.random() < 0.2 else any_side(rng) * float(rng.uniform(16, 26))
    centre = (away, float(rng.uniform(40, 50)), float(rng.uniform(-42, -30)))
    stretch = rng.uniform(0.85, 1.2, 3)
    radii = (radius * float(stretch[0]), radius * float(stretch[1]), 0.85 * radius * float(stretch[2]))
    head.bulges.append(Bulge(centre, radius, min(0.5 * radius, 6.0)))
    if radius > 12:
        head.fourth *= 0.55
        head.cistern_loss_mm = max(head.cistern_loss_mm, float(rng.uniform(0, 3)))
        if rng.random() < 0.6:
            hydrocephalus.dam_up(head, rng)
    add_bleed(head, KEY, Region(centre, radii), rng, lambda slab: slab.cavity * (1 - slab.supratentorial))


PAINTER = Painter(KEY, 0.06, _plan, hu=(48, 76), replaces_hu=(24, 42))
