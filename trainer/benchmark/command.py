"""The benchmark as the command line runs it: runs, then tables and figures into the output folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.progress import NULL_CONTEXT, Context
from trainer.benchmark.config import BenchmarkConfig
from trainer.benchmark.figures import write_figures
from trainer.benchmark.report import BenchmarkReport, ModelRow, make_report
from trainer.benchmark.runner import finished_runs, run_benchmark
from trainer.benchmark.tables import control_csv, figure2_csv, findings_csv, markdown, runs_csv, table2_csv
from trainer.files import write_atomically

DOCUMENT = "benchmark.md"
TABLES = {
    "table2.csv": table2_csv,
    "control.csv": control_csv,
    "figure2.csv": figure2_csv,
    "figure3.csv": findings_csv,
    "runs.csv": runs_csv,
    DOCUMENT: markdown,
}


def benchmark_to_folder(
    config_path: Path,
    out: Path,
    context: Context = NULL_CONTEXT,
    backbones: Path | None = None,
    names: Mapping[str, str] | None = None,
    tables_only: bool = False,
) -> str:
    """Do what a TOML file says and write all tables and figures; return a closing sentence.

    Parameters
    ----------
    out
        Everything is written there; a stopped benchmark of the same configuration goes on from it.
    names
        Finding key to what a person reads.
    tables_only
        Run nothing: tables and figures of the runs that are finished.

    Raises
    ------
    HeadCTError
        If the configuration is invalid or a run cannot go on.
    Cancelled
        If the context was cancelled.
    """
    config = BenchmarkConfig.from_toml(config_path)
    if tables_only:
        plan, finished = finished_runs(config, out, backbones)
    else:
        plan, finished = run_benchmark(config, out, context, backbones)
    context.progress(0, 0, "Computing intervals")
    report = make_report(config, plan, finished, names)
    write_report(report, out)
    return closing(report, out)


def write_report(report: BenchmarkReport, out: Path) -> tuple[Path, ...]:
    """Write the tables as CSV, the document as Markdown, the figures as SVG and PNG.

    Raises
    ------
    TrainingError
        If the folder cannot be written.
    """
    for name, text in TABLES.items():
        write_atomically(out / name, text(report).encode("utf-8"))
    return (*(out / name for name in TABLES), *write_figures(report, out))


def closing(report: BenchmarkReport, out: Path) -> str:
    """Return the differences in a sentence each, and where the tables are."""
    lines = [f"{report.notice}. {report.n_runs} of {report.n_planned} runs are finished."]
    lines += [line for row in report.rows if (line := _line(row))]
    return "\n".join([*lines, f"Tables and figures: {out / DOCUMENT}"])


def _line(row: ModelRow) -> str:
    if row.gain is None:
        return ""
    interval = row.gain.interval
    bounds = "" if interval is None else f" [{interval.low:+.4f}, {interval.high:+.4f}]"
    return f"{row.title}, {row.block.molre} minus {row.block.base}: mean AUC {row.gain.difference:+.4f}{bounds}."
