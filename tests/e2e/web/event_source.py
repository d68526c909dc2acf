"""What a client of server-sent events does: it parses them as the HTML Standard says, over a plain socket."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

__all__ = ["Event", "EventParser", "Reply", "check_whole", "reading", "request"]

NO_HEADERS: Final[Mapping[str, str]] = {}


class Event(NamedTuple):
    """What an ``EventSource`` dispatches."""

    seq: int
    kind: str
    data: dict[str, Any]

    @property
    def terminal(self) -> bool:
        """Whether it carries the run, as the last event does."""
        return "run" in self.data


class EventParser:
    """Parses a stream, in whatever pieces it comes.

    Attributes:
        comments: How many comments there were.
    """

    def __init__(self) -> None:
        self.comments = 0
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, piece: bytes) -> list[Event]:
        """Take a piece of the stream; return the events that it completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [event for line in lines if (event := self._take(line.decode()))]

    def _take(self, line: str) -> Event | None:
        if not line:
            fields, self._fields = self._fields, {}
            if "data" in fields:
                return Event(int(fields["id"][-1]), fields["event"][-1], json.loads("\n".join(fields["data"])))
        elif line.startswith(":"):
            self.comments += 1
        else:
            name, _, value = line.partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
        return None


class Reply:
    """A response that is being read.

    Attributes:
        status: Its status code.
        headers: Its headers, their names in lower case.
        complete: Whether it has been read to its proper end.
        parser: What reads its events.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.parser = EventParser()
        self._reader = reader
        self._writer = writer

    async def read_head(self) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the chunks of the body; ``IncompleteReadError`` if the server goes away amid them."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield await self._reader.readexactly(int(self.headers.get("content-length", "0")))
            self.complete = True
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        self.complete = True

    async def events(self) -> AsyncIterator[Event]:
        """Read events until the response ends."""
        async for piece in self.pieces():
            for event in self.parser.feed(piece):
                yield event

    async def body(self) -> bytes:
        """Read the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    def reset(self) -> None:
        """Cut the connection, by RST and not by FIN."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.close()


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def reading(
    port: int, path: str, headers: Mapping[str, str] = NO_HEADERS, *, limit: int = 2**16
) -> AsyncIterator[Reply]:
    """Get something, and read the head of the response; the connection is closed behind the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        writer.write(request("GET", path, headers))
        reply = Reply(reader, writer)
        async with asyncio.timeout(60):
            await reply.read_head()
        yield reply
    finally:
        writer.close()


def check_whole(events: list[Event], run_id: int, *, after: int = 0) -> None:
    """Check that nothing is missing or doubled, and that the end is last and carries the run."""
    assert [event.seq for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
    assert all((event.data["run_id"], event.data["seq"]) == (run_id, event.seq) for event in events)
    assert all(event.data["kind"] == event.kind for event in events)
    last = events[-1].data
    assert (last["run"]["id"], last["run"]["status"]) == (run_id, last["data"]["status"])
