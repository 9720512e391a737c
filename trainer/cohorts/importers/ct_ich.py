"""PhysioNet CT-ICH (Hssayeni et al., 2020): one row a slice, scans as NIfTI, masks of the bleeding."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine.dicom.nifti import read_voxels
from engine.dicom.scope import ADULT_YEARS
from engine.dicom.series import FileSource, Series
from engine.errors import DicomError
from engine.findings.catalogue import Catalogue
from engine.progress import Context
from trainer.cohorts.importers.base import (
    SLICE_RULE,
    Candidate,
    LabelRule,
    Notes,
    Skip,
    TableHead,
    map_labels,
    over_slices,
)
from trainer.cohorts.importers.bleeds import FRACTURES, bleed_rules
from trainer.cohorts.importers.tables import read_head, stream_rows, table_error

PATIENT, SLICE, NO_BLEED, FRACTURE = "patientnumber", "slicenumber", "nohemorrhage", "fractureyesno"
BLEEDS = ("intraparenchymal", "intraventricular", "subarachnoid", "subdural", "epidural")
COLUMNS = (PATIENT, SLICE, *BLEEDS, NO_BLEED, FRACTURE)
SCANS, MASKS = "ct_scans", "masks"


@dataclass
class _Patient:
    """What the table says of one: the slices' labels by number, and what is wrong with them."""

    line: int
    slices: dict[int, dict[str, bool | None]] = field(default_factory=dict)


class CTICH:
    """``hemorrhage_diagnosis_raw_ct.csv``, the folder ``ct_scans``, and ``masks`` where they are."""

    kind = "ct_ich"
    title = "PhysioNet CT-ICH"
    looks_for = "hemorrhage_diagnosis_raw_ct.csv with the columns PatientNumber, SliceNumber and No_Hemorrhage"
    namespace = "ct-ich"
    rules = (
        *bleed_rules(*BLEEDS),
        LabelRule(FRACTURE, (), FRACTURES, "Where the skull is broken is not said; absent rules out each."),
    )
    study_rule = (
        f"{SLICE_RULE} Where No_Hemorrhage contradicts the five kinds, that slice's bleeding is unknown. Where the "
        "mask shows bleeding and no label does, no kind of bleeding is taken as absent."
    )

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Whether it is the table of diagnoses, in either release's spelling."""
        return set(COLUMNS) <= set(map(_plain, head.header))

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield a study a patient: there is one scan each."""
        ages = _ages(table.parent)
        if not ages:
            notes.add("cohort.no_ages", "There is no table of ages: nobody was left out as under 18.")
        for number, patient in sorted(_read(table, notes).items()):
            context.raise_if_cancelled()
            name, age = f"{number:03d}", ages.get(number)
            if age is not None and age < ADULT_YEARS:
                reason = "the patient is under 18, and the classifier is made for adults"
                yield Skip(name, patient.line, "scope.age", reason)
                continue
            label = partial(self._label, patient, _bleeds_in_mask(table.parent / MASKS, name, notes), notes)
            yield Candidate(name, name, _named(table.parent / SCANS, name), label, patient.line)

    def _label(self, patient: _Patient, mask: bool, notes: Notes, series: Series) -> Mapping[str, int]:
        complete = set(patient.slices) == set(range(1, series.n_slices + 1))
        if not complete:
            notes.add("cohort.slices_unlabelled", "In studies whose rows do not fit their slices nothing is absent.")
        answers = over_slices((*BLEEDS, FRACTURE), list(patient.slices.values()), complete)
        if mask and not any(answers[name] for name in BLEEDS):
            notes.add("cohort.mask_disagrees", "Studies with bleeding in the mask alone: no kind is taken as absent.")
            answers |= dict.fromkeys(BLEEDS)
        return map_labels(self.rules, answers, notes)


def _plain(name: str) -> str:
    """Return a column's name as both releases mean it: ``PatientNumber``, ``Patient Number``."""
    return re.sub(r"[\s_]+", "", name).casefold()


def _read(table: Path, notes: Notes) -> dict[int, _Patient]:
    rows = stream_rows(table)
    header = [_plain(name) for name in next(rows, (0, []))[1]]
    if any(header.count(name) != 1 for name in COLUMNS):
        raise table_error(table, "it has not each column of the diagnoses once", "columns")
    patients: dict[int, _Patient] = {}
    for line, row in rows:
        cells = dict(zip(header, row, strict=False))
        if not (cells.get(PATIENT, "").isdecimal() and cells.get(SLICE, "").isdecimal()):
            notes.add("cohort.bad_row", "Rows without a patient's and a slice's number are not read.")
            continue
        patient = patients.setdefault(int(cells[PATIENT]), _Patient(line))
        _add(patient, int(cells[SLICE]), _answers(cells, notes), notes)
    return patients


def _add(patient: _Patient, number: int, answers: dict[str, bool | None], notes: Notes) -> None:
    """Keep a slice's labels; where two rows of a slice differ, that label is unknown."""
    before = patient.slices.setdefault(number, answers)
    if before is answers:
        return
    notes.add("cohort.duplicate_row", "Rows of one slice count once; where they differ, that label is unknown.")
    patient.slices[number] = {name: value if before[name] is value else None for name, value in answers.items()}


def _answers(cells: Mapping[str, str], notes: Notes) -> dict[str, bool | None]:
    values = {name: {"0": False, "1": True}.get(cells.get(name, "")) for name in (*BLEEDS, NO_BLEED, FRACTURE)}
    notes.add("cohort.bad_cell", "Cells that are neither 0 nor 1 are unknown.", list(values.values()).count(None))
    none = values.pop(NO_BLEED)
    if none is not None and none is any(values[name] for name in BLEEDS):
        notes.add("cohort.contradiction", "Slices whose No_Hemorrhage contradicts the kinds: bleeding unknown.")
        values |= dict.fromkeys(BLEEDS)
    return values


def _named(folder: Path, name: str) -> tuple[Path, ...]:
    """Return a patient's file; where there is none, the place where it should be."""
    places = [folder / f"{name}{suffix}" for suffix in (".nii", ".nii.gz")]
    return (next((path for path in places if path.exists()), places[0]),)


def _bleeds_in_mask(folder: Path, name: str, notes: Notes) -> bool:
    """Whether the mask of a scan has a voxel; a mask that cannot be read says nothing."""
    (path,) = _named(folder, name)
    if not path.exists():
        return False
    try:
        return bool(read_voxels(FileSource(path)).any())
    except DicomError:
        notes.add("cohort.mask_unreadable", "Masks that cannot be read are not compared with the labels.")
        return False


def _ages(folder: Path) -> dict[int, float]:
    """Read ages in years from the table of demographics, whose header is two rows and whose end is a summary."""
    ages: dict[int, float] = {}
    for table in sorted(folder.glob("*.csv")):
        head = read_head(table)
        column = None if head is None else _age_column(head)
        if column is None:
            continue
        for _, row in stream_rows(table):
            if row[0].isdecimal() and len(row) > column and re.fullmatch(r"\d+(\.\d+)?", row[column]):
                ages[int(row[0])] = float(row[column])
    return ages


def _age_column(head: TableHead) -> int | None:
    """Return the column of ages; None if this is no table of patients with one."""
    for row in (head.header, head.first):
        for column, name in enumerate(row):
            if column and _plain(name).startswith("age") and _plain(head.header[0]) in (PATIENT, ""):
                return column
    return None


IMPORTER = CTICH()
