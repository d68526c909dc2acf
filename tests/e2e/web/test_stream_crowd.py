"""Many streams on one server, and clients that do not read: memory stays flat, and nobody notices."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.web.event_source import Reply, check_whole, reading
from tests.e2e.web.servers import Server, web_server
from tests.support import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.proof, pytest.mark.timeout(600)]

KIB = 1024
MIB = 1024 * KIB


@pytest_asyncio.fixture
async def server(tmp_path: Path, scale: Callable[..., int]) -> AsyncIterator[Server]:
    """A server, and limits that let it and this process have enough sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = scale(quick=1_000, full=4_000, soak=8_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    try:
        async with web_server(tmp_path) as server:
            yield server
        assert server.program.complaints == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Follower:
    """Reads a stream to its end, checks it, and keeps none of it."""

    def __init__(self, reply: Reply, run_id: int) -> None:
        self.seq = 0
        self.ended = False
        self._reply = reply
        self._run_id = run_id

    async def follow(self) -> None:
        async for event in self._reply.events():
            assert (event.seq, event.data["run_id"], self.ended) == (self.seq + 1, self._run_id, False)
            self.seq, self.ended = event.seq, event.terminal
        assert self._reply.complete


async def test_G10_a_thousand_open_streams_get_everything_and_memory_is_flat(
    server: Server, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    """Of streams that are open, and while events flow through them."""
    streams, events = scale(quick=100, full=1_000, soak=3_000), scale(quick=60, full=120, soak=600)
    tally("streams that were open at once", streams)
    for _ in range(2):  # what a server needs once is not counted
        warm = await server.start("emit", {"events": 50})
        await asyncio.gather(*(server.read(warm) for _ in range(50)))

    before = await server.get("/memory")
    run_id = await server.start("follow", {"events": events})
    async with AsyncExitStack() as stack:
        followers = [
            Follower(await stack.enter_async_context(reading(server.port, f"/runs/{run_id}/events")), run_id)
            for _ in range(streams)
        ]
        following = [asyncio.create_task(each.follow()) for each in followers]
        await eventually(lambda: all(each.seq == 1 for each in followers), timeout=120)
        opened = await server.get("/memory")
        assert opened - before < streams * 100 * KIB + 4 * MIB

        await server.post("/go")
        await eventually(lambda: all(each.seq > events // 3 for each in followers), timeout=120)
        flowing = await server.get("/memory")
        await eventually(lambda: all(each.seq > events * 2 // 3 for each in followers), timeout=120)
        assert await server.get("/memory") - flowing < 4 * MIB
        assert flowing - opened < streams * 20 * KIB + 4 * MIB
        await asyncio.gather(*following)
    assert {(each.seq, each.ended) for each in followers} == {(events + 2, True)}


async def test_G10_clients_that_stop_reading_cost_nothing_and_slow_nobody(
    server: Server, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    """They have been sent what the sockets hold; the rest waits in the store until they read again."""
    stalled, events = scale(quick=10, full=50, soak=200), scale(quick=4_000, full=20_000, soak=200_000)
    tally("clients that stopped reading", stalled)
    size = 4 * KIB  # much more altogether than the sockets hold
    warm = await server.start("emit", {"events": 200, "size": size})
    await server.read(warm)

    before = await server.get("/memory")
    run_id = await server.start("follow", {"events": events, "size": size})
    path = f"/runs/{run_id}/events"
    async with AsyncExitStack() as stack:
        sleepers = [await stack.enter_async_context(reading(server.port, path, limit=4 * KIB)) for _ in range(stalled)]
        reader = Follower(await stack.enter_async_context(reading(server.port, path)), run_id)
        following = asyncio.create_task(reader.follow())
        await server.post("/go")
        await following
        assert (reader.seq, reader.ended) == (events + 2, True)
        assert await server.get("/memory") - before < stalled * 300 * KIB + 16 * MIB

        for sleeper in sleepers[:3]:
            check_whole([event async for event in sleeper.events()], run_id)
