"""Classify the studies of a person's own table of labels, with one model or two; what cannot be used is set aside.

Torch is imported by the models that are handed in: the window's process imports this package and must never load it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from app.operations.load_series import load_series, warning_texts
from app.operations.open_paths import choose_series, open_paths
from engine.dicom.series import Series, require_analysable
from engine.errors import HeadCTError, InferenceError
from engine.progress import CancelOnly, Context

if TYPE_CHECKING:
    from engine.findings.label_table import LabelledStudy, LabelTable
    from engine.inference.predictor import Predictor


@dataclass(frozen=True)
class SkippedStudy:
    """A row of the table that was not used, and why."""

    path: Path
    line: int
    code: str
    reason: str


@dataclass(frozen=True, eq=False)
class MeasuredStudy:
    """A study that could be used.

    Attributes
    ----------
    patient
        The same for studies of one patient, as the table says, else the header; shown to nobody.
    manufacturer
        Of the scanner, as the header says; may be empty.
    thickness_mm
        SliceThickness, else the distance of the slices; None where neither is known.
    logits
        By model, in each model's own order of findings.
    """

    study: LabelledStudy
    patient: str
    manufacturer: str
    thickness_mm: float | None
    logits: tuple[Sequence[float], ...]


def run_studies(
    table: LabelTable, predictors: Sequence[Predictor], keys: Collection[str], context: Context
) -> tuple[list[MeasuredStudy], list[SkippedStudy]]:
    """Classify the rows one after another; each is read once, for all models.

    Parameters
    ----------
    keys
        The findings of interest: a row without a label of any of them is not used.

    Raises
    ------
    InferenceError
        If no row can be used.
    """
    measured: list[MeasuredStudy] = []
    skipped: list[SkippedStudy] = []
    seen: set[str] = set()
    for done, study in enumerate(table.studies):
        context.raise_if_cancelled()
        context.progress(done, len(table.studies), "studies classified")
        try:
            measured.append(_measure(study, predictors, keys, seen, CancelOnly(context)))
        except HeadCTError as error:
            skipped.append(SkippedStudy(study.path, study.line, error.code, error.message))
    context.progress(len(table.studies), len(table.studies), "studies classified")
    if not measured:
        raise _none_usable(table, skipped)
    return measured, skipped


def _measure(
    study: LabelledStudy, predictors: Sequence[Predictor], keys: Collection[str], seen: set[str], context: Context
) -> MeasuredStudy:
    """Classify one study; `seen` holds the series that were used before, and grows by this one."""
    if all(study.labels.get(key, -1) < 0 for key in keys):
        raise _unusable(study, "it has no label of a finding that the model predicts", "no_label")
    series = choose_series(open_paths([study.path], context), study.path)
    require_analysable(series)
    if series.instance_uid in seen:
        raise _unusable(study, "its series stands in the table twice", "twice")
    loaded = load_series(series, context)
    logits = []
    for predictor in predictors:
        analysis = predictor.analyse(
            loaded.volume,
            study_instance_uid=series.study.instance_uid,
            series_instance_uid=series.instance_uid,
            read_s=loaded.read_s,
            warnings=warning_texts(series),
            context=context,
        )
        logits.append([float(logit) for logit in analysis.ledger.logits])
    seen.add(series.instance_uid)
    patient = study.patient or series.patient.id or series.study.instance_uid
    return MeasuredStudy(study, patient, series.manufacturer, _thickness_mm(series), tuple(logits))


def _thickness_mm(series: Series) -> float | None:
    stated = [item.slice_thickness_mm for item in series.instances if item.slice_thickness_mm is not None]
    if stated:
        return float(median(stated))
    geometry = series.geometry
    return None if geometry is None or geometry.n_slices < 2 else float(median(geometry.normal_spacing_mm))


def _unusable(study: LabelledStudy, reason: str, code: str) -> InferenceError:
    return InferenceError(
        f"{study.path} (line {study.line}) is not used: {reason}.",
        hint="Correct the table.",
        code=f"labels.{code}",
    )


def _none_usable(table: LabelTable, skipped: Sequence[SkippedStudy]) -> InferenceError:
    first = f" The first, in line {skipped[0].line}: {skipped[0].reason}" if skipped else ""
    return InferenceError(
        f"None of the {len(table.studies)} studies of {table.name} can be used; nothing was written.{first}",
        hint="Check the paths in the table: they are relative to its own folder.",
        code="labels.no_study",
    )
