"""The command labels, from a table of reports to a table of labels."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from app.cli import main
from app.commands.base import Programs
from engine.findings.catalogue import Catalogue
from tests.support.chat_server import chat_server

Run = Callable[..., int]
SECRET = "Zebulon"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def unused(*arguments: object) -> int:
        raise AssertionError("the command needs no other program")

    def run(*arguments: object) -> int:
        words = ["--home", str(tmp_path / "home"), "labels", *map(str, arguments)]
        return main(words, Programs(**{program.name: unused for program in fields(Programs)}))  # type: ignore[arg-type]

    return run


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    file = tmp_path / "reports.csv"
    file.write_text(f'path,report\ns1,"HISTORY: {SECRET}\nIMPRESSION: {SECRET} has hydrocephalus."\ns2,No fracture.\n')
    return file


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_by_rules_without_any_endpoint(run: Run, reports: Path, tmp_path: Path, catalogue: Catalogue) -> None:
    out = tmp_path / "out" / "labels.csv"
    assert run(reports, "--out", out) == 0
    first, second = read(out)
    assert list(first) == ["path", *catalogue]
    assert (first["path"], first["hydrocephalus"], first["lipoma"]) == ("s1", "1", "")
    assert second["calvarial_fracture"] == "0"


def test_neither_torch_nor_a_client_is_loaded_for_the_rules(reports: Path, tmp_path: Path) -> None:
    code = "import sys, main; main.main(sys.argv[1:]); print(sorted({'torch', 'httpx2', 'PySide6'} & set(sys.modules)))"
    words = ["--home", tmp_path / "home", "labels", reports, "--out", tmp_path / "o.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_by_an_endpoint_with_comparison_as_json(
    run: Run, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manual = tmp_path / "manual.csv"
    manual.write_text("path,hydrocephalus,lipoma\ns1,1,0\ns2,0,1\n", encoding="utf-8")
    prices = tmp_path / "endpoint.toml"
    prices.write_text("price_per_million_input = 1.0\nprice_per_million_output = 2.0\n", encoding="utf-8")
    with chat_server(present={"hydrocephalus"}) as server:
        code = run(
            reports, "--out", tmp_path / "o.csv", "--endpoint", server.url, "--model", "m", "--json",
            "--endpoint-config", prices, "--compare", manual,
        )  # fmt: skip
        assert len(server.bodies) == 10
    assert code == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["reports"], document["spent"]["requests"]) == (2, 10)
    assert document["spent"]["cost"] == pytest.approx(10 * (1000 * 1.0 + 100 * 2.0) / 1e6)
    assert document["agreement"]["false_positives"] == document["agreement"]["false_negatives"] == 0.5
    assert read(tmp_path / "o.csv")[1]["hydrocephalus"] == "1"
    assert SECRET not in said.out + said.err


def test_batches_without_a_usable_answer_are_said_and_counted(
    run: Run, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "endpoint.toml"
    with chat_server(always="prose") as server:
        settings.write_text(f'url = "{server.url}"\nmodel = "m"\nattempts = 1\n', encoding="utf-8")
        assert run(reports, "--out", tmp_path / "o.csv", "--endpoint-config", settings) == 6
    said = capsys.readouterr()
    assert "10 batches of 2 reports got no usable answer" in said.out
    assert SECRET not in said.out + said.err


def test_another_host_needs_consent(
    run: Run, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.csv"
    assert run(reports, "--out", out, "--endpoint", "https://model.invalid/v1", "--model", "m") == 3
    assert "error [labels.consent]" in capsys.readouterr().err
    assert not out.exists()


def test_with_consent_the_host_is_named_before_anything_is_sent(
    run: Run, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "endpoint.toml"
    settings.write_text("attempts = 1\n", encoding="utf-8")
    remote = ("--endpoint", "https://model.invalid/v1", "--model", "m", "--consent-remote")
    assert run(reports, "--out", tmp_path / "o.csv", "--endpoint-config", settings, *remote) == 5
    said = capsys.readouterr().err
    assert said.index("leave this machine, to model.invalid") < said.index("error [labels.unreachable]")


def test_what_cannot_be_compared_is_said_before_the_work(run: Run, reports: Path, tmp_path: Path) -> None:
    manual = tmp_path / "manual.csv"
    manual.write_text("path,nonsense\ns1,1\n", encoding="utf-8")
    assert run(reports, "--out", tmp_path / "o.csv", "--compare", manual) == 3
    assert not (tmp_path / "o.csv").exists()


def test_no_input_is_replaced(run: Run, reports: Path) -> None:
    before = reports.read_bytes()
    assert run(reports, "--out", reports) == 3
    assert reports.read_bytes() == before
