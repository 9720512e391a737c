"""The model library: list, install, activate, go back; the compute worker follows the active model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.controllers.rows import model_row
from app.controllers.session import Session
from app.viewmodels.notices import Notice

if TYPE_CHECKING:
    from app.operations.backbones import BackboneNeed
    from engine.models.library import BrokenPackage, LibraryEntry, ModelLibrary


@dataclass(frozen=True)
class LibraryView:
    """The library at one moment; per digest, why a package was refused (empty where it is whole), and what it needs."""

    entries: tuple[LibraryEntry, ...]
    damage: Mapping[str, str]
    needs: Mapping[str, BackboneNeed]
    active: LibraryEntry | None
    broken: tuple[BrokenPackage, ...]
    can_roll_back: bool


class LibraryController:
    """Keeps the model list, and tells when another model is active."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.on_activated: Callable[[], None] = lambda: None

    def refresh(self) -> None:
        """Read the library and warm up its active model; at start."""
        self._change(lambda library: None, "Reading the models", self._known)

    def _known(self) -> None:
        self._session.library_known = True
        self.on_activated()

    def reread(self) -> None:
        """Read the library again and have the worker try the active model again: something that it needs was added."""
        self._change(lambda library: None, "Reading the models", self.warm_up)

    def install(self, path: Path) -> None:
        """Verify a package and add it."""
        self._change(lambda library: library.install(path), f"Installing {path.name}")

    def activate(self, digest: str) -> None:
        """Use a model of the library from now on."""
        self._change(lambda library: library.activate(digest), "Activating the model", self._tell)

    def adopt(self, path: Path, then: Callable[[], None]) -> None:
        """Install a candidate and use it from now on."""

        def told() -> None:
            self._tell()
            then()

        self._change(lambda library: library.activate(library.install(path).digest), "Activating the candidate", told)

    def rollback(self) -> None:
        """Go back to the model that was active before."""
        self._change(lambda library: library.rollback(), "Going back to the model before", self._tell)

    def warm_up(self) -> None:
        """Have the worker load the active model, or at least torch."""
        session = self._session
        entry = session.active_model
        if entry is None:
            session.run(session.compute.start, lane="compute", title="Starting the compute worker")
            return
        path = str(entry.path)
        session.run(
            lambda context: session.compute.load_model(path, context), lane="compute", title="Loading the model"
        )

    def _change(
        self, change: Callable[[ModelLibrary], object], title: str, then: Callable[[], None] | None = None
    ) -> None:
        paths = self._session.paths

        def operation(context: object) -> LibraryView:
            from app.operations.backbones import needs_of
            from app.operations.models import damage_by_digest, open_library
            from engine.models.backbones.registry import open_registry

            library = open_library(paths)
            change(library)
            entries, damage = library.list(), damage_by_digest(library)
            registry = open_registry(paths.backbones)
            needs = {entry.digest: needs_of(entry, registry) for entry in entries}
            return LibraryView(entries, damage, needs, library.active(), library.broken(), library.can_roll_back)

        def done(view: LibraryView) -> None:
            self._show(view)
            if then is not None:
                then()

        self._session.run(operation, lane="library", title=title, done=done, cancellable=False)

    def _show(self, view: LibraryView) -> None:
        session = self._session
        before = session.active_model
        session.active_model = view.active
        rows = tuple(model_row(entry, view.damage[entry.digest], view.needs[entry.digest]) for entry in view.entries)
        session.models.library.set_rows(rows, view.can_roll_back)
        for package in view.broken:
            session.notify(package.error, "A model package cannot be used")
        if view.active is None or before is None or view.active.digest != before.digest:
            self.warm_up()
            self._read_record(view)

    def _read_record(self, view: LibraryView) -> None:
        """Let the findings panel say how the active model's numbers were measured."""
        session, entry = self._session, view.active
        if entry is None or view.damage[entry.digest]:
            return
        path, digest = entry.path, entry.digest

        def operation(context: object) -> dict[str, str]:
            from app.operations.track_record import track_record
            from engine.models.backbones.registry import open_registry

            return track_record(path, open_registry(session.paths.backbones))

        session.run(
            operation,
            lane="library",
            title="Reading how the model was measured",
            done=lambda texts: session.models.findings.set_measured(digest, texts),
            cancellable=False,
        )

    def _tell(self) -> None:
        entry = self._session.active_model
        if entry is not None:
            text = f"{entry.name} {entry.digest[:12]}: {entry.notice}"
            self._session.models.notices.post(Notice("info", "Model in use", text))
        self.on_activated()
