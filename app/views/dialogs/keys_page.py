"""The keys of all actions: search, press a key to set it, take the table's own back."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReviewActions
from app.viewmodels.keys import KeysModel
from app.views.bindings import bind
from app.views.commands.base import Command
from app.views.commands.keys import PORTABLE, rebind, refusal, shown

COLUMNS = ("Action", "Area", "Key", "")
CHANGED = "changed"
PROMPT = "Choose an action, then press its new key in the box. It holds at once and is kept."


class KeysPage(QWidget):
    """Shows the table with the reader's keys; every change is asked for at once."""

    def __init__(
        self, commands: tuple[Command, ...], keys: KeysModel, actions: ReviewActions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._commands, self._keys, self._actions = commands, keys, actions
        self.search = QLineEdit(placeholderText="Search actions and keys")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.table = _make_table()
        self.table.itemSelectionChanged.connect(self._follow_selection)
        self.table.itemActivated.connect(lambda _: self.edit.setFocus())
        self.message = QLabel(PROMPT, wordWrap=True)
        self.name = QLabel()
        self.name.setProperty("role", "heading")
        self.edit = QKeySequenceEdit()
        self.edit.setMaximumSequenceLength(1)
        self.edit.setAccessibleName("New key")
        self.edit.keySequenceChanged.connect(self._pressed)
        self.none, self.reset = QPushButton("No key"), QPushButton("Reset")
        self.reset_all = QPushButton("Reset all")
        self.none.clicked.connect(lambda: self._ask(""))
        self.reset.clicked.connect(self._reset)
        self.reset_all.clicked.connect(lambda: actions.set_keys({}))
        self._lay_out()
        bind(self, keys.changed, self._show)
        self._show()
        self.table.selectRow(0)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.edit, 1)
        for button in (self.none, self.reset, self.reset_all):
            button.setAutoDefault(False)
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        for widget in (self.search, self.table, self.name):
            column.addWidget(widget)
        column.addLayout(buttons)
        column.addWidget(self.message)

    @property
    def selected(self) -> Command | None:
        """The action chosen in the table, as the table defines it."""
        items = self.table.selectedItems()
        wanted = items[0].data(Qt.ItemDataRole.UserRole) if items else None
        return next((command for command in self._commands if command.id == wanted), None)

    def select(self, command_id: str) -> None:
        """Choose an action."""
        self.table.selectRow([command.id for command in self._commands].index(command_id))

    def _show(self) -> None:
        current, _ = rebind(self._commands, self._keys.chosen)
        self.table.setRowCount(len(current))
        for row, (command, default) in enumerate(zip(current, self._commands, strict=True)):
            keys = ", ".join(shown(key) for key in command.shortcuts)
            own = CHANGED if command.shortcuts != default.shortcuts else ""
            for column, text in enumerate((command.text.rstrip("…"), command.group, keys, own)):
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, command.id)
                item.setToolTip(command.help)
                self.table.setItem(row, column, item)
        self._filter()
        self._follow_selection()
        self.reset_all.setEnabled(bool(self._keys.chosen))

    def _filter(self, *_: object) -> None:
        wanted = self.search.text().casefold()
        for row in range(self.table.rowCount()):
            texts = (self.table.item(row, column).text().casefold() for column in range(len(COLUMNS)))
            self.table.setRowHidden(row, not any(wanted in text for text in texts))

    def _follow_selection(self) -> None:
        command = self.selected
        self.name.setText("" if command is None else f"New key of “{command.text.rstrip('…')}”")
        for widget in (self.edit, self.none):
            widget.setEnabled(command is not None)
        self.reset.setEnabled(command is not None and command.id in self._keys.chosen)
        with QSignalBlocker(self.edit):
            self.edit.setKeySequence(QKeySequence() if command is None else self._key_of(command))
        self._say(PROMPT)

    def _key_of(self, command: Command) -> QKeySequence:
        return QKeySequence.fromString(self._keys.first(command.id), PORTABLE)

    def _pressed(self, sequence: QKeySequence) -> None:
        if not sequence.isEmpty():
            self._ask(sequence.toString(PORTABLE))

    def _ask(self, key: str) -> None:
        """Ask for this key unless it cannot be; then say why and leave everything as it was."""
        command = self.selected
        if command is None:
            return
        current, _ = rebind(self._commands, self._keys.chosen)
        reason = refusal(current, command.id, key)
        if reason:
            with QSignalBlocker(self.edit):
                self.edit.setKeySequence(self._key_of(command))
            self._say(f"Not changed: {reason}", "warning")
            return
        self._actions.set_keys({**self._keys.chosen, command.id: key})

    def _reset(self) -> None:
        command = self.selected
        if command is None:
            return
        current, _ = rebind(self._commands, self._keys.chosen)
        clash = "".join(refusal(current, command.id, key) for key in command.shortcuts)
        if clash:
            self._say(f"Not changed: {clash}", "warning")
            return
        self._actions.set_keys({name: key for name, key in self._keys.chosen.items() if name != command.id})

    def _say(self, text: str, role: str = "muted") -> None:
        self.message.setProperty("role", role)
        self.message.style().unpolish(self.message)
        self.message.style().polish(self.message)
        self.message.setText(text)


def _make_table() -> QTableWidget:
    table = QTableWidget(0, len(COLUMNS))
    table.setHorizontalHeaderLabels(COLUMNS)
    table.setAccessibleName("Actions and keys")
    table.setTabKeyNavigation(False)
    table.verticalHeader().setVisible(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
