"""A response and its client, as an ASGI server sees them; and a run that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import Response
from tests.e2e.web.event_source import Event, EventParser

from aioruns import current_run, job

__all__ = ["Connection", "Speaker", "served"]


class Connection:
    """A client that takes what it is sent, unless it stops reading or goes away.

    Attributes:
        sent: The bodies that it has taken.
        times: When it was sent each of them.
        reads: Whether it takes any.
        fails: Whether sending to it fails.
        started: The message that began the response.
        complete: Whether the response was completed.
        task: Executes the response.
    """

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.times: list[float] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.fails = False
        self.started: Any = None
        self.complete = False
        self.task: asyncio.Task[None]
        self._gone = asyncio.Event()
        self._asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive(self) -> Any:
        if self._asked:
            return self._asked.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        assert not self.complete
        await self.reads.wait()
        if self.fails:
            raise BrokenPipeError
        if message["type"] == "http.response.start":
            assert self.started is None
            self.started = message
        else:
            assert self.started is not None
            self.sent.append(message["body"])
            self.times.append(asyncio.get_running_loop().time())
            self.complete = not message["more_body"]

    def go_away(self) -> None:
        self._gone.set()

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.started["headers"]}

    @property
    def events(self) -> list[Event]:
        return EventParser().feed(b"".join(self.sent))

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.events]

    async def ends(self) -> None:
        """Wait until the response has ended, and raise what it raised."""
        async with asyncio.timeout(60):
            await self.task


@asynccontextmanager
async def served(response: Response, *, reads: bool = True) -> AsyncIterator[Connection]:
    """Execute a response; it is cancelled behind the block if it has not ended."""
    connection = Connection()
    if not reads:
        connection.reads.clear()
    connection.task = asyncio.create_task(response({"type": "http"}, connection.receive, connection.send))
    try:
        yield connection
    finally:
        connection.task.cancel()
        await asyncio.wait((connection.task,))


class Speaker:
    """A run that says what it is told, until it is told to end."""

    def __init__(self) -> None:
        self.job = job(name="speak")(self._speak)
        self._words: asyncio.Queue[int | None] = asyncio.Queue()

    def say(self, number: int) -> None:
        self._words.put_nowait(number)

    def end(self) -> None:
        self._words.put_nowait(None)

    async def _speak(self) -> None:
        while (number := await self._words.get()) is not None:
            current_run().emit("number", number)
