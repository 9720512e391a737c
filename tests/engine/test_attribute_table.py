"""The table of attributes: read by path, and refused where it would name patients, without quoting a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.findings.attribute_table import MAX_VALUES, read_attribute_table


def written(folder: Path, text: str) -> Path:
    table = folder / "attributes.csv"
    table.write_text(text, encoding="utf-8")
    return table


def test_attributes_are_read_by_path(tmp_path: Path) -> None:
    text = "scanner,path,seed,slice_thickness_mm\nA,one,1,0.625\n,./two,2,\n"
    table = read_attribute_table(written(tmp_path, text))
    assert table == {
        (tmp_path / "one").resolve(): {"scanner": "A", "slice_thickness_mm": "0.625"},
        (tmp_path / "two").resolve(): {"scanner": "", "slice_thickness_mm": ""},
    }


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "attributes.no_path_column", "no column path"),
        ("path\nx\n", "attributes.columns", "no column of an attribute"),
        ("path,a,a\nx,1,0\n", "attributes.columns", "twice"),
        ("path,a,\nx,1,0\n", "attributes.columns", "no name"),
        ("path,patient\nx,DOE^JANE\n", "attributes.columns", "no attribute"),
        ("path,a\nDOE^JANE,1,1\n", "attributes.row", "line 2 has 3 cells"),
        ("path,a\nDOE^JANE,1\n./DOE^JANE,1\n", "attributes.row", "line 3 names a study"),
        ("path,slice_thickness_mm\nx,DOE^JANE\n", "attributes.values", "no positive number"),
        ("path,slice_thickness_mm\nx,0\n", "attributes.values", "no positive number"),
        ("path,a\nx," + "DOE^JANE" * 11 + "\n", "attributes.values", "column a"),
        ("path,a\n" + "".join(f"x{n},DOE^JANE{n}\n" for n in range(MAX_VALUES + 1)), "attributes.values", "column a"),
    ],
)
def test_a_wrong_table_is_refused_without_quoting_a_cell(tmp_path: Path, text: str, code: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_attribute_table(written(tmp_path, text))
    assert caught.value.code == code
    assert says in caught.value.message
    assert "DOE" not in caught.value.message
