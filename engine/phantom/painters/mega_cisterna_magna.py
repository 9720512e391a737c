"""A large water space behind and below a normal cerebellum."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import coverage
from engine.phantom.tissue import Slab

KEY = "mega_cisterna_magna"


def _plan(head: Head, rng: np.random.Generator) -> None:
    width, depth = float(rng.uniform(22, 36)), float(rng.uniform(15, 26))
    centre = (float(rng.uniform(-4, 4)), 86.0, float(rng.uniform(-56, -46)))
    height = float(rng.uniform(16, 24))

    def paint(slab: Slab) -> Real:
        # Half of the ellipsoid lies in the occipital bone; `depth` is what is left inside at the middle line.
        space = slab.blob(centre, (width, depth + 6, height), irregular_mm=0.8) * slab.cavity
        space = space * (1 - slab.supratentorial) * coverage(-slab.field("stem") + 2, 1.5)
        slab.blend(head.csf_hu, space)
        return np.asarray(space, dtype=np.float32)

    head.add(KEY, paint, order=8)


PAINTER = Painter(KEY, 0.06, _plan, hu=(2, 20), replaces_hu=(8, 42))
