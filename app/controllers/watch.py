"""The watched folder: looked into every few seconds on the io lane, what is complete is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.controllers.queue import QueueController
from app.controllers.session import Session
from app.controllers.worklist import WorklistController
from app.operations.open_paths import open_paths, register_series
from app.operations.watch_folder import FolderWatch, Look, Parcel, WatchMemory
from app.viewmodels.watch import WatchKind, WatchState
from engine.errors import DicomError, HeadCTError
from engine.progress import Cancelled, Context
from engine.store.records import SeriesRow

if TYPE_CHECKING:
    from engine.dicom.scan import ScanReport
    from engine.store.repository import Store

POLL_MS = 3000
MISSING_POLL_MS = 10_000


@dataclass(frozen=True)
class Found:
    """One look: what was complete, as it was scanned, and how much is still arriving."""

    look: Look
    report: ScanReport | None


class WatchController:
    """Implements `WatchActions`."""

    def __init__(
        self,
        session: Session,
        queue: QueueController,
        worklist: WorklistController,
        change_settings: Callable[..., None],
    ) -> None:
        self._session, self._queue, self._worklist = session, queue, worklist
        self._change_settings = change_settings
        self._model = session.models.watch
        self._memory = WatchMemory(session.paths.data / "watched.json")
        self._generation = 0
        self._watch: FolderWatch | None = None
        settings = session.settings
        self._model.choose(settings.watch_folder, settings.watch_on, settings.watch_analyse)

    def start(self) -> None:
        """Begin to watch, if the reader wants that."""
        self._session.run(
            lambda context: self._memory.load(),
            lane="io",
            title="Reading what was imported",
            done=lambda _: self._follow(),
        )

    def choose(self, folder: str, on: bool, analyse: bool) -> None:
        """Watch a folder, or not; queue what arrives for analysis, or not."""
        self._model.choose(folder, on, analyse)
        self._change_settings(watch_folder=folder, watch_on=self._model.on, watch_analyse=analyse)
        self._follow()

    def toggle(self) -> None:
        """Stop watching, or go on."""
        self.choose(self._model.folder, not self._model.on, self._model.analyse)

    # Inside

    def _follow(self) -> None:
        self._generation += 1
        self._watch = FolderWatch(Path(self._model.folder), self._memory) if self._model.on else None
        if self._watch is not None:
            self._model.show(WatchState("watching"))
            self._look(self._generation)

    def _look(self, generation: int) -> None:
        """Look once, unless something else is watched by now; the next look follows the end of this one."""
        watch = self._watch
        if watch is None or generation != self._generation:
            return
        self._session.run(
            lambda context: self._find(watch, context),
            lane="io",
            title="Reading the watched folder",
            key="watch",
            done=lambda found: self._found(generation, watch, found),
            failed=lambda error: self._failed(generation, error),
            cancelled=lambda: self._again(generation, POLL_MS),
        )

    def _again(self, generation: int, wait_ms: int) -> None:
        if generation == self._generation:
            self._session.runner.gui.later(wait_ms, lambda: self._look(generation))

    def _find(self, watch: FolderWatch, context: Context) -> Found:
        """On the io lane: look, and scan what is complete."""
        look = watch.look(context)
        if not look.ready:
            return Found(look, None)
        try:
            report = open_paths([file for parcel in look.ready for file in parcel.files], context)
        except Cancelled:
            raise
        except DicomError as error:
            if error.code == "dicom.not_found":  # taken away meanwhile: looked at again
                return Found(Look((), look.n_arriving), None)
            watch.refuse(look.ready)
            raise
        except Exception:
            watch.refuse(look.ready)
            raise
        return Found(look, report)

    def _found(self, generation: int, watch: FolderWatch, found: Found) -> None:
        state = self._model.state
        kind: WatchKind = "arriving" if found.look.n_arriving else "watching"
        if found.report is None:
            if generation == self._generation:
                self._model.show(replace(state, kind=kind, n_arriving=found.look.n_arriving))
            self._again(generation, POLL_MS)
            return
        self._import(generation, watch, found.look.ready, found.report)

    def _import(self, generation: int, watch: FolderWatch, parcels: tuple[Parcel, ...], report: ScanReport) -> None:
        """List what was scanned; the study in view stays in view."""
        session = self._session
        session.scanned.update({series.instance_uid: series for series in report.series})

        def register(store: Store) -> tuple[str, ...]:
            before = {series.instance_uid: store.get_series(series.instance_uid) for series in report.series}
            register_series(store, report.series)
            watch.taken(parcels)
            return tuple(
                series.instance_uid
                for series in report.series
                if series.analysable and _is_news(before[series.instance_uid], series.n_slices)
            )

        def listed(news: tuple[str, ...]) -> None:
            self._worklist.refresh()
            if self._model.analyse:
                self._queue.add(news)
            if generation == self._generation:
                imported = self._model.state.n_imported + len(report.series)
                self._model.show(WatchState("watching", 0, imported, report.closing_text()))
            self._again(generation, POLL_MS)

        def failed(error: BaseException) -> None:
            watch.refuse(parcels)
            self._failed(generation, error)

        session.with_store(register, "Listing the series", listed, failed)

    def _failed(self, generation: int, error: BaseException) -> None:
        """Say so and look again: a folder that has vanished may come back."""
        missing = isinstance(error, HeadCTError) and error.code == "watch.missing"
        if not isinstance(error, HeadCTError):
            self._session.notify(error, "The watched folder was not imported")
        if generation == self._generation:
            text = error.message if isinstance(error, HeadCTError) else ""
            state = replace(self._model.state, kind="missing" if missing else "failed", n_arriving=0, text=text)
            self._model.show(state)
        self._again(generation, MISSING_POLL_MS if missing else POLL_MS)


def _is_news(before: SeriesRow | None, n_slices: int) -> bool:
    """Whether a series is new, or more of it has arrived."""
    return before is None or before.n_slices != n_slices
