"""The command line: reads arguments, runs one command, turns errors into messages and exit codes. Imports no Qt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.commands.base import Command, Environment, Programs, discover, say
from app.errors import EXIT_DONE, EXIT_USAGE, exit_code, terminal_message

DESCRIPTION = """\
Review of non-contrast head CT with an explainable classifier of 75 findings.
Research use only. Not a medical device; not for diagnosis.

Without a command the window opens, on the PATHs if any are given."""
EPILOG = """\
exit codes: 0 done, 2 usage, 3 bad input, 4 out of scope, 5 environment, 6 a batch
in whose folder studies have no result for another reason than their scope, 70 a bug (with a report), 130 interrupted"""
FIXED_OPTIONS_WITH_VALUE = ("--home",)


def main(argv: Sequence[str], programs: Programs) -> int:
    """Run the program as `argv` (without its own name) says; the exit code."""
    commands = discover()
    arguments = list(argv)
    try:
        if _opens_window(arguments, commands):
            return _window(arguments, programs)
        parsed = build_parser(commands).parse_args(arguments)
        return commands[parsed.command].run(parsed, Environment(parsed.home, programs))
    except SystemExit as leaving:  # argparse's way to say "usage" or "help"
        return leaving.code if isinstance(leaving.code, int) else EXIT_USAGE
    except BrokenPipeError:
        sys.stderr.close()  # The reader of our output has gone, as in `… | head`; nothing is left to tell it.
        return EXIT_DONE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where a failure becomes an exit code
        say(terminal_message(error))
        return exit_code(error)


def build_parser(commands: dict[str, Command]) -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        usage="main.py [-h] [--home DIR] [PATH ... | COMMAND ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_home(parser)
    _add_window_options(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name, command in commands.items():
        command.add_arguments(subparsers.add_parser(name, help=command.SUMMARY, description=command.SUMMARY))
    return parser


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help="keep store, models, caches and settings in DIR (default: the platform's user folders)",
    )


def _add_window_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quit-after-start",
        action="store_true",
        help="with the window: print the seconds until it was usable, then quit (for benchmarks)",
    )


def _opens_window(arguments: list[str], commands: dict[str, Command]) -> bool:
    """Whether there is no command: nothing, or paths, stand after the options."""
    if "-h" in arguments or "--help" in arguments:
        return False
    words = iter(arguments)
    for word in words:
        if word in FIXED_OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word not in commands
    return True


def _window(arguments: list[str], programs: Programs) -> int:
    parser = argparse.ArgumentParser(prog="main.py", usage="main.py [--home DIR] [PATH ...]")
    _add_home(parser)
    _add_window_options(parser)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parsed = parser.parse_args(arguments)
    for path in parsed.paths:
        if not path.exists():
            parser.error(f"'{path}' is neither a command nor an existing file or folder; see main.py --help")
    return programs.window(Environment(parsed.home, programs), parsed)
