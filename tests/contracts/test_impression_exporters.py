"""What every exporter of draft impressions must do."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.analysis import RESEARCH_NOTICE
from engine.errors import ExportError
from engine.export.impression import ImpressionDocument
from engine.export.registry import exporters, impression_exporter, impression_exporters

TEXT = "IMPRESSION\n- Épidural hématoma, left: 脳\n"

pytestmark = pytest.mark.parametrize("key", impression_exporters())


def test_the_text_and_the_notice_are_in_the_file(key: str, tmp_path: Path) -> None:
    path = tmp_path / "draft"
    impression_exporter(key).write(ImpressionDocument(TEXT), path)
    written = path.read_bytes().decode("utf-8")
    assert written.startswith(RESEARCH_NOTICE)
    assert TEXT.strip() in written
    assert written.endswith("\n")
    impression_exporter(key).write(ImpressionDocument(f"{RESEARCH_NOTICE}\n{TEXT}"), path)
    assert path.read_text(encoding="utf-8").count(RESEARCH_NOTICE) == 1


def test_a_file_that_cannot_be_written_leaves_nothing(key: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        impression_exporter(key).write(ImpressionDocument(TEXT), tmp_path / "nowhere" / "draft")
    assert caught.value.kind == "environment"
    assert list(tmp_path.iterdir()) == []


def test_it_is_no_exporter_of_corrections_and_carries_no_identity(key: str) -> None:
    item = impression_exporter(key)
    assert item.key == key
    assert item.suffix.startswith(".")
    assert not item.carries_identity
    assert key not in exporters()
    with pytest.raises(ExportError, match="csv"):
        impression_exporter("csv")
