"""What torch reads once, when it is loaded: how its threads wait, how it asks for memory. No torch here."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spinning; call it before torch is imported for the first time.

    Where other processes want the same cores (the window, a training run), spinning threads take the time that the
    working ones need: on two busy cores the backbone took 10 times longer. A user's own setting is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def use_large_pages() -> None:
    """Let torch ask Linux for pages of 2 MiB under large tensors; call it before torch is imported for the first time.

    A network's activations are asked for and given back layer by layer, and with pages of 4 KiB the system's work on
    them is a third of EfficientNet-Lite0's time in torch. Numbers do not change. Without effect elsewhere, and where
    large pages are switched off. A user's own setting is kept.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
