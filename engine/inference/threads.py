"""How torch's threads wait for each other. No torch here: it reads this once, when it is loaded."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spinning; call it before torch is imported for the first time.

    Where other processes want the same cores (the window, a training run), spinning threads take the time that the
    working ones need: on two busy cores the backbone took 10 times longer. A user's own setting is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
