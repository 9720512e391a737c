"""Standing notices under the toolbar: the gravest one, how many more, details and dismiss."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.viewmodels.notices import Notice, NoticesModel
from app.views import theme
from app.views.bindings import bind

GRAVITY = {"info": 0, "warning": 1, "error": 2}


class NoticesBar(QFrame):
    """Shows `NoticesModel`; hidden while there is nothing to say."""

    def __init__(self, model: NoticesModel, resources: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.text = QLabel(wordWrap=True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.more = QLabel()
        self.more.setProperty("role", "muted")
        self.details = QToolButton(text="Details…")
        self.details.clicked.connect(self._open_details)
        self.dismiss = QToolButton(toolTip="Dismiss")
        self.dismiss.setIcon(theme.icon(resources, "close"))
        self.dismiss.clicked.connect(self._dismiss)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 3, 6, 3)
        row.addWidget(self.text, 1)
        row.addWidget(self.more)
        row.addWidget(self.details)
        row.addWidget(self.dismiss)
        bind(self, model.changed, self._show)
        self._show()

    @property
    def notice(self) -> Notice | None:
        """The notice shown: the gravest, and of these the newest."""
        return max(reversed(self._model.notices), key=lambda notice: GRAVITY[notice.severity], default=None)

    def _show(self) -> None:
        notice = self.notice
        self.setVisible(notice is not None)
        if notice is None:
            return
        self.setProperty("severity", notice.severity)
        self.style().unpolish(self)
        self.style().polish(self)
        title = f"{notice.title.rstrip('.')}."
        self.text.setText("  ".join(part for part in (title, notice.message, notice.hint) if part))
        others = len(self._model.notices) - 1
        self.more.setText(f"+{others} more" if others else "")
        self.details.setVisible(bool(notice.details))

    def _dismiss(self) -> None:
        if self.notice is not None:
            self._model.dismiss(self.notice)

    def _open_details(self) -> None:
        if self.notice is not None:
            dialog = NoticeDialog(self.notice, self.window())
            dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            dialog.open()


class NoticeDialog(QDialog):
    """One notice with its details, to be copied for support."""

    def __init__(self, notice: Notice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(notice.title)
        message = QLabel("\n\n".join(part for part in (notice.message, notice.hint) if part), wordWrap=True)
        details = QPlainTextEdit(notice.details, readOnly=True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (message, details, buttons):
            layout.addWidget(widget)
        self.resize(640, 360)
