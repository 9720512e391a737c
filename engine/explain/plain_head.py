"""The same head with plain brain in it: what a slice is compared with, and what a removed patch is filled with.

Air would be a finding of its own inside a head. Plain brain of one value takes lesions, blood, gas, ventricles and bone
away alike and leaves the outline and everything outside it as acquired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.preprocess.spec import HEAD_THRESHOLD_HU

PLAIN_BRAIN_HU = 35.0


def plain_head(voxels_hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill the head's outline on a prepared slice (H, W) with `PLAIN_BRAIN_HU`."""
    inside = ndimage.binary_fill_holes(voxels_hu > HEAD_THRESHOLD_HU)
    return np.where(inside, np.float32(PLAIN_BRAIN_HU), voxels_hu)
