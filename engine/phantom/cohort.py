"""Phantom studies on disk: DICOM series, masks as NIfTI, and a table of labels."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from engine.dicom.writer import RESCALE_INTERCEPT_HU, CtHeader, write_ct_series
from engine.errors import ConfigError
from engine.geometry import VolumeGeometry
from engine.phantom.spec import PhantomSpec, Vendor
from engine.phantom.study import PAINTED_KEYS, PhantomStudy, generate, uid
from engine.progress import NULL_CONTEXT, Context

NOTICE = "SYNTHETIC PHANTOM, no patient. For demonstration and tests only, not for diagnosis."
LABEL_COLUMNS = ("path", "patient", "seed", *PAINTED_KEYS)
LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class HeaderStyle:
    """How a maker's headers look where they differ; every text says that there was no scanner."""

    manufacturer: str
    model_name: str
    soft_kernel: str
    sharp_kernel: str
    image_type: tuple[str, ...] = ()
    intercept_hu: int = RESCALE_INTERCEPT_HU


STYLES: dict[Vendor, HeaderStyle] = {
    "none": HeaderStyle("Synthetic (no scanner)", "Head CT phantom", "SYNTHETIC", "SYNTHETIC"),
    "siemens": HeaderStyle("Synthetic (SIEMENS style)", "Head CT phantom", "J40s", "H60s", ("CT_SOM5 SEQ",)),
    "ge": HeaderStyle("Synthetic (GE MEDICAL SYSTEMS style)", "Head CT phantom", "STANDARD", "BONE", (), 0),
    "canon": HeaderStyle("Synthetic (CANON_MEC style)", "Head CT phantom", "FC26", "FC30", (), 0),
    "philips": HeaderStyle("Synthetic (Philips style)", "Head CT phantom", "UB", "YC", ("HELIX",)),
}


def study_seed(cohort_seed: int, index: int) -> int:
    """Return the seed of study `index` of a cohort: 32 bits that no other cohort seed repeats in order."""
    return int(np.random.SeedSequence([cohort_seed, index]).generate_state(1)[0])


def header(study: PhantomStudy) -> CtHeader:
    """Return the header of a phantom, which says at every turn that it is synthetic."""
    seed, spec = study.seed, study.spec
    style = STYLES[spec.vendor]
    return CtHeader(
        study_instance_uid=uid(seed, spec, "study"),
        series_instance_uid=uid(seed, spec, "series"),
        frame_of_reference_uid=uid(seed, spec, "frame"),
        patient_name="PHANTOM^SYNTHETIC",
        patient_id=f"PHANTOM-{seed}",
        study_description="SYNTHETIC HEAD PHANTOM",
        series_description="SYNTHETIC PHANTOM",
        manufacturer=style.manufacturer,
        model_name=style.model_name,
        convolution_kernel=style.sharp_kernel if spec.sharpen else style.soft_kernel,
        image_type=("DERIVED", "PRIMARY", "AXIAL", *style.image_type),
        intercept_hu=style.intercept_hu,
        padding_hu=spec.padding_hu if spec.circle else None,
        slice_thickness_mm=spec.slice_spacing_mm,
        image_comments=NOTICE,
    )


def write_dicom(study: PhantomStudy, folder: Path, context: Context = NULL_CONTEXT) -> tuple[Path, ...]:
    """Write a study as a CT series, one file a slice; the same study gives the same bytes.

    Raises
    ------
    DicomError
        If a file cannot be written.
    """
    return write_ct_series(folder, study.volume, header(study), context)


def write_cohort(
    out: Path,
    n: int,
    seed: int,
    spec: PhantomSpec = PhantomSpec(),
    context: Context = NULL_CONTEXT,
    masks: Callable[[PhantomStudy, Path], object] | None = None,
) -> Path:
    """Write `n` studies, their masks and their labels.

    Parameters
    ----------
    out
        Holds no cohort yet. Gets ``study_00001/0001.dcm`` and on, ``study_00001_masks/<key>.nii.gz`` for every
        positive finding, and ``labels.csv`` (`LABEL_COLUMNS`: the study's folder, its PatientID, its seed, and 1 or 0
        for every key).
    n
        How many studies, at least one.
    seed
        The cohort's seed; study i is `generate(study_seed(seed, i), spec)`.
    masks
        Writes the masks of a study into a folder, those of a tilted gantry too; None: `write_masks`, which cannot.

    Returns
    -------
    Path
        The table of labels, which is written last.

    Raises
    ------
    ConfigError
        If `n` is not positive, the gantry is tilted (a NIfTI through SimpleITK holds no sheared masks) and `masks` is
        None, `out` holds studies or labels already, or the folder or the table cannot be written.
    DicomError
        If a file cannot be written.
    Cancelled
        If the context asks to stop, between slices.
    """
    _check(n, seed, spec, tilt=masks is not None)
    _require_no_cohort(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    rows: list[tuple[str | int, ...]] = []
    for index in range(n):
        study = generate(study_seed(seed, index), spec, None, context)
        name = f"study_{index + 1:05d}"
        write_dicom(study, out / name, context)
        (masks or write_masks)(study, out / f"{name}_masks")
        rows.append((name, f"PHANTOM-{study.seed}", study.seed, *(study.labels[key] for key in PAINTED_KEYS)))
        context.progress(index + 1, n, "phantom studies")
    return _write_table(out / LABELS_FILE, rows)


def _write_table(table: Path, rows: list[tuple[str | int, ...]]) -> Path:
    try:
        with table.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(LABEL_COLUMNS)
            writer.writerows(rows)
    except OSError as error:
        raise _unwritable(table, error) from error
    return table


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"The phantom cohort cannot be written to {path}: {error.strerror}.",
        hint="Choose a folder that can be written, on a disk with free space.",
        code="phantom.unwritable",
        kind="environment",
    )


def write_masks(study: PhantomStudy, folder: Path) -> tuple[Path, ...]:
    """Write every mask as ``<key>.nii.gz`` (0 and 1, uint8), in the place of the volume.

    Raises
    ------
    ConfigError
        If a mask cannot be written.
    """
    geometry = study.volume.require_geometry()
    paths = []
    for key, mask in study.masks.items():
        paths.append(folder / f"{key}.nii.gz")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(_image(mask, geometry), str(paths[-1]), useCompression=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        except RuntimeError as error:
            raise _unwritable(paths[-1], OSError(None, "the NIfTI writer failed")) from error
    return tuple(paths)


def _image(mask: NDArray[np.bool_], geometry: VolumeGeometry) -> Any:
    image: Any = sitk.GetImageFromArray(mask.astype(np.uint8))
    row_mm, column_mm = geometry.pixel_spacing_mm
    slice_mm = float(geometry.normal_spacing_mm[0]) if geometry.n_slices > 1 else 1.0
    image.SetSpacing((column_mm, row_mm, slice_mm))
    image.SetOrigin([float(value) for value in geometry.origins_lps_mm[0]])
    axes = np.stack([geometry.row_cosine_lps, geometry.column_cosine_lps, geometry.normal_lps], axis=1)
    image.SetDirection([float(value) for value in axes.ravel()])
    return image


def _require_no_cohort(out: Path) -> None:
    """Refuse a folder with studies or labels in it: two cohorts in one would have a table that fits neither."""
    taken = sorted({*out.glob("study_*"), *out.glob(LABELS_FILE)})
    if taken:
        raise ConfigError(
            f"The phantom cohort is not written to {out}: it holds one already ({taken[0].name}, {len(taken)} such "
            "entries), and the two would be mixed. Nothing was written.",
            hint="Choose a new folder, or move or delete the study_* folders and labels.csv there first.",
            code="phantom.occupied",
        )


def _check(n: int, seed: int, spec: PhantomSpec, tilt: bool) -> None:
    reasons = {
        f"{n} studies are none": n < 1,
        f"the seed {seed} is negative": seed < 0,
        f"masks of a gantry tilted by {spec.tilt_deg} degrees fit no NIfTI": spec.tilt_deg != 0 and not tilt,
        "a varied scanner tilts its gantry at times, and such masks fit no NIfTI": spec.scanner != "plain" and not tilt,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ConfigError(
                f"The phantom cohort cannot be written: {reason}.",
                hint="Ask for one study or more, a seed of 0 or more, and no tilt.",
                code="phantom.cohort",
            )
