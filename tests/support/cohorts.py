"""Small cohorts in exactly the formats of their publishers, and with their faults."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from engine.phantom.cohort import write_cohort
from engine.phantom.spec import PhantomSpec
from tests.support.dicom import N_SLICES, SPACING_MM, ct_slice, head_pixels, save

RSNA_KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
CQ500_READS = (
    *("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right", "ChronicBleed"),
    *("Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift"),
)
CT_ICH_HEADER = (
    *("PatientNumber", "SliceNumber", "Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural"),
    *("No_Hemorrhage", "Fracture_Yes_No"),
)
SMALL_PHANTOM = PhantomSpec(matrix=40, pixel_spacing_mm=6.0, n_slices=12, slice_spacing_mm=12.0)
SURNAME = "Zebulon"
"""In headers of every study here, so that a test can look for it in what was written."""


def write_slices(
    folder: Path, number: int, names: Iterable[str] = (), n_slices: int = N_SLICES, **changes: Any
) -> list[Path]:
    """Write the series of patient `number`; `names` replace those of the files."""
    named = list(names) or [f"CT{index:06d}" for index in range(n_slices)]
    uid = f"1.2.826.0.1.3680043.10.77.{number}"
    own = {
        "PatientName": f"{SURNAME}^{number}",
        "PatientID": f"{SURNAME}-{number}",
        "StudyInstanceUID": uid,
        "SeriesInstanceUID": f"{uid}.1",
    }
    paths = []
    for index, name in enumerate(named):
        values = {**own, **changes}
        values.setdefault("SOPInstanceUID", f"{values['SeriesInstanceUID']}.{index + 1}")
        paths.append(save(ct_slice(index, **values), folder / f"{name}.dcm"))
    return paths


def rsna_name(study: int, index: int) -> str:
    """Return the name of a slice: it tells nothing of the study."""
    return f"ID_{study * 1000 + index:08x}a"


def write_rsna(root: Path, studies: Mapping[int, Mapping[int, Sequence[str]]], rows: Iterable[str] = ()) -> Path:
    """Write ``stage_2_train.csv`` and its slices.

    Parameters
    ----------
    studies
        Study number to the kinds of bleeding of those slices that have one.
    rows
        More lines of the table.
    """
    lines = ["ID,Label"]
    for study, positive in studies.items():
        names = [rsna_name(study, index) for index in range(N_SLICES)]
        bare = dict.fromkeys(("InstanceNumber", "ImageType", "BodyPartExamined", "ConvolutionKernel", "PatientAge"))
        write_slices(root / "stage_2_train", study, names, SOPClassUID=None, WindowCenter=["00036", "00036"], **bare)
        for index, name in enumerate(names):
            kinds = set(positive.get(index, ()))
            kinds |= {"any"} if kinds else set()
            lines += [f"{name}_{kind},{int(kind in kinds)}" for kind in RSNA_KINDS]
    table = root / "stage_2_train.csv"
    table.write_text("\n".join([*lines, *rows]) + "\n", encoding="utf-8")
    return table


def cq500_row(number: int, *readers: Iterable[str]) -> list[str]:
    """Return a row of ``reads.csv``: what each of three readers saw."""
    cells = [f"CQ500-CT-{number}", "B1"]
    for seen in readers:
        marked = set(seen)
        assert marked <= set(CQ500_READS)
        cells += [str(int(read in marked)) for read in CQ500_READS]
    return cells


def write_cq500(root: Path, rows: Iterable[Sequence[str]], images: Iterable[int]) -> Path:
    """Write ``reads.csv`` (CRLF, no newline at its end) and a plain series for each of `images`."""
    header = ["name", "Category", *(f"R{reader}:{read}" for reader in (1, 2, 3) for read in CQ500_READS)]
    table = root / "reads.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes("\r\n".join(",".join(row) for row in [header, *rows]).encode())
    for number in images:
        write_slices(root / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / "CT Plain", number)
    return table


def head(number: int, n_slices: int = N_SLICES) -> NDArray[np.int16]:
    """Return a head in Hounsfield units (S, R, C), another one for each number."""
    return np.stack([head_pixels(index) - 1024 + number for index in range(n_slices)]).astype(np.int16)


def write_scan(path: Path, values: NDArray[Any]) -> Path:
    """Write `values` (S, R, C) as a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values.T, np.diag([-0.5, -0.5, SPACING_MM, 1.0]))
    nib.save(image, path)
    return path


def ct_ich_rows(patient: int, positive: Mapping[int, Sequence[str]], n_slices: int = N_SLICES) -> list[list[str]]:
    """Return the rows of a patient; slices count from 1."""
    rows = []
    for index in range(1, n_slices + 1):
        marked = set(positive.get(index, ()))
        none = not marked - {"Fracture_Yes_No"}
        marked |= {"No_Hemorrhage"} if none else set()
        rows.append([str(patient), str(index), *(str(int(name in marked)) for name in CT_ICH_HEADER[2:])])
    return rows


def write_ct_ich(root: Path, rows: Iterable[Sequence[str]], scans: Iterable[int], first_release: bool = False) -> Path:
    """Write the table (with a BOM), demographics with all their oddities, and a scan for each of `scans`."""
    header = [name.replace("Number", " Number") if first_release else name for name in CT_ICH_HEADER]
    root.mkdir(parents=True, exist_ok=True)
    table = root / "hemorrhage_diagnosis_raw_ct.csv"
    table.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8-sig")
    (root / "Patient_demographics.csv").write_text(
        'Patient Number,"Age\n(years)",Gender,Hemorrhage type based on the radiologists diagnosis,,\n'
        ",,,Intraventricular,Subdural,Fracture\n49,42,Male,,1,\n50,9,Female,,,\n51,61,Male,1,,\n"
        "Sum,,,1,1,0\nPercentage,,,33%,33%,0%\n",
        encoding="utf-8-sig",
    )
    for number in scans:
        write_scan(root / "ct_scans" / f"{number:03d}.nii", head(number))
    return table


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write an own table; the columns are those of the first row."""
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)
    return path


def make_rsna2019(root: Path) -> Path:
    """Make a study with bleeding, and one without."""
    write_rsna(root, {1: {3: ["subarachnoid"]}, 2: {}})
    return root


def make_cq500(root: Path) -> Path:
    """Make a study with a shift, and one without anything."""
    shift = ["MidlineShift"]
    write_cq500(root, [cq500_row(7, shift, shift, []), cq500_row(1, [], [], [])], (1, 7))
    return root


def make_ct_ich(root: Path) -> Path:
    """Make a scan with bleeding, and one without."""
    rows = ct_ich_rows(49, {4: ["Subarachnoid"]}) + ct_ich_rows(51, {})
    write_ct_ich(root, rows, (49, 51))
    return root


def make_own_table(root: Path) -> Path:
    """Make two studies of a table, with a hole."""
    for number in (1, 2):
        write_slices(root / f"study{number}", number)
    rows: list[dict[str, object]] = [
        {"path": "study1", "patient": f"{SURNAME}-A", "lipoma": 1, "midline_shift": ""},
        {"path": "study2", "patient": f"{SURNAME}-B", "lipoma": 0, "midline_shift": 1},
    ]
    write_table(root / "mine.csv", rows)
    return root


def make_phantom(root: Path) -> Path:
    """Make two phantoms as the command of that name writes them."""
    write_cohort(root, 2, 5, SMALL_PHANTOM)
    return root


MAKERS = {
    "rsna2019": make_rsna2019,
    "cq500": make_cq500,
    "ct_ich": make_ct_ich,
    "own_table": make_own_table,
    "phantom": make_phantom,
}
