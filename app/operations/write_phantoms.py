"""Write a cohort of phantoms whose scanner varies, tilted gantries included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.phantom.cohort import write_cohort, write_masks
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PhantomStudy
from engine.preprocess.nifti import write_volume_nifti
from engine.progress import NULL_CONTEXT, Context


def write_phantoms(out: Path, n: int, seed: int, spec: PhantomSpec, context: Context = NULL_CONTEXT) -> Path:
    """Write `n` studies, their masks and their labels; where the scanner does not vary, as `write_cohort`.

    Parameters
    ----------
    out, n, seed
        As of `engine.phantom.cohort.write_cohort`. Masks of a tilted series are sheared like the series, and a JSON
        file with the place of every slice stands beside each.

    Returns
    -------
    Path
        The table of labels, which is written last.

    Raises
    ------
    ConfigError
        If the folder holds studies or labels already, or cannot be written.
    DicomError, ExportError
        If a file cannot be written.
    Cancelled
        If the context asks to stop, between slices.
    """
    return write_cohort(out, n, seed, spec, context, None if spec.scanner == "plain" else _write_masks)


def _write_masks(study: PhantomStudy, folder: Path) -> None:
    if study.spec.tilt_deg == 0:
        write_masks(study, folder)
        return
    if study.masks:
        folder.mkdir(parents=True, exist_ok=True)
    for key, mask in study.masks.items():
        write_volume_nifti(replace(study.volume, voxels=mask.astype(np.uint8)), folder / f"{key}.nii.gz")
