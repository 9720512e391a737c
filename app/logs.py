"""The log file: what went wrong, by code and place. It never holds patient data, so neither messages nor paths."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from app.errors import bug_report
from engine.errors import HeadCTError

LOGGER = logging.getLogger("head_ct_review")
MAX_BYTES = 1_000_000
BACKUPS = 3


def open_log(folder: Path) -> RotatingFileHandler:
    """Write the program's own log records to a file; libraries' records, which may quote headers, do not go there."""
    handler = RotatingFileHandler(folder / "app.log", maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    LOGGER.addHandler(handler)
    return handler


def close_log(handler: RotatingFileHandler) -> None:
    """Close the file."""
    LOGGER.removeHandler(handler)
    handler.close()


def log_error(error: BaseException) -> None:
    """Note an error: its code, or for a bug where it arose."""
    if isinstance(error, HeadCTError):
        LOGGER.warning("%s %s", type(error).__name__, error.code)
    else:
        LOGGER.error("a bug\n%s", bug_report(error))
