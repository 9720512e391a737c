"""Errors become notices, messages and exit codes; a bug's report holds places and types, never values."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from app.errors import bug_report, exit_code, install_exception_hooks, notice_from, terminal_message
from app.logs import close_log, log_error, open_log
from app.viewmodels.notices import Notice
from engine.errors import DicomError, ErrorKind, StoreError, report_lines_of
from engine.progress import Cancelled

SECRET = "DOE^JANE"


def bug() -> Exception:
    """An error with a cause, both of which quote a patient."""
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return error


@pytest.mark.parametrize(("kind", "code"), [("input", 3), ("scope", 4), ("environment", 5)])
def test_the_kind_decides_the_exit_code(kind: ErrorKind, code: int) -> None:
    error = DicomError("file x is short", hint="copy it again", code="dicom.short", kind=kind)
    assert exit_code(error) == code
    assert terminal_message(error) == "error [dicom.short]: file x is short\ncopy it again"


def test_bugs_and_interruptions_have_codes_of_their_own() -> None:
    assert exit_code(RuntimeError()) == 70
    assert exit_code(KeyboardInterrupt()) == exit_code(Cancelled()) == 130


def test_an_interrupted_run_does_not_promise_what_it_cannot_keep() -> None:
    said = terminal_message(KeyboardInterrupt())
    assert "interrupted" in said
    assert "may be incomplete" in said


def test_a_report_names_types_and_places_of_the_whole_chain_without_values() -> None:
    report = bug_report(bug())
    assert "KeyError" in report
    assert "ValueError" in report
    assert report.count("test_errors.py") >= 2
    assert "in bug" in report
    assert SECRET not in report
    assert SECRET not in terminal_message(bug())


def test_an_error_of_ours_is_in_the_report_by_its_code_only() -> None:
    error = StoreError("the store s is locked", hint="close it", code="store.locked", kind="environment")
    assert "StoreError: [store.locked]" in bug_report(error)
    assert "is locked" not in bug_report(error)


def bug_after_ours() -> Exception:
    """A bug whose cause is an error of ours that names a path."""
    try:
        try:
            raise DicomError(f"/scans/{SECRET}/1.dcm is short", hint="", code="dicom.short")
        except DicomError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        return error


def test_only_lines_of_a_report_are_taken_from_a_stderr() -> None:
    kept = report_lines_of(f"{SECRET}\nValueError: {SECRET}\n    {SECRET}\n{bug_report(bug_after_ours())}")
    assert SECRET.partition("^")[0] not in kept
    assert "in bug_after_ours" in kept
    assert "engine.errors.DicomError: [dicom.short]" in kept.splitlines()


def test_notices_say_what_happened_and_what_to_do() -> None:
    notice = notice_from(DicomError("m", hint="h", code="c.d", kind="scope"), "Opening")
    assert (notice.severity, notice.title, notice.message, notice.hint) == ("warning", "Opening", "m", "h")
    notice = notice_from(bug())
    assert notice.severity == "error"
    assert "KeyError" in notice.message
    assert SECRET not in notice.details


def test_uncaught_errors_of_any_thread_become_notices(capsys: pytest.CaptureFixture[str]) -> None:
    notices: list[Notice] = []
    restore = install_exception_hooks(notices.append)
    try:
        error = bug()
        sys.excepthook(type(error), error, error.__traceback__)

        def fail() -> None:
            raise RuntimeError(SECRET)

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    finally:
        restore()
    assert [notice.severity for notice in notices] == ["error", "error"]
    assert SECRET not in capsys.readouterr().err
    assert sys.excepthook is not None


def test_the_log_holds_codes_and_places_only(tmp_path: Path) -> None:
    handler = open_log(tmp_path)
    log_error(DicomError(f"/scans/{SECRET}/1.dcm is short", hint="", code="dicom.short"))
    log_error(bug())
    log_error(bug_after_ours())
    logging.getLogger("pydicom").warning("a header of %s", SECRET)
    close_log(handler)
    text = (tmp_path / "app.log").read_text(encoding="utf-8")
    assert "dicom.short" in text
    assert "KeyError" in text
    assert "DicomError: [dicom.short]" in text
    assert "DOE" not in text
