"""What an import used, what it skipped, and why: for programs and for people, without a word that names a patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.findings.catalogue import Catalogue
from trainer.cohorts.importers.base import Importer, Notes
from trainer.cohorts.manifest import CohortManifest, summary

REPORT_FILE, TEXT_FILE = "report.json", "report.txt"
MOST_LINES = 200


@dataclass(frozen=True)
class SkippedStudy:
    """A study, row or file that was not used: the hash of its name, its line in the table, and why."""

    study_key: str
    line: int | None
    code: str
    reason: str


def report_json(
    importer: Importer, manifest: CohortManifest, notes: Notes, skipped: Sequence[SkippedStudy]
) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    return {
        "schema_version": 1,
        "kind": "cohort report",
        "cohort": {"kind": importer.kind, "title": importer.title, "table": manifest.table},
        "manifest_digest": manifest.digest,
        "table_sha256": manifest.table_digest,
        "used": {"studies": len(manifest.studies), "splits": summary(manifest)},
        "labels": _labels(manifest),
        "map": [
            {**asdict(rule), "present": list(rule.present), "absent": list(rule.absent)} for rule in importer.rules
        ],
        "study_rule": importer.study_rule,
        "unlabelled": "What the cohort does not label is unknown, never absent.",
        "series": dict(sorted(Counter(study.choice for study in manifest.studies).items())),
        "notes": [{"code": code, "n": n, "text": notes.texts[code]} for code, n in sorted(notes.counts.items())],
        "skipped": {
            "n": len(skipped),
            "by_code": dict(sorted(Counter(item.code for item in skipped).items())),
            "items": [asdict(item) for item in skipped],
        },
    }


def report_text(document: Mapping[str, Any], catalogue: Catalogue) -> str:
    """Return ``report.txt``: the same for people."""
    cohort, used, skipped = document["cohort"], document["used"], document["skipped"]
    lines = [
        f"{cohort['title']} ({cohort['kind']}), from {cohort['table']}",
        f"manifest {document['manifest_digest'][:12]}, table {document['table_sha256'][:12]}",
        "",
        f"{used['studies']} studies used, {skipped['n']} skipped",
        *(f"  {split}: {n['studies']} studies of {n['patients']} patients" for split, n in used["splits"].items()),
        "",
        "Labels (present / absent / unknown)",
        *_label_lines(document["labels"], catalogue),
        "",
        "How the cohort's labels speak of the catalogue",
        f"  {document['study_rule']}",
        f"  {document['unlabelled']}",
        *_rule_lines(document["map"]),
        "",
        "Which series was used",
        *(f"  {n} × {code}" for code, n in document["series"].items()),
        *_noted(document["notes"]),
        *_skipped_lines(skipped),
    ]
    return "\n".join(lines) + "\n"


def _labels(manifest: CohortManifest) -> dict[str, dict[str, int]]:
    return {
        key: {"present": count["1"], "absent": count["0"], "unknown": count["?"]}
        for key, count in manifest.counts().items()
    }


def _label_lines(labels: Mapping[str, Mapping[str, int]], catalogue: Catalogue) -> list[str]:
    return [f"  {key}: {' / '.join(str(n) for n in labels[key].values())}" for key in catalogue if key in labels]


def _rule_lines(rules: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for rule in rules:
        present, absent = (", ".join(rule[side]) or "nothing" for side in ("present", "absent"))
        lines.append(f"  {rule['name']}: present → {present}; absent → absent: {absent}. {rule['why']}")
    return lines or ["  The columns are keys of the catalogue."]


def _noted(notes: Sequence[Mapping[str, Any]]) -> list[str]:
    return ["", "Noted", *(f"  {note['n']} × {note['code']}: {note['text']}" for note in notes)] if notes else []


def _skipped_lines(skipped: Mapping[str, Any]) -> list[str]:
    items = skipped["items"]
    if not items:
        return []
    lines = [f"  {_where(item)} [{item['code']}] {item['reason']}" for item in items[:MOST_LINES]]
    more = len(items) - len(lines)
    return ["", "Skipped", *lines, *([f"  and {more} more, see {REPORT_FILE}"] if more > 0 else [])]


def _where(item: Mapping[str, Any]) -> str:
    return item["study_key"] if item["line"] is None else f"line {item['line']} ({item['study_key']})"
