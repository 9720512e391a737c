"""Write acquired and prepared volumes as NIfTI, whose header holds one affine and therefore no shear."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from engine.errors import ExportError
from engine.geometry import Volume
from engine.preprocess.spec import FloatArray, PreparedVolume, Voxels
from engine.preprocess.tilt import is_regular, lps_from_regular_kji, to_regular_grid

_SUFFIXES = (".nii.gz", ".nii")


def write_volume_nifti(volume: Volume, path: Path) -> tuple[str, ...]:
    """Write an acquired volume, on a regular grid.

    Parameters
    ----------
    volume
        Any volume with a place in space. A regular one is written voxel by voxel, unchanged. A tilted or unevenly
        spaced one is resampled first (`engine.preprocess.tilt.to_regular_grid`), as NIfTI cannot describe it.
    path
        Ends in ``.nii`` or ``.nii.gz``; replaced as a whole or not at all.

    Returns
    -------
    tuple[str, ...]
        What was changed on the way, in sentences for the user; empty if nothing was.

    Raises
    ------
    GeometryError
        If this is a 2D stack.
    ExportError
        If the file cannot be written.
    """
    geometry = volume.require_geometry()
    regular = to_regular_grid(volume)
    placed = regular.require_geometry()
    _write(regular.voxels, lps_from_regular_kji(placed), path)
    if is_regular(geometry):
        return ()
    spacing_mm = geometry.normal_spacing_mm
    return (
        f"Resampled to a regular grid: NIfTI holds no tilt ({geometry.tilt_deg:.1f}°) and no uneven spacing "
        f"({spacing_mm.min():.3f} to {spacing_mm.max():.3f} mm). {geometry.n_slices} acquired slices became "
        f"{placed.n_slices}, {np.median(spacing_mm):.3f} mm apart.",
    )


def write_prepared_nifti(prepared: PreparedVolume, path: Path) -> None:
    """Write a prepared volume in HU, float32, placed in the patient where its voxels are.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    _write(prepared.voxels_hu, prepared.lps_from_prepared_kji, path)


def _write(voxels: Voxels, lps_from_kji: FloatArray, path: Path) -> None:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise _export_error(path, "its name ends neither in .nii nor in .nii.gz", "suffix")
    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    steps = lps_from_kji[:3, 2::-1]
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    image.SetOrigin(lps_from_kji[:3, 3].tolist())
    partial = path.with_name(f".{uuid.uuid4().hex}{suffix}")
    try:
        sitk.WriteImage(image, str(partial), useCompression=suffix == ".nii.gz")
        os.replace(partial, path)
    except (RuntimeError, OSError) as error:
        raise _export_error(path, "the folder is missing, not writable, or full", "unwritable") from error
    finally:
        partial.unlink(missing_ok=True)


def _export_error(path: Path, why: str, code: str) -> ExportError:
    return ExportError(
        f"{path} cannot be written as NIfTI: {why}.",
        hint="Choose another file name or folder.",
        code=f"nifti.{code}",
        kind="environment" if code == "unwritable" else "input",
    )
