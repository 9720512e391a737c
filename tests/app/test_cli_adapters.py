"""models params, export-adapter and import-adapter, as the command line has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import main
from app.commands.base import Programs
from engine.findings.catalogue import Catalogue
from engine.models.backbones.efficientnet_lite0 import BACKBONE
from engine.models.calibration import Calibration
from engine.models.package import load_package, write_package
from engine.models.parameters import TABLE_2
from engine.models.settings import LoraSettings
from tests.support.models import draft, random_classifier

Run = Callable[..., int]


def _never(*arguments: object) -> int:
    raise AssertionError("no program is started")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: object) -> int:
        words = ["--home", str(tmp_path / "home"), *map(str, arguments)]
        return main(words, Programs(*[_never] * 6))

    return run


@pytest.fixture
def package(tmp_path: Path, catalogue: Catalogue) -> Path:
    """A package on the installed backbone, with adapters on its pointwise convolutions."""
    from engine.models.backbones.registry import build_backbone
    from engine.models.lora import adapter_state, apply_lora, lora_reference

    keys, settings = tuple(catalogue)[:3], LoraSettings(rank=2, alpha=4)
    backbone = build_backbone("efficientnet_lite0")
    apply_lora(backbone, settings)
    write_package(
        tmp_path / "package",
        draft(keys, BACKBONE, lora=lora_reference(backbone, settings)),
        random_classifier(BACKBONE.spec.feature_width, len(keys)),
        calibration=Calibration.model_validate({}),
        metrics={},
        card="# Tests only\n",
        adapter=adapter_state(backbone),
    )
    return tmp_path / "package"


def test_params_stand_beside_the_papers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "params", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in rows] == list(TABLE_2)
    base = rows[0]
    assert base["total"] == sum(base[part] for part in ("backbone", "lora", "query", "fusion", "head", "molre"))
    assert (base["total_agrees"], base["paper_total_millions"]) == (True, "86.6")
    assert base["molre_difference_millions"] == -0.008

    assert run("models", "params") == 0
    text = capsys.readouterr().out
    for row in rows:
        line = next(line for line in text.splitlines() if line.startswith(f"{row['row']} "))
        assert f"{row['total']:,}" in line
        assert row["paper_total_millions"] in line
        assert ("=" in line) == row["total_agrees"]
        differs = f"{row['row']}: {row['total'] / 1e6:.1f} M here, {row['paper_total_millions']} M in the paper"
        assert (differs in text) != row["total_agrees"], "a difference is said"


def test_adapters_go_out_and_come_back(
    run: Run, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = tmp_path / "peft", tmp_path / "new"
    assert run("models", "export-adapter", package, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "molre.json",
        "molre.safetensors",
    }
    assert run("models", "import-adapter", out, "--base", package, "--name", "returned", "--out", new) == 0
    assert "neither evaluated nor calibrated" in capsys.readouterr().out
    before, after = load_package(package), load_package(new)
    assert after.manifest.name == "returned"
    assert after.manifest.training.parent_digest == before.digest
    assert {name: tensor.tolist() for name, tensor in after.adapter.items()} == {
        name: tensor.tolist() for name, tensor in before.adapter.items()
    }
    assert run("models", "verify", new) == 0


def test_what_cannot_be_done_is_said(
    run: Run, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "import-adapter", tmp_path / "nowhere", "--base", package, "--out", tmp_path / "new") == 3
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("models", "import-adapter", tmp_path / "empty", "--base", package, "--out", tmp_path / "new") == 3
    assert "adapter_config.json" in capsys.readouterr().err
    assert run("models", "export-adapter", "nobody", "--out", tmp_path / "peft") == 3
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "peft").exists()
