"""A virtual display of its own for every process of a parallel run: two windows on one would take the keyboard away
from each other, and the keys of a test would go nowhere.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess


def own_display() -> None:
    """Start a virtual display and use it; only in a worker of a parallel run, and only where there is Xvfb."""
    if "PYTEST_XDIST_WORKER" not in os.environ or shutil.which("Xvfb") is None:
        return
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    atexit.register(server.kill)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()
    if number:
        os.environ["DISPLAY"] = f":{number}"
        os.environ.pop("XAUTHORITY", None)
