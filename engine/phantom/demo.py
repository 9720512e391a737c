"""The demo study that ships in the resources: one phantom as DICOM, and the truth about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ConfigError
from engine.phantom.cohort import NOTICE, write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PhantomStudy, generate
from engine.progress import NULL_CONTEXT, Context

DEMO_SEED = 285
DEMO_SPEC = PhantomSpec(matrix=320, pixel_spacing_mm=0.72, n_slices=32, slice_spacing_mm=5.0)
DEMO_FINDINGS = (
    "acute_subdural_hematoma",
    "midline_shift",
    "calvarial_fracture",
    "scalp_hematoma",
    "basal_ganglia_calcification",
)


def demo_study(context: Context = NULL_CONTEXT) -> PhantomStudy:
    """Make the demo study: the same voxels on every call."""
    return generate(DEMO_SEED, DEMO_SPEC, DEMO_FINDINGS, context)


def truth(study: PhantomStudy) -> dict[str, Any]:
    """Return what is painted where, ready for JSON: for every positive finding its slices and the size of its mask."""
    geometry = study.volume.require_geometry()
    row_mm, column_mm = geometry.pixel_spacing_mm
    voxel_ml = row_mm * column_mm * study.spec.slice_spacing_mm / 1000
    findings = {}
    for key, mask in study.masks.items():
        per_slice = mask.sum(axis=(1, 2))
        findings[key] = {
            "slices": [int(index) for index in np.flatnonzero(per_slice)],
            "largest_slice": int(per_slice.argmax()),
            "volume_ml": round(float(per_slice.sum()) * voxel_ml, 2),
        }
    return {
        "notice": NOTICE,
        "seed": study.seed,
        "spec": json.loads(study.spec.identity()),
        "slice_index": "from 0, the lowest slice first",
        "findings": findings,
    }


def write_demo(folder: Path, context: Context = NULL_CONTEXT) -> tuple[Path, ...]:
    """Write the demo study: its DICOM files, ``truth.json`` and ``masks.npz`` (one bool array a finding).

    Raises
    ------
    DicomError
        If a DICOM file cannot be written.
    ConfigError
        If the truth or the masks cannot be written.
    """
    study = demo_study(context)
    paths = write_dicom(study, folder, context)
    try:
        text = json.dumps(truth(study), indent=1) + "\n"
        (folder / "truth.json").write_text(text, encoding="utf-8")
        arrays: dict[str, Any] = dict(study.masks)
        np.savez_compressed(folder / "masks.npz", **arrays)
    except OSError as error:
        raise ConfigError(
            f"The truth of the demo study cannot be written to {folder}: {error.strerror}.",
            hint="Choose a folder that can be written, on a disk with free space.",
            code="phantom.demo_unwritable",
            kind="environment",
        ) from error
    return paths
