"""What every command shares: its shape, the registry that finds it, and what it may use."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.settings import AppPaths, Settings
    from engine.findings.catalogue import Catalogue
    from engine.inference.scored import ScoredStudies
    from engine.models.backbones.registry import BackboneRegistry
    from engine.progress import Context

INTERVAL_S = 2.0
NOT_COMMANDS = frozenset({"base"})


@dataclass(frozen=True)
class Programs:
    """What the command line must not import itself, Qt and torch's trainer: started by `main.py`.

    Attributes
    ----------
    window
        Opens the window; its exit code.
    shots
        Writes pictures of every screen into a folder; its exit code.
    train
        Configuration, output folder, context, folder of the user's backbones; returns a closing sentence.
    retrain
        Store, base package, output folder, reference cohort, context, folder of the user's backbones, manifests of
        cohorts whose test parts must not be learnt from; returns a closing sentence.
    evaluate
        What models said on labelled studies, folder for the results; returns a closing sentence.
    benchmark
        Configuration, output folder, context, folder of the user's backbones, the findings' labels by key, whether
        to run nothing; returns what to print.
    """

    window: Callable[[Environment, argparse.Namespace], int]
    shots: Callable[[Environment, Path], int]
    train: Callable[[Path, Path, Context, Path, bool], str]
    retrain: Callable[[str, Path, Path, Path, Context, Path, Sequence[Path]], str]
    evaluate: Callable[[ScoredStudies, Path], str]
    benchmark: Callable[[Path, Path, Context, Path, Mapping[str, str], bool], str]


class Environment:
    """Paths, settings and programs, made when a command first asks for them."""

    def __init__(self, home: Path | None, programs: Programs) -> None:
        self.home = home
        self.programs = programs

    @cached_property
    def paths(self) -> AppPaths:
        """The program's folders; made if they are not there."""
        from app.settings import AppPaths

        return AppPaths.at(self.home).create()

    @cached_property
    def settings(self) -> Settings:
        """The user's settings; what is wrong in the file is said on stderr."""
        from app.settings import load_settings

        loaded = load_settings(self.paths.settings_file)
        for problem in loaded.problems:
            say(f"settings: {problem}")
        return loaded.settings

    @cached_property
    def registry(self) -> BackboneRegistry:
        """The backbones, with the weights that the user brought."""
        from engine.models.backbones.registry import open_registry

        return open_registry(self.paths.backbones)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The 75 findings."""
        from engine.findings.catalogue import load_catalogue

        return load_catalogue(self.paths.catalogue_file)


class Command(Protocol):
    """A module of this package."""

    NAME: str
    SUMMARY: str
    ORDER: int

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, arguments: argparse.Namespace, environment: Environment) -> int:
        """Do it; the exit code. A HeadCTError that leaves here is reported by the caller."""


def discover() -> dict[str, Command]:
    """Return the commands by name, in their order.

    Raises
    ------
    ValueError
        If two files claim one name.
    """
    package = importlib.import_module("app.commands")
    modules = (item.name for item in pkgutil.iter_modules(package.__path__))
    names = [name for name in modules if name not in NOT_COMMANDS and not name.startswith("_")]
    commands: dict[str, Command] = {}
    for module in sorted((importlib.import_module(f"app.commands.{name}") for name in names), key=lambda m: m.ORDER):
        if module.NAME in commands:
            raise ValueError(f"two files claim the command {module.NAME}")
        commands[module.NAME] = module
    return commands


class ConsoleContext:
    """Tells of progress on stderr, a line at most every two seconds; Ctrl+C ends the run."""

    def __init__(self) -> None:
        self._last: tuple[float, str] = (-INTERVAL_S, "")

    def progress(self, done: int, total: int, text: str) -> None:
        """Print a line, unless the one before is too fresh."""
        now_s = time.monotonic()
        line = f"{text} ({done}/{total})" if total else text
        if line != self._last[1] and (now_s - self._last[0] >= INTERVAL_S or done == total):
            self._last = now_s, line
            say(line)

    def raise_if_cancelled(self) -> None:
        """Return: Ctrl+C arrives as KeyboardInterrupt."""


def say(text: str) -> None:
    """Tell the person something on stderr; stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


def require_existing(path: Path, what: str) -> Path:
    """Return the path.

    Raises
    ------
    HeadCTError
        If nothing is there.
    """
    from engine.errors import HeadCTError

    if not path.exists():
        raise HeadCTError(f"The {what} {path} does not exist.", hint="Check the path.", code="input.not_found")
    return path
