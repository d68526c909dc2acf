"""Servers that are told to stop while streams are open: the streams end, the server ends, and the runs drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.e2e.web.event_source import Event, Reply, reading
from tests.e2e.web.servers import Server, ServerName, web_server
from tests.support import eventually, statuses

pytestmark = pytest.mark.asyncio

PATIENT = {"uvicorn": ("--timeout-graceful-shutdown", "25"), "hypercorn": ("--graceful-timeout", "25")}
"""A grace that no stream may use up."""
SOON = 60
"""Seconds within which a server ends that nothing holds up: far less than the grace."""

# With workers, hypercorn's processes hear of the end through an event of their own, and of no signal: see the docs.
HYPERCORN = ("--workers", "0")


async def ends_soon(server: Server) -> int:
    async with asyncio.timeout(SOON):
        return await server.program.ends()


@asynccontextmanager
async def open_streams(server: Server, run_id: int, count: int) -> AsyncIterator[list[Reply]]:
    """Have streams of a run open, each of which has been sent something."""
    async with AsyncExitStack() as stack:
        path = f"/runs/{run_id}/events"
        replies = [await stack.enter_async_context(reading(server.port, path)) for _ in range(count)]
        for reply in replies:
            assert (await anext(reply.events())).seq == 1
        yield replies


async def rest(reply: Reply) -> list[Event]:
    """Read a stream to its end, which must come soon."""
    async with asyncio.timeout(SOON):
        return [event async for event in reply.events()]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("name", "options"),
    [("uvicorn", ()), ("uvicorn", PATIENT["uvicorn"]), ("hypercorn", (*HYPERCORN, *PATIENT["hypercorn"]))],
    ids=["uvicorn", "uvicorn with a grace", "hypercorn"],
)
async def test_G8_a_server_that_is_told_to_stop_ends_although_streams_are_open(
    tmp_path: Path, name: ServerName, options: tuple[str, ...], stop: signal.Signals
) -> None:
    """Each stream is completed, so that its client comes back; the run, which has no end, is interrupted."""
    async with web_server(tmp_path, *options, name=name, GRACE=0) as server:
        run_id = await server.start("wait")
        async with open_streams(server, run_id, 20) as replies:
            server.program.signal(stop)
            for reply in replies:
                assert not any(event.terminal for event in await rest(reply))
                assert reply.complete
            await ends_soon(server)
        assert "the manager is closed" in server.program.printed, "the application was shut down, too"
        assert server.program.complaints == []
    assert statuses(tmp_path / "runs.db") == {run_id: "interrupted"}


@pytest.mark.parametrize(("name", "options"), [("uvicorn", ()), ("hypercorn", HYPERCORN)])
async def test_G8_runs_drain_while_their_server_shuts_down(
    tmp_path: Path, name: ServerName, options: tuple[str, ...]
) -> None:
    async with web_server(tmp_path, *options, name=name, GRACE=25) as server:
        run_id = await server.start("emit", {"events": 10, "pause": 0.1})
        async with open_streams(server, run_id, 3) as replies:
            server.program.signal(signal.SIGTERM)
            for reply in replies:
                await rest(reply)
                assert reply.complete
        await ends_soon(server)
    assert statuses(tmp_path / "runs.db") == {run_id: "completed"}


async def test_G8_workers_of_uvicorn_end_although_streams_are_open(tmp_path: Path) -> None:
    async with web_server(tmp_path, "--workers", "2", GRACE=0) as server:
        for _ in range(2):
            await server.program.prints("Application startup complete")
        run_id = await server.start("wait")
        async with open_streams(server, run_id, 20) as replies:
            server.program.signal(signal.SIGTERM)
            for reply in replies:
                await rest(reply)
                assert reply.complete
            await ends_soon(server)
    assert statuses(tmp_path / "runs.db") == {run_id: "interrupted"}


@pytest.mark.parametrize(("name", "options"), [("uvicorn", ()), ("hypercorn", HYPERCORN)])
async def test_a_handler_of_the_application_goes_on_working_and_so_does_the_servers(
    tmp_path: Path, name: ServerName, options: tuple[str, ...]
) -> None:
    async with web_server(tmp_path, *options, name=name, GRACE=0, TAKE_NOTE=1) as server:
        run_id = await server.start("wait")
        for _ in range(3):  # streams that come and go leave the handlers as they were
            async with open_streams(server, run_id, 2):
                pass
        async with open_streams(server, run_id, 2) as replies:
            server.program.signal(signal.SIGTERM)
            for reply in replies:
                await rest(reply)
                assert reply.complete
        await ends_soon(server)
        assert server.program.printed.count("the application saw SIGTERM") == 1
        assert server.program.complaints == []


async def test_G8_a_client_that_does_not_read_holds_up_uvicorn_no_longer_than_its_grace(tmp_path: Path) -> None:
    """Its response cannot be completed: that is what the grace is for, and why there should be one."""
    async with web_server(tmp_path, "--timeout-graceful-shutdown", "1", GRACE=0) as server:
        run_id = await server.start("emit", {"events": 2_000, "size": 20_000})
        async with reading(server.port, f"/runs/{run_id}/events", limit=4_096) as reply:
            assert (await anext(reply.events())).seq == 1
            await eventually(lambda: server.has_ended(run_id))
            server.program.signal(signal.SIGTERM)
            await ends_soon(server)
        assert "the manager is closed" in server.program.printed
