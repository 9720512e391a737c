"""What each format of the corrections promises; what all do is in tests/contracts/test_exporters.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.export.registry import exporter
from engine.findings.catalogue import Catalogue
from tests.support.export_values import ROW, UNSURE, read_csv, read_jsonl, report


def test_csv_spells_values_as_documented(tmp_path: Path, catalogue: Catalogue) -> None:
    path = tmp_path / "out.csv"
    exporter("csv").write(report(catalogue, ROW, UNSURE), path)
    first, second = read_csv(path)
    assert (first["present"], first["superseded"], second["present"]) == ("false", "false", "")
    assert float(first["probability"]) == 0.1 + 0.2
    assert first["sop_instance_uids"] == "1.2.840.1.5.11|1.2.840.1.5.12"
    assert (second["probability"], second["model_digest"]) == ("", "")
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf"), "no byte order mark: the first column keeps its name"
    assert path.read_bytes().startswith(b"series_instance_uid,study_instance_uid,finding_key,label,verdict,present,")


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-2+3",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        " =1+1",
        "＝1",
        "\t=1",
    ],
)
@pytest.mark.parametrize("field", ["comment", "reason", "reader", "finding_key", "model_name", "model_notice"])
def test_csv_cells_are_never_formulas(tmp_path: Path, catalogue: Catalogue, text: str, field: str) -> None:
    exporter("csv").write(report(catalogue, replace(ROW, **{field: text})), tmp_path / "out.csv")  # type: ignore[arg-type]
    (row,) = read_csv(tmp_path / "out.csv")
    assert row[field] == f"'{text}"


def test_csv_leaves_harmless_text_alone(tmp_path: Path, catalogue: Catalogue) -> None:
    comment = "HU 60 - 80, p = 0.5 (+/-), a@b"
    exporter("csv").write(report(catalogue, replace(ROW, comment=comment)), tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv")[0]["comment"] == comment


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])), probability=st.none() | st.floats(0, 1))
def test_jsonl_loses_nothing(tmp_path: Path, catalogue: Catalogue, text: str, probability: float | None) -> None:
    row = replace(ROW, comment=text, reason=text, probability=probability)
    path = tmp_path / "out.jsonl"
    exporter("jsonl").write(report(catalogue, row, UNSURE), path)
    first, second = read_jsonl(path)
    assert (first["comment"], first["reason"], first["probability"]) == (text, text, probability)
    assert first["sop_instance_uids"] == list(ROW.sop_instance_uids)
    assert (first["present"], second["present"]) == (False, None)
    assert datetime.fromisoformat(str(first["created_utc"])) == ROW.created_utc
