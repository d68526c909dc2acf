"""A response that is a stream of events: what it sends, where it goes on, and every way in which it ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from tests.insides import watched_runs
from tests.streams import OpenManager
from tests.support import eventually, turns
from tests.unit.web.connection import Speaker, served

from aioruns import RunEvent, RunHandle, RunManager, RunNotFound, StoreUnavailable, current_run, job
from aioruns.stores import SQLiteStore
from aioruns.web import _sse
from aioruns.web._sse import event_stream
from aioruns.web._streams import OpenStreams, TooManyStreams, end_streams

pytestmark = pytest.mark.asyncio


async def view(event: RunEvent) -> bytes:
    run = ',"run":{}' if event.terminal else ""
    return f'{{"seq":{event.seq},"data":{event.data_json}{run}}}'.encode()


@job
async def emit(events: int, size: int = 0) -> None:
    for number in range(events):
        current_run().emit("number", {"number": number, "padding": "x" * size})
        await current_run().flush()


class Streams:
    """Opens streams of a manager's runs."""

    def __init__(self, manager: RunManager) -> None:
        self.manager = manager
        self.open = OpenStreams()

    async def __call__(self, run_id: int, after: int = 0, **options: Any) -> Response:
        run = await self.manager.get_run(run_id)
        return await event_stream(
            self.manager, run, after=after, **({"view": view, "streams": self.open, "heartbeat": 60.0} | options)
        )

    @property
    def subscriptions(self) -> int:
        return watched_runs(self.manager)


@pytest.fixture
def streams(manager: RunManager) -> Streams:
    return Streams(manager)


async def ended(manager: RunManager, *arguments: Any) -> int:
    """Start a run that emits, and wait until it has ended; return its id."""
    handle = await manager.start_run(emit(*arguments))
    await handle
    return handle.id


async def test_G6_stored_events_are_sent_in_order_and_the_response_ends_behind_the_terminal_one(
    streams: Streams,
) -> None:
    run_id = await ended(streams.manager, 1_200)
    async with served(await streams(run_id)) as client:
        await client.ends()
    assert client.complete
    assert client.seqs == list(range(1, 1_203))
    assert [event.kind for event in client.events] == ["status", *["number"] * 1_200, "status"]
    assert client.events[1].data["data"] == {"number": 0, "padding": ""}
    assert len(client.sent) <= 6, "many events in a message"
    assert client.started["status"] == 200
    assert client.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }


async def test_G6_an_event_is_sent_when_it_is_stored(streams: Streams) -> None:
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1])
        speaker.say(1)
        await eventually(lambda: client.seqs == [1, 2])
        speaker.end()
        await client.ends()
    assert client.complete
    assert client.events[-1].terminal
    assert streams.subscriptions == 0


@pytest.mark.parametrize("after", [0, 1, 5, 11])
async def test_G6_a_stream_goes_on_behind_the_last_event_that_the_client_has(streams: Streams, after: int) -> None:
    run_id = await ended(streams.manager, 10)
    async with served(await streams(run_id, after)) as client:
        await client.ends()
    assert client.seqs == list(range(after + 1, 13))


@pytest.mark.parametrize("after", [12, 13, 2**80])
async def test_204_when_the_run_has_ended_and_nothing_can_follow(streams: Streams, after: int) -> None:
    answer = await streams(await ended(streams.manager, 10), after)
    assert answer.status_code == 204
    assert answer.headers["cache-control"] == "no-cache"


async def test_no_204_while_something_may_follow(streams: Streams) -> None:
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id, 1)) as client:
        await eventually(lambda: client.started)
        speaker.end()
        await client.ends()
    assert (client.started["status"], client.seqs) == (200, [2])


async def test_G10_messages_are_bounded_and_what_does_not_fit_is_not_lost(streams: Streams) -> None:
    size = 30_000
    run_id = await ended(streams.manager, 60, size)
    async with served(await streams(run_id)) as client:
        await client.ends()
    assert client.seqs == list(range(1, 63))
    assert max(map(len, client.sent)) < _sse.MESSAGE + size + 1_000


async def test_G10_stored_events_are_read_about_once(open_manager: OpenManager, database: Path) -> None:
    """Also when so few of them fit into a message that most of a page must be read again."""

    class CountingStore(SQLiteStore):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.read: list[int] = []

        async def read_events(self, *args: Any, **kwargs: Any) -> list[RunEvent]:
            events = await super().read_events(*args, **kwargs)
            self.read.append(len(events))
            return events

    store = CountingStore(database)
    streams = Streams(await open_manager(store))
    run_id = await ended(streams.manager, 600, 8_000)
    stream = await streams(run_id)
    store.read.clear()
    async with served(stream) as client:
        await client.ends()
    assert client.seqs == list(range(1, 603))
    assert sum(store.read) <= 2 * 602 + _sse.PAGE
    assert 0 not in store.read, "behind the end nobody looks for more"


async def test_line_breaks_of_kind_or_data_cannot_forge_a_field(streams: Streams) -> None:
    async def pretty(event: RunEvent) -> bytes:
        return b'{\r\n "seq": %d,\r "data":\n {}\n}' % event.seq

    stream = await streams(await ended(streams.manager, 1), view=pretty)
    assert isinstance(stream, _sse._EventStream)
    event = RunEvent(1, 7, datetime.now(UTC), "kind\r\nid: 99\ndata: {}\0", "{}")
    assert await stream._block(event) == (b'id: 7\nevent: kindid: 99data: {}\ndata: {   "seq": 7,  "data":  {} }\n\n')


async def test_silence_is_broken_by_comments_which_are_no_events_and_nothing_else_is(streams: Streams) -> None:
    """An event breaks the silence as well: the next comment comes a whole period after it."""
    speaker, period = Speaker(), 0.03
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id, heartbeat=period)) as client:
        for number in range(3):
            await eventually(lambda number=number: client.sent.count(b":\n\n") > number)
            speaker.say(number)
        speaker.end()
        await client.ends()
    assert client.seqs == [1, 2, 3, 4, 5]
    comments = [place for place, body in enumerate(client.sent) if body == b":\n\n"]
    assert all(client.times[place] - client.times[place - 1] >= period for place in comments)


async def test_a_client_that_went_away_leaves_nothing_behind(streams: Streams) -> None:
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1] and (len(streams.open), streams.subscriptions) == (1, 1))
        client.go_away()
        await client.ends()
    assert not client.complete
    assert (len(streams.open), streams.subscriptions) == (0, 0)
    assert (await handle.cancel()).status == "cancelling", "the run went on"


async def test_a_client_that_went_away_while_it_did_not_read_leaves_nothing_behind(streams: Streams) -> None:
    handle = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.started)
        client.reads.clear()
        client.go_away()
        await client.ends()
    assert (len(streams.open), streams.subscriptions) == (0, 0)


async def test_a_server_that_raises_OSError_when_the_client_has_gone_is_understood(streams: Streams) -> None:
    """ASGI 2.4 has it so."""
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1])
        client.fails = True
        speaker.say(1)
        await client.ends()
    assert not client.complete
    assert streams.subscriptions == 0


async def test_a_stream_that_the_server_cancels_leaves_nothing_behind_and_is_not_completed(streams: Streams) -> None:
    handle = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1])
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.task
    assert not client.complete
    assert (len(streams.open), streams.subscriptions) == (0, 0)


async def test_streams_that_are_ended_are_completed(streams: Streams) -> None:
    handle = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id)) as one, served(await streams(handle.id)) as other:
        await eventually(lambda: one.seqs == other.seqs == [1])
        end_streams()
        await one.ends()
        await other.ends()
    assert one.complete
    assert other.complete
    assert (len(streams.open), streams.subscriptions) == (0, 0)


async def test_a_stream_whose_client_does_not_read_is_ended_all_the_same(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sse, "FAREWELL", 0.01)
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1])
        client.reads.clear()
        speaker.say(1)
        await turns(10)
        end_streams()
        await client.ends()
    assert not client.complete
    assert (len(streams.open), streams.subscriptions) == (0, 0)


async def test_G6_a_client_that_did_not_read_gets_everything_when_it_does(streams: Streams) -> None:
    speaker = Speaker()
    handle = await streams.manager.start_run(speaker.job())
    async with served(await streams(handle.id, heartbeat=0.01)) as client:
        await eventually(lambda: client.seqs == [1])
        client.reads.clear()
        for number in range(3_000):
            speaker.say(number)
        speaker.end()
        await handle
        assert client.seqs == [1]
        client.reads.set()
        await client.ends()
    assert client.seqs == list(range(1, 3_003))


async def test_G8_a_stream_ends_with_its_manager_and_is_completed(open_manager: OpenManager) -> None:
    streams = Streams(await open_manager())
    handle = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1] and streams.subscriptions)
        await streams.manager.aclose()
        await client.ends()
    assert client.complete
    assert client.events[-1].data["data"]["status"] == "interrupted", "what is stored is sent"


async def test_G8_a_stream_of_a_run_that_goes_on_elsewhere_ends_with_its_manager_too(open_manager: OpenManager) -> None:
    handle = await (await open_manager()).start_run(Speaker().job())
    streams = Streams(await open_manager())
    async with served(await streams(handle.id)) as client:
        await eventually(lambda: client.seqs == [1] and streams.subscriptions)
        await streams.manager.aclose()
        await client.ends()
    assert client.complete
    assert client.seqs == [1]


async def test_a_stream_ends_when_its_run_is_pruned(streams: Streams) -> None:
    run_id = await ended(streams.manager, 200, 2_000)
    async with served(await streams(run_id), reads=False) as client:
        await turns(10)
        await streams.manager.prune(older_than=timedelta(0))
        client.reads.set()
        await client.ends()
    assert client.complete
    assert client.seqs == list(range(1, len(client.seqs) + 1))
    assert len(client.seqs) < 202


async def test_a_run_that_is_pruned_before_the_stream_begins_is_not_found(streams: Streams) -> None:
    run = await streams.manager.get_run(await ended(streams.manager, 1))
    await streams.manager.prune(older_than=timedelta(0))
    with pytest.raises(RunNotFound):
        await event_stream(streams.manager, run, after=0, view=view, streams=streams.open)


@pytest.mark.parametrize("reads", [1, 2, 3])
async def test_a_stream_ends_when_the_store_is_away_and_another_goes_on(
    open_manager: OpenManager, database: Path, reads: int
) -> None:
    """At the first read of a page, at the next, or when it has gone live."""

    class Store(SQLiteStore):
        reads = -1

        async def read_events(self, *args: Any, **kwargs: Any) -> list[RunEvent]:
            self.reads -= 1
            if self.reads == 0:
                raise StoreUnavailable("away")
            return await super().read_events(*args, **kwargs)

    store, speaker = Store(database), Speaker()
    streams = Streams(await open_manager(store))
    handle = await streams.manager.start_run(speaker.job())
    store.reads = reads
    async with served(await streams(handle.id)) as client:
        await client.ends()
    assert client.complete
    assert not client.events or not client.events[-1].terminal
    speaker.end()
    await handle
    async with served(await streams(handle.id, len(client.seqs))) as again:
        await again.ends()
    assert client.seqs + again.seqs == [1, 2]


async def test_an_error_of_the_view_is_not_hidden_and_leaves_nothing_behind(streams: Streams) -> None:
    async def fail(event: RunEvent) -> bytes:
        raise ZeroDivisionError

    handle = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id, view=fail)) as client:
        with pytest.raises(ExceptionGroup) as caught:
            await client.ends()
    assert caught.group_contains(ZeroDivisionError)
    assert not client.complete
    assert (len(streams.open), streams.subscriptions) == (0, 0)


async def test_no_more_streams_are_opened_than_are_allowed(streams: Streams) -> None:
    streams.open = OpenStreams(2)
    done = await ended(streams.manager, 1)
    handle: RunHandle[None] = await streams.manager.start_run(Speaker().job())
    async with served(await streams(handle.id)) as one, served(await streams(handle.id)) as other:
        await eventually(lambda: one.seqs == other.seqs == [1])
        with pytest.raises(TooManyStreams, match="2 event streams are open"):
            await streams(handle.id)
        assert (await streams(done, 3)).status_code == 204, "which is no stream"
        one.go_away()
        await one.ends()
        async with served(await streams(handle.id)) as third:
            await eventually(lambda: third.seqs == [1])


async def test_by_default_a_comment_breaks_fifteen_seconds_of_silence() -> None:
    assert _sse.HEARTBEAT == 15
