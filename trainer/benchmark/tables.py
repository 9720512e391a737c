"""Table 2, the control of equal size, the findings and the runs as CSV, and all of it as one Markdown document."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from engine.inference.operating_points import MIN_CASES
from trainer.benchmark.config import Arm, Block
from trainer.benchmark.measures import ArmDifference, ArmMeasure
from trainer.benchmark.report import BenchmarkReport, ModelRow, arm_title
from trainer.benchmark.stratified import COUNT_COLUMNS, band_counts

NONE = "–"

DIFFERENCE_COLUMNS = ("difference", "low", "high", "p", "better", "worse", "findings", "seeds")
MEASURE_COLUMNS = ("mean_auc", "std_over_findings", "std_over_seeds", "seeds", "total", "trainable", "adapter", "rank")


def table2_csv(report: BenchmarkReport) -> str:
    """Return a line a backbone and block: parameters, base and mixture, and the difference."""
    header = ["block", "model", "name", "domain"]
    header += [f"base_{name}" for name in MEASURE_COLUMNS] + [f"molre_{name}" for name in MEASURE_COLUMNS]
    rows = []
    for row in report.rows:
        base, molre = row.measure(row.block.base), row.measure(row.block.molre)
        rows.append([row.block.key, row.title, row.name, row.domain, *_cells(base), *_cells(molre), *_gain(row.gain)])
    return _csv([*header, *DIFFERENCE_COLUMNS, "reason"], [[*cells, why] for cells, why in _with_reasons(report, rows)])


def control_csv(report: BenchmarkReport) -> str:
    """Return a line a backbone and block: the mixture beside one adapter of its size."""
    header = ["block", "model", "name"]
    header += [f"single_{name}" for name in MEASURE_COLUMNS] + [f"molre_{name}" for name in MEASURE_COLUMNS]
    rows = [
        [
            row.block.key,
            row.title,
            row.name,
            *_cells(row.measure(row.block.single)),
            *_cells(row.measure(row.block.molre)),
            *_gain(row.over_single),
        ]
        for row in report.rows
    ]
    return _csv([*header, *DIFFERENCE_COLUMNS], rows)


def findings_csv(report: BenchmarkReport) -> str:
    """Return a line a backbone, block and finding: AUC of every arm averaged over seeds, and the paired tests."""
    tests = ("difference", "low", "high", "p", "q")
    header = ["block", "name", "finding", "label", "positive", "negative", "note", "base", "molre", "single"]
    header += [f"molre_minus_base_{name}" for name in tests] + [f"molre_minus_single_{name}" for name in tests]
    rows = [cells for row in report.rows for cells in _finding_rows(report, row)]
    return _csv(header, rows)


def runs_csv(report: BenchmarkReport) -> str:
    """Return a line a finished run."""
    names = ("epochs", "kept_epoch", "validation_auc", "test_auc", "seconds", "device", "precision", "threads")
    rows: list[list[Any]] = []
    for row in report.rows:
        for arm, measure in row.measures.items():
            for run in measure.runs:
                facts = run.result.model_dump()
                counts = [run.result.parameters[name] for name in ("total", "trainable", "adapter", "lora", "rank")]
                rows.append([row.name, arm, run.cell.seed, *(facts[name] for name in names), *counts])
    return _csv(["name", "arm", "seed", *names, "total", "trainable", "adapter", "lora", "rank"], rows)


def figure2_csv(report: BenchmarkReport) -> str:
    """Return a line a backbone, block and arm: in which band of AUC how many findings are."""
    rows = [
        [row.block.key, row.name, arm, *band_counts(measure.finding_aucs_C)]
        for row in report.rows
        for arm, measure in row.measures.items()
    ]
    return _csv(["block", "name", "arm", *COUNT_COLUMNS], rows)


def markdown(report: BenchmarkReport) -> str:
    """Return everything a person reads: what was run, the tables, how they were computed."""
    lines = [
        "# Benchmark",
        "",
        f"**{report.notice}.** {report.n_runs} of {report.n_planned} runs are finished: backbones × arms × seeds "
        f"{', '.join(map(str, report.seeds))}, each scored on the same {report.n_studies} {report.words} "
        f"({report.n_patients} patients) of the test split.",
        "",
        _few(report),
        "",
        *(line for block in report.blocks for line in _block_lines(report, block)),
        "## How it was measured",
        "",
        *_METHOD,
        "",
    ]
    return "\n".join(lines)


_METHOD = (
    "- AUC ± std: mean and standard deviation (population) over the findings with enough cases; every finding's AUC is "
    "the mean over the seeds' runs. In brackets the mean AUC of the seeds' runs, lowest to highest.",
    "- Difference: of these means, over the seeds that both arms have; 95 % percentile interval and p by a paired "
    "bootstrap that draws patients, with all their studies, and seeds, the same for both arms. Scores are not averaged "
    "over seeds. Few seeds say little of how far runs scatter, so the interval is rather too narrow than too wide.",
    "- Better and worse: findings at which the AUC averaged over seeds differs by DeLong's paired test with q < 0.05 "
    "after Benjamini and Hochberg over the findings. The test takes studies for independent and the runs as given.",
    "- Parameters: total with MoLRE, without the backbone's own classification layer, which no feature depends on. The "
    "single adapter's rank follows from MoLRE's parameters, router included; a router of one expert always says 1, so "
    "the single adapter's is dead and is not counted.",
    "- The seeds of a run decide its weights and the order of its studies; cohort and splits are the same for all.",
)


def _few(report: BenchmarkReport) -> str:
    if not report.too_few:
        return f"All {len(report.keys)} findings have {MIN_CASES} or more positives and negatives there."
    if len(report.too_few) == len(report.keys):
        return f"**No finding** has {MIN_CASES} positives and negatives there: too few cases for any AUC."
    named = ", ".join(report.names[key] for key in report.too_few)
    return (
        f"**Too few** cases (under {MIN_CASES} positives or negatives) have {len(report.too_few)} of "
        f"{len(report.keys)} findings, which are in no mean, count and test: {named}."
    )


def _block_lines(report: BenchmarkReport, block: Block) -> Iterator[str]:
    rows = report.of(block)
    yield from (f"## {block.title}", "", "### Table 2", "")
    yield (
        "| Model | Domain | Total | Trainable, base | with MoLRE | MoLRE | Base AUC | +MoLRE AUC | "
        "Difference [95 % CI], p |"
    )
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- |"
    yield from (_table2_row(row) for row in rows)
    yield from ("", *_reasons(rows), "### Figure 2: findings by AUC", "")
    yield "| Model | arm | AUC ≥ 0.90 | 0.80 to 0.90 | below 0.80 | too few cases |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for row in rows:
        for arm, measure in row.measures.items():
            yield f"| {row.title} | {arm_title(arm)} | {' | '.join(map(str, band_counts(measure.finding_aucs_C)))} |"
    yield ""
    if any(block.single in row.measures for row in rows):
        yield from _control_lines(rows)


def _control_lines(rows: Sequence[ModelRow]) -> Iterator[str]:
    yield from ("### The routing, or the parameters?", "", "MoLRE against one adapter with as many parameters.", "")
    yield (
        "| Model | Single: rank | parameters | MoLRE: rank | parameters | Single AUC | MoLRE AUC | "
        "MoLRE − single [95 % CI], p |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | --- | --- | --- |"
    for row in rows:
        single, molre = row.measure(row.block.single), row.measure(row.block.molre)
        cells = [row.title]
        for measure in (single, molre):
            cells += [_count(measure, "rank"), _exact(measure, "adapter")]
        yield f"| {' | '.join([*cells, _auc(single), _auc(molre), _change(row.over_single)])} |"
    yield ""


def _table2_row(row: ModelRow) -> str:
    base, molre = row.measure(row.block.base), row.measure(row.block.molre)
    cells = [
        row.title,
        row.domain,
        _millions(molre or base, "total"),
        _millions(base, "trainable"),
        _millions(molre, "trainable"),
        _millions(molre, "adapter"),
        _auc(base),
        _auc(molre),
        _change(row.gain),
    ]
    return f"| {' | '.join(cells)} |"


def _reasons(rows: Sequence[ModelRow]) -> Iterator[str]:
    said = [f"- {row.title}, {arm_title(arm)}: {NONE}, {why}." for row in rows for arm, why in row.missing.items()]
    incomplete = [
        f"- {row.title}, {arm_title(arm)}: only the seeds {', '.join(map(str, measure.seeds))}."
        for row in rows
        for arm, measure in row.measures.items()
        if row.gain is not None and len(measure.seeds) != len(row.gain.seeds)
    ]
    if said or incomplete:
        yield from (*said, *incomplete, "")


def _with_reasons(report: BenchmarkReport, rows: list[list[Any]]) -> Iterator[tuple[list[Any], str]]:
    for row, cells in zip(report.rows, rows, strict=True):
        yield cells, "; ".join(f"{arm}: {why}" for arm, why in row.missing.items())


def _finding_rows(report: BenchmarkReport, row: ModelRow) -> Iterator[list[Any]]:
    positive_C, negative_C = (report.labels_NC == 1).sum(axis=0), (report.labels_NC == 0).sum(axis=0)
    for column, (key, label) in enumerate(report.names.items()):
        aucs: list[float | None] = []
        for arm in row.block.arms:
            measure = row.measure(arm)
            aucs.append(None if measure is None else float(measure.finding_aucs_C[column]))
        note = "" if report.enough_C[column] else "too few"
        facts = [row.block.key, row.name, key, label, int(positive_C[column]), int(negative_C[column]), note]
        yield [*facts, *aucs, *_test(row.gain, column), *_test(row.over_single, column)]


def _test(change: ArmDifference | None, column: int) -> list[float | None]:
    found = None if change is None else change.findings[column]
    if found is None or found.auc is None:
        return [None] * 5
    interval = found.auc.interval
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return [found.auc.difference, low, high, found.auc.p, found.q]


def _cells(measure: ArmMeasure | None) -> list[Any]:
    if measure is None:
        return [None] * len(MEASURE_COLUMNS)
    counts = [_parameter(measure, name) for name in ("total", "trainable", "adapter", "rank")]
    seeds = " ".join(f"{seed}:{value:.6f}" for seed, value in zip(measure.seeds, measure.seed_means, strict=False))
    return [measure.mean, measure.std, measure.seed_std, seeds, *counts]


def _gain(change: ArmDifference | None) -> list[Any]:
    if change is None:
        return [None] * len(DIFFERENCE_COLUMNS)
    low, high = (None, None) if change.interval is None else (change.interval.low, change.interval.high)
    counts = [change.n_better, change.n_worse, change.n_findings, len(change.seeds)]
    return [change.difference, low, high, change.p, *counts]


def _parameter(measure: ArmMeasure, name: str) -> int | None:
    return measure.runs[0].result.parameters[name]


def _millions(measure: ArmMeasure | None, name: str) -> str:
    value = None if measure is None else _parameter(measure, name)
    return NONE if value is None else f"{value / 1e6:.2f} M"


def _exact(measure: ArmMeasure | None, name: str) -> str:
    value = None if measure is None else _parameter(measure, name)
    return NONE if value is None else f"{value:,}"


def _count(measure: ArmMeasure | None, name: str) -> str:
    value = None if measure is None else _parameter(measure, name)
    if value is None or measure is None:
        return NONE
    n_experts = _experts(measure, measure.runs[0].cell.arm)
    return str(value) if n_experts == 1 else f"{n_experts} × {value}"


def _experts(measure: ArmMeasure, arm: Arm) -> int:
    settings = measure.runs[0].cell.config.molre
    return 1 if settings is None else settings.n_experts


def _auc(measure: ArmMeasure | None) -> str:
    if measure is None or measure.mean is None or measure.std is None:
        return NONE
    spread = f" [{min(measure.seed_means):.3f} … {max(measure.seed_means):.3f}]" if len(measure.seed_means) > 1 else ""
    return f"{measure.mean:.3f} ± {measure.std:.3f}{spread}"


def _change(change: ArmDifference | None) -> str:
    if change is None:
        return NONE
    interval = "no interval: too few patients"
    if change.interval is not None and change.p is not None:
        interval = f"[{change.interval.low:+.4f}, {change.interval.high:+.4f}], p = {change.p:.2g}"
    return f"{change.difference:+.4f} {interval}; {change.n_better} better, {change.n_worse} worse"


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell is None or cell != cell else cell for cell in row] for row in rows])
    return text.getvalue()
