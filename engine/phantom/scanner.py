"""Scanners that differ: slices, kernels, noise, field of view, artefacts and headers drawn from the seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.phantom.head import stream
from engine.phantom.spec import PhantomSpec, Vendor

VENDORS: tuple[Vendor, ...] = ("siemens", "ge", "canon", "philips")
SPACINGS_MM = (0.6, 1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
SPACING_SHARES = (0.03, 0.05, 0.06, 0.06, 0.10, 0.14, 0.10, 0.36, 0.10)
THIN_MM = 1.5


def scan(seed: int, spec: PhantomSpec) -> PhantomSpec:
    """Return how a study is acquired: `spec` itself, or, where its scanner is varied, one drawn from the seed."""
    if spec.scanner == "plain":
        return spec
    rng = stream(seed, "scanner")
    vendor = VENDORS[int(rng.integers(len(VENDORS)))]
    spacing = float(rng.choice(SPACINGS_MM, p=SPACING_SHARES))
    cover = float(rng.uniform(138, 172))
    drawn: dict[str, Any] = {
        "scanner": "plain",
        "vendor": vendor,
        "slice_spacing_mm": spacing,
        "n_slices": int(np.clip(round(cover / spacing), 18, 290)),
        "centre_mm": round(float(rng.uniform(-6, 8)), 2),
        "tilt_deg": round(float(rng.uniform(-22, 22)), 1) if rng.random() < 0.25 else 0.0,
        "beam_hardening": round(float(rng.uniform(0.5, 2.8)), 2),
        "motion_mm": round(float(rng.uniform(1, 5)), 1) if rng.random() < 0.08 else 0.0,
    }
    return PhantomSpec(**{**spec.model_dump(), **drawn, **_field(rng, spacing, vendor), **_kernel(rng, spacing)})


def _field(rng: np.random.Generator, spacing_mm: float, vendor: Vendor) -> dict[str, Any]:
    """Field of view: 220 to 250 mm, in one study of eight off centre or so small that the head is cut off."""
    # Thin slices are many: a coarser matrix keeps a study as cheap as one of thick slices.
    matrix = 192 if spacing_mm < THIN_MM else 256
    side = float(rng.uniform(222, 252))
    offset = rng.uniform(-5, 5, 2)
    if rng.random() < 0.125:
        side = float(rng.uniform(190, 215))
        offset = rng.uniform(-28, 28, 2)
    return {
        "matrix": matrix,
        "pixel_spacing_mm": round(side / matrix, 4),
        "offset_mm": (round(float(offset[0]), 1), round(float(offset[1]), 1)),
        "circle": rng.random() < 0.5,
        "padding_hu": -2000 if vendor == "ge" else -1024,
    }


def _kernel(rng: np.random.Generator, spacing_mm: float) -> dict[str, Any]:
    """Kernel and noise: thin slices and sharp kernels are noisier, and sharp kernels have a finer grain."""
    sharp = rng.random() < 0.18
    noise = float(rng.uniform(2.2, 4.2)) * (5.0 / spacing_mm) ** 0.35
    return {
        "psf_mm": round(float(rng.uniform(0.35, 0.5) if sharp else rng.uniform(0.5, 0.95)), 3),
        "sharpen": round(float(rng.uniform(0.5, 1.2)), 2) if sharp else 0.0,
        "noise_hu": round(noise * (1.6 if sharp else 1.0), 2),
        "noise_grain_mm": round(float(rng.uniform(0.3, 0.45) if sharp else rng.uniform(0.4, 0.8)), 3),
        "noise_low_cut": round(float(rng.uniform(0.2, 0.7)), 2),
    }
