"""Statements to export, and what reads each format back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.export.report import CorrectionsReport, corrections_report
from engine.findings.catalogue import Catalogue
from engine.store.records import CorrectionRow
from tests.support.store_values import SERIES, STUDY

ROW = CorrectionRow(
    feedback_id=1,
    series_uid=SERIES.series_uid,
    study_uid=STUDY.study_uid,
    finding_key="lobar_hemorrhage",
    verdict="disagree",
    present=False,
    reason="artifact",
    comment="“Clip”, streak\nsecond line\u2028third, 日本",
    probability=0.1 + 0.2,
    model_name="phantom-demo",
    model_digest="ab" * 32,
    model_notice="Trained on synthetic phantoms, for demonstration only",
    reader="dr.åberg",
    created_utc=datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC),
    mode="ai_seen",
    sop_instance_uids=("1.2.840.1.5.11", "1.2.840.1.5.12"),
    superseded=False,
)
UNSURE = replace(
    ROW,
    verdict="unsure",
    present=None,
    probability=None,
    model_name=None,
    model_digest=None,
    model_notice="",
    comment="",
)


def report(catalogue: Catalogue, *rows: CorrectionRow) -> CorrectionsReport:
    return corrections_report(rows, catalogue)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READERS = {"csv": read_csv, "jsonl": read_jsonl}
