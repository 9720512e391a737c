"""Reads a cohort's CSV row by row: some have millions of rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.errors import ConfigError
from trainer.cohorts.importers.base import TableHead


def stream_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, cells stripped, each with the number of its last line.

    Raises
    ------
    ConfigError
        If the file cannot be read or is no CSV in UTF-8. Cells are never quoted.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except OSError as error:
        raise table_error(table, f"it cannot be read ({error.strerror})", "unreadable") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise table_error(table, f"it is no CSV in UTF-8 ({type(error).__name__})", "unreadable") from None


def read_head(table: Path) -> TableHead | None:
    """Return the first two rows; None if the file is no table."""
    try:
        rows = [row for _, row in islice(stream_rows(table), 2)]
    except ConfigError:
        return None
    return TableHead(table, tuple(rows[0]), tuple(rows[1]) if len(rows) > 1 else ()) if rows else None


def table_error(table: Path, reason: str, code: str) -> ConfigError:
    """Make the error for a table that cannot be imported."""
    return ConfigError(
        f"The table {table} is not imported: {reason}. Nothing was done.",
        hint="Give the table as its publisher wrote it, or the folder that holds it.",
        code=f"cohort.table_{code}",
    )
