"""models convert, backbones and remove-backbone, as the command line has them, on a real network of timm."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from app.cli import main
from app.commands.base import Programs
from engine.findings.catalogue import Catalogue
from engine.models.backbones.registry import open_registry
from engine.models.calibration import Calibration
from engine.models.package import write_package
from tests.support.models import draft, random_classifier

Run = Callable[..., int]
NAME = "timm:vit_tiny_patch16_224"


def _never(*arguments: object) -> int:
    raise AssertionError("no program is started")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: object) -> int:
        words = ["--home", str(tmp_path / "home"), *map(str, arguments)]
        return main(words, Programs(*[_never] * 6))

    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """timm's own names for a real architecture, with random values."""
    torch.manual_seed(3)
    network = timm.create_model(NAME.removeprefix("timm:"), pretrained=False)
    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda typed: monkeypatch.setattr(sys, "stdin", Terminal(typed))


def listed(run: Run, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run("models", "backbones", "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def stored(run: Run, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [weights for item in listed(run, capsys)["backbones"] for weights in item["stored"]]


def test_without_a_terminal_the_licence_must_be_accepted_by_name(
    run: Run, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "convert", published, "--backbone", NAME) == 3
    said = capsys.readouterr().err
    assert "backbone.accept_needed" in said
    assert "--accept" in said
    assert "licence: That of the weights" in said
    assert stored(run, capsys) == []


def test_a_converted_backbone_is_listed_and_not_asked_for_again(
    run: Run, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ("--licence", "Apache-2.0", "--origin", "a test", "--accept")
    assert run("models", "convert", published, "--backbone", NAME, "--pooled", "token", *terms) == 0
    said = capsys.readouterr()
    assert "Converting" in said.err
    (weights,) = stored(run, capsys)
    assert weights["weights_digest"][:12] in said.out
    assert (weights["licence"], weights["origin"], weights["source_name"]) == ("Apache-2.0", "a test", published.name)
    assert weights["bytes"] == (Path(weights["folder"]) / "weights.safetensors").stat().st_size
    assert Path(weights["folder"]).parent == tmp_path / "home" / "backbones"
    assert open_registry(tmp_path / "home" / "backbones").entry(NAME).spec.pooled == "token"

    assert run("models", "convert", published, "--backbone", NAME, "--pooled", "token") == 0, "accepted before"
    assert "stored already" in capsys.readouterr().err
    assert run("models", "convert", published, "--backbone", NAME, "--pooled", "avg", "--accept") == 3
    assert "backbone.other_config" in capsys.readouterr().err


def test_on_a_terminal_the_origin_is_edited_and_the_licence_asked(
    run: Run, published: Path, on_terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for answer in ("\nn\n", "\n\n", ""):
        on_terminal(answer)
        assert run("models", "convert", published, "--backbone", NAME) == 3
        assert "backbone.not_accepted" in capsys.readouterr().err
    on_terminal("our own server\ny\n")
    assert run("models", "convert", published, "--backbone", NAME) == 0
    said = capsys.readouterr()
    assert "accept the licence? [y/N]" in said.err
    assert "?" not in said.out
    (weights,) = stored(run, capsys)
    assert weights["origin"] == "our own server"


def test_another_folder_is_told_to_be_unread(
    run: Run, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "elsewhere"
    assert run("models", "convert", published, "--backbone", NAME, "--out", out, "--accept") == 0
    assert str(tmp_path / "home" / "backbones") in capsys.readouterr().err
    assert len(list(out.iterdir())) == 1
    assert stored(run, capsys) == []


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--backbone", "dinov3_base"], 2, "usage"),
        (["FILE", "--backbone", "dinov3_base", "--download"], 2, "not allowed with"),
        (["--download", "--backbone", "dinov3_base", "--accept"], 3, "backbone.no_download"),
        (["FILE", "--backbone", "nobody", "--accept"], 3, "backbone.unknown"),
        (["/nowhere/x.pth", "--backbone", "dinov3_base", "--accept"], 3, "input.not_found"),
        (["FILE", "--backbone", "dinov3_base", "--accept"], 3, "backbone.keys"),
        (["FILE", "--backbone", "dinov3_base", "--accept", "--pooled", "avg"], 3, "backbone.config"),
        (["FILE", "--backbone", "pillar0_headct", "--accept"], 3, "backbone.config"),
    ],
)
def test_what_cannot_be_converted_says_why(
    run: Run,
    published: Path,
    arguments: list[str],
    code: int,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(published) if word == "FILE" else word for word in arguments]
    assert run("models", "convert", *words) == code
    assert reason in capsys.readouterr().err
    assert not list((tmp_path / "home").glob("backbones/*"))


def test_the_list_says_what_is_known_what_ships_and_what_is_broken(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "home" / "backbones" / "torn"
    broken.mkdir(parents=True)
    (broken / "backbone.json").write_text("{")
    document = listed(run, capsys)
    by_name = {item["name"]: item for item in document["backbones"]}
    assert by_name["efficientnet_lite0"]["bundled"]
    assert by_name["dinov3_base"]["bundled"] is None
    assert by_name["pillar0_headct"]["needs_config"]
    assert by_name["pillar0_headct"]["dimensions"] == 3
    (problem,) = document["broken"]
    assert str(broken) in problem["message"]
    assert run("models", "backbones") == 0
    said = capsys.readouterr()
    assert "no weights here" in said.out
    assert str(broken) in said.err


def test_weights_that_a_package_needs_are_kept_unless_forced(
    run: Run, published: Path, tmp_path: Path, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("models", "convert", published, "--backbone", NAME, "--accept") == 0
    (weights,) = stored(run, capsys)
    registry, keys = open_registry(tmp_path / "home" / "backbones"), tuple(catalogue)[:3]
    reference = {"name": NAME, "weights_digest": weights["weights_digest"], "feature_width": 192}
    from engine.models.backbones.efficientnet_lite0 import BACKBONE

    write_package(
        tmp_path / "package",
        draft(keys, BACKBONE, backbone=reference),
        random_classifier(192, len(keys)),
        calibration=Calibration.model_validate({}),
        metrics={},
        card="# Tests only\n",
        registry=registry,
    )
    assert run("models", "install", tmp_path / "package") == 0
    for digest in ("abc", "0" * 12):
        assert run("models", "remove-backbone", digest) == 3
    capsys.readouterr()
    digest = weights["weights_digest"][:12]
    assert run("models", "remove-backbone", digest) == 3
    assert "tests-only" in capsys.readouterr().err
    assert len(stored(run, capsys)) == 1
    assert run("models", "remove-backbone", digest, "--force") == 0
    assert "cannot be used now" in capsys.readouterr().err
    assert stored(run, capsys) == []
    assert run("models", "verify", "tests-only") == 5
