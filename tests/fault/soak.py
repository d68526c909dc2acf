"""The kill soak: processes that share one file are killed, frozen and asked to close at random; then they are judged.

``python -m tests.fault.soak FOLDER --kills 100 --seed 7``, from the root of the repository. Prints one JSON object:
what was counted, and what the judge found. If that is anything, database and ledger stay in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fault.judge import Case, count, judge, read_stored
from tests.fault.ledger import Ledger, Reader
from tests.fault.programs.soaker import LOCK_TIMEOUT, Orders, lock, reopen, work

KILLS_PER_FILE: Final = 25
"""After so many a new file is begun: what there is to be checked does not grow without end."""
MOMENTS: Final = (
    "opening", "opened", "starting", "acknowledged", "enter", "saying", "flushed", "leave", "cancelling",
    "cancel answered", "heard", "closing",
)  # fmt: skip
"""What a worker has noted right before a signal comes, if that does not come at any time."""
LONGEST_GAP: Final = 0.2
"""Seconds between two signals."""
FREEZES: Final = (0.01, 0.1, 0.4, 1.5)
"""Seconds for which a worker is frozen."""
PATIENCE: Final = 120.0
"""Seconds after which a worker that was asked to close will not."""


class Soak:
    """The workers on one file, and what is done to them. Has no threads, because it forks.

    Args:
        folder: Where the database and the ledger are made.
        workers: How many there are at any time.
        chance: Decides what the scheduler does not.
    """

    def __init__(self, folder: Path, workers: int, chance: random.Random) -> None:
        folder.mkdir(parents=True)
        self._workers = workers
        self.database = folder / "runs.db"
        self.ledger = folder / "ledger"
        self._chance = chance
        self._note = Ledger(self.ledger, 0).note
        self._reader = Reader(self.ledger)
        self._pids: dict[int, int] = {}
        self._doomed: set[int] = set()
        self._frozen: dict[int, float] = {}
        self._lockers: list[int] = []
        self._deaths = 0
        self._spawned = 0

    def run(self, kills: int) -> None:
        """Send signals until so many workers have died; end the others too; open and close the file once more."""
        deadline = time.monotonic() + PATIENCE + 10 * kills
        while self._deaths < kills and time.monotonic() < deadline:
            while len(self._pids.keys() - self._doomed) < self._workers:
                self._spawn()
            self._pass(self._chance.random() * LONGEST_GAP)
            self._strike()
        for who in self._pids.keys() - self._doomed:
            self._send(who, self._chance.choice((signal.SIGKILL, signal.SIGTERM)))
        deadline = time.monotonic() + PATIENCE
        while self._pids and time.monotonic() < deadline:
            self._pass(0.01)
        os.waitpid(self._fork(lambda: reopen(self.database, self.ledger)), 0)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for locker in self._lockers:
            os.waitpid(locker, 0)
        for who, pid in self._pids.items():
            self._note("logged", message=f"worker {who} did not end")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _strike(self) -> None:
        """Send a signal: at any time, or when its worker has just noted something."""
        if self._chance.random() < 0.1:
            seconds = self._chance.random() * 3 * LOCK_TIMEOUT
            self._lockers.append(self._fork(lambda: lock(self.database, seconds)))
        moment = self._chance.choice((*MOMENTS, None, None))
        who = self._spawn() if moment == "opening" else self._chance.choice([*self._pids, self._spawned])
        if moment is not None:
            self._await(who, moment)
            self._pass(self._chance.random() * self._chance.choice((0, 0, 0.001, 0.02)))
        if who in self._pids:
            self._send(who, self._chance.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP), (5, 4, 4))[0])

    def _send(self, who: int, number: signal.Signals) -> None:
        self._note("signal", to=who, number=number)
        os.kill(self._pids[who], number)
        if number == signal.SIGSTOP:
            self._frozen[who] = time.monotonic() + self._chance.choice(FREEZES)
            return
        self._doomed.add(who)
        if number == signal.SIGKILL:
            self._bury(who, os.waitpid(self._pids[who], 0)[1])

    def _spawn(self) -> int:
        self._spawned += 1
        seed, closes = self._chance.getrandbits(32), self._chance.random() < 0.5
        orders = Orders(self.database, self.ledger, self._spawned, seed, closes)
        self._pids[orders.who] = self._fork(lambda: work(orders))
        return orders.who

    @staticmethod
    def _fork(child: Callable[[], None]) -> int:
        if (pid := os.fork()) == 0:
            child()
        return pid

    def _await(self, who: int, moment: str) -> None:
        """Wait until a worker notes something; not for ever, since it may be frozen, or over."""
        list(self._reader.new())
        deadline = time.monotonic() + 2 * LONGEST_GAP
        while time.monotonic() < deadline:
            if any((entry.who, entry.what) == (who, moment) for entry in self._reader.new()):
                return
            self._pass(0.0005)

    def _pass(self, seconds: float) -> None:
        """Let time pass; meanwhile let frozen workers go on when it is time, and bury those that have ended."""
        deadline = time.monotonic() + seconds
        while True:
            self._thaw()
            for who, pid in tuple(self._pids.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._bury(who, status)
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.002, left))

    def _thaw(self) -> None:
        """Let frozen workers go on whose time is over."""
        now = time.monotonic()
        for who in [who for who, until in self._frozen.items() if until <= now]:
            del self._frozen[who]
            self._note("signal", to=who, number=signal.SIGCONT)
            os.kill(self._pids[who], signal.SIGCONT)

    def _bury(self, who: int, status: int) -> None:
        del self._pids[who]
        self._frozen.pop(who, None)
        self._deaths += who in self._doomed
        self._note("died", whom=who, code=os.waitstatus_to_exitcode(status))
        self._note("checked", whom=who, said=self._check())

    def _check(self) -> list[str]:
        """Ask SQLite whether the file is sound, through a connection that cannot repair it."""
        while self.database.exists():
            try:
                with contextlib.closing(
                    sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=0)
                ) as reader:
                    return [text for (text,) in reader.execute("PRAGMA integrity_check")]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    return [str(error)]
            time.sleep(0.002)
            self._thaw()  # who has locked the file may be frozen
        return ["ok"]


def main() -> int:
    """Soak one file after another until there were enough kills, or something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.soak")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    counts: Counter[str] = Counter()
    found: list[str] = []
    left = arguments.kills
    while left > 0 and not found:
        soak = Soak(arguments.folder / f"{left}", arguments.workers, chance)
        try:
            soak.run(min(left, KILLS_PER_FILE))
        finally:
            soak.end()
        case = Case(Reader(soak.ledger).new(), read_stored(soak.database))
        counts += count(case)
        found += judge(case)
        left -= KILLS_PER_FILE
        if not found:
            shutil.rmtree(soak.database.parent)
    print(json.dumps({"seed": arguments.seed, "counts": counts, "found": found}, indent=1))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
