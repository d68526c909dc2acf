"""The outermost layers of the stand-alone application, as plain ASGI: mount path, host name and security headers.

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
"""Names of this machine that no other site can use."""

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
    """Adds security headers to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class OwnPlace:
    """Finds out where the application is mounted, and redirects to that path with a slash at its end.

    The addresses in the page are relative, so ``/runs`` must become ``/runs/``. In Starlette the parent application
    does that. Litestar does not; it also leaves ``root_path`` empty and ends each path with a slash, so that only
    ``raw_path`` has the path as the client sent it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the ``root_path`` and ``path`` that Starlette gives to mounted applications."""
        if scope["type"] == "http":
            scope = _placed(scope)
            if scope["root_path"] and not own_path(scope):
                query = scope["query_string"].decode("latin-1")
                # A relative address stays on this host, whatever the path looks like.
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
    """Refuses requests for other host names than the application's own.

    Another site can point its own host name at this machine (DNS rebinding); the browser then takes the application for
    that site. The host name in the request reveals this.

    Args:
        app: Answers the other requests.
        allowed: Names without ports; ``*.example.org`` for all names below one, ``*`` for any.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request if it is for an allowed name."""
        if scope["type"] == "http" and not self._allows(host_and_port(scope)[0]):
            known = ", ".join(sorted(self._allowed))
            refusal = Refusal("wrong-host", f"the server answers only to {known}; add others to its allowed hosts")
            response = await answer_error(Request(scope), refusal)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allows(self, name: str) -> bool:
        labels = name.split(".")
        parents = {".".join(["*", *labels[start:]]) for start in range(1, len(labels))}
        return not self._allowed.isdisjoint({name, "*", *parents})


def host_and_port(scope: Scope) -> tuple[str, str]:
    """Return the host name that a request is for, in lower case, and its port; each is empty if there is none."""
    host = Headers(scope=scope).get("host", "").lower()
    return (match[1], match[2] or "") if (match := _HOST.fullmatch(host)) else ("", "")
