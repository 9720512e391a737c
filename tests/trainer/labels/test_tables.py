"""Reports in, labels out, and how well two tables agree, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import ConfigError, LabelError
from engine.findings.catalogue import Catalogue
from engine.findings.label_table import read_label_table
from trainer.labels.agreement import agreement, agreement_lines, compare_with_table
from trainer.labels.tables import read_reports, write_labels
from trainer.labels.values import UNKNOWN, Report

SECRET = "Zebulon"


def test_reports_of_a_folder_are_named_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("\ufeffIMPRESSION: x", encoding="utf-8")
    (tmp_path / "two.txt").write_text("y", encoding="utf-8")
    (tmp_path / "three.pdf").write_bytes(b"%PDF")
    assert [(report.identifier, report.text) for report in read_reports(tmp_path)] == [
        ("a/one", "IMPRESSION: x"),
        ("two", "y"),
    ]


def test_reports_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "reports.csv"
    file.write_text('\ufeffpath,patient,sex,report\ns1,p1,f,"two\nlines, one comma"\ns2,,m,x\n', encoding="utf-8")
    first, second = read_reports(file)
    assert (first.identifier, first.patient, first.text, first.line) == ("s1", "p1", "two\nlines, one comma", 3)
    assert (second.identifier, second.patient, second.line) == ("s2", "", 4)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"path,report\n", "empty"),
        (b"study,report\nZebulon,x\n", "columns"),
        (b"path,Zebulon\na,b\n", "columns"),
        (b"path,report,report\na,b,c\n", "columns"),
        (b"path,report\nZebulon\n", "row"),
        (b"path,report\n ,Zebulon\n", "row"),
        (b"path,report\nZebulon,x\nZebulon,y\n", "twice"),
        (b"path,report\na,Zebulon \xff\n", "unreadable"),
        (b'path,report\na,"Zebulon\n', "unreadable"),
    ],
)
def test_a_table_with_a_fault_is_refused_without_a_quote(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "reports.csv"
    file.write_bytes(content)
    with pytest.raises(LabelError) as caught:
        read_reports(file)
    assert caught.value.code == f"labels.reports_{code}"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("content", "code"), [(b"\xff\xfe Zebulon", "unreadable"), (b"x" * (2 << 20), "size")])
def test_a_file_that_is_no_report(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / f"{SECRET}.txt").write_bytes(content)
    with pytest.raises(LabelError, match="text file 1") as caught:
        read_reports(tmp_path)
    assert caught.value.code == f"labels.reports_{code}"
    assert SECRET not in str(caught.value)


def test_the_table_written_is_the_one_that_the_program_reads(tmp_path: Path, catalogue: Catalogue) -> None:
    reports = [Report("a/one", "", "p1"), Report("two, too", "")]
    labels = [{**dict.fromkeys(catalogue, UNKNOWN), "lipoma": 1, "aneurysm": 0}, dict.fromkeys(catalogue, 0)]
    out = tmp_path / "labels.csv"
    write_labels(out, reports, labels, tuple(catalogue))
    table = read_label_table(out, catalogue)
    assert table.keys == tuple(catalogue)
    assert [study.path for study in table.studies] == [tmp_path / "a/one", tmp_path / "two, too"]
    assert [dict(study.labels) for study in table.studies] == labels
    assert out.read_text(encoding="utf-8").splitlines()[1].startswith("a/one,p1,")


def test_agreement_by_hand() -> None:
    #                    a   b   c
    manual = np.array([[1, 0, -1], [1, -1, 0]], dtype=np.int8)
    labels = np.array([[1, 1, 0], [0, 1, -1]], dtype=np.int8)
    found = agreement(labels, manual, ["a", "b", "c"])
    assert found.n_cases == 2
    assert found.false_positives == 1.0  # b in both cases
    assert found.stated_false_positives == 0.5  # b in the first
    assert found.false_negatives == 0.5  # a in the second
    assert found.denied_though_present == 0.5
    assert found.denied_though_unknown == 0.5  # c in the first
    assert found.missed_denials == 0.5  # c in the second
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.three_way == pytest.approx(1 / 6)
    assert [
        (f.key, f.n_present, f.n_absent, f.false_positives, f.false_negatives, f.accuracy) for f in found.findings
    ] == [
        ("a", 2, 0, 0, 1, 0.5),
        ("b", 0, 1, 2, 0, 0.0),
        ("c", 0, 1, 0, 0, 1.0),
    ]
    lines = agreement_lines(found)
    assert "false positives a case 1.00, false negatives a case 0.50, accuracy 0.5000" in lines[1]
    assert [line.split()[:5] for line in lines[-3:-1]] == [["a", "2", "0", "0", "1"], ["b", "0", "1", "2", "0"]]
    assert lines[-1] == "and 1 findings without an error"


def test_nothing_to_compare() -> None:
    empty = np.zeros((0, 3), dtype=np.int8)
    with pytest.raises(ValueError, match="nothing to compare"):
        agreement(empty, empty, ["a", "b", "c"])


def test_a_comparison_goes_by_path_and_over_the_columns_of_the_table(tmp_path: Path, catalogue: Catalogue) -> None:
    reports = [Report("one", ""), Report("two", ""), Report("three", "")]
    labels = [{**dict.fromkeys(catalogue, UNKNOWN), "lipoma": value} for value in (1, 0, 1)]
    table = tmp_path / "manual.csv"
    table.write_text("path,lipoma,aneurysm\nthree,0,\nfour,1,1\none,1,\n", encoding="utf-8")
    found = compare_with_table(table, reports, labels, catalogue)
    assert (found.n_cases, found.false_positives, found.false_negatives) == (2, 0.5, 0.0)
    assert [item.key for item in found.findings] == ["aneurysm", "lipoma"]


@pytest.mark.parametrize("rows", ["other,1\n", "one,1\none,0\n"])
def test_a_table_that_cannot_be_compared(tmp_path: Path, catalogue: Catalogue, rows: str) -> None:
    table = tmp_path / "manual.csv"
    table.write_text(f"path,lipoma\n{rows}", encoding="utf-8")
    with pytest.raises(LabelError) as caught:
        compare_with_table(table, [Report("one", "")], [dict.fromkeys(catalogue, 0)], catalogue)
    assert caught.value.code == "labels.compare"
    table.write_text("path,no_finding\none,1\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        compare_with_table(table, [Report("one", "")], [dict.fromkeys(catalogue, 0)], catalogue)
