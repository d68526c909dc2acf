"""What the scenarios of the web share: a server in a process of its own, and a client that costs next to nothing.

The client speaks just enough HTTP/1.1 for the answers of uvicorn. A real one would take longer for a request than the
server does, and so hide what is measured.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import uvicorn
from fastapi import FastAPI

from aioruns import RunManager, job

__all__ = ["Client", "noop", "opening", "serving"]


@job
async def noop(number: int) -> int:
    """Return at once."""
    return number


@contextmanager
def serving(make: Callable[[Path], FastAPI], folder: Path) -> Generator[int]:
    """Let uvicorn serve an application in another process; give its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(make, folder, there))
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join(30)
        process.kill()


def _serve(make: Callable[[Path], FastAPI], folder: Path, ready: Connection) -> None:
    # The client keeps connections for peaks; the server must not close them for being idle.
    config = uvicorn.Config(make(folder), port=0, log_level="warning", access_log=False, timeout_keep_alive=600)

    async def serve() -> None:
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if not task.done():
            ready.send(server.servers[0].sockets[0].getsockname()[1])
        await task

    asyncio.run(serve())


def opening(manager: RunManager) -> FastAPI:
    """Make an application that opens a manager and closes it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with manager:
            yield

    return FastAPI(lifespan=lifespan)


class Client:
    """A connection that is kept: one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    def close(self) -> None:
        self._writer.close()

    def _send(self, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)

    async def _head(self) -> tuple[int, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        return int(head[9:12]), head

    async def post(self, path: str, value: Any = None) -> bytes:
        """Post JSON, or an empty body; return the answer's body."""
        self._send("POST", path, b"" if value is None else json.dumps(value).encode())
        status, head = await self._head()
        body = await self._reader.readexactly(int(head.partition(b"content-length:")[2].split(maxsplit=1)[0]))
        assert status < 300, body
        return body

    async def events(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Read a stream of events to its end."""
        self._send("GET", path, accept="text/event-stream")
        status, _ = await self._head()
        assert status == 200
        # The lines between are fields, comments, and the sizes of chunks.
        while (line := await self._reader.readline()) != b"0\r\n":
            assert line, "the stream was cut off"
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
