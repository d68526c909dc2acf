"""The open streams of a process: ending them from anywhere, and signal handlers that are chained and never replaced."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest
from tests.support import eventually, turns

from aioruns.web import _streams
from aioruns.web._streams import SIGNALS, OpenStreams, TooManyStreams, end_streams, signals_left_alone

pytestmark = pytest.mark.asyncio

STOPS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test the handlers that there were, and no memory of a signal."""
    monkeypatch.setattr(_streams._ChainedHandler, "called_at", -math.inf)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert not _streams._open


class Stream:
    """Something that is open until it is ended."""

    def __init__(self) -> None:
        self.ends = 0

    def end(self) -> None:
        self.ends += 1


class Server:
    """A server's handler of a signal, a method as uvicorn's is."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


def streams_in_thread(streams: OpenStreams, stream: Stream) -> Callable[[], None]:
    """Have a stream open on the event loop of another thread until it is ended; return what waits for that."""
    opened = threading.Event()

    async def serve() -> None:
        with streams.opened(stream.end):
            opened.set()
            await eventually(lambda: stream.ends)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert opened.wait(60)
    return thread.join


async def test_what_is_open_is_counted_and_limited() -> None:
    streams = OpenStreams(2)
    with streams.opened(Stream().end):
        streams.check()
        with streams.opened(Stream().end), pytest.raises(TooManyStreams) as caught:
            streams.check()
        streams.check()
        assert len(streams) == 1
    assert len(streams) == 0
    assert caught.value.limit == 2
    assert "2 event streams are open" in str(caught.value)


async def test_each_router_has_its_own_limit() -> None:
    one, other = OpenStreams(1), OpenStreams(1)
    with one.opened(Stream().end):
        other.check()


async def test_end_streams_ends_those_of_all_routers_once_and_none_that_are_opened_later() -> None:
    one, other, later = Stream(), Stream(), Stream()
    first, second = OpenStreams(), OpenStreams()
    with first.opened(one.end), second.opened(other.end):
        end_streams()
        assert (one.ends, other.ends) == (0, 0), "they end on their event loop, not within the caller"
        await turns(2)
        with first.opened(later.end):
            await turns(5)
            assert (one.ends, other.ends, later.ends) == (1, 1, 0)


async def test_a_stream_that_has_been_left_is_not_ended() -> None:
    stream, streams = Stream(), OpenStreams()
    with streams.opened(stream.end):
        end_streams()
    await turns(3)
    assert stream.ends == 0


async def test_end_streams_may_be_called_from_another_thread() -> None:
    asyncio.get_running_loop().set_debug(True)  # so it refuses what another thread may not do
    stream = Stream()
    ended = asyncio.Event()
    with OpenStreams().opened(lambda: (stream.end(), ended.set())):
        thread = threading.Thread(target=end_streams)
        thread.start()
        async with asyncio.timeout(60):
            await ended.wait()
        thread.join()
    assert stream.ends == 1


async def test_end_streams_reaches_every_event_loop_and_leaves_out_those_that_are_closed() -> None:
    streams, here, there = OpenStreams(), Stream(), Stream()
    forgotten = asyncio.new_event_loop()
    _streams._open[forgotten] = _streams._LoopStreams()
    forgotten.close()
    with streams.opened(here.end):
        join = streams_in_thread(streams, there)
        end_streams()
        join()
        await eventually(lambda: here.ends)
    del _streams._open[forgotten]
    assert (here.ends, there.ends) == (1, 1)


@pytest.mark.parametrize("number", STOPS)
async def test_a_signal_ends_the_streams_and_reaches_the_handler_that_there_was(number: signal.Signals) -> None:
    server, stream = Server(), Stream()
    signal.signal(number, server.handle)
    with OpenStreams().opened(stream.end):
        signal.raise_signal(number)
        assert server.received == [number]
        await turns(2)
        assert stream.ends == 1


async def test_handlers_are_chained_with_the_first_stream_and_put_back_after_the_last() -> None:
    server, streams = Server(), OpenStreams()
    before = {}
    for number in STOPS:
        signal.signal(number, server.handle)
        before[number] = signal.getsignal(number)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(streams.opened(Stream().end))
            signal.raise_signal(signal.SIGTERM)
            assert all(signal.getsignal(number) != before[number] for number in STOPS)
    assert {number: signal.getsignal(number) for number in STOPS} == before
    assert server.received == [signal.SIGTERM] * 10, "once a signal: it is chained once, however many streams there are"


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("left", [signal.SIG_DFL, signal.SIG_IGN])
async def test_a_signal_that_no_function_handles_is_left_alone(number: signal.Signals, left: signal.Handlers) -> None:
    signal.signal(number, left)
    with OpenStreams().opened(Stream().end):
        assert signal.getsignal(number) is left
    assert signal.getsignal(number) is left


async def test_the_handler_that_raises_KeyboardInterrupt_goes_on_doing_so() -> None:
    stream = Stream()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with OpenStreams().opened(stream.end):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        await turns(2)
    assert stream.ends == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_handlers_of_the_event_loop_go_on_working_while_streams_are_open_and_after() -> None:
    """As hypercorn has them: the loop hears of a signal through a file descriptor, not through the handler."""
    loop, streams = asyncio.get_running_loop(), OpenStreams()
    received: list[str] = []
    loop.add_signal_handler(signal.SIGTERM, received.append, "stop")
    try:
        stream = Stream()
        with streams.opened(stream.end):
            signal.raise_signal(signal.SIGTERM)
            await eventually(lambda: received == ["stop"] and stream.ends == 1)
        signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: received == ["stop", "stop"])
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_handler_that_was_set_meanwhile_stays() -> None:
    server, newer = Server(), Server()
    signal.signal(signal.SIGTERM, server.handle)
    with OpenStreams().opened(Stream().end):
        signal.signal(signal.SIGTERM, newer.handle)
    assert signal.getsignal(signal.SIGTERM) == newer.handle


async def test_a_handler_that_was_chained_before_ours_may_call_it_for_ever() -> None:
    """And streams that are opened later are chained before that one, without going round in a circle."""
    server, streams, stream = Server(), OpenStreams(), Stream()
    signal.signal(signal.SIGTERM, server.handle)
    with streams.opened(Stream().end):
        ours: Any = signal.getsignal(signal.SIGTERM)
        newer: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: (newer.append(number), ours(number, frame)))
    signal.raise_signal(signal.SIGTERM)
    for _ in range(3):
        with streams.opened(stream.end):
            signal.raise_signal(signal.SIGTERM)
    assert len(newer) == len(server.received) == 4


async def test_streams_in_another_thread_leave_the_handlers_alone() -> None:
    streams, stream = OpenStreams(), Stream()
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, Server().handle)
    handler = signal.getsignal(signal.SIGTERM)
    join = streams_in_thread(streams, stream)
    assert signal.getsignal(signal.SIGTERM) is handler
    end_streams()
    join()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert before is not handler


async def test_a_signal_ends_the_streams_of_other_threads_too() -> None:
    signal.signal(signal.SIGTERM, Server().handle)
    streams, here, there = OpenStreams(), Stream(), Stream()
    join = streams_in_thread(streams, there)
    with streams.opened(here.end):
        signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: here.ends == there.ends == 1)
    join()


async def test_a_stream_that_is_opened_after_the_signal_ends_at_once() -> None:
    signal.signal(signal.SIGTERM, Server().handle)
    streams, late = OpenStreams(), Stream()
    with streams.opened(Stream().end):
        signal.raise_signal(signal.SIGTERM)
    with streams.opened(late.end):
        assert late.ends == 1


async def test_an_application_that_goes_on_after_a_signal_has_its_streams_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signal.signal(signal.SIGTERM, Server().handle)
    streams, late = OpenStreams(), Stream()
    with streams.opened(Stream().end):
        signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(_streams, "STOPPING", 0.0)
    with streams.opened(late.end):
        await turns(3)
        assert late.ends == 0


async def test_where_a_signal_does_not_stop_the_server_it_is_left_alone() -> None:
    server, stream, streams = Server(), Stream(), OpenStreams()
    signal.signal(signal.SIGTERM, server.handle)
    with signals_left_alone(), streams.opened(stream.end):
        signal.raise_signal(signal.SIGTERM)
        await turns(3)
        assert (server.received, stream.ends) == ([signal.SIGTERM], 0)
        end_streams()
        await turns(2)
        assert stream.ends == 1
    with streams.opened(stream.end):
        signal.raise_signal(signal.SIGTERM)
        await turns(2)
    assert (server.received, stream.ends) == ([signal.SIGTERM] * 2, 2)


async def test_nothing_is_left_of_streams_that_were_open() -> None:
    streams = OpenStreams()
    alive: weakref.WeakSet[Stream] = weakref.WeakSet()

    def open_one() -> None:
        stream = Stream()
        alive.add(stream)
        with streams.opened(stream.end):
            pass

    for _ in range(100):
        open_one()
    gc.collect()
    assert not alive
    assert not _streams._open
