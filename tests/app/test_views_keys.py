"""The reader's own keys: set live in the preferences, refused where another action has them, kept, told when bad."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialogButtonBox
from pytestqt.qtbot import QtBot

from app.settings import Settings, load_settings, save_settings
from app.viewmodels.review import ReviewModels
from app.views.commands.base import Command, checked
from app.views.commands.keys import normal, rebind, refusal
from app.views.dialogs.help import HelpDialog
from app.views.dialogs.preferences import PreferencesDialog
from app.views.main_window import MainWindow
from engine.findings.catalogue import Catalogue
from tests.support.window import RecordingActions, filled_models, show_window

pytestmark = pytest.mark.gui

Shown = tuple[MainWindow, RecordingActions]


@pytest.fixture
def models(catalogue: Catalogue) -> ReviewModels:
    return filled_models(catalogue)


@pytest.fixture
def shown(qtbot: QtBot, models: ReviewModels, resources: Path) -> Shown:
    window, actions = show_window(qtbot, models, resources)

    def set_keys(chosen: Mapping[str, str]) -> None:
        actions.calls.append(("set_keys", (dict(chosen),)))
        models.keys.choose(chosen)

    vars(actions)["set_keys"] = set_keys
    return window, actions


def preferences(window: MainWindow) -> PreferencesDialog:
    window.command_actions["preferences"].trigger()
    dialog = window.command_target.dialog("preferences")
    assert isinstance(dialog, PreferencesDialog)
    return dialog


def command(command_id: str, *keys: str) -> Command:
    return Command(command_id, command_id.title(), keys, "", "File", lambda: None)


TABLE = checked((command("open", "Ctrl+O"), command("fit", "F"), command("next", "Down", "Right"), command("about")))


def keys_of(table: tuple[Command, ...]) -> dict[str, tuple[str, ...]]:
    return {item.id: item.shortcuts for item in table}


def test_a_chosen_key_replaces_all_of_the_actions_keys() -> None:
    table, problems = rebind(TABLE, {"next": "ctrl+k", "about": "F2", "open": ""})
    assert keys_of(table) == {"open": (), "fit": ("F",), "next": ("Ctrl+K",), "about": ("F2",)}
    assert problems == ()


@pytest.mark.parametrize("key", ["no key", "Ctrl+K, Ctrl+L", "Ctrl", "Ctrl+Shift", "Tab", "Esc", "Return"])
def test_what_is_no_usable_key_is_told_and_the_default_holds(key: str) -> None:
    table, problems = rebind(TABLE, {"fit": key, "about": "F2"})
    assert keys_of(table)["fit"] == ("F",)
    assert keys_of(table)["about"] == ("F2",)
    assert len(problems) == 1
    assert problems[0].startswith("fit: ")


def test_keys_may_be_exchanged_but_never_shared() -> None:
    table, problems = rebind(TABLE, {"open": "F", "fit": "Ctrl+O"})
    assert (keys_of(table)["open"], keys_of(table)["fit"], problems) == (("F",), ("Ctrl+O",), ())
    table, problems = rebind(TABLE, {"open": "F"})
    assert keys_of(table) == keys_of(TABLE)
    assert "fit" in problems[0]
    table, problems = rebind(TABLE, {"open": "F9", "fit": "F9"})
    assert checked(table) == table
    assert len(problems) == 1
    # Without its own choice `fit` has F again, which `about` had hoped for.
    table, problems = rebind(TABLE, {"about": "F", "fit": "Ctrl+O"})
    assert keys_of(table) == keys_of(TABLE)
    assert len(problems) == 2


def test_an_unknown_action_is_told() -> None:
    _, problems = rebind(TABLE, {"gone": "F9"})
    assert problems == ("gone: there is no such action",)


def test_every_key_of_the_real_table_is_one_key_in_its_usual_spelling(shown: Shown) -> None:
    for item in shown[0].default_commands:
        for key in item.shortcuts:
            assert normal(key) == key
            assert refusal(shown[0].default_commands, item.id, key) == ""


def owner_of(window: MainWindow, key: str) -> Command:
    return next(item for item in window.commands if key in item.shortcuts)


def test_a_key_pressed_in_the_preferences_holds_at_once(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, actions = shown
    page = preferences(window).keys
    page.select("fit")
    qtbot.keyClick(page.edit, Qt.Key.Key_F8, Qt.KeyboardModifier.ControlModifier)
    assert actions.named("set_keys") == [({"fit": "Ctrl+F8"},)]
    assert "(Ctrl+F8)" in window.command_actions["fit"].toolTip()
    window.command_target.dialogs.close()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    window.slice_view.setFocus()
    models.viewer.zoom_by(4.0)
    qtbot.keyClick(window.slice_view, Qt.Key.Key_F)
    assert models.viewer.zoom == 4.0
    qtbot.keyClick(window.slice_view, Qt.Key.Key_F8, Qt.KeyboardModifier.ControlModifier)
    assert models.viewer.zoom == 1.0


def test_a_key_of_another_action_is_refused_and_its_owner_named(qtbot: QtBot, shown: Shown) -> None:
    window, actions = shown
    owner = owner_of(window, "A").text.rstrip("…")
    page = preferences(window).keys
    page.select("fit")
    qtbot.keyClick(page.edit, Qt.Key.Key_A)
    assert actions.named("set_keys") == []
    assert f"“{owner}”" in page.message.text()
    assert page.edit.keySequence().toString() == "F"
    page.select("about")
    assert f"“{owner}”" not in page.message.text()


def test_keys_are_taken_away_and_given_back(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    page = preferences(window).keys
    page.select("fit")
    assert not page.reset.isEnabled()
    assert not page.reset_all.isEnabled()
    qtbot.mouseClick(page.none, Qt.MouseButton.LeftButton)
    assert window.command_actions["fit"].shortcuts() == []
    page.select("smoothing")
    qtbot.keyClick(page.edit, Qt.Key.Key_F)
    page.select("fit")
    qtbot.mouseClick(page.reset, Qt.MouseButton.LeftButton)
    assert "Smoothing" in page.message.text()
    assert models.keys.chosen["fit"] == ""
    qtbot.mouseClick(page.reset_all, Qt.MouseButton.LeftButton)
    assert models.keys.chosen == {}
    assert [key.toString() for key in window.command_actions["fit"].shortcuts()] == ["F"]


def test_the_page_is_searched_by_action_and_key(qtbot: QtBot, shown: Shown) -> None:
    page = preferences(shown[0]).keys
    for words, expected in (("smoothing", "Smoothing"), ("f11", "Full screen")):
        page.search.setText(words)
        visible = [row for row in range(page.table.rowCount()) if not page.table.isRowHidden(row)]
        assert [page.table.item(row, 0).text() for row in visible] == [expected]


def test_texts_follow_the_keys(qtbot: QtBot, shown: Shown, models: ReviewModels) -> None:
    window, _ = shown
    window.command_actions["help"].trigger()
    dialog = window.command_target.dialog("help")
    assert isinstance(dialog, HelpDialog)
    models.keys.choose({"cancel": "Ctrl+F9", "preset_bone": "Ctrl+F8"})
    assert "Ctrl+F9" in dialog.text.toPlainText()
    assert "Ctrl+." not in dialog.text.toPlainText()
    assert "(Ctrl+F9)" in window.job_status.cancel.toolTip()
    assert any(window.presets.itemText(row) == "Ctrl+F8  Bone" for row in range(window.presets.count()))


def test_bad_keys_of_the_settings_become_one_notice(qtbot: QtBot, resources: Path) -> None:
    models = ReviewModels()
    models.keys.choose({"fit": "O", "gone": "F9", "about": "Ctrl+F2"})
    window, _ = show_window(qtbot, models, resources)
    (notice,) = models.notices.notices
    assert "fit: O is the key of overlays" in notice.message
    assert "gone" in notice.message
    assert [key.toString() for key in window.command_actions["fit"].shortcuts()] == ["F"]
    assert [key.toString() for key in window.command_actions["about"].shortcuts()] == ["Ctrl+F2"]


def test_keys_are_kept_in_the_settings_and_bad_ones_dropped_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    save_settings(file, Settings(keys={"fit": "Ctrl+K"}))
    assert load_settings(file).settings.keys == {"fit": "Ctrl+K"}
    file.write_text(json.dumps({"reader": "R", "keys": {"fit": "Ctrl+K", "about": 7, "next": "x" * 60}}))
    loaded = load_settings(file)
    assert loaded.settings == Settings(reader="R", keys={"fit": "Ctrl+K"})
    assert "keys.about" in loaded.problems[0]


def test_the_preferences_have_nothing_to_save(qtbot: QtBot, shown: Shown) -> None:
    window, _ = shown
    box = preferences(window).findChild(QDialogButtonBox)
    (close,) = box.buttons()
    qtbot.mouseClick(close, Qt.MouseButton.LeftButton)
    assert window.command_target.dialog("preferences") is None
