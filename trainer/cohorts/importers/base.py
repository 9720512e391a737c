"""What every importer shares: how a table is recognised, and how a cohort's labels speak of the catalogue.

A cohort speaks of a finding only where a rule of its importer says so. Everything else is unknown, never negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.dicom.series import Series
from engine.findings.catalogue import Catalogue
from engine.progress import Context

Answers = Mapping[str, bool | None]
"""What a cohort says of a study, by its own names: present, absent, or nothing."""

SLICE_RULE = (
    "Labels are per slice. A study has a finding if one of its slices has it; it has not if every slice of the series "
    "used is labelled, and none has it; else it is unknown."
)


@dataclass(frozen=True)
class LabelRule:
    """How one label of a cohort speaks of the catalogue.

    A coarse label ("bleeding in the brain's tissue") that is absent rules out every finding that it covers; where it is
    present it names none of them.

    Attributes
    ----------
    name
        The cohort's own name.
    present, absent
        Keys of the catalogue that are present where it is, and absent where it is absent.
    why
        Why these and no others.
    """

    name: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class TableHead:
    """The first two rows of a table, by which an importer recognises its own."""

    path: Path
    header: tuple[str, ...]
    first: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A study that a cohort labels, before anybody looked for its images.

    Attributes
    ----------
    name, patient
        What the cohort calls them; only hashes of both are ever written. An empty `patient` means that the images'
        headers tell.
    paths
        Where its images are.
    label
        Labels by catalogue key, 1 or 0, of the series that was chosen; a key that is not there is unknown.
    line
        In the table; None where a study is made of many.
    listed
        Whether `paths` are the files of this study among those of others in one folder.
    folder_names
        Whether the name of a series' folder describes the series.
    """

    name: str = field(repr=False)
    patient: str = field(repr=False)
    paths: tuple[Path, ...] = field(repr=False)
    label: Callable[[Series], Mapping[str, int]] = field(repr=False)
    line: int | None = None
    listed: bool = False
    folder_names: bool = False


@dataclass(frozen=True)
class Skip:
    """Something that the cohort names and that is not used: a row, a file or a study; `reason` names no patient."""

    name: str = field(repr=False)
    line: int | None
    code: str
    reason: str


class Notes:
    """What was met on the way and skipped no study: counted, with one sentence a code."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.texts: dict[str, str] = {}

    def add(self, code: str, text: str, n: int = 1) -> None:
        """Count; the first sentence stands for all."""
        if n:
            self.counts[code] += n
            self.texts.setdefault(code, text)


class Importer(Protocol):
    """A module of this package; the registry makes one of each.

    Attributes
    ----------
    kind
        Its name on the command line and in manifests.
    title, looks_for
        For people: what cohort it is, and by what it is recognised.
    namespace
        Whose patient identifiers these are: patients of one namespace are known again in another import.
    rules
        The whole map onto the catalogue; empty where the table's columns are keys of the catalogue.
    study_rule
        How labels of slices or of several readers become one of the study.
    """

    kind: str
    title: str
    looks_for: str
    namespace: str
    rules: tuple[LabelRule, ...]
    study_rule: str

    def recognises(self, head: TableHead, known_keys: Collection[str]) -> bool:
        """Tell from its first rows whether a table is one of this cohort."""

    def candidates(
        self, table: Path, catalogue: Catalogue, notes: Notes, context: Context
    ) -> Iterator[Candidate | Skip]:
        """Yield every study that the table names, or why it cannot be one.

        Raises
        ------
        ConfigError
            If the table is no table of this cohort after all.
        """


def map_labels(rules: Sequence[LabelRule], answers: Answers, notes: Notes) -> dict[str, int]:
    """Return labels by catalogue key; where two rules contradict each other the key is unknown, and counted."""
    said: dict[str, set[int]] = {}
    for rule in rules:
        answer = answers.get(rule.name)
        if answer is not None:
            for key in rule.present if answer else rule.absent:
                said.setdefault(key, set()).add(int(answer))
    contradicted = [key for key, values in said.items() if len(values) > 1]
    notes.add(
        "cohort.contradiction",
        "Labels of a finding that contradict each other (a coarse one absent, a fine one present) are unknown.",
        len(contradicted),
    )
    return {key: next(iter(values)) for key, values in said.items() if len(values) == 1}


def over_slices(names: Iterable[str], slices: Sequence[Answers], complete: bool) -> dict[str, bool | None]:
    """Turn labels of slices into those of the study, as `SLICE_RULE` says.

    Parameters
    ----------
    slices
        One mapping a labelled slice.
    complete
        Whether every slice of the series is among them.
    """
    answers: dict[str, bool | None] = {}
    for name in names:
        values = [one.get(name) for one in slices]
        if any(values):
            answers[name] = True
        else:
            answers[name] = False if complete and values and all(value is False for value in values) else None
    return answers


def rule_keys(rules: Iterable[LabelRule]) -> set[str]:
    """Return every key that rules speak of."""
    return {key for rule in rules for key in (*rule.present, *rule.absent)}
