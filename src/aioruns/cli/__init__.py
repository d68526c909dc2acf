"""The command ``aioruns``: what all its commands share. Each command has a module of its own.

A command's module has ``add_parser(commands)``, which sets the default ``command`` to a function that takes the parsed
arguments and returns an exit code. This module turns what that function raises into a message and an exit code.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from aioruns import ConfigurationError, RunConflict, RunError, RunNotFound, StoreUnavailable
from aioruns.cli import _demo, _serve
from aioruns.cli._exit import ExitCode, UsageError
from aioruns.cli._terminal import safe

__all__ = ["main"]

_COMMANDS = (_demo, _serve)
_EXIT_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (ConfigurationError, ExitCode.USAGE),
    (RunNotFound, ExitCode.NOT_FOUND),
    (RunConflict, ExitCode.CONFLICT),
    (StoreUnavailable, ExitCode.STORE_UNAVAILABLE),
    (RunError, ExitCode.FAILED),
    (UsageError, ExitCode.USAGE),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after ``aioruns``; those of this process by default.

    Returns:
        The exit code: 0 success, 1 the run did not complete, 2 usage, 3 not found, 4 conflict, 5 store unavailable.
    """
    options = _parser().parse_args(arguments)
    # The commands themselves report what the library and the server log.
    for name in ("aioruns", "uvicorn"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    # The demo parses other people's Python files; warnings about these do not concern the user.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        return options.command(options)
    except tuple(kind for kind, _ in _EXIT_CODES) as error:
        print(f"aioruns: {safe(str(error))}", file=sys.stderr)
        return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        print("aioruns: interrupted", file=sys.stderr)
        return ExitCode.FAILED
    except BrokenPipeError:
        # The reader of the output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aioruns", description="Start runs, watch them, and see how they ended.")
    parser.add_argument("--version", action="version", version=f"aioruns {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("aioruns")
    except importlib.metadata.PackageNotFoundError:
        return "(run from its sources)"
