"""What tests ask helper processes to do."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from engine.errors import DicomError
from engine.inference.helpers import Helpers


def number_of_process(pause_s: float = 0.0) -> int:
    time.sleep(pause_s)
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(text: str) -> None:
    raise DicomError(text, hint="none", code="tests.refused")


def wait_for_ever(started: str) -> None:
    Path(started).write_text(str(os.getpid()), encoding="ascii")
    time.sleep(3600)


if __name__ == "__main__":
    helpers = Helpers(1)
    helpers.result(helpers.submit(wait_for_ever, sys.argv[1]))
