"""A phantom cohort on disk, as ``main.py phantom`` writes it: every label is true, and known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from engine.findings.catalogue import Catalogue
from engine.phantom.cohort import LABEL_COLUMNS
from engine.progress import Context
from trainer.cohorts.importers.base import Candidate, LabelRule, Notes, Skip, TableHead
from trainer.cohorts.importers.own_table import table_candidates


class PhantomFolder:
    """A table of one's own with a seed a study; its masks are not read."""

    kind = "phantom"
    title = "synthetic phantoms"
    looks_for = "labels.csv with the columns path, patient and seed first, as main.py phantom writes it"
    namespace = "phantom"
    rules: tuple[LabelRule, ...] = ()
    study_rule = "One row a study: 1 painted or implied, 0 not; the columns are keys of the catalogue."

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Whether the first columns are those of the phantom's writer."""
        fixed = [name for name in LABEL_COLUMNS if name not in known_keys]
        return list(head.header[: len(fixed)]) == fixed and not set(head.header).isdisjoint(known_keys)

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield a study a row; a phantom's patient is its seed."""
        yield from table_candidates(table, catalogue, notes)


IMPORTER = PhantomFolder()
