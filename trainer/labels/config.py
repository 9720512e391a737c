"""An endpoint that speaks the OpenAI chat protocol: where it is, how it is asked, and whether text may go there."""

from __future__ import annotations

import ipaddress
import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import ConfigError

COMPLETIONS = "/chat/completions"


class EndpointConfig(FrozenConfig):
    """How reports are labelled by a language model.

    Consent that text leaves the machine is no key of it: it is given with each run.

    Attributes
    ----------
    url
        Up to and with the version, such as ``http://127.0.0.1:8080/v1``.
    model
        As the endpoint names it.
    key_variable
        The environment variable that holds the key; None sends none.
    findings_per_request
        The paper asks for 15 at a time.
    concurrency
        Requests under way at once.
    timeout_s
        For a whole answer, in seconds.
    attempts
        How often a request is tried; before the next try it waits `backoff_s`, doubled each time up to `max_backoff_s`,
        or as long as the endpoint asks, up to the same.
    max_output_tokens
        Of an answer to one request.
    price_per_million_input, price_per_million_output
        Of a million tokens; without both no cost is shown.
    allow_unencrypted
        Whether another host may be reached over http, which anybody on the way can read.
    """

    url: str = Field(min_length=1, max_length=2000)
    model: str = Field(min_length=1, max_length=200)
    key_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    findings_per_request: int = Field(default=15, ge=1, le=100)
    concurrency: int = Field(default=2, ge=1, le=64)
    timeout_s: PositiveFloat = 120.0
    attempts: int = Field(default=4, ge=1, le=20)
    backoff_s: NonNegativeFloat = 1.0
    max_backoff_s: NonNegativeFloat = 60.0
    max_output_tokens: PositiveInt = 2000
    price_per_million_input: NonNegativeFloat | None = None
    price_per_million_output: NonNegativeFloat | None = None
    currency: str = Field(default="USD", max_length=10)
    allow_unencrypted: bool = False

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the price of tokens, or None where no price is configured."""
        if self.price_per_million_input is None or self.price_per_million_output is None:
            return None
        return (input_tokens * self.price_per_million_input + output_tokens * self.price_per_million_output) / 1e6


@dataclass(frozen=True)
class Endpoint:
    """A place that may be sent text.

    Attributes
    ----------
    url
        Of chat completions.
    host
        To name in messages.
    leaves_machine
        Whether text sent there leaves this machine.
    """

    url: str
    host: str
    leaves_machine: bool


def read_endpoint_config(path: Path | None, given: Mapping[str, object]) -> EndpointConfig:
    """Return the configuration of a TOML file, if there is one, with what was given besides; the latter wins.

    Raises
    ------
    ConfigError
        If the file cannot be read, or URL or model is missing, or a key is unknown or impossible.
    """
    try:
        written = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
        return EndpointConfig.model_validate({**written, **given})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as a TOML configuration ({type(error).__name__}).",
            hint="Check the path and the syntax.",
            code="config.unreadable",
        ) from None
    except ValidationError as error:
        raise ConfigError(
            f"The endpoint's configuration is not valid: {describe_validation(error)}.",
            hint="Give --endpoint URL and --model NAME, or a file with url and model; correct the keys named.",
            code="labels.endpoint_config",
        ) from None


def permitted_endpoint(config: EndpointConfig, *, consent_remote: bool) -> Endpoint:
    """Return where to send text, if that is permitted.

    Parameters
    ----------
    config
        The endpoint.
    consent_remote
        The user's consent, for this run, that patient text leaves the machine.

    Raises
    ------
    ConfigError
        If the URL is none, holds credentials, or names another host without consent or, over http, without
        `allow_unencrypted`.
    """
    url = _parsed(config.url)
    path = url.path.rstrip("/")
    completions = url.copy_with(path=path if path.endswith(COMPLETIONS) else path + COMPLETIONS)
    if _is_loopback(url.host):
        return Endpoint(str(completions), url.host, leaves_machine=False)
    if not consent_remote:
        raise ConfigError(
            f"Reports are not sent to {url.host}: it is not this machine, and patient text would leave it.",
            hint="Run a model on this machine (127.0.0.1), or say with --consent-remote that you may and will send it.",
            code="labels.consent",
        )
    if url.scheme != "https" and not config.allow_unencrypted:
        raise ConfigError(
            f"Reports are not sent to {url.host} over http: anybody on the way could read them.",
            hint="Use https, or set allow_unencrypted = true in the endpoint's configuration.",
            code="labels.unencrypted",
        )
    return Endpoint(str(completions), url.host, leaves_machine=True)


def key_from_environment(config: EndpointConfig) -> str | None:
    """Return the endpoint's key, or None where none is configured.

    Raises
    ------
    ConfigError
        If the variable is not set, or holds what cannot be sent in a header.
    """
    if config.key_variable is None:
        return None
    key = os.environ.get(config.key_variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"The environment variable {config.key_variable} {'holds no usable key' if key else 'is not set'}.",
            hint="Set it to the endpoint's key, or leave key_variable out where the endpoint needs none.",
            code="labels.key",
            kind="environment",
        )
    return key


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise _bad_url("it cannot be read") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _bad_url("it must begin with http:// or https:// and name a host")
    if url.userinfo or url.query or url.fragment:
        raise _bad_url("it must hold no user name, password, query or fragment")
    return url


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine. Of names only ``localhost`` may be, and only if it leads nowhere else."""
    if host.rstrip(".").lower() == "localhost":
        try:
            found = socket.getaddrinfo("localhost", None)
        except OSError:
            return False
        return all(_is_loopback_address(str(entry[4][0])) for entry in found)
    return _is_loopback_address(host)


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _bad_url(reason: str) -> ConfigError:
    return ConfigError(
        f"The endpoint's URL cannot be used: {reason}.",
        hint="Give it as http://127.0.0.1:8080/v1; a key belongs into an environment variable.",
        code="labels.url",
    )
