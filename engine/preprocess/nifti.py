"""Write acquired and prepared volumes as NIfTI, a JSON file beside the acquired ones.

A NIfTI header holds one affine: gantry tilt fits into it, as shear, uneven slice spacing does not. Acquired voxels are
never resampled for the header's sake; where it cannot tell the truth the JSON file does. nibabel is imported where a
file is written, as it takes a quarter of a second.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.dicom.nifti import MEAN_SPACING_MARK
from engine.errors import ExportError
from engine.geometry import Volume, VolumeGeometry
from engine.preprocess.spec import FloatArray, PreparedVolume, Voxels
from engine.preprocess.tilt import (
    POSITION_TOLERANCE_MM,
    is_even,
    lps_from_regular_kji,
    mean_origins_lps_mm,
    mean_step_lps_mm,
    to_regular_grid,
)

SIDECAR_FORMAT = "nifti-slice-geometry"
SIDECAR_VERSION = 1

_SUFFIXES = (".nii.gz", ".nii")
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER = 1
_LONGEST_SIDE = 32767
_COMPRESSION = 3


@dataclass(frozen=True, eq=False)
class _Placement:
    """What a header says of the voxels' place; both 4 × 4 from (slice, row, column, 1) to LPS millimetres."""

    sform_lps: FloatArray
    qform_lps: FloatArray
    description: str = ""


def write_volume_nifti(volume: Volume, path: Path, *, regular: bool = False) -> tuple[str, ...]:
    """Write an acquired volume, and beside it a JSON file with the place of every slice (`sidecar_path`).

    Parameters
    ----------
    volume
        Any volume with a place in space. Its voxels are written as they are, same values, same type, padding too.
        The sform holds the affine of the slices, with the shear that a gantry tilt is; the qform, which cannot hold
        shear, the true planes at their true distance, centred on the stack. Of unevenly spaced slices both hold the
        mean step from the first to the last slice, which places these two only.
    path
        Ends in ``.nii`` or ``.nii.gz``.
    regular
        Resample onto a regular grid first (`engine.preprocess.tilt.to_regular_grid`): tilt sheared out, spacing
        evened out, padding made air.

    Returns
    -------
    tuple[str, ...]
        What the user has to know of the file, in sentences; empty if nothing.

    Raises
    ------
    GeometryError
        If this is a 2D stack, or `regular` is asked for a volume that reaches further than a body.
    ExportError
        If a file cannot be written; each is replaced as a whole, or not at all, and neither unless both can be made.
    """
    geometry = volume.require_geometry()
    written = to_regular_grid(volume) if regular else volume
    placed = written.require_geometry()
    resampled = written is not volume
    document = _sidecar(written, resampled=resampled)
    _write(written.voxels, _place(placed), path, document)
    if regular:
        return (_regular_note(geometry, placed) if resampled else _already_regular_note(),)
    return () if is_even(geometry) else (_mean_note(geometry, sidecar_path(path)),)


def write_prepared_nifti(prepared: PreparedVolume, path: Path) -> None:
    """Write a prepared volume in HU, float32, placed in the patient where its voxels are.

    A JSON file that `write_volume_nifti` once wrote with a NIfTI file of this name is removed: it is of other slices.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    affine_lps = prepared.lps_from_prepared_kji
    _write(prepared.voxels_hu, _Placement(affine_lps, affine_lps), path, None)


def sidecar_path(path: Path) -> Path:
    """Return the JSON file beside a NIfTI file: ``V.json`` for ``V.nii`` and ``V.nii.gz``.

    Raises
    ------
    ExportError
        If the name ends in neither.
    """
    return path.with_name(path.name[: -len(_suffix(path))] + ".json")


def _place(geometry: VolumeGeometry) -> _Placement:
    sform = lps_from_regular_kji(geometry)
    sform[:3, 0] = mean_step_lps_mm(geometry)
    qform = sform.copy()
    qform[:3, 0] = geometry.normal_lps * (sform[:3, 0] @ geometry.normal_lps)
    qform[:3, 3] += (sform[:3, 0] - qform[:3, 0]) * (geometry.n_slices - 1) / 2
    return _Placement(sform, qform, "" if is_even(geometry) else MEAN_SPACING_MARK)


def _sidecar(volume: Volume, *, resampled: bool) -> dict[str, Any]:
    geometry = volume.require_geometry()
    return {
        "format": SIDECAR_FORMAT,
        "version": SIDECAR_VERSION,
        "coordinates": "DICOM patient coordinates (LPS), mm; NIfTI voxel i, j, k is column, row, slice",
        "slices": geometry.n_slices,
        "rows": geometry.rows,
        "columns": geometry.columns,
        "units": volume.units,
        "padding_value": volume.padding_value,
        "resampled": resampled,
        "evenly_spaced": is_even(geometry),
        "tilt_deg": geometry.tilt_deg,
        "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
        "row_cosine_lps": geometry.row_cosine_lps.tolist(),
        "column_cosine_lps": geometry.column_cosine_lps.tolist(),
        "normal_lps": geometry.normal_lps.tolist(),
        "mean_step_lps_mm": mean_step_lps_mm(geometry).tolist(),
        "slice_origins_lps_mm": geometry.origins_lps_mm.tolist(),
        "positions_mm": geometry.positions_mm.tolist(),
        "normal_spacing_mm": geometry.normal_spacing_mm.tolist(),
    }


def _mean_note(geometry: VolumeGeometry, sidecar: Path) -> str:
    off_mm = float(np.linalg.norm(mean_origins_lps_mm(geometry) - geometry.origins_lps_mm, axis=1).max())
    return (
        f"The slices are unevenly spaced ({_spacing_text(geometry)}); a NIfTI header holds one spacing only. It has "
        f"the mean, so that slices between the first and the last lie up to {off_mm:.1f} mm from where it says. Their "
        f"true positions are in {sidecar}. --regular or --stage prepared gives a regular grid, resampled."
    )


def _regular_note(geometry: VolumeGeometry, placed: VolumeGeometry) -> str:
    spacing_mm, changes = geometry.normal_spacing_mm, []
    if geometry.tilt_deg >= 0.05:
        changes.append(f"gantry tilt of {geometry.tilt_deg:.1f}° sheared out")
    if np.ptp(spacing_mm) > POSITION_TOLERANCE_MM:
        changes.append(f"uneven spacing ({_spacing_text(geometry)}) evened out")
    why = ": " + ", ".join(changes) if changes else ""
    return (
        f"Resampled onto a regular grid{why}. {geometry.n_slices} acquired slices became {placed.n_slices}, "
        f"{placed.normal_spacing_mm.mean():.3f} mm apart; the voxels are interpolated, no longer the acquired ones."
    )


def _already_regular_note() -> str:
    return "The acquired slices lie on a regular grid already; nothing was resampled."


def _spacing_text(geometry: VolumeGeometry) -> str:
    spacing_mm = geometry.normal_spacing_mm
    return f"{spacing_mm.min():.3f} to {spacing_mm.max():.3f} mm"


def _suffix(path: Path) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise _export_error(path, "its name ends neither in .nii nor in .nii.gz", "suffix")
    return suffix


def _write(voxels: Voxels, placement: _Placement, path: Path, document: dict[str, Any] | None) -> None:
    """Write voxels and sidecar beside their places, then put both in place; without a document, none is left there."""
    suffix, sidecar = _suffix(path), sidecar_path(path)
    ours = _is_ours(sidecar)
    if max(voxels.shape) > _LONGEST_SIDE:
        raise _export_error(path, f"a side of {max(voxels.shape)} voxels is beyond {_LONGEST_SIDE}", "size")
    if document is not None and sidecar.exists() and not ours:
        raise _export_error(path, f"{sidecar} belongs beside it but is another program's file", "sidecar")
    try:
        with _partial(path) as partial, _partial(sidecar) as partial_sidecar:
            with partial.open("xb") as stream:
                _write_image(stream, voxels, placement, packed=suffix == ".nii.gz")
            if document is not None:
                partial_sidecar.write_text(json.dumps(document, allow_nan=False, indent=1) + "\n", encoding="utf-8")
                os.replace(partial_sidecar, sidecar)
            elif ours:
                sidecar.unlink()
            os.replace(partial, path)
    except OSError as error:
        raise _export_error(path, "the folder is missing, not writable, or full", "unwritable") from error


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Name a file beside `path` that is gone at the end, whatever happens."""
    partial = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _write_image(stream: io.BufferedIOBase, voxels: Voxels, placement: _Placement, *, packed: bool) -> None:
    from nibabel.nifti1 import Nifti1Header, Nifti1Image

    header = Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    header.set_xyzt_units("mm")
    header.set_sform(_ras_from_ijk(placement.sform_lps), _SCANNER)
    header.set_qform(_ras_from_ijk(placement.qform_lps), _SCANNER)
    header["descrip"] = placement.description
    image = Nifti1Image(voxels.T, None, header)  # no affine: nibabel would set the forms anew
    if not packed:
        image.to_stream(stream)
        return
    with gzip.GzipFile("", "wb", _COMPRESSION, stream, mtime=0) as packer:  # no name or time: same input, same bytes
        image.to_stream(packer)


def _ras_from_ijk(lps_from_kji: FloatArray) -> FloatArray:
    return np.asarray(_RAS_FROM_LPS @ lps_from_kji[:, [2, 1, 0, 3]])


def _is_ours(sidecar: Path) -> bool:
    """Whether a file is a sidecar that this module wrote, and may replace."""
    try:
        document = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == SIDECAR_FORMAT


def _export_error(path: Path, why: str, code: str) -> ExportError:
    return ExportError(
        f"{path} cannot be written as NIfTI: {why}.",
        hint="Choose another file name or folder.",
        code=f"nifti.{code}",
        kind="environment" if code == "unwritable" else "input",
    )
