"""Who reads: choose, add, change, deactivate."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.actions import ReadingActions
from app.viewmodels.reading import ReaderRow, ReadingModel
from app.views.bindings import bind
from engine.store.workflow import READER_ROLES

UNNAMED_READER = "unnamed reader"
HINT = "Every statement carries this name, in the store and in exports."
CHOOSE = f"{HINT} ↑ ↓ choose, Return reads."
NOBODY_YET = f"{HINT} Nobody has read here yet: give your name, Return reads."


class ReadersDialog(QDialog):
    """The list of readers over a form that adds one, or changes the one chosen."""

    def __init__(self, model: ReadingModel, actions: ReadingActions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model, self._actions = model, actions
        self.setWindowTitle("Who reads?")
        self._make()
        self._lay_out()
        self.list.itemActivated.connect(lambda: self._read())
        self.list.currentItemChanged.connect(self._show_chosen)
        self.read.clicked.connect(self._read)
        self.active.clicked.connect(self._toggle_active)
        self.change.clicked.connect(self._change)
        self.add.clicked.connect(self._add)
        self.name.returnPressed.connect(self._add)
        self.initials.returnPressed.connect(self._add)
        self.anonymous.clicked.connect(self._anonymous)
        self.ask.toggled.connect(actions.set_ask_reader)
        self.name.textChanged.connect(self._show_chosen)
        bind(self, model.readers_changed, self._fill)
        self._fill()
        (self.list if self.list.count() else self.name).setFocus()

    def _make(self) -> None:
        self.list = QListWidget()
        self.list.setAccessibleName("Readers")
        self.read = QPushButton("Read in this name")
        self.active = QPushButton("Deactivate")
        self.change = QPushButton("Change role and initials")
        self.name = QLineEdit(maxLength=200)
        self.name.setAccessibleName("Name")
        self.role = QComboBox()
        self.role.setAccessibleName("Role")
        for role in READER_ROLES:
            self.role.addItem(role.capitalize(), role)
        self.initials = QLineEdit(placeholderText="made from the name", maxLength=16)
        self.initials.setAccessibleName("Initials")
        self.add = QPushButton("Add and read")
        self.anonymous = QPushButton("Read without a name")
        self.anonymous.setToolTip(f"Statements are saved as of “{UNNAMED_READER}” and cannot be told apart later")
        self.ask = QCheckBox("Ask at every start")
        self.ask.setChecked(self._model.ask_at_start)
        for button in (self.read, self.active, self.change, self.add, self.anonymous):
            button.setAutoDefault(False)

    def _lay_out(self) -> None:
        self.hint = QLabel(wordWrap=True)
        self.hint.setProperty("role", "muted")
        chosen = QHBoxLayout()
        for button in (self.read, self.change, self.active):
            chosen.addWidget(button)
        form = QFormLayout()
        form.addRow("Name", self.name)
        form.addRow("Role", self.role)
        form.addRow("Initials", self.initials)
        below = QHBoxLayout()
        below.addWidget(self.ask)
        below.addStretch(1)
        below.addWidget(self.anonymous)
        below.addWidget(self.add)
        column = QVBoxLayout(self)
        column.addWidget(self.hint)
        column.addWidget(self.list, 1)
        column.addLayout(chosen)
        column.addLayout(form)
        column.addLayout(below)
        self.resize(480, self.sizeHint().height())

    # -- from the model -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        chosen = self.chosen.name if self.chosen is not None else self._model.reader
        self.list.clear()
        for row in self._model.readers:
            item = QListWidgetItem(_line(row, row.name == self._model.reader))
            item.setData(Qt.ItemDataRole.UserRole, row.name)
            self.list.addItem(item)
            if row.name == chosen:
                self.list.setCurrentItem(item)
        if self.list.currentItem() is None and self.list.count():
            self.list.setCurrentRow(0)
        somebody = self.list.count() > 0
        self.hint.setText(CHOOSE if somebody else NOBODY_YET)
        self.name.setPlaceholderText("Name of another reader" if somebody else "Your name")
        for widget in (self.list, self.read, self.change, self.active):
            widget.setVisible(somebody)
        self._show_chosen()
        if self.list.count() and not self.name.text():
            self.list.setFocus()

    @property
    def chosen(self) -> ReaderRow | None:
        """The reader on whom the list stands."""
        item = self.list.currentItem()
        name = None if item is None else item.data(Qt.ItemDataRole.UserRole)
        return next((row for row in self._model.readers if row.name == name), None)

    def _show_chosen(self, *_: object) -> None:
        row, adding = self.chosen, bool(self.name.text().strip())
        self.read.setEnabled(row is not None and row.active)
        self.active.setEnabled(row is not None)
        self.active.setText("Deactivate" if row is None or row.active else "Take back")
        self.change.setEnabled(row is not None and not adding)
        self.add.setEnabled(adding)
        if row is not None and not adding:
            self.role.setCurrentIndex(max(self.role.findData(row.role), 0))
            self.initials.setText(row.initials)

    # -- from the reader ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self.chosen is not None and self.chosen.active:
            self._actions.choose_reader(self.chosen.name)
            self.accept()

    def _add(self) -> None:
        """Add whoever was typed; initials that still are another reader's are made anew from the name."""
        name = self.name.text().strip()
        if not name:
            return
        row = self.chosen
        initials = "" if row is not None and self.initials.text() == row.initials else self.initials.text().strip()
        self._actions.add_reader(name, self.role.currentData(), initials)
        self.accept()

    def _change(self) -> None:
        if self.chosen is not None:
            self._actions.update_reader(self.chosen.name, self.role.currentData(), self.initials.text().strip())

    def _toggle_active(self) -> None:
        if self.chosen is not None:
            self._actions.set_reader_active(self.chosen.name, not self.chosen.active)

    def _anonymous(self) -> None:
        self._actions.choose_reader(UNNAMED_READER)
        self.accept()


def _line(row: ReaderRow, reads: bool) -> str:
    state = "  —  reads now" if reads else ("" if row.active else "  —  deactivated")
    about = ", ".join(part for part in (row.initials, row.role) if part)
    return f"{row.name}   ({about}){state}"
