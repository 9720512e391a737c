"""Finds the tools of this package: every module that defines ``TOOL``. Toolbar, shortcuts and help derive from it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

import app.tools as package
from app.tools.base import Tool

NOT_TOOLS = frozenset({"base", "registry"})


@cache
def tools() -> Mapping[str, Tool]:
    """Return all tools by key, in toolbar order."""
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.name not in NOT_TOOLS)
    return index(importlib.import_module(f"{package.__name__}.{name}").TOOL for name in names)


def index(found: Iterable[Tool]) -> Mapping[str, Tool]:
    """Key the tools.

    Raises
    ------
    ValueError
        If two tools share a key or a shortcut.
    """
    by_key: dict[str, Tool] = {}
    by_shortcut: dict[str, str] = {}
    for tool in sorted(found, key=lambda item: item.order):
        if tool.key in by_key:
            raise ValueError(f"two tools have the key {tool.key}")
        if tool.shortcut in by_shortcut:
            raise ValueError(f"the tools {by_shortcut[tool.shortcut]} and {tool.key} share the key {tool.shortcut}")
        by_key[tool.key] = tool
        by_shortcut[tool.shortcut] = tool.key
    return MappingProxyType(by_key)
