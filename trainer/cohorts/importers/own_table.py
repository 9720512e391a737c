"""A person's own table: one row a study, a column a finding; what the command ``labels`` writes is one too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from engine.dicom.series import Series
from engine.findings.catalogue import Catalogue
from engine.findings.label_table import PATH_COLUMN, UNKNOWN, LabelledStudy, read_label_table
from engine.progress import Context
from trainer.cohorts.importers.base import Candidate, LabelRule, Notes, Skip, TableHead

SEED_COLUMN = "seed"


class OwnTable:
    """Columns are keys of the catalogue, so that nothing has to be mapped; an empty cell is unknown."""

    kind = "own_table"
    title = "own table"
    looks_for = "a column path and columns named like findings of the catalogue"
    namespace = "own"
    rules: tuple[LabelRule, ...] = ()
    study_rule = "One row a study: 1 present, 0 absent, nothing unknown."

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Whether there is a path and a finding; a seed tells a phantom cohort."""
        named = set(head.header)
        return PATH_COLUMN in named and SEED_COLUMN not in named and not named.isdisjoint(known_keys)

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield a study a row; the patient is the table's, else the header's."""
        yield from table_candidates(table, catalogue, notes)


def table_candidates(table: Path, catalogue: Catalogue, notes: Notes) -> Iterator[Candidate | Skip]:
    """Yield the studies of a table of labels; rows of one path must agree, or the study is not used."""
    by_path: dict[Path, list[LabelledStudy]] = {}
    for study in read_label_table(table, catalogue).studies:
        by_path.setdefault(study.path, []).append(study)
    for path, rows in by_path.items():
        first = rows[0]
        name = path.relative_to(table.parent).as_posix() if path.is_relative_to(table.parent) else str(path)
        if any((row.labels, row.patient) != (first.labels, first.patient) for row in rows):
            reason = f"{len(rows)} rows of the table name this study and do not say the same of it"
            yield Skip(name, first.line, "cohort.rows_disagree", reason)
            continue
        notes.add("cohort.duplicate_row", "Rows that stand twice and say the same count once.", len(rows) - 1)
        yield Candidate(name, first.patient, (path,), _fixed(first.labels), first.line)


def _fixed(labels: Mapping[str, int]) -> Callable[[Series], Mapping[str, int]]:
    known = {key: value for key, value in labels.items() if value != UNKNOWN}
    return lambda series: known


IMPORTER = OwnTable()
