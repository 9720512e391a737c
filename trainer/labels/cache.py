"""Answers of a language model, kept on disk by the hash of all that was asked, so that nothing is paid for twice.

A row holds the sha256 of endpoint, model, prompt and text, and the labels as JSON: no text, no identifier. The hash is
not secret: who has a report can tell that it was labelled, and how. So folder and file are for their owner alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import LabelError
from trainer.labels.prompt import ANSWERS, PROMPT_VERSION

FILE_NAME = "answers.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (digest TEXT PRIMARY KEY, labels TEXT NOT NULL) WITHOUT ROWID"


def question_digest(url: str, body: Mapping[str, Any]) -> str:
    """Return the sha256 of all that an answer depends on: endpoint, model, prompt, schema, text."""
    from trainer.config import canonical_digest

    return canonical_digest({"version": PROMPT_VERSION, "url": url, "body": body})


class AnswerCache:
    """A small SQLite file; each answer is on disk when `put` returns.

    Parameters
    ----------
    folder
        Made, and readable for its owner alone.

    Raises
    ------
    LabelError
        If the file cannot be opened, or is no cache.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.path.chmod(0o600)
            self._connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error
        try:
            self._connection.execute(_SCHEMA)
        except sqlite3.Error as error:
            self._connection.close()
            raise self._failed(error) from error

    def get(self, digest: str, keys: Sequence[str]) -> dict[str, int] | None:
        """Return the labels kept for a question, or None; a row that is not whole counts as none."""
        try:
            with closing(self._connection.execute("SELECT labels FROM answers WHERE digest = ?", (digest,))) as cursor:
                row = cursor.fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return None if row is None else _read(row[0], keys)

    def put(self, digest: str, labels: Mapping[str, int]) -> None:
        """Keep the labels of a question.

        Raises
        ------
        LabelError
            If the disk is full or the file damaged.
        """
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", (digest, json.dumps(dict(labels), sort_keys=True))
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _failed(self, error: BaseException) -> LabelError:
        return LabelError(
            f"The cache of answers {self.path} cannot be used ({type(error).__name__}).",
            hint="Free disk space or correct the permissions. A damaged cache may be deleted: it is filled again.",
            code="labels.cache",
            kind="environment",
        )


def _read(text: str, keys: Sequence[str]) -> dict[str, int] | None:
    try:
        labels = json.loads(text)
    except ValueError:
        return None
    allowed = set(ANSWERS.values())
    whole = isinstance(labels, dict) and set(labels) == set(keys) and all(value in allowed for value in labels.values())
    return labels if whole else None
