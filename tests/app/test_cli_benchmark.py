"""`benchmark`: what the command hands over, and its tables of runs that are there, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.commands.base import Programs
from engine.errors import TrainingError
from tests.app.test_cli_infer import program
from tests.trainer.made_up import made_up_config, made_up_runs

CONFIG = """
arms = ["head", "molre", "single"]
seeds = [1, 2, 3]
cohort = { n_train = 4, n_validate = 4, n_calibrate = 1, n_test = 4 }
backbones = [{ name = "efficientnet_lite0" }]
bootstrap = { n_resamples = 300, seed = 4 }
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "benchmark.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_the_command_hands_over_the_findings_labels_and_prints_what_comes_back(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def benchmark(*arguments: Any) -> str:
        asked.append(arguments)
        return "done and said"

    programs = Programs(*[lambda *_: 0] * 5, benchmark=benchmark)  # type: ignore[arg-type]
    words = ["--home", str(tmp_path / "home"), "benchmark", str(config_file), "--out", str(tmp_path / "out")]
    assert main(words, programs) == 0
    assert capsys.readouterr().out == "done and said\n"
    assert main([*words, "--tables-only"], programs) == 0
    config, out, _, _, names, tables_only = asked[0]
    assert (config, out, tables_only, asked[1][-1]) == (config_file, tmp_path / "out", False, True)
    assert len(names) == 75
    assert names["lipoma"] == "Lipoma"


def test_stopped_and_failed_it_says_so(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def benchmark(*arguments: Any) -> str:
        raise KeyboardInterrupt

    words = ["--home", str(tmp_path / "home"), "benchmark", str(config_file), "--out", str(tmp_path / "out")]
    assert main(words, Programs(*[lambda *_: 0] * 5, benchmark=benchmark)) == 130  # type: ignore[arg-type]

    def other(*arguments: Any) -> str:
        raise TrainingError("runs of another one", hint="another folder", code="benchmark.other_configuration")

    assert main(words, Programs(*[lambda *_: 0] * 5, benchmark=other)) == 3  # type: ignore[arg-type]
    assert "another folder" in capsys.readouterr().err


@pytest.mark.slow
def test_tables_of_the_runs_that_are_there(config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made_up_runs(made_up_config(), out)
    done = program("benchmark", config_file, "--out", out, "--tables-only", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9 of 9 runs are finished" in done.stdout
    assert "molre minus head: mean AUC +" in done.stdout
    assert (out / "figure3-frozen-efficientnet-lite0.svg").exists()
    assert not (out / "cohort").exists(), "nothing was run"
