"""``serve``: the stand-alone server, on uvicorn; and the same server beside other work of its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from ipaddress import ip_address
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from aioruns import ConfigurationError, RunManager
from aioruns.web._app import create_app, opened
from aioruns.web._edge import LOOPBACK
from aioruns.web._streams import MAX_STREAMS, SIGNALS, end_streams, signals_left_alone

__all__ = ["serve", "serve_beside"]

MAX_HEADERS: Final = 32 * 1024
"""Bytes that the line and the headers of a request may have, if they come bit by bit; at once, as many as are read."""
GRACE: Final = 5
"""Seconds for which answers that are under way may hold up the end of the server."""
LAST_EVENT: Final = 1
"""Seconds for which the streams of a run that has just ended may take to tell so, where only runs end the server."""

log = logging.getLogger("aioruns.web")


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a server is asked to do that is started in a terminal


async def serve(
    manager: RunManager,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allowed_hosts: Iterable[str] | None = None,
    max_streams: int = MAX_STREAMS,
    announce: Callable[[str], object] = _print,
) -> None:
    """Serve the API and the dashboard until SIGINT or SIGTERM comes, then end open streams and let runs drain.

    The manager is opened and closed, unless it is open already. A second SIGINT stops at once. On another thread than
    the main one no signal arrives: cancel the call. Cancelled, it stops in the same way.

    Args:
        manager: The manager whose runs are shown and started.
        host: The address to listen at. Whoever reaches another than the default may try tokens, and whoever is on the
            way there reads them, unless a proxy in front adds TLS.
        port: The port; 0 for any that is free.
        token: What callers have to know; a new one by default.
        allowed_hosts: Names of the server, see ``create_app``. By default those of the loopback interface if it listens
            there, else any.
        max_streams: How many event streams may be open at a time.
        announce: Takes each line that is to be printed. The first has the address with its token, once the server
            listens there.

    Raises:
        ConfigurationError: The address cannot be listened at, or the token makes no sense.
        StoreUnavailable: The store cannot be reached.
    """
    token = token or secrets.token_urlsafe()
    stop = asyncio.Event()
    with _listener(host, port) as listener, _at_signals(stop.set):
        names = allowed_hosts or (*LOOPBACK, host)
        if not ip_address(listener.getsockname()[0]).is_loopback:
            log.warning("%s can be reached from other machines: its token is all that keeps them out", host)
            names = allowed_hosts or ("*",)
        app = create_app(manager, token=token, allowed_hosts=names, max_streams=max_streams)
        async with opened(manager):
            async with _served(app, listener) as address:
                announce(f"aioruns listens at {address}/?token={token}")
                await stop.wait()
            announce("stopping: runs that are under way may come to their end")


@contextlib.asynccontextmanager
async def serve_beside(manager: RunManager) -> AsyncGenerator[str]:
    """Serve the dashboard of an open manager within the block, on the loopback interface; gives its address.

    Signals are left to the program.
    """
    token = secrets.token_urlsafe()
    app = create_app(manager, token=token)
    with _listener("127.0.0.1", 0) as listener, signals_left_alone():
        async with _served(app, listener, streams_end=LAST_EVENT) as address:
            yield f"{address}/?token={token}"


def _listener(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigurationError(f"a port is a number between 0 and 65535, and not {port}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None


def _address(listener: socket.socket) -> str:
    """Return the address, without a slash at the end, at which a browser of this machine reaches a socket."""
    host, port, *_ = listener.getsockname()
    match host:
        case "0.0.0.0":
            return f"http://127.0.0.1:{port}"
        case "::":
            return f"http://[::1]:{port}"
        case _:
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _served(app: ASGIApp, listener: socket.socket, *, streams_end: float = 0) -> AsyncGenerator[str]:
    """Serve an application within the block, and end its streams some seconds behind; gives its address."""
    config = uvicorn.Config(
        app,
        http="h11",  # another parser may be installed, which has no limit
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would show tokens
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config, streams_end=streams_end)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: server.listens.set())
    try:
        await server.listens.wait()
        if not serving.done():
            yield _address(listener)
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """A server whose caller deals with signals, and learns when it listens."""

    def __init__(self, config: uvicorn.Config, *, streams_end: float) -> None:
        super().__init__(config)
        self._streams_end = streams_end
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none: uvicorn would send itself the signal again in the end, which is no exit with code 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end when all answers have come to an end."""
        asyncio.get_running_loop().call_later(self._streams_end, end_streams)
        await super().shutdown(sockets)


@contextlib.contextmanager
def _at_signals(stop: Callable[[], object]) -> Generator[None]:
    """Call back on the event loop when a signal asks to stop; a second one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, asked = asyncio.get_running_loop(), False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            loop.call_soon_threadsafe(stop)
        elif callable(earlier := before[number]):
            earlier(number, frame)

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, earlier)
