"""Details of a statement: side, certainty, marks on slices, key images."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.viewmodels.feedback import FeedbackModel
from app.viewmodels.keys import KeysModel
from app.viewmodels.marks import describe
from app.viewmodels.statements import LATERALITY_LABELS, Draft
from app.views import theme
from app.views.bindings import bind

CERTAINTIES = (100, 95, 90, 80, 70, 60, 50)
TOOLS = (("point", "point"), ("box", "box"), ("brush", "brush"))


class FeedbackDetails(QWidget):
    """What the reader alone can say: the model knows no side, and its probability is not the reader's certainty."""

    def __init__(self, model: FeedbackModel, resources: Path) -> None:
        super().__init__()
        self._model, self._how = model, ""
        self.side = QComboBox()
        self.side.setAccessibleName("Side")
        self.side.addItem("Side not stated", None)
        for code, label in LATERALITY_LABELS.items():
            self.side.addItem(label, code)
        self.side.setToolTip("Your own observation: the model says nothing about sides")
        self.certainty = QComboBox()
        self.certainty.setAccessibleName("Certainty")
        self.certainty.addItem("Certainty not stated", None)
        for percent in CERTAINTIES:
            self.certainty.addItem(f"{percent} % certain", percent)
        self.certainty.setToolTip("How sure you are of your answer; the model's probability is something else")
        self.marks = QLabel(wordWrap=True)
        self.marks.setProperty("role", "muted")
        self.key_image = QPushButton("Key image")
        self.key_image.setCheckable(True)
        self.key_image.setToolTip("The slice in view is one to show to others")
        self.remove = QPushButton(theme.icon(resources, "close"), "Remove mark")
        self.definition = QLabel(wordWrap=True)
        self.definition.setProperty("role", "muted")
        self._lay_out()
        self.side.activated.connect(lambda: model.amend(laterality=self.side.currentData()))
        self.certainty.activated.connect(lambda: model.amend(certainty=self.certainty.currentData()))
        self.key_image.clicked.connect(model.toggle_key_image)
        self.remove.clicked.connect(model.remove_mark)
        bind(self, model.changed, self._show)
        self._show()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(5)
        grid.addWidget(self.side, 0, 0)
        grid.addWidget(self.certainty, 0, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        places = QHBoxLayout()
        places.setSpacing(5)
        places.addWidget(self.key_image)
        places.addWidget(self.remove)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(grid)
        column.addWidget(self.marks)
        column.addLayout(places)
        column.addWidget(self.definition)

    def _show(self) -> None:
        model, draft = self._model, self._model.draft
        for widget in (self.side, self.certainty, self.key_image):
            widget.setEnabled(model.can_judge)
        self.side.setCurrentIndex(max(self.side.findData(draft.laterality), 0))
        if self.certainty.findData(draft.certainty) < 0:  # stated elsewhere, in other steps
            self.certainty.addItem(f"{draft.certainty} % certain", draft.certainty)
        self.certainty.setCurrentIndex(self.certainty.findData(draft.certainty))
        self.key_image.setChecked(model.is_key_image)
        self.remove.setEnabled(bool(draft.locations))
        self.marks.setText(f"{marks_text(draft)} {self._how}")
        self.definition.setText("" if model.row is None else model.row.finding.definition)

    @property
    def fields(self) -> tuple[QWidget, ...]:
        """What Tab walks through."""
        return self.side, self.certainty, self.key_image, self.remove

    def name_keys(self, keys: KeysModel) -> None:
        """Put the keys that hold behind the texts."""
        self.key_image.setText(f"Key image{keys.hint('key_image')}")
        self.remove.setText(f"Remove mark{keys.hint('remove_mark')}")
        tools = (f"{name}{keys.hint(f'tool_{tool}')}" for name, tool in TOOLS)
        self._how = f"Mark: {', '.join(tools)}."
        self._show()


def marks_text(draft: Draft) -> str:
    """Count marks and key images in words."""
    kinds = [describe(mark) for mark in draft.locations]
    counted = [f"{kinds.count(kind)} {kind}{'s' if kinds.count(kind) > 1 else ''}" for kind in dict.fromkeys(kinds)]
    slices = len({mark.sop_instance_uid for mark in draft.locations})
    marks = f"{', '.join(counted)} on {slices} slice{'s' if slices > 1 else ''}" if kinds else "No marks on slices"
    n_images = len(draft.key_images)
    images = f"{n_images} key image{'s' if n_images > 1 else ''}" if n_images else "no key images"
    return f"{marks}; {images}."
