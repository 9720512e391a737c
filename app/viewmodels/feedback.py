"""The feedback box: what the reader is about to state on the selected finding, and what stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from psygnal import Signal

from app.viewmodels.findings import FindingRow, FindingsModel
from app.viewmodels.reading import ReadingMode, ReadingModel
from app.viewmodels.statements import (
    ANSWER_LABELS,
    RELATION_LABELS,
    Answer,
    Draft,
    Statement,
    fitting_reasons,
    relation,
)
from app.viewmodels.viewer import ViewerModel
from engine.store.locations import Location
from engine.store.reasons import Reason

_Key = tuple[str, str, str]
_NOWHERE: _Key = ("", "", "")


class FeedbackModel:
    """Drafts by reader, series and finding; each lives until it is saved, and `given` asks for that.

    An answer is saved at once. Details of an answer that stands are saved when the reader leaves them: on Return, on
    another finding, another series, or by command. Details without an answer wait for it.
    """

    changed = Signal()
    given = Signal(tuple)

    def __init__(self, findings: FindingsModel, reading: ReadingModel, viewer: ViewerModel) -> None:
        self._findings, self._reading, self._viewer = findings, reading, viewer
        self._drafts: dict[_Key, Draft] = {}
        self._undo: dict[_Key, list[Draft]] = {}
        self._sent: dict[_Key, Draft] = {}
        self._selected: str | None = findings.selected_key
        viewer.marks.edited.connect(self._take_marks)
        findings.selected_changed.connect(self._follow_selection)
        findings.row_changed.connect(self._follow_row)
        findings.rows_changed.connect(self._show)
        reading.hidden_changed.connect(self._show)
        viewer.slice_changed.connect(self._follow_slice)

    # -- what is shown ------------------------------------------------------------------------------------------

    @property
    def row(self) -> FindingRow | None:
        """The selected finding."""
        return self._findings.selected

    @property
    def hidden(self) -> bool:
        """Whether the model's output is hidden from the reader."""
        return self._reading.hidden

    @property
    def can_judge(self) -> bool:
        """Whether there is a finding of a series to state something on."""
        return self.row is not None and self._reading.series_uid is not None

    @property
    def draft(self) -> Draft:
        """What stands in the box: what was changed, or else what stands."""
        row, key = self.row, self._key()
        if row is None or key is None:
            return Draft()
        return self._drafts.get(key, Draft.of(row.feedback))

    @property
    def unsaved(self) -> bool:
        """Whether the box holds something that is not saved."""
        return self._key() in self._drafts

    @property
    def positive(self) -> bool | None:
        """What the model calls it, as far as the reader may know."""
        return None if self.hidden or self.row is None else self.row.positive

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons that fit the answer in the box."""
        return self.reasons_for(self.draft.answer)

    def reasons_for(self, answer: Answer | None) -> tuple[Reason, ...]:
        """Return the reasons that fit an answer; in a blind read only those for being unsure give nothing away."""
        if self.row is None or (self.hidden and answer != "unsure"):
            return ()
        return fitting_reasons(answer, self.positive, self.row.value)

    @property
    def relation_text(self) -> str:
        """How the answer stands to the model's call, in words; empty where there is nothing to say."""
        if self.row is None or self.draft.answer is None or self.hidden:
            return ""
        if self.row.positive is None:
            return "the model says nothing to compare with"
        stands = relation(self.draft.answer, self.row.positive)
        return "" if stands is None else RELATION_LABELS[stands]

    @property
    def is_key_image(self) -> bool:
        """Whether the slice in view is a key image of the selected finding."""
        return bool(self._slice_uid()) and self._slice_uid() in self.draft.key_images

    def status_text(self, key_of: Callable[[str], str]) -> str:
        """Say in a line what stands, or what is not saved yet; `key_of` names the key of an action."""
        row, draft = self.row, self.draft
        if row is None:
            return ""
        if self.unsaved and draft.answer is None:
            return f"{_details(draft)}: saved with your answer, once you give it."
        if self.unsaved:
            return f"Changes not saved yet: {key_of('save_details') or 'save'}, or leave the finding."
        if row.feedback is None:
            return "Not reviewed."
        feedback = row.feedback
        parts = (ANSWER_LABELS[feedback.answer], self.relation_text, feedback.reader, feedback.time_text)
        return f"Saved: {' · '.join(part for part in parts if part)}"

    # -- from the reader ----------------------------------------------------------------------------------------

    def give(self, answer: Answer) -> None:
        """Ask for an answer on the selected finding to be saved, with all that stands in the box."""
        if self.row is None or not self.can_judge:
            return
        draft = replace(self.draft, answer=answer)
        if draft.reason_code not in {reason.code for reason in self.reasons_for(answer)}:
            draft = replace(draft, reason_code="")
        self._keep(draft, undoable=False)
        self._send(self.row, draft)

    def edit(self, **changes: Any) -> None:
        """Change details in the box; they are kept, and saved by `save`, `give` or on leaving."""
        if self.can_judge:
            self._keep(replace(self.draft, **changes))

    def amend(self, **changes: Any) -> None:
        """Change details, and save them if an answer stands."""
        self.edit(**changes)
        self.save()

    def save(self) -> bool:
        """Ask for what is not saved to be saved; False where an answer is missing or nothing is to be saved."""
        row, draft = self.row, self.draft
        if row is None or not self.unsaved or draft.answer is None or self._sent.get(self._key() or _NOWHERE) == draft:
            return False
        self._send(row, draft)
        return True

    def leave(self) -> None:
        """Save what can be saved before another series, reader or finding comes into view."""
        self._viewer.marks.cancel()
        self.save()

    def toggle_key_image(self) -> None:
        """Make the slice in view a key image of the selected finding, or no longer one; saved if an answer stands."""
        uid = self._slice_uid()
        if not uid or not self.can_judge:
            return
        images = self.draft.key_images
        self.amend(key_images=tuple(each for each in images if each != uid) if uid in images else (*images, uid))

    def remove_mark(self) -> bool:
        """Remove the mark of the selected finding under the pointer, else its newest on the slice in view."""
        probe = self._viewer.probe
        at = None if probe is None else (float(probe.row), float(probe.column))
        return self._viewer.marks.remove_at(self._viewer, at)

    def undo(self) -> bool:
        """Take back the last change that is not saved; False if there is none."""
        key = self._key()
        steps = self._undo.get(key) if key is not None else None
        if key is None or not steps:
            return False
        self._put(key, steps.pop())
        self._show()
        return True

    def absent(self, keys: Sequence[str]) -> None:
        """Ask for these findings to be saved as absent, all at once; an answer on its way to the store stays."""
        rows = [self._findings.row(key) for key in keys if not self._is_answered(key)]
        drafts = [(row, replace(Draft.of(row.feedback), answer="absent", reason_code="")) for row in rows]
        if self._reading.series_uid is not None and drafts:
            self.given.emit(tuple(self._statement(row, draft) for row, draft in drafts))

    def not_saved(self, statements: Sequence[Statement]) -> None:
        """Take note that these were not saved, so that leaving tries again."""
        for statement in statements:
            gone = [key for key in self._sent if key[1:] == (statement.series_uid, statement.finding_key)]
            for key in gone:
                del self._sent[key]

    def adopt(self, reader: str) -> None:
        """Hand what is not saved, and was drawn or written before anybody was named, to this reader."""
        for drafts in (self._drafts, self._undo):
            for key in [key for key in drafts if not key[0]]:
                drafts[(reader, *key[1:])] = drafts.pop(key)

    def forget(self, key: str) -> None:
        """Drop what is not saved of a finding, since its answer was withdrawn."""
        place = self._key(key)
        if place is not None:
            self._drafts.pop(place, None)
            self._undo.pop(place, None)
            self._sent.pop(place, None)
        self._show()

    # -- inside -------------------------------------------------------------------------------------------------

    def _key(self, finding: str | None = None) -> _Key | None:
        key, series_uid = finding or self._findings.selected_key, self._reading.series_uid
        return None if key is None or series_uid is None else (self._reading.reader, series_uid, key)

    def _keep(self, draft: Draft, *, undoable: bool = True) -> None:
        key = self._key()
        if key is None or draft == self.draft:
            return
        if undoable:
            self._undo.setdefault(key, []).append(self.draft)
        self._put(key, draft)
        self._show()

    def _put(self, key: _Key, draft: Draft) -> None:
        row = self.row
        if row is not None and draft == Draft.of(row.feedback):
            self._drafts.pop(key, None)
        else:
            self._drafts[key] = draft

    def _is_answered(self, finding: str) -> bool:
        """Say whether an answer was given on a finding that does not stand yet."""
        key = self._key(finding)
        draft = self._drafts.get(key) if key is not None else None
        return draft is not None and draft.answer is not None

    def _send(self, row: FindingRow, draft: Draft) -> None:
        """Ask for a statement to be saved. What is on its way is not sent again when the reader moves on."""
        key = self._key(row.key)
        if key is not None:
            self._sent[key] = draft
        self.given.emit((self._statement(row, draft),))

    def _statement(self, row: FindingRow, draft: Draft) -> Statement:
        seen = not self.hidden and row.covered
        uid = self._slice_uid()
        return Statement(
            series_uid=self._reading.series_uid or "",
            finding_key=row.key,
            content=draft,
            mode=self._mode(),
            sop_instance_uids=(uid,) if uid else (),
            model=None if self.hidden else self._findings.identity,
            probability=row.value if seen else None,
            positive=row.positive if seen else None,
        )

    def _mode(self) -> ReadingMode:
        """Return blind where nothing of a model has been seen: hidden, or not there yet."""
        nothing_seen = self._reading.session is None and self._findings.identity is None
        return "blind" if nothing_seen else self._reading.mode

    def _slice_uid(self) -> str:
        volume = self._viewer.volume
        return "" if volume is None else volume.sop_instance_uids[self._viewer.slice_index]

    def _take_marks(self, marks: tuple[Location, ...]) -> None:
        self.edit(locations=marks)

    def _follow_selection(self, key: str | None) -> None:
        before, self._selected = self._selected, key
        if before is not None:
            self._save_left(before)
        self._viewer.marks.cancel()
        self._show()

    def _save_left(self, finding: str) -> None:
        """Save what was changed of a finding that is no longer selected, if an answer stands on it."""
        key = self._key(finding)
        draft = self._drafts.get(key) if key is not None else None
        if key is None or draft is None or draft.answer is None or self._sent.get(key) == draft:
            return
        if any(row.key == finding for row in self._findings.rows):
            self._send(self._findings.row(finding), draft)

    def _follow_row(self, finding: str) -> None:
        """Drop a draft once it stands."""
        key = self._key(finding)
        standing = Draft.of(self._findings.row(finding).feedback)
        if key is not None and self._sent.get(key) == standing:
            del self._sent[key]
        if key is not None and self._drafts.get(key) == standing:
            del self._drafts[key]
            self._undo.pop(key, None)
        self._show()

    def _follow_slice(self, _: int) -> None:
        self._viewer.marks.cancel()
        self._show()

    def _show(self, *_: object) -> None:
        own = self.draft.locations
        others = {
            row.key: row.feedback.locations
            for row in self._findings.rows
            if row.feedback is not None and row.feedback.locations and row.key != self._findings.selected_key
        }
        self._viewer.marks.show(self._findings.selected_key if self.can_judge else None, own, others)
        self.changed.emit()


def _details(draft: Draft) -> str:
    parts = [
        f"{len(draft.locations)} mark{'s' if len(draft.locations) != 1 else ''}" if draft.locations else "",
        f"{len(draft.key_images)} key image{'s' if len(draft.key_images) != 1 else ''}" if draft.key_images else "",
        "details" if draft.comment or draft.laterality or draft.certainty is not None or draft.reason_code else "",
    ]
    return " and ".join(part for part in parts if part) or "Details"
