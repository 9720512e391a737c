"""Reports in; labels out as a table of one's own, which `models calibrate` and the trainer read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.errors import LabelError
from engine.findings.label_table import PATH_COLUMN
from trainer.files import write_atomically
from trainer.labels.values import UNKNOWN, Labels, Report

PATIENT_COLUMN = "patient"
TEXT_COLUMNS = ("impression", "report", "text")
MAX_REPORT_BYTES = 1 << 20
_COLUMNS_HINT = "Give a CSV (UTF-8) with the columns path and report, text or impression, or a folder of .txt files."


def read_reports(path: Path) -> list[Report]:
    """Read reports.

    Parameters
    ----------
    path
        A CSV, UTF-8, with the column ``path`` (what the own table shall call the study) and one of ``impression``,
        ``report``, ``text``, and, if there is one, ``patient``; other columns are not read. Or a folder: every ``.txt``
        in it and below, whose path without the suffix names the study.

    Raises
    ------
    LabelError
        If it cannot be read, names a study twice, or holds no report. Cells are never quoted.
    """
    reports = _from_folder(path) if path.is_dir() else _from_table(path)
    if not reports:
        raise _refused(path, "there is no report in it", "empty")
    first: dict[str, int] = {}
    for report in reports:
        if report.identifier in first:
            raise _refused(path, f"reports {first[report.identifier]} and {report.line} have the same path", "twice")
        first[report.identifier] = report.line
    return reports


def write_labels(path: Path, reports: Sequence[Report], labels: Sequence[Labels], keys: Sequence[str]) -> None:
    """Write one row a report: path, patient where the reports have one, and 1, 0 or nothing for each finding.

    Raises
    ------
    TrainingError
        If the file cannot be written; it is whole or not there.
    """
    with_patient = any(report.patient for report in reports)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([PATH_COLUMN, *([PATIENT_COLUMN] if with_patient else []), *keys])
    for report, found in zip(reports, labels, strict=True):
        cells = ["" if found[key] == UNKNOWN else str(found[key]) for key in keys]
        writer.writerow([report.identifier, *([report.patient] if with_patient else []), *cells])
    write_atomically(path, stream.getvalue().encode("utf-8"))


def _from_folder(folder: Path) -> list[Report]:
    files = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    return [
        Report(file.relative_to(folder).with_suffix("").as_posix(), _text_of(file, f"text file {number}"), line=number)
        for number, file in enumerate(files, start=1)
    ]


def _text_of(file: Path, called: str) -> str:
    """Read one file; it is called by its number, since its name may be a patient's."""
    try:
        if file.stat().st_size > MAX_REPORT_BYTES:
            raise _refused(file.parent, f"{called} has more than {MAX_REPORT_BYTES >> 20} MiB: no report", "size")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _refused(file.parent, f"{called} cannot be read ({error.strerror})", "unreadable") from error
    except UnicodeDecodeError:
        # `from None`: the error holds the text.
        raise _refused(file.parent, f"{called}, in the order of names, is not UTF-8", "unreadable") from None


def _from_table(path: Path) -> list[Report]:
    rows = list(_rows(path))
    if not rows:
        return []
    header = [name.strip() for name in rows[0][1]]
    text_column = next((name for name in TEXT_COLUMNS if name in header), None)
    if PATH_COLUMN not in header or text_column is None or len(set(header)) != len(header):
        raise _refused(path, "its first line does not name path and report, text or impression, each once", "columns")
    return [_report(path, line, header, row, text_column) for line, row in rows[1:]]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            yield from ((reader.line_num, row) for row in reader if row)
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror})", "unreadable") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"it is no CSV in UTF-8 ({type(error).__name__})", "unreadable") from None


def _report(path: Path, line: int, header: Sequence[str], row: Sequence[str], text_column: str) -> Report:
    if len(row) != len(header):
        raise _refused(path, f"the row that ends in line {line} has {len(row)} cells, the header {len(header)}", "row")
    cells = dict(zip(header, row, strict=True))
    if not (identifier := cells[PATH_COLUMN].strip()):
        raise _refused(path, f"the row that ends in line {line} has no path", "row")
    return Report(identifier, cells[text_column], cells.get(PATIENT_COLUMN, "").strip(), line)


def _refused(path: Path, reason: str, code: str) -> LabelError:
    return LabelError(
        f"The reports in {path} are refused: {reason}. Nothing was labelled.",
        hint=_COLUMNS_HINT,
        code=f"labels.reports_{code}",
    )
