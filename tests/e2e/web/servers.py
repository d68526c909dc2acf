"""Real servers, as processes of their own, with the application of ``programs/application.py``."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from unittest import mock

import httpx
from tests.e2e.web.event_source import Event, reading
from tests.examples.processes import Program, running

__all__ = ["Server", "ServerName", "web_server"]

ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = Path(__file__).with_name("programs") / "application.py"

ServerName = Literal["uvicorn", "hypercorn"]
COMMANDS: Final[dict[ServerName, tuple[str, ...]]] = {
    "uvicorn": ("uvicorn", "application:app", "--app-dir", str(PROGRAM.parent), "--port", "0", "--no-access-log"),
    "hypercorn": ("hypercorn", f"{PROGRAM}:app", "--bind", "127.0.0.1:0"),
}


class Server:
    """A server that serves.

    Attributes:
        program: Its process.
        port: Where it listens.
    """

    def __init__(self, program: Program, port: int, client: httpx.AsyncClient) -> None:
        self.program = program
        self.port = port
        self._client = client

    async def get(self, path: str) -> Any:
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, *, or_else: int = 202, **content: Any) -> Any:
        answer = await self._client.post(path, json=content or None)
        assert answer.status_code in (202, 204, or_else), answer.text
        return answer.json() if answer.content else None

    async def start(self, name: str, /, args: Mapping[str, Any] | None = None, **options: Any) -> int:
        """Start a run of a job; return its id."""
        return (await self.post("/runs", job=name, args=args or {}, **options))["id"]

    async def has_ended(self, run_id: int) -> bool:
        """Look whether a run has ended."""
        return not (await self.get(f"/runs/{run_id}"))["active"]

    async def read(self, run_id: int, after: int = 0) -> list[Event]:
        """Read a stream to its end, which must be a proper one."""
        async with reading(self.port, f"/runs/{run_id}/events?after={after}") as reply:
            assert reply.status == 200
            return [event async for event in reply.events()]


@asynccontextmanager
async def web_server(
    folder: Path, *options: str, name: ServerName = "uvicorn", **settings: object
) -> AsyncIterator[Server]:
    """Serve the application from a folder, which its store is in; the server is killed behind the block.

    Args:
        folder: Where the program executes.
        *options: More for the command line of the server.
        name: Which server.
        **settings: Environment variables for the application.
    """
    async with AsyncExitStack() as stack:
        with mock.patch.dict(os.environ, {key: str(value) for key, value in settings.items()}):
            program = await stack.enter_async_context(
                running("-m", *COMMANDS[name], *options, folder=folder, modules=[ROOT])
            )
        address = re.search(r"http://127\.0\.0\.1:(\d+)", await program.prints("unning on http://"))
        assert address is not None
        client = httpx.AsyncClient(base_url=address[0], trust_env=False, timeout=60)
        yield Server(program, int(address[1]), await stack.enter_async_context(client))
