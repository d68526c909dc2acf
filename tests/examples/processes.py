"""Programs that are started as users start them, and what they print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aioruns

__all__ = ["EXAMPLES", "Program", "running", "served_example"]

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


class Program:
    """A Python program that executes.

    Attributes:
        printed: The lines that it has printed, on either channel, as far as they have been read.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.printed: list[str] = []

    async def _read(self) -> str | None:
        assert self._process.stdout is not None
        raw = await self._process.stdout.readline()
        if not raw:
            return None
        self.printed.append(raw.decode().rstrip("\n"))
        return self.printed[-1]

    async def prints(self, text: str) -> str:
        """Wait until it prints a line with this text; return the line."""
        async with asyncio.timeout(60):
            while (line := await self._read()) is not None:
                if text in line:
                    return line
        raise AssertionError(f"it ended without printing {text!r}: {self.printed}")

    @property
    def complaints(self) -> list[str]:
        """The lines that tell of errors and warnings which did not end it."""
        return [line for line in self.printed if re.search(r"Traceback|Exception ignored|\w(Error|Warning)\b", line)]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ends(self) -> int:
        """Wait until it ends; return its exit code."""
        async with asyncio.timeout(60):
            while await self._read() is not None:
                pass
            return await self._process.wait()

    async def kill(self) -> None:
        """End it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ends()


@contextlib.asynccontextmanager
async def running(*arguments: str, folder: Path, modules: Sequence[Path] = ()) -> AsyncIterator[Program]:
    """Execute Python with arguments in a folder, as a user does; it is killed behind the block if it still runs.

    Args:
        *arguments: What follows ``python``.
        folder: Where.
        modules: Where it finds modules to import, beside the library itself.
    """
    path = os.pathsep.join(map(str, (Path(aioruns.__file__).parents[1], *modules)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error::ResourceWarning",
        *arguments,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()


@contextlib.asynccontextmanager
async def served_example(name: str, *, folder: Path) -> AsyncIterator[tuple[Program, str]]:
    """Serve an example with uvicorn, in a folder; gives the server and its address."""
    arguments = ("-m", "uvicorn", f"{name}:app", "--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log")
    async with running(*arguments, folder=folder) as program:
        address = re.search(r"http://127\.0\.0\.1:\d+", await program.prints("Uvicorn running on"))
        assert address is not None
        yield program, address[0]
