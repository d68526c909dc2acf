"""How a command ends: its exit codes, and the error that only the command line raises."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of ``aioruns``."""

    DONE = 0
    FAILED = 1
    """The run failed or was cancelled."""
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    STORE_UNAVAILABLE = 5


class UsageError(Exception):
    """A command cannot be carried out as given; the message tells what to do."""
