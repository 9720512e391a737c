"""`infer TREE --out-dir DIR` as a real process on real DICOM, phantoms and damaged files: killed, stopped, finished."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pydicom
import pytest

from engine.findings.catalogue import Catalogue
from engine.phantom.cohort import write_dicom
from engine.phantom.spec import PhantomSpec
from engine.phantom.study import generate
from engine.preprocess.spec import PreprocessSpec
from tests.support.models import write_random_package

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = PhantomSpec(matrix=64, pixel_spacing_mm=3.6, n_slices=13, slice_spacing_mm=12.0)
COARSE = PreprocessSpec(spacing_mm=(6.0, 2.0, 2.0), size_px=(112, 112), align=False)
N_PHANTOMS = 8


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "random"
    write_random_package(folder, tuple(catalogue)[:20], preprocessing=COARSE)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Real heads, a study out of scope, damaged files, files that are no pictures, and phantoms."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("head_ct_ge_tilt", "head_phantom_philips", "head_small_not_hu", "malformed"):
        shutil.copytree(shared_data / name, folder / name)
    (folder / "readme.txt").write_text("not a picture", encoding="utf-8")
    for seed in range(N_PHANTOMS):
        write_dicom(generate(seed, PHANTOM), folder / "phantoms" / f"{seed}")
    return folder


def command(home: Path, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), "--home", str(home), *map(str, arguments)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def interrupt(arguments: list[str], results: Path, n_more: int, number: signal.Signals) -> tuple[int, str]:
    """Run until so many results more are there, then send a signal; return the exit code and what was said."""
    before = results.read_bytes().count(b"\n") if results.exists() else 0
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and (not results.exists() or results.read_bytes().count(b"\n") < before + n_more):
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.slow
def test_a_tree_survives_kill_and_stop_and_comes_out_whole(tmp_path: Path, tree: Path, package: Path) -> None:
    out = tmp_path / "out"
    results, failures = out / "results.jsonl", out / "failures.jsonl"
    infer = command(tmp_path, "infer", tree, "--out-dir", out, "--model", package, "--device", "cpu")

    code, _ = interrupt(infer, results, 2, signal.SIGKILL)
    assert code == -signal.SIGKILL
    killed = results.read_bytes()
    whole_lines = killed[: killed.rfind(b"\n") + 1]
    assert not (out / "results.parquet").exists()
    with results.open("ab") as stream:  # What a kill in the middle of a write would leave.
        stream.write(b'{"source": "/x", "study_inst')
    assert whole_lines.count(b"\n") < N_PHANTOMS + 3, "it was killed on the way"

    code, said = interrupt(infer, results, 1, signal.SIGINT)
    assert code == 130, said
    assert "stopped; run the same command again to go on" in said
    stopped = results.read_bytes()
    assert stopped.startswith(whole_lines), "nothing that was done is computed or written again"
    assert stopped.endswith(b"\n")
    assert pyarrow.parquet.read_table(out / "results.parquet").num_rows == stopped.count(b"\n")

    done = subprocess.run(infer, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr
    assert "time left" in done.stderr
    assert "slices/s" in done.stderr
    assert "Research use only; not for diagnosis." in done.stderr
    finished = results.read_bytes()
    assert finished.startswith(stopped)
    _check_results(lines(results), tree, out)
    _check_failures(lines(failures), tree)
    _check_no_names(tree, finished + failures.read_bytes() + done.stderr.encode("utf-8"))

    again = subprocess.run(infer, capture_output=True, text=True, check=False)
    assert again.returncode == 6, "the exit code tells of the folder, however many runs filled it"
    assert "0 series classified" in again.stderr
    assert "failures of earlier runs that stand" in again.stderr
    assert results.read_bytes() == finished

    shown = subprocess.run(command(tmp_path, "cache"), capture_output=True, text=True, check=True)
    assert not shown.stderr.startswith("0 entries")
    assert subprocess.run(command(tmp_path, "cache", "--clear"), check=True, capture_output=True).returncode == 0
    emptied = subprocess.run(command(tmp_path, "cache"), capture_output=True, text=True, check=True)
    assert emptied.stderr.startswith("0 entries")


def _check_results(found: list[dict[str, Any]], tree: Path, out: Path) -> None:
    studies = Counter(line["study_instance_uid"] for line in found)
    assert set(studies.values()) == {1}
    sources = {line["source"] for line in found}
    expected = {str(tree / "phantoms" / f"{seed}") for seed in range(N_PHANTOMS)} | {str(tree / "head_ct_ge_tilt")}
    assert expected <= sources
    (real,) = [line for line in found if line["source"] == str(tree / "head_ct_ge_tilt")]
    assert real["geometry"]["acquired_slices"] == 28
    assert real["geometry"]["tilt_deg"] == pytest.approx(18.5, abs=0.1)
    table = pyarrow.parquet.read_table(out / "results.parquet").to_pylist()
    assert [row["study_instance_uid"] for row in table] == [line["study_instance_uid"] for line in found]
    for row, line in zip(table, found, strict=True):
        for finding in line["findings"]:
            if finding["covered"]:
                assert row[f"{finding['key']}.probability"] == finding["probability"]


def _check_failures(found: list[dict[str, Any]], tree: Path) -> None:
    by_source = {line["source"]: line for line in found}
    assert len(by_source) == len(found)
    not_hu = by_source[str(tree / "head_small_not_hu" / "CTHeadAxialDicom")]
    assert not_hu["kind"] == "scope"
    assert not_hu["study_instance_uid"]
    damaged = by_source[str(tree / "malformed" / "cat04_pixel_data" / "TC0285_buf_half.dcm")]
    assert (damaged["code"], damaged["kind"]) == ("dicom.truncated", "input")
    assert all(line["reason"] and line["hint"] and line["code"] for line in found)
    assert not [line for line in found if line["kind"] in ("bug", "environment")]
    assert not [line for line in found if line["source"].endswith("readme.txt")]


def _check_no_names(tree: Path, written: bytes) -> None:
    for path in (
        tree / "head_ct_ge_tilt" / "01.dcm",
        tree / "phantoms" / "0" / "0001.dcm",
        *(tree / "malformed" / "baseline").iterdir(),
    ):
        dataset = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "AccessionNumber"):
            value = str(dataset.get(name, ""))
            assert len(value) < 4 or value.encode("utf-8") not in written, name


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (("--out-dir", "o", "--series", "1.2"), "--series needs --out"),
        (("--out-dir", "o", "--ledger", "l.npz"), "--ledger needs --out"),
        (("--out", "r.json", "--all-series"), "--all-series needs --out-dir"),
        (("--out", "r.json", "--format", "jsonl"), "--format needs --out-dir"),
        (("--out", "r.json", "--out-dir", "o"), "not allowed with"),
        ((), "is required"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: tuple[str, ...], needs: str) -> None:
    done = subprocess.run(
        command(tmp_path, "infer", tmp_path, *options), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert needs in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_tree_that_is_not_there_is_bad_input(tmp_path: Path, package: Path) -> None:
    infer = command(tmp_path, "infer", tmp_path / "none", "--out-dir", tmp_path / "out", "--model", package)
    done = subprocess.run(infer, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "does not exist" in done.stderr
