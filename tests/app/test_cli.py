"""The command line: commands by name, usage, and an exit code and message for every sort of failure."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import main
from app.commands.base import Environment, Programs, discover
from app.settings import AppPaths
from engine.findings.catalogue import Catalogue
from engine.inference.scored import ScoredStudies
from engine.progress import Context
from tests.support.models import write_random_package

Run = Callable[..., int]


@pytest.fixture
def opened() -> list[argparse.Namespace]:
    return []


@pytest.fixture
def run(tmp_path: Path, opened: list[argparse.Namespace]) -> Run:
    """Run the program with a home of its own; programs above the command line only note what they are asked."""

    def window(environment: Environment, arguments: argparse.Namespace) -> int:
        opened.append(arguments)
        return 0

    def shots(environment: Environment, out: Path) -> int:
        return 0

    def train(config: Path, out: Path, context: Context, backbones: Path, resume: bool) -> str:
        raise KeyboardInterrupt

    def retrain(store: str, base: Path, out: Path, reference: Path, context: Context, backbones: Path) -> str:
        raise ZeroDivisionError("the name of a patient")

    def evaluate(scored: ScoredStudies, out: Path) -> str:
        raise AssertionError("no test here gets that far")

    def benchmark(*arguments: object) -> str:
        raise AssertionError("no test here gets that far")

    def run(*arguments: object) -> int:
        words = ["--home", str(tmp_path / "home"), *map(str, arguments)]
        return main(words, Programs(window, shots, train, retrain, evaluate, benchmark))

    return run


def test_all_commands_are_there_in_order() -> None:
    assert list(discover()) == [
        "demo",
        "infer",
        "inspect",
        "convert",
        "phantom",
        "cohort",
        "train",
        "evaluate",
        "benchmark",
        "retrain",
        "labels",
        "export",
        "cache",
        "models",
        "shots",
    ]


@pytest.mark.parametrize("command", discover())
def test_every_command_has_help(run: Run, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer"],
        ["infer", "x"],
        ["infer", "x", "--out", "y", "--device", "tpu"],
        ["convert", "x", "--out", "y.nii.gz", "--stage", "raw"],
        ["phantom", "x", "--studies", "0", "--seed", "1"],
        ["phantom", "x", "--studies", "1", "--seed", "-1"],
        ["export", "--store", "x", "--format", "xml", "--out", "y"],
        ["models"],
        ["--unknown"],
        ["no-such-command-or-path"],
    ],
)
def test_wrong_usage_is_2_and_says_so(run: Run, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "usage:" in capsys.readouterr().err


def test_without_a_command_the_window_opens(run: Run, opened: list[argparse.Namespace], tmp_path: Path) -> None:
    assert run() == 0
    assert run(tmp_path) == 0
    assert run("--quit-after-start") == 0
    assert [item.paths for item in opened] == [[], [tmp_path], []]
    assert opened[2].quit_after_start


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer", "/nowhere/at/all", "--out", "r.json"],
        ["inspect", "/nowhere/at/all"],
        ["convert", "/nowhere/at/all", "--stage", "volume", "--out", "v.nii.gz"],
        ["train", "/nowhere/at/all", "--out", "o"],
        ["retrain", "--store", "/nowhere/at/all", "--base", "m", "--out", "o"],
        ["export", "--store", "/nowhere/at/all", "--format", "csv", "--out", "o"],
        ["models", "install", "/nowhere/at/all"],
        ["models", "show", "/nowhere/at/all"],
        ["models", "activate", "nobody"],
        ["models", "rollback"],
    ],
)
def test_what_is_not_there_is_bad_input(run: Run, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 3
    message = capsys.readouterr().err
    assert message.startswith("error [")
    assert len(message.strip().splitlines()) == 2, "what happened, and what to do"


def test_inspect_describes_the_real_series_without_patient_data(
    run: Run, ge_tilt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", ge_tilt, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (series,) = document["series"]
    assert series["analysable"]
    assert series["geometry"]["acquired_slices"] == 28
    assert series["geometry"]["tilt_deg"] == pytest.approx(18.5, abs=0.01)
    assert not {"patient_name", "patient_id", "birth_date"} & set(series)
    assert run("inspect", ge_tilt) == 0
    assert "analysable" in capsys.readouterr().out


def test_a_folder_without_images_is_bad_input(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("no image")
    assert run("inspect", tmp_path / "note.txt") == 3
    assert "note.txt" in capsys.readouterr().err


def test_a_study_out_of_scope_is_4_with_its_reason(
    run: Run, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prepared.nii.gz"
    assert run("convert", shared_data / "head_small_not_hu", "--stage", "prepared", "--out", out) == 4
    assert "Hounsfield" in capsys.readouterr().err
    assert not out.exists()


def test_a_series_is_chosen_by_name_or_the_choice_is_said(
    run: Run, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    philips, out = shared_data / "head_phantom_philips", tmp_path / "v.nii.gz"
    assert run("convert", philips, "--stage", "volume", "--out", out) == 0
    said = capsys.readouterr().err
    assert "58 slices" in said
    assert "--series" in said
    assert run("convert", philips, "--stage", "volume", "--out", out, "--series", "1.2.3") == 3
    assert "1.2.3" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file/below/a/file.nii.gz", "folder.nii.gz"])
def test_an_output_that_cannot_be_written_is_5_before_any_work(
    run: Run, ge_tilt: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.nii.gz").mkdir()
    assert run("convert", ge_tilt, "--stage", "volume", "--out", tmp_path / place) == 5
    assert "cannot be written" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    programs = Programs(*[lambda *_: 0] * 6)  # type: ignore[arg-type]
    assert main(["--home", str(tmp_path / "file"), "models", "list"], programs) == 5
    assert "--home" in capsys.readouterr().err


def test_a_phantom_cohort_is_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "phantoms"
    assert run("phantom", out, "--studies", 1, "--seed", 5, "--matrix", 64, "--slices", 4) == 0
    assert len(list(out.glob("study_00001/*.dcm"))) == 4
    assert (out / "labels.csv").exists()
    assert run("phantom", out / "b", "--studies", 1, "--seed", 5, "--matrix", 4) == 3


def test_a_second_cohort_in_one_folder_is_bad_input(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sizes = tmp_path / "phantoms", ("--matrix", 64, "--slices", 4)
    assert run("phantom", out, "--studies", 1, "--seed", 5, *sizes) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run("phantom", out, "--studies", 1, "--seed", 6, *sizes) == 3
    assert "new folder" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.fixture
def own(tmp_path: Path, ge_tilt: Path) -> Path:
    """A patient's folder of one's own, which a command may spoil."""
    return Path(shutil.copytree(ge_tilt, tmp_path / "own"))


@pytest.mark.parametrize("place", ["slice", "hard link", "ledger"])
def test_infer_never_replaces_a_file_of_its_input(
    run: Run, own: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = sorted(own.glob("*.dcm"))[0]
    before = victim.read_bytes()
    elsewhere = tmp_path / "r.json"
    if place == "hard link":
        elsewhere.hardlink_to(victim)
    outputs = {
        "slice": ["--out", victim],
        "hard link": ["--out", elsewhere],
        "ledger": ["--out", elsewhere, "--ledger", victim],
    }
    assert run("infer", own, *outputs[place]) == 3
    message = capsys.readouterr().err
    assert "output.collision" in message
    assert (str(elsewhere) if place == "hard link" else str(victim)) in message
    assert victim.read_bytes() == before


def test_infer_never_replaces_an_archive_or_an_image_that_was_set_aside(
    run: Run, own: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", own))
    assert run("infer", archive, "--out", archive) == 3
    damaged = own / "short.dcm"
    damaged.write_bytes((own / "01.dcm").read_bytes()[:3000])
    assert run("infer", own, "--out", damaged) == 3
    assert capsys.readouterr().err.count("output.collision") == 2
    assert damaged.stat().st_size == 3000


def test_two_results_in_one_file_are_refused(run: Run, own: Path, tmp_path: Path) -> None:
    assert run("infer", own, "--out", tmp_path / "r", "--ledger", tmp_path / "." / "r") == 3


def test_an_earlier_result_beside_the_images_may_be_replaced(run: Run, own: Path) -> None:
    from app.operations.files import require_apart
    from app.operations.open_paths import input_files, open_paths

    (own / "r.json").write_text("{}")
    files = input_files(open_paths([own]))
    assert files == set(own.glob("*.dcm"))
    require_apart([own / "r.json"], files)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(AppPaths, "bundled_models", property(lambda paths: tmp_path / "no models"))


@pytest.mark.usefixtures("no_models")
def test_infer_without_a_model_is_5_but_the_study_is_judged_first(
    run: Run, ge_tilt: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.json"
    assert run("infer", ge_tilt, "--out", out) == 5
    assert "models install" in capsys.readouterr().err
    assert run("infer", shared_data / "head_small_not_hu", "--out", out) == 4
    assert "Hounsfield" in capsys.readouterr().err
    assert run("infer", ge_tilt, "--model", "nobody", "--out", out) == 3, "a wrong name is the user's"
    assert not out.exists()


@pytest.mark.usefixtures("no_models")
def test_a_damaged_active_model_is_5_and_named(
    run: Run, ge_tilt: Path, tmp_path: Path, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_package(tmp_path / "package", tuple(catalogue)[:3])
    assert run("models", "install", tmp_path / "package") == 0
    assert run("models", "activate", "tests-only") == 0
    (card,) = (tmp_path / "home" / "models").glob("*/MODEL_CARD.md")
    card.write_text("changed")
    capsys.readouterr()
    assert run("infer", ge_tilt, "--out", tmp_path / "r.json") == 5
    message = capsys.readouterr().err
    assert str(card.parent) in message
    assert "models activate" in message


@pytest.mark.usefixtures("no_models")
def test_the_list_names_a_broken_package_on_stderr(
    run: Run, tmp_path: Path, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_package(tmp_path / "package", tuple(catalogue)[:3])
    assert run("models", "install", tmp_path / "package") == 0
    (manifest,) = (tmp_path / "home" / "models").glob("*/manifest.json")
    manifest.write_text("{")
    capsys.readouterr()
    assert run("models", "list", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert str(manifest.parent) in said.err


@pytest.mark.parametrize("action", ["verify", "show", "install"])
def test_a_package_with_an_unknown_finding_is_refused(
    run: Run, tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_package(tmp_path / "package", ("acute_infarct", "a_key_of_tomorrow"))
    assert run("models", action, tmp_path / "package") == 3
    message = capsys.readouterr().err
    assert "package.unknown_finding" in message
    assert str(tmp_path / "package") in message
    assert "a_key_of_tomorrow" in message


def test_the_measured_results_of_a_model_are_shown(
    run: Run, resources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "show", "phantom-demo") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"] == json.loads((resources / "models" / "phantom-demo" / "metrics.json").read_bytes())
    heldout = shown["metrics"]["heldout"]
    assert set(heldout["findings"]) == set(shown["manifest"]["finding_keys"])
    assert all({"auc", "n_pos", "n_neg"} <= set(item) for item in heldout["findings"].values())
    assert "mean_auc" in heldout
    assert "synthetic phantoms" in shown["notice"]


def test_an_interrupted_run_is_130(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    assert run("train", config, "--out", tmp_path / "out") == 130
    assert "interrupted" in capsys.readouterr().err


def test_export_of_an_empty_store_is_a_header(run: Run, tmp_path: Path) -> None:
    from engine.store.repository import Store

    Store.open(tmp_path / "store.sqlite").close()
    assert run("export", "--store", tmp_path / "store.sqlite", "--format", "csv", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "corrections.csv").read_text(encoding="utf-8").count("\n") == 1


def test_a_bug_is_reported_without_what_the_error_says(
    tmp_path: Path, ge_tilt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("the name of a patient")

    programs = Programs(*[broken] * 6)  # type: ignore[arg-type]
    assert main(["--home", str(tmp_path), "shots", "--out", str(tmp_path)], programs) == 70
    report = capsys.readouterr().err
    assert "ZeroDivisionError" in report
    assert "test_cli.py" in report
    assert "the name of a patient" not in report.replace('raise ZeroDivisionError("the name of a patient")', "")
