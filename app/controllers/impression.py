"""The draft impression goes to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.controllers.session import Session
from app.operations.export_impression import export_impression, impression_formats
from app.viewmodels.actions import ExportFormat
from app.viewmodels.notices import Notice


class ImpressionController:
    """Implements `ImpressionActions`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def formats(self) -> Sequence[ExportFormat]:
        """List the exporters."""
        return tuple(ExportFormat(*item) for item in impression_formats())

    def export(self, format_key: str, path: Path, text: str) -> None:
        """Write a draft impression to `path`."""
        notices = self._session.models.notices
        self._session.run(
            lambda context: export_impression(format_key, path, text),
            lane="io",
            title="Saving the draft impression",
            done=lambda _: notices.post(Notice("info", "Draft impression saved", str(path))),
            cancellable=False,
        )
