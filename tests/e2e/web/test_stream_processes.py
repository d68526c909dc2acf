"""Streams over a server that is a process of its own: cut off at random, stopped, killed, and started again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.e2e.web.event_source import Event, EventParser, check_whole, reading
from tests.e2e.web.servers import web_server
from tests.support import statuses

pytestmark = pytest.mark.asyncio


@pytest.mark.proof
@pytest.mark.timeout(1800)  # as long as the run executes
async def test_G6_a_client_that_is_cut_off_at_random_gets_every_event_once(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    """Amid events, live and stored; by FIN and by RST; with ``Last-Event-ID`` and with ``?after=``."""
    cuts, chance = scale(quick=100, full=1_000, soak=10_000), random.Random(5)
    tally("streams that were cut off", cuts)
    async with web_server(tmp_path) as server:
        run_id = await server.start("emit", {"events": 25 * cuts, "pause": 0.001})
        seen: list[Event] = []
        headers: list[dict[str, str]] = []
        for _ in range(cuts):
            last = str(seen[-1].seq if seen else 0)
            path, header = chance.choice([("", {"Last-Event-ID": last}), (f"?after={last}", {})])
            headers.append(header)
            async with reading(server.port, f"/runs/{run_id}/events{path}", header) as reply:
                assert reply.status == 200
                parser, left = EventParser(), chance.randrange(4_000)
                async for piece in reply.pieces():
                    seen += parser.feed(piece[:left])
                    left -= len(piece)
                    if left <= 0:
                        break
                if chance.random() < 0.5:
                    reply.reset()
        assert len({bool(header) for header in headers}) == 2
        seen += await server.read(run_id, after=seen[-1].seq)
        check_whole(seen, run_id)
        assert server.program.complaints == []


@pytest.mark.parametrize("grace", [30, 0])
async def test_G6_a_client_resumes_after_a_restart_of_the_server(tmp_path: Path, grace: int) -> None:
    """The run drains, or is interrupted; either way the client is told, by the next server if not by the first."""
    async with web_server(tmp_path, GRACE=grace) as first:
        run_id = await first.start("emit", {"events": 300, "pause": 0.005})
        async with reading(first.port, f"/runs/{run_id}/events") as reply:
            events = reply.events()
            seen = [await anext(events) for _ in range(5)]
            first.program.signal(signal.SIGTERM)
            seen += [event async for event in events]
            assert reply.complete
        await first.program.ends()
        assert first.program.complaints == []
    async with web_server(tmp_path) as second:
        if not seen[-1].terminal:
            seen += await second.read(run_id, after=seen[-1].seq)
    check_whole(seen, run_id)
    assert seen[-1].data["run"]["status"] == ("completed" if grace else "interrupted")
    assert len(seen) == 302 or not grace


async def test_G7_a_client_resumes_after_the_server_was_killed_and_is_told_that_the_run_was_interrupted(
    tmp_path: Path,
) -> None:
    async with web_server(tmp_path) as first:
        run_id = await first.start("emit", {"events": 100_000, "pause": 0.001})
        async with reading(first.port, f"/runs/{run_id}/events") as reply:
            events = reply.events()
            seen = [await anext(events) for _ in range(20)]
            first.program.signal(signal.SIGKILL)
            with suppress(asyncio.IncompleteReadError, ConnectionResetError):
                async for event in events:
                    seen.append(event)  # noqa: PERF401 - what came before the error counts
            assert not reply.complete
    assert statuses(tmp_path / "runs.db") == {run_id: "running"}
    async with web_server(tmp_path) as second:
        seen += await second.read(run_id, after=seen[-1].seq)
        async with reading(second.port, f"/runs/{run_id}/events?after={seen[-1].seq}") as reply:
            assert reply.status == 204
    check_whole(seen, run_id)
    assert seen[-1].data["run"]["status"] == "interrupted"


async def test_G6_a_stream_that_is_open_sees_a_run_of_another_process_rescued(tmp_path: Path) -> None:
    """Two servers on one file: one executes the run and is killed; the other one's clients see how that ends."""
    async with web_server(tmp_path) as other, web_server(tmp_path) as owner:
        run_id = await owner.start("wait")
        async with reading(other.port, f"/runs/{run_id}/events") as reply:
            events = reply.events()
            seen = [await anext(events), await anext(events)]
            owner.program.signal(signal.SIGKILL)
            async with asyncio.timeout(60):
                seen += [event async for event in events]
    check_whole(seen, run_id)
    assert seen[-1].data["run"]["status"] == "interrupted"
