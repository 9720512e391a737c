"""What an action is, and the check that no two share an id or a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["window", "viewer"]
Group = Literal[
    "File", "Worklist", "View", "Tools", "Window presets", "Findings", "Why", "Reading", "Model", "Help"
]  # also the menus, in this order
GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True)
class Command:
    """One action.

    Attributes
    ----------
    id
        Stable and unique.
    shortcuts
        Portable key sequences; the first stands in menus and help.
    scope
        Whether the keys work in the whole window or only while the viewer has the focus.
    check_group
        Commands of one group are checkable and exclude each other.
    toolbar
        Whether it has a button.
    enabled
        Whether it can be done now; asked after every signal that its area's `Target.changes` names. None: always.
    is_on
        For something that is switched on and off: whether it is on. Asked at the same times.
    """

    id: str
    text: str
    shortcuts: tuple[str, ...]
    help: str
    group: Group
    handler: Callable[[], None]
    icon: str = ""
    scope: Scope = "window"
    check_group: str = ""
    toolbar: bool = False
    enabled: Callable[[], bool] | None = None
    is_on: Callable[[], bool] | None = None


def checked(commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Return the commands if no two share an id or a key; raise ValueError otherwise."""
    ids: set[str] = set()
    keys: dict[str, str] = {}
    for command in commands:
        if command.id in ids:
            raise ValueError(f"two actions have the id {command.id}")
        ids.add(command.id)
        for key in command.shortcuts:
            if key in keys:
                raise ValueError(f"the actions {keys[key]} and {command.id} share the key {key}")
            keys[key] = command.id
    return commands
