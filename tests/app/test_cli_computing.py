"""The options on device, precision and CPU runtime: on every command that runs a model, and before the settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest

from app.commands import _computing, evaluate, infer, models
from app.commands.base import Environment, Programs
from app.settings import AppPaths, Settings, save_settings
from engine.findings.catalogue import Catalogue
from engine.inference.compute import Computing
from tests.app.test_cli_infer import program

COMMANDS = [
    (infer, "in --out r.json"),
    (infer, "in --out-dir results"),
    (evaluate, "m --labels t.csv --out o"),
    (models, "calibrate m --labels t.csv --out o"),
]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A home whose settings file says something of everything."""
    chosen = Settings(device="cpu", precision="bfloat16", cpu_runtime="openvino")
    save_settings(AppPaths.at(tmp_path / "home").settings_file, chosen)
    return Environment(tmp_path / "home", Programs(*[lambda *_: 0] * 6))  # type: ignore[arg-type]


def parsed(command: ModuleType, words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words.split())


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_what_is_given_goes_before_the_settings(
    command: ModuleType, words: str, tmp_path: Path, environment: Environment
) -> None:
    graphs = environment.paths.graphs
    plain = parsed(command, words)
    assert _computing.chosen_computing(plain, environment) == Computing("bfloat16", "openvino", graphs)
    assert _computing.chosen_device(plain, environment) == "cpu"
    given = parsed(command, f"{words} --device auto --precision float32 --cpu-runtime torch")
    assert _computing.chosen_computing(given, environment) == Computing("float32", "torch", graphs)
    assert _computing.chosen_device(given, environment) == "auto"
    with pytest.raises(SystemExit):
        parsed(command, f"{words} --cpu-runtime onnx")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_result_says_which_runtime_computed_it(
    runtime: str, tmp_path: Path, ge_tilt: Path, catalogue: Catalogue
) -> None:
    from tests.support.models import write_random_package

    if runtime == "openvino":
        pytest.importorskip("openvino")
    package = tmp_path / "random"
    write_random_package(package, tuple(catalogue)[:2])
    options = ("--device", "cpu", "--precision", "float32", "--cpu-runtime", runtime)
    done = program("infer", ge_tilt, "--model", package, *options, "--out", tmp_path / "r.json", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert ("on cpu float32 openvino)" if runtime == "openvino" else "on cpu float32)") in done.stderr
