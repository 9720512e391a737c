"""A review window on synthetic studies, with actions that only write down what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.viewmodels.actions import ExportFormat
from app.viewmodels.review import ReviewModels
from app.viewmodels.viewer import SeriesInfo
from app.viewmodels.worklist import SeriesItem
from app.views import theme
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from engine.store.workflow import STUDY_STATES, WorklistPage, WorklistRow
from tests.support.analyses import make_analysis, make_volume

FORMATS = (ExportFormat("csv", "CSV", ".csv"), ExportFormat("jsonl", "JSON Lines", ".jsonl", carries_identity=True))


AREAS = (
    *("agreement", "backbones", "computing", "explanations", "feedback", "impression", "queue", "reading", "watch"),
    "worklist",
)


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


def study_row(uid: str = "1.2.3", **changes: Any) -> WorklistRow:
    """Return a line of the worklist whose series to open is `uid`."""
    values: dict[str, Any] = {
        "study_uid": f"{uid}.study",
        "series_uid": uid,
        "patient_name": f"Patient {uid}",
        "patient_id": "P1",
        "study_date": "20260102",
        "study_description": "Head",
        "accession_number": "",
        "n_series": 1,
        "state": "new",
        "state_message": "",
        "priority": 0,
        "urgency": None,
        "n_positive": None,
        "positive_keys": (),
        "added_utc": datetime(2026, 1, 3, tzinfo=UTC),
    }
    return WorklistRow(**(values | changes))


def series_item(uid: str = "1.2.3", **changes: Any) -> SeriesItem:
    """Return a series of the study of `study_row(uid)`."""
    values: dict[str, Any] = {
        "series_uid": uid,
        "study_uid": f"{uid}.study",
        "number": 2,
        "description": "5 mm",
        "n_slices": 12,
        "kind": "volume",
        "state": "new",
    }
    return SeriesItem(**(values | changes))


def fill_worklist(models: ReviewModels, *rows: WorklistRow) -> None:
    """Show these studies, as if the store had answered."""
    models.worklist.set_page(models.worklist.generation, WorklistPage(rows, len(rows), 0))
    counts = Counter(row.state for row in rows)
    models.worklist.set_counts({state: counts.get(state, 0) for state in STUDY_STATES})


def filled_models(catalogue: Catalogue, **analysis: Any) -> ReviewModels:
    """Return view-models with one analysed study of 12 slices open."""
    models = ReviewModels("Dr Test")
    models.reading.open("1.2.3")
    fill_worklist(models, study_row("1.2.3", state="analysed", n_positive=3, urgency="critical", priority=3003))
    models.worklist.current_uid = "1.2.3"
    models.worklist.show_current(series_item("1.2.3", state="analysed", n_positive=3, urgency="critical"))
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
