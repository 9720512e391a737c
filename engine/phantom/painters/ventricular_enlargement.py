"""Ventricles wider than normal, for whatever reason."""

from __future__ import annotations

import numpy as np

from engine.phantom.head import Head, Paint
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.tissue import Slab

KEY = "ventricular_enlargement"
ENLARGED = 1.55


def _paint(slab: Slab) -> Real:
    return slab.ventricles.copy()


def _plan(head: Head, rng: np.random.Generator) -> None:
    head.ventricle = max(head.ventricle * float(rng.uniform(1.25, 1.6)), ENLARGED + float(rng.uniform(0.05, 0.4)))
    head.third_ventricle_mm *= 1.3
    head.add(KEY, _paint, order=90, solid=False)


def _implied(head: Head) -> Paint | None:
    return _paint if head.ventricle > ENLARGED else None


PAINTER = Painter(KEY, 0.03, _plan, hu=(2, 16), replaces_hu=(10, 34), implied=_implied, planned=4)
