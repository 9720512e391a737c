"""Small helpers that the backbone files share for mapping published tensor names. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def renamed(name: str, table: Mapping[str, str]) -> str | None:
    """Rename by whole leading components: the first row whose key is the name or a parent of it; None without one."""
    for ours, theirs in table.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    return None


def starting_with(names: Iterable[str], prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that are one of `prefixes` or, where a prefix ends in a dot, lie under it."""
    return tuple(name for name in names if any(_covers(prefix, name) for prefix in prefixes))


def _covers(prefix: str, name: str) -> bool:
    return name.startswith(prefix) if prefix.endswith(".") else name == prefix
