"""Anisotropic scaling about the volume's centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.augment.parameters import Triple


def scaling(factors: Triple) -> NDArray[np.float64]:
    """Return the 3 × 3 matrix that stretches slices, rows and columns by their factors."""
    return np.diag(np.asarray(factors, dtype=np.float64))
