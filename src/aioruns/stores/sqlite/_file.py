"""The file of a database: whether a path may name one, and whether it still names the same."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from aioruns.errors import ConfigurationError, StoreUnavailable

__all__ = ["OLDEST_SQLITE", "check_path", "file_of"]

OLDEST_SQLITE = (3, 37)
"""STRICT tables came with it: https://sqlite.org/stricttables.html"""


def check_path(name: str) -> str:
    """Look at what a path names before anything is created; blocking file operations.

    Returns:
        Its one absolute name, whichever link led here.

    Raises:
        ConfigurationError: It is a directory, in no directory, or no regular file.
    """
    try:
        _check_path(Path(name))
        return os.path.realpath(name)
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a NUL in it
        raise ConfigurationError(f"the store {name!r} cannot be used: {error}") from error


def _check_path(path: Path) -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(f"SQLite 3.37 or newer is needed; Python was built with {sqlite3.sqlite_version}")
    if path.is_dir():
        raise ConfigurationError(f"the store {str(path)!r} is a directory: name a file in it, e.g. {path}/runs.db")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the store {str(path)!r} does not exist: create it, or name another")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"the store {str(path)!r} is not a regular file: name another")
    # What is in it, only SQLite may read: who closes the file lets go of all locks that this process has on it, also
    # those of another manager. https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    if path.is_file() and path.stat().st_size == 1:  # SQLite takes it for empty
        raise ConfigurationError(f"the file {str(path)!r} is not an SQLite database: name another")


def file_of(database: str) -> tuple[int, int]:
    """Identify the file that a path names. It takes a microsecond: no reason to leave the event loop's thread.

    Raises:
        StoreUnavailable: There is none.
    """
    try:
        found = os.stat(database)
    except OSError as error:
        raise StoreUnavailable(f"the database {database} is unavailable: its file is gone ({error})") from error
    return found.st_dev, found.st_ino
