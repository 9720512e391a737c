"""Several readers: how far they agree, and who decides where they do not."""

from __future__ import annotations

from collections.abc import Callable

from app.controllers.session import Session
from app.operations.agreement import Compared, adjudicate, compare, read_statements
from app.viewmodels.notices import Notice
from app.viewmodels.statements import Answer

BLIND = "You still read this series blind: commit first."


class AgreementController:
    """Implements `AgreementActions`."""

    def __init__(self, session: Session, select_series: Callable[[str], None]) -> None:
        self._session, self._select = session, select_series
        self._asked = (False, False)

    def load(self, *, blind_only: bool, unsure_counts: bool) -> None:
        """Read on the store's lane, count on another: the libraries take a moment to import."""
        session = self._session
        reader = session.models.reading.reader
        self._asked = (blind_only, unsure_counts)

        def count(found: Compared) -> None:
            session.run(
                lambda context: compare(found, session.catalogue, blind_only=blind_only, unsure_counts=unsure_counts),
                lane="io",
                title="Comparing the readers",
                done=session.models.agreement.show,
                key="agreement",
            )

        session.with_store(
            lambda store: read_statements(store, reader, blind_only=blind_only), "Reading the statements", count
        )

    def adjudicate(self, series_uid: str, key: str, answer: Answer, comment: str) -> None:
        """Save the current reader's decision, and count again."""
        session = self._session
        reading = session.models.reading
        if not reading.reader:
            reading.want_reader()
            return
        if reading.hidden and reading.series_uid == series_uid:
            session.models.notices.post(Notice("info", "Still blind", BLIND))
            return
        reader = reading.reader
        session.with_store(
            lambda store: adjudicate(store, series_uid, key, answer, comment, reader),
            "Saving the decision",
            lambda _: self._decided(series_uid),
        )

    def open_item(self, series_uid: str, key: str) -> None:
        """Show a series and select a finding."""
        self._select(series_uid)
        self._session.models.findings.selected_key = key

    def _decided(self, series_uid: str) -> None:
        self._session.models.reading.touched.emit(series_uid)
        blind_only, unsure_counts = self._asked
        self.load(blind_only=blind_only, unsure_counts=unsure_counts)
