"""Import a cohort: recognise its table, find images, map labels, draw the split, write it all down. No torch here."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import TrainingError
from engine.findings.catalogue import Catalogue
from engine.findings.label_table import PATH_COLUMN, PATIENT_COLUMN
from engine.progress import NULL_CONTEXT, Context
from trainer.cohorts.choice import Chosen, choose
from trainer.cohorts.importers.base import Candidate, Importer, Notes, Skip
from trainer.cohorts.importers.registry import find_cohort
from trainer.cohorts.keys import cohort_patient_key, cohort_study_key, header_patient_key, series_key
from trainer.cohorts.manifest import (
    MANIFEST_FILE,
    CohortEntry,
    CohortManifest,
    SplitShares,
    label_signs,
    read_manifest,
    write_manifest,
)
from trainer.cohorts.report import REPORT_FILE, TEXT_FILE, SkippedStudy, report_json, report_text
from trainer.config import SPLITS, Split
from trainer.files import write_atomically, write_json

LABELS_FILE = "labels.csv"


@dataclass(frozen=True)
class ImportedCohort:
    """What was written: the manifest, and the content of the report."""

    manifest: CohortManifest
    report: dict[str, Any]
    text: str


@dataclass(frozen=True)
class _Used:
    """A study that can be used, before all labels are known."""

    entry: CohortEntry
    labels: dict[str, int]


def import_cohort(
    source: Path,
    out: Path,
    catalogue: Catalogue,
    *,
    kind: str | None = None,
    shares: SplitShares | None = None,
    context: Context = NULL_CONTEXT,
) -> ImportedCohort:
    """Import what lies at `source` and write manifest, tables of labels and report.

    Parameters
    ----------
    source
        The table of labels, or the folder that holds it; images are looked for beside it.
    out
        Where to write. A cohort that is there already is brought up to date: its patients keep their sides.
    kind
        The importer; None recognises the table by its content.
    shares
        How much of the patients each side gets, for a new cohort; None takes those that stand, or the usual ones.

    Raises
    ------
    ConfigError
        If no importer, or more than one, recognises the table, or the table is damaged.
    TrainingError
        If no study can be used, `out` holds another cohort, or a file cannot be written.
    Cancelled
        Between two files; nothing has been written then.
    """
    importer, table = find_cohort(source, catalogue.keys(), kind)
    before = read_manifest(out) if (out / MANIFEST_FILE).exists() else None
    _require_same(before, importer, shares, out)
    notes = Notes()
    used, skipped = _gather(importer, table, catalogue, notes, context)
    if not used:
        raise _nothing(table, skipped)
    drawn = before.shares if before is not None else shares or SplitShares()
    keys = tuple(key for key in catalogue if any(key in study.labels for study in used))
    manifest = CohortManifest(
        kind_of_cohort=importer.kind,
        root=str(table.parent.resolve()),
        table=table.name,
        table_digest=_file_digest(table),
        keys=keys,
        shares=drawn,
        patients=_sides(used, drawn, {} if before is None else before.patients),
        studies=tuple(
            study.entry.model_copy(update={"labels": label_signs(keys, study.labels)})
            for study in sorted(used, key=lambda study: study.entry.study_key)
        ),
    )
    return _write(out, importer, manifest, notes, skipped, catalogue)


def _require_same(before: CohortManifest | None, importer: Importer, shares: SplitShares | None, out: Path) -> None:
    """Refuse to mix two cohorts, and to draw a split anew."""
    if before is None:
        return
    if before.kind_of_cohort != importer.kind:
        reason = f"it holds a cohort of kind {before.kind_of_cohort}, this one is {importer.kind}"
        raise _refused(out, reason, "other_cohort")
    if shares is not None and shares != before.shares:
        reason = "its patients were drawn with other shares, and none may change sides"
        raise _refused(out, reason, "other_shares")


def _gather(
    importer: Importer, table: Path, catalogue: Catalogue, notes: Notes, context: Context
) -> tuple[list[_Used], list[SkippedStudy]]:
    used: list[_Used] = []
    skipped: list[SkippedStudy] = []
    seen: set[str] = set()
    for number, item in enumerate(importer.candidates(table, catalogue, notes, context), start=1):
        context.raise_if_cancelled()
        found = item if isinstance(item, Skip) else _use(importer, item, table.parent, seen, notes, context)
        if isinstance(found, _Used):
            used.append(found)
        else:
            key = cohort_study_key(importer.namespace, found.name)
            skipped.append(SkippedStudy(key, found.line, found.code, found.reason))
        context.progress(number, 0, "Looking at studies")
    return used, skipped


def _use(
    importer: Importer, candidate: Candidate, root: Path, seen: set[str], notes: Notes, context: Context
) -> _Used | Skip:
    """Choose a candidate's series and label it; `seen` holds the series that were used, and grows by this one."""
    chosen = choose(candidate.paths, candidate.folder_names, context)
    if not isinstance(chosen, Chosen):
        return Skip(candidate.name, candidate.line, chosen.code, chosen.reason)
    series = chosen.series
    notes.add("cohort.files_unreadable", "Files of used studies that cannot be read.", chosen.n_unreadable)
    notes.add("cohort.series_set_aside", "Series of used studies that were not chosen.", chosen.n_others)
    if series.instance_uid in seen:
        return Skip(candidate.name, candidate.line, "cohort.twice", "its series is another study's too")
    labels = dict(candidate.label(series))
    if not labels:
        return Skip(candidate.name, candidate.line, "cohort.no_label", "nothing is known of any finding")
    seen.add(series.instance_uid)
    patient = candidate.patient or series.patient.id or series.study.instance_uid
    folder, files = _place(candidate, chosen, root)
    entry = CohortEntry(
        study_key=cohort_study_key(importer.namespace, candidate.name),
        patient_key=cohort_patient_key(importer.namespace, patient),
        series_key=series_key(series.dicom_series_uid),
        header_patient_key=header_patient_key(series.patient.id, series.study.instance_uid),
        folder=folder,
        files=files,
        labels="",
        n_slices=series.n_slices,
        choice=chosen.code,
    )
    return _Used(entry, labels)


def _place(candidate: Candidate, chosen: Chosen, root: Path) -> tuple[str, tuple[str, ...]]:
    """Return where the series is: its own files where others lie among them, else its folder or file."""
    source = chosen.series.source
    if not candidate.listed:
        return _relative(source, root), ()
    folder = source if source.is_dir() else source.parent
    files = {instance.source.path.relative_to(folder).as_posix() for instance in chosen.series.instances}
    return _relative(folder, root), tuple(sorted(files))


def _relative(path: Path, root: Path) -> str:
    whole, base = path.resolve(), root.resolve()
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else str(whole)


def _sides(used: list[_Used], shares: SplitShares, before: dict[str, Split]) -> dict[str, Split]:
    """Keep every side that was drawn, and draw those of new patients."""
    new = {study.entry.patient_key for study in used} - before.keys()
    return dict(sorted({**before, **{key: shares.side(key) for key in new}}.items()))


def _write(
    out: Path,
    importer: Importer,
    manifest: CohortManifest,
    notes: Notes,
    skipped: list[SkippedStudy],
    catalogue: Catalogue,
) -> ImportedCohort:
    """Write the manifest last: what stands beside it is of its making or older."""
    sealed = manifest.model_copy(update={"digest": manifest.computed_digest()})
    document = report_json(importer, sealed, notes, skipped)
    text = report_text(document, catalogue)
    write_json(out / REPORT_FILE, document)
    write_atomically(out / TEXT_FILE, text.encode("utf-8"))
    write_atomically(out / LABELS_FILE, _table(sealed, None))
    for split in SPLITS:
        write_atomically(out / f"labels_{split}.csv", _table(sealed, split))
    write_manifest(sealed, out)
    return ImportedCohort(sealed, document, text)


def _table(manifest: CohortManifest, split: Split | None) -> bytes:
    """Return a table of labels as `engine.findings.label_table` reads it; patients are hashes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([PATH_COLUMN, PATIENT_COLUMN, *manifest.keys])
    for study in manifest.studies if split is None else manifest.on(split):
        cells = ("" if sign == "?" else sign for sign in study.labels)
        # A study among others in one folder has no path of its own; its key stands there, which leads nowhere.
        place = study.study_key if study.files else str(study.paths(Path(manifest.root))[0])
        writer.writerow([place, study.patient_key, *cells])
    return stream.getvalue().encode("utf-8")


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk


def _refused(out: Path, reason: str, code: str) -> TrainingError:
    return TrainingError(
        f"The cohort is not imported into {out}: {reason}. Nothing was changed.",
        hint="Choose another folder for this cohort.",
        code=f"cohort.{code}",
    )


def _nothing(table: Path, skipped: list[SkippedStudy]) -> TrainingError:
    why = "; ".join(sorted({f"[{item.code}] {item.reason}" for item in skipped})[:3])
    return TrainingError(
        f"None of the {len(skipped)} studies of {table} can be used; nothing was written. {why}".rstrip(),
        hint="Check that the images lie beside the table, where the cohort's publisher put them.",
        code="cohort.nothing_usable",
    )
