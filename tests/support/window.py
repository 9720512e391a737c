"""A review window on synthetic studies, with actions that only write down what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.viewmodels.actions import ExportFormat
from app.viewmodels.review import ReviewModels
from app.viewmodels.studies import StudyRow
from app.viewmodels.viewer import SeriesInfo
from app.views import theme
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from tests.support.analyses import make_analysis, make_volume

FORMATS = (ExportFormat("csv", "CSV", ".csv"), ExportFormat("jsonl", "JSON Lines", ".jsonl", carries_identity=True))


AREAS = ("agreement", "backbones", "explanations", "feedback", "impression", "reading", "worklist")


class RecordingArea:
    """Implements one of the protocols that hang on `ReviewActions`; a call is recorded as ("area.name", arguments)."""

    def __init__(self, area: str, calls: list[tuple[str, tuple[Any, ...]]]) -> None:
        self._area, self._calls = area, calls

    def formats(self) -> Sequence[ExportFormat]:
        return (ExportFormat("txt", "Plain text", ".txt"),)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments, **named: self._calls.append((f"{self._area}.{name}", (*arguments, *named.values())))


class RecordingActions:
    """Implements `ReviewActions` by recording every call as (name, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        for area in AREAS:
            setattr(self, area, RecordingArea(area, self.calls))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]

    def export_formats(self) -> Sequence[ExportFormat]:
        return FORMATS

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, arguments))


def study_row(uid: str = "1.2.3", **changes: Any) -> StudyRow:
    values: dict[str, Any] = {
        "series_uid": uid,
        "patient_label": f"Patient {uid}",
        "patient_id": "P1",
        "study_date": "2026-01-02",
        "study_description": "Head",
        "description": "5 mm",
        "n_slices": 12,
        "kind": "volume",
        "state": "new",
    }
    return StudyRow(**(values | changes))


def filled_models(catalogue: Catalogue, **analysis: Any) -> ReviewModels:
    """Return view-models with one analysed study of 12 slices open."""
    models = ReviewModels("Dr Test")
    models.studies.set_rows((study_row("1.2.3", state="analysed", n_positive=3, most_urgent="critical"),))
    models.studies.current_uid = "1.2.3"
    models.viewer.set_volume(make_volume(), SeriesInfo("1.2.3", "Patient", "Head", "", (5.0,) * 12))
    models.show_analysis(catalogue, make_analysis(catalogue, **analysis))
    return models


def show_window(qtbot: QtBot, models: ReviewModels, resources: Path) -> tuple[MainWindow, RecordingActions]:
    """Return a window that is on the screen and has the focus."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    theme.apply_theme(app, resources)
    actions = RecordingActions()
    window = MainWindow(models, actions, resources)
    qtbot.addWidget(window)
    window.resize(1366, 768)
    with qtbot.waitExposed(window):
        window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.slice_view.setFocus()
    return window, actions
