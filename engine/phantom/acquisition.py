"""From thin planes to acquired slices: partial volume, point spread, beam hardening, correlated noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.phantom.lattice import F32, Real
from engine.phantom.shapes import unit
from engine.phantom.spec import PhantomSpec
from engine.phantom.tissue import Slab

NOISE_CORRELATION_PX = 0.75
MIN_COVERAGE = 0.5
VISIBLE_COVERAGE = 0.1
LOWEST_HU = -1024


def harden(slab: Slab) -> None:
    """Add mild cupping: brighter along the inner table, darker in the middle and between the petrous bones."""
    inner = slab.cavity
    near = unit(1 - slab.depth * (1 / 15.0))
    rim = near * near * near
    slab.add(1.0, inner * (3.5 * rim - 0.6))
    if slab.z_range[0] < -15 and slab.z_range[1] > -55:
        bar = np.exp(-(((slab.z + 35) / 11) ** 2) - ((slab.y - 6) / 7) ** 2 - (slab.x / 30) ** 2)
        slab.add(-7.0, inner * bar)


def average_planes(planes: Real, per_slice: int) -> F32:
    """Average groups of `per_slice` planes: [plane, row, column] to [slice, row, column]."""
    if per_slice == 1:
        return np.asarray(planes, dtype=np.float32)
    shape = (len(planes) // per_slice, per_slice, *planes.shape[1:])
    return np.asarray(planes.reshape(shape).mean(axis=1), dtype=np.float32)


def blur(slices: F32, spec: PhantomSpec) -> F32:
    """Apply the in-plane point spread."""
    sigma = spec.psf_mm / spec.pixel_spacing_mm
    if sigma <= 0:
        return slices
    return np.asarray(ndimage.gaussian_filter(slices, (0, sigma, sigma), truncate=3.0), dtype=np.float32)


def add_noise(slices_hu: F32, noise_hu: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Add correlated noise and round; `slices_hu` [slice, row, column] is consumed."""
    sigma = NOISE_CORRELATION_PX
    for plane in slices_hu:
        white = rng.standard_normal(plane.shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(white, sigma, truncate=3.0)
        # What a Gaussian leaves of white noise in two dimensions, so that the drawn standard deviation is met.
        smooth *= np.float32(noise_hu / smooth.std())
        plane += smooth
    np.rint(slices_hu, out=slices_hu)
    return np.clip(slices_hu, LOWEST_HU, 3071).astype(np.int16)


def threshold(coverage: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Turn a coverage in 0..255 into a mask: at least half covered, or half of the most covered where all is thin."""
    peak = int(coverage.max(initial=0))
    if peak < VISIBLE_COVERAGE * 255:
        return np.zeros(coverage.shape, dtype=np.bool_)
    return np.asarray(coverage >= min(MIN_COVERAGE * 255, 0.5 * peak), dtype=np.bool_)
