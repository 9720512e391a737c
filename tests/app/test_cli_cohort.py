"""The command cohort, from a folder to a manifest that a training run can name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from app.cli import main
from app.commands.base import Programs
from tests.support import cohorts as make
from trainer.cohorts.manifest import read_manifest

Run = Callable[..., int]
ROOT = Path(__file__).resolve().parents[2]


def unused(*arguments: object) -> int:
    raise AssertionError("the command needs no other program")


def start(tmp_path: Path, words: Sequence[object], **programs: object) -> int:
    known = {program.name: programs.get(program.name, unused) for program in fields(Programs)}
    return main(["--home", str(tmp_path / "home"), *map(str, words)], Programs(**known))  # type: ignore[arg-type]


def test_a_cohort_is_recognised_split_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (tmp_path / "c").mkdir()
    make.make_cq500(tmp_path / "c")
    assert start(tmp_path, ["cohort", tmp_path / "c", "--out", out, "--shares", "0.4,0.2,0.2,0.2"]) == 0
    said = capsys.readouterr().out
    assert said == (out / "report.txt").read_text(encoding="utf-8")
    assert "CQ500 (cq500), from reads.csv" in said
    assert "2 studies used, 0 skipped" in said
    assert "  midline_shift: 1 / 1 / 0" in said
    assert read_manifest(out).shares.in_order() == (0.4, 0.2, 0.2, 0.2)
    assert start(tmp_path, ["cohort", tmp_path / "c", "--out", out, "--kind", "cq500", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere", "--out", "o"], 3, "does not exist"),
        (["c", "--out", "o", "--kind", "mimic"], 3, "cq500, ct_ich, own_table, phantom, rsna2019"),
        (["c", "--out", "o", "--shares", "0.5,0.5,0.5,0.5"], 3, "add up to 1"),
        (["c", "--out", "o", "--shares", "0.5,0.5"], 2, "TRAIN,VALIDATE,CALIBRATE,TEST"),
        (["c", "--out", "o", "--shares", "a,b,c,d"], 2, "--shares"),
        (["c"], 2, "--out"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    assert start(tmp_path, ["cohort", *words]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o" / "cohort.json").exists()


def test_neither_torch_nor_qt_is_loaded_for_an_import(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    make.make_own_table(tmp_path / "c")
    code = "import sys, main; main.main(sys.argv[1:]); print(sorted({'torch', 'PySide6'} & set(sys.modules)))"
    words = ["--home", tmp_path / "home", "cohort", tmp_path / "c", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_retrain_hands_over_the_cohorts_whose_test_parts_stay_out(tmp_path: Path) -> None:
    given: list[tuple[object, ...]] = []

    def retrain(*arguments: object) -> str:
        given.append(arguments)
        return "done"

    for name in ("store.sqlite", "reference", "one", "two"):
        (tmp_path / name).touch()
    words: list[object] = ["retrain", "--store", tmp_path / "store.sqlite", "--base", "phantom-demo"]
    words += ["--reference", tmp_path / "reference", "--out", tmp_path / "out"]
    assert start(tmp_path, [*words, "--cohort", tmp_path / "one", "--cohort", tmp_path / "two"], retrain=retrain) == 0
    assert given[0][-1] == [tmp_path / "one", tmp_path / "two"]
    assert start(tmp_path, [*words, "--cohort", tmp_path / "three"], retrain=retrain) == 3
    assert len(given) == 1
