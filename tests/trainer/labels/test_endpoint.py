"""Labels from an endpoint: what is sent where, which answers are taken, and what is kept. The server is a real one."""

from __future__ import annotations

import logging
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError, HeadCTError, LabelError
from engine.findings.catalogue import Catalogue
from engine.progress import Cancelled
from tests.support.chat_server import ChatServer, chat_server
from trainer.labels.config import EndpointConfig, key_from_environment, permitted_endpoint, read_endpoint_config
from trainer.labels.endpoint import EndpointLabeller
from trainer.labels.values import ABSENT, PRESENT, UNKNOWN, LabelRun, Report

SECRET = "Zebulon"
REPORT = Report(
    "patient-zebulon",
    f"HISTORY: {SECRET} fell.\nFINDINGS: An elderly man; lipoma.\nIMPRESSION: {SECRET} has a subdural hematoma.",
    line=7,
)
OTHER = Report("other", "IMPRESSION: No hemorrhage.", line=9)
UNUSABLE = [
    "prose", "empty", "key missing", "key too many", "wrong word", "number", "list", "key twice", "cut off",
    "no completion", "page", "huge",
]  # fmt: skip
PASSING = ["429", "500", "503", "408", "broken line", "hung up"]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(present={"acute_subdural_hematoma"}, absent={"hydrocephalus"}) as running:
        yield running


def config(url: str, **settings: Any) -> EndpointConfig:
    return EndpointConfig(**{"url": url, "model": "small", "backoff_s": 0.01, "timeout_s": 10.0, **settings})


def labeller(catalogue: Catalogue, server: ChatServer, folder: Path, **settings: Any) -> EndpointLabeller:
    return EndpointLabeller(catalogue, config(server.url, **settings), folder / "cache")


@pytest.fixture
def label(catalogue: Catalogue, server: ChatServer, tmp_path: Path) -> Any:
    def label(*reports: Report, **settings: Any) -> LabelRun:
        return labeller(catalogue, server, tmp_path, **settings).label(reports)

    return label


def test_findings_are_asked_for_in_batches_of_15_from_the_impression_alone(
    label: Any, server: ChatServer, catalogue: Catalogue
) -> None:
    found = label(REPORT, concurrency=1)
    schemas = [body["response_format"]["json_schema"] for body in server.bodies]
    assert [len(schema["schema"]["required"]) for schema in schemas] == [15] * 5
    assert [key for schema in schemas for key in schema["schema"]["required"]] == list(catalogue)
    assert all(schema["strict"] and schema["schema"]["additionalProperties"] is False for schema in schemas)
    assert {body["messages"][1]["content"] for body in server.bodies} == {
        f"Impression:\n{SECRET} has a subdural hematoma."
    }
    assert set(server.paths) == {"/v1/chat/completions"}
    assert {(body["model"], body["temperature"]) for body in server.bodies} == {("small", 0)}
    assert server.keys == [None] * 5
    assert found.labels[0]["acute_subdural_hematoma"] == PRESENT
    assert found.labels[0]["hydrocephalus"] == ABSENT
    assert found.labels[0]["lipoma"] == UNKNOWN
    assert list(found.labels[0]) == list(catalogue)
    assert not found.failed_batches


def test_a_last_batch_may_be_smaller(label: Any, server: ChatServer) -> None:
    label(REPORT, findings_per_request=40, concurrency=1)
    schemas = [body["response_format"]["json_schema"]["schema"] for body in server.bodies]
    assert [len(schema["properties"]) for schema in schemas] == [40, 35]


@pytest.mark.parametrize("fault", UNUSABLE + PASSING)
def test_a_fault_that_passes_is_tried_again(label: Any, server: ChatServer, fault: str) -> None:
    server.faults = [fault]
    found = label(REPORT, concurrency=1)
    assert found.labels[0]["acute_subdural_hematoma"] == PRESENT
    assert found.spent.requests == len(server.bodies) == 6
    assert not found.failed_batches


@pytest.mark.parametrize("fault", UNUSABLE)
def test_answers_that_stay_unusable_leave_unknown_and_are_asked_for_again(
    label: Any, server: ChatServer, fault: str
) -> None:
    server.faults = [fault, fault]
    found = label(REPORT, OTHER, attempts=2, concurrency=1)
    assert found.failed_batches == {7: 1}
    assert found.labels[0]["acute_subdural_hematoma"] == UNKNOWN
    assert found.labels[0]["hydrocephalus"] == ABSENT
    assert found.labels[1]["acute_subdural_hematoma"] == PRESENT
    again = label(REPORT, OTHER, concurrency=1)
    assert (again.spent.requests, again.spent.cached) == (1, 9)
    assert again.labels[0]["acute_subdural_hematoma"] == PRESENT


@pytest.mark.parametrize("fault", PASSING)
def test_an_endpoint_that_stays_away_ends_the_run_and_keeps_the_answers(
    label: Any, server: ChatServer, fault: str
) -> None:
    server.faults = ["", "", fault, fault, fault]
    with pytest.raises(LabelError) as caught:
        label(REPORT, attempts=3, concurrency=1)
    assert (caught.value.code, caught.value.kind) == ("labels.unreachable", "environment")
    assert SECRET not in str(caught.value) + caught.value.hint
    assert len(server.bodies) == 5
    assert label(REPORT, concurrency=1).spent.cached == 2


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_an_answer_must_be_whole_in_time(label: Any, server: ChatServer, fault: str) -> None:
    server.always = fault
    with pytest.raises(LabelError, match=r"no whole answer within 0\.3 s") as caught:
        label(REPORT, attempts=2, timeout_s=0.3, concurrency=1)
    assert caught.value.code == "labels.unreachable"
    assert len(server.bodies) == 2


def test_nobody_at_the_address(catalogue: Catalogue, tmp_path: Path) -> None:
    with chat_server() as gone:
        url = gone.url
    with pytest.raises(LabelError) as caught:
        EndpointLabeller(catalogue, config(url, attempts=2), tmp_path).label([REPORT])
    assert caught.value.code == "labels.unreachable"


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "422"])
def test_a_refusal_is_final_and_quotes_nothing(label: Any, server: ChatServer, status: str) -> None:
    server.always = status  # the error's body repeats the report
    with pytest.raises(LabelError, match=f"status {status}") as caught:
        label(REPORT, concurrency=1)
    assert caught.value.code == "labels.refused"
    assert SECRET not in str(caught.value) + caught.value.hint
    assert len(server.bodies) == 1


def test_no_redirect_is_followed(label: Any, server: ChatServer) -> None:
    with chat_server() as elsewhere:
        server.always, server.location = "307", f"{elsewhere.url}/chat/completions"
        with pytest.raises(LabelError) as caught:
            label(REPORT, concurrency=1)
    assert caught.value.code == "labels.redirect"
    assert elsewhere.bodies == []


def test_no_proxy_of_the_environment_gets_the_text(
    label: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chat_server() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        label(REPORT)
    assert proxy.bodies == []
    assert len(server.bodies) == 5


class Stop:
    """A context that is cancelled once the server holds a request."""

    def __init__(self, server: ChatServer, after: int) -> None:
        self.server = server
        self.after = after
        self.steps: list[tuple[int, int, str]] = []

    def progress(self, done: int, total: int, text: str) -> None:
        self.steps.append((done, total, text))

    def raise_if_cancelled(self) -> None:
        if len(self.server.bodies) >= self.after:
            raise Cancelled


def test_a_stop_breaks_off_what_is_under_way_and_keeps_the_answers(
    label: Any, server: ChatServer, catalogue: Catalogue, tmp_path: Path
) -> None:
    server.faults = ["", "", "slow", "slow"]
    stopped = threading.Event()

    def work() -> None:
        with pytest.raises(Cancelled):
            labeller(catalogue, server, tmp_path, concurrency=1, timeout_s=60.0).label([REPORT], Stop(server, 3))
        stopped.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10.0)  # the server would hold the answer for 20 s, and the client wait for 60
    assert stopped.is_set()
    server.faults.clear()
    assert label(REPORT, concurrency=1).spent.cached == 2


def test_progress_counts_batches_and_shows_tokens_and_cost(
    catalogue: Catalogue, server: ChatServer, tmp_path: Path
) -> None:
    watching = Stop(server, after=10**6)
    prices = {"price_per_million_input": 2.0, "price_per_million_output": 10.0, "currency": "EUR"}
    found = labeller(catalogue, server, tmp_path, **prices).label([REPORT, OTHER], watching)
    assert watching.steps[-1] == (10, 10, "Labelling reports: 10000 + 1000 tokens, 0.0300 EUR")
    assert (found.spent.input_tokens, found.spent.output_tokens) == (10_000, 1_000)
    assert found.spent.cost == pytest.approx(0.03)
    assert found.spent.seconds_s > 0


def test_answers_without_a_count_are_said(label: Any, server: ChatServer) -> None:
    server.counts_tokens = False
    spent = label(REPORT).spent
    assert (spent.uncounted, spent.input_tokens, spent.cost) == (5, 0, None)


def test_a_report_without_an_impression_is_not_sent(label: Any, server: ChatServer) -> None:
    found = label(Report("x", "FINDINGS: No hemorrhage.", line=2))
    assert server.bodies == []
    assert found.without_impression == 1
    assert set(found.labels[0].values()) == {UNKNOWN}


def test_answers_are_paid_for_once_and_kept_by_all_that_was_asked(label: Any, server: ChatServer) -> None:
    first = label(REPORT)
    second = label(REPORT)
    assert (second.spent.requests, second.spent.cached) == (0, 5)
    assert second.labels == first.labels
    assert label(REPORT, model="large").spent.requests == 5
    assert label(Report("x", REPORT.text + " Lipoma.")).spent.requests == 5
    assert label(REPORT, findings_per_request=40).spent.requests == 2


def test_the_cache_is_the_owners_and_holds_no_text(label: Any, tmp_path: Path) -> None:
    label(REPORT)
    folder = tmp_path / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * len(files)
    content = b"".join(file.read_bytes() + file.name.encode() for file in files).lower()
    assert b"subdural_hematoma" in content
    assert not [word for word in (b"zebulon", b"patient", b"has a subdural") if word in content]


def test_a_damaged_row_is_asked_for_again(label: Any, tmp_path: Path) -> None:
    label(REPORT)
    with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as connection:
        digests = [row[0] for row in connection.execute("SELECT digest FROM answers")]
        for digest, text in zip(digests, ["{", "[]", '{"lipoma": 1}'], strict=False):
            connection.execute("UPDATE answers SET labels = ? WHERE digest = ?", (text, digest))
    connection.close()
    again = label(REPORT)
    assert (again.spent.requests, again.spent.cached) == (3, 2)


def test_a_damaged_cache_is_refused(label: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.sqlite").write_bytes(b"no database, surely not " * 100)
    with pytest.raises(LabelError) as caught:
        label(REPORT)
    assert caught.value.code == "labels.cache"


def test_no_log_and_no_progress_holds_text_or_key(
    catalogue: Catalogue,
    server: ChatServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-hidden")
    server.faults = ["prose", "500", "page"]
    watching = Stop(server, after=10**6)
    with caplog.at_level(logging.DEBUG):
        labeller(catalogue, server, tmp_path, key_variable="SOME_KEY").label([REPORT], watching)
    assert set(server.keys) == {"Bearer sk-hidden"}
    said = caplog.text + repr(watching.steps) + repr(REPORT.text[:0]) + repr(REPORT)
    assert SECRET not in said
    assert "sk-hidden" not in said


@pytest.mark.parametrize("value", [None, "", "two\nlines", "schlüssel"])
def test_a_key_that_is_not_there_or_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(ConfigError, match="SOME_KEY") as caught:
        key_from_environment(config("http://127.0.0.1/v1", key_variable="SOME_KEY"))
    assert caught.value.code == "labels.key"
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://127.8.9.1/v1/", "http://127.8.9.1/v1/chat/completions"),
        ("http://localhost:11434/v1/chat/completions", "http://localhost:11434/v1/chat/completions"),
        ("http://[::1]:8080", "http://[::1]:8080/chat/completions"),
        ("http://[::ffff:127.0.0.1]/v1", "http://[::ffff:127.0.0.1]/v1/chat/completions"),
    ],
)
def test_this_machine_needs_no_consent(url: str, expected: str) -> None:
    endpoint = permitted_endpoint(config(url), consent_remote=False)
    assert (endpoint.url, endpoint.leaves_machine) == (expected, False)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "http://192.168.1.5:8000/v1",
        "http://0.0.0.0:8000/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://[::ffff:8.8.8.8]/v1",
        "http://2130706433/v1",
        "https://example.com/127.0.0.1/v1",
    ],
)
def test_another_host_needs_consent(url: str, catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not this machine") as caught:
        EndpointLabeller(catalogue, config(url), tmp_path / "cache")
    assert (caught.value.code, caught.value.kind) == ("labels.consent", "input")
    assert "--consent-remote" in caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_with_consent_another_host_is_reached_by_https_or_on_explicit_wish() -> None:
    assert permitted_endpoint(config("https://api.example.com/v1"), consent_remote=True).leaves_machine
    plain = "http://192.168.1.5:8000/v1"
    with pytest.raises(ConfigError) as caught:
        permitted_endpoint(config(plain), consent_remote=True)
    assert caught.value.code == "labels.unencrypted"
    assert permitted_endpoint(config(plain, allow_unencrypted=True), consent_remote=True).leaves_machine


def test_consent_cannot_be_written_into_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text('url = "https://api.example.com/v1"\nmodel = "m"\nconsent_remote = true\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="consent_remote"):
        read_endpoint_config(file, {})


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8080/v1",
        "http:///v1",
        "http://user:hidden@127.0.0.1/v1",
        "http://127.0.0.1/v1?a=b",
    ],
)
def test_a_url_that_is_none_or_holds_secrets_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        permitted_endpoint(config(url), consent_remote=True)
    assert caught.value.code == "labels.url"
    assert "hidden" not in str(caught.value)


def test_options_win_over_the_file_and_both_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text('url = "http://127.0.0.1:1/v1"\nmodel = "a"\nattempts = 2\n', encoding="utf-8")
    read = read_endpoint_config(file, {"model": "b"})
    assert (read.url, read.model, read.attempts) == ("http://127.0.0.1:1/v1", "b", 2)
    with pytest.raises(HeadCTError, match="model"):
        read_endpoint_config(None, {"url": "http://127.0.0.1:1/v1"})
    file.write_text("url = ", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_endpoint_config(file, {})
    assert caught.value.code == "config.unreadable"
