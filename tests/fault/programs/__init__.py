"""Small programs that tests run as real processes; and how a test runs them, waits for them, judges what they leave.

A program says things on stdout, one JSON value a line. ``remote.py`` also takes commands, on stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.support import eventually

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
PATIENCE: Final = 120.0
"""Seconds after which something will not happen any more, on a machine that is busy with other things."""
TERMINAL: Final = {"completed", "failed", "cancelled", "interrupted"}


class RemoteError(Exception):
    """What a command raised in another process: the name of the error, its message, and what it carries."""

    def __init__(self, name: str, message: str, active_run_id: int | None) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message
        self.active_run_id = active_run_id


class Program:
    """A program that runs. Its output goes to files: nothing but the process itself is there to be waited for."""

    def __init__(self, log: Path, name: str, *args: object, flags: tuple[str, ...] = ()) -> None:
        self._stdout, self._stderr = log.with_suffix(".out"), log.with_suffix(".err")
        self._read = 0
        self._calls = 0
        self._replies: dict[int, dict[str, Any]] = {}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))  # for `from tests... import`
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, *flags, str(HERE / name), *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,  # so that its children can be ended with it
            )
        self.pid = self._process.pid
        self._lines = self._said()

    @property
    def complaints(self) -> str:
        """Everything on stderr."""
        return self._stderr.read_text()

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    async def _until(self, condition: Callable[[], Any], within: float) -> Any:
        """Wait for a condition, and not for what a program that has exited will never do."""

        def met() -> Any:
            gone = not self.runs
            value = condition()
            assert value or not gone, "the program has exited"
            return value

        try:
            return await eventually(met, timeout=within)
        except AssertionError as error:
            error.add_note(f"stderr of the program: {self.complaints}")
            raise

    def _said(self) -> Iterator[Any]:
        """Yield the values that were said, and None when there is nothing new."""
        while True:
            with self._stdout.open() as out:
                out.seek(self._read)
                line = out.readline()
                if line.endswith("\n"):
                    self._read = out.tell()
            yield json.loads(line) if line.endswith("\n") else None

    async def says(self, *, within: float = PATIENCE) -> Any:
        """Wait for the next thing that it says."""
        return await self._until(lambda: next(self._lines), within)

    async def call(self, do: str, *args: Any, **kwargs: Any) -> Any:
        """Have ``remote.py`` call a verb; return the answer.

        Raises:
            RemoteError: The verb raised.
        """
        return await self.answer(self.send(do, *args, **kwargs))

    def send(self, do: str, *args: Any, **kwargs: Any) -> int:
        """Tell ``remote.py`` to call a verb, and do not wait; ``answer`` does."""
        self._calls += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([self._calls, do, args, kwargs]).encode() + b"\n")
        self._process.stdin.flush()
        return self._calls

    async def answer(self, call: int) -> Any:
        """Wait for the answer to a command."""

        def arrived() -> dict[str, Any] | None:
            while (line := next(self._lines)) is not None:
                self._replies[line["call"]] = line
            return self._replies.pop(call, None)

        reply = await self._until(arrived, PATIENCE)
        if "error" in reply:
            raise RemoteError(reply["error"], reply["message"], reply["active_run_id"])
        return reply["answer"]

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop the process where it is; it stands still when this returns. SIGCONT lets it go on."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def kill(self) -> None:
        """End the process at once, as the kernel or an operator would; it is gone when this returns."""
        self._process.kill()
        self._process.wait()

    def close_stdin(self) -> None:
        """Let a program that reads its stdin know that there is nothing more to do."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    async def exits(self, *, within: float = PATIENCE) -> int:
        """Wait until the process has exited by itself; return its exit code."""
        await self._until(lambda: not self.runs, within)
        return self._process.returncode

    async def leaves(self, *, within: float = PATIENCE) -> int:
        """Close stdin and wait until the process has exited."""
        self.close_stdin()
        return await self.exits(within=within)

    def end(self) -> None:
        """End the process with its children, frozen or not, if it is there."""
        self.close_stdin()
        if self.runs:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


class Programs:
    """The programs of one test, all on one database; a context manager that ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self.db: Final = folder / "runs.db"
        self.folder: Final = folder
        self._all: list[Program] = []
        self._orphans: list[int] = []

    def run(self, name: str, *args: object, flags: tuple[str, ...] = ()) -> Program:
        """Run a program on the database; it may not have begun when this returns."""
        program = Program(self.folder / f"{len(self._all)}-{name}", name, self.db, *args, flags=flags)
        self._all.append(program)
        return program

    async def remote(self, max_running: int | None = None) -> Program:
        """Run ``remote.py`` until its manager is open."""
        program = self.run("remote.py", *([] if max_running is None else [max_running]))
        assert await program.says() == "open"
        return program

    def adopt(self, pid: int) -> int:
        """Take care of a process that may outlive the program that made it."""
        self._orphans.append(pid)
        return pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for program in self._all:
            program.end()
        for pid in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # What is in the file, read past the library

    def read(self, *statements: str) -> list[list[Any]]:
        """Read the rows of several statements, as of one moment, on a connection of our own."""
        with contextlib.closing(sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=60)) as connection:
            connection.execute("BEGIN")
            return [connection.execute(statement).fetchall() for statement in statements]

    def statuses(self) -> dict[int, str]:
        """Return the status of every run."""
        return dict(self.read("SELECT id, status FROM runs ORDER BY id")[0])

    def managers(self) -> list[int]:
        """Return the pids of the managers that have a row."""
        return [pid for (pid,) in self.read("SELECT pid FROM managers")[0]]

    def locks(self) -> list[str]:
        """Return the names of the lock files beside the database."""
        return sorted(path.name for path in self.folder.glob("runs.db.*.lock"))

    def stream(self, run_id: int) -> list[dict[str, Any]]:
        """Return what a run's events say, in order."""
        return self.check()[run_id]

    def check(self) -> dict[int, list[dict[str, Any]]]:
        """Check what holds of the file at any time: it is sound, streams are gapless, an end comes once and last.

        Returns:
            What the events of each run say, in order.
        """
        runs, events, integrity = self.read(
            "SELECT id, status FROM runs ORDER BY id",
            "SELECT run_id, seq, kind, data FROM events ORDER BY run_id, seq",
            "PRAGMA integrity_check",
        )
        assert integrity == [("ok",)]
        streams: dict[int, list[dict[str, Any]]] = {run_id: [] for run_id, _ in runs}
        for run_id, seq, kind, data in events:
            streams[run_id].append({"kind": kind, **json.loads(data)})
            assert seq == len(streams[run_id])
        for run_id, status in runs:
            said = [event["status"] for event in streams[run_id] if event["kind"] == "status"]
            assert said[-1] == status
            assert TERMINAL.isdisjoint(said[:-1])
            assert status not in TERMINAL or streams[run_id][-1]["kind"] == "status"
        return streams

    def check_all_over(self) -> None:
        """Check that nothing is left behind: no active run, no manager, no lock."""
        self.check()
        assert set(self.statuses().values()) <= TERMINAL
        assert self.managers() == []
        assert self.locks() == []
