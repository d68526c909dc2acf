"""Server-Sent Events (HTML Standard, 9.2): a run's events as a response that ends with the run and can be resumed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, cast

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aioruns import ManagerClosed, Run, RunEvent, RunManager, RunNotFound, StoreUnavailable
from aioruns.web._streams import OpenStreams

__all__ = ["HEARTBEAT", "event_stream"]

HEARTBEAT: Final = 15.0
"""Seconds of silence after which the server sends a comment: proxies close silent connections, and a failed send shows
that a client has vanished."""

PAGE: Final = 500
"""The most stored events to read at once."""
MESSAGE: Final = 64 * 1024
"""Bytes of stored events beyond which a message is full. A client that does not read makes the server hold one."""

FAREWELL: Final = 1.0
"""Seconds for which a client that has stopped reading may delay the end of its stream."""

_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx and others would hold events back
}
_COMMENT: Final = b":\n\n"
_NOT_IN_A_LINE: Final = re.compile(r"[\0\r\n]")
_LINE_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


async def event_stream(
    manager: RunManager,
    run: Run,
    *,
    after: int,
    view: Callable[[RunEvent], Awaitable[bytes]],
    streams: OpenStreams,
    heartbeat: float = HEARTBEAT,
) -> Response:
    """Answer with the stored events of a run, and then with each new one when it is stored.

    The response ends after the run's last event. It ends earlier if somebody ends the streams, the manager closes, the
    store cannot be read, or the run has been pruned; the client then resumes with ``Last-Event-ID``.

    Args:
        manager: Reads the events.
        run: The run as just read.
        after: The ``seq`` of the last event that the client has.
        view: Returns an event as JSON.
        streams: The open streams, which this one joins.
        heartbeat: Seconds of silence after which to send a comment.

    Returns:
        The stream, or 204 if nothing can follow ``after``, which stops an ``EventSource``.

    Raises:
        RunNotFound: The run has been pruned meanwhile.
        StoreUnavailable: The store cannot be read.
        TooManyStreams: As many streams are open as allowed.
    """
    if not run.active and not await manager.read_events(run.id, after=after, limit=1):
        return Response(status_code=204, headers=_HEADERS)
    streams.check()
    return _EventStream(manager, run.id, after=after, view=view, streams=streams, heartbeat=heartbeat)


class _EventStream(Response):
    """A response that streams one run's events."""

    media_type = "text/event-stream"

    def __init__(
        self,
        manager: RunManager,
        run_id: int,
        *,
        after: int,
        view: Callable[[RunEvent], Awaitable[bytes]],
        streams: OpenStreams,
        heartbeat: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._manager = manager
        self._run_id = run_id
        self._seq = after  # of the last event that was handed to the server
        self._view = view
        self._streams = streams
        self._heartbeat = heartbeat
        self._sending = asyncio.Lock()
        self._sent_at = 0.0
        self._client_has_gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the run has ended, the client has gone, or somebody ends the stream.

        If this is cancelled, the response stays incomplete.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._sent_at = asyncio.get_running_loop().time()
        async with anyio.create_task_group() as tasks:
            end = tasks.cancel_scope.cancel

            async def end_with(part: Awaitable[None]) -> None:
                try:
                    await part
                except OSError:  # which send raises, as ASGI defines
                    self._client_has_gone = True
                except (RunNotFound, StoreUnavailable, ManagerClosed):
                    pass  # the client gets the error when it reconnects
                end()

            with self._streams.opened(end):
                tasks.start_soon(end_with, self._watch_client(receive))
                tasks.start_soon(end_with, self._keep_alive(send))
                await end_with(self._send_events(send))
        if not self._client_has_gone:
            with anyio.move_on_after(FAREWELL):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # ignore a body
        self._client_has_gone = True

    async def _keep_alive(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while True:
            silence = loop.time() - self._sent_at
            if silence < self._heartbeat:
                await asyncio.sleep(self._heartbeat - silence)
            else:
                await self._send(send, _COMMENT)

    async def _send_events(self, send: Send) -> None:
        if not await self._send_stored(send):
            await self._send_live(send)

    async def _send_stored(self, send: Send) -> bool:
        """Send the stored events, many in a message; tell whether the last event of the run was among them."""
        limit = PAGE
        while events := await self._manager.read_events(self._run_id, after=self._seq, limit=limit):
            message, last = await self._fill_message(events)
            # If they do not all fit in the message, drop the rest, and read it again when the client has taken this.
            limit = min(2 * (last.seq - self._seq), PAGE)
            del events
            await self._send(send, message)
            self._seq = last.seq
            if last.terminal:
                return True
        return False

    async def _fill_message(self, events: list[RunEvent]) -> tuple[bytes, RunEvent]:
        """Put events into a message until it is full; return the message and its last event."""
        blocks: list[bytes] = []
        size, event = 0, events[0]
        for event in events:
            blocks.append(await self._block(event))
            size += len(blocks[-1])
            if size >= MESSAGE:
                break
        return b"".join(blocks), event

    async def _send_live(self, send: Send) -> None:
        """Send each event as it is stored, until the run has ended."""
        events = cast("AsyncGenerator[RunEvent]", self._manager.stream_events(self._run_id, after=self._seq))
        async with aclosing(events):
            async for event in events:
                await self._send(send, await self._block(event))

    async def _block(self, event: RunEvent) -> bytes:
        # In JSON a raw line break is only white space: strings contain it escaped.
        data = (await self._view(event)).translate(_LINE_BREAKS)
        kind = _NOT_IN_A_LINE.sub("", event.kind).encode(errors="replace")
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, kind, data)

    async def _send(self, send: Send, body: bytes) -> None:
        """Hand bytes to the server, one sender at a time; wait while the client does not read."""
        async with self._sending:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        self._sent_at = asyncio.get_running_loop().time()
