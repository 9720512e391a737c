"""The reader's own keys in place of the table's: what cannot be used is told, and the table's key holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence

from app.views.commands.base import Command

PORTABLE, NATIVE = QKeySequence.SequenceFormat.PortableText, QKeySequence.SequenceFormat.NativeText
_KEYS = Qt.Key
RESERVED = frozenset({_KEYS.Key_Tab, _KEYS.Key_Backtab, _KEYS.Key_Escape, _KEYS.Key_Return, _KEYS.Key_Enter})
NO_KEYS = frozenset(
    {_KEYS.Key_unknown, _KEYS.Key_Shift, _KEYS.Key_Control, _KEYS.Key_Alt, _KEYS.Key_AltGr, _KEYS.Key_Meta}
)
_PLAIN = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier)


def normal(key: str) -> str:
    """Return a key in Qt's portable spelling; empty where it names none, or several one after another."""
    sequence = QKeySequence.fromString(key, PORTABLE)
    if sequence.count() != 1 or sequence[0].key() in NO_KEYS:
        return ""
    return sequence.toString(PORTABLE)


def shown(key: str) -> str:
    """Return a key as this platform writes it."""
    return QKeySequence.fromString(key, PORTABLE).toString(NATIVE)


def refusal(commands: tuple[Command, ...], command_id: str, key: str) -> str:
    """Say why an action of the table cannot have a key; empty where it can. No key at all is always possible."""
    if not key:
        return ""
    if not normal(key):
        return f"“{key}” is not the name of one key."
    combination = QKeySequence.fromString(key, PORTABLE)[0]
    if combination.key() in RESERVED and combination.keyboardModifiers() in _PLAIN:
        return f"{shown(key)} is needed in dialogs and to move between the controls."
    owner = _owner(commands, command_id, normal(key))
    return "" if owner is None else f"{shown(key)} is the key of “{owner.text.rstrip('…')}”; change that one first."


def rebind(commands: tuple[Command, ...], chosen: Mapping[str, str]) -> tuple[tuple[Command, ...], tuple[str, ...]]:
    """Put the reader's keys into the table; return it with what could not be used, in words.

    Parameters
    ----------
    commands
        The table with its own keys, no two of which are the same.
    chosen
        Key sequence by action id; an empty one takes the action's keys away.
    """
    usable, problems = _usable(commands, chosen)
    while True:
        table = tuple(_with_key(command, usable) for command in commands)
        clash = _clash(table, usable)
        if clash is None:
            return table, tuple(problems)
        loser, owner, key = clash
        problems.append(f"{loser}: {key} is the key of {owner.id}; the default holds")
        del usable[loser]


def _usable(commands: tuple[Command, ...], chosen: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    known = {command.id for command in commands}
    usable: dict[str, str] = {}
    problems: list[str] = []
    for name, key in chosen.items():
        if name not in known:
            problems.append(f"{name}: there is no such action")
        elif reason := refusal((), name, key):
            problems.append(f"{name}: {reason} The default holds")
        else:
            usable[name] = normal(key)
    return usable, problems


def _with_key(command: Command, chosen: Mapping[str, str]) -> Command:
    if command.id not in chosen:
        return command
    key = chosen[command.id]
    return replace(command, shortcuts=(key,) if key else ())


def _clash(table: tuple[Command, ...], chosen: Mapping[str, str]) -> tuple[str, Command, str] | None:
    """Return the first chosen action whose key another one has, that other one, and the key."""
    for command in reversed(table):
        if command.id in chosen and command.shortcuts:
            owner = _owner(table, command.id, command.shortcuts[0])
            if owner is not None:
                return command.id, owner, command.shortcuts[0]
    return None


def _owner(commands: tuple[Command, ...], command_id: str, key: str) -> Command | None:
    others = (command for command in commands if command.id != command_id)
    return next((command for command in others if key in {normal(item) for item in command.shortcuts}), None)
