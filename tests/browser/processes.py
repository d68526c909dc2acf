"""The server that the browser talks to, the parts that its runs play, and other processes on the same store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx
from tests.browser.programs.plays import CUES
from tests.support import rows

import aioruns

__all__ = ["Server", "Stage", "eventually", "working"]

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 60
"""Seconds after which what does not come is given up."""
TOKEN: Final = "the-token-of-the-tests"


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition is true; return what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)
    return value


class Stage:
    """Where runs of ``play`` and ``linger`` get their cues, whichever process executes them.

    Args:
        folder: The folder of these processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CUES
        self._folder.mkdir()

    def part(self, name: str) -> Callable[..., None]:
        """Make a part; what is returned cues it: a method of ``RunContext``, ``count``, ``return`` or ``raise``."""
        path = self._folder / name
        path.touch()

        def cue(verb: str, *values: Any, **options: Any) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([verb, values, options]) + "\n")

        return cue


class Server:
    """A server process, which can be killed and started again: same port, same store, same token.

    Args:
        folder: Where its store is.
        program: In the folder of programs.
        below: The path of the dashboard, without a slash at the end.

    Attributes:
        url: Where it listens, without a slash at the end.
        store: Its database.
        stage: Where its runs get their cues.
    """

    def __init__(self, folder: Path, program: str = "server", below: str = "") -> None:
        self.url: str = ""
        self.store: Path = folder / "runs.db"
        self.stage = Stage(folder)
        self._folder = folder
        self._program = program
        self._below = below
        self._printed = folder / "server.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        port = self.url.rpartition(":")[2] or "0"
        self._process = _popen(self._folder, self._printed, self._program, port, TOKEN)
        self.url = _printed(self._process, self._printed, r"http://[^/\s]+:\d+")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it with a signal."""
        assert self._process is not None
        _end(self._process, number)
        self._process = None
        printed = self._printed.read_text()
        self._printed.unlink()
        assert not re.search(r"Traceback|Exception ignored|\w(Error|Warning)\b", printed), printed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, if it has not been."""
        self._client.close()
        if self._process is not None:
            self.kill()

    def address(self, view: str = "#/") -> str:
        """Give the address of a view that logs in on the way."""
        return f"{self.url}{self._below}/?token={TOKEN}{view}"

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the API."""
        return self._client.request(method, f"{self.url}{self._below}/api{path}", **options).raise_for_status()

    def start_run(self, job: str, *, until: str | None = None, **options: Any) -> int:
        """Start a run, and wait for a status if one is asked for; return the id."""
        run_id: int = self.ask("POST", "/runs", json={"job": job, **options}).json()["id"]
        if until:
            eventually(lambda: self.status(run_id) == until)
        return run_id

    def status(self, run_id: int) -> str:
        """Read the status of a run past the server."""
        return rows(self.store, "SELECT status FROM runs WHERE id = ?", run_id)[0][0]

    def events(self, run_id: int, kind: str) -> dict[int, dict[str, Any]]:
        """Read the data of the events of a kind past the server, by ``seq``."""
        found = rows(
            self.store, "SELECT seq, data FROM events WHERE run_id = ? AND kind = ? ORDER BY seq", run_id, kind
        )
        return {row["seq"]: json.loads(row["data"]) for row in found}


@contextlib.contextmanager
def working(folder: Path, part: str) -> Iterator[int]:
    """Let another process execute a run of ``play`` behind the server's back; give its id. It is killed at the end."""
    printed = folder / "worker.txt"
    process = _popen(folder, printed, "worker", part)
    try:
        yield int(_printed(process, printed, r"\d+(?=\n)"))
    finally:
        _end(process, signal.SIGKILL)


def _popen(folder: Path, printed: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    paths = (ROOT, Path(aioruns.__file__).parents[1])
    # A pipe that nobody reads would hold the program up one day.
    with printed.open("wb") as out:
        return subprocess.Popen(
            (sys.executable, "-W", "error", "-m", f"tests.browser.programs.{program}", *arguments),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _printed(process: subprocess.Popen[bytes], printed: Path, pattern: str) -> str:
    """Wait until a process has printed what matches; return that."""

    def look() -> re.Match[str] | None:
        ended = process.poll() is not None
        found = re.search(pattern, printed.read_text())
        assert found or not ended, f"it ended: {printed.read_text()}"
        return found

    return eventually(look)[0]


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    with process:
        process.send_signal(number)
        process.wait(PATIENCE)
