"""A brain swollen as a whole: dark, without a border between grey and white, no sulci, slits for ventricles."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Effacement, Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "cerebral_edema"


def _plan(head: Head, rng: np.random.Generator) -> None:
    degree = float(rng.uniform(0.6, 1.0))
    head.ventricle *= 1 - 0.55 * degree
    head.third_ventricle_mm *= 1 - 0.5 * degree
    head.gap_mm = max(0.4, head.gap_mm * (1 - 0.7 * degree))
    head.cistern_loss_mm = max(head.cistern_loss_mm, 1.0 + 3.5 * degree)
    head.effacements.append(Effacement((0, 0, 25), 150.0, 0.55 + 0.45 * degree))
    even_hu = head.white_hu - float(rng.uniform(2, 6))

    def paint(slab: Slab) -> Real:
        brain = slab.brain * slab.supratentorial
        deep = 0.5 + 0.5 * degree
        slab.add((even_hu - head.grey_hu) * deep, brain * slab.grey)
        slab.add((even_hu - head.white_hu) * deep, brain * (1 - slab.grey))
        return np.asarray(brain, dtype=np.float32)

    head.add(KEY, paint, order=7, solid=False)


PAINTER = Painter(KEY, 0.06, _plan, hu=(18, 32), replaces_hu=(27, 38), planned=6, older=-0.3)
