"""Look into a watched folder: what is complete, and was not imported before.

Files that lie in one folder belong together and are taken together, an archive or a NIfTI file by itself. Such a
parcel is complete once nothing in it has changed for some seconds: a half-copied series is never read. What was taken
is remembered by a digest of names, sizes and times, across restarts; no path is written down.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DicomError, StoreError
from engine.progress import NULL_CONTEXT, Context

QUIET_S = 5.0
ALONE = (".zip", ".nii", ".nii.gz")
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".download")


@dataclass(frozen=True)
class Parcel:
    """Files that are imported together.

    Attributes
    ----------
    name
        Digest of where they lie below the folder.
    fingerprint
        Digest of their names, sizes and times of change.
    """

    name: str
    files: tuple[Path, ...]
    fingerprint: str


@dataclass(frozen=True)
class Look:
    """What lies in the folder: complete parcels not taken yet, and how many files are still arriving."""

    ready: tuple[Parcel, ...]
    n_arriving: int


class WatchMemory:
    """Which parcels were taken, in a file of digests."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._taken: dict[str, str] = {}

    def load(self) -> None:
        """Read the file; one that is missing or damaged is an empty one: importing again changes nothing."""
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(document, dict):
            self._taken = {str(key): str(value) for key, value in document.items()}

    def has(self, parcel: Parcel) -> bool:
        """Whether this parcel was taken as it is now."""
        return self._taken.get(parcel.name) == parcel.fingerprint

    def take(self, parcels: tuple[Parcel, ...]) -> None:
        """Remember parcels, durably.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        self._taken |= {parcel.name: parcel.fingerprint for parcel in parcels}
        temporary = self._file.with_name(f".{self._file.name}.new")
        try:
            with temporary.open("w", encoding="utf-8") as stream:
                json.dump(self._taken, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._file)
        except OSError as error:
            raise StoreError(
                f"{self._file} cannot be written ({error.strerror}): after a restart the watched folder is read again.",
                hint="Free some space, or correct the permissions of its folder.",
                code="watch.memory",
                kind="environment",
            ) from error


class FolderWatch:
    """A folder and what was seen in it; `look` again and again.

    Parameters
    ----------
    quiet_s
        How long nothing in a parcel may change before it counts as complete.
    clock
        A monotonic clock in seconds.
    """

    def __init__(
        self,
        folder: Path,
        memory: WatchMemory,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._memory = memory
        self._quiet_s, self._clock = quiet_s, clock
        self._seen: dict[str, tuple[str, float]] = {}
        self._refused: dict[str, str] = {}

    def look(self, context: Context = NULL_CONTEXT) -> Look:
        """Return what is complete and new.

        Raises
        ------
        DicomError
            If the folder is not there, or cannot be read.
        """
        now = self._clock()
        ready: list[Parcel] = []
        seen: dict[str, tuple[str, float]] = {}
        n_arriving = 0
        for parcel, state in self._parcels(context):
            if self._memory.has(parcel) or self._refused.get(parcel.name) == parcel.fingerprint:
                continue
            known = self._seen.get(parcel.name)
            since = known[1] if known is not None and known[0] == state else now
            seen[parcel.name] = (state, since)
            if state and now - since >= self._quiet_s:
                ready.append(parcel)
            else:
                n_arriving += len(parcel.files)
        self._seen = seen
        return Look(tuple(ready), n_arriving)

    def taken(self, parcels: tuple[Parcel, ...]) -> None:
        """Remember that these were imported; StoreError if that cannot be written down."""
        self._memory.take(parcels)

    def refuse(self, parcels: tuple[Parcel, ...]) -> None:
        """Leave these alone until they change, or the program is started again."""
        self._refused |= {parcel.name: parcel.fingerprint for parcel in parcels}

    def _parcels(self, context: Context) -> Iterator[tuple[Parcel, str]]:
        """Yield each parcel with its state, which also knows of changes that keep size and time; empty: incomplete."""
        root = str(self.folder)
        if not self.folder.is_dir():
            raise _missing(self.folder, "it is not there")
        for folder, folders, names in os.walk(root, onerror=_at_top(root)):
            context.raise_if_cancelled()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            together = [name for name in sorted(names) if not name.startswith(".") and not _alone(name)]
            groups = [("", together)] if together else []
            groups += [(name, [name]) for name in sorted(names) if _alone(name) and not name.startswith(".")]
            for label, members in groups:
                parcel = _parcel(root, folder, label, members)
                if parcel is not None:
                    yield parcel


def _alone(name: str) -> bool:
    return name.lower().endswith(ALONE)


def _parcel(root: str, folder: str, label: str, names: list[str]) -> tuple[Parcel, str] | None:
    described: list[tuple[object, ...]] = []
    changes: list[int] = []
    complete = True
    for name in names:
        try:
            status = os.stat(os.path.join(folder, name))
        except OSError:  # gone, or locked by whoever writes it
            complete = False
            continue
        described.append((name, status.st_size, status.st_mtime_ns))
        changes.append(status.st_ctime_ns)
        complete = complete and status.st_size > 0 and not name.lower().endswith(UNFINISHED)
    if not described:
        return None
    fingerprint = _digest(described)
    files = tuple(Path(folder) / str(item[0]) for item in described)
    where = (root, os.path.relpath(folder, root), label)
    return Parcel(_digest(where), files, fingerprint), f"{fingerprint}{_digest(changes)}" if complete else ""


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _at_top(root: str) -> Callable[[OSError], None]:
    """A folder below that cannot be read may be on its way; the watched one itself is told of."""

    def tell(error: OSError) -> None:
        if error.filename == root:
            raise _missing(Path(root), error.strerror or type(error).__name__) from error

    return tell


def _missing(folder: Path, reason: str) -> DicomError:
    return DicomError(
        f"The watched folder {folder} cannot be read: {reason}. It is looked for again.",
        hint="Connect the drive, or choose another folder.",
        code="watch.missing",
        kind="environment",
    )
