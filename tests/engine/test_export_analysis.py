"""R.json and L.npz: readable by anyone, exact, and either whole or not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.analysis import Analysis, Counterfactual
from engine.errors import ExportError
from engine.export.analysis_json import write_analysis_json
from engine.export.ledger_npz import write_ledger_npz
from engine.findings.catalogue import Catalogue
from tests.support.store_values import assert_same_analysis, make_analysis


def test_result_and_ledger_together_rebuild_the_analysis(tmp_path: Path, catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    write_analysis_json(analysis, tmp_path / "R.json")
    write_ledger_npz(analysis.ledger, tmp_path / "L.npz")
    document = json.loads((tmp_path / "R.json").read_text(encoding="utf-8"))
    assert_same_analysis(Analysis.from_json(document, analysis.ledger, analysis.acquired_weights), analysis)
    assert [item["key"] for item in document["findings"]] == list(catalogue)
    with np.load(tmp_path / "L.npz", allow_pickle=False) as ledger:
        assert set(ledger.files) == {"keys", "ledger", "bias", "logits"}
        assert tuple(ledger["keys"]) == analysis.ledger.keys
        assert ledger["ledger"].shape == (4, 5, 7)
        np.testing.assert_allclose(ledger["ledger"].sum(axis=(1, 2)) + ledger["bias"], ledger["logits"], atol=1e-4)


def test_the_ledger_file_holds_the_logits_without_each_slice_and_expert(tmp_path: Path, catalogue: Catalogue) -> None:
    analysis = make_analysis(catalogue)
    nothing_left = np.full((4, 5), np.nan, np.float32)
    without = Counterfactual(nothing_left, np.arange(24, dtype=np.float32).reshape(4, 6))
    write_ledger_npz(analysis.ledger, tmp_path / "L.npz", without)
    with np.load(tmp_path / "L.npz", allow_pickle=False) as ledger:
        np.testing.assert_array_equal(ledger["without_slice"], nothing_left)
        np.testing.assert_array_equal(ledger["without_expert"], without.without_expert)


def test_equal_results_give_equal_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    for name in ("one", "two"):
        analysis = make_analysis(catalogue)
        write_analysis_json(analysis, tmp_path / f"{name}.json")
        write_ledger_npz(analysis.ledger, tmp_path / f"{name}.npz")
    for suffix in ("json", "npz"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_number_that_json_does_not_have_is_refused_and_the_old_file_stays(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    path = tmp_path / "R.json"
    write_analysis_json(make_analysis(catalogue), path)
    before = path.read_bytes()
    analysis = make_analysis(catalogue)
    broken = replace(analysis, findings=(replace(analysis.findings[0], logit=float("inf")), *analysis.findings[1:]))
    with pytest.raises(ExportError, match=r"R\.json") as caught:
        write_analysis_json(broken, path)
    assert caught.value.code == "export.not_finite"
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["R.json"]


def test_a_missing_folder_is_named(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ExportError, match=r"L\.npz") as caught:
        write_ledger_npz(make_analysis(catalogue).ledger, tmp_path / "missing" / "L.npz")
    assert (caught.value.code, caught.value.kind) == ("export.cannot_write", "environment")
