"""Streams of the router over a real server: where they begin and end, and what is told before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request, Response
from tests.e2e.web.event_source import Reply, check_whole, reading
from tests.streams import finished
from tests.support import eventually
from tests.unit.web.connection import Speaker
from tests.web_support import serving, serving_runs

from aioruns import RunManager
from aioruns.web._sse import event_stream
from aioruns.web._streams import OpenStreams

pytestmark = pytest.mark.asyncio


class Streams:
    """Reads streams of the router."""

    def __init__(self, port: int) -> None:
        self._port = port

    @asynccontextmanager
    async def __call__(self, run_id: int, query: str = "", **headers: str) -> AsyncIterator[Reply]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with reading(self._port, f"/runs/{run_id}/events{query}", names) as reply:
            yield reply


@asynccontextmanager
async def streams_of(manager: RunManager, **options: Any) -> AsyncIterator[Streams]:
    async with serving_runs(manager, **options) as client:
        port = client.base_url.port
        assert port is not None
        yield Streams(port)


@pytest_asyncio.fixture
async def streams(manager: RunManager) -> AsyncIterator[Streams]:
    async with streams_of(manager) as streams:
        yield streams


async def test_G6_a_run_is_streamed_live_to_its_end_which_carries_the_run(
    streams: Streams, manager: RunManager
) -> None:
    speaker = Speaker()
    handle = await manager.start_run(speaker.job(), key="k")
    async with streams(handle.id) as reply:
        events = reply.events()
        seen = [await anext(events)]
        for number in range(10):
            speaker.say(number)
            seen.append(await anext(events))
            assert (seen[-1].kind, seen[-1].data["data"]) == ("number", number)
        speaker.end()
        seen += [event async for event in events]
        assert reply.complete
    check_whole(seen, handle.id)
    assert (seen[-1].data["run"]["status"], seen[-1].data["run"]["key"]) == ("completed", "k")


async def test_G6_a_client_resumes_in_the_middle_of_a_run(streams: Streams, manager: RunManager) -> None:
    speaker = Speaker()
    handle = await manager.start_run(speaker.job())
    for query, header in (("?after=1", {}), ("", {"Last_Event_ID": "2"})):
        speaker.say(0)
        async with streams(handle.id, query, **header) as reply:
            assert (await anext(reply.events())).seq == (2 if query else 3)
    speaker.end()
    async with streams(handle.id, "?after=3") as reply:
        check_whole([event async for event in reply.events()], handle.id, after=3)


async def test_Last_Event_ID_wins_over_after(streams: Streams, manager: RunManager) -> None:
    run_id = await finished(manager, 5)
    for query in ("?after=1", "?after=1000"):
        async with streams(run_id, query, Last_Event_ID="4") as reply:
            check_whole([event async for event in reply.events()], run_id, after=4)


async def test_a_client_may_come_after_the_end(streams: Streams, manager: RunManager) -> None:
    run_id = await finished(manager, 5)
    async with streams(run_id) as reply:
        check_whole([event async for event in reply.events()], run_id)
    async with streams(run_id, "?after=6") as reply:
        check_whole([event async for event in reply.events()], run_id, after=6)


async def test_when_nothing_can_follow_there_is_no_content_and_the_client_stops(
    streams: Streams, manager: RunManager
) -> None:
    run_id = await finished(manager, 5)
    for query, header in (("?after=7", {}), ("?after=8", {}), ("", {"Last_Event_ID": "7"})):
        async with streams(run_id, query, **header) as reply:
            assert (reply.status, await reply.body()) == (204, b"")


async def test_a_stream_is_declared_as_one_and_not_to_be_buffered_or_kept(
    streams: Streams, manager: RunManager
) -> None:
    handle = await manager.start_run(Speaker().job())
    for accept in ("text/event-stream", "*/*", "text/html"):
        async with streams(handle.id, Accept=accept) as reply:
            assert reply.status == 200
            assert reply.headers["content-type"].partition(";")[0] == "text/event-stream"
            assert reply.headers["cache-control"] == "no-cache"
            assert reply.headers["x-accel-buffering"] == "no"
            assert "content-length" not in reply.headers


async def test_pages_of_json_hold_what_the_stream_holds(streams: Streams, manager: RunManager) -> None:
    run_id = await finished(manager, 25)
    async with streams(run_id) as reply:
        streamed = [event.data async for event in reply.events()]
    paged: list[object] = []
    after = 0
    while after is not None:
        async with streams(run_id, f"?after={after}&limit=10", Accept="application/json") as reply:
            page = json.loads(await reply.body())
        assert len(page["items"]) <= 10
        paged += page["items"]
        after = page["next"]
    assert paged == streamed


async def test_problems_are_told_before_a_stream_begins(streams: Streams, manager: RunManager) -> None:
    handle = await manager.start_run(Speaker().job())
    for run_id, query, header, status in (
        (handle.id + 1, "", {}, 404),
        (handle.id, "?after=x", {}, 422),
        (handle.id, "?after=-1", {}, 422),
        (handle.id, "", {"Last_Event_ID": "x"}, 422),
    ):
        async with streams(run_id, query, **header) as reply:
            assert reply.status == status
            assert reply.headers["content-type"] == "application/problem+json"


async def test_no_more_streams_are_opened_than_are_allowed_and_those_that_ended_make_room(
    manager: RunManager,
) -> None:
    handle = await manager.start_run(Speaker().job())
    async with (
        streams_of(manager, max_streams=2) as streams,
        streams(handle.id) as one,
        streams(handle.id) as other,
    ):
        assert (one.status, other.status) == (200, 200)
        async with streams(handle.id) as third:
            assert third.status == 503
            assert int(third.headers["retry-after"]) > 0
            assert "2 event streams are open" in (await third.body()).decode()
        one.reset()

        async def there_is_room() -> bool:
            async with streams(handle.id) as reply:
                return reply.status == 200

        await eventually(there_is_room)


async def test_silence_is_broken_by_comments_which_are_no_events(manager: RunManager) -> None:
    handle = await manager.start_run(Speaker().job())
    app = FastAPI()

    async def view(event: Any) -> bytes:
        return b"{}"

    @app.get("/runs/{run_id}/events")
    async def events(run_id: int, request: Request) -> Response:
        run = await manager.get_run(run_id)
        return await event_stream(manager, run, after=0, view=view, streams=OpenStreams(), heartbeat=0.02)

    async with serving(app) as url, Streams(int(url.rpartition(":")[2]))(handle.id) as reply:
        seen = 0
        async for piece in reply.pieces():
            seen += len(reply.parser.feed(piece))
            if reply.parser.comments == 3:
                break
    assert seen == 1
