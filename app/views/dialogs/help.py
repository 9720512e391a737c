"""All keys, from the one table of commands, and the mouse."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QTextBrowser, QVBoxLayout, QWidget

from app.viewmodels.keys import KeysModel
from app.views.bindings import bind
from app.views.commands.base import GROUPS, Command
from app.views.commands.keys import shown

MOUSE = (
    ("Wheel", "Scroll slices"),
    ("Ctrl + wheel", "Zoom about the pointer"),
    ("Left drag", "The chosen tool"),
    ("Right drag", "Window: right widens, up brightens"),
    ("Middle drag", "Pan"),
    ("Double click", "Fit"),
    ("Click or drag in the evidence strip", "The viewer jumps to that slice"),
)
READING = (
    "The ledger splits a finding's logit exactly over slices, frozen path and experts; its bars and the bias add up to "
    "the logit. Attention is one distribution shared by all findings and is not evidence for one finding. The gate "
    "weights say which experts the router used on a slice, not why. The classifier makes no statement on left or "
    "right. A finding that the model does not cover has no value: that is not the same as absent."
)


class HelpDialog(QDialog):
    """A searchable list of the keys that hold now; `table` returns the window's actions with them."""

    def __init__(
        self, table: Callable[[], tuple[Command, ...]], keys: KeysModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._table = table
        self.setWindowTitle("Keys and help")
        self.search = QLineEdit(placeholderText="Search actions and keys")
        self.search.setClearButtonEnabled(True)
        self.text = QTextBrowser()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (self.search, self.text, buttons):
            layout.addWidget(widget)
        self.search.textChanged.connect(self._show)
        bind(self, keys.changed, self._show)
        self._show()
        self.resize(760, 640)

    def _show(self, *_: object) -> None:
        self.text.setHtml(help_html(self._table(), self.search.text()))


def help_html(commands: tuple[Command, ...], needle: str = "") -> str:
    """Return the list as rich text; only what contains `needle`."""
    wanted = needle.casefold()
    parts = [] if wanted else [f"<h3>Reading the reasons</h3><p>{READING}</p>"]
    mouse = [(name, text, "") for name, text in MOUSE]
    groups = [("Mouse", mouse)] + [(group, _rows(commands, group)) for group in GROUPS]
    for title, rows in groups:
        kept = [row for row in rows if wanted in " ".join(row).casefold()]
        if kept:
            lines = "".join(
                f"<tr><td width='26%'><b>{name}</b></td><td width='32%'>{text}</td>"
                f"<td style='color:#99a3ae'>{note}</td></tr>"
                for name, text, note in kept
            )
            parts.append(f"<h3>{title}</h3><table cellpadding='3' width='100%'>{lines}</table>")
    return "".join(parts) or "<p>Nothing found.</p>"


def _rows(commands: tuple[Command, ...], group: str) -> list[tuple[str, str, str]]:
    return [
        (
            ", ".join(shown(key) for key in command.shortcuts) or "menu",
            command.text.rstrip("…"),
            command.help,
        )
        for command in commands
        if command.group == group
    ]
