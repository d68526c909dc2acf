"""``serve``: the stand-alone server, on uvicorn; and the same server beside other work of an event loop."""

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
"""The most bytes in the line and headers of a request that arrives bit by bit. At once, more may arrive."""
GRACE: Final = 5
"""Seconds for which unfinished answers may delay the end of the server."""
LAST_EVENT: Final = 1
"""Seconds that the streams of a run that has just ended have to send its last event, where the server ends with it."""

log = logging.getLogger("aioruns.web")


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - somebody starts the server in a terminal and needs its address


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
    """Serve the API and the dashboard until SIGINT or SIGTERM arrives, then end open streams and let runs drain.

    The server opens and closes the manager, unless that is open already. A second SIGINT stops it at once. Only the
    main thread gets signals; on another one, cancel the call, which stops the server in the same way.

    Args:
        manager: The manager whose runs the server shows and starts.
        host: The address to listen at. At any other than the default, whoever reaches it can try tokens, and whoever is
            on the way can read them, unless a proxy in front adds TLS.
        port: The port; 0 for any free one.
        token: The secret that callers must show; a new one by default.
        allowed_hosts: The host names that requests may be for, see ``create_app``. By default those of the loopback
            interface if the server listens there, else any.
        max_streams: How many event streams may be open at once.
        announce: Takes each line to print. The first line has the address with its token, once the server listens.

    Raises:
        ConfigurationError: The server cannot listen at the address, or the token is not valid.
        StoreUnavailable: The store cannot be reached.
    """
    token = token or secrets.token_urlsafe()
    stop = asyncio.Event()
    with _listener(host, port) as listener, _at_signals(stop.set):
        names = allowed_hosts or (*LOOPBACK, host)
        if not ip_address(listener.getsockname()[0]).is_loopback:
            log.warning("other machines can reach %s: only the token keeps them out", host)
            names = allowed_hosts or ("*",)
        app = create_app(manager, token=token, allowed_hosts=names, max_streams=max_streams)
        async with opened(manager):
            async with _served(app, listener) as address:
                announce(f"aioruns listens at {address}/?token={token}")
                await stop.wait()
            announce("stopping: active runs may finish first")


@contextlib.asynccontextmanager
async def serve_beside(manager: RunManager) -> AsyncGenerator[str]:
    """Serve the dashboard of an open manager within the block, on the loopback interface; yield its address.

    This leaves signals to the program.
    """
    token = secrets.token_urlsafe()
    app = create_app(manager, token=token)
    with _listener("127.0.0.1", 0) as listener, signals_left_alone():
        async with _served(app, listener, streams_end=LAST_EVENT) as address:
            yield f"{address}/?token={token}"


def _listener(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigurationError(f"the port must be between 0 and 65535, not {port}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None


def _address(listener: socket.socket) -> str:
    """Return the address, without a trailing slash, at which a browser on this machine reaches a socket."""
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
    """Serve an application within the block, and end its streams some seconds after; yield its address."""
    config = uvicorn.Config(
        app,
        http="h11",  # uvicorn's other parser, if installed, has no such limit
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would contain tokens
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
    """A server whose caller handles signals and learns when it listens."""

    def __init__(self, config: uvicorn.Config, *, streams_end: float) -> None:
        super().__init__(config)
        self._streams_end = streams_end
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none: uvicorn would send itself the signal again at the end, and so not exit with code 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self.listens.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and return when all answers are complete."""
        asyncio.get_running_loop().call_later(self._streams_end, end_streams)
        await super().shutdown(sockets)


@contextlib.contextmanager
def _at_signals(stop: Callable[[], object]) -> Generator[None]:
    """Call back on the event loop at the first signal to stop; a second one goes to its previous handler."""
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
