"""Time the preparation of a 300-slice 512 × 512 study against SimpleITK resampling it to the same grid.

Subject: `engine.preprocess.prepare`: padding, averaging, alignment, one interpolation, the acquired slices under each
prepared one. Baselines, in the same run and told the aligned grid in advance: SimpleITK's ResampleImageFilter, linear,
from the full volume (it aliases: no averaging); and the same after the smoothing that the 4 mm slices call for.
Target: prepare within 1.0 s on two cores. Exit status 1 when it is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.geometry import Volume
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import AIR_HU, PreparedVolume, PreprocessSpec

CORES = 2
TARGET_S = 1.0


def study(n_slices: int) -> Volume:
    """A phantom scanned thinly; it is made of fewer true slices, then repeated with fresh noise, to start soon."""
    thick = 6
    spec = PhantomSpec(matrix=512, pixel_spacing_mm=0.45, n_slices=n_slices // thick, slice_spacing_mm=0.55 * thick)
    made = generate(1, spec).volume
    thin = PhantomSpec(matrix=512, pixel_spacing_mm=0.45, n_slices=n_slices // thick * thick, slice_spacing_mm=0.55)
    noise = np.random.default_rng(1).normal(0, 8, (thick, *made.voxels.shape[1:])).astype(np.int16)
    voxels = np.repeat(made.voxels, thick, axis=0).astype(np.int16) + np.tile(noise, (len(made.voxels), 1, 1))
    return Volume(voxels, thin.geometry(), "HU", made.padding_value, ("",) * len(voxels))


def as_image(volume: Volume) -> sitk.Image:
    geometry = volume.require_geometry()
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing((geometry.pixel_spacing_mm[1], geometry.pixel_spacing_mm[0], geometry.normal_spacing_mm[0]))
    image.SetOrigin(geometry.origins_lps_mm[0].tolist())
    axes = np.stack([geometry.row_cosine_lps, geometry.column_cosine_lps, geometry.normal_lps], axis=1)
    image.SetDirection(axes.ravel().tolist())
    return image


def resample_with_sitk(volume: Volume, prepared: PreparedVolume, smooth: bool) -> np.ndarray:
    """The grid that `prepare` found, filled by SimpleITK."""
    image = as_image(volume)
    if smooth:
        sigmas_mm = [max(0.01, target * 0.4) for target in reversed(prepared.spec.spacing_mm)]
        image = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), sigmas_mm)
    steps = prepared.lps_from_prepared_kji[:3, 2::-1]
    spacing = np.linalg.norm(steps, axis=0)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(size) for size in reversed(prepared.voxels_hu.shape)])
    resampler.SetOutputSpacing(spacing.tolist())
    resampler.SetOutputDirection((steps / spacing).ravel().tolist())
    resampler.SetOutputOrigin(prepared.lps_from_prepared_kji[:3, 3].tolist())
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(AIR_HU)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    return sitk.GetArrayFromImage(resampler.Execute(image))


def best_of(repeats: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def use_two_cores() -> str:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(CORES)
    if not hasattr(os, "sched_setaffinity"):
        return f"{os.cpu_count()} cores (this system cannot be told to use {CORES})"
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return f"{len(cores)} cores"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cores = use_two_cores()
    volume, spec = study(arguments.slices), PreprocessSpec()
    prepared = prepare(volume, spec)
    rows = {
        "engine.preprocess.prepare": best_of(arguments.repeats, lambda: prepare(volume, spec)),
        "SimpleITK resample, linear": best_of(arguments.repeats, lambda: resample_with_sitk(volume, prepared, False)),
        "SimpleITK smooth + resample": best_of(1, lambda: resample_with_sitk(volume, prepared, True)),
    }
    subject_s = rows["engine.preprocess.prepare"]
    print(f"{platform.platform()}, {platform.machine()}, {cores}, CPU only")
    print(f"{volume.voxels.shape} int16 to {prepared.voxels_hu.shape}, aligned: {prepared.alignment.applied}")
    for name, seconds in rows.items():
        print(f"{name:30s} {seconds:7.3f} s   ratio {subject_s / seconds:5.2f}")
    met = subject_s <= TARGET_S
    print(f"target: at most {TARGET_S:.1f} s on {CORES} cores: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
