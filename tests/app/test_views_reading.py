"""Reading in the real window, by mouse and keys, into a real store: every row is what the reader meant."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QDialog
from pytestqt.qtbot import QtBot

from app.settings import Settings
from app.views.dialogs.adjudication import AdjudicationDialog
from app.views.dialogs.agreement import AgreementDialog
from app.views.dialogs.blind import EndBlindDialog
from app.views.dialogs.readers import ReadersDialog
from app.window import _begin
from engine.findings.catalogue import Catalogue
from engine.store.locations import location_mask
from engine.store.records import FeedbackRecord
from engine.store.repository import Store
from tests.support.analyses import HELD_OUT, NOTICE, make_volume
from tests.support.reading import SERIES, ReadingRoom

D = TypeVar("D", bound=QDialog)
CONTROL, SHIFT, PLAIN = (
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.NoModifier,
)


@pytest.fixture
def rooms(tmp_path: Path, catalogue: Catalogue, resources: Path, qtbot: QtBot) -> Iterator[object]:
    made: list[ReadingRoom] = []

    def make(**settings: object) -> ReadingRoom:
        room = ReadingRoom(tmp_path / "home", catalogue, Settings(**({"reader": "Dr Test"} | settings)))
        made.append(room)
        room.show(qtbot, resources)
        room.settle(qtbot)
        return room

    yield make
    for room in made:
        room.close()


@pytest.fixture
def room(rooms, qtbot: QtBot) -> ReadingRoom:  # type: ignore[no-untyped-def]
    made: ReadingRoom = rooms()
    made.open()
    made.settle(qtbot)
    return made


def press(qtbot: QtBot, room: ReadingRoom, key: Qt.Key, modifier: Qt.KeyboardModifier = PLAIN) -> None:
    room.window.activateWindow()
    qtbot.waitUntil(room.window.isActiveWindow)
    room.window.slice_view.setFocus()
    qtbot.keyClick(room.window.slice_view, key, modifier)
    room.settle(qtbot)


def select(room: ReadingRoom, positive: bool | None) -> str:
    """Select the first finding that the model calls so; None for one that it does not cover."""
    row = next(row for row in room.models.findings.visible_rows() if row.positive is positive)
    room.models.findings.selected_key = row.key
    return row.key


def drag(room: ReadingRoom, *path: tuple[float, float]) -> None:
    """Press the left button at the first point of the plane, move over the others, and let go at the last."""
    view = room.window.slice_view
    area, port = view.visible_plane(), view.viewport()
    px = [
        QPointF((x - area.x()) / area.width() * port.width(), (y - area.y()) / area.height() * port.height())
        for x, y in path
    ]
    kinds = [QEvent.Type.MouseButtonPress, *[QEvent.Type.MouseMove] * (len(px) - 1), QEvent.Type.MouseButtonRelease]
    for kind, at in zip(kinds, [*px, px[-1]], strict=True):
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else Qt.MouseButton.LeftButton
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else Qt.MouseButton.LeftButton
        QApplication.sendEvent(
            port, QMouseEvent(kind, at, QPointF(port.mapToGlobal(at.toPoint())), button, held, PLAIN)
        )


def dialog(qtbot: QtBot, room: ReadingRoom, kind: type[D]) -> D:
    """Return the open dialog of this kind, once keys go to it."""
    found = [widget for widget in room.window.findChildren(kind) if widget.isVisible()]
    assert len(found) == 1, f"{len(found)} dialogs {kind.__name__}"
    found[0].activateWindow()  # a window manager does it elsewhere
    qtbot.waitUntil(found[0].isActiveWindow)
    return found[0]


def last(room: ReadingRoom, series_uid: str = SERIES[0]) -> FeedbackRecord:
    return room.history(series_uid)[-1]


# -- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "positive", "verdict", "present"),
    [
        (Qt.Key.Key_P, True, "agree", True),
        (Qt.Key.Key_A, True, "disagree", False),
        (Qt.Key.Key_P, False, "disagree", True),
        (Qt.Key.Key_A, False, "agree", False),
        (Qt.Key.Key_U, True, "unsure", None),
    ],
)
def test_a_key_saves_what_is_seen_and_how_it_stands_to_the_model(
    qtbot: QtBot, room: ReadingRoom, key: Qt.Key, positive: bool, verdict: str, present: bool | None
) -> None:
    finding = select(room, positive)
    row = room.models.findings.row(finding)
    press(qtbot, room, key)
    saved = room.history()
    assert len(saved) == 1
    record = saved[0]
    assert (record.finding_key, record.verdict, record.present) == (finding, verdict, present)
    assert (record.reader, record.mode, record.model_notice) == ("Dr Test", "ai_seen", NOTICE)
    assert record.probability == pytest.approx(row.value)
    assert record.sop_instance_uids == (f"1.2.3.{room.models.viewer.slice_index}",)
    box = room.window.feedback_box
    assert [answer for answer, button in box.buttons.items() if button.isChecked()] == [
        {Qt.Key.Key_P: "present", Qt.Key.Key_A: "absent", Qt.Key.Key_U: "unsure"}[key]
    ]
    said = {"agree": "agrees with the model", "disagree": "differs from the model"}.get(verdict, "Unsure · Dr Test")
    assert said in box.current.text()


def test_a_finding_that_the_model_does_not_cover_is_judged_by_the_reader_alone(qtbot: QtBot, room: ReadingRoom) -> None:
    room.models.findings.selected_key = HELD_OUT[0]
    assert "stands alone" in room.window.feedback_box.statement.text()
    press(qtbot, room, Qt.Key.Key_A)
    assert (last(room).present, last(room).probability) == (False, None)
    press(qtbot, room, Qt.Key.Key_P)
    assert (last(room).present, last(room).verdict) == (True, "agree")
    codes = [
        room.window.feedback_box.reason.itemData(place) for place in range(room.window.feedback_box.reason.count())
    ]
    assert "subtle" in codes, "a finding that no model looked for was missed"


def test_reason_side_certainty_and_comment_are_saved_and_reasons_fit_the_answer(
    qtbot: QtBot, room: ReadingRoom
) -> None:
    select(room, True)
    box = room.window.feedback_box
    assert not box.reason.isVisible()
    press(qtbot, room, Qt.Key.Key_A)
    assert box.reason.isVisible()
    box.reason.setCurrentIndex(box.reason.findData("calcification"))
    box.reason.activated.emit(box.reason.currentIndex())
    press(qtbot, room, Qt.Key.Key_D)
    assert box.details.isVisible()
    assert box.details.side.hasFocus()
    qtbot.keyClick(box.details.side, Qt.Key.Key_Down)
    qtbot.keyClick(box.details.side, Qt.Key.Key_Tab)
    assert box.details.certainty.hasFocus()
    for _ in range(3):
        qtbot.keyClick(box.details.certainty, Qt.Key.Key_Down)
    qtbot.keyClicks(box.comment, "rim only")
    assert "not saved" in box.current.text()
    qtbot.keyClick(box.comment, Qt.Key.Key_Return)
    room.settle(qtbot)
    record = last(room)
    assert (record.reason_code, record.laterality, record.certainty) == ("calcification", "left", 90)
    assert (record.comment, record.present) == ("rim only", False)
    assert box.current.text().startswith("Saved: ")
    press(qtbot, room, Qt.Key.Key_P)
    assert (last(room).reason_code, last(room).comment) == ("", "rim only"), "a reason that no longer fits is dropped"
    assert not box.reason.isVisible()


def test_changed_details_are_saved_on_leaving_the_finding_and_only_under_an_answer(
    qtbot: QtBot, room: ReadingRoom
) -> None:
    first = select(room, True)
    box = room.window.feedback_box
    qtbot.keyClicks(box.comment, "early")
    press(qtbot, room, Qt.Key.Key_N)
    assert room.history() == ()
    room.models.findings.selected_key = first
    assert box.comment.text() == "early", "what waits for an answer is not lost"
    press(qtbot, room, Qt.Key.Key_P)
    qtbot.keyClicks(box.comment, " bird")
    press(qtbot, room, Qt.Key.Key_N)
    assert [(row.finding_key, row.comment) for row in room.history()] == [(first, "early"), (first, "early bird")]
    room.models.findings.selected_key = first
    qtbot.keyClicks(box.comment, "!")
    room.open(SERIES[1])
    room.settle(qtbot)
    assert last(room).comment == "early bird!", "opening another series saves it too"
    assert room.history(SERIES[1]) == ()


def test_undo_takes_back_the_newest_statement_and_shows_it(qtbot: QtBot, room: ReadingRoom) -> None:
    first = select(room, True)
    press(qtbot, room, Qt.Key.Key_P)
    press(qtbot, room, Qt.Key.Key_A)
    other = select(room, False)
    press(qtbot, room, Qt.Key.Key_A)
    press(qtbot, room, Qt.Key.Key_Z, CONTROL)
    assert room.models.findings.row(other).feedback is None
    press(qtbot, room, Qt.Key.Key_Z, CONTROL)
    assert room.models.findings.selected_key == first
    feedback = room.models.findings.row(first).feedback
    assert feedback is not None
    assert feedback.answer == "present"
    assert [row.verdict for row in room.history()][-2:] == ["withdrawn", "withdrawn"]


def test_a_reader_faster_than_the_disk_leaves_one_row_for_each_answer(qtbot: QtBot, room: ReadingRoom) -> None:
    room.window.slice_view.setFocus()
    room.models.findings.selected_key = room.models.findings.visible_rows()[0].key
    meant = []
    for place in range(12):
        key = room.models.findings.selected_key
        answer = (Qt.Key.Key_P, Qt.Key.Key_A)[place % 2]
        qtbot.keyClick(room.window.slice_view, answer)
        qtbot.keyClick(room.window.slice_view, Qt.Key.Key_N)
        meant.append((key, answer == Qt.Key.Key_P))
    room.open(SERIES[1])
    room.settle(qtbot)
    assert [(row.finding_key, row.present) for row in room.history()] == meant


def test_many_findings_are_stated_absent_at_once(qtbot: QtBot, room: ReadingRoom) -> None:
    keys = [row.key for row in room.models.findings.rows if row.positive is False][:5]
    room.models.feedback.absent(keys)
    room.settle(qtbot)
    assert [(row.finding_key, row.present) for row in room.history()] == [(key, False) for key in keys]
    assert room.models.findings.n_reviewed == 5


# -- marks --------------------------------------------------------------------------------------------------------


def test_marks_are_drawn_by_mouse_undone_removed_and_saved_where_they_are(qtbot: QtBot, room: ReadingRoom) -> None:
    select(room, True)
    viewer = room.models.viewer
    assert viewer.volume is not None
    press(qtbot, room, Qt.Key.Key_P, SHIFT)
    drag(room, (10.5, 21.0))
    press(qtbot, room, Qt.Key.Key_X, SHIFT)
    drag(room, (30.5, 21.0), (35.5, 30.0), (40.5, 41.0))
    press(qtbot, room, Qt.Key.Key_B, SHIFT)
    drag(room, (5.5, 61.0), (15.5, 61.0))
    assert [mark.kind for mark in viewer.marks.own] == ["point", "box", "mask"]
    assert "3 marks" in room.window.feedback_box.current.text()
    press(qtbot, room, Qt.Key.Key_Z, CONTROL)
    assert [mark.kind for mark in viewer.marks.own] == ["point", "box"]
    drag(room, (5.5, 61.0), (15.5, 61.0))
    assert room.history() == ()
    press(qtbot, room, Qt.Key.Key_P)
    point, box, mask = last(room).locations
    slice_uid = viewer.volume.sop_instance_uids[viewer.slice_index]
    assert {point.sop_instance_uid, box.sop_instance_uid, mask.sop_instance_uid} == {slice_uid}
    assert point.points_px == ((10.0, 10.0),)
    assert box.points_px == ((10.0, 30.0), (20.0, 40.0))
    place = viewer.volume.require_geometry().kji_to_lps(np.array([viewer.slice_index, 10.0, 10.0]))
    assert point.points_lps_mm[0] == pytest.approx(tuple(place))
    brushed = location_mask(mask, (40, 48))
    assert brushed[30, 5:16].all()
    assert brushed[29:32].any()
    assert not brushed[:28].any()
    assert not brushed[33:].any()
    viewer.probe_at(30.5, 21.0)
    press(qtbot, room, Qt.Key.Key_Delete)
    press(qtbot, room, Qt.Key.Key_S, CONTROL)
    assert [mark.kind for mark in last(room).locations] == ["point", "mask"]


def test_marks_lie_on_the_pixels_pressed_however_the_slice_is_turned(qtbot: QtBot, room: ReadingRoom) -> None:
    turned = make_volume(row_cosine=(0.0, 1.0, 0.0), column_cosine=(-1.0, 0.0, 0.0))
    room.open(SERIES[0], turned)
    room.settle(qtbot)
    select(room, True)
    viewer = room.models.viewer
    assert viewer.orientation.transpose
    viewer.tool = "point"
    drag(room, (20.5, 30.5))
    viewer.probe_at(20.5, 30.5)
    assert viewer.probe is not None
    mark = viewer.marks.own[0]
    assert mark.points_px == ((viewer.probe.row, viewer.probe.column),)
    assert viewer.probe.lps_mm == pytest.approx(mark.points_lps_mm[0])
    shown = viewer.orientation.shown_index(viewer.probe.row, viewer.probe.column, (40, 48))
    back = viewer.orientation.stored_index(int(shown[0]), int(shown[1]), (40, 48))
    assert back == (viewer.probe.row, viewer.probe.column)


def test_images_without_a_place_take_key_images_but_no_marks(qtbot: QtBot, room: ReadingRoom) -> None:
    room.open(SERIES[0], make_volume(located=False))
    room.settle(qtbot)
    select(room, True)
    room.models.viewer.tool = "point"
    drag(room, (10.5, 10.5))
    assert room.models.viewer.marks.own == ()
    assert "no position in space" in room.models.notices.notices[-1].message
    press(qtbot, room, Qt.Key.Key_K)
    press(qtbot, room, Qt.Key.Key_P)
    assert last(room).key_images == ("1.2.3.6",)
    assert room.window.command_actions["key_image"].isChecked()
    room.models.viewer.slice_index = 2
    assert not room.window.command_actions["key_image"].isChecked()
    press(qtbot, room, Qt.Key.Key_K)
    assert last(room).key_images == ("1.2.3.6", "1.2.3.2")
    press(qtbot, room, Qt.Key.Key_K)
    assert last(room).key_images == ("1.2.3.6",)


def test_what_is_drawn_is_seen_on_the_slice_and_can_be_hidden(qtbot: QtBot, room: ReadingRoom) -> None:
    select(room, True)
    view = room.window.slice_view
    without = view.grab().toImage()
    room.models.viewer.tool = "box"
    drag(room, (10.5, 21.0), (40.5, 61.0))
    assert view.grab().toImage() != without
    press(qtbot, room, Qt.Key.Key_K, SHIFT)
    room.models.viewer.probe_at(None)
    room.models.viewer.marks.visible = False
    hidden = view.grab().toImage()
    middle = QPoint(view.viewport().width() // 2, view.viewport().height() // 2)
    assert hidden.pixelColor(middle) == without.pixelColor(middle)


# -- who reads ----------------------------------------------------------------------------------------------------


def test_a_statement_without_a_reader_waits_until_somebody_is_named(qtbot: QtBot, rooms) -> None:  # type: ignore[no-untyped-def]
    room: ReadingRoom = rooms(reader="")
    room.open()
    room.settle(qtbot)
    assert "No reader chosen" in room.window.reader_text.text()
    select(room, True)
    press(qtbot, room, Qt.Key.Key_P)
    assert room.history() == ()
    asked = dialog(qtbot, room, ReadersDialog)
    qtbot.keyClicks(asked.name, "Dr Ünal")
    asked.role.setCurrentIndex(asked.role.findData("resident"))
    qtbot.keyClick(asked.name, Qt.Key.Key_Return)
    room.settle(qtbot)
    assert [(row.reader, row.present, row.mode) for row in room.history()] == [("Dr Ünal", True, "ai_seen")]
    assert room.window.reader_text.text().startswith("Reader: Dr Ünal")
    assert {"reader": "Dr Ünal"} in room.changes
    with Store.open(room.paths.store_file) as store:
        assert [(row.name, row.role, row.initials) for row in store.readers()] == [("Dr Ünal", "resident", "DÜ")]


@pytest.mark.parametrize(("reader", "ask", "asked"), [("Dr Test", True, 1), ("Dr Test", False, 0), ("", False, 1)])
def test_who_reads_is_asked_at_the_start(qtbot: QtBot, rooms, reader: str, ask: bool, asked: int) -> None:  # type: ignore[no-untyped-def]
    room: ReadingRoom = rooms(reader=reader, ask_reader=ask)
    _begin(SimpleNamespace(models=room.models), room.window, Namespace(quit_after_start=False, paths=[]))  # type: ignore[arg-type]
    room.settle(qtbot)
    assert len([found for found in room.window.findChildren(ReadersDialog) if found.isVisible()]) == asked


def test_readers_are_switched_by_keys_and_a_deactivated_one_cannot_read(qtbot: QtBot, room: ReadingRoom) -> None:
    room.reading.add_reader("Dr Chen", "radiologist", "")
    room.settle(qtbot)
    press(qtbot, room, Qt.Key.Key_R, CONTROL)
    asked = dialog(qtbot, room, ReadersDialog)
    names = [asked.list.item(place).text().split("   ")[0] for place in range(asked.list.count())]
    assert names == ["Dr Chen", "Dr Test"]
    assert asked.list.hasFocus()
    qtbot.keyClick(asked.list, Qt.Key.Key_Down)
    qtbot.keyClick(asked.list, Qt.Key.Key_Return)
    room.settle(qtbot)
    assert room.models.reading.reader == "Dr Test"
    press(qtbot, room, Qt.Key.Key_R, CONTROL)
    asked = dialog(qtbot, room, ReadersDialog)
    asked.list.setCurrentRow(0)
    qtbot.mouseClick(asked.active, Qt.MouseButton.LeftButton)
    room.settle(qtbot)
    assert asked.active.text() == "Take back"
    assert not asked.read.isEnabled()
    with Store.open(room.paths.store_file) as store:
        assert [row.name for row in store.readers()] == ["Dr Test"]


def test_a_second_reader_begins_with_an_empty_sheet(qtbot: QtBot, room: ReadingRoom) -> None:
    key = select(room, True)
    press(qtbot, room, Qt.Key.Key_P)
    room.reading.add_reader("Dr Chen", "radiologist", "")
    room.settle(qtbot)
    assert room.models.findings.row(key).feedback is None
    room.window.command_actions["others"].trigger()
    room.settle(qtbot)
    shown = room.models.findings.row(key).feedback
    assert shown is not None
    assert shown.reader == "Dr Test"
    press(qtbot, room, Qt.Key.Key_A)
    assert [(row.reader, row.present) for row in room.history()] == [("Dr Test", True), ("Dr Chen", False)]
    room.reading.choose_reader("Dr Test")
    room.settle(qtbot)
    shown = room.models.findings.row(key).feedback
    assert shown is not None
    assert (shown.reader, shown.answer) == ("Dr Test", "present")


# -- blind first read ---------------------------------------------------------------------------------------------


@pytest.fixture
def blind(rooms, qtbot: QtBot) -> ReadingRoom:  # type: ignore[no-untyped-def]
    room: ReadingRoom = rooms(blind_first_read=True)
    room.open()
    room.settle(qtbot)
    return room


def test_a_blind_read_is_stored_as_such_committed_and_later_changes_are_shown(qtbot: QtBot, blind: ReadingRoom) -> None:
    room, reading = blind, blind.models.reading
    box = room.window.feedback_box
    assert reading.hidden
    assert "hidden" in box.statement.text()
    assert "BLIND FIRST READ" in room.window.reader_text.text()
    key = room.models.findings.rows[0].key
    room.models.findings.selected_key = key
    press(qtbot, room, Qt.Key.Key_P)
    assert not box.reason.isVisible(), "reasons would tell whether the model differs"
    first = last(room)
    assert (first.mode, first.probability, first.model_digest) == ("blind", None, None)
    press(qtbot, room, Qt.Key.Key_C)
    asked = dialog(qtbot, room, EndBlindDialog)
    assert "1 of 75" in asked.counts.text()
    assert "1 present" in asked.counts.text()
    qtbot.keyClick(asked, Qt.Key.Key_Escape)
    assert reading.hidden
    press(qtbot, room, Qt.Key.Key_C)
    qtbot.keyClick(dialog(qtbot, room, EndBlindDialog), Qt.Key.Key_Return)
    room.settle(qtbot)
    assert not reading.hidden
    assert box.statement.text().startswith("Model: ")
    assert "hidden" not in box.statement.text()
    assert "Stated blind" in box.current.text()
    assert "read blind, committed" in room.window.reader_text.text()
    press(qtbot, room, Qt.Key.Key_A)
    changed = last(room)
    assert (changed.mode, changed.after_reveal, changed.present) == ("ai_seen", True, False)
    assert "Changed after seeing the model; before: present" in box.current.text()
    with Store.open(room.paths.store_file) as store:
        session = store.reading_session(SERIES[0], "Dr Test")
        assert session is not None
        events = [event.event for event in store.reading_events(session.id)]
        assert events == ["started", "committed", "revealed"]
        values = store.statement_matrix(mode="blind").values
        assert values.tolist() == [[1]], "what was said blind stays what was said blind"


def test_a_blind_second_reader_finds_no_trace_of_where_the_first_one_stopped(qtbot: QtBot, blind: ReadingRoom) -> None:
    room, models = blind, blind.models
    begun = (models.viewer.slice_index, models.findings.selected_key)
    assert not room.window.command_actions["agreement"].isEnabled()
    press(qtbot, room, Qt.Key.Key_P)
    press(qtbot, room, Qt.Key.Key_C)
    qtbot.keyClick(dialog(qtbot, room, EndBlindDialog), Qt.Key.Key_Return)
    room.settle(qtbot)
    assert room.window.command_actions["agreement"].isEnabled()
    models.viewer.slice_index = models.viewer.n_slices - 1
    models.findings.selected_key = models.findings.rows[-1].key
    room.reading.add_reader("Dr Chen", "radiologist", "")
    room.settle(qtbot)
    assert models.reading.hidden
    assert (models.viewer.slice_index, models.findings.selected_key) == begun
    for name in ("agreement", "adjudication"):
        assert not room.window.command_actions[name].isEnabled(), "what others said would tell"


def test_a_series_is_read_blind_only_once(qtbot: QtBot, blind: ReadingRoom) -> None:
    press(qtbot, blind, Qt.Key.Key_C, SHIFT)
    asked = dialog(qtbot, blind, EndBlindDialog)
    assert asked.stay.isDefault(), "Return must not show the model by itself"
    qtbot.mouseClick(asked.agree, Qt.MouseButton.LeftButton)
    blind.settle(qtbot)
    assert not blind.models.reading.hidden
    assert "switched off" in blind.window.reader_text.text()
    blind.open(SERIES[1])
    assert blind.models.reading.hidden, "hidden from the first moment, before the store has answered"
    blind.settle(qtbot)
    blind.open(SERIES[0])
    blind.settle(qtbot)
    assert not blind.models.reading.hidden
    with Store.open(blind.paths.store_file) as store:
        session = store.reading_session(SERIES[0], "Dr Test")
        assert session is not None
        assert [event.event for event in store.reading_events(session.id)] == ["started", "blind_off", "revealed"]


def test_an_answer_that_overtakes_the_commit_is_kept_as_given_with_the_model_in_view(
    qtbot: QtBot, blind: ReadingRoom
) -> None:
    key = blind.models.findings.rows[0].key
    blind.models.findings.selected_key = key
    blind.reading.commit()
    blind.window.feedback_box.give("absent")
    blind.settle(qtbot)
    assert [(row.mode, row.after_reveal, row.present) for row in blind.history()] == [("ai_seen", True, False)]
    assert not blind.models.notices.notices


def test_what_was_seen_cannot_be_read_blind(qtbot: QtBot, room: ReadingRoom) -> None:
    press(qtbot, room, Qt.Key.Key_B, CONTROL)
    assert not room.models.reading.hidden
    assert "cannot be read blind" in room.models.notices.notices[-1].message
    press(qtbot, room, Qt.Key.Key_B, CONTROL | SHIFT)
    assert room.models.reading.blind
    assert not room.models.reading.hidden
    room.open(SERIES[1], analysed=False)
    room.settle(qtbot)
    assert room.models.reading.hidden
    assert {"blind_first_read": True} in room.changes


def test_one_series_is_read_blind_before_its_analysis_is_there(qtbot: QtBot, room: ReadingRoom) -> None:
    room.open(SERIES[1], analysed=False)
    room.settle(qtbot)
    press(qtbot, room, Qt.Key.Key_B, CONTROL)
    assert room.models.reading.hidden
    with Store.open(room.paths.store_file) as store:
        session = store.reading_session(SERIES[1], "Dr Test")
        assert session is not None
        assert session.mode == "blind"


def test_an_export_leaves_out_what_the_reader_still_reads_blind(
    qtbot: QtBot, blind: ReadingRoom, tmp_path: Path
) -> None:
    blind.models.findings.selected_key = blind.models.findings.rows[0].key
    press(qtbot, blind, Qt.Key.Key_P)
    target = tmp_path / "corrections.csv"
    blind.feedback.export("csv", target)
    blind.settle(qtbot)
    assert "1 of studies that you still read blind" in blind.models.notices.notices[-1].message
    assert SERIES[0] not in target.read_text(encoding="utf-8")


def test_finishing_makes_the_study_reviewed_and_again_takes_it_back(qtbot: QtBot, room: ReadingRoom) -> None:
    from engine.store.workflow import WorklistQuery

    def state() -> str:
        with Store.open(room.paths.store_file) as store:
            rows = store.worklist(WorklistQuery()).rows
            return next(row.state for row in rows if row.series_uid == SERIES[0])

    press(qtbot, room, Qt.Key.Key_R)
    assert state() == "reviewed"
    assert "finished" in room.window.reader_text.text()
    press(qtbot, room, Qt.Key.Key_R)
    assert state() == "in_review"


# -- several readers ----------------------------------------------------------------------------------------------


@pytest.fixture
def differing(qtbot: QtBot, room: ReadingRoom) -> tuple[ReadingRoom, str]:
    """Two readers over three findings; they differ on one."""
    keys = [row.key for row in room.models.findings.rows[:3]]
    for reader, answers in (
        ("Dr Test", ("present", "absent", "present")),
        ("Dr Chen", ("absent", "absent", "present")),
    ):
        room.reading.choose_reader(reader)
        room.settle(qtbot)
        for key, answer in zip(keys, answers, strict=True):
            room.models.findings.selected_key = key
            room.window.feedback_box.give(answer)
        room.settle(qtbot)
    return room, keys[0]


def test_agreement_is_counted_and_a_disagreement_leads_to_its_finding(
    qtbot: QtBot, differing: tuple[ReadingRoom, str]
) -> None:
    room, key = differing
    room.open(SERIES[1])
    room.settle(qtbot)
    press(qtbot, room, Qt.Key.Key_G, CONTROL)
    shown = dialog(qtbot, room, AgreementDialog)
    text = shown.summary.text()
    assert "2 readers, 3 findings" in text
    assert "too few items" in text
    cells = [shown.pairs.item(0, column).text() for column in range(5)]
    assert cells[:4] == ["Dr Chen", "Dr Test", "3", "67 %"]
    assert cells[4].startswith("0.40"), "p_o = 2/3, p_e = (1*2 + 2*1)/9: (2/3 - 4/9)/(5/9)"
    assert shown.items.rowCount() == 1
    assert "Dr Chen: absent" in shown.items.item(0, 2).text()
    qtbot.keyClick(shown.items, Qt.Key.Key_Return)
    room.settle(qtbot)
    assert room.models.reading.series_uid == SERIES[0]
    assert room.models.findings.selected_key == key


def test_a_decision_stands_beside_the_readers_statements(qtbot: QtBot, differing: tuple[ReadingRoom, str]) -> None:
    room, key = differing
    room.reading.add_reader("Prof Osei", "adjudicator", "")
    room.settle(qtbot)
    press(qtbot, room, Qt.Key.Key_G, CONTROL | SHIFT)
    shown = dialog(qtbot, room, AdjudicationDialog)
    assert shown.items.rowCount() == 1
    qtbot.keyClicks(shown.comment, "seen on the prior")
    shown.items.setFocus()
    qtbot.keyClick(shown.items, Qt.Key.Key_P)
    room.settle(qtbot)
    with Store.open(room.paths.store_file) as store:
        decided = store.consensus(SERIES[0])
        assert {found: (row.reader, row.present, row.comment) for found, row in decided.items()} == {
            key: ("Prof Osei", True, "seen on the prior")
        }
        assert len(store.statement_matrix().readers) == 2, "a decision is nobody's reading"
    assert shown.items.item(0, 3).text() == "Present (Prof Osei)"
    shown.undecided.setChecked(True)
    assert shown.items.rowCount() == 0
