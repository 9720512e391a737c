"""Turns the table of commands into QActions, menus and the toolbar."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QComboBox, QMainWindow, QMenu, QToolBar, QWidget

from app.viewmodels.keys import KeysModel
from app.viewmodels.viewer import PRESETS, ViewerModel
from app.views import theme
from app.views.bindings import bind
from app.views.commands.base import GROUPS, Command
from app.views.commands.keys import shown

TOOLBAR_ORDER = (
    ("open_folder", "open_file", "analyse"),
    ("tool_pan", "tool_zoom", "tool_window", "tool_scroll", "tool_probe", "fit"),
    ("tool_point", "tool_box", "tool_brush"),
    ("presets",),
    ("volume", "export", "retrain", "models", "help"),
)
WITH_TEXT = frozenset({"open_folder", "open_file", "analyse", "volume", "export", "retrain", "models", "help"})
SHORT_TEXT = {"open_folder": "Folder", "open_file": "File", "volume": "3D", "export": "Export", "help": "Help"}


def make_actions(
    commands: tuple[Command, ...], window: QWidget, viewer: QWidget, resources: Path
) -> dict[str, QAction]:
    """Return one action per command, each attached to the widget in which its keys work."""
    actions: dict[str, QAction] = {}
    groups: dict[str, QActionGroup] = {}
    for command in commands:
        owner = viewer if command.scope == "viewer" else window
        action = QAction(command.text, owner)
        in_viewer = command.scope == "viewer"
        context = Qt.ShortcutContext.WidgetWithChildrenShortcut if in_viewer else Qt.ShortcutContext.WindowShortcut
        action.setShortcutContext(context)
        action.setStatusTip(command.help)
        if command.icon:
            action.setIcon(theme.icon(resources, command.icon))
        action.setCheckable(bool(command.check_group) or command.is_on is not None)
        if command.check_group:
            groups.setdefault(command.check_group, QActionGroup(window)).addAction(action)
        action.triggered.connect(lambda _=False, run=command.handler: run())
        owner.addAction(action)
        actions[command.id] = action
    set_keys(commands, actions)
    return actions


def set_keys(commands: tuple[Command, ...], actions: dict[str, QAction]) -> None:
    """Give every action the keys that its command has now, and name them in its tooltip."""
    for command in commands:  # all are taken away first: no key is ever on two actions
        actions[command.id].setShortcuts([])
    for command in commands:
        actions[command.id].setShortcuts([QKeySequence(key) for key in command.shortcuts])
        actions[command.id].setToolTip(tooltip(command))


def tooltip(command: Command) -> str:
    """Return text, key and help."""
    key = f" ({shown(command.shortcuts[0])})" if command.shortcuts else ""
    return f"{command.text.rstrip('…')}{key}" + (f"\n{command.help}" if command.help else "")


def refresh_actions(commands: tuple[Command, ...], actions: dict[str, QAction]) -> None:
    """Enable what can be done now and check what is on; a disabled button keeps its tooltip, which is its help."""
    for command in commands:
        if command.enabled is not None:
            actions[command.id].setEnabled(command.enabled())
        if command.is_on is not None:
            actions[command.id].setChecked(command.is_on())


def fill_menus(window: QMainWindow, commands: tuple[Command, ...], actions: dict[str, QAction]) -> None:
    """Add one menu per group."""
    for group in GROUPS:
        members = [actions[command.id] for command in commands if command.group == group]
        if not members:
            continue
        menu = QMenu(group, window)
        menu.setToolTipsVisible(True)
        menu.addActions(members)
        window.menuBar().addMenu(menu)


def make_toolbar(window: QMainWindow, actions: dict[str, QAction], presets: QComboBox) -> QToolBar:
    """Return the toolbar: files, tools, presets, the rest."""
    toolbar = QToolBar("Toolbar", window)
    toolbar.setObjectName("toolbar")
    toolbar.setMovable(False)
    toolbar.setIconSize(QSize(19, 19))
    toolbar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
    for place, names in enumerate(TOOLBAR_ORDER):
        if place:
            toolbar.addSeparator()
        for name in names:
            if name == "presets":
                toolbar.addWidget(presets)
            else:
                _add_button(toolbar, name, actions[name])
    return toolbar


def _add_button(toolbar: QToolBar, name: str, action: QAction) -> None:
    toolbar.addAction(action)
    button = toolbar.widgetForAction(action)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # reached by Tab; a click leaves the keys with the viewer
    if name in WITH_TEXT:
        action.setIconText(SHORT_TEXT.get(name, action.text().rstrip("…")))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)


class PresetBox(QComboBox):
    """The window presets with their keys; follows the viewer."""

    def __init__(self, viewer: ViewerModel, keys: KeysModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        for preset in PRESETS:
            self.addItem(preset.label, preset.key)
        self.setPlaceholderText("Custom window")
        self.setToolTip("Window preset")
        self.setAccessibleName("Window preset")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumWidth(140)
        self.activated.connect(self._choose)
        bind(self, viewer.window_changed, self._follow)
        bind(self, keys.changed, self._name_keys)
        self._name_keys()
        self._follow()

    def _name_keys(self) -> None:
        for place, preset in enumerate(PRESETS):
            self.setItemText(place, f"{self._keys.first(f'preset_{preset.key}')}  {preset.label}".strip())

    def _choose(self) -> None:
        self._viewer.set_preset(self.currentData())

    def _follow(self, *_: object) -> None:
        self.setCurrentIndex(-1 if self._viewer.preset is None else self.findData(self._viewer.preset))
