"""Walks a tree of thousands of studies in portions, so that the first study is ready long before the last is seen.

A portion is what must be looked at together: the files of one folder, a ZIP archive, a NIfTI file. A study may lie in
several folders that follow each other in the walk, such as one a series; it is whole once a portion comes that has
nothing of it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.dicom.nifti import is_nifti
from engine.dicom.series import Series
from engine.progress import NULL_CONTEXT, Context

_ARCHIVE_SUFFIX = ".zip"


@dataclass(frozen=True)
class Portion:
    """Files that are scanned together.

    Attributes
    ----------
    place
        The folder, archive or file; names the portion.
    files
        All of them; the folder itself where it cannot be listed, so that the scan says why.
    """

    place: Path
    files: tuple[Path, ...]

    @cached_property
    def signature(self) -> str:
        """The sha256 of names, sizes and times of change: no file is opened for it."""
        digest = hashlib.sha256()
        for path in self.files:
            try:
                status = path.stat()
                line = f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            except OSError:
                line = f"{path.name}\0gone\n"
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FoundStudy:
    """All series of a study that lie together, and the portions that they lie in."""

    instance_uid: str
    series: tuple[Series, ...]
    portions: tuple[Portion, ...]

    @property
    def torn(self) -> bool:
        """Whether files of one series lie in several portions, which must then be scanned as one."""
        counts = Counter((series.dicom_series_uid, _place(series, self.portions)) for series in self.series)
        return len({uid for uid, _ in counts}) < len(counts)


class StudyGatherer:
    """Puts the portions of a walk together to studies."""

    def __init__(self) -> None:
        self._open: dict[str, FoundStudy] = {}

    def add(self, portion: Portion, series: Iterable[Series]) -> list[FoundStudy]:
        """Take the next portion of the walk; return the studies that have nothing in it, and so are whole."""
        found: dict[str, list[Series]] = {}
        for one in series:
            found.setdefault(one.study.instance_uid, []).append(one)
        whole = [self._open.pop(uid) for uid in list(self._open) if uid not in found]
        for uid, parts in found.items():
            before = self._open.get(uid, FoundStudy(uid, (), ()))
            self._open[uid] = FoundStudy(uid, (*before.series, *parts), (*before.portions, portion))
        return whole

    def rest(self) -> list[FoundStudy]:
        """Return the studies that are whole because the walk has ended."""
        whole = list(self._open.values())
        self._open.clear()
        return whole


def walk(root: Path, context: Context = NULL_CONTEXT) -> Iterator[Portion]:
    """Yield the portions of a tree, each as soon as its folder is listed; links to folders are not followed.

    Parameters
    ----------
    root
        A folder, or a single file.
    context
        Asked for cancellation before every folder.
    """
    if not root.is_dir():
        yield Portion(root, (root,))
        return
    context.raise_if_cancelled()
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        yield Portion(root, (root,))
        return
    files = [Path(entry.path) for entry in entries if entry.is_file()]
    together = tuple(path for path in files if not _stands_alone(path))
    if together:
        yield Portion(root, together)
    for path in files:
        if _stands_alone(path):
            yield Portion(path, (path,))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path), context)


def count_files(root: Path, context: Context = NULL_CONTEXT) -> int:
    """Count the files of a tree by listing its folders alone; folders that cannot be listed count as one."""
    return sum(len(portion.files) for portion in walk(root, context))


def _stands_alone(path: Path) -> bool:
    return path.suffix.lower() == _ARCHIVE_SUFFIX or is_nifti(path.name)


def _place(series: Series, portions: Iterable[Portion]) -> Path:
    """Return the portion that a series was found in."""
    path = series.instances[0].source.path
    places = {portion.place for portion in portions}
    return path if path in places else path.parent
