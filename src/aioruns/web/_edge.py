"""The outermost layers of the stand-alone application, as plain ASGI: its place, its name, and what browsers are told.

None of them is a ``BaseHTTPMiddleware``, which would hold streams back and cancel endpoints whose client has gone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote, unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aioruns.web._problems import Refusal, answer_error

__all__ = ["LOOPBACK", "HostCheck", "OwnPlace", "SecurityHeaders", "host_and_port", "own_path"]

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine that no other site can take."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d+))?", re.ASCII)


class SecurityHeaders:
    """Tells browsers with every response, an error too, what they must not do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class OwnPlace:
    """Lets the application know where it is mounted, and be asked for with a slash at the end.

    The addresses in its page are relative, so ``/runs`` has to become ``/runs/``. Starlette sees to that in the parent
    application. Litestar does not; it also leaves ``root_path`` empty and ends each path with a slash, and the path as
    the client sent it is known from ``raw_path`` alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the ``root_path`` and the ``path`` that Starlette gives to mounted applications."""
        if scope["type"] == "http":
            scope = _placed(scope)
            if scope["root_path"] and not own_path(scope):
                query = scope["query_string"].decode("latin-1")
                # Relative, and so on this host whatever the path looks like.
                there = f"./{quote(scope['path'].rpartition('/')[2])}/{query and '?'}{query}"
                await RedirectResponse(there)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _placed(scope: Scope) -> Scope:
    root, path = scope.get("root_path", ""), scope["path"]
    sent = unquote((scope.get("raw_path") or b"").decode("latin-1"))
    rest = path if sent.endswith("/") else path.rstrip("/")
    if not root and path.startswith("/") and sent != path and sent.endswith(rest):
        return {**scope, "root_path": sent.removesuffix(rest), "path": sent}
    return {**scope, "root_path": root.rstrip("/")}


def own_path(scope: Scope) -> str:
    """Return the path of a request within the application."""
    root, path = scope["root_path"], scope["path"]
    return path.removeprefix(root) if path == root or path.startswith(root + "/") else path


class HostCheck:
    """Refuses requests for other names than the application's own.

    A page of another site may let its name lead to this machine (DNS rebinding): to the browser, the application is
    that site then. The name in the request gives it away.

    Args:
        app: What answers the others.
        allowed: Names without ports; ``*.example.org`` for all below one, ``*`` for any.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request if it is for a name that is allowed."""
        if scope["type"] == "http" and not self._allows(host_and_port(scope)[0]):
            known = ", ".join(sorted(self._allowed))
            refusal = Refusal("wrong-host", f"the server is known as {known}; name others in its allowed hosts")
            response = await answer_error(Request(scope), refusal)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allows(self, name: str) -> bool:
        labels = name.split(".")
        parents = {".".join(["*", *labels[start:]]) for start in range(1, len(labels))}
        return not self._allowed.isdisjoint({name, "*", *parents})


def host_and_port(scope: Scope) -> tuple[str, str]:
    """Return the name that a request is for, in small letters, and its port; empty where there is none."""
    host = Headers(scope=scope).get("host", "").lower()
    return (match[1], match[2] or "") if (match := _HOST.fullmatch(host)) else ("", "")
