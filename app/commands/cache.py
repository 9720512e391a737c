"""cache: how full the cache of prepared volumes and slice features is; empty it."""

from __future__ import annotations

import argparse

from app.commands.base import Environment, say

NAME = "cache"
SUMMARY = "show how full the cache of prepared volumes and slice features is, or empty it"
ORDER = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--clear", action="store_true", help="remove everything in it")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Count, or remove."""
    from engine.inference.array_cache import ArrayCache

    limit_mb = environment.settings.cache_limit_mb
    cache = ArrayCache(environment.paths.arrays, limit_mb << 20)
    use = cache.clear() if arguments.clear else cache.use()
    what = "removed from" if arguments.clear else "in"
    say(f"{use.n_entries} entries, {use.n_bytes / 2**20:.1f} of {limit_mb} MiB, {what} {cache.folder}")
    return 0
