"""One question to an endpoint: sent, waited for, tried again. No message holds any of a question or an answer."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from engine.errors import LabelError
from trainer.labels.config import Endpoint, EndpointConfig
from trainer.labels.prompt import Counted, Unusable, tokens_of

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
MAX_ANSWER_BYTES = 4 << 20
_Answer = TypeVar("_Answer")


class _TryAgain(Exception):
    """A failure that may pass.

    Parameters
    ----------
    reason
        In words, without any text of the server's.
    answered
        Whether the endpoint answered, if uselessly: then the next question may well fare better.
    wait_s
        As long as the endpoint asks to wait.
    """

    def __init__(self, reason: str, *, answered: bool = False, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered
        self.wait_s = wait_s


@dataclass
class Tally:
    """What was sent and counted so far."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0

    def add(self, counted: Counted | None) -> None:
        """Take in the count of one answer."""
        if counted is None:
            self.uncounted += 1
            return
        self.input_tokens += counted.input_tokens
        self.output_tokens += counted.output_tokens


class EndpointClient:
    """Asks one endpoint.

    No proxy, no netrc and no redirect is followed: text goes to the host that was permitted and to no other.
    """

    def __init__(self, config: EndpointConfig, endpoint: Endpoint, key: str | None) -> None:
        self._config = config
        self._endpoint = endpoint
        self.tally = Tally()
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(config.timeout_s),
            limits=httpx2.Limits(max_connections=config.concurrency),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, body: dict[str, Any], read: Callable[[object], _Answer]) -> _Answer | None:
        """Send a question until an answer can be read.

        Parameters
        ----------
        body
            Of the chat completion request.
        read
            Reads the answer, or raises `Unusable`.

        Returns
        -------
        object | None
            None where the endpoint answered every time and the last answer could not be used.

        Raises
        ------
        LabelError
            If the endpoint refuses, redirects, or cannot be reached after all attempts.
        """
        for attempt in range(self._config.attempts):
            try:
                return await self._ask_once(body, read)
            except _TryAgain as failure:
                if attempt + 1 < self._config.attempts:
                    await asyncio.sleep(self._wait_s(attempt, failure.wait_s))
                    continue
                if failure.answered:
                    return None
                raise self._unreachable(failure.reason) from None
        raise AssertionError("attempts are at least one")

    async def _ask_once(self, body: dict[str, Any], read: Callable[[object], _Answer]) -> _Answer:
        self.tally.requests += 1
        document = self._document(*await self._exchange(body))
        self.tally.add(tokens_of(document))
        try:
            return read(document)
        except Unusable as error:
            raise _TryAgain(str(error), answered=True) from None

    async def _exchange(self, body: dict[str, Any]) -> tuple[httpx2.Response, bytes]:
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),  # httpx2's own limit starts anew with every byte
                self._http.stream("POST", self._endpoint.url, json=body) as response,
            ):
                return response, await _read_whole(response)
        except (TimeoutError, httpx2.TimeoutException):
            raise _TryAgain(f"no whole answer within {self._config.timeout_s:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _TryAgain(f"the connection failed ({type(error).__name__})") from None

    def _document(self, response: httpx2.Response, content: bytes) -> object:
        if response.status_code in AGAIN:
            raise _TryAgain(f"status {response.status_code}", wait_s=_retry_after_s(response))
        if response.status_code != 200:
            raise self._refused(response.status_code)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            # `from None`: the library's error holds the text.
            raise _TryAgain("the answer is no JSON", answered=True) from None

    def _wait_s(self, attempt: int, asked_s: float | None) -> float:
        own_s = self._config.backoff_s * 2.0**attempt * random.uniform(0.75, 1.25)
        return float(min(max(own_s, asked_s or 0.0), self._config.max_backoff_s))

    def _refused(self, status: int) -> LabelError:
        hints = {
            401: "Check the key in the environment variable that key_variable names.",
            403: "Check the key and what it is permitted to do.",
            404: "Check the URL, which ends in the version, such as /v1, and the model's name.",
            400: "Check the model's name, and that the endpoint knows response_format json_schema and max_tokens.",
        }
        redirected = 300 <= status < 400
        did = "redirects elsewhere, where no text is sent" if redirected else "refuses the request"
        return LabelError(
            f"The endpoint {self._endpoint.host} {did} (status {status}).",
            hint="Give the endpoint's final URL." if redirected else hints.get(status, "Read the endpoint's own log."),
            code="labels.redirect" if redirected else "labels.refused",
            kind="environment",
        )

    def _unreachable(self, reason: str) -> LabelError:
        return LabelError(
            f"The endpoint {self._endpoint.host} did not answer in {self._config.attempts} attempts: {reason}. "
            "The answers so far are kept.",
            hint="Start it or wait, then run the same command again: it goes on where it was.",
            code="labels.unreachable",
            kind="environment",
        )


async def _read_whole(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise _TryAgain(f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB", answered=True)
    return bytes(content)


def _retry_after_s(response: httpx2.Response) -> float | None:
    """Read Retry-After: seconds, or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except (ValueError, OverflowError):
        return None
