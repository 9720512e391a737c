"""The table of labels: what a phantom cohort writes is read, and what is wrong is refused without quoting a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.findings.label_table import label_array, read_label_table
from engine.phantom.cohort import write_cohort
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import PAINTED_KEYS

KEYS = frozenset({"a", "b", "c"})


def written(folder: Path, text: str) -> Path:
    table = folder / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return table


def test_a_phantom_cohort_is_read_back(tmp_path: Path) -> None:
    spec = PhantomSpec(matrix=72, pixel_spacing_mm=3.2, n_slices=13, slice_spacing_mm=12.0)
    table = read_label_table(write_cohort(tmp_path / "cohort", 2, 5, spec), PAINTED_KEYS)
    assert (table.name, table.keys) == ("labels.csv", PAINTED_KEYS)
    assert [study.path for study in table.studies] == [tmp_path / "cohort" / f"study_0000{n}" for n in (1, 2)]
    for study in table.studies:
        files = study.path.with_name(f"{study.path.name}_masks").glob("*.nii.gz")
        masks = {file.name.removesuffix(".nii.gz") for file in files}
        assert {key for key, label in study.labels.items() if label == 1} == masks


def test_empty_cells_are_unknown_and_columns_are_mapped_by_key(tmp_path: Path) -> None:
    table = read_label_table(written(tmp_path, "b,patient,path,a\n1,X,one,\n ,X,/two,0\n\n"), KEYS)
    assert table.keys == ("b", "a")
    assert [study.path for study in table.studies] == [tmp_path / "one", Path("/two")]
    assert [study.line for study in table.studies] == [2, 3]
    assert [study.patient for study in table.studies] == ["X", "X"]
    assert "X" not in repr(table), "who the patients are is shown to nobody"
    assert label_array(table.studies, ("a", "b", "c")).tolist() == [[-1, 1, -1], [0, -1, -1]]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "labels.no_path_column", "no column path"),
        ("DOE^JANE,1\n", "labels.no_path_column", "no column path"),
        ("path,a\n", "labels.empty", "no row"),
        ("path,patient\nx,y\n", "labels.columns", "no column of a finding"),
        ("path,a,a\nx,1,0\n", "labels.columns", "twice"),
        ("path,a,hemorrage\nx,1,0\n", "labels.unknown_finding", "hemorrage"),
        ("path,patient,a\nx,DOE^JANE,2\n", "labels.label", "line 2, a"),
        ("path,a\nDOE^JANE,1,1\n", "labels.row", "line 2 has 3 cells"),
        ("path,a\n,1\n", "labels.row", "line 2 has no path"),
        ('path,a\n"x,1\n', "labels.unreadable", "no CSV"),
    ],
)
def test_a_wrong_table_is_refused_without_quoting_a_cell(tmp_path: Path, text: str, code: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_label_table(written(tmp_path, text), KEYS)
    assert caught.value.code == code
    assert says in caught.value.message
    assert "DOE" not in caught.value.message


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "labels.csv"
    binary.write_bytes(b"\xff\xfe\x00path")
    for path in (binary, tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(ConfigError) as caught:
            read_label_table(path, KEYS)
        assert caught.value.code == "labels.unreadable"
