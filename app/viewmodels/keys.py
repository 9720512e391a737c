"""Which keys the actions have now, and which of them the reader chose."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from psygnal import Signal


class KeysModel:
    """`chosen` is the reader's own choice by action id; `keys` is what holds, once the window has its table."""

    chosen_changed = Signal()
    changed = Signal()

    def __init__(self, chosen: Mapping[str, str] | None = None) -> None:
        self._chosen = dict(chosen or {})
        self._keys: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def chosen(self) -> Mapping[str, str]:
        """Key sequence by action id, as portable text; an empty one takes the action's keys away."""
        return MappingProxyType(self._chosen)

    def choose(self, chosen: Mapping[str, str]) -> None:
        """Replace the reader's choice; an open window follows at once."""
        self._chosen = dict(chosen)
        self.chosen_changed.emit()

    def set_keys(self, keys: Mapping[str, tuple[str, ...]]) -> None:
        """Tell which keys hold; the window does, which has the table."""
        self._keys = MappingProxyType(dict(keys))
        self.changed.emit()

    def first(self, command_id: str) -> str:
        """Return the key that stands beside an action in texts; empty where it has none."""
        return next(iter(self._keys.get(command_id, ())), "")

    def hint(self, command_id: str) -> str:
        """Return that key in brackets with a space before it, to be put behind a text; empty where there is none."""
        key = self.first(command_id)
        return f" ({key})" if key else ""
