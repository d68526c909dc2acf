"""Whether anybody may have written to a database, told from its log's file: that takes no statement and no thread."""

from __future__ import annotations

import os

__all__ = ["Stamps"]

Stamp = tuple[int, int]


class Stamps:
    """Remembers which stamps of the log stand for what has been read: while it bears one, there is nothing to read.

    Every commit appends to the log, or writes it anew from its beginning. The clock of a file turns every few
    milliseconds only, so a commit may leave a stamp as it was that has just been looked at: a stamp counts when it has
    been found at two readings, which are to be further apart than that.
    """

    def __init__(self) -> None:
        self._last: Stamp | None = None
        self._known: Stamp | None = None

    def look(self, database: str) -> Stamp | None:
        """Give the stamp that the log bears, for what is read next; None if what has been read still holds.

        Args:
            database: Absolute path of the database file.
        """
        try:
            found = os.stat(f"{database}-wal")
        except OSError:  # somebody has removed it; who reads hears of it
            return -1, -1
        stamp = (found.st_mtime_ns, found.st_size)
        return stamp if stamp != self._known else None

    def note(self, stamp: Stamp) -> None:
        """Remember that somebody has read what there was when the log bore a stamp, or more."""
        self._known = stamp if stamp == self._last else None
        self._last = stamp
