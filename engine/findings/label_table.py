"""A person's own table of labelled studies: CSV with a path and one column per finding, as phantom cohorts have it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError

PATH_COLUMN = "path"
PATIENT_COLUMN = "patient"
OTHER_COLUMNS = frozenset({PATIENT_COLUMN, "seed"})
UNKNOWN = -1
_LABELS = {"1": 1, "0": 0, "": UNKNOWN}


@dataclass(frozen=True)
class LabelledStudy:
    """One row: where the study is, its line in the table, and 1, 0 or -1 (unknown) by finding key.

    `patient` tells which studies are one patient's, and is shown to nobody; empty where the table does not say.
    """

    path: Path
    line: int
    labels: Mapping[str, int]
    patient: str = field(default="", repr=False)


@dataclass(frozen=True)
class LabelTable:
    """A whole table: its file's name without the folder, the finding keys of its columns, and its rows."""

    name: str
    keys: tuple[str, ...]
    studies: tuple[LabelledStudy, ...]


def read_label_table(path: Path, known_keys: Collection[str]) -> LabelTable:
    """Read a table of labels.

    Parameters
    ----------
    path
        CSV, UTF-8, with a header line. ``path`` is the study's folder or file, relative to the table's own folder; a
        column named like a finding holds 1, 0, or nothing where it is not known; ``patient`` is any text that is
        the same for studies of one patient; ``seed`` is not read.
    known_keys
        The catalogue's finding keys. Other columns are refused: a misspelt finding must not go unseen.

    Raises
    ------
    ConfigError
        If the table cannot be read, has no ``path`` or no finding column, a column twice or unknown, a row of another
        length or without a path, a label that is none, or no row at all. Cells are never quoted in the message.
    """
    rows = csv_rows(path, _refused)
    header = [name.strip() for name in rows[0][1]] if rows else []
    keys = _finding_columns(path, header, known_keys)
    studies = tuple(_study(path, line, header, row, keys) for line, row in rows[1:])
    if not studies:
        raise _refused(path, "it has no row", "empty")
    return LabelTable(path.name, keys, studies)


def label_array(studies: Sequence[LabelledStudy], keys: Sequence[str]) -> NDArray[np.int8]:
    """Return the labels as int8 (N, C), in the order of `keys`; -1 where the table has no such column."""
    rows = [[study.labels.get(key, UNKNOWN) for key in keys] for study in studies]
    return np.array(rows, dtype=np.int8).reshape(len(studies), len(keys))


def csv_rows(path: Path, refuse: Callable[[Path, str, str], ConfigError]) -> list[tuple[int, list[str]]]:
    """Return the lines of a table that are not empty, numbered; `refuse` makes the error (path, reason, code).

    Raises
    ------
    ConfigError
        If the file cannot be read or is no CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            return [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "unreadable") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise refuse(path, f"it is no CSV in UTF-8 ({type(error).__name__})", "unreadable") from error


def _finding_columns(path: Path, header: Sequence[str], known_keys: Collection[str]) -> tuple[str, ...]:
    # Without it the first line may be data, of which nothing may be quoted.
    if PATH_COLUMN not in header:
        raise _refused(path, f"its first line names no column {PATH_COLUMN}", "no_path_column")
    if len(set(header)) != len(header):
        raise _refused(path, "a column stands twice", "columns")
    keys = tuple(name for name in header if name != PATH_COLUMN and name not in OTHER_COLUMNS)
    unknown = [name for name in keys if name not in known_keys]
    if unknown:
        raise _refused(path, f"the catalogue has no finding {', '.join(unknown[:5])}", "unknown_finding")
    if not keys:
        raise _refused(path, "it has no column of a finding", "columns")
    return keys


def _study(table: Path, line: int, header: Sequence[str], row: Sequence[str], keys: Sequence[str]) -> LabelledStudy:
    if len(row) != len(header):
        raise _refused(table, f"line {line} has {len(row)} cells, the header {len(header)}", "row")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    if not cells[PATH_COLUMN]:
        raise _refused(table, f"line {line} has no path", "row")
    wrong = [key for key in keys if cells[key] not in _LABELS]
    if wrong:
        raise _refused(table, f"line {line}, {wrong[0]}: a label is 1, 0 or nothing", "label")
    labels = {key: _LABELS[cells[key]] for key in keys}
    return LabelledStudy(table.parent / cells[PATH_COLUMN], line, labels, cells.get(PATIENT_COLUMN, ""))


def _refused(path: Path, reason: str, code: str) -> ConfigError:
    return ConfigError(
        f"The table of labels {path} is refused: {reason}. Nothing was done.",
        hint="Write a CSV with the columns path and finding keys of the catalogue; each cell 1, 0 or empty.",
        code=f"labels.{code}",
    )
