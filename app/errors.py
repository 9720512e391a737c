"""From an error to what a person sees: a notice in the window, a message and exit code on the command line.

A `HeadCTError` speaks for itself to the person at the screen. Any other exception is a bug of ours; its text may quote
a value from a study. Reports, which leave the machine, name types, places and codes and withhold every text: even a
message of ours may name a path that holds a patient's name.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from engine.errors import ErrorKind, HeadCTError, traceback_without_values
from engine.progress import Cancelled

if TYPE_CHECKING:
    from app.viewmodels.notices import Notice, Severity

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_PARTIAL = 6
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_BY_KIND: dict[ErrorKind, int] = {"input": 3, "scope": 4, "environment": 5}

BUG_HINT = "Your work so far is saved. Please send the report below; it holds no patient data."


class ReportedElsewhere(Exception):
    """The cause of an error lies in another process; `report` is what that process wrote, without patient data."""

    def __init__(self, report: str) -> None:
        super().__init__("reported by another process")
        self.report = report


def notice_from(error: BaseException, title: str = "") -> Notice:
    """Turn any exception into a notice; `title` names what was being done."""
    from app.viewmodels.notices import Notice

    if isinstance(error, HeadCTError):
        severity: Severity = "warning" if error.kind == "scope" else "error"
        return Notice(severity, title or "This did not work", error.message, error.hint, _details(error))
    return Notice(
        "error",
        title or "The program made a mistake",
        f"An error that the program does not know ended this step ({type(error).__name__}).",
        BUG_HINT,
        bug_report(error),
    )


def _details(error: HeadCTError) -> str:
    cause = error.__cause__
    report = cause.report if isinstance(cause, ReportedElsewhere) else ""
    return f"Code: {error.code}\n{report}".rstrip()


def bug_report(error: BaseException) -> str:
    """Return the traceback of an exception and its causes: files, lines, functions, types and codes, without values."""
    return traceback_without_values(error)


def terminal_message(error: BaseException) -> str:
    """Return what the command line prints on stderr."""
    if isinstance(error, HeadCTError):
        return f"error [{error.code}]: {error.message}\n{error.hint}"
    if isinstance(error, (KeyboardInterrupt, Cancelled)):
        return "stopped: interrupted before the end; what was written until then is still there and may be incomplete"
    return (
        f"{bug_report(error)}bug: the program made a mistake. Please send the report above; it holds no patient data."
    )


def exit_code(error: BaseException) -> int:
    """Return the exit code that tells a script what sort of failure this was."""
    if isinstance(error, HeadCTError):
        return EXIT_BY_KIND[error.kind]
    return EXIT_INTERRUPTED if isinstance(error, (KeyboardInterrupt, Cancelled)) else EXIT_BUG


def install_exception_hooks(show: Callable[[Notice], None]) -> Callable[[], None]:
    """Send every uncaught exception, of any thread, to `show` and a report to stderr; the program goes on.

    Parameters
    ----------
    show
        May be called on any thread.

    Returns
    -------
    Callable
        Puts the earlier hooks back.
    """
    earlier = sys.excepthook, threading.excepthook

    def tell(error: BaseException) -> None:
        if sys.stderr is not None:
            sys.stderr.write(bug_report(error))
        show(notice_from(error))

    def on_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            earlier[0](kind, error, trace)
        else:
            tell(error)

    def on_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            tell(arguments.exc_value)

    def restore() -> None:
        sys.excepthook, threading.excepthook = earlier

    sys.excepthook, threading.excepthook = on_main, on_thread
    return restore
