"""Write a cohort of phantoms whose scanner varies, tilted gantries included."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.errors import ConfigError
from engine.export.atomic import replacing
from engine.phantom.cohort import LABEL_COLUMNS, LABELS_FILE, study_seed, write_cohort, write_dicom, write_masks
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate
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
    if spec.scanner == "plain":
        return write_cohort(out, n, seed, spec, context)
    _require_empty(out)
    rows: list[tuple[str | int, ...]] = []
    for index in range(n):
        study = generate(study_seed(seed, index), spec, None, context)
        name = f"study_{index + 1:05d}"
        write_dicom(study, out / name, context)
        _write_masks(study, out / f"{name}_masks")
        rows.append((name, f"PHANTOM-{study.seed}", study.seed, *(study.labels[key] for key in PAINTED_KEYS)))
        context.progress(index + 1, n, "phantom studies")
    return _write_table(out / LABELS_FILE, rows)


def _write_masks(study: PhantomStudy, folder: Path) -> None:
    if study.spec.tilt_deg == 0:
        write_masks(study, folder)
        return
    if study.masks:
        folder.mkdir(parents=True, exist_ok=True)
    for key, mask in study.masks.items():
        write_volume_nifti(replace(study.volume, voxels=mask.astype(np.uint8)), folder / f"{key}.nii.gz")


def _write_table(table: Path, rows: list[tuple[str | int, ...]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LABEL_COLUMNS)
    writer.writerows(rows)
    with replacing(table) as stream:
        stream.write(text.getvalue().encode())
    return table


def _require_empty(out: Path) -> None:
    taken = sorted({*out.glob("study_*"), *out.glob(LABELS_FILE)})
    if taken:
        raise ConfigError(
            f"The phantom cohort is not written to {out}: it holds one already ({taken[0].name}, {len(taken)} such "
            "entries), and the two would be mixed. Nothing was written.",
            hint="Choose a new folder, or move or delete the study_* folders and labels.csv there first.",
            code="phantom.occupied",
        )
