"""What a corrections exporter is given, what it must be, and the columns that all of them write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.analysis import RESEARCH_NOTICE
from engine.findings.catalogue import Finding
from engine.store.records import CorrectionRow


@dataclass(frozen=True)
class CorrectionsReport:
    """Readers' statements with the words of the catalogue.

    Attributes
    ----------
    rows
        Oldest first, from ``Store.corrections``.
    labels
        The label of each finding key; a key of another catalogue has none and is written without.
    notice
        Stands in every row, since rows get copied away from headers.
    """

    rows: tuple[CorrectionRow, ...]
    labels: Mapping[str, str]
    notice: str = RESEARCH_NOTICE


class CorrectionsExporter(Protocol):
    """One format.

    Attributes
    ----------
    key
        What the command line calls it.
    label
        What a save dialog calls it.
    suffix
        Of its files, with the dot.
    carries_identity
        Whether a field holds a direct patient identifier. Comments are the reader's free text: an exporter that
        says False cannot vouch for what was typed there.
    """

    key: str
    label: str
    suffix: str
    carries_identity: bool

    def write(self, report: CorrectionsReport, path: Path) -> None:
        """Write the report whole, or raise ExportError and leave `path` as it was."""


def corrections_report(rows: tuple[CorrectionRow, ...], catalogue: Mapping[str, Finding]) -> CorrectionsReport:
    """Join statements and catalogue."""
    return CorrectionsReport(rows=rows, labels={key: finding.label for key, finding in catalogue.items()})


# Every exporter writes these, in this order. A missing value is null in JSON and an empty cell in CSV.
COLUMNS = (
    "series_instance_uid",
    "study_instance_uid",
    "finding_key",
    "label",  # of this release's catalogue; empty for a key that it does not have
    "verdict",  # agree, disagree, unsure, withdrawn: the answer to the model
    "present",  # the reader's own statement: true or false, missing where unsure
    "reason_code",  # of the closed lists in engine.store.reasons; empty where none was given
    "reason",  # free text
    "comment",  # free text, as typed
    "laterality",  # left, right, bilateral, midline, not_applicable; missing where not said
    "certainty",  # the reader's, in percent; missing where not said
    "locations",  # the reader's marks: kind, slice, (row, column) in pixels, LPS mm, run lengths of a mask
    "key_images",  # SOP Instance UIDs
    "probability",  # the model's, when the reader answered; missing where no analysis was there
    "model_name",
    "model_digest",  # sha256 of the package's manifest
    "model_notice",  # the model's own words on what its numbers are worth; empty if none of its analyses is stored
    "reader",
    "created_utc",  # ISO 8601
    "role",  # reading, or adjudication between readers
    "mode",  # blind, or ai_seen: whether the reader had seen the model's answer
    "after_reveal",  # true if the model's output had been revealed in the reader's session; missing without a session
    "sop_instance_uids",  # the acquired slices that the statement refers to
    "superseded",  # true for what no longer stands
    "research_notice",
)


def fields_of(row: CorrectionRow, report: CorrectionsReport) -> dict[str, Any]:
    """Return one row by `COLUMNS`, as plain JSON values."""
    return {
        "series_instance_uid": row.series_uid,
        "study_instance_uid": row.study_uid,
        "finding_key": row.finding_key,
        "label": report.labels.get(row.finding_key, ""),
        "verdict": row.verdict,
        "present": row.present,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "comment": row.comment,
        "laterality": row.laterality,
        "certainty": row.certainty,
        "locations": [location.to_json() for location in row.locations],
        "key_images": list(row.key_images),
        "probability": row.probability,
        "model_name": row.model_name,
        "model_digest": row.model_digest,
        "model_notice": row.model_notice,
        "reader": row.reader,
        "created_utc": row.created_utc.isoformat(),
        "role": row.role,
        "mode": row.mode,
        "after_reveal": row.after_reveal,
        "sop_instance_uids": list(row.sop_instance_uids),
        "superseded": row.superseded,
        "research_notice": report.notice,
    }
