"""Clients that go away during ``POST /runs``, at every point: no half-started run is left behind (G1)."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from tests.e2e.web import event_source
from tests.e2e.web.servers import Server, web_server
from tests.support import eventually, rows

pytestmark = [pytest.mark.asyncio, pytest.mark.proof, pytest.mark.timeout(600)]

AT_ONCE: Final = struct.pack("ii", 1, 0)
"""Lingers for no time: closing sends RST, whatever is under way."""

SERVERS: Final = [
    (name, middleware) for name in ("uvicorn", "hypercorn") for middleware in ("no", "passing on", "giving up")
]
"""Each with no middleware; with one that endpoints are executed within; with one that cancels them when the client has
gone."""


@pytest_asyncio.fixture(params=SERVERS, ids=lambda param: f"{param[0]}, {param[1]} middleware")
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    name, middleware = request.param
    options = ("--workers", "0") if name == "hypercorn" else ()
    async with web_server(tmp_path, *options, name=name, GRACE=0, MIDDLEWARE=middleware) as server:
        yield server


def starts(number: int) -> list[bytes]:
    """Requests that leave different things behind: neither key, the one, and both; all with names of their own."""
    key, idempotency_key = {"key": f"key {number}"}, {"idempotency_key": f"start {number}"}
    bodies = [{}, key, {"key": f"other key {number}"} | idempotency_key]
    return [event_source.request("POST", "/runs", {}, json.dumps({"job": "wait"} | body).encode()) for body in bodies]


async def send(port: int, content: bytes, *, wait: float, reset: bool) -> bool:
    """Send something, wait for a time, and go away; tell whether an answer had come by then."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, content)
        if wait:
            await asyncio.sleep(wait)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        try:
            return client.recv(65_536) != b""
        except BlockingIOError:
            return False


async def storm(server: Server, contents: list[bytes], *, wait: float = 0) -> list[bool]:
    """Let clients send each of these at a time, some of which say goodbye and some do not."""
    return await asyncio.gather(
        *(send(server.port, content, wait=wait, reset=number % 2 == 0) for number, content in enumerate(contents))
    )


async def sweep(server: Server, numbers: Iterator[int], *, step: float) -> int:
    """Let clients wait longer and longer after their request, until they all have the answer; return how many."""
    clients, wait, answered = 0, 0.0, [False]
    while not all(answered):
        answered = await storm(server, [*starts(next(numbers)), *starts(next(numbers))], wait=wait)
        clients, wait = clients + len(answered), wait + step
    return clients


async def each_active_run_executes(server: Server, database: Path) -> bool:
    """Look past the library for rows that nobody owns."""
    active = [row["id"] for row in rows(database) if row["status"] in ("pending", "running", "cancelling")]
    return set(active) <= set(await server.get("/executing"))


async def all_are_cancelled(server: Server, database: Path) -> bool:
    """Cancel what is active, and look whether nothing is left of it but cancelled rows."""
    for row in rows(database, "SELECT id FROM runs WHERE status = 'running'"):
        await server.post(f"/runs/{row['id']}/cancel", or_else=409)
    return await server.get("/executing") == [] and {row["status"] for row in rows(database)} == {"cancelled"}


async def test_G1_clients_that_go_away_at_any_point_of_a_start_leave_no_half_started_run(
    server: Server,
    tmp_path: Path,
    scale: Callable[..., int],
    tally: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    """Within the request; then sooner and later after it, until they have the answer."""
    database, gives_up = tmp_path / "runs.db", "giving up" in request.node.name
    numbers = itertools.count()
    for sent in range(0, max(map(len, starts(0))), scale(quick=11, full=1, soak=1)):
        cut = [content[:sent] for content in starts(next(numbers)) if sent < len(content)]
        tally("clients that went away within a request", len(await storm(server, cut)))
    assert await server.get("/health") == {"status": "ok"}
    assert await server.get("/executing") == []
    assert rows(database) == []

    found = abandoned = []
    for _ in range(20 if gives_up else 1):  # more than once only if not one start was cancelled amid the storm
        clients = await sweep(server, numbers, step=scale(quick=500, full=50, soak=5) / 1_000_000)
        tally("clients that went away during a start", clients)
        await eventually(lambda: each_active_run_executes(server, database))
        found = rows(database)
        if abandoned := [row for row in found if row["cancel_reason"] is not None]:
            break
    assert {row["cancel_reason"] for row in abandoned} == ({"start abandoned"} if gives_up else set())
    assert all(row["idempotency_key"] is None for row in abandoned), "who has one is expected to ask again"
    tally("starts that were abandoned", len(abandoned))
    assert len(found) >= 6, "those who had the answer have a run"

    # What is left is a run as any other; and each name is as free as it should be.
    await eventually(lambda: all_are_cancelled(server, database), timeout=60)
    for row in found:
        if row["idempotency_key"] is not None:
            assert await server.start("wait", idempotency_key=row["idempotency_key"]) == row["id"]
        if row["key"] is not None:
            assert await server.start("wait", key=row["key"]) > row["id"], "the key is free"
    await eventually(lambda: all_are_cancelled(server, database), timeout=60)
    assert server.program.complaints == []
