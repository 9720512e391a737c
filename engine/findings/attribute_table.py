"""A person's own table of what studies are like (scanner, slice thickness, ward): CSV with a path and any columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.findings.label_table import OTHER_COLUMNS, PATH_COLUMN, PATIENT_COLUMN, csv_rows

THICKNESS_COLUMN = "slice_thickness_mm"
MAX_VALUES = 20
MAX_LENGTH = 80


def read_attribute_table(path: Path) -> dict[Path, dict[str, str]]:
    """Read attributes of studies.

    Parameters
    ----------
    path
        CSV, UTF-8, with a header line. ``path`` is the study's folder or file, relative to the table's own folder;
        every other column is an attribute. `THICKNESS_COLUMN` holds numbers, or nothing. ``seed`` is not read.

    Returns
    -------
    dict
        By resolved path, the attributes by column name; the same names for every study.

    Raises
    ------
    ConfigError
        If the table cannot be read, has no ``path``, no other column or a column twice, a row of another length or a
        study twice, a thickness that is no positive number, or a column that would name patients instead of parting
        studies: ``patient``, and one with a value longer than `MAX_LENGTH` or more than `MAX_VALUES` different ones.
        Cells are never quoted in the message.
    """
    rows = csv_rows(path, _refused)
    header = [name.strip() for name in rows[0][1]] if rows else []
    names = _attribute_columns(path, header)
    table: dict[Path, dict[str, str]] = {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise _refused(path, f"line {line} has {len(row)} cells, the header {len(header)}", "row")
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        study = (path.parent / cells[PATH_COLUMN]).resolve()
        if study in table:
            raise _refused(path, f"line {line} names a study that stands in it already", "row")
        table[study] = {name: cells[name] for name in names}
    _require_strata(path, names, table)
    return table


def _attribute_columns(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    # Without it the first line may be data, of which nothing may be quoted.
    if PATH_COLUMN not in header:
        raise _refused(path, f"its first line names no column {PATH_COLUMN}", "no_path_column")
    if len(set(header)) != len(header) or "" in header:
        raise _refused(path, "a column stands twice, or has no name", "columns")
    if PATIENT_COLUMN in header:
        raise _refused(path, f"{PATIENT_COLUMN} is no attribute; it belongs into the table of labels", "columns")
    names = tuple(name for name in header if name != PATH_COLUMN and name not in OTHER_COLUMNS)
    if not names:
        raise _refused(path, "it has no column of an attribute", "columns")
    return names


def _require_strata(path: Path, names: Sequence[str], table: Mapping[Path, Mapping[str, str]]) -> None:
    for name in names:
        values = {row[name] for row in table.values()}
        if name == THICKNESS_COLUMN:
            if not all(not value or _is_positive(value) for value in values):
                raise _refused(path, f"column {name} holds what is no positive number", "values")
        elif max(map(len, values), default=0) > MAX_LENGTH or len(values) > MAX_VALUES:
            many = f"values longer than {MAX_LENGTH} characters, or more than {MAX_VALUES} different ones"
            raise _refused(path, f"column {name} has {many}", "values")


def _is_positive(text: str) -> bool:
    try:
        return 0.0 < float(text) < float("inf")
    except ValueError:
        return False


def _refused(path: Path, reason: str, code: str) -> ConfigError:
    return ConfigError(
        f"The table of attributes {path} is refused: {reason}. Nothing was done.",
        hint="Write a CSV with the column path and a column per attribute, each with few different values.",
        code=f"attributes.{code}",
    )
