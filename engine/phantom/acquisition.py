"""From thin planes to acquired slices: partial volume, point spread, beam hardening, correlated noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.phantom.head import stream
from engine.phantom.lattice import F32, Real
from engine.phantom.shapes import Point, unit
from engine.phantom.spec import PhantomSpec
from engine.phantom.tissue import Slab

NOISE_CORRELATION_PX = 0.75
MIN_COVERAGE = 0.5
VISIBLE_COVERAGE = 0.1
LOWEST_HU, HIGHEST_HU = -1024, 3071


def harden(slab: Slab, size: float = 1.0) -> None:
    """Add mild cupping: brighter along the inner table, darker in the middle and between the petrous bones."""
    inner = slab.cavity
    near = unit(1 - slab.depth * (1 / 15.0))
    rim = near * near * near
    slab.add(size, inner * (3.5 * rim - 0.6))
    if slab.z_range[0] < -15 and slab.z_range[1] > -55:
        bar = np.exp(-(((slab.z + 35) / 11) ** 2) - ((slab.y - 6) / 7) ** 2 - (slab.x / 30) ** 2)
        slab.add(-7.0 * size, inner * bar)


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


def sharpen(slices: F32, spec: PhantomSpec) -> F32:
    """Lift the edges as a sharp kernel does: they overshoot on both sides."""
    if spec.sharpen <= 0:
        return slices
    sigma = 1.1 / spec.pixel_spacing_mm
    slow = ndimage.gaussian_filter(slices, (0, sigma, sigma), truncate=3.0)
    return np.asarray(slices + np.float32(spec.sharpen) * (slices - slow), dtype=np.float32)


def move(slices: F32, spec: PhantomSpec, rng: np.random.Generator) -> None:
    """Let the head move during up to four slices: each shows two heads, one beside the other."""
    if spec.motion_mm <= 0:
        return
    first = int(rng.integers(max(len(slices) - 1, 1)))
    step = spec.motion_mm / spec.pixel_spacing_mm * rng.normal(0, 1, 2).clip(-1.5, 1.5)
    share = np.float32(rng.uniform(0.25, 0.5))
    for plane in slices[first : first + int(rng.integers(1, 5))]:
        moved = ndimage.shift(plane, step, order=1, mode="nearest")
        plane += share * (moved - plane)


def add_streaks(slices: F32, metals_kji: Sequence[tuple[Point, float]], spec: PhantomSpec, seed: int) -> None:
    """Add the streaks that start from metal: `metals_kji` holds voxel indices and the streaks' size in HU."""
    for number, ((k, j, i), strength) in enumerate(metals_kji):
        rng = stream(seed, f"streaks:{number}")
        spread = (0.5 * spec.slice_spacing_mm + 3.5) / spec.slice_spacing_mm
        rays = _rays(rng)
        for index in range(max(0, int(np.ceil(k - spread))), min(len(slices), int(np.floor(k + spread)) + 1)):
            down = (np.arange(slices.shape[1], dtype=np.float32) - np.float32(j))[:, None] * spec.pixel_spacing_mm
            along = (np.arange(slices.shape[2], dtype=np.float32) - np.float32(i))[None, :] * spec.pixel_spacing_mm
            away = np.sqrt(down * down + along * along)
            # A streak runs to both sides of the metal, so the angle is taken modulo half a turn.
            turn = np.arctan2(down, along) * np.float32(len(rays) / np.pi)
            fade = np.exp(-away / np.float32(30.0)) * unit((away - 2.5) / 5)
            slices[index] += np.float32(strength) * fade * rays[np.floor(turn).astype(np.intp) % len(rays)]


def _rays(rng: np.random.Generator) -> F32:
    """Return the size of the streak in each direction: a few strong ones, most of them weak, dark and bright."""
    white = ndimage.gaussian_filter1d(rng.standard_normal(360, dtype=np.float32), 1.6, mode="wrap")
    white /= white.std()
    spiky = white**3
    spiky -= spiky.mean()
    return np.asarray(spiky / spiky.std(), dtype=np.float32)


def add_noise(slices_hu: F32, noise_hu: float, rng: np.random.Generator, spec: PhantomSpec) -> NDArray[np.int16]:
    """Add correlated noise and round; `slices_hu` [slice, row, column] is consumed."""
    grain = spec.noise_grain_mm
    sigma = NOISE_CORRELATION_PX if grain is None else grain / spec.pixel_spacing_mm
    for plane in slices_hu:
        white = rng.standard_normal(plane.shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(white, sigma, truncate=3.0)
        if spec.noise_low_cut:
            smooth -= np.float32(spec.noise_low_cut) * ndimage.gaussian_filter(smooth, 2 * sigma, truncate=2.0)
        # What a Gaussian leaves of white noise in two dimensions, so that the drawn standard deviation is met.
        smooth *= np.float32(noise_hu / smooth.std())
        plane += smooth
    np.rint(slices_hu, out=slices_hu)
    voxels = np.clip(slices_hu, LOWEST_HU, HIGHEST_HU).astype(np.int16)
    if spec.circle:
        voxels[:, ~_circle(spec)] = spec.padding_hu
    return voxels


def _circle(spec: PhantomSpec) -> NDArray[np.bool_]:
    away = np.arange(spec.matrix) - (spec.matrix - 1) / 2
    return np.asarray(np.hypot(away[:, None], away[None, :]) <= spec.matrix / 2)


def threshold(coverage: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Turn a coverage in 0..255 into a mask: at least half covered, or half of the most covered where all is thin."""
    peak = int(coverage.max(initial=0))
    if peak < VISIBLE_COVERAGE * 255:
        return np.zeros(coverage.shape, dtype=np.bool_)
    return np.asarray(coverage >= min(MIN_COVERAGE * 255, 0.5 * peak), dtype=np.bool_)
