"""Ties a view-model's signal to a widget for as long as the widget lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance
from PySide6.QtCore import QObject


def bind(owner: QObject, signal: SignalInstance, slot: Callable[..., Any]) -> None:
    """Connect `slot`, a bound method of `owner`, until `owner` is destroyed.

    The view-models outlive the views, and psygnal knows nothing of Qt's deletion of the C++ half. Neither side is
    kept alive by the connection.
    """
    signal.connect(slot)
    method = weakref.WeakMethod(slot)

    def release() -> None:
        alive = method()
        if alive is not None:
            signal.disconnect(alive, missing_ok=True)

    owner.destroyed.connect(release)
