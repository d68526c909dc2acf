"""The ledger of the kill soak: what processes saw, outside the database, in an order that all of them share.

Each entry is one write(2) to a file that was opened with O_APPEND, so entries of several processes never mix, and an
entry that was written survives the death of its process. CLOCK_MONOTONIC is one clock for the whole system.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Ledger", "Reader"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one process saw.

    Attributes:
        t: When, on the monotonic clock, in nanoseconds: to be compared with other entries.
        at: When, in microseconds since 1970: to be compared with the times in rows.
        who: The number of the worker; 0 for the driver.
        what: What it saw.
        run: Of which run, or 0.
        data: The rest.
    """

    t: int
    at: int
    who: int
    what: str
    run: int = 0
    data: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


class Ledger:
    """The ledger as one process writes it; any thread may.

    Args:
        path: The file.
        who: The number of the worker that writes; 0 for the driver.
    """

    def __init__(self, path: Path, who: int) -> None:
        self._who = who
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, run: int = 0, **data: Any) -> None:
        """Write an entry; it is in the file when this returns, and bears the time of the call."""
        entry = json.dumps([time.monotonic_ns(), time.time_ns() // 1000, self._who, what, run, data])
        # It begins a line of its own: an entry that SIGKILL has torn, where it crosses a page, spoils no other.
        os.write(self._file, f"\n{entry}\n".encode())


class Reader:
    """Reads the ledger from the beginning, and goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Entry]:
        """Yield the entries that are new."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read().rpartition(b"\n")[0]
        self._offset += len(lines)
        for line in filter(None, lines.split(b"\n")):
            try:
                entry = Entry(*json.loads(line))
            except ValueError:  # torn by SIGKILL: who wrote it has done nothing afterwards
                continue
            yield entry
