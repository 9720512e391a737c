"""`infer` in a process of its own: the documents that it writes, the same numbers twice, and no window needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.findings.catalogue import Catalogue
from tests.support.models import write_random_package

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "random"
    write_random_package(folder, tuple(catalogue)[:20])
    return folder


def program(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "DISPLAY" not in key}
    command = [sys.executable, str(ROOT / "main.py"), "--home", str(home), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_the_same_study_gives_the_same_documents(
    tmp_path: Path, ge_tilt: Path, package: Path, catalogue: Catalogue
) -> None:
    documents, ledgers = [], []
    for name in ("first", "second"):
        result, ledger = tmp_path / f"{name}.json", tmp_path / f"{name}.npz"
        done = program(
            "infer", ge_tilt, "--model", package, "--device", "cpu", "--out", result, "--ledger", ledger, home=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert "Model tests-only: Random weights, for tests only. Research use only; not for diagnosis." in done.stderr
        assert re.search(r"\(analysis \d+\.\d s on cpu float32( openvino)?\)", done.stderr)
        documents.append(json.loads(result.read_text(encoding="utf-8")))
        ledgers.append(np.load(ledger))
    first, second = documents
    timings = [document.pop("timings_s") for document in documents]
    assert first == second
    assert set(timings[0]) == {"read", "prepare", "backbone", "head", "total"}
    assert [finding["key"] for finding in first["findings"]] == list(catalogue)
    assert first["geometry"]["acquired_slices"] == 28
    assert sum(item["attention"] for item in first["slices"]) == pytest.approx(1, abs=1e-5)
    assert all(len(item["gate_weights"]) == 6 for item in first["slices"])
    for name in ("keys", "ledger", "bias", "logits"):
        np.testing.assert_array_equal(ledgers[0][name], ledgers[1][name])
    values, bias, logits = (ledgers[0][name] for name in ("ledger", "bias", "logits"))
    assert values.shape == (20, len(first["slices"]), 7)
    np.testing.assert_allclose(values.sum(axis=(1, 2)) + bias, logits, atol=1e-4)
    covered = [finding["logit"] for finding in first["findings"] if finding["covered"]]
    np.testing.assert_allclose(covered, logits, rtol=1e-6)


def test_out_of_scope_is_4_and_writes_nothing(tmp_path: Path, shared_data: Path, package: Path) -> None:
    out = tmp_path / "r.json"
    done = program("infer", shared_data / "head_small_not_hu", "--model", package, "--out", out, home=tmp_path)
    assert done.returncode == 4
    assert "Hounsfield" in done.stderr
    assert not out.exists()


def test_a_changed_package_is_refused(tmp_path: Path, ge_tilt: Path, package: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in package.iterdir():
        content = bytearray(file.read_bytes())
        if file.suffix == ".safetensors":
            content[-1] ^= 1
        (changed / file.name).write_bytes(content)
    done = program("infer", ge_tilt, "--model", changed, "--out", tmp_path / "r.json", home=tmp_path)
    assert done.returncode == 3
    assert "refused" in done.stderr


def test_the_model_library_is_used_from_the_command_line(tmp_path: Path, package: Path) -> None:
    installed = program("models", "install", package, home=tmp_path)
    assert installed.returncode == 0, installed.stderr
    assert program("models", "activate", "tests-only", home=tmp_path).returncode == 0
    listed = json.loads(program("models", "list", "--json", home=tmp_path).stdout)
    active = [item for item in listed if item["active"]]
    assert [item["name"] for item in active] == ["tests-only"]
    assert program("models", "verify", "tests-only", home=tmp_path).returncode == 0
    shown = json.loads(program("models", "show", "tests-only", home=tmp_path).stdout)
    assert shown["digest"] == active[0]["digest"]
