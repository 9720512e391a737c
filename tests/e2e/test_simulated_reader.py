"""A simulated reader: twenty phantom studies through the real window, keys only; the store holds what was meant."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QComboBox, QDialogButtonBox
from pytestqt.qtbot import QtBot

from app.operations.models import open_library
from app.settings import AppPaths
from app.views.dialogs.blind import EndBlindDialog
from app.views.dialogs.readers import ReadersDialog
from app.views.dialogs.rest_absent import RestAbsentDialog
from engine.findings.catalogue import URGENCY_ORDER, Catalogue
from engine.phantom.cohort import study_seed, write_dicom
from engine.phantom.study import generate
from engine.preprocess.spec import PreprocessSpec
from engine.store.reasons import REASONS, reason_kind
from engine.store.records import FeedbackRecord
from engine.store.repository import Store
from engine.store.workflow import WorklistQuery
from tests.support.models import write_random_package
from tests.support.program import Program
from tests.trainer.conftest import TINY_SPEC

pytestmark = [pytest.mark.gui, pytest.mark.slow]

N_STUDIES, SEED = 20, 2604
READERS = ("Dr Ames", "Dr Bell")
HANDOVER = 12  # the study before which the second reader sits down
BLIND = frozenset({1, 2, 6, 7, 8, 13, 17})  # read blind, by their place in the session
REST = frozenset({2, 5, 16})  # ended with the rest stated absent
KEYS = {"present": "P", "absent": "A", "unsure": "U"}
PRESENT = {"present": True, "absent": False, "unsure": None}
SIDES = (None, "left", "right", "bilateral", "midline", "not_applicable")  # as the box lists them


@dataclass(frozen=True)
class Row:
    """One row of the store, as far as it is the reader's."""

    finding_key: str
    verdict: str
    present: bool | None
    reader: str
    mode: str
    reason_code: str = ""
    laterality: str | None = None
    certainty: int | None = None
    comment: str = ""

    @classmethod
    def of(cls, record: FeedbackRecord) -> Row:
        values = (record.finding_key, record.verdict, record.present, record.reader, record.mode, record.reason_code)
        return cls(*values, record.laterality, record.certainty, record.comment)


@pytest.fixture
def program(tmp_path: Path, qtbot: QtBot, catalogue: Catalogue) -> Iterator[Program]:
    """The program over a model of 20 findings with random weights, and twenty phantoms to be imported."""
    paths = AppPaths.at(tmp_path / "home").create()
    coarse = PreprocessSpec(spacing_mm=(12.0, 3.2, 3.2), size_px=(64, 64), align=False)
    write_random_package(tmp_path / "package", tuple(catalogue)[:20], preprocessing=coarse)
    library = open_library(paths)
    library.activate(library.install(tmp_path / "package").digest)
    for index in range(N_STUDIES):
        write_dicom(generate(study_seed(SEED, index), TINY_SPEC), tmp_path / "studies" / f"{index:02d}")
    program = Program(tmp_path / "home", qtbot, reader=READERS[0])
    yield program
    program.close()


class Reader:
    """Reads by keys, and writes down what every key was meant to store."""

    def __init__(self, program: Program, rng: random.Random) -> None:
        self.program, self.rng = program, rng
        self.meant: dict[str, list[Row]] = {}
        self.stands: dict[str, list[Row]] = {}
        self.together: list[int] = []
        self.name, self.mode, self.uid = READERS[0], "ai_seen", ""
        self.calls: dict[str, bool | None] = {}
        self.log: list[str] = []

    # -- studies ------------------------------------------------------------------------------------------------

    def next_study(self, blind: bool) -> None:
        """Go on to the next study, read blind or not."""
        program = self.program
        if program.models.reading.blind != blind:
            program.press("Ctrl+Shift+B")
        program.press("Ctrl+N")
        program.until(lambda: program.models.worklist.current_uid not in (None, *self.meant))
        program.until(lambda: program.models.findings.status.kind == "analysed")
        program.saved()
        self.uid, self.mode = program.models.reading.series_uid or "", "blind" if blind else "ai_seen"
        self.meant[self.uid], self.stands, self.together, self.log = [], {}, [], []
        assert program.models.reading.hidden is blind
        with Store.open(program.paths.store_file) as store:
            analysis = store.latest_analysis(self.uid)
        assert analysis is not None
        self.calls = {finding.key: finding.positive if finding.covered else None for finding in analysis.findings}

    def hand_over(self, name: str) -> None:
        """Let another reader sit down."""
        self.program.press("Ctrl+R")
        dialog = self.program.dialog(ReadersDialog)
        while not dialog.name.hasFocus():
            self.program.press("Tab")
        self.program.type(name)
        self.program.press("Return")
        self.program.front()
        self.program.saved()
        self.name = name

    def finish(self) -> None:
        """End the blind read if it is one, change one's mind on one finding perhaps, and say that it is read."""
        program = self.program
        if self.mode == "blind":
            program.press("C")
            program.dialog(EndBlindDialog)
            program.press("Return")
            program.front()
            program.saved()
            assert not program.models.reading.hidden
            self.mode = "ai_seen"
            if self.rng.random() < 0.6:
                self.answer()
        program.saved()
        program.press("R")
        program.saved()

    # -- findings -----------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The finding that stands in the box, by what the window writes there."""
        title = self.program.window.feedback_box.title.text()
        (key,) = (row.key for row in self.program.models.findings.rows if row.finding.label == title)
        return key

    def move(self) -> None:
        """Go some findings on or back, or to the next one that is not reviewed."""
        ways = [["N"] * self.rng.randint(1, 5), ["Shift+N"], ["Alt+N"]]
        self.program.press(*self.rng.choice(ways))

    def answer(self) -> None:
        """State something on the finding in the box, in two cases of three with details."""
        answer = self.rng.choice(tuple(KEYS))
        self.program.press(KEYS[answer])
        standing = self.stands.get(self.key, [None])[-1]
        kept = {} if standing is None else {"laterality": standing.laterality, "comment": standing.comment}
        kept |= {} if standing is None else {"certainty": standing.certainty}
        reason = "" if standing is None else standing.reason_code
        row = self._row(answer, reason_code=reason, **kept)
        if reason not in self._reasons(row):
            row = self._row(answer, **kept)
        self._store(row)
        for detail in self.rng.sample((self.reason, self.side, self.certainty, self.comment), self.rng.randint(0, 2)):
            detail()

    def reason(self) -> None:
        """Choose why."""
        row = self.stands[self.key][-1]
        reasons = self._reasons(row)
        if self.mode == "blind" and row.present is not None:
            reasons = ()  # what one could choose from would give the model's call away
        box = self.program.window.feedback_box.reason
        assert box.isVisible() is bool(reasons)
        if reasons:
            place = self.rng.randint(1, len(reasons))
            self._choose(box, place)
            self._amend(reason_code=reasons[place - 1])

    def side(self) -> None:
        """Choose a side."""
        place = self.rng.randint(1, len(SIDES) - 1)
        self._choose(self.program.window.feedback_box.details.side, place)
        self._amend(laterality=SIDES[place])

    def certainty(self) -> None:
        """Choose a certainty."""
        box = self.program.window.feedback_box.details.certainty
        place = self.rng.randint(1, box.count() - 1)
        self._choose(box, place)
        self._amend(certainty=box.itemData(place))

    def comment(self) -> None:
        """Write a comment, with letters that are keys elsewhere."""
        text = f"unsure, compare prior {self.rng.randint(1, 999)}"
        field = self.program.window.feedback_box.comment
        self._go_to(field)
        self.program.press("Ctrl+A", "Del")
        self.program.type(text)
        self.program.press("Return")
        self._amend(comment=text)
        self._leave()

    def undo(self) -> None:
        """Take back the newest statement, with those that were stated in one go."""
        self.log.append("undo")
        self.program.saved()
        self.program.press("Ctrl+Z")
        self.program.saved()
        rows = self.meant[self.uid]
        standing = [row for rows in self.stands.values() for row in rows]
        if not standing:
            return
        n_gone = self.together.pop()
        gone = self._newest(n_gone)
        for row in gone:
            self.stands[row.finding_key].pop()
            if not self.stands[row.finding_key]:
                del self.stands[row.finding_key]
            rows.append(Row(row.finding_key, "withdrawn", None, row.reader, row.mode))

    def rest_absent(self) -> None:
        """State the rest absent: all in a blind read, else what the model does not call present."""
        program = self.program
        program.press("Ctrl+Shift+A")
        program.saved()  # what was just stated is saved, and the dialog counts anew
        dialog = program.dialog(RestAbsentDialog)
        accept = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
        while not accept.hasFocus():
            program.press("Tab")
        findings = {row.key: row.finding for row in program.models.findings.rows}
        silent = [key for key in findings if key not in self.stands]
        silent.sort(key=lambda key: URGENCY_ORDER[findings[key].urgency])
        meant = [key for key in silent if self.mode == "blind" or self.calls[key] is not True]
        assert accept.text() == f"State {len(meant)} absent"
        program.press("Space")
        program.front()
        program.saved()
        for key in meant:
            row = self._row("absent", key)
            self.meant[self.uid].append(row)
            self.stands.setdefault(key, []).append(row)
        self.together.append(len(meant))

    # -- what is meant ------------------------------------------------------------------------------------------

    def _row(self, answer: str, key: str | None = None, **details: object) -> Row:
        key = key or self.key
        present = PRESENT[answer]
        call = None if self.mode == "blind" else self.calls[key]
        verdict = "unsure" if present is None else ("agree" if present == (call is not False) else "disagree")
        return Row(key, verdict, present, self.name, self.mode, **details)  # type: ignore[arg-type]

    def _reasons(self, row: Row) -> tuple[str, ...]:
        shown = self.mode != "blind" and self.calls[row.finding_key] is not None
        kind = reason_kind(row.verdict, row.present, 0.5 if shown else None)  # type: ignore[arg-type]
        return () if kind is None else tuple(reason.code for reason in REASONS[kind])

    def _store(self, row: Row) -> None:
        self.log.append(f"meant {row}")
        self.meant[self.uid].append(row)
        self.stands.setdefault(row.finding_key, []).append(row)
        self.together.append(1)

    def _amend(self, **changes: object) -> None:
        standing = self.stands[self.key][-1]
        changed = replace(standing, mode=self.mode, **changes)  # type: ignore[arg-type]
        if changed != standing:
            self._store(changed)

    def _newest(self, count: int) -> list[Row]:
        """Return the newest statements that stand, the oldest of them first."""
        order = [
            row for row in self.meant[self.uid] if any(row is each for rows in self.stands.values() for each in rows)
        ]
        return order[-count:]

    # -- the keyboard -------------------------------------------------------------------------------------------

    def _go_to(self, field: object) -> None:
        """Walk with Tab from the details, which D opens, to a field of the box."""
        box = self.program.window.feedback_box
        if box.toggle.isChecked():
            self.program.press("D")
        self.program.press("D")
        for _ in range(20):
            if QApplication.focusWidget() is field:
                return
            back = field in (box.reason, box.comment)
            self.program.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"Tab does not lead to the field, but to {QApplication.focusWidget()}")

    def _choose(self, box: QComboBox, place: int) -> None:
        self._go_to(box)
        self.program.press("Alt+Down", "Home", *["Down"] * place, "Return")
        self._leave()

    def _leave(self) -> None:
        """Fold the details away: the keys of the window hold again."""
        box = self.program.window.feedback_box
        if QApplication.focusWidget() is box.comment:  # which takes letters for itself
            self.program.press("Tab")
        self.program.press("D")
        assert not box.details.isVisible()


def rows_of(program: Program, series_uid: str) -> list[Row]:
    """Return what the store holds of a series, oldest first."""
    return [Row.of(record) for record in program.history(series_uid)]


def test_twenty_studies_by_keys_leave_exactly_the_rows_that_were_meant(program: Program, tmp_path: Path) -> None:
    program.drop(tmp_path / "studies")
    program.until(lambda: program.models.worklist.total == N_STUDIES)
    program.analysed()
    program.press("Ctrl+Alt+K")
    program.settle()
    program.until(lambda: not program.models.queue.rows)
    program.press("R")  # the study that came into view on import is done with, and nothing is stated on it
    program.settle()
    first = program.models.worklist.current_uid
    assert first is not None
    reader = Reader(program, random.Random(SEED))
    reader.meant[first] = []
    for place in range(N_STUDIES - 1):
        if place == HANDOVER:
            reader.hand_over(READERS[1])
        reader.next_study(place in BLIND)
        for _ in range(reader.rng.randint(2, 4)):
            reader.move()
            reader.answer()
            if reader.rng.random() < 0.2:
                reader.undo()
        if place in REST:
            reader.rest_absent()
        if place == 5:
            reader.undo()
        reader.finish()
        assert rows_of(program, reader.uid) == reader.meant[reader.uid], "\n".join(reader.log)

    kept = {uid: rows_of(program, uid) for uid in reader.meant}
    assert kept == reader.meant, "what came later changed nothing of what came before"
    assert sum(map(len, kept.values())) > 250, "the script does something"
    with Store.open(program.paths.store_file) as store:
        page = store.worklist(WorklistQuery(limit=100))
        assert {row.series_uid for row in page.rows} == set(reader.meant)
        assert {row.state for row in page.rows} == {"reviewed"}
        modes = [store.reading_session(uid, name) for uid in reader.meant for name in READERS]
    assert sorted(session.mode for session in modes if session is not None) == (
        ["ai_seen"] * (N_STUDIES + 1 - len(BLIND)) + ["blind"] * len(BLIND)
    ), "one more than studies: the second reader sat down with the last one of the first in view"
    assert not [notice for notice in program.models.notices.notices if notice.severity in ("error", "warning")]
