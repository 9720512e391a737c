"""Who else has this store open: asked once, at opening, to know whether an unfinished analysis is an orphan.

A lock of the operating system on a file beside the store answers it. The system drops the lock with its process,
however that ends, so no process number has to be trusted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO


class Presence:
    """A hold on ``<store>.lock`` for as long as the store is open.

    Attributes
    ----------
    alone
        True if nobody else had the store open when this hold was taken.
    """

    def __init__(self, store: Path) -> None:
        self._stream: BinaryIO = store.with_name(f"{store.name}.lock").open("ab")
        self.alone = _hold(self._stream)

    def release(self) -> None:
        """Let go; the lock file stays, since removing it would race with the next opener."""
        self._stream.close()


if sys.platform == "win32":
    import msvcrt

    def _hold(stream: BinaryIO) -> bool:
        """Lock the first byte. Later openers fail and take the first one's word that it is alive."""
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _hold(stream: BinaryIO) -> bool:
        """Try for the exclusive lock, then share it, so that the next opener sees that somebody is here."""
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        else:
            alone = True
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            # Another opener is between its two steps, or the file system has no locks: assume company.
            return False
        return alone
