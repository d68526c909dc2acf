"""SQLite's errors, turned into ours in one place."""

from __future__ import annotations

import sqlite3

from aioruns.errors import StoreUnavailable

__all__ = ["unavailable"]

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has locked it for longer than the timeout",
    sqlite3.SQLITE_LOCKED: "another connection has locked a table",
    sqlite3.SQLITE_FULL: "there is no room left; make some, and what waits is stored",
    sqlite3.SQLITE_READONLY: "it is read-only; check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and may be written to",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it",
    sqlite3.SQLITE_CORRUPT: "it is corrupt; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database (any more)",
    sqlite3.SQLITE_PERM: "access is denied; check the permissions of the file and its folder",
    sqlite3.SQLITE_NOMEM: "SQLite is out of memory",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work; network file systems are not supported",
}


def unavailable(error: Exception, name: str) -> StoreUnavailable | None:
    """Return the ``StoreUnavailable`` that an error of the driver means, or None if it means something else.

    Args:
        error: What ``sqlite3`` or aiosqlite raised.
        name: The database, as messages name it.
    """
    if type(error) is ValueError:  # aiosqlite's way of saying that the connection is closed
        return StoreUnavailable(f"the database {name} is closed")
    # The primary result code is the low byte of the extended one: https://sqlite.org/rescode.html
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, MemoryError):  # the driver's word for it
        code = sqlite3.SQLITE_NOMEM
    if code == sqlite3.SQLITE_ERROR and str(error).startswith("no such table"):  # somebody has emptied the file
        code = sqlite3.SQLITE_CORRUPT
    if code not in _ADVICE:
        return None
    ours = StoreUnavailable(f"the database {name} is unavailable: {_ADVICE[code]} ({error})")
    ours.__cause__ = error
    return ours
