"""How a command ends: the exit codes, and the error that only the command line knows."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the caller of ``aioruns`` is told."""

    DONE = 0
    FAILED = 1
    """The run failed or was cancelled."""
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    STORE_UNAVAILABLE = 5


class UsageError(Exception):
    """A command cannot be carried out as it was given; the message says what to do."""
