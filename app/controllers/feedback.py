"""Verdicts: saved on each click, withdrawn one by one, exported."""

from __future__ import annotations

from pathlib import Path

from app.controllers.rows import feedback_views
from app.controllers.session import Session
from app.operations.export_corrections import export_corrections
from app.operations.feedback import VerdictRequest, save_feedback, undo_feedback
from app.viewmodels.findings import Verdict
from app.viewmodels.notices import Notice
from engine.store.records import FeedbackRecord

UNNAMED_READER = "unnamed reader"


class FeedbackController:
    """The reader's verdicts on the series in view."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def submit_verdict(self, key: str, verdict: Verdict, reason: str, comment: str) -> None:
        """Save a verdict with what was on the screen in this moment."""
        session = self._session
        current = session.current
        if current is None:
            return
        request = VerdictRequest(
            series_uid=current.uid,
            finding_key=key,
            verdict=verdict,
            reason=reason,
            comment=comment,
            reader=self.reader,
            mode="blind" if current.analysis is None else "ai_seen",
            analysis=current.analysis,
            sop_instance_uids=self._slice_in_view(),
        )
        session.with_store(
            lambda store: save_feedback(store, request),
            "Saving the verdict",
            lambda standing: self._show(request.series_uid, standing),
        )

    def undo_verdict(self) -> None:
        """Withdraw the reader's newest verdict on the series in view."""
        session = self._session
        if session.current is None:
            return
        uid, reader = session.current.uid, self.reader

        def undone(result: tuple[FeedbackRecord | None, dict[str, FeedbackRecord]]) -> None:
            withdrawal, standing = result
            if withdrawal is None:
                session.models.notices.post(Notice("info", "Nothing to undo", "No verdict of yours stands here."))
            else:
                self._show(uid, standing)
                session.models.findings.selected_key = withdrawal.finding_key

        session.with_store(lambda store: undo_feedback(store, uid, reader), "Undoing the verdict", undone)

    def export(self, format_key: str, path: Path) -> None:
        """Write the corrections of all studies."""
        session = self._session

        def told(count: int) -> None:
            session.models.notices.post(Notice("info", "Corrections exported", f"{count} statements: {path}"))

        session.with_store(
            lambda store: export_corrections(store, session.catalogue, format_key, path),
            "Exporting corrections",
            told,
        )

    @property
    def reader(self) -> str:
        """Who gives the verdicts."""
        return self._session.models.preferences.reader or UNNAMED_READER

    def _show(self, series_uid: str, standing: dict[str, FeedbackRecord]) -> None:
        current = self._session.current
        if current is not None and current.uid == series_uid:
            current.feedback = standing
            self._session.models.findings.set_feedback(feedback_views(standing))

    def _slice_in_view(self) -> tuple[str, ...]:
        viewer = self._session.models.viewer
        if viewer.volume is None:
            return ()
        return (viewer.volume.sop_instance_uids[viewer.slice_index],)
