"""What the reader may set."""

from __future__ import annotations

from psygnal import Signal


class PreferencesModel:
    """The reader's name, which every verdict carries."""

    changed = Signal()

    def __init__(self, reader: str = "") -> None:
        self._reader = reader

    @property
    def reader(self) -> str:
        """The reader's name; empty means that none was given."""
        return self._reader

    @reader.setter
    def reader(self, reader: str) -> None:
        self._reader = reader.strip()
        self.changed.emit()
