"""``export --store FILE`` only reads the store, whatever state it is in."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.cli import main
from app.commands.base import Programs
from engine.export.registry import exporters
from engine.findings.catalogue import Catalogue
from engine.store.repository import Store
from tests.support.store_values import SERIES, STATEMENT, filled, make_analysis

RELEASED = Path(__file__).parents[1] / "engine" / "data" / "store_0002.sqlite"


def export(home: Path, store: Path, kind: str = "jsonl") -> int:
    def unused(*_: object) -> int:
        raise AssertionError("export starts no other program")

    words = ["--home", str(home), "export", "--store", str(store), "--format", kind, "--out", str(home / "out")]
    return main(words, Programs(*[unused] * 6))  # type: ignore[arg-type]


def test_the_store_is_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "given" / "store.sqlite"
    store.parent.mkdir()
    shutil.copy(RELEASED, store)
    before = hashlib.sha256(store.read_bytes()).hexdigest()
    assert export(tmp_path, store) == 0
    assert len((tmp_path / "out" / "corrections.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    assert hashlib.sha256(store.read_bytes()).hexdigest() == before
    assert [item.name for item in store.parent.iterdir()] == ["store.sqlite"]


def test_the_running_applications_store_is_exported_with_what_is_in_its_log(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    path = tmp_path / "store.sqlite"
    with Store.open(path) as store:
        filled(store).save_analysis(make_analysis(catalogue))
        store.add_feedback(STATEMENT)
        store.set_series_state(SERIES.series_uid, "analysing")
        assert export(tmp_path, path) == 0
        assert store.list_series()[0].state == "analysing"
    (line,) = (tmp_path / "out" / "corrections.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(line)
    assert (row["probability"], row["model_notice"]) == (STATEMENT.probability, "trained on synthetic phantoms")


def test_a_format_counts_once_its_exporter_is_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "given" / "store.sqlite"
    store.parent.mkdir()
    shutil.copy(RELEASED, store)
    assert export(tmp_path, store, "lines") == 2
    message = capsys.readouterr().err
    assert "'lines'" in message
    assert "csv, jsonl" in message
    known = {**exporters(), "lines": exporters()["jsonl"]}
    monkeypatch.setattr("engine.export.registry.exporters", lambda: known)
    monkeypatch.setattr("app.operations.export_corrections.exporters", lambda: known)
    monkeypatch.setattr(type(known["jsonl"]), "key", "lines")
    assert export(tmp_path, store, "lines") == 0


@pytest.mark.parametrize("content", [b"", b"finding,label\n" * 1000])
def test_what_is_no_store_is_bad_input_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "given" / "store.sqlite"
    path.parent.mkdir()
    path.write_bytes(content)
    assert export(tmp_path, path) == 3
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == ["store.sqlite"]
    assert not list((tmp_path / "out").glob("*"))
