"""CQ500 (Chilamkurthy et al., 2018): one row a study, three readers; the majority is the truth."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

from engine.dicom.series import Series
from engine.findings.catalogue import Catalogue
from engine.progress import Context
from trainer.cohorts.importers.base import Answers, Candidate, LabelRule, Notes, Skip, TableHead, map_labels
from trainer.cohorts.importers.bleeds import bleed_rules, no_bleed_rule
from trainer.cohorts.importers.tables import stream_rows, table_error

READERS = (1, 2, 3)
READ = (
    *("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "ChronicBleed"),
    *("Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift"),
)
NAME_COLUMN = "name"
FOLDER_DEPTH = 3
ACUTE, CHRONIC = "SDH without ChronicBleed", "SDH as the only bleeding, with ChronicBleed"
_BLEEDS = ("IPH", "IVH", "EDH", "SAH")
_NAME = re.compile(r"CQ500-?CT-?(\d{1,4})(?!\d)")
_CELLS = {"0": False, "1": True, "": None}


class CQ500:
    """``reads.csv`` beside folders named after the studies."""

    kind = "cq500"
    title = "CQ500"
    looks_for = "reads.csv with the columns name, R1:ICH, R2:ICH and R3:ICH"
    namespace = "cq500"
    rules = (
        no_bleed_rule("ICH"),
        *bleed_rules("IPH", "IVH", "SAH", "SDH", "EDH"),
        LabelRule(ACUTE, ("acute_subdural_hematoma",), (), "A subdural bleed, and nothing of the bleeding is old."),
        LabelRule(CHRONIC, ("chronic_subdural_hematoma",), (), "The bleed that is old can only be the subdural one."),
        LabelRule(
            "Fracture",
            (),
            ("calvarial_fracture", "skull_base_fracture", "mastoid_fracture"),
            "No fracture rules out each; which one it is, the next two say.",
        ),
        LabelRule("CalvarialFracture", ("calvarial_fracture",), ("calvarial_fracture",), "The same finding."),
        LabelRule(
            "OtherFracture",
            (),
            ("skull_base_fracture", "mastoid_fracture"),
            "May be of the face: present names none, absent rules out base and mastoid.",
        ),
        LabelRule("MassEffect", ("mass_effect",), ("mass_effect",), "The same finding."),
        LabelRule("MidlineShift", ("midline_shift",), ("midline_shift",), "The same finding."),
    )
    study_rule = "What at least two of the three readers say. Left and right are not used: the catalogue has no sides."

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Whether there are names and three readers."""
        return {NAME_COLUMN, *(f"R{reader}:ICH" for reader in READERS)} <= set(head.header)

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield a study a row; each is its own patient."""
        folders = _folders(table.parent)
        for name, lines in _read(table).items():
            context.raise_if_cancelled()
            line, cells = lines[0]
            if any(other != cells for _, other in lines):
                yield Skip(name, line, "cohort.rows_disagree", f"{len(lines)} rows name this study and do not agree")
                continue
            notes.add("cohort.duplicate_row", "Rows that stand twice and say the same count once.", len(lines) - 1)
            number = _NAME.fullmatch(name)
            wrong = [column for column, cell in cells.items() if cell not in _CELLS]
            if number is None or wrong:
                reason = "its name is none of CQ500" if number is None else f"{wrong[0]} is neither 0 nor 1"
                yield Skip(name, line, "cohort.bad_cell", reason)
                continue
            answers = _with_age(_majority(cells, notes))
            label = partial(_label, map_labels(self.rules, answers, notes))
            paths = folders.get(int(number[1]), ())
            yield Candidate(name, name, tuple(paths), label, line, folder_names=True)


def _label(labels: Mapping[str, int], series: Series) -> Mapping[str, int]:
    return labels


def _read(table: Path) -> dict[str, list[tuple[int, dict[str, str]]]]:
    """Return the cells that count, by study and row."""
    rows = stream_rows(table)
    _, header = next(rows, (0, []))
    wanted = [f"R{reader}:{column}" for reader in READERS for column in READ]
    missing = [name for name in (NAME_COLUMN, *wanted) if header.count(name) != 1]
    if missing:
        raise table_error(table, f"it has not exactly one column {missing[0]}", "columns")
    found: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise table_error(table, f"line {line} has {len(row)} cells, the header {len(header)}", "row")
        cells = dict(zip(header, row, strict=True))
        found.setdefault(cells[NAME_COLUMN], []).append((line, {name: cells[name] for name in wanted}))
    return found


def _majority(cells: Mapping[str, str], notes: Notes) -> dict[str, bool | None]:
    """Return what two of three say; None where there are no such two."""
    answers: dict[str, bool | None] = {}
    for column in READ:
        reads = [_CELLS[cells[f"R{reader}:{column}"]] for reader in READERS]
        answers[column] = next((value for value in (True, False) if reads.count(value) >= 2), None)
        if answers[column] is None:
            notes.add("cohort.no_majority", "Labels without two readers who agree are unknown.")
        elif len(set(reads)) > 1:
            notes.add("cohort.not_unanimous", "Labels on which one reader of three disagrees follow the other two.")
    return answers


def _with_age(answers: Answers) -> dict[str, bool | None]:
    """Tell acute from old where the reads allow it: ChronicBleed speaks of bleeding, not of which one."""
    subdural, old = answers["SDH"], answers["ChronicBleed"]
    alone = all(answers[name] is False for name in _BLEEDS)
    acute = True if subdural and old is False else None
    chronic = True if subdural and old and alone else None
    return {**answers, ACUTE: acute, CHRONIC: chronic}


def _folders(root: Path) -> dict[int, list[Path]]:
    """Find the studies' folders, by number: they lie beside the table or a little below."""
    found: dict[int, list[Path]] = {}
    level = [root]
    for _ in range(FOLDER_DEPTH):
        below: list[Path] = []
        for folder in level:
            for entry in sorted(os.scandir(folder), key=lambda item: item.name):
                match = _NAME.match(entry.name)
                if match is not None and (entry.is_dir() or entry.name.lower().endswith(".zip")):
                    found.setdefault(int(match[1]), []).append(Path(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
        level = below
    return found


IMPORTER = CQ500()
