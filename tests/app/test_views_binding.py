"""The Qt binding itself: view-models let go of dead views, and the installed binding is one that can be lived with."""

from __future__ import annotations

import gc
import sys

from psygnal import Signal as ModelSignal
from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot
from shiboken6 import delete

from app.views.bindings import bind


class Source:
    told = ModelSignal(str)


class Follower(QLabel):
    def follow(self, text: str) -> None:
        self.setText(text)


class Emitter(QObject):
    fired = Signal()


def test_a_destroyed_view_no_longer_hears_its_model(qtbot: QtBot) -> None:
    source, label = Source(), Follower()
    bind(label, source.told, label.follow)
    source.told.emit("one")
    assert label.text() == "one"
    delete(label)
    source.told.emit("two")
    assert len(source.told) == 0


def test_a_forgotten_view_is_not_kept_alive_by_its_model(qtbot: QtBot) -> None:
    source = Source()
    label = Follower()
    bind(label, source.told, label.follow)
    del label
    gc.collect()
    source.told.emit("two")
    assert len(source.told) == 0


def test_the_binding_keeps_the_reference_counts_of_none_and_true() -> None:
    """PySide6 6.12.0 on Python before 3.12 loses one per call, until the interpreter aborts in mid-session."""
    rounds = 200
    emitter = Emitter()
    before = sys.getrefcount(None), sys.getrefcount(True)
    for _ in range(rounds):
        emitter.setObjectName("x")
        emitter.fired.emit()
    after = sys.getrefcount(None), sys.getrefcount(True)
    lost = max(earlier - later for earlier, later in zip(before, after, strict=True))
    assert lost < rounds // 2, "pin another PySide6: this one ends the process after some thousand calls"
