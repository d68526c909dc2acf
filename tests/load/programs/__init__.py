"""Hostile programs, run as real processes because they damage their own; the harness is that of ``tests/fault``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.fault.programs import Program, Programs

__all__ = ["HostilePrograms"]

HERE: Final = Path(__file__).parent


class HostilePrograms(Programs):
    """The programs of this folder, on the database of one test."""

    def run(self, name: str, *args: object, flags: tuple[str, ...] = ()) -> Program:
        """Run a program on the database; it may not have begun when this returns."""
        log = self.folder / f"{len(self._all)}-{name}"
        program = Program(log, str(HERE / name), self.db, *args, flags=flags)
        self._all.append(program)
        return program
