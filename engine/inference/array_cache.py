"""Arrays on disk by the hash of everything that they depend on: bounded, checked on reading, shared by processes.

An entry is one file, ``<folder>/<first two digits>/<key>.arrays``: a mark, the sha256 of the rest, and named arrays
with text beside them in safetensors' own layout. It is written beside its place and renamed, and its hash is checked
whenever it is read, so that a half-written or damaged file is never used: it is removed and made anew. For that reason
nothing is synced to the disk: after a power cut a file may be damaged, which costs its computation once more.

No lock is needed: a name stands for its content, so whoever writes it last writes the same. The oldest by use leave.
No torch here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import InferenceError

MARK = b"HCTarr1\n"
SUFFIX = ".arrays"
DIGEST_BYTES = 32
_PART_SUFFIX = ".part"
_ABANDONED_AFTER_S = 3600.0
_SLACK_SHARE = 16


class CacheError(InferenceError):
    """The cache cannot be written; what was to be kept is there all the same."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """One entry: named arrays, and text beside them."""

    arrays: Mapping[str, NDArray[Any]]
    text: Mapping[str, str]


@dataclass(frozen=True)
class CacheUse:
    """How full a cache is."""

    n_entries: int
    n_bytes: int


class ArrayCache:
    """A folder of entries.

    Parameters
    ----------
    folder
        Made with the first entry.
    limit_bytes
        How many bytes the entries may fill; None is no limit. One process keeps to it exactly; every further one that
        writes at the same moment may exceed it by a sixteenth, until the next entry is put.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._unseen_bytes: int | None = None

    def path(self, key: str) -> Path:
        """Return where the entry of this key is, or would be."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def get(self, key: str) -> Arrays | None:
        """Return an entry and mark it as used now; None if it is not there, or damaged: then it is removed."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        entry = _unpack(content)
        if entry is None:
            _remove(path)
        elif self.limit_bytes is not None:
            _touch(path)
        return entry

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]], text: Mapping[str, str] | None = None) -> None:
        """Keep an entry, whole or not at all; what was used longest ago leaves for it.

        An entry that is larger than the limit is not kept.

        Raises
        ------
        CacheError
            If it cannot be written.
        """
        content = _pack(arrays, text or {})
        if self.limit_bytes is not None and len(content) > self.limit_bytes:
            return
        path = self.path(key)
        self._make_room(len(content))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
        except OSError as error:
            raise CacheError(
                f"The cache folder {self.folder} cannot be written: {error.strerror or type(error).__name__}.",
                hint="Free some space, correct the permissions, or set the cache's limit to 0 to do without.",
                code="cache.unwritable",
                kind="environment",
            ) from error

    def use(self) -> CacheUse:
        """Count what is there."""
        found = self._files()
        return CacheUse(sum(path.suffix == SUFFIX for _, path, _ in found), sum(size for _, _, size in found))

    def clear(self) -> CacheUse:
        """Remove every entry; return what was there. Other processes go on, and compute again."""
        use = self.use()
        for _, path, _ in self._files():
            _remove(path)
        self._unseen_bytes = None
        return use

    def trim(self) -> CacheUse:
        """Let the oldest leave until the entries are within the limit, as after it was lowered; return what stays."""
        self._unseen_bytes = None
        self._make_room(0)
        return self.use()

    def _make_room(self, n_bytes: int) -> None:
        """Let the oldest leave until `n_bytes` more fit; count the files only when enough has been written for it."""
        if self.limit_bytes is None:
            return
        slack = self.limit_bytes // _SLACK_SHARE
        if self._unseen_bytes is not None and self._unseen_bytes + n_bytes <= slack:
            self._unseen_bytes += n_bytes
            return
        found = self._files()
        total = sum(size for _, _, size in found)
        room = self.limit_bytes - slack if n_bytes <= slack else self.limit_bytes
        for _, path, size in sorted(found):
            if total + n_bytes <= room:
                break
            if path.suffix == _PART_SUFFIX:
                continue  # Another process is writing it.
            total -= size if _remove(path) else 0
        self._unseen_bytes = 0 if total + n_bytes <= self.limit_bytes - slack else None

    def _files(self) -> list[tuple[int, Path, int]]:
        """List time of last use, path and size of every file; what a killed process left half-written is removed."""
        found = []
        for folder in _listing(self.folder):
            for path in _listing(folder):
                try:
                    status = path.stat()
                except OSError:
                    continue  # Another process has just removed it.
                abandoned = path.suffix == _PART_SUFFIX and time.time() - status.st_mtime > _ABANDONED_AFTER_S
                if path.suffix in (SUFFIX, _PART_SUFFIX) and not (abandoned and _remove(path)):
                    found.append((status.st_mtime_ns, path, status.st_size))
        return found


def array_key(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the sha256 of a kind of entry and all facts that it depends on; facts are plain JSON values."""
    document = json.dumps({"kind": kind, **facts}, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(document.encode("ascii")).hexdigest()


def array_digest(*arrays: NDArray[Any]) -> str:
    """Return the sha256 of arrays: dtypes, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode("ascii"))
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def code_digest(modules: Iterable[str]) -> str:
    """Return the sha256 of the sources of packages and modules, so that changed code never meets what old code made.

    They are found by name and not imported.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        roots = spec.submodule_search_locations
        for source in sorted(Path(roots[0]).rglob("*.py")) if roots else [Path(spec.origin)]:
            digest.update(source.name.encode("utf-8") + b"\0" + source.read_bytes())
    return digest.hexdigest()


def _pack(arrays: Mapping[str, NDArray[Any]], text: Mapping[str, str]) -> bytes:
    payload = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=dict(text))
    return MARK + hashlib.sha256(payload).digest() + payload


def _unpack(content: bytes) -> Arrays | None:
    """Return what `_pack` packed; None if one bit of it differs."""
    start = len(MARK) + DIGEST_BYTES
    payload = memoryview(content)[start:]
    if not content.startswith(MARK) or hashlib.sha256(payload).digest() != content[len(MARK) : start]:
        return None
    try:
        header = json.loads(bytes(payload[8 : 8 + int.from_bytes(payload[:8], "little")]))
        return Arrays(load(bytes(payload)), header.get("__metadata__", {}))
    except (SafetensorError, ValueError):
        return None


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{_PART_SUFFIX}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> bool:
    """Remove a file; False if it stays, as on Windows where another process reads it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _touch(path: Path) -> None:
    """Mark as used now; a folder that can only be read keeps its order of writing."""
    try:
        os.utime(path)
    except OSError:
        return


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # Not there yet, or a file of somebody else's.
