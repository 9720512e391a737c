"""Sulci without water: their walls touch, over a part of one hemisphere or everywhere."""

from __future__ import annotations

import numpy as np

from engine.phantom.anatomy import vault_point
from engine.phantom.head import Effacement, Head, Paint, any_side
from engine.phantom.lattice import Real
from engine.phantom.painters.registry import Painter
from engine.phantom.shapes import unit
from engine.phantom.tissue import Slab

KEY = "sulcal_effacement"
NARROWED = 0.7


def _paint(slab: Slab) -> Real:
    """Return where water would be in a sulcus and is not, half a millimetre of its walls included."""
    free, left = slab.field("sulcus_free"), slab.field("sulcus_width")
    lost = unit(2 * (1 - left / np.maximum(free, np.float32(0.15))) - 0.6)
    near = unit(free + 1.0 - slab.fold_mm)
    return np.asarray(lost * near * slab.cavity * (free > 0.15), dtype=np.float32)


def _plan(head: Head, rng: np.random.Generator) -> None:
    direction = (any_side(rng) * 1.0, float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.3, 0.9)))
    head.sulcus_mm = max(head.sulcus_mm, 1.1)
    reach, amount = float(rng.uniform(34, 55)), float(rng.uniform(0.85, 1.0))
    head.effacements.append(Effacement(vault_point(head, direction, 6.0), reach, amount))
    head.add(KEY, _paint, order=92, solid=False)


def _implied(head: Head) -> Paint | None:
    return _paint if head.effacement() > NARROWED else None


PAINTER = Painter(KEY, 0.03, _plan, hu=(26, 40), replaces_hu=(12, 40), implied=_implied)
