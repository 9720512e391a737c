"""What all controllers share: the view-models, the runner, the store, and the series that is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import notice_from
from app.logs import log_error
from app.operations.feedback import Sheet, SheetOf
from app.operations.load_series import LoadedSeries
from engine.analysis import Analysis
from engine.dicom.series import Series
from engine.errors import StoreError
from engine.findings.catalogue import Catalogue
from engine.progress import Context

if TYPE_CHECKING:
    from app.jobs.compute_process import ComputeProcess
    from app.jobs.runner import Job, JobRunner
    from app.settings import AppPaths, Settings
    from app.viewmodels.review import ReviewModels
    from engine.models.library import LibraryEntry
    from engine.store.repository import Store

LANES = {"io": 2, "store": 1, "list": 1, "library": 1, "compute": 1, "training": 1}
STORE_BUSY_TIMEOUT_S = 10.0


class StoreHolder:
    """The store, opened on its lane by the first job there; later jobs of the lane find it open."""

    def __init__(self, url_or_path: str | Path) -> None:
        self._url_or_path = url_or_path
        self._store: Store | None = None

    def open(self) -> Path | None:
        """Open it; where an older store was copied before its migration, if it was."""
        # The database libraries take a quarter of a second to import: here, off the GUI thread, nobody waits for them.
        from engine.store.repository import Store

        self._store = Store.open(self._url_or_path, busy_timeout_s=STORE_BUSY_TIMEOUT_S)
        return self._store.migration_backup

    def close(self) -> None:
        """Close it."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def require(self) -> Store:
        """Return the open store.

        Raises
        ------
        StoreError
            If it could not be opened.
        """
        if self._store is None:
            raise StoreError(
                "The store is not open; nothing was saved.",
                hint="See the earlier message about the store, correct its cause and start the program again.",
                code="store.not_open",
                kind="environment",
            )
        return self._store


@dataclass
class OpenSeries:
    """The series in view. `feedback` is the reader's sheet of it."""

    uid: str
    loaded: LoadedSeries | None = None
    analysis: Analysis | None = None
    feedback: Sheet = field(default_factory=Sheet)


class Session:
    """Shared state. Everything here belongs to the GUI thread, except what the operations are handed."""

    def __init__(
        self,
        paths: AppPaths,
        settings: Settings,
        catalogue: Catalogue,
        models: ReviewModels,
        runner: JobRunner,
        compute: ComputeProcess,
    ) -> None:
        self.paths = paths
        self.settings = settings
        self.catalogue = catalogue
        self.models = models
        self.runner = runner
        self.compute = compute
        self.store = StoreHolder(settings.store_url or paths.store_file)
        self.scanned: dict[str, Series] = {}
        self.on_current: list[Callable[[str | None], None]] = []
        self._current: OpenSeries | None = None
        self.active_model: LibraryEntry | None = None
        self.library_known = False

    @property
    def current(self) -> OpenSeries | None:
        """The series in view. Whoever sets it tells `on_current` first, while the one before is still shown."""
        return self._current

    @current.setter
    def current(self, current: OpenSeries | None) -> None:
        for tell in self.on_current:
            tell(None if current is None else current.uid)
        self._current = current

    @property
    def sheet_reader(self) -> SheetOf:
        """Whose sheet is shown; others' statements too, where the reader wants that or nobody is named."""
        reading = self.models.reading
        return SheetOf(reading.reader, not reading.hidden and (reading.show_others or not reading.reader))

    def run(
        self,
        operation: Callable[[Context], Any],
        *,
        lane: str,
        title: str,
        done: Callable[[Any], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
        cancelled: Callable[[], None] | None = None,
        key: str | None = None,
        cancellable: bool = True,
    ) -> Job:
        """Queue an operation; a failure that nobody handles becomes a notice."""
        return self.runner.submit(
            operation,
            lane=lane,
            title=title,
            key=key,
            cancellable=cancellable,
            on_succeeded=done,
            on_failed=failed or (lambda error: self.notify(error, title)),
            on_cancelled=cancelled,
        )

    def with_store(
        self,
        operation: Callable[[Store], Any],
        title: str,
        done: Callable[[Any], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Queue work on the store; it is short and is never cancelled, so what was asked to be saved is saved."""
        self.run(
            lambda context: operation(self.store.require()),
            lane="store",
            title=title,
            done=done,
            failed=failed,
            cancellable=False,
        )

    def notify(self, error: BaseException, title: str) -> None:
        """Show an error and note it in the log."""
        log_error(error)
        self.models.notices.post(notice_from(error, title))

    def is_current(self, series_uid: str) -> bool:
        """Whether this series is in view."""
        return self.current is not None and self.current.uid == series_uid
