"""A real HTTP server on this machine that speaks the OpenAI chat protocol, well or badly, as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ChatServer:
    """What the server was asked, and how it is to answer.

    Attributes
    ----------
    faults
        How to answer the next requests; once they are used up, well.
    always
        A fault of every request.
    present, absent
        Findings that it says of every report.
    """

    url: str = ""
    faults: list[str] = field(default_factory=list)
    always: str = ""
    present: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    counts_tokens: bool = True
    location: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> str:
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always

    def answer(self, body: dict[str, Any]) -> dict[str, str]:
        """Answer as the request's schema asks."""
        keys = body["response_format"]["json_schema"]["schema"]["required"]
        said = {**dict.fromkeys(self.present, "present"), **dict.fromkeys(self.absent, "absent")}
        return {key: said.get(key, "unknown") for key in keys}

    def completion(self, content: str, finish: str = "stop") -> dict[str, Any]:
        message = {"role": "assistant", "content": content}
        usage = {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        return {"id": "1", "object": "chat.completion", "choices": choices, **(usage if self.counts_tokens else {})}


@contextmanager
def chat_server(**settings: Any) -> Iterator[ChatServer]:
    """Serve on a free port of 127.0.0.1."""
    state = ChatServer(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.bodies.append(body)
            state.keys.append(self.headers["Authorization"])
            state.paths.append(self.path)
            try:
                self.answer(state.next_fault(), body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has gone

        def answer(self, fault: str, body: dict[str, Any]) -> None:
            good = state.answer(body)
            key = next(iter(good))
            contents = {
                "": json.dumps(good),
                "prose": f"Here you are: {body['messages'][1]['content']}",
                "empty": "",
                "key missing": json.dumps({name: value for name, value in good.items() if name != key}),
                "key too many": json.dumps({**good, "another": "present"}),
                "wrong word": json.dumps({**good, key: "maybe"}),
                "number": json.dumps({**good, key: 1}),
                "list": "[]",
                "key twice": json.dumps(good)[:-1] + f', "{key}": "present"}}',
            }
            if fault in contents:
                self.send(200, json.dumps(state.completion(contents[fault])).encode())
            elif fault == "cut off":
                self.send(200, json.dumps(state.completion(json.dumps(good)[:40], "length")).encode())
            elif fault == "no completion":
                self.send(200, b'{"hello": "world"}')
            elif fault == "page":
                self.send(200, b"<html>a page</html>")
            elif fault == "huge":
                self.send(200, b" " * (5 << 20))
            elif fault == "broken line":
                whole = json.dumps(state.completion(json.dumps(good))).encode()
                self.send(200, whole[: len(whole) // 2], length=len(whole))
                self.close_connection = True
            elif fault == "hung up":
                self.close_connection = True
                self.connection.close()
            elif fault == "slow":
                state.released.wait(20.0)
                self.send(200, b"{}")
            elif fault == "drip":
                self.drip()
            else:
                self.send(int(fault), json.dumps({"error": body["messages"][1]["content"]}).encode())

        def drip(self) -> None:
            """Send a byte now and then, so that no single wait for data is long."""
            self.send(200, b"{", length=1000)
            while not state.released.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()

        def send(self, status: int, content: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content) if length is None else length))
            if status == 429:
                self.send_header("Retry-After", "0")
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

    return Handler
