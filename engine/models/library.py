"""The model packages of this installation: bundled and installed ones, and which of them is active. No torch here."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from engine.config import FrozenConfig
from engine.errors import PackageError
from engine.models.backbones.registry import BackboneRegistry
from engine.models.manifest import MANIFEST_FILE, Manifest, parse_json
from engine.models.package import install_files, read_manifest, read_package, verify_package

STATE_FILE = "active.json"
HISTORY_LIMIT = 50
_MIN_PREFIX = 4


class LibraryState(FrozenConfig):
    """What ``active.json`` holds: the active package, and the ones before it, the latest last."""

    schema_version: int = Field(default=1, ge=1, le=1)
    active: str | None = None
    history: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryEntry:
    """One package: its identity from the manifest, and where it lies."""

    name: str
    digest: str
    path: Path
    notice: str
    active: bool
    bundled: bool
    created: datetime
    n_findings: int


@dataclass(frozen=True)
class BrokenPackage:
    """A folder of the library whose manifest cannot be used, and why."""

    path: Path
    error: PackageError


class ModelLibrary:
    """Packages under `root` (installed) and `bundled` (shipped with the program, never written to).

    Parameters
    ----------
    root
        Holds ``<name>-<digest8>/`` per installed package, and ``active.json``. Made when it is first written to.
    bundled
        Holds one folder per shipped package; may be missing.
    registry
        Backbones to verify against; the installed ones by default.
    known_keys
        The catalogue's finding keys: a package that predicts another one is refused. None: any key will do.
    """

    def __init__(
        self,
        root: Path,
        bundled: Path,
        registry: BackboneRegistry | None = None,
        known_keys: Collection[str] | None = None,
    ) -> None:
        self._root = root
        self._bundled = bundled
        self._registry = registry
        self._known_keys = known_keys

    def list(self) -> tuple[LibraryEntry, ...]:
        """Return the packages whose manifests can be read, bundled ones first, then by time made.

        A package that is both bundled and installed appears once. Only manifests are read here; `find` verifies.
        """
        found: dict[str, LibraryEntry] = {}
        for path, manifest in self._manifests():
            if isinstance(manifest, Manifest):
                found.setdefault(manifest.digest, self._entry(path, manifest))
        active = self._active_digest(tuple(found.values()))
        entries = (replace(entry, active=entry.digest == active) for entry in found.values())
        return tuple(sorted(entries, key=lambda entry: (not entry.bundled, entry.created, entry.digest)))

    def broken(self) -> tuple[BrokenPackage, ...]:
        """Return the folders that hold a package which cannot be used."""
        return tuple(BrokenPackage(path, error) for path, error in self._manifests() if isinstance(error, PackageError))

    def find(self, name_path_or_digest: str) -> LibraryEntry:
        """Return the one package that is meant, verified.

        Parameters
        ----------
        name_path_or_digest
            A name, the start of a digest (at least 4 characters), or a path to a folder or ZIP. The library's own
            names come first, so that a file which happens to lie in the working folder cannot stand in for one.

        Raises
        ------
        PackageError
            If nothing matches, several packages do, or the one that does is damaged.
        """
        matches = self._matches(name_path_or_digest)
        if len(matches) > 1:
            raise _ambiguous(name_path_or_digest, matches)
        if matches:
            self._verify(matches[0].path)
            return matches[0]
        path = Path(name_path_or_digest)
        if not path.exists():
            raise self._unknown(name_path_or_digest)
        entry = self._entry(path, self._verify(path))
        return replace(entry, active=entry.digest == self._active_digest(self.list()))

    def install(self, path: Path) -> LibraryEntry:
        """Verify a package folder or ZIP and copy it into the library; it is not made active.

        Returns
        -------
        LibraryEntry
            The installed package; the one that is there already, if it is.

        Raises
        ------
        PackageError
            If it is refused, or cannot be written (kind ``environment``).
        """
        package = read_package(path, self._registry, self._known_keys)
        digest = package.manifest.digest
        for entry in self.list():
            if entry.digest == digest:
                self._verify(entry.path)
                return entry
        folder = self._root / f"{package.manifest.name}-{digest[:8]}"
        install_files(folder, package)
        return self._entry(folder, package.manifest)

    def activate(self, name_or_digest: str) -> LibraryEntry:
        """Verify a package of the library and make it the active one; the one before is remembered.

        Raises
        ------
        PackageError
            If it is not in the library, is ambiguous or damaged, or the choice cannot be saved.
        """
        matches = self._matches(name_or_digest)
        if len(matches) > 1:
            raise _ambiguous(name_or_digest, matches)
        if not matches:
            raise self._unknown(name_or_digest)
        entry = matches[0]
        self._verify(entry.path)
        previous = self._active_digest(self.list())
        history = self._state().history
        if previous is not None and previous != entry.digest:
            history = (*history, previous)[-HISTORY_LIMIT:]
        self._save(LibraryState(active=entry.digest, history=history))
        return replace(entry, active=True)

    def rollback(self) -> LibraryEntry:
        """Make the package active that was so before; one step back each time.

        Raises
        ------
        PackageError
            If there is none before, or it is gone or damaged; then nothing changes.
        """
        history = self._state().history
        if not history:
            raise PackageError(
                "There is no model to go back to: no other one was active before.",
                hint="Choose a model from the list and make it active.",
                code="library.no_history",
            )
        entry = self._by_digest(history[-1])
        self._verify(entry.path)
        self._save(LibraryState(active=entry.digest, history=history[:-1]))
        return replace(entry, active=True)

    def active(self) -> LibraryEntry | None:
        """Return the active package; before any choice the first bundled one; None where there is none.

        Raises
        ------
        PackageError
            If the active package is no longer there.
        """
        digest = self._active_digest(self.list())
        return None if digest is None else self._by_digest(digest)

    @property
    def can_roll_back(self) -> bool:
        """Whether another package was active before.

        Raises
        ------
        PackageError
            If the library's state cannot be read.
        """
        return bool(self._state().history)

    def _verify(self, path: Path) -> Manifest:
        return verify_package(path, self._registry, self._known_keys)

    def _active_digest(self, entries: tuple[LibraryEntry, ...]) -> str | None:
        chosen = self._state().active
        if chosen is not None:
            return chosen
        bundled = sorted((entry for entry in entries if entry.bundled), key=lambda entry: (entry.created, entry.digest))
        return bundled[0].digest if bundled else None

    def _by_digest(self, digest: str) -> LibraryEntry:
        for entry in self.list():
            if entry.digest == digest:
                return entry
        raise PackageError(
            f"The model {digest[:8]} is no longer in the library.",
            hint="Install it again, or make another model active.",
            code="library.gone",
            kind="environment",
        )

    def _matches(self, text: str) -> tuple[LibraryEntry, ...]:
        entries = self.list()
        named = tuple(entry for entry in entries if entry.name == text)
        if named or len(text) < _MIN_PREFIX:
            return named
        return tuple(entry for entry in entries if entry.digest.startswith(text.lower()))

    def _manifests(self) -> Iterator[tuple[Path, Manifest | PackageError]]:
        for parent in (self._bundled, self._root):
            for manifest_file in sorted(parent.glob(f"*/{MANIFEST_FILE}")):
                # A folder whose name starts with a dot is one that was being written when the power went.
                if manifest_file.parent.name.startswith("."):
                    continue
                try:
                    yield manifest_file.parent, read_manifest(manifest_file.parent)
                except PackageError as error:
                    yield manifest_file.parent, error

    def _entry(self, path: Path, manifest: Manifest) -> LibraryEntry:
        return LibraryEntry(
            name=manifest.name,
            digest=manifest.digest,
            path=path,
            notice=manifest.notice,
            active=False,
            bundled=path.parent == self._bundled,
            created=manifest.created,
            n_findings=len(manifest.finding_keys),
        )

    def _unknown(self, text: str) -> PackageError:
        known = ", ".join(f"{entry.name} ({entry.digest[:8]})" for entry in self.list()) or "none"
        return PackageError(
            f"No model {text} was found, neither in the library nor as a file; in the library: {known}.",
            hint="Give one of these names, the start of a digest, or the path of a package.",
            code="library.unknown",
        )

    def _state(self) -> LibraryState:
        path = self._root / STATE_FILE
        try:
            return LibraryState.model_validate(parse_json(path.read_bytes(), str(path)))
        except FileNotFoundError:
            return LibraryState()
        except (OSError, ValidationError, PackageError) as error:
            raise PackageError(
                f"{path} cannot be read, so it is not known which model is active.",
                hint="Delete this file; then the bundled model is active again.",
                code="library.state",
                kind="environment",
            ) from error

    def _save(self, state: LibraryState) -> None:
        path = self._root / STATE_FILE
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            _replace_file(path, json.dumps(state.model_dump(mode="json"), indent=2).encode())
        except OSError as error:
            raise PackageError(
                f"{path} cannot be written: {error.strerror}; the active model stays as it was.",
                hint="Make room on the disk and check the folder's permissions.",
                code="library.not_written",
                kind="environment",
            ) from error


def _replace_file(path: Path, content: bytes) -> None:
    """Write beside the file, then rename over it, so that a crash leaves the old or the new one."""
    handle, temporary = tempfile.mkstemp(prefix=".active-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _ambiguous(text: str, matches: tuple[LibraryEntry, ...]) -> PackageError:
    choices = ", ".join(f"{entry.name} {entry.digest[:12]}" for entry in matches)
    return PackageError(
        f"{text} may mean {len(matches)} models: {choices}.",
        hint="Give more of the digest.",
        code="library.ambiguous",
    )
