"""The catalogue of findings: one row a finding, mapped by key everywhere, never by index."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from engine.errors import ConfigError

Category = Literal["hemorrhage", "vascular", "trauma", "mass_lesion", "structural", "chronic_other"]
Urgency = Literal["critical", "urgent", "routine"]

CATEGORY_LABELS: Mapping[Category, str] = {
    "hemorrhage": "Hemorrhage",
    "vascular": "Vascular",
    "trauma": "Trauma",
    "mass_lesion": "Mass / lesion",
    "structural": "Structural",
    "chronic_other": "Chronic / other",
}
URGENCY_ORDER: Mapping[Urgency, int] = {"critical": 0, "urgent": 1, "routine": 2}
COLUMNS = ("key", "label", "category", "urgency", "definition", "synonyms")


@dataclass(frozen=True)
class Finding:
    """One finding: its stable key, the words a radiologist reads, and how soon a positive one must be seen."""

    key: str
    label: str
    category: Category
    urgency: Urgency
    definition: str
    synonyms: tuple[str, ...]


class Catalogue(Mapping[str, Finding]):
    """Findings by key, in catalogue order. Raises ConfigError on a duplicate key."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self._by_key: dict[str, Finding] = {}
        for finding in findings:
            if finding.key in self._by_key:
                raise _catalogue_error(f"the key {finding.key} stands twice")
            self._by_key[finding.key] = finding

    def __getitem__(self, key: str) -> Finding:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue from its CSV file (UTF-8; columns `COLUMNS`; synonyms separated by ``|``).

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks a column, or a row is incomplete or repeated.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise _catalogue_error(f"{path.name} must have the columns {', '.join(COLUMNS)}")
            return Catalogue(tuple(_finding(row, reader.line_num) for row in reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _catalogue_error(f"{path} cannot be read: {error}") from error


def _finding(row: Mapping[str, str], line: int) -> Finding:
    if any(not row[column] for column in COLUMNS[:5]):
        raise _catalogue_error(f"line {line} is incomplete")
    if row["category"] not in get_args(Category) or row["urgency"] not in get_args(Urgency):
        raise _catalogue_error(f"line {line}: unknown category or urgency")
    return Finding(
        key=row["key"],
        label=row["label"],
        category=cast(Category, row["category"]),
        urgency=cast(Urgency, row["urgency"]),
        definition=row["definition"],
        synonyms=tuple(part for part in row["synonyms"].split("|") if part),
    )


def _catalogue_error(reason: str) -> ConfigError:
    return ConfigError(
        f"The findings catalogue cannot be used: {reason}.",
        hint="Restore resources/findings/catalogue.csv from the release.",
        code="findings.catalogue",
    )
