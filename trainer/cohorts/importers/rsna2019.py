"""RSNA Intracranial Hemorrhage Detection 2019 (Flanders et al., 2020): six rows a slice, slices by file name.

The table knows neither studies nor patients: both come from the headers of the slices.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.dicom import tags
from engine.dicom.archive import Opener
from engine.dicom.header import HeaderError, read_header
from engine.dicom.series import FileSource, Series
from engine.errors import DicomError
from engine.findings.catalogue import Catalogue
from engine.progress import Context
from trainer.cohorts.importers.base import (
    SLICE_RULE,
    Candidate,
    Notes,
    Skip,
    TableHead,
    map_labels,
    over_slices,
)
from trainer.cohorts.importers.bleeds import bleed_rules, no_bleed_rule
from trainer.cohorts.importers.tables import stream_rows, table_error

COLUMNS = ["ID", "Label"]
KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
ANY = "any"
NAMES = (*KINDS, ANY)
_ROW_ID = re.compile(rf"(ID_[0-9a-f]+)_({'|'.join(NAMES)})")


@dataclass(slots=True)
class _Bits:
    """The six labels of a slice as bits, since there are three quarters of a million: said, present, said both ways."""

    said: int = 0
    present: int = 0
    doubtful: int = 0

    def answers(self) -> dict[str, bool | None]:
        """Return the labels; where a kind is said both ways, whether there is any bleeding is open too."""
        known = self.said & ~self.doubtful & ~(1 << NAMES.index(ANY) if self.doubtful else 0)
        return {name: bool(self.present >> bit & 1) if known >> bit & 1 else None for bit, name in enumerate(NAMES)}


class RSNA2019:
    """``stage_2_train.csv`` above or beside its DICOM files."""

    kind = "rsna2019"
    title = "RSNA 2019 intracranial hemorrhage"
    looks_for = "stage_2_train.csv with the columns ID and Label, and rows such as ID_6c5d82413_epidural"
    namespace = "rsna2019"
    rules = (
        *bleed_rules("intraparenchymal", "intraventricular", "subarachnoid", "subdural", "epidural"),
        no_bleed_rule("any"),
    )
    study_rule = f"{SLICE_RULE} Of a slice whose label any contradicts the five kinds nothing is known."

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Whether there are IDs with a kind of bleeding and true labels (a sample submission has halves)."""
        if list(head.header) != COLUMNS or len(head.first) != len(COLUMNS):
            return False
        return _ROW_ID.fullmatch(head.first[0]) is not None and head.first[1] in ("0", "1")

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield a study for every StudyInstanceUID among the labelled files."""
        labels = _read(table, notes)
        studies: dict[str, list[Path]] = {}
        n_found = 0
        for path in _files(table.parent, context):
            if path.stem not in labels:
                notes.add("cohort.file_unlabelled", "Files that the table does not label are not read.")
                continue
            n_found += 1
            study = _study_uid(path)
            if not study:
                yield Skip(path.stem, None, "cohort.file_unreadable", "a labelled file has no header that can be read")
                continue
            studies.setdefault(study, []).append(path)
            context.progress(n_found, len(labels), "Reading headers of labelled slices")
        notes.add("cohort.slice_without_file", "Labelled slices without a file.", len(labels) - n_found)
        for study in sorted(studies):
            label = partial(self._label, labels, notes)
            yield Candidate(study, "", tuple(sorted(studies[study])), label, listed=True)

    def _label(self, labels: Mapping[str, _Bits], notes: Notes, series: Series) -> Mapping[str, int]:
        stems = {instance.source.path.stem for instance in series.instances}
        slices = [_consistent(labels[stem].answers(), notes) for stem in sorted(stems)]
        return map_labels(self.rules, over_slices(NAMES, slices, complete=True), notes)


def _consistent(answers: dict[str, bool | None], notes: Notes) -> dict[str, bool | None]:
    """Return a slice's labels; nothing is known of it where "any" contradicts the five kinds."""
    kinds = [answers[name] for name in KINDS]
    if answers[ANY] is None or None in kinds or answers[ANY] is any(kinds):
        return answers
    notes.add("cohort.slice_contradiction", "Slices whose label any contradicts the kinds: nothing is known of them.")
    return dict.fromkeys(NAMES)


def _read(table: Path, notes: Notes) -> dict[str, _Bits]:
    rows = stream_rows(table)
    if next(rows, (0, []))[1] != COLUMNS:
        raise table_error(table, "its first line is not ID,Label", "columns")
    labels: dict[str, _Bits] = {}
    for _, row in rows:
        match = _ROW_ID.fullmatch(row[0])
        if match is None or len(row) != len(COLUMNS) or row[1] not in ("0", "1"):
            notes.add("cohort.bad_row", "Rows that are no slice, kind and 0 or 1 are not read.")
            continue
        _add(labels.setdefault(match[1], _Bits()), 1 << NAMES.index(match[2]), row[1] == "1", notes)
    return labels


def _add(bits: _Bits, bit: int, present: bool, notes: Notes) -> None:
    if bits.said & bit:
        notes.add("cohort.duplicate_row", "Rows that stand twice count once; where they differ, the label is unknown.")
        if bool(bits.present & bit) is not present:
            bits.doubtful |= bit
            notes.add("cohort.contradiction", "Labels whose rows differ are unknown.")
    bits.said |= bit
    bits.present |= bit if present else 0


def _files(folder: Path, context: Context) -> Iterator[Path]:
    """Yield every DICOM file at or below a folder, by folder and name; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        context.raise_if_cancelled()
        yield from (Path(place, name) for name in sorted(names) if name.lower().endswith(".dcm"))


def _study_uid(path: Path) -> str:
    """Return the study's UID; empty where the header cannot be read or has none."""
    opener = Opener()
    try:
        reader = opener.open(FileSource(path))
    except DicomError:
        return ""
    try:
        return read_header(reader, (tags.STUDY_INSTANCE_UID,)).text(tags.STUDY_INSTANCE_UID)
    except (HeaderError, OSError):
        return ""
    finally:
        reader.close()


IMPORTER = RSNA2019()
