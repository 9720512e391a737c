"""Write an evaluation: ``metrics.json`` for programs, ``evaluation.md`` for people, ``findings.csv`` for tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.inference.calibration_report import ECE_BINS
from engine.inference.operating_points import MIN_CASES, TOO_FEW, Proportion
from engine.inference.scored import ScoredStudies
from trainer.evaluation import EvaluationReport, FindingReport, ModelReport, evaluate_models
from trainer.files import write_atomically, write_json
from trainer.protocol import EVALUATION_FILES
from trainer.statistics.intervals import Interval
from trainer.statistics.paired import FindingDifference, PairedComparison

FINDING_COLUMNS = (
    "auc",
    "auc_low",
    "auc_high",
    "average_precision",
    "n_pos",
    "n_neg",
    "operating_point",
    "calibrated",
    "sensitivity",
    "sensitivity_low",
    "sensitivity_high",
    "specificity",
    "specificity_low",
    "specificity_high",
    "ece",
    "brier",
    "note",
)
DIFFERENCE_COLUMNS = ("difference", "difference_low", "difference_high", "p", "q")
NONE = "—"


def evaluate_to_folder(scored: ScoredStudies, out: Path) -> str:
    """Evaluate, write `EVALUATION_FILES`, and return a closing sentence.

    Raises
    ------
    TrainingError
        If a file cannot be written.
    """
    metrics, text, table = (out / name for name in EVALUATION_FILES)
    report = evaluate_models(scored)
    write_atomically(table, findings_csv(report).encode("utf-8"))
    write_atomically(text, markdown(report).encode("utf-8"))
    write_json(metrics, report.to_json())
    return f"{' '.join(_summary(report))} Written: {out}"


def markdown(report: EvaluationReport) -> str:
    """Return the report for people."""
    lines = [
        "# Evaluation",
        "",
        f"{report.n_studies} studies of {report.n_patients} patients, labels from {report.table}; {report.n_skipped} "
        f"rows could not be used. {_left_out(report)}Unknown labels do not count. Research use only; not for "
        "diagnosis.",
        "",
        *(line for model in report.models for line in _model_lines(model)),
        *([] if report.comparison is None else _comparison_lines(report, report.comparison)),
        "## How it was measured",
        "",
        *_METHOD,
    ]
    return "\n".join(lines) + "\n"


def findings_csv(report: EvaluationReport) -> str:
    """Return one line a model and finding; differences stand in the second model's lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "digest", "finding", *FINDING_COLUMNS, *DIFFERENCE_COLUMNS))
    for number, model in enumerate(report.models):
        compared = report.comparison if number else None
        for finding in model.findings:
            key = finding.score.key
            changed = {} if compared is None else _by_key(compared)[key].to_json()
            cells = {**_flat(finding), **{name: changed.get(name) for name in DIFFERENCE_COLUMNS}}
            columns = (*FINDING_COLUMNS, *DIFFERENCE_COLUMNS)
            writer.writerow((model.name, model.digest, key, *(_cell(cells[name]) for name in columns)))
    return text.getvalue()


def _summary(report: EvaluationReport) -> Iterator[str]:
    for model in report.models:
        if model.evaluation.mean_auc is None:
            yield f"{model.title}: too few cases for an AUC of any finding on {report.n_studies} studies."
        else:
            yield f"{model.title}: {_mean_line(model)}"
    if report.comparison is not None and report.comparison.mean is not None:
        mean = report.comparison.mean
        yield f"Difference of the means {mean.difference:+.3f} {_signed(mean.interval)}."


_METHOD = (
    f"- Below {MIN_CASES} positives or negatives there is no AUC and no average precision: {TOO_FEW}.",
    "- AUC: DeLong's variance (1988), interval on the logit scale; Newcombe's method 5 (2006) where the AUC is 0 or 1. "
    "It takes studies for independent.",
    "- Average precision is to be held against the share of positives.",
    "- Sensitivity and specificity at the package's operating points, with Wilson intervals. ECE over "
    f"{ECE_BINS}, of the probability that is shown (* uncalibrated).",
    "- Strata: means over the findings with enough cases there, beside the mean of the same findings on all studies.",
    "- All intervals are of 95 %.",
)


def _left_out(report: EvaluationReport) -> str:
    if not report.n_not_measured:
        return ""
    other = "" if len(report.models) == 1 else ", or are not predicted by the second"
    return f"Findings of the model that have no label column{other}: {report.n_not_measured}. "


def _model_lines(model: ModelReport) -> list[str]:
    return [
        f"## {model.title}",
        "",
        f"**{model.notice}**",
        "",
        _mean_line(model),
        "",
        "| finding | AUC [CI] | average precision | positive | negative | sensitivity [CI] | specificity [CI] | ECE | "
        "Brier |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_finding_row(item) for item in model.findings),
        "",
        "| stratum | studies | findings with AUC | mean AUC ± std | same findings, all studies |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {_plain(item.attribute)}: {_plain(item.value)} | {item.n_studies} | {item.n_scored} | "
            f"{_plus_minus(item.mean_auc, item.std_auc)} | {_number(item.overall_mean_auc)} |"
            for item in model.strata
        ),
        "",
    ]


def _mean_line(model: ModelReport) -> str:
    evaluation = model.evaluation
    if evaluation.mean_auc is None:
        return "No finding has enough cases for an AUC."
    return (
        f"Mean AUC {_plus_minus(evaluation.mean_auc, evaluation.std_auc)} (standard deviation over the "
        f"{evaluation.n_scored} of {len(evaluation.findings)} findings that have one)."
    )


def _finding_row(item: FindingReport) -> str:
    score, quality = item.score, item.quality
    auc = TOO_FEW if score.auc is None else f"{score.auc:.3f}{_brackets(score.auc_low, score.auc_high)}"
    cells = (
        score.key + ("" if item.calibrated else " *"),
        auc,
        _number(score.average_precision),
        str(score.n_pos),
        str(score.n_neg),
        _proportion(item.measure.sensitivity),
        _proportion(item.measure.specificity),
        _number(None if quality is None else quality.ece),
        _number(None if quality is None else quality.brier),
    )
    return f"| {' | '.join(cells)} |"


def _comparison_lines(report: EvaluationReport, comparison: PairedComparison) -> list[str]:
    first, second = report.models
    mean = comparison.mean
    sentence = f"No interval of the mean difference: too few patients ({report.n_patients}) or no finding with an AUC."
    if mean is not None:
        sentence = (
            f"Mean AUC {mean.first:.3f} {_plain_interval(mean.first_interval)} and {mean.second:.3f} "
            f"{_plain_interval(mean.second_interval)} over the same {mean.n_findings} findings: difference "
            f"{mean.difference:+.3f} {_signed(mean.interval)}, p = {mean.p:.2g}; paired bootstrap, {mean.n_resamples} "
            f"resamples of {mean.n_patients} patients, seed {mean.seed}, percentile intervals."
        )
    return [
        f"## {second.title} minus {first.title}",
        "",
        sentence,
        "",
        "Paired DeLong on the same studies; q after Benjamini and Hochberg over the findings tested.",
        "",
        "| finding | first AUC | second AUC | difference [CI] | p | q |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_difference_row(item) for item in comparison.findings),
        "",
    ]


def _difference_row(item: FindingDifference) -> str:
    if item.auc is None:
        return f"| {item.key} | {TOO_FEW} | {TOO_FEW} | {NONE} | {NONE} | {NONE} |"
    interval = "" if item.interval is None else f" {_signed(item.interval)}"
    p, q = (NONE if value is None else f"{value:.2g}" for value in (item.auc.p, item.q))
    return (
        f"| {item.key} | {item.auc.first:.3f} | {item.auc.second:.3f} | {item.auc.difference:+.3f}{interval} | "
        f"{p} | {q} |"
    )


def _by_key(comparison: PairedComparison) -> dict[str, FindingDifference]:
    return {item.key: item for item in comparison.findings}


def _flat(finding: FindingReport) -> dict[str, Any]:
    document = finding.to_json()
    for name in ("sensitivity", "specificity"):
        share = document[name] or {}
        document |= {name: share.get("value"), f"{name}_low": share.get("low"), f"{name}_high": share.get("high")}
    return document


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _plus_minus(mean: float | None, std: float | None) -> str:
    return NONE if mean is None or std is None else f"{mean:.3f} ± {std:.3f}"


def _brackets(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _plain_interval(interval: Interval) -> str:
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


def _signed(interval: Interval) -> str:
    return f"[{interval.low:+.3f}, {interval.high:+.3f}]"


def _proportion(share: Proportion | None) -> str:
    if share is None:
        return "no case"
    low, high = share.interval
    return f"{share.value:.2f} [{low:.2f}, {high:.2f}]"


def _plain(text: str) -> str:
    """Return a cell of a header or a table as Markdown that stays one cell."""
    return " ".join(text.replace("|", "/").split())
